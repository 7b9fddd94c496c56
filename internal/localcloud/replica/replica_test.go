package replica

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

type thing struct{ Name string }

func byName(t thing) []string { return []string{t.Name} }

func newThings(o Options) (*Store, *Table[thing]) {
	s := New(o)
	return s, NewTable(s, "things", map[string]func(thing) []string{"name": byName})
}

func TestWritesSpreadOverReplicasWithinTheLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, things := newThings(Options{Seed: 7})
		s.SetLag(Graph, time.Minute)
		must(t, s.Write(func(tx Tx) error { things.Put(tx, "1", thing{"a"}); return nil }))
		if n := seen(s, things, Graph, 100); n == 100 {
			t.Error("every replica had the write at once")
		}
		if n := seen(s, things, Login, 100); n != 100 {
			t.Errorf("a plane without lag missed the write in %d of 100 reads", 100-n)
		}
		time.Sleep(30 * time.Second)
		if n := seen(s, things, Graph, 100); n == 0 || n == 100 {
			t.Errorf("half way through the lag %d of 100 reads saw the write; want some", n)
		}
		time.Sleep(31 * time.Second)
		if n := seen(s, things, Graph, 100); n != 100 {
			t.Errorf("after the lag %d of 100 reads saw the write", n)
		}
	})
}

func TestAnIndexFollowsWhatTheViewShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, things := newThings(Options{})
		must(t, s.Write(func(tx Tx) error { things.Put(tx, "1", thing{"old"}); return nil }))
		s.SetLag(ARM, time.Hour)
		must(t, s.Write(func(tx Tx) error { things.Put(tx, "1", thing{"new"}); return nil }))
		s.Primary(func(v View) {
			if len(things.By(v, "name", "old")) != 0 || len(things.By(v, "name", "new")) != 1 {
				t.Error("the primary does not find the object under its present name alone")
			}
		})
		old := 0
		for range 50 {
			s.Read(ARM, func(v View) { old += len(things.By(v, "name", "old")) })
		}
		if old == 0 {
			t.Error("no replica found the object under the name that it still shows")
		}
	})
}

func TestALogBringsEverythingBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud.jsonl")
	s, things := newThings(Options{})
	must(t, s.Persist(path))
	must(t, s.Write(func(tx Tx) error {
		things.Put(tx, "1", thing{"a"})
		things.Put(tx, "2", thing{"b"})
		things.Put(tx, "2", thing{"c"})
		things.Delete(tx, "1")
		return nil
	}))
	must(t, s.Close())
	s, things = newThings(Options{})
	must(t, s.Persist(path))
	defer s.Close()
	s.Primary(func(v View) {
		if all := things.All(v); len(all) != 1 || all[0].Name != "c" {
			t.Errorf("after a restart the table holds %v; want only c", all)
		}
	})
}

func seen(s *Store, things *Table[thing], p Plane, reads int) int {
	n := 0
	for range reads {
		s.Read(p, func(v View) {
			if _, ok := things.Get(v, "1"); ok {
				n++
			}
		})
	}
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
