package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// Issuer is an OpenID Connect issuer that a cloud can trust for federated credentials: it serves its metadata and its keys over TLS, with
// an authority of its own, which the cloud is told by `cloud serve --issuer-ca FILE`.
type Issuer struct {
	URL    string // what its tokens name as iss
	CAFile string // PEM

	key    *rsa.PrivateKey
	kid    string
	server *httptest.Server
	asked  atomic.Int64 // how often for its keys
}

// NewIssuer serves an issuer until the end of the test.
func NewIssuer(t *testing.T) *Issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	i := &Issuer{key: key, kid: "key-1", CAFile: filepath.Join(t.TempDir(), "issuer-ca.pem")}
	pair, authority := pairFor(t, "localhost")
	must(t, os.WriteFile(i.CAFile, authority, 0o600))
	i.server = httptest.NewUnstartedServer(i)
	i.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	i.server.Config.ErrorLog = log.New(io.Discard, "", 0) // a cloud that is not told the authority breaks the handshake off
	i.server.StartTLS()
	t.Cleanup(i.server.Close)
	_, port, err := net.SplitHostPort(i.server.Listener.Addr().String())
	must(t, err)
	i.URL = "https://localhost:" + port
	return i
}

// pairFor makes an authority, and a certificate that it has signed for a host.
func pairFor(t *testing.T, host string) (pair tls.Certificate, authority []byte) {
	t.Helper()
	make := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		if signer == nil {
			parent, signer = template, key
		}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		must(t, err)
		c, err := x509.ParseCertificate(der)
		must(t, err)
		return c, key
	}
	root, rootKey := make(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Authority of a test issuer"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	leaf, leafKey := make(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, root, rootKey)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: leafKey}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})
}

// ServeHTTP implements [http.Handler]: the metadata of OpenID Connect Discovery 1.0, and a JWK set (RFC 7517).
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var answer any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		answer = map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "response_types_supported": []string{"id_token"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		}
	case "/keys":
		i.asked.Add(1)
		answer = map[string]any{"keys": []map[string]string{{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": i.kid,
			"n": base64.RawURLEncoding.EncodeToString(i.key.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(i.key.E)).Bytes()),
		}}}
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the cloud that has gone away needs none
}

// Token is a token of the issuer for a workload, valid for ten minutes.
func (i *Issuer) Token(subject, audience string) (string, error) {
	return i.token(i.key, i.kid, subject, audience)
}

// Forged is a token that says it is signed with the issuer's key, and is not.
func (i *Issuer) Forged(subject, audience string) (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", err
	}
	return i.token(key, i.kid, subject, audience)
}

func (i *Issuer) token(key *rsa.PrivateKey, kid, subject, audience string) (string, error) {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": i.URL, "sub": subject, "aud": audience, "jti": uuid.NewString(),
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	})
	t.Header["kid"] = kid
	return t.SignedString(key)
}

// KeyFetches is how often its keys were fetched.
func (i *Issuer) KeyFetches() int { return int(i.asked.Load()) }
