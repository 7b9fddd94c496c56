package entra

import (
	"crypto"
	"crypto/rsa"
	_ "crypto/sha512" // SHA-384 and SHA-512 of RS384 and RS512
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// skew is how far a client's clock may be off (Microsoft, "Configurable token lifetimes": five minutes either way).
const skew = 5 * time.Minute

// assertion is a client assertion (RFC 7523 §2.2), taken apart and not yet believed.
type assertion struct {
	raw    string
	signed string // header and payload as they were signed
	sig    []byte
	header struct {
		Alg     string `json:"alg"`
		KeyID   string `json:"kid"`
		X5T     string `json:"x5t"`
		X5TS256 string `json:"x5t#S256"`
		// Crit names extensions that must be understood, and here none is (RFC 7515 §4.1.11).
		Crit json.RawMessage `json:"crit"`
	}
	claims struct {
		Issuer    string       `json:"iss"`
		Subject   string       `json:"sub"`
		Audience  audience     `json:"aud"`
		ID        string       `json:"jti"`
		Expires   *numericDate `json:"exp"`
		NotBefore *numericDate `json:"nbf"`
		IssuedAt  *numericDate `json:"iat"`
	}
}

// audience is one text or a list of them (RFC 7519 §4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(a))
	}
	var one string
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*a = nil
	if one != "" {
		*a = audience{one}
	}
	return nil
}

// numericDate is seconds since 1970, possibly with a fraction (RFC 7519 §2; MSAL Python sends fractions).
type numericDate float64

// year9999 keeps a claim of any size inside what time.Time can print.
const year9999 = 253402300799

func (n numericDate) time() time.Time {
	f := min(max(float64(n), 0), year9999)
	sec := int64(f)
	return time.Unix(sec, int64((f-float64(sec))*1e9))
}

func malformed() *failure { return badClient(50027, "JWT token is invalid or malformed.") }

// parseAssertion reads the compact form (RFC 7515 §7.1).
func parseAssertion(raw string) (*assertion, *failure) {
	bad := malformed()
	a := &assertion{raw: raw}
	last := strings.LastIndexByte(raw, '.')
	if last < 0 {
		return nil, bad
	}
	a.signed = raw[:last]
	head, body, ok := strings.Cut(a.signed, ".")
	if !ok || strings.Contains(body, ".") {
		return nil, bad
	}
	h, err1 := base64.RawURLEncoding.DecodeString(head)
	p, err2 := base64.RawURLEncoding.DecodeString(body)
	sig, err3 := base64.RawURLEncoding.DecodeString(raw[last+1:])
	if err1 != nil || err2 != nil || err3 != nil || json.Unmarshal(h, &a.header) != nil || json.Unmarshal(p, &a.claims) != nil {
		return nil, bad
	}
	a.sig = sig
	return a, nil
}

// algorithms are the signature algorithms that are accepted: the ones that Entra's own error lists, and PS256, which Microsoft's page
// on certificate credentials recommends.
var algorithms = map[string]crypto.Hash{"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512, "PS256": crypto.SHA256}

// complete checks what can be checked without knowing the client: the algorithm, and that nothing required is missing.
func (a *assertion) complete() *failure {
	if a.header.Crit != nil {
		return malformed() // which code Entra uses was not seen live
	}
	if _, ok := algorithms[a.header.Alg]; !ok {
		return badClient(5002738, "Invalid JWT token. '%s' is not a supported signature algorithm. Supported signing algorithms are: 'RS256,RS384,RS512,PS256'", a.header.Alg)
	}
	name := ""
	switch c := a.claims; {
	case c.Issuer == "":
		name = "iss"
	case c.Subject == "":
		name = "sub"
	case len(c.Audience) == 0:
		name = "aud"
	case c.Expires == nil:
		name = "exp"
	}
	if name != "" {
		return badRequest(90014, "The required field '%s' is missing from the credential. Ensure that you have all the necessary parameters for the login request.", name)
	}
	return nil
}

// timely checks nbf and exp. How long an assertion may live is not limited, as in Entra.
func (a *assertion) timely(now time.Time) *failure {
	start := time.Time{}
	switch c := a.claims; {
	case c.NotBefore != nil:
		start = c.NotBefore.time()
	case c.IssuedAt != nil: // shown in the answer only
		start = c.IssuedAt.time()
	}
	end := a.claims.Expires.time()
	if now.After(end.Add(skew)) || a.claims.NotBefore != nil && now.Add(skew).Before(start) {
		return badClient(700024, "Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s. Review the documentation at https://learn.microsoft.com/entra/identity-platform/certificate-credentials .", instant(now), instant(start), instant(end))
	}
	return nil
}

// signedBy checks the signature.
func (a *assertion) signedBy(key *rsa.PublicKey) bool {
	hash := algorithms[a.header.Alg]
	h := hash.New()
	h.Write([]byte(a.signed))
	if strings.HasPrefix(a.header.Alg, "PS") {
		// RFC 7518 §3.5: the salt is as long as the hash.
		return rsa.VerifyPSS(key, hash, h.Sum(nil), a.sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	return rsa.VerifyPKCS1v15(key, hash, h.Sum(nil), a.sig) == nil
}

// thumbprint is the certificate hash that the header names: 20 bytes for SHA-1, 32 for SHA-256, nil if it names none. Clients write
// it as they like: MSAL Go sends padded standard base64, MSAL Python padded base64url, RFC 7515 says base64url without padding, and a
// kid is often the thumbprint in hex.
func (a *assertion) thumbprint() []byte {
	for _, s := range []string{a.header.X5TS256, a.header.X5T, a.header.KeyID} {
		if s == "" {
			continue
		}
		if b, err := hex.DecodeString(s); err == nil && isHash(b) {
			return b
		}
		plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
		if b, err := base64.RawStdEncoding.DecodeString(plain); err == nil && isHash(b) {
			return b
		}
		return []byte(s) // names a key that nobody has
	}
	return nil
}

func isHash(b []byte) bool { return len(b) == 20 || len(b) == 32 }
