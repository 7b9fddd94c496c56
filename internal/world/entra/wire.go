package entra

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

const (
	applicationFields = "id,appId,displayName,uniqueName,createdDateTime,signInAudience,isFallbackPublicClient,web,spa,publicClient,keyCredentials,passwordCredentials"
	principalFields   = "id,appId,accountEnabled,keyCredentials,passwordCredentials"
	certificateType   = "AsymmetricX509Cert"
)

// application is an app registration on the wire.
type application struct {
	ID             string        `json:"id"`
	AppID          string        `json:"appId"`
	DisplayName    string        `json:"displayName"`
	UniqueName     string        `json:"uniqueName"`
	SignInAudience string        `json:"signInAudience"`
	Fallback       *bool         `json:"isFallbackPublicClient"` // null is no
	Created        time.Time     `json:"createdDateTime"`
	Web            web           `json:"web"`
	SPA            redirects     `json:"spa"`
	PublicClient   redirects     `json:"publicClient"`
	Keys           []keyEntry    `json:"keyCredentials"`
	Passwords      []passwordHas `json:"passwordCredentials"`
}

type redirects struct {
	URIs []string `json:"redirectUris"`
}

type web struct {
	redirects
	Implicit struct {
		AccessTokens bool `json:"enableAccessTokenIssuance"`
		IDTokens     bool `json:"enableIdTokenIssuance"`
	} `json:"implicitGrantSettings"`
}

func (a application) domain() (agent.Application, error) {
	if !agent.IsGUID(a.ID) || !agent.IsGUID(a.AppID) {
		return agent.Application{}, fault.New(fault.Unknown, "graph: the answer is not an application", "check --cloud and the proxy")
	}
	return agent.Application{
		ID: a.ID, AppID: a.AppID, DisplayName: a.DisplayName, UniqueName: a.UniqueName, SignInAudience: a.SignInAudience,
		RedirectURIs: slices.Concat(a.Web.URIs, a.SPA.URIs, a.PublicClient.URIs),
		Implicit:     a.Web.Implicit.AccessTokens || a.Web.Implicit.IDTokens,
		Public:       a.Fallback != nil && *a.Fallback,
		Certificates: certificates(a.Keys), Passwords: passwords(a.Passwords),
	}, nil
}

// principal is a service principal on the wire.
type principal struct {
	ID        string        `json:"id"`
	AppID     string        `json:"appId"`
	Enabled   *bool         `json:"accountEnabled"`
	Keys      []keyEntry    `json:"keyCredentials"`
	Passwords []passwordHas `json:"passwordCredentials"`
}

func (p principal) domain() (agent.Principal, error) {
	if !agent.IsGUID(p.ID) || !agent.IsGUID(p.AppID) {
		return agent.Principal{}, fault.New(fault.Unknown, "graph: the answer is not a service principal", "check --cloud and the proxy")
	}
	// Absent counts as enabled: who asks wants to know whether somebody could still log in.
	return agent.Principal{ID: p.ID, AppID: p.AppID, Enabled: p.Enabled == nil || *p.Enabled, Certificates: certificates(p.Keys), Passwords: passwords(p.Passwords)}, nil
}

// keyEntry is a key credential on the wire. A null is sent back as the null that was read, because an entry that looks changed is
// refused ("Update to existing credential with KeyId … is not allowed"). The key alone may be null in the request where the entry has
// one: Graph then keeps it (Microsoft, "Update application").
type keyEntry struct {
	Custom      *string   `json:"customKeyIdentifier"`
	DisplayName *string   `json:"displayName"`
	End         time.Time `json:"endDateTime"`
	Key         *string   `json:"key"` // base64; null in lists
	KeyID       string    `json:"keyId"`
	Start       time.Time `json:"startDateTime"`
	Type        string    `json:"type"`
	Usage       string    `json:"usage"`
}

func certificates(entries []keyEntry) []agent.Certificate {
	out := make([]agent.Certificate, 0, len(entries))
	for _, k := range entries {
		c := agent.Certificate{KeyID: k.KeyID, DisplayName: text(k.DisplayName), Custom: text(k.Custom), Type: k.Type, Usage: k.Usage, Start: k.Start, End: k.End}
		if der := decodeKey(text(k.Key)); der != nil {
			sum := sha256.Sum256(der)
			c.DER, c.SHA256 = der, hex.EncodeToString(sum[:])
		}
		out = append(out, c)
	}
	return out
}

// decodeKey gives the DER of a certificate that Graph showed, nil where it showed none. Some clients register the base64 of PEM text;
// Edm.Binary is base64url by the OData standard and plain base64 in Graph's answers.
func decodeKey(s string) []byte {
	if s == "" {
		return nil
	}
	plain := strings.NewReplacer("-", "+", "_", "/", "\r", "", "\n", "", "=", "").Replace(s)
	der, err := base64.RawStdEncoding.DecodeString(plain)
	if err != nil {
		return nil
	}
	if bytes.HasPrefix(bytes.TrimSpace(der), []byte("-----BEGIN CERTIFICATE")) {
		block, _ := pem.Decode(der)
		if block == nil {
			return nil
		}
		der = block.Bytes
	}
	return der
}

// kept is an entry that stays, as it was read but for its key.
func kept(c agent.Certificate) keyEntry {
	return keyEntry{Custom: pointer(c.Custom), DisplayName: pointer(c.DisplayName), End: c.End.UTC(), KeyID: c.KeyID, Start: c.Start.UTC(), Type: c.Type, Usage: c.Usage}
}

// added is a new entry. Its dates are the certificate's, and what is sent is proved to be a certificate and nothing more: no private
// key can go out this way.
func added(c agent.Certificate) (keyEntry, error) {
	cert, err := x509.ParseCertificate(c.DER)
	if err != nil || !agent.IsGUID(c.KeyID) {
		return keyEntry{}, fault.New(fault.Invalid, "register certificate: not a certificate with a key id", "")
	}
	encoded := base64.StdEncoding.EncodeToString(cert.Raw)
	return keyEntry{DisplayName: pointer(c.DisplayName), End: cert.NotAfter.UTC(), Key: &encoded, KeyID: c.KeyID, Start: cert.NotBefore.UTC(), Type: certificateType, Usage: "Verify"}, nil
}

// passwordHas is what Graph tells of a password credential after its creation: never the password.
type passwordHas struct {
	DisplayName *string   `json:"displayName"`
	End         time.Time `json:"endDateTime"`
	Hint        *string   `json:"hint"`
	KeyID       string    `json:"keyId"`
	Start       time.Time `json:"startDateTime"`
}

func passwords(entries []passwordHas) []agent.Password {
	out := make([]agent.Password, 0, len(entries))
	for _, p := range entries {
		out = append(out, agent.Password{KeyID: p.KeyID, DisplayName: text(p.DisplayName), Hint: text(p.Hint), Start: p.Start, End: p.End})
	}
	return out
}

func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

func pointer(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
