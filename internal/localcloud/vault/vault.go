// Package vault stands for the data plane of one Azure Key Vault: its secrets, behind the challenge and the vault's own access check.
// Which vault that is, its mode and its role assignments come from the ARM service, seen with the lag of the vault plane.
package vault

import (
	"cmp"
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

// Service is the data plane of one vault.
type Service struct {
	env     service.Env
	arm     *arm.Service
	name    string
	secrets *replica.Table[Secret]
}

// New makes the data plane of the vault with the name, and its table: make it once for each vault, before the store is told to
// persist. Vaults that have the name one after the other share the table and nothing in it.
func New(env service.Env, a *arm.Service, name string) *Service {
	s := &Service{env: env, arm: a, name: name}
	s.secrets = replica.NewTable(env.Dir.Store, "vault."+strings.ToLower(name), map[string]func(Secret) []string{
		"vault": func(x Secret) []string { return []string{x.Vault} },
	})
	a.OnPurge(name, func(tx replica.Tx, incarnation string) {
		for _, x := range s.secrets.By(tx.View, "vault", incarnation) {
			s.secrets.Delete(tx, key(incarnation, x.Name))
		}
	})
	return s
}

// key is the id of a secret in the table: the vault's incarnation and the name.
func key(incarnation, name string) string {
	name = strings.ToLower(name)
	if incarnation == "" {
		return name
	}
	return incarnation + "/" + name
}

// call is one request of an authenticated caller.
type call struct {
	method string
	path   []string
	query  url.Values
	base   string // https://{host}, which ids begin with
	who    authority.Claims
	vault  arm.Resource
	body   []byte
}

// reply is one answer; effect is what writes, on the primary.
type (
	reply struct {
		status int
		body   any
		header string // WWW-Authenticate
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

// ServeHTTP answers one request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("x-ms-request-id", s.env.NewID())
	h.Set("x-ms-keyvault-service-version", "localcloud")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache")
	rep := s.answer(r)
	if rep.header != "" {
		h.Set("WWW-Authenticate", rep.header)
	}
	if rep.body == nil {
		w.WriteHeader(rep.status)
		return
	}
	service.JSON(w, rep.status, rep.body)
}

func (s *Service) answer(r *http.Request) (rep reply) {
	who, challenge := s.authenticate(r.Header.Get("Authorization"))
	if challenge != nil {
		return *challenge
	}
	c := &call{method: r.Method, query: r.URL.Query(), base: "https://" + r.Host, who: who}
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
	var do effect
	s.env.Dir.Store.Read(replica.Vault, func(v replica.View) { rep, do = s.route(v, c) })
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
	r.header = fmt.Sprintf(`Bearer authorization="%s/%s", resource="%s"`, s.env.Endpoints().Login, s.env.Dir.Tenant.ID, Resource)
	return who, &r
}

// decode reads the request body.
func (c *call) decode(v any) *reply {
	if json.Unmarshal(c.body, v) != nil {
		r := badParameter("The request body is not valid JSON of the expected shape.")
		return &r
	}
	return nil
}

// right is one thing that a caller can do with secrets, in the words of both modes of a vault.
type right struct{ action, policy string }

var (
	getSecret = right{"secrets/getSecret/action", "get"}
	setSecret = right{"secrets/setSecret/action", "set"}
	readMeta  = right{"secrets/readMetadata/action", "list"}
	getMeta   = right{"secrets/readMetadata/action", "get"}
	update    = right{"secrets/update/action", "set"}
	remove    = right{"secrets/delete", "delete"}
	purge     = right{"secrets/purge/action", "purge"}
	recovery  = right{"secrets/recover/action", "recover"}
	backup    = right{"secrets/backup/action", "backup"}
	restore   = right{"secrets/restore/action", "restore"}
)

// may is nil if the caller has the right on the secret, or on the vault if name is empty.
func (s *Service) may(v replica.View, c *call, need right, name string) *reply {
	region := cmp.Or(c.vault.Location(), "eastus")
	caller := fmt.Sprintf("appid=%s;oid=%s;iss=https://sts.windows.net/%s/", c.who.Client(), c.who.ObjectID, s.env.Dir.Tenant.ID)
	var no reply
	if rbac, _ := c.vault.Properties()["enableRbacAuthorization"].(bool); rbac {
		scope, operation := c.vault.ID, "Microsoft.KeyVault/vaults/"+need.action
		if name != "" {
			scope += "/secrets/" + name
		}
		if s.arm.Allowed(v, c.who.ObjectID, scope, operation, true) {
			return nil
		}
		no = fail(http.StatusForbidden, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\n"+
			"If role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\n"+
			"Caller: %s\r\nAction: '%s'\r\nResource: '%s'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null \r\nVault: %s;location=%s\r\n", caller, operation, strings.ToLower(scope), s.name, region)
	} else {
		if s.inPolicy(v, c, need.policy) {
			return nil
		}
		no = fail(http.StatusForbidden, "Forbidden", "ForbiddenByPolicy", "The user, group or application '%s' does not have secrets %s permission on key vault '%s;location=%s'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287", caller, need.policy, s.name, region)
	}
	return &no
}

// inPolicy tells whether an access policy of the vault gives the caller, or a group of the caller, the permission on secrets.
func (s *Service) inPolicy(v replica.View, c *call, permission string) bool {
	mine := map[string]bool{strings.ToLower(c.who.ObjectID): true}
	for _, g := range s.env.Dir.GroupsOf(v, c.who.ObjectID) {
		mine[g] = true
	}
	policies, _ := c.vault.Properties()["accessPolicies"].([]any)
	for _, p := range policies {
		policy, _ := p.(object)
		who, _ := policy["objectId"].(string)
		if !mine[strings.ToLower(who)] {
			continue
		}
		granted, _ := policy["permissions"].(object)
		secrets, _ := granted["secrets"].([]any)
		for _, g := range secrets {
			if text, _ := g.(string); strings.EqualFold(text, permission) || strings.EqualFold(text, "all") {
				return true
			}
		}
	}
	return false
}
