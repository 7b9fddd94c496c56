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
