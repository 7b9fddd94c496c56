package directory

import (
	"slices"
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
