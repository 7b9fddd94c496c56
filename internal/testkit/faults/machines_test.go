//go:build linux

package faults

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/localcloud"
)

// shared wants both machines to log in, each with a certificate of its own beside the third one's, and nothing legacy anywhere.
func (w *world) shared(b machine) {
	w.Helper()
	p, bad, err := w.in.Look(w.Context(), w.as("admin"))
	w.must(err)
	if len(bad) > 0 || p.Passwords+p.PrincipalPasswords > 0 || len(p.Certificates) != 3 {
		w.Errorf("%d and %d passwords, %d certificates, want 0, 0 and 3; %q", p.Passwords, p.PrincipalPasswords, len(p.Certificates), bad)
	}
	for _, m := range []machine{w.machine, b} {
		w.logsIn(m)
		if keys := w.keys(m); len(keys) != 1 {
			w.Errorf("a keystore holds %v", keys)
		}
		r := w.wants(0, m, "provisioner", "migrate", "--dry-run", "--json")
		if strings.Contains(r.Stdout, `"steps": [`+"\n      {") {
			w.Errorf("there is still something to do:\n%s", r.Stdout)
		}
	}
}

func TestTwoMachinesOneAfterTheOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.second()
	w.wants(0, w.machine, w.migration()...)
	w.wants(0, b, b.migration()...) // its secret is dead by now
	w.shared(b)
	w.wants(0, b, "provisioner", "rotate", "--yes")
	w.wants(0, w.machine, "provisioner", "rotate", "--yes")
	w.shared(b)
}

func TestTwoMachinesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.second()
	var both sync.WaitGroup
	for _, m := range []machine{w.machine, b} {
		both.Go(func() { w.until(m, m.migration()...) })
	}
	both.Wait()
	w.shared(b)
}

// A machine that writes the list of certificates as a replica gave it, from before the other machine's was there, would remove that one.
func TestAStaleListDoesNotRemoveAnotherMachinesCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.second()
	w.wants(0, w.machine, w.migration()...)
	w.set(w.as("admin")) // so that the first one has to go by way of the operator, who writes the whole list
	w.turn(localcloud.Knobs{Lag: localcloud.Lag{Graph: 800 * time.Millisecond}})
	var both sync.WaitGroup
	both.Go(func() { w.until(b, b.migration()...) })
	both.Go(func() { w.until(w.machine, "provisioner", "rotate", "--yes") })
	both.Wait()
	w.turn(localcloud.Knobs{})
	<-time.After(time.Second) // a write keeps the lag that it was made under; only then may one look with other eyes
	w.shared(b)
}

// Wherever the disk begins to be full, somebody can log in, and once there is room again the next migration reaches its end.
func TestTheDiskIsFullAtEachWrite(t *testing.T) {
	t.Parallel()
	writes := 0
	for done := false; !done; writes += 4 { // four at a time; each in a world of its own
		var all [4]bool
		t.Run(fmt.Sprintf("after %d writes and more", writes), func(t *testing.T) {
			for i := range all {
				t.Run(fmt.Sprint(writes+i), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					r := w.faulty(w.machine, fmt.Sprintf("disk-full:%d", writes+i), w.migration()...)
					switch r.Code {
					case 0:
						all[i] = true
					case 1:
						w.someLogIn()
					case 4:
						w.someLogIn()
						if !strings.Contains(r.Stderr, "provisioner migrate") {
							t.Errorf("it does not say how to go on:\n%s", r.Stderr)
						}
					default:
						t.Errorf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
					}
					w.goesOn()
				})
			}
		})
		done = all[3] || t.Failed()
	}
	t.Logf("the disk was full at each of %d writes", writes)
}

// What the service reports as deleted and still has is not believed. It is waited for in virtual time: real replicas take minutes.
func TestADeletionThatIsOnlySaid(t *testing.T) {
	dir := t.TempDir()
	signing()
	synctest.Test(t, func(t *testing.T) {
		w := inVirtualTime(t, dir)
		a := &app.App{Getenv: func(string) string { return "" }, Hooks: hooks("deletion-only-said")}
		began := time.Now()
		_, err := w.inProcess(a, api.ProvisionerRequest{Verb: provisioner.Migrate, SoleHolder: true, StateFile: w.in.StateFile, Edit: []string{w.in.BackUp}})
		if code := api.ExitCode(err); code != api.ExitStopped || !strings.Contains(fmt.Sprint(err), "still has") {
			t.Errorf("after %s: exit %d, %v", time.Since(began), code, err)
		}
		p, _, err := w.in.Look(t.Context(), w.as("admin"))
		if err != nil || p.Passwords != 2 || len(p.Certificates) != 2 {
			t.Errorf("%+v %v", p, err)
		}
		if held, err := w.in.Holding(); err != nil || len(held) != 3 {
			t.Errorf("the secret was purged while it still opens something: it is in %v, %v", held, err)
		}
		a.Hooks = app.Hooks{}
		if _, err := w.inProcess(a, api.ProvisionerRequest{Verb: provisioner.Migrate, SoleHolder: true, StateFile: w.in.StateFile, Edit: []string{w.in.BackUp}}); err != nil {
			t.Fatal(err)
		}
		bad, err := w.in.Migrated(t.Context(), w.as("admin"))
		if err != nil || len(bad) > 0 {
			t.Error(bad, err)
		}
	})
}
