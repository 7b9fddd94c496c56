package graph

import (
	"iter"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/graph/odata"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// index says which index of a table answers a filter on a property; fold if its keys are in lower case.
type index struct {
	property, name string
	fold           bool
}

// lookup lends the live objects that can satisfy the filter: those that an index gives, or all. The filter is still to be asked of each.
func lookup[T any](v replica.View, filter odata.Expr, t *replica.Table[T], id func(T) string, alive func(T) bool, by []index) iter.Seq[T] {
	for _, i := range by {
		if values, ok := odata.Keys(filter, i.property); ok {
			return slices.Values(indexed(v, t, i.name, values, i.fold, id, alive))
		}
	}
	if values, ok := odata.Keys(filter, "id"); ok {
		return slices.Values(fetch(v, t, values, alive))
	}
	if beginnings, ok := odata.Prefixes(filter, "displayName"); ok {
		keys := make([]string, len(beginnings))
		for i, b := range beginnings {
			if keys[i], ok = directory.PrefixKey(b); !ok {
				return only(t.Each(v), alive)
			}
		}
		return slices.Values(indexed(v, t, "namePrefix", keys, false, id, alive))
	}
	return only(t.Each(v), alive)
}

// indexed gives the live objects under any of the keys of an index, each once.
func indexed[T any](v replica.View, t *replica.Table[T], index string, keys []string, fold bool, id func(T) string, alive func(T) bool) []T {
	var all []T
	seen := map[string]bool{}
	for _, key := range keys {
		if fold {
			key = strings.ToLower(key)
		}
		for _, o := range t.By(v, index, key) {
			if alive(o) && !seen[id(o)] {
				seen[id(o)] = true
				all = append(all, o)
			}
		}
	}
	return all
}

// fetch gives the live objects of the ids, each once.
func fetch[T any](v replica.View, t *replica.Table[T], ids []string, alive func(T) bool) []T {
	var all []T
	seen := map[string]bool{}
	for _, id := range ids {
		id = strings.ToLower(id)
		if o, ok := t.Get(v, id); ok && alive(o) && !seen[id] {
			seen[id] = true
			all = append(all, o)
		}
	}
	return all
}

// only lends what passes.
func only[T any](all iter.Seq[T], passes func(T) bool) iter.Seq[T] {
	return func(yield func(T) bool) {
		for o := range all {
			if passes(o) && !yield(o) {
				return
			}
		}
	}
}
