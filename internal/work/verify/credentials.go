package verify

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/sha1" // the state file's thumbprint is the original's, which names certificates by SHA-1
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// passwords reads both objects that can have one.
func (l *list) passwords(ctx context.Context) []finding.Finding {
	const remedy = "leastkey provisioner migrate"
	app := begin("no-password-application", "has the application no password credential?")
	sp := begin("no-password-principal", "has the service principal no password credential?")
	id := l.appID()
	if id == "" {
		return append(app.end(finding.Unknown, "nothing says which application it is", ""), sp.end(finding.Unknown, "nothing says which application it is", "")...)
	}
	if l.ask.Operator != nil {
		return append(app.unknown("who the operator is", l.ask.Operator), sp.unknown("who the operator is", l.ask.Operator)...)
	}
	one := func(c *check, asked string, read func(context.Context) ([]agent.Password, error)) []finding.Finding {
		found, err := read(ctx)
		switch {
		case fault.Is(err, fault.NotFound):
			return c.refused(asked, err)
		case err != nil:
			return c.unknown(asked, err)
		case len(found) > 0:
			c.saw(asked, fmt.Sprintf("passwordCredentials: %d (%s)", len(found), hints(found)))
			return c.end(finding.Fail, fmt.Sprintf("it has %d: whoever knows one is the Provisioner", len(found)), remedy)
		}
		c.saw(asked, "passwordCredentials: []")
		return c.pass("none")
	}
	return append(
		one(app, "GET /v1.0/applications(appId='"+id+"')", func(ctx context.Context) ([]agent.Password, error) {
			a, err := read(ctx, "the application", func(ctx context.Context) (agent.Application, error) { return l.Graph.ApplicationByAppID(ctx, id) })
			return a.Passwords, err
		}),
		one(sp, "GET /v1.0/servicePrincipals(appId='"+id+"')", func(ctx context.Context) ([]agent.Password, error) {
			p, err := read(ctx, "the service principal", func(ctx context.Context) (agent.Principal, error) { return l.Graph.Principal(ctx, id) })
			return p.Passwords, err
		})...)
}

func hints(all []agent.Password) string {
	var each []string
	for _, p := range all {
		each = append(each, "key id "+p.KeyID)
	}
	return strings.Join(each, ", ")
}

// ref is where the active key is: as the state file says, or the keystore's usual entry.
func (l *list) ref() secret.Ref {
	if ref, err := secret.ParseRef(l.file.Keystore); err == nil && l.file.Keystore != "" {
		return ref
	}
	return l.Keys.Ref(l.Tenant)
}

// keyOf opens the key and finds its certificate, which the later checks need; and looks when that ends.
func (l *list) keyOf(ctx context.Context) []finding.Finding {
	c, e := begin("key", "is the key in the keystore, and the certificate's?"), begin("certificate-life", "does the certificate live long enough?")
	none := func(all []finding.Finding) []finding.Finding {
		return append(all, e.end(finding.Skip, "there is no certificate of a key to look at", "")...)
	}
	ref := l.ref()
	l.seen.Key = ref
	key, err := l.Keys.Open(ctx, ref)
	switch {
	case fault.Is(err, fault.NotFound):
		return none(c.refused("keystore entry "+ref.String(), err))
	case err != nil:
		return none(c.unknown("keystore entry "+ref.String(), err))
	}
	c.saw("keystore entry "+ref.String(), fmt.Sprintf("a key (%T)", key.Public()))
	certs := slices.Clone(l.file.Certs)
	if beside, err := l.Keys.Certificate(ctx, ref); err == nil {
		certs = append(certs, beside)
	} else if !fault.Is(err, fault.NotFound) {
		return none(c.unknown("certificate beside "+ref.String(), err))
	}
	if g := l.ask.Record.Active(); g != nil {
		certs = append(certs, g.DER)
	}
	der := belonging(key, certs)
	if der == nil {
		return none(c.end(finding.Fail, fmt.Sprintf("%s is the key of none of the %d certificates that are known", ref, len(certs)), "leastkey provisioner rotate"))
	}
	sum, thumb := sha256.Sum256(der), sha1.Sum(der)
	l.key, l.der, l.seen.SHA256 = key, der, hex.EncodeToString(sum[:])
	if have := l.file.Thumbprint; have != "" && !strings.EqualFold(have, hex.EncodeToString(thumb[:])) {
		c.saw("file "+l.ask.State, provisioner.KeyThumbprint+" "+have)
		return append(c.end(finding.Fail, "the state file's thumbprint is of another certificate", "leastkey provisioner bootstrap"), l.life(e)...)
	}
	return append(c.pass("%s, of certificate SHA-256 %s", ref, l.seen.SHA256), l.life(e)...)
}

func belonging(key crypto.Signer, certs [][]byte) []byte {
	i := slices.IndexFunc(certs, func(der []byte) bool { return observe.Belongs(key, der) })
	if i < 0 {
		return nil
	}
	return bytes.Clone(certs[i])
}

func (l *list) life(c *check) []finding.Finding {
	cert, err := x509.ParseCertificate(l.der)
	if err != nil {
		return c.unknown("certificate "+l.seen.SHA256, err)
	}
	l.seen.NotAfter = cert.NotAfter
	c.saw("certificate "+l.seen.SHA256, "not after "+cert.NotAfter.UTC().Format("2006-01-02 15:04:05Z"))
	if f, soon := provisioner.Expiry(cert.NotBefore, cert.NotAfter, l.ask.Now); soon {
		return c.end(f.Outcome, f.Detail, f.Remedy)
	}
	return c.pass("until %s", cert.NotAfter.Format("2006-01-02"))
}

// token logs in with the certificate, once, and reads whose token it is and what it may.
func (l *list) token(ctx context.Context) []finding.Finding {
	c := begin("token", "does the certificate get a token with the right claims?")
	id := l.appID()
	switch {
	case id == "":
		return c.end(finding.Unknown, "nothing says which application it is", "")
	case l.key == nil:
		return c.end(finding.Skip, "there is no key to log in with", "")
	}
	const asked = "POST /oauth2/v2.0/token, client_credentials with the certificate"
	who, err := read(ctx, "a token", func(ctx context.Context) (api.Caller, error) { return l.Login(ctx, id, l.key, l.der) })
	switch {
	case err != nil && fault.Service(err) != "" && !fault.Is(err, fault.Throttled, fault.Unavailable):
		return c.refused(asked, err)
	case err != nil:
		return c.unknown(asked, err)
	}
	c.saw(asked, fmt.Sprintf("appid %s, appidacr %s, tid %s, %d roles", who.AppID, who.AppIDACR, who.TenantID, len(who.Roles)))
	switch {
	case !strings.EqualFold(who.AppID, id):
		return c.end(finding.Fail, "the token is of application "+who.AppID, "")
	case who.AppIDACR != "2":
		return c.end(finding.Fail, "appidacr is "+cmp.Or(who.AppIDACR, "missing")+", 2 would be a certificate", "")
	case !strings.EqualFold(who.TenantID, l.Tenant):
		return c.end(finding.Fail, "the token is of tenant "+who.TenantID, "")
	}
	want, from, err := l.permissions(ctx)
	if err != nil {
		return c.unknown("which permissions it has to have", err)
	}
	var missing []string
	for _, p := range want {
		if !slices.Contains(who.Roles, p) {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		return c.end(finding.Fail, "the token lacks "+strings.Join(missing, ", ")+", of "+from, "leastkey provisioner bootstrap consents what is missing")
	}
	return c.pass("appid is the application, appidacr 2, tid the tenant, and roles has all %d %s", len(want), from)
}

// permissions are those that the token must show: the pinned ones, or, where nobody has pinned any, the consented ones.
func (l *list) permissions(ctx context.Context) (want []string, from string, err error) {
	if p := l.ask.Record.Permissions; len(p) > 0 {
		return p, "pinned permissions", nil
	}
	if l.ask.Operator != nil {
		return nil, "", l.ask.Operator
	}
	sp, err := read(ctx, "the service principal", func(ctx context.Context) (agent.Principal, error) { return l.Graph.Principal(ctx, l.appID()) })
	if err != nil {
		return nil, "", err
	}
	type offer struct {
		id    string
		roles []provisioner.AppRole
	}
	o, err := read(ctx, "what Graph offers", func(ctx context.Context) (offer, error) {
		id, roles, err := l.Graph.AppRoles(ctx, provisioner.Graph)
		return offer{id, roles}, err
	})
	if err != nil {
		return nil, "", err
	}
	granted, err := read(ctx, "the consented permissions", func(ctx context.Context) ([]provisioner.Grant, error) { return l.Graph.Granted(ctx, sp.ID, o.id) })
	if err != nil {
		return nil, "", err
	}
	for _, g := range granted {
		for _, r := range o.roles {
			if r.ID == g.RoleID {
				want = append(want, r.Value)
			}
		}
	}
	if len(want) == 0 {
		return nil, "", errors.New("no permission is pinned, and none is consented")
	}
	return want, "consented permissions (none are pinned: leastkey provisioner bootstrap pins them)", nil
}

// helper runs the token helper as a shell would.
func (l *list) helper(ctx context.Context) []finding.Finding {
	c := begin("helper", "does the token helper print a token, and nothing else?")
	name := cmp.Or(l.ask.Helper, "provisioner-token")
	h, err := l.Helper(ctx, l.ask.Helper, l.ask.State)
	switch {
	case fault.Is(err, fault.NotFound), err != nil && h.Path != "":
		return c.refused("run "+name, err)
	case err != nil:
		return c.unknown("run "+name, err)
	}
	c.saw("run "+filepath.Base(h.Path), fmt.Sprintf("exit 0, %d bytes on stdout", h.Bytes))
	if !h.Token {
		return c.end(finding.Fail, fmt.Sprintf("%s prints %d bytes that are not one token and a line end", h.Path, h.Bytes), "scripts take whatever it prints for the token: let it print nothing else on stdout")
	}
	return c.pass("%s does", h.Path)
}
