package arm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// pages follows nextLinks and gives the names of all items, each once.
func (f *fixture) pages(oid, path string) (names []string, pages int) {
	f.t.Helper()
	a := f.as(oid, "GET", path, nil).want(f.t, 200, "")
	for {
		pages++
		for _, i := range a.items() {
			names = append(names, i["name"].(string))
		}
		next, more := a.body["nextLink"].(string)
		if !more {
			return names, pages
		}
		a = f.follow(oid, next).want(f.t, 200, "")
	}
}

func TestListingsComeInPages(t *testing.T) {
	const many = listPage + 1
	f := newFixture(t)
	f.write(func(tx replica.Tx) {
		for i := range many {
			f.AddGroup(tx, subID, fmt.Sprint("rg-", i), "eastus")
			f.resource(tx, fmt.Sprintf("%s/providers/Microsoft.ManagedIdentity/userAssignedIdentities/mi-%d", rg, i), object{"location": "eastus"})
			s := f.AddSubscription(tx, fmt.Sprintf("44444444-4444-4444-4444-%012d", i), fmt.Sprint("Sub ", i))
			s.Parent = "many"
			f.subscriptions.Put(tx, s.ID, s)
			f.management.Put(tx, fmt.Sprint("group-", i), ManagementGroup{Name: fmt.Sprint("group-", i), Parent: "many"})
			f.binned.Put(tx, fmt.Sprint("kv-", i), DeletedVault{Subscription: subID, Vault: Resource{Name: fmt.Sprint("kv-", i)}, Purge: tx.Now().AddDate(1, 0, 0)})
			f.definitions.Put(tx, fmt.Sprint("role-", i), Definition{Name: fmt.Sprint("role-", i), AssignableScopes: []string{rg}})
			f.assign(tx, vaultID, "Reader", f.env.NewID(), "User")
		}
		f.management.Put(tx, "many", ManagementGroup{Name: "many", Parent: tenantID})
		f.assign(tx, groupsPath+"many", "Owner", owner, "User")
	})
	for path, want := range map[string]int{
		sub + "/resourceGroups": many + 2, rg + "/resources": many + 2, sub + "/resources": many + 2,
		rg + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities":  many,
		sub + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities": many,
		sub + "/providers/Microsoft.KeyVault/deletedVaults":                 many,
		rg + definitions + "?$filter=type eq 'CustomRole'":                  many,
		vaultID + assignments + "?$filter=atScope()":                        many + 2,
		strings.TrimSuffix(groupsPath, "/"):                                 many + 1,
		groupsPath + "many/subscriptions":                                   many,
		groupsPath + "many/descendants":                                     2 * many,
	} {
		names, pages := f.pages(owner, path)
		seen := map[string]bool{}
		for _, n := range names {
			seen[n] = true
		}
		if len(names) != want || len(seen) != want || pages < 2 {
			t.Errorf("%s: %d items, %d of them different, in %d pages; want %d", path, len(names), len(seen), pages, want)
		}
	}
	if first := f.as(owner, "GET", "/subscriptions", nil); len(first.items()) != listPage || first.body["nextLink"] == nil || first.items()[0]["subscriptionId"] != subID {
		t.Error("subscriptions do not come in pages, the oldest first")
	}
	for _, path := range []string{sub + "/resourceGroups", rg + "/resources", rg + "/providers/Microsoft.KeyVault/vaults", groupsPath + "many/descendants"} {
		if n := len(f.as(owner, "GET", path+"?$top=1", nil).want(t, 200, "").items()); n != 1 {
			t.Errorf("%s: $top=1 gives %d", path, n)
		}
		f.as(owner, "GET", path+"?$top=none", nil).want(t, 400, "InvalidTopInQueryString")
	}
}

func TestASkipTokenIsGoodForOneListingOfOneCaller(t *testing.T) {
	f := newFixture(t)
	next, _ := f.as(owner, "GET", sub+"/resourceGroups?$top=1", nil).body["nextLink"].(string)
	f.follow(owner, next).want(t, 200, "")
	f.write(func(tx replica.Tx) { f.assign(tx, sub, "Reader", reader, "User") })
	f.follow(reader, next).want(t, 400, "InvalidSkipToken")
	f.follow(owner, strings.Replace(next, "/resourceGroups", "/resources", 1)).want(t, 400, "InvalidSkipToken")
	f.follow(owner, next+"&$filter=tagName+eq+'x'").want(t, 400, "InvalidSkipToken")
	i := strings.Index(next, "skipToken=") + len("skipToken=") + 20
	forged := next[:i] + string('A'+(next[i]-'A'+1)%26) + next[i+1:]
	f.follow(owner, forged).want(t, 400, "InvalidSkipToken")
	for _, plain := range []string{"rg-bots", "rg-other", "cmctYm90cw"} {
		if strings.Contains(next, plain) {
			t.Errorf("the token shows what it holds: %s", next)
		}
	}
}

func TestAPageGoesOnWhereItWasWhenItsLastItemIsGone(t *testing.T) {
	f := newFixture(t)
	first := f.as(owner, "GET", sub+"/resourceGroups?$top=1", nil)
	f.as(owner, "DELETE", rg, nil).want(t, 202, "")
	if items := f.follow(owner, first.body["nextLink"].(string)).want(t, 200, "").items(); len(items) != 1 || items[0]["name"] != "rg-other" {
		t.Errorf("got %v", items)
	}
}
