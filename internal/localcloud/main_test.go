package localcloud

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testKey is made once: making an RSA key takes longer than most tests.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func open(t *testing.T, cfg Config) *Cloud {
	t.Helper()
	if cfg.SigningKey == nil {
		cfg.SigningKey = testKey()
	}
	if cfg.OperatorKey == nil {
		cfg.OperatorKey = testKey()
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func listen(t *testing.T, cfg Config) *Cloud {
	t.Helper()
	c := open(t, cfg)
	if err := c.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func get(ctx context.Context, rt http.RoundTripper, url string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return rt.RoundTrip(r)
}

// discovery is a URL that needs no token.
func discovery(c *Cloud) string {
	return c.Endpoints().Login + "/" + c.TenantID() + "/v2.0/.well-known/openid-configuration"
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
