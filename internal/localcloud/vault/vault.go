// Package vault stands for the data planes of Azure Key Vault: the secrets, keys and certificates of every vault, behind the challenge
// and the vault's own access check. Which vaults there are, their modes and their role assignments come from the ARM service, seen with
// the lag of the vault plane.
package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/arm"
	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// Resource is the audience that the challenge names. Clients compare it with the vault's host and have to be told not to where the
// vault is on localhost (azsecrets: DisableChallengeResourceVerification).
const Resource = "https://vault.azure.net"

// versions are those of the data plane's API, newest first (Azure Key Vault REST reference; azsecrets for Go sends the first, Azure CLI
// 2.45 the last but one).
const versions = "2026-04-01 2025-07-01 2025-06-01-preview.1 7.6 7.6-preview.2 7.5 7.5-preview.1 7.4 7.4-preview.1 7.3 7.3-preview 7.2 7.2-preview 7.1 7.1-preview 7.0 2016-10-01"

// Service is Key Vault with all its vaults.
type Service struct {
	env     service.Env
	arm     *arm.Service
	secrets *collection[secretVersion, *secretVersion]
	keys    *collection[keyVersion, *keyVersion]
	certs   *collection[certVersion, *certVersion]
}

// New makes the service and its tables: make it once, before the store is told to persist. Vaults share the tables and nothing in them,
// also those that have a name one after the other.
func New(env service.Env, a *arm.Service) *Service {
	s := &Service{env: env, arm: a}
	s.secrets = newCollection[secretVersion](s, "secrets", "Secret", secretRights, nil)
	s.keys = newCollection[keyVersion](s, "keys", "Key", keyRights, nil)
	s.certs = newCollection(s, "certificates", "Certificate", certRights, map[string]func(entry[certVersion]) []string{issuingIndex: issuingKey})
	s.secrets.summary, s.secrets.detail = showSecret, func(c *call, e entry[secretVersion], v secretVersion, o object) { showSecret(c, e, v, o) }
	s.keys.id, s.keys.detail = "kid", showKey
	s.certs.summary, s.certs.detail, s.certs.ready = summariseCert, s.showCert, certVersion.issued
	s.certs.followers = []follower{s.keys, s.secrets}
	a.OnPurge(func(tx replica.Tx, vault arm.Resource) {
		for _, k := range []follower{s.secrets, s.keys, s.certs} {
			k.clear(tx, incarnationOf(vault))
		}
	})
	return s
}

// Of is the data plane of the vault with the name, whether there is one yet or not.
func (s *Service) Of(name string) http.Handler { return plane{s, name} }

// plane is the data plane of one vault.
type plane struct {
	s    *Service
	name string
}

// incarnationOf tells a vault from every other, and from those that have had its name.
func incarnationOf(vault arm.Resource) string {
	name := strings.ToLower(vault.Name)
	if vault.Incarnation == "" {
		return name
	}
	return name + "|" + vault.Incarnation
}

// call is one request of an authenticated caller.
type call struct {
	method string
	path   []string
	query  url.Values
	base   string // https://{host}, which ids begin with
	who    authority.Claims
	name   string // of the vault
	vault  arm.Resource
	body   []byte

	// work is the part of the request that takes long, such as making a key: it runs after the view is released and before the effect,
	// outside the store's lock. An answer that is not nil ends the request.
	work func() *reply
}

// reply is one answer; effect is what writes, on the primary.
type (
	reply struct {
		status int
		body   any
		header http.Header
	}
	effect func(tx replica.Tx) reply
	object = map[string]any
)

func ok(body any) reply { return reply{status: http.StatusOK, body: body} }

func fail(status int, code, inner, format string, args ...any) reply {
	e := object{"code": code, "message": fmt.Sprintf(format, args...)}
	if inner != "" {
		e["innererror"] = object{"code": inner}
	}
	return reply{status: status, body: object{"error": e}}
}

func badParameter(format string, args ...any) reply {
	return fail(http.StatusBadRequest, "BadParameter", "", format, args...)
}

// refused is a reply as an answer that ends a request.
func refused(r reply) *reply { return &r }

// ServeHTTP answers one request.
func (p plane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("x-ms-request-id", p.s.env.NewID())
	h.Set("x-ms-keyvault-service-version", "localcloud")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	rep := p.s.answer(p.name, r)
	for k, v := range rep.header {
		h[k] = v
	}
	if rep.body == nil {
		w.WriteHeader(rep.status)
		return
	}
	service.JSON(w, rep.status, rep.body)
}

func (s *Service) answer(vault string, r *http.Request) (rep reply) {
	who, challenge := s.authenticate(r.Header.Get("Authorization"))
	if challenge != nil {
		return *challenge
	}
	c := &call{method: r.Method, query: r.URL.Query(), base: "https://" + r.Host, who: who, name: vault}
	for seg := range strings.SplitSeq(r.URL.Path, "/") {
		if seg != "" { // a trailing slash stands for the latest version
			c.path = append(c.path, seg)
		}
	}
	switch asked := c.query.Get("api-version"); {
	case asked == "":
		return badParameter("The request URI contains an invalid api-version: it is required.")
	case !slices.Contains(strings.Fields(versions), asked):
		return badParameter("The specified version (%s) is not recognized. Consider using the latest supported version (%s).", asked, strings.Fields(versions)[0])
	}
	var err error
	if c.body, err = io.ReadAll(io.LimitReader(r.Body, 1<<20)); err != nil {
		return badParameter("The request body could not be read.")
	}
	s.issueDue()
	var do effect
	s.env.Dir.Store.Read(replica.Vault, func(v replica.View) { rep, do = s.route(v, c) })
	if c.work != nil {
		if end := c.work(); end != nil {
			return *end
		}
	}
	if do != nil {
		_ = s.env.Dir.Store.Write(func(tx replica.Tx) error { // the effect tells its outcome in the reply
			rep = do(tx)
			return nil
		})
	}
	return rep
}

// authenticate answers anything but a good token with the challenge from which clients learn tenant and audience (Microsoft,
// "Authentication, requests and responses").
func (s *Service) authenticate(header string) (authority.Claims, *reply) {
	who, err := s.env.Auth.Verify(header, Resource, directory.VaultAppID)
	text := ""
	switch {
	case errors.Is(err, authority.ErrMissing):
		text = "AKV10000: Request is missing a Bearer or PoP token."
	case errors.Is(err, authority.ErrAudience):
		text = fmt.Sprintf("AKV10022: Invalid audience. Expected %s, found: %s.", Resource, who.Audience)
	case errors.Is(err, authority.ErrIssuer), err == nil && !strings.EqualFold(who.TenantID, s.env.Dir.Tenant.ID):
		text = fmt.Sprintf("AKV10032: Invalid issuer. Expected one of https://sts.windows.net/%s/, found %s.", s.env.Dir.Tenant.ID, who.Issuer)
	case errors.Is(err, authority.ErrExpired):
		text = "[TokenExpired] Error validating token: 'IDX10223'."
	case err != nil:
		text = "[BadToken] Error validating token."
	default:
		return who, nil
	}
	r := fail(http.StatusUnauthorized, "Unauthorized", "", "%s", text)
	// Exactly these members with single spaces: the Go client splits the header at spaces (azure-sdk-for-go keyvault/internal v1.2.0).
	challenge := fmt.Sprintf(`Bearer authorization="%s/%s", resource="%s"`, s.env.Endpoints().Login, s.env.Dir.Tenant.ID, Resource)
	r.header = http.Header{"Www-Authenticate": {challenge}}
	return who, &r
}

// decode reads the request body.
func (c *call) decode(v any) *reply {
	if json.Unmarshal(c.body, v) != nil {
		return refused(badParameter("The request body is not valid JSON of the expected shape."))
	}
	return nil
}
