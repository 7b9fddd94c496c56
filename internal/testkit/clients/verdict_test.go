package clients

import (
	"errors"
	"testing"
)

// What fails beside the operations fails the run, so it must not say that nothing failed.
func TestTheVerdictCountsWhatFailsBesideOperations(t *testing.T) {
	good, bad := entry{Name: "x"}, entry{Name: "y", Failed: true}
	same := func() error { return nil }
	differs := func() error { return errors.New("the table differs") }
	for _, row := range []struct {
		name    string
		code    int
		entries []entry
		settle  func() error
		want    tally
		exit    int
	}{
		{"nothing fails", 0, []entry{good}, same, tally{1, 0, 0}, 0},
		{"an operation fails", 1, []entry{good, bad}, same, tally{2, 0, 1}, 1},
		{"a test fails that is of no client", 1, []entry{good}, same, tally{1, 0, 1}, 1},
		{"an operation fails that its test does not report", 0, []entry{bad}, same, tally{1, 0, 1}, 1},
		{"the table differs", 0, []entry{good}, differs, tally{1, 0, 1}, 1},
		{"a failed run does not touch the table", 1, []entry{bad}, differs, tally{1, 0, 1}, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, exit, why := verdict(row.code, []history{{entries: row.entries}}, row.settle)
			if got != row.want || exit != row.exit || (why == nil) != (exit == 0) {
				t.Errorf("got %v and exit %d (%v), want %v and %d", got, exit, why, row.want, row.exit)
			}
		})
	}
}

func TestAChapterCountsAFailureOfItsTest(t *testing.T) {
	for _, row := range []struct {
		name    string
		entries []entry
		failed  bool
		want    int
	}{
		{"the test is well", []entry{{}}, false, 0},
		{"the test failed between its operations", []entry{{}}, true, 1},
		{"the test failed in an operation", []entry{{Failed: true}}, true, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			var r record
			c := r.chapter("x", t.Name())
			for _, e := range row.entries {
				c.add(e)
			}
			c.end(row.failed)
			if got := r.histories()[0].tally().failed; got != row.want {
				t.Errorf("got %d, want %d", got, row.want)
			}
		})
	}
}

func TestAProgramThatEndsBadlyIsAFailure(t *testing.T) {
	s := Start(t, "protocol")
	defer seen.forget("protocol")
	err := s.runs(t, Program{Env: "js", Args: []string{"sh", "-euc", `
		printf '%s\n' '{"op":"well","ok":true,"text":""}'; IFS= read -r answer
		exit 3
	`}})
	if got := (history{entries: s.record.entries, broken: s.record.broken}).tally(); err == nil || got != (tally{1, 0, 1}) {
		t.Errorf("%v: the tally is %v", err, got)
	}
}
