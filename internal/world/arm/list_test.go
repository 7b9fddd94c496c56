package arm

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

const listedIn = "11111111-1111-1111-1111-111111111111"

func TestListsAreReadToTheirEnd(t *testing.T) {
	c, m := serve(t,
		ok(`{"value":[{"id":"/subscriptions/`+listedIn+`/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv-b","name":"kv-b","location":"eastus"}],"nextLink":"https://arm.leastkey.test/next?page=2"}`),
		ok(`{"value":[{"id":"/subscriptions/`+listedIn+`/resourceGroups/other/providers/Microsoft.KeyVault/vaults/KV-a","name":"KV-a","location":"westus"}]}`))
	got, err := c.Resources(t.Context(), listedIn, "", "Microsoft.KeyVault/vaults")
	if err != nil || len(got) != 2 || got[0].Name != "KV-a" || got[0].Group != "other" || got[1].Location != "eastus" {
		t.Fatalf("%+v %v", got, err)
	}
	if !strings.Contains(m.asked[0].line, "filter=resourceType+eq+%27Microsoft.KeyVault%2Fvaults%27") {
		t.Errorf("asked %s", m.asked[0].line)
	}
}

func TestAListThatFailsIsNotAnEmptyOne(t *testing.T) {
	c, _ := serve(t, problem(403, "AuthorizationFailed", "The client does not have authorization to perform action."))
	if got, err := c.Groups(t.Context(), listedIn); !fault.Is(err, fault.Forbidden) || got != nil {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range [][3]string{{"not-a-guid", "", "Microsoft.KeyVault/vaults"}, {listedIn, "a/b", "Microsoft.KeyVault/vaults"}, {listedIn, "", "Microsoft.Nothing/atAll"}} {
		if _, err := c.Resources(t.Context(), bad[0], bad[1], bad[2]); !fault.Is(err, fault.Invalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
