package replica

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

// A count that is kept must always be the count that looking would give, on the primary and on every replica.
func TestCountIsWhatByFinds(t *testing.T) {
	now := time.Unix(0, 0)
	s := New(Options{Now: func() time.Time { return now }})
	s.SetLag(Graph, time.Minute)
	keys := []string{"a", "b", "c"}
	table := NewTable(s, "t", map[string]func([]string) []string{"key": func(v []string) []string { return v }})
	r := rand.New(rand.NewPCG(1, 2))
	for step := range 3000 {
		_ = s.Write(func(tx Tx) error {
			id := strconv.Itoa(r.IntN(20))
			if r.IntN(3) == 0 {
				table.Delete(tx, id)
			} else {
				table.Put(tx, id, []string{keys[r.IntN(3)], keys[r.IntN(3)]})
			}
			if got, want := table.Len(tx), len(table.All(tx.View)); got != want {
				t.Fatalf("step %d: Len is %d, there are %d", step, got, want)
			}
			return nil
		})
		now = now.Add(time.Duration(r.IntN(20)) * time.Second)
		check := func(v View) {
			for _, key := range keys {
				if got, want := table.Count(v, "key", key), len(table.By(v, "key", key)); got != want {
					t.Fatalf("step %d: Count of %s is %d, By finds %d", step, key, got, want)
				}
			}
		}
		s.Primary(check)
		s.Read(Graph, check)
	}
	s.Primary(func(v View) {
		for first := range table.Each(v) {
			if !slices.Equal(first, table.All(v)[0]) {
				t.Error("Each does not begin where All does")
			}
			break
		}
	})
}
