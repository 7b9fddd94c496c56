package graph

import (
	"fmt"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Who deletes what a listing shows, page by page, must meet everything, whatever its order and filter are.
func TestAListingThatIsDeletedOnTheWayLosesNothing(t *testing.T) {
	const many = 250
	for _, r := range []struct{ sentence, query string }{
		{"in the order of Graph", "$top=60"},
		{"counted", "$top=60&$count=true&$select=id,displayName"},
		{"by name", "$top=60&$orderby=displayName"},
		{"by name, the last first", "$top=60&$orderby=displayName%20desc"},
		{"by a name that they share", "$top=60&$orderby=createdDateTime"},
		{"with a filter", "$top=60&$filter=startswith(displayName,'bot')"},
	} {
		t.Run(r.sentence, func(t *testing.T) {
			c := newCloud(t)
			u := c.app("Application.ReadWrite.All")
			c.write(func(tx replica.Tx) {
				for i := range many {
					id := fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", (i*37)%many)
					c.dir.Applications.Put(tx, id, directory.Application{ID: id, AppID: c.env.NewID(), DisplayName: fmt.Sprintf("bot-%d", (i*41)%many), CreatedDateTime: tx.Now()})
				}
			})
			deleted := 0
			for path := "applications?" + r.query; path != ""; {
				a := u.do("GET", path, nil, "ConsistencyLevel", "eventual").is(200)
				for _, v := range a.value() {
					if strings.HasPrefix(v["displayName"].(string), "bot-") {
						u.del("applications/" + v["id"].(string)).is(204)
						deleted++
					}
				}
				next, _ := a.body["@odata.nextLink"].(string)
				path = strings.TrimPrefix(next, host)
			}
			if deleted != many {
				t.Errorf("%d of %d were met", deleted, many)
			}
		})
	}
}
