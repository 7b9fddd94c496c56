package graph

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
)

// proof is a proof-of-possession token, taken apart (Microsoft Graph, "Generate proof-of-possession tokens for rolling keys").
type proof struct {
	algorithm  string
	thumbprint []byte // of the certificate: SHA-1 (x5t) or SHA-256 (x5t#S256)
	audience   string
	issuer     string
	notBefore  float64 // Unix seconds; some libraries write fractions
	expires    float64
	signed     string // header and claims as they were signed
	signature  []byte
}

// Limits of a proof. The skew is what Entra allows on tokens.
const (
	proofLife = 10 * time.Minute
	proofSkew = 5 * time.Minute
)

func proofMalformed() *problem {
	return &problem{status: http.StatusUnauthorized, code: "Authentication_MissingOrMalformed", message: "Access Token missing or malformed."}
}

func proofRefused(reason string) *problem {
	return &problem{status: http.StatusUnauthorized, code: "Authentication_Unauthorized", message: "The proof of possession is not valid: " + reason + "."}
}

// parseProof takes the token apart. Segments are base64url without padding; with padding the service refuses them (Microsoft's page
// says so expressly).
func parseProof(token string) (proof, error) {
	var p proof
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return p, proofMalformed()
	}
	var header struct {
		Alg string `json:"alg"`
		X5T string `json:"x5t"`
		S   string `json:"x5t#S256"`
	}
	var claims struct {
		Aud string   `json:"aud"`
		Iss string   `json:"iss"`
		Nbf *float64 `json:"nbf"`
		Exp *float64 `json:"exp"`
	}
	for i, into := range []any{&header, &claims} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil || json.Unmarshal(raw, into) != nil {
			return p, proofMalformed()
		}
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || claims.Nbf == nil || claims.Exp == nil {
		return p, proofMalformed()
	}
	print, ok := thumbprint(header.X5T, sha1.Size)
	if !ok {
		if print, ok = thumbprint(header.S, sha256.Size); !ok {
			return p, proofMalformed()
		}
	}
	return proof{header.Alg, print, claims.Aud, claims.Iss, *claims.Nbf, *claims.Exp, parts[0] + "." + parts[1], signature}, nil
}

// thumbprint decodes x5t or x5t#S256 in any of the alphabets and paddings that clients use (observed 2026-08).
func thumbprint(text string, size int) ([]byte, bool) {
	text = strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(text), "=")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	return raw, err == nil && len(raw) == size
}

// check verifies the proof for an object against its certificates.
func (p proof) check(objectID string, keys []directory.KeyCredential, now time.Time) error {
	at := float64(now.UnixNano()) / 1e9
	switch {
	case p.algorithm != "RS256":
		return proofRefused("its algorithm is not RS256")
	case p.audience != directory.AADGraphAppID:
		return proofRefused("its audience is not " + directory.AADGraphAppID)
	case !strings.EqualFold(p.issuer, objectID):
		return proofRefused("its issuer is not the id of the object")
	case p.expires > p.notBefore+proofLife.Seconds():
		return proofRefused("it is valid for more than ten minutes")
	case p.expires <= at:
		return &problem{status: http.StatusUnauthorized, code: "Authentication_ExpiredToken", message: "Your access token has expired. Please renew it before submitting the request."}
	case p.notBefore > at+proofSkew.Seconds():
		return proofRefused("it is not valid yet")
	}
	for _, k := range keys {
		if k.Type != certificate || k.Usage != "Verify" || now.Before(k.StartDateTime) || !now.Before(k.EndDateTime) || !p.names(k.Key) {
			continue
		}
		cert, err := x509.ParseCertificate(k.Key)
		if err != nil {
			continue
		}
		public, ok := cert.PublicKey.(*rsa.PublicKey)
		sum := sha256.Sum256([]byte(p.signed))
		if ok && rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], p.signature) == nil {
			return nil
		}
	}
	return proofRefused("no valid certificate of the object signed it")
}

// names tells whether the proof names the certificate.
func (p proof) names(der []byte) bool {
	if len(p.thumbprint) == sha1.Size {
		sum := sha1.Sum(der)
		return string(sum[:]) == string(p.thumbprint)
	}
	sum := sha256.Sum256(der)
	return string(sum[:]) == string(p.thumbprint)
}

// prove verifies a proof for the object of the path, with the certificates that the request's replica shows.
func (c *call) prove(token string) error {
	p, err := parseProof(token)
	if err != nil {
		return err
	}
	h := c.shown()
	return p.check(h.id, *h.keys, c.s.env.Now())
}
