package arm

import (
	"reflect"
	"testing"
)

func TestParseFilter(t *testing.T) {
	for _, row := range []struct {
		name, filter string
		want         []clause
	}{
		{"a call without argument", "atScope()", []clause{{Name: "atScope", Bare: true}}},
		{"a comparison", "principalId eq 'x'", []clause{{Name: "principalId", Op: "eq", Value: "x"}}},
		{"both joined", "atScope() and assignedTo('x')", []clause{{Name: "atScope", Bare: true}, {Name: "assignedTo", Value: "x"}}},
		{"a doubled quote is one", "roleName eq 'it''s'", []clause{{Name: "roleName", Op: "eq", Value: "it's"}}},
		{"a value without quotes", "principalId eq 1-2", []clause{{Name: "principalId", Op: "eq", Value: "1-2"}}},
		{"an open quote is refused", "roleName eq 'x", nil},
		{"an unknown operator is refused", "roleName gt 'x'", nil},
		{"words without and are refused", "atScope() assignedTo('x')", nil},
		{"nothing after and is refused", "atScope() and ", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := parseFilter(row.filter)
			if (err != nil) != (row.want == nil) || err == nil && !reflect.DeepEqual(got, row.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"atScope()", "principalId eq 'x'", "atScope() and assignedTo('x')", "type eq 'BuiltInRole' and roleName ne 'a''b'", "a(b)", "a eq 'x' AND  b(\t)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		clauses, err := parseFilter(s)
		if err != nil {
			return
		}
		again, err := parseFilter(printFilter(clauses))
		if err != nil || !reflect.DeepEqual(again, clauses) {
			t.Errorf("%q is %+v, printed and read again %+v (%v)", s, clauses, again, err)
		}
	})
}

func TestCheckCondition(t *testing.T) {
	const write, request = "!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})", "@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId]"
	for _, row := range []struct {
		name, text string
		good       bool
	}{
		{"the portal's delegation condition", "((" + write + ") OR (" + request + " ForAnyOfAllValues:GuidNotEquals {8e3af657-a8ff-443c-a75c-2fe8c4bcb635, b24988ac-6180-42a0-ab88-20f7382dd24c}))", true},
		{"a tag of a blob", "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags:Project<$key_case_sensitive$>] StringEquals 'Cascade'", true},
		{"an attribute that exists", "Exists @Request[a:b] && NOT (@Request[a:b] NumericLessThan 5)", true},
		{"a comparison with another attribute", "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:A_b] StringEquals @Resource[a:b]", true},
		{"a parenthesis is missing", "((" + write + ")", false},
		{"a list is empty", request + " ForAnyOfAnyValues:GuidEquals {}", false},
		{"an operator is unknown", request + " Equalish 'x'", false},
		{"there are words only", "please allow", false},
		{"something follows", write + " x", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := parseCondition(row.text); (err == nil) != row.good {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzParseCondition(f *testing.F) {
	f.Add("((!(ActionMatches{'a'})) OR (@Request[a:b] ForAnyOfAllValues:GuidNotEquals {8e3af657-a8ff-443c-a75c-2fe8c4bcb635}))")
	f.Add("!!!!((((")
	f.Fuzz(func(t *testing.T, s string) { _, _ = parseCondition(s) })
}
