package token

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	authority = "https://login.leastkey.test"
	tenant    = "11111111-0000-4000-8000-000000000001"
	clientID  = "22222222-0000-4000-8000-000000000002"
	scope     = "https://graph.microsoft.com/.default"
	canary    = "eyJCANARY.eyJCANARY.CANARY"
)

// login is a login service that answers as it is told and remembers what it was asked.
type login struct {
	mu     sync.Mutex
	asked  []asked
	answer func(n int, r asked) reply
}

type asked struct {
	method, url string
	form        url.Values
}

type reply struct {
	status int
	body   any // text, or what is sent as JSON
	header http.Header
	err    error
}

func (l *login) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	a := asked{method: r.Method, url: r.URL.String()}
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		if a.form, err = url.ParseQuery(string(b)); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	l.asked = append(l.asked, a)
	n := len(l.asked)
	l.mu.Unlock()
	out := l.answer(n, a)
	if out.err != nil {
		return nil, out.err
	}
	text, ok := out.body.(string)
	if !ok {
		b, err := json.Marshal(out.body)
		if err != nil {
			return nil, err
		}
		text = string(b)
	}
	if out.header == nil {
		out.header = http.Header{}
	}
	return &http.Response{StatusCode: out.status, Header: out.header, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func (l *login) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.asked)
}

func grants(token string) reply {
	return reply{status: 200, body: map[string]any{"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token}}
}

func refuses(status, number int, oauth, text string) reply {
	return reply{status: status, body: map[string]any{
		"error": oauth, "error_codes": []int{number},
		"error_description": text + " Trace ID: 9c0a4fe6-0000-4000-8000-000000000000 Correlation ID: 9c0a4fe6-0000-4000-8000-000000000001 Timestamp: 2026-08-13 21:24:29Z",
	}}
}

func always(r reply) *login { return &login{answer: func(int, asked) reply { return r }} }

func client(t *testing.T, l *login, change ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{Authority: authority, HTTP: l, Now: func() time.Time { return time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC) }}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pair is one key with its certificate for the whole package: making RSA keys is slow.
var pair = sync.OnceValues(func() (*rsa.PrivateKey, []byte) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key, certificate(key)
})

func certificate(key crypto.Signer) []byte {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return der
}

// opaque hides that the key is an RSA key in memory, as a TPM or a vault does.
type opaque struct{ key *rsa.PrivateKey }

func (o opaque) Public() crypto.PublicKey { return o.key.Public() }
func (o opaque) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return o.key.Sign(r, digest, opts)
}

func (c *Client) certificateLogin(ctx context.Context) error {
	key, der := pair()
	_, err := c.Certificate(ctx, tenant, clientID, opaque{key}, der, scope)
	return err
}
