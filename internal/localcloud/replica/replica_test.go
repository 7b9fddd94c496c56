package replica

import (
	"path/filepath"
	"strconv"
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

func TestAnObjectMadeAgainUnderItsIdIsListedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud.jsonl")
	s, things := newThings(Options{})
	must(t, s.Write(func(tx Tx) error {
		things.Put(tx, "1", thing{"first"})
		things.Put(tx, "2", thing{"second"})
		things.Delete(tx, "1")
		things.Put(tx, "1", thing{"again"})
		return nil
	}))
	check := func(when string, things *Table[thing]) func(View) {
		return func(v View) {
			if all := things.All(v); len(all) != 2 || all[0].Name != "second" || all[1].Name != "again" {
				t.Errorf("%s the table holds %v; want second and again, by age", when, all)
			}
		}
	}
	s.Primary(check("before a restart", things))
	must(t, s.Persist(path))
	must(t, s.Close())
	s, things = newThings(Options{})
	must(t, s.Persist(path))
	defer s.Close()
	s.Primary(check("after a restart", things))
}

// Ids are fresh, so nothing is ever written again under the id of what was deleted; it must go all the same.
func TestWhatIsDeletedEverywhereIsForgottenByTheNextWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 5000
		s, things := newThings(Options{Seed: 7})
		others := NewTable[thing](s, "others", nil)
		s.SetLag(Graph, time.Minute)
		for i := range many {
			id := strconv.Itoa(i)
			must(t, s.Write(func(tx Tx) error { things.Put(tx, id, thing{"a"}); return nil }))
			must(t, s.Write(func(tx Tx) error { things.Put(tx, id, thing{"b"}); return nil }))
			must(t, s.Write(func(tx Tx) error { things.Delete(tx, id); return nil }))
		}
		if n := seen(s, things, Graph, 100); n != 0 && len(things.cells) != many {
			t.Error("a replica that still shows an object has forgotten it")
		}
		s.SetLag(Graph, 0) // a write that spreads at once does not wait behind those that do not
		must(t, s.Write(func(tx Tx) error { things.Put(tx, "quick", thing{"c"}); things.Delete(tx, "quick"); return nil }))
		if things.cells["quick"] != nil {
			t.Error("what was deleted without lag is kept")
		}
		time.Sleep(time.Minute)
		must(t, s.Write(func(tx Tx) error { others.Put(tx, "x", thing{"x"}); return nil }))
		if len(things.cells) != 0 || len(things.entries["name"]) != 0 || len(things.order) > 64 || len(s.history.queue) != 0 {
			t.Errorf("of %d deleted objects %d stay, under %d keys, in %d places, %d pending", many, len(things.cells), len(things.entries["name"]), len(things.order), len(s.history.queue))
		}
		s.Primary(func(v View) {
			if cost := testing.AllocsPerRun(10, func() { things.By(v, "name", "b") }); cost > 0 {
				t.Errorf("looking under a key that nobody has any more allocates %v times", cost)
			}
		})
	})
}

func TestTheCloudsClockDoesNotMoveReplication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offset := -time.Hour
		s, things := newThings(Options{Seed: 7, Clock: func() time.Time { return time.Now().Add(offset) }})
		s.SetLag(Graph, time.Minute)
		must(t, s.Write(func(tx Tx) error {
			if !tx.Now().Equal(time.Now().Add(offset)) {
				t.Errorf("a write is told %v; the cloud's clock is an hour behind %v", tx.Now(), time.Now())
			}
			things.Put(tx, "1", thing{"a"})
			return nil
		}))
		offset = time.Hour
		if n := seen(s, things, Graph, 100); n == 100 {
			t.Error("turning the cloud's clock ahead spread a write")
		}
		s.Read(Graph, func(v View) {
			if !v.Now().Equal(time.Now().Add(offset)) {
				t.Errorf("a view is told %v", v.Now())
			}
		})
		time.Sleep(time.Minute)
		offset = -time.Hour
		if n := seen(s, things, Graph, 100); n != 100 {
			t.Errorf("after the lag %d of 100 reads saw the write", n)
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
