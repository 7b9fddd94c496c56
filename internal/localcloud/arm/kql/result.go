package kql

import (
	"cmp"
	"slices"
	"strings"
)

// Result is the rows that a query gives, in their order.
type Result struct {
	all   []record
	order []sortKey
}

// Len is how many rows there are.
func (r *Result) Len() int { return len(r.all) }

// Rows are those from one index to before another.
func (r *Result) Rows(from, to int) []Row {
	rows := make([]Row, to-from)
	for i, rec := range r.all[from:to] {
		rows[i] = rec.row
	}
	return rows
}

// Place is where a row stands in the order of a result, whichever other rows there are. It survives its JSON.
type Place struct {
	By    []any `json:"b,omitempty"`
	Ident []any `json:"i,omitempty"`
}

// Place is that of the row at an index.
func (r *Result) Place(i int) Place { return Place{r.all[i].by, r.all[i].ident} }

// After is the index of the first row behind a place, whether or not the row that stood there is there still.
func (r *Result) After(p Place) int {
	at, _ := slices.BinarySearchFunc(r.all, p, func(rec record, p Place) int {
		if compareRecords(r.order, rec, record{ident: p.Ident, by: p.By}) > 0 {
			return 1
		}
		return -1
	})
	return at
}

// compareRecords compares by keys and then by what tells records apart.
func compareRecords(keys []sortKey, a, b record) int {
	for i, k := range keys {
		if i == len(a.by) || i == len(b.by) {
			break
		}
		if c := k.compare(a.by[i], b.by[i]); c != 0 {
			return c
		}
	}
	return compareAll(a.ident, b.ident)
}

func compareAll(a, b []any) int { return slices.CompareFunc(a, b, compareValues) }

// compareValues is an order of all scalars: nulls, booleans, numbers, texts.
func compareValues(a, b any) int {
	if c := cmp.Compare(rank(a), rank(b)); c != 0 {
		return c
	}
	switch a := a.(type) {
	case bool:
		return strings.Compare(asText(a), asText(b)) // false comes before true
	case float64:
		other, _ := b.(float64)
		return cmp.Compare(a, other)
	case string:
		other, _ := b.(string)
		return strings.Compare(a, other)
	}
	return 0
}

func rank(v any) int {
	switch v.(type) {
	case nil:
		return 0
	case bool:
		return 1
	case float64:
		return 2
	case string:
		return 3
	}
	return 4
}
