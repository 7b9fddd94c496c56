package replica

import (
	"iter"
	"slices"
)

// Count is how many objects By would find. On the primary it costs the same however many there are, so that a limit can be checked on
// every write.
func (t *Table[T]) Count(v View, index, key string) int {
	if v.replica < 0 {
		return t.newest[index][key]
	}
	n := 0
	for id := range t.entries[index][key] {
		if p := t.visible(v, id, t.cells[id]); p != nil && slices.Contains(t.index[index](*p), key) {
			n++
		}
	}
	return n
}

// Len is how many objects the primary has.
func (t *Table[T]) Len(Tx) int { return t.objects }

// Each lends every object that the view shows, oldest first; who has seen enough stops.
func (t *Table[T]) Each(v View) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, b := range t.order {
			if c := t.cell(b); c != nil {
				if p := t.visible(v, b.id, c); p != nil && !yield(*p) {
					return
				}
			}
		}
	}
}

// tally counts the newest version of an object in or out.
func (t *Table[T]) tally(value *T, by int) {
	if value == nil {
		return
	}
	t.objects += by
	for name, keys := range t.index {
		all := keys(*value)
		if len(all) > 1 { // an object counts once under a key that it has twice
			all = slices.Compact(slices.Sorted(slices.Values(all)))
		}
		for _, key := range all {
			if t.newest[name][key] += by; t.newest[name][key] == 0 {
				delete(t.newest[name], key)
			}
		}
	}
}
