package journal

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
)

const childOf = "JOURNAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childOf); path != "" {
		if err := writeForever(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1) // only a kill ends it well
	}
	os.Exit(m.Run())
}

// writeForever begins and ends steps and says on stdout what has returned, so that the parent knows what must be there.
func writeForever(path string) error {
	ctx := context.Background()
	j, err := openAt(ctx, path)
	if err != nil {
		return err
	}
	run, err := j.Open(ctx, "a")
	if err != nil {
		return err
	}
	if run == nil {
		if err := j.Start(ctx, example("r1", "a")); err != nil {
			return err
		}
	}
	entries, err := j.Entries(ctx, "r1")
	if err != nil {
		return err
	}
	for i, e := range entries {
		if e.Ended == nil {
			if err := j.End(ctx, "r1", e.StepID, agent.Result{Detail: e.StepID}); err != nil {
				return err
			}
			fmt.Println("ended", i)
		}
	}
	for n := len(entries); ; n++ {
		step := strconv.Itoa(n)
		if _, err := j.Begin(ctx, "r1", step, map[string]string{"nonce": step}); err != nil {
			return err
		}
		fmt.Println("begun", n)
		if err := j.End(ctx, "r1", step, agent.Result{Detail: step}); err != nil {
			return err
		}
		fmt.Println("ended", n)
	}
}

func TestWhatReturnedSurvivesAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	for round := range 12 {
		begun, ended := runAndKill(t, path, time.Duration(round%4)*7*time.Millisecond)
		j, err := openAt(t.Context(), path)
		must(t, err)
		all, err := j.Entries(t.Context(), "r1")
		must(t, err)
		must(t, j.db.Close())
		if len(all) < begun {
			t.Fatalf("round %d: %d steps began, %d are recorded", round, begun, len(all))
		}
		for i, e := range all {
			if e.StepID != strconv.Itoa(i) || e.Intent["nonce"] != e.StepID || (i < ended && e.Ended == nil) {
				t.Fatalf("round %d: entry %d is %+v; %d had ended", round, i, e, ended)
			}
		}
	}
}

// runAndKill lets a child write until it has said something and a little longer, kills it, and returns how many steps it said began
// and ended.
func runAndKill(t *testing.T, path string, after time.Duration) (begun, ended int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childOf+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	var killer *time.Timer
	for lines.Scan() {
		word, number, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(number)
		must(t, err)
		switch word {
		case "begun":
			begun = n + 1
		case "ended":
			begun, ended = n+1, n+1
		}
		if killer == nil {
			killer = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Wait()
	if killer == nil {
		t.Fatal("the child wrote nothing")
	}
	killer.Stop()
	return begun, ended
}
