package arm

import (
	"reflect"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for _, row := range []struct{ name, path, id, rest string }{
		{"the root is an id", "/", "/", ""},
		{"fixed words are spelt as Azure spells them", "/SUBSCRIPTIONS/s/RESOURCEGROUPS/Rg", "/subscriptions/s/resourceGroups/Rg", ""},
		{"a doubled slash is skipped", "//subscriptions/s/providers/Microsoft.Authorization/roleAssignments", "/subscriptions/s", "providers/Microsoft.Authorization/roleAssignments"},
		{"a collection is no part of the id", "/subscriptions/s/resourceGroups", "/subscriptions/s", "resourceGroups"},
		{"a nested resource has one provider", "/subscriptions/s/resourceGroups/g/providers/N/a/1/b/2", "/subscriptions/s/resourceGroups/g/providers/N/a/1/b/2", ""},
		{"an extension has a second provider", "/subscriptions/s/resourceGroups/g/providers/N/a/1/providers/M/b/2", "/subscriptions/s/resourceGroups/g/providers/N/a/1/providers/M/b/2", ""},
		{"an action follows its resource", "/subscriptions/s/resourceGroups/g/providers/N/a/1/listKeys", "/subscriptions/s/resourceGroups/g/providers/N/a/1", "listKeys"},
		{"an empty parent path is skipped", "/subscriptions/s/resourcegroups/g/providers/N//a/1/providers/Microsoft.Authorization/permissions", "/subscriptions/s/resourceGroups/g/providers/N/a/1", "providers/Microsoft.Authorization/permissions"},
		{"a management group is a scope", "/providers/microsoft.management/managementgroups/mg", "/providers/Microsoft.Management/managementGroups/mg", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			id, rest := parsePath(row.path)
			if id.String() != row.id || strings.Join(rest, "/") != row.rest {
				t.Errorf("got %s and %v, want %s and %s", id, rest, row.id, row.rest)
			}
		})
	}
}

func TestChainEndsAtTheRootOverTheManagementGroup(t *testing.T) {
	id, err := ParseID("/subscriptions/S/resourceGroups/G/providers/N/a/1/b/2")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/subscriptions/s/resourcegroups/g/providers/n/a/1/b/2", "/subscriptions/s/resourcegroups/g/providers/n/a/1", "/subscriptions/s/resourcegroups/g",
		"/subscriptions/s", "/providers/microsoft.management/managementgroups/t", "/",
	}
	f := newFixture(t)
	f.env.Dir.Tenant.ID = "T"
	if got := f.chain(primary(f), id); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"/", sub, rg, vaultID, vaultID + "/secrets/x", vaultID + "/providers/Microsoft.Authorization/roleAssignments/" + owner, "/providers/Microsoft.Management/managementGroups/m", "/providers/a/providers/b/c/d", "//subscriptions//providers/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parsePath(s)
		id, err := ParseID(s)
		if err != nil {
			return
		}
		again, err := ParseID(id.String())
		if err != nil || !reflect.DeepEqual(again, id) {
			t.Errorf("%q is %+v, printed and read again %+v (%v)", s, id, again, err)
		}
		if up := ancestry(id); len(up) > 0 && up[0] != id.Key() {
			t.Errorf("the ancestry of %q does not begin with it: %q", s, up)
		}
	})
}
