package arm

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// BenchmarkList shows that a listing costs what it selects, not what else there is: compare the rows of 1k and 40k unrelated assignments
// (and as many resources in other groups).
func BenchmarkList(b *testing.B) {
	for _, unrelated := range []int{1_000, 40_000} {
		f := newFixture(b)
		f.write(func(tx replica.Tx) {
			for i := range unrelated {
				group := fmt.Sprintf("/subscriptions/%s/resourceGroups/rg-%d", otherSub, i%500)
				f.assign(tx, group, "Reader", f.env.NewID(), "ServicePrincipal")
				if i%10 == 0 {
					f.AddGroup(tx, otherSub, fmt.Sprint("rg-", i%500), "eastus")
					f.resource(tx, fmt.Sprintf("%s/providers/Microsoft.BotService/botServices/bot-%d", group, i), object{"location": "global"})
				}
			}
			for range 5 {
				f.assign(tx, fmt.Sprintf("%s/providers/Microsoft.KeyVault/vaults/kv-bots/secrets/%s", rg, f.env.NewID()), "Reader", agent, "ServicePrincipal")
			}
		})
		token := "Bearer " + f.token(owner, nil)
		for _, row := range []struct{ name, method, path, body string }{
			{"by principal", "GET", sub + assignments + "?api-version=2022-04-01&$filter=principalId+eq+'" + agent + "'", ""},
			{"assigned to", "GET", rg + assignments + "?api-version=2022-04-01&$filter=assignedTo('" + agent + "')", ""},
			{"at scope", "GET", rg + assignments + "?api-version=2022-04-01&$filter=atScope()", ""},
			{"at and below", "GET", rg + assignments + "?api-version=2022-04-01", ""},
			{"resources of a group", "GET", rg + "/resources?api-version=2021-04-01", ""},
			{"resource graph by principal", "POST", graphPath + "?api-version=2024-04-01", `{"query":"authorizationresources | where type =~ 'microsoft.authorization/roleassignments' and properties.principalId =~ '` + agent + `'"}`},
		} {
			b.Run(fmt.Sprintf("%s/%dk", row.name, unrelated/1000), func(b *testing.B) {
				for b.Loop() {
					r := httptest.NewRequest(row.method, "https://arm.test"+row.path, strings.NewReader(row.body))
					r.Header.Set("Authorization", token)
					w := httptest.NewRecorder()
					if f.ServeHTTP(w, r); w.Code != 200 {
						b.Fatal(w.Body.String())
					}
				}
			})
		}
	}
}

// What the benchmark shows in time holds in memory too, where it can be asserted.
func TestAListingDoesNotGrowWithWhatIsElsewhere(t *testing.T) {
	cost := func(unrelated int) (perRun []float64) {
		f := newFixture(t)
		f.write(func(tx replica.Tx) {
			for i := range unrelated {
				f.assign(tx, "/subscriptions/"+otherSub, "Reader", fmt.Sprintf("cccccccc-0000-0000-0000-%012d", i), "ServicePrincipal")
			}
		})
		for _, filter := range []string{"principalId+eq+'" + reader + "'", "atScope()", "assignedTo('" + reader + "')"} {
			r := httptest.NewRequest("GET", "https://arm.test"+rg+assignments+"?api-version=2022-04-01&$filter="+filter, nil)
			r.Header.Set("Authorization", "Bearer "+f.token(owner, nil))
			perRun = append(perRun, testing.AllocsPerRun(50, func() { f.ServeHTTP(httptest.NewRecorder(), r) }))
		}
		return perRun
	}
	few, many := cost(10), cost(4000)
	for i := range few {
		if many[i] > few[i]*1.1 {
			t.Errorf("with 4000 assignments elsewhere a listing allocates %v times, with 10 %v times", many[i], few[i])
		}
	}
}
