package clients

import (
	"testing"

	"github.com/leastkey/leastkey/internal/testkit/product"
)

func TestCurl(t *testing.T) {
	s := Start(t, "curl")
	env := s.Env(t, "curl")
	s.Operation(t, "discovery", func() error {
		r := product.Run(t, t.TempDir(), env, "sh", "-c", `curl -sS "$LEASTKEY_LOGIN/`+s.Cloud().TenantID+`/v2.0/.well-known/openid-configuration"`)
		t.Log(r)
		return nil
	})
}
