package directory

import (
	"encoding/json"
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
		d.Groups.Put(tx, "admins", Group{ID: "admins", Members: []string{"u", "inner"}, IsAssignableToRole: true})
		d.Groups.Put(tx, "above", Group{ID: "above", Members: []string{"admins", "outer"}, IsAssignableToRole: true})
		for template, holder := range map[string]string{
			DirectoryReaders: "u", GlobalReader: "admins", ApplicationAdministrator: "inner", CloudAppAdministrator: "outer", GlobalAdministrator: "above",
		} {
			d.RoleMembers.Put(tx, template, RoleMember{ID: template, Template: template, PrincipalID: holder})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Primary(func(v replica.View) {
		if got := d.GroupsOf(v, "u"); !slices.Equal(got, []string{"inner", "admins", "outer", "above", "ring"}) {
			t.Errorf("groups of u: %v; membership reaches through groups", got)
		}
		if got := d.DirectGroupsOf(v, "u"); !slices.Equal(got, []string{"inner", "admins"}) {
			t.Errorf("groups of u itself: %v", got)
		}
		if got := d.RolesOf(v, "u"); !slices.Equal(got, []string{DirectoryReaders, GlobalReader}) {
			t.Errorf("roles of u: %v; it holds its own and that of the one assignable group that it is in itself", got)
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

func TestPreAuthorizedPermissions(t *testing.T) {
	a := Application{PermissionScopes: []PermissionScope{{ID: "1", Value: "read", IsEnabled: true}, {ID: "2", Value: "write", IsEnabled: true}, {ID: "3", Value: "off"}}}
	for _, row := range []struct{ name, api, want string }{
		{"an application that says nothing grants nothing", `{}`, ""},
		{"what is listed for the client is granted, but not what is switched off", `{"preAuthorizedApplications":[{"appId":"CLI","delegatedPermissionIds":["1","3","nonsense"]}]}`, "read"},
		{"several entries add up", `{"preAuthorizedApplications":[{"appId":"cli","delegatedPermissionIds":["2"]},{"appId":"cli","delegatedPermissionIds":["1"]}]}`, "write read"},
		{"what is listed for another client is not", `{"preAuthorizedApplications":[{"appId":"other","delegatedPermissionIds":["1"]}]}`, ""},
		{"entries of another shape grant nothing", `{"preAuthorizedApplications":[7,{"appId":7,"delegatedPermissionIds":"1"},{"appId":"cli","delegatedPermissionIds":[1]}]}`, ""},
		{"a list of another shape grants nothing", `{"preAuthorizedApplications":"cli"}`, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var api any
			if err := json.Unmarshal([]byte(row.api), &api); err != nil {
				t.Fatal(err)
			}
			a.Rest = map[string]any{"api": api}
			if got := strings.Join(a.PreAuthorized("cli"), " "); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}
