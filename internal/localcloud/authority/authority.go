// Package authority signs the local cloud's access tokens and verifies them for its services.
//
// Tokens are RS256 JWTs with the claims of Entra's v1.0 and v2.0 access tokens (Microsoft, access-token-claims-reference). Their
// issuer is the local cloud's own, which no real audience trusts.
package authority

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Claims are the claims that services look at. Times are Unix seconds.
type Claims struct {
	Audience  string   `json:"aud"`
	Issuer    string   `json:"iss"`
	IssuedAt  int64    `json:"iat"`
	NotBefore int64    `json:"nbf"`
	Expires   int64    `json:"exp"`
	TenantID  string   `json:"tid"`
	ObjectID  string   `json:"oid"`
	Subject   string   `json:"sub"`
	AppID     string   `json:"appid,omitempty"`    // v1
	AppIDAcr  string   `json:"appidacr,omitempty"` // v1: "0" public client, "1" secret, "2" certificate or assertion
	AZP       string   `json:"azp,omitempty"`      // v2
	AZPAcr    string   `json:"azpacr,omitempty"`   // v2
	IDType    string   `json:"idtyp,omitempty"`    // "app" or "user"
	Version   string   `json:"ver"`
	Scope     string   `json:"scp,omitempty"`   // delegated permissions, space separated
	Roles     []string `json:"roles,omitempty"` // application permissions
	WIDs      []string `json:"wids,omitempty"`  // directory roles, by template id
	UPN       string   `json:"upn,omitempty"`
	Name      string   `json:"name,omitempty"`
	AppName   string   `json:"app_displayname,omitempty"`
	UTI       string   `json:"uti,omitempty"`
	XmsCC     []string `json:"xms_cc,omitempty"`
	XmsMiRID  string   `json:"xms_mirid,omitempty"` // resource id of the managed identity
	IDP       string   `json:"idp,omitempty"`
	RH        string   `json:"rh,omitempty"`
	AIO       string   `json:"aio,omitempty"`
	XmsFTD    string   `json:"xms_ftd,omitempty"` // v2; Microsoft's own, opaque

	// Of Entra Agent ID (Microsoft, "Token claims reference for agents"). Facets and relations are numbers, space separated.
	XmsParAppAZP string `json:"xms_par_app_azp,omitempty"` // the blueprint of the agent identity that is azp or appid
	XmsActFct    string `json:"xms_act_fct,omitempty"`     // facets of the actor
	XmsSubFct    string `json:"xms_sub_fct,omitempty"`     // facets of the subject
	XmsIDRel     string `json:"xms_idrel,omitempty"`       // how the subject is related to the tenant
	XmsFICInfo   string `json:"xms_ficinfo,omitempty"`     // of tokens for the exchange; opaque
}

// Client is the app id of the client, in either version's claim.
func (c Claims) Client() string {
	if c.AppID != "" {
		return c.AppID
	}
	return c.AZP
}

// App tells whether the token is an application's own, without a user.
func (c Claims) App() bool { return c.Scope == "" && c.UPN == "" && c.IDType != "user" }

// Scopes are the delegated permissions.
func (c Claims) Scopes() []string { return strings.Fields(c.Scope) }

// What Verify can answer. Services put them into the words of their own protocol.
var (
	ErrMissing   = errors.New("no bearer token")
	ErrMalformed = errors.New("not a token of this authority")
	ErrExpired   = errors.New("the token is expired")
	ErrNotYet    = errors.New("the token is not valid yet")
	ErrAudience  = errors.New("the token is for another audience")
	ErrIssuer    = errors.New("the token is from another issuer")
	ErrKind      = errors.New("the token is no access token")
)

// Authority holds the signing key.
type Authority struct {
	Now func() time.Time // the cloud's clock, its offset included

	key *rsa.PrivateKey
	der []byte // certificate of the key, for x5c
	kid string
	iss func(version string) string
}

// New makes an authority; issuer gives the issuer of a token version ("1.0" or "2.0"). A nil key means a fresh one; reusing one saves
// tests the time to make it.
func New(now func() time.Time, issuer func(version string) string, key *rsa.PrivateKey) (*Authority, error) {
	if key == nil {
		var err error
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return nil, err
		}
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Leastkey local cloud token signing"}, NotBefore: now().Add(-time.Hour), NotAfter: now().AddDate(10, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(key.N.Bytes())
	return &Authority{Now: now, key: key, der: der, kid: base64.RawURLEncoding.EncodeToString(sum[:20]), iss: issuer}, nil
}

// Key is the signing key, for a state file of the local cloud.
func (a *Authority) Key() *rsa.PrivateKey { return a.key }

// Issuer is the issuer of a token version, "1.0" or "2.0".
func (a *Authority) Issuer(version string) string { return a.iss(version) }

// Mint signs the claims; it sets the issuer by c.Version ("" means "1.0") unless c.Issuer is set.
func (a *Authority) Mint(c Claims) (string, error) {
	if c.Version == "" {
		c.Version = "1.0"
	}
	if c.Issuer == "" {
		c.Issuer = a.iss(c.Version)
	}
	return a.sign(c, a.header(c.Version == "1.0", ""))
}

// MintID signs the claims of an ID token, which Verify refuses. x5t adds that header, as Entra does in v1 tokens.
func (a *Authority) MintID(claims any, x5t bool) (string, error) {
	return a.sign(claims, a.header(x5t, idToken))
}

// jose is the header of a token (RFC 7515 section 4). Kind is a name of this cloud's own, which clients are to ignore.
type jose struct {
	Type  string `json:"typ"`
	Alg   string `json:"alg"`
	KeyID string `json:"kid"`
	X5T   string `json:"x5t,omitempty"`
	Kind  string `json:"kind,omitempty"` // idToken; an access token's header is as Entra's
}

const idToken = "id"

func (a *Authority) header(x5t bool, kind string) jose {
	h := jose{Type: "JWT", Alg: "RS256", KeyID: a.kid, Kind: kind}
	if x5t {
		h.X5T = a.kid
	}
	return h
}

func (a *Authority) sign(claims any, head jose) (string, error) {
	h, err := json.Marshal(head)
	if err != nil {
		return "", err
	}
	p, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	input := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(p)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

// Verify reads an Authorization header and checks signature, times, issuer, audience (one of audiences, compared without a trailing
// slash and without regard to case) and that it is an access token.
func (a *Authority) Verify(header string, audiences ...string) (Claims, error) {
	var c Claims
	scheme, raw, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || raw == "" {
		return c, ErrMissing
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return c, ErrMalformed
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return c, ErrMalformed
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(&a.key.PublicKey, crypto.SHA256, sum[:], sig) != nil {
		return c, ErrMalformed
	}
	var head jose
	if h, err := base64.RawURLEncoding.DecodeString(parts[0]); err != nil || json.Unmarshal(h, &head) != nil {
		return c, ErrMalformed
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return c, ErrMalformed
	}
	now := a.Now().Unix()
	switch {
	case c.Issuer != a.iss("1.0") && c.Issuer != a.iss("2.0"):
		return c, ErrIssuer
	case c.Expires <= now:
		return c, ErrExpired
	case c.NotBefore > now+300:
		return c, ErrNotYet
	}
	want := fold(c.Audience)
	if !slices.ContainsFunc(audiences, func(a string) bool { return fold(a) == want }) {
		return c, ErrAudience
	}
	if head.Kind != "" {
		return c, ErrKind
	}
	return c, nil
}

func fold(audience string) string { return strings.ToLower(strings.TrimRight(audience, "/")) }

// JWKS is the key set document (RFC 7517) with the members Entra gives.
func (a *Authority) JWKS() map[string]any {
	e := big.NewInt(int64(a.key.E)).Bytes()
	return map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": a.kid, "x5t": a.kid, "issuer": a.iss("2.0"),
		"n":   base64.RawURLEncoding.EncodeToString(a.key.N.Bytes()),
		"e":   base64.RawURLEncoding.EncodeToString(e),
		"x5c": []string{base64.StdEncoding.EncodeToString(a.der)},
	}}}
}
