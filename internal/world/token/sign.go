package token

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// assertionLife is short because an assertion is used at once. Entra recommends five to ten minutes (Microsoft, "Microsoft identity
// platform application authentication certificate credentials").
const assertionLife = 5 * time.Minute

// Sign makes a client assertion (RFC 7523, section 3) with the key behind signer, which may live in a keystore, a TPM or a vault: only
// its signature is asked for. The algorithm is PS256 (RFC 7518, section 3.5); der is the registered certificate, named in the header by
// its SHA-256. The audience is the address of the token endpoint.
//
// fault.Invalid: the certificate does not read, is no RSA certificate, or belongs to another key.
func Sign(signer crypto.Signer, der []byte, clientID, audience string, now time.Time) (assertion string, err error) {
	if err := matches(signer, der); err != nil {
		return "", err
	}
	thumbprint := sha256.Sum256(der)
	header := struct {
		Alg string `json:"alg"`
		Typ string `json:"typ"`
		X5t string `json:"x5t#S256"`
	}{"PS256", "JWT", base64.RawURLEncoding.EncodeToString(thumbprint[:])}
	claims := struct {
		Aud string `json:"aud"`
		Iss string `json:"iss"`
		Sub string `json:"sub"`
		Jti string `json:"jti"`
		Iat int64  `json:"iat"`
		Nbf int64  `json:"nbf"`
		Exp int64  `json:"exp"`
	}{audience, clientID, clientID, uuid.NewString(), now.Unix(), now.Unix(), now.Add(assertionLife).Unix()}

	input, err := signingInput(header, claims)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256([]byte(input))
	signature, err := signer.Sign(rand.Reader, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	if err != nil {
		return "", &fault.Error{Code: codeOr(err, fault.Unavailable), Op: "sign client assertion", Err: err}
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func signingInput(header, claims any) (string, error) {
	h, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c), nil
}

// matches tells whether the certificate is of the signer's key. Entra finds the certificate by its thumbprint and would answer a wrong
// pair with an invalid signature, which says less.
func matches(signer crypto.Signer, der []byte) error {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fault.New(fault.Invalid, "sign client assertion: the certificate does not read", "")
	}
	of, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok {
		return fault.New(fault.Invalid, "sign client assertion: not an RSA certificate", "Entra takes RSA certificates only")
	}
	if !of.Equal(signer.Public()) {
		return fault.New(fault.Invalid, "sign client assertion: certificate and key do not belong together", "leastkey plan shows the step that repairs it")
	}
	return nil
}

// codeOr is the code of a fault in err's chain, or the other one if nobody classified it.
func codeOr(err error, other fault.Code) fault.Code {
	if c := fault.CodeOf(err); c != fault.Unknown {
		return c
	}
	return other
}
