package arm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Who deletes what a listing shows, page by page, must meet everything: a revocation that skips assignments leaves access behind.
func TestAListingThatIsDeletedOnTheWayLosesNothing(t *testing.T) {
	const many = 250
	f := newFixture(t)
	f.write(func(tx replica.Tx) {
		for i := range many {
			f.assign(tx, rg, "Reader", fmt.Sprintf("bbbbbbbb-0000-0000-0000-%012d", i), "ServicePrincipal")
			f.AddGroup(tx, subID, fmt.Sprintf("rg-many-%d", (i*37)%many), "eastus")
		}
	})
	for _, row := range []struct {
		sentence, path string
		mine           func(object) bool
	}{
		{"role assignments", rg + assignments + "?$filter=atScope()", func(i object) bool {
			return strings.HasPrefix(i["properties"].(object)["principalId"].(string), "bbbb")
		}},
		{"resource groups", sub + "/resourceGroups?$top=60", func(i object) bool { return strings.HasPrefix(i["name"].(string), "rg-many-") }},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			deleted := 0
			a := f.as(owner, "GET", row.path, nil).want(t, 200, "")
			for {
				for _, i := range a.items() {
					if row.mine(i) {
						f.as(owner, "DELETE", i["id"].(string), nil)
						deleted++
					}
				}
				next, more := a.body["nextLink"].(string)
				if !more {
					break
				}
				a = f.follow(owner, next).want(t, 200, "")
			}
			if deleted != many {
				t.Errorf("%d of %d were met", deleted, many)
			}
		})
	}
}

func TestAQueryThatIsDeletedOnTheWayLosesNothing(t *testing.T) {
	const many = 50
	for _, row := range []struct{ sentence, tail string }{
		{"in the order of ids", " | project id, p = tostring(properties.principalId)"},
		{"in an order of its own", " | extend p = tostring(properties.principalId) | order by p desc | project id, p"},
		{"in an order in which many are equal", " | extend p = tostring(properties.principalId), n = 1 | order by n | project id, p"},
		{"in groups", " | summarize n = count() by id, p = tostring(properties.principalId)"},
		{"ordered twice", " | extend p = tostring(properties.principalId) | order by p asc | extend l = strlen(p) | order by l | project p, id"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			f := newFixture(t)
			f.write(func(tx replica.Tx) {
				for i := range many {
					f.assign(tx, rg, "Reader", fmt.Sprintf("bbbbbbbb-0000-0000-0000-%012d", i), "ServicePrincipal")
				}
			})
			query := "authorizationresources | where type == 'microsoft.authorization/roleassignments'" + row.tail
			options := object{"$top": 9}
			deleted := 0
			for {
				a := f.query(owner, query, object{"options": options}).want(t, 200, "")
				for _, r := range a.body["data"].([]any) {
					if o := r.(object); strings.HasPrefix(o["p"].(string), "bbbb") {
						f.as(owner, "DELETE", o["id"].(string), nil).want(t, 200, "")
						deleted++
					}
				}
				next, more := a.body["$skipToken"].(string)
				if !more {
					break
				}
				options = object{"$skipToken": next}
			}
			if deleted != many {
				t.Errorf("%d of %d were met", deleted, many)
			}
		})
	}
}

func TestATokenOfAQueryIsGoodForItsScopeFilter(t *testing.T) {
	f := newFixture(t)
	first := f.query(owner, bulk, object{"options": object{"$top": 1}}).want(t, 200, "")
	f.query(owner, bulk, object{"options": object{"$skipToken": first.body["$skipToken"]}}).want(t, 200, "")
	f.query(owner, bulk, object{"options": object{"$skipToken": first.body["$skipToken"], "authorizationScopeFilter": "AtScopeExact"}}).want(t, 400, "BadRequest")
}
