package token

import (
	"crypto"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// The audience and the greatest life of a proof of possession (Microsoft Graph, "Generate proof-of-possession tokens for rolling keys").
const (
	proofAudience = "00000002-0000-0000-c000-000000000000"
	proofLife     = 10 * time.Minute
)

// Proof makes the proof of possession that addKey and removeKey of Microsoft Graph want: a token, signed with a key whose certificate is
// on the object and valid, that names the object by its object id (not its client id). Graph takes RS256 here.
//
// fault.Invalid: the object id is none, or the certificate is not the key's.
func Proof(signer crypto.Signer, der []byte, objectID string, now time.Time) (string, error) {
	if !agent.IsGUID(objectID) {
		return "", fault.New(fault.Invalid, "prove possession: the object id is not a GUID", "")
	}
	if err := matches(signer, der); err != nil {
		return "", err
	}
	thumbprint := sha1.Sum(der) // the page's own sample names the certificate so; nothing rests on the hash's strength
	header := struct {
		Alg string `json:"alg"`
		Typ string `json:"typ"`
		X5t string `json:"x5t"`
	}{"RS256", "JWT", base64.RawURLEncoding.EncodeToString(thumbprint[:])}
	claims := struct {
		Aud string `json:"aud"`
		Iss string `json:"iss"`
		Nbf int64  `json:"nbf"`
		Exp int64  `json:"exp"`
	}{proofAudience, objectID, now.Unix(), now.Add(proofLife).Unix()}
	input, err := signingInput(header, claims)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256([]byte(input))
	signature, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return "", &fault.Error{Code: codeOr(err, fault.Unavailable), Op: "sign proof of possession", Err: err}
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
