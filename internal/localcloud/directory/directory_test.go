package directory

import (
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func TestMembershipReachesThroughGroups(t *testing.T) {
	s := replica.New(replica.Options{})
	d := New(s, Tenant{ID: "t"})
	err := s.Write(func(tx replica.Tx) error {
		d.Users.Put(tx, "u", User{ID: "u", UserPrincipalName: "U@contoso"})
		d.Groups.Put(tx, "inner", Group{ID: "inner", Members: []string{"u"}})
		d.Groups.Put(tx, "outer", Group{ID: "outer", Members: []string{"inner"}})
		d.Groups.Put(tx, "ring", Group{ID: "ring", Members: []string{"outer", "ring"}}) // its own member: a walk must end all the same
		d.RoleMembers.Put(tx, "r", RoleMember{ID: "r", Template: GlobalReader, PrincipalID: "outer"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Primary(func(v replica.View) {
		if got := d.GroupsOf(v, "u"); !slices.Equal(got, []string{"inner", "outer", "ring"}) {
			t.Errorf("groups of u: %v", got)
		}
		if got := d.RolesOf(v, "u"); !slices.Equal(got, []string{GlobalReader}) {
			t.Errorf("roles of u: %v; the role of a group reaches its members' members", got)
		}
		if got := d.Users.By(v, "upn", "u@contoso"); len(got) != 1 {
			t.Error("a user principal name is found whatever its case")
		}
	})
}

func TestWhatLiesInTheRecycleBinIsNoPrincipal(t *testing.T) {
	s := replica.New(replica.Options{})
	d := New(s, Tenant{ID: "t"})
	err := s.Write(func(tx replica.Tx) error {
		now := tx.Now()
		d.ServicePrincipals.Put(tx, "live", ServicePrincipal{ID: "live"})
		d.ServicePrincipals.Put(tx, "dead", ServicePrincipal{ID: "dead", DeletedDateTime: &now})
		d.Groups.Put(tx, "g", Group{ID: "g"})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Primary(func(v replica.View) {
		for id, want := range map[string]string{"live": "ServicePrincipal", "dead": "", "g": "Group", "nobody": ""} {
			if got := d.PrincipalType(v, id); got != want {
				t.Errorf("type of %s is %q, want %q", id, got, want)
			}
		}
	})
}

func TestANameIsFoundByEveryBeginningOfIt(t *testing.T) {
	s := replica.New(replica.Options{})
	d := New(s, Tenant{ID: "t"})
	names := []string{"Polyclaw-runtime", "polyclaw-Runtime of a name that is longer than the longest key of the index, by far", "poly", "İstanbul", "x"}
	err := s.Write(func(tx replica.Tx) error {
		for _, n := range names {
			d.Applications.Put(tx, n, Application{ID: n, DisplayName: n})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Primary(func(v replica.View) {
		for _, n := range names {
			for end := 1; end <= len(n); end++ {
				key, ok := PrefixKey(n[:end])
				if !ok || !strings.HasPrefix(strings.ToLower(n[:end]), key) {
					t.Fatalf("key of %q is %q", n[:end], key)
				}
				if n == "İstanbul" && end < 3 {
					continue // a beginning that ends inside of a character is none
				}
				if !slices.ContainsFunc(d.Applications.By(v, "namePrefix", key), func(a Application) bool { return a.ID == n }) {
					t.Errorf("%q is not found by %q", n, n[:end])
				}
			}
		}
		if _, ok := PrefixKey(""); ok {
			t.Error("an empty beginning has a key")
		}
	})
}
