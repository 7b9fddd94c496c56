//go:build linux

package faults

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/legacy"
	"github.com/leastkey/leastkey/internal/testkit/product"
)

// row is one thing that goes wrong, and how that has to end.
type row struct {
	name   string
	before func(*world)
	fault  string                // of a child; "" is the program that people get
	args   func(*world) []string // nil is the migration
	code   int                   // of the command
	says   string                // on stderr
	after  func(*world)          // the end state; nil is that everything is as it was
	then   func(*world)          // once the fault is gone; nil is that the next migration reaches its end
}

func TestFaults(t *testing.T) {
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if r.before != nil {
				r.before(w)
			}
			args := w.migration()
			if r.args != nil {
				args = r.args(w)
			}
			var got product.Result
			if r.fault == "" {
				got = w.run(w.machine, args...)
			} else {
				got = w.faulty(w.machine, r.fault, args...)
			}
			if got.Code != r.code || !strings.Contains(got.Stderr, r.says) {
				t.Errorf("exit %d, want %d; stderr has to say %q\n%s%s", got.Code, r.code, r.says, got.Stdout, got.Stderr)
			}
			if got.Code == 1 && strings.Contains(got.Stderr, "continues where it stopped") {
				t.Errorf("nothing is left to continue:\n%s", got.Stderr)
			}
			for _, s := range w.in.Secrets {
				if strings.Contains(got.Stdout+got.Stderr, s) {
					t.Error("the secret is printed")
				}
			}
			if r.after == nil {
				w.untouched()
			} else {
				r.after(w)
			}
			if r.then == nil {
				w.goesOn()
			} else {
				r.then(w)
			}
		})
	}
}

func nothing(*world) {}

func command(args ...string) func(*world) []string {
	return func(*world) []string { return args }
}

func rows() []row {
	return append(append(append(credentials(), objects()...), disks()...), times()...)
}

// credentials are faults of certificate, key and passwords.
func credentials() []row {
	return []row{
		{name: "the certificate's upload is refused", fault: "upload-refused", code: 1, says: "everything was put back"},
		{name: "the keystore does not take the key", fault: "keystore-write", code: 1, says: "everything was put back"},
		{name: "the keystore gives back another key", fault: "keystore-lies", code: 1, says: "everything was put back"},
		{name: "the deletion of a password is refused", fault: "deletion-refused", code: 1, says: "everything was put back"},
		{name: "the first lookup fails in passing", fault: "first-lookup-fails", code: 0, after: (*world).migrated},
		{name: "the lookup is refused", fault: "lookup-refused", code: 1, says: "Authorization_RequestDenied"},
		{name: "the certificate has run out", before: (*world).expired, args: command("provisioner", "token"), code: 1, says: "ended on", after: nothing, then: func(w *world) {
			w.wants(3, w.machine, "provisioner", "status")
			w.wants(0, w.machine, "provisioner", "rotate", "--yes")
			w.migrated()
		}},
		{name: "the certificate is not on the application", before: (*world).unregistered, args: command("provisioner", "token"), code: 1, says: "AADSTS700027", after: nothing, then: func(w *world) {
			w.wants(0, w.machine, "provisioner", "rotate", "--yes")
			w.migrated()
		}},
		{name: "the machine has no keychain", args: func(w *world) []string { return append(w.migration(), "--keystore", "keychain") }, code: 1, says: "keychain"},
	}
}

// objects are faults about who is who.
func objects() []row {
	return []row{
		{name: "the operator is logged in to another tenant", before: (*world).otherTenantsAZ, args: func(w *world) []string { return append(w.migration(), "--operator", "az") }, code: 1, says: "of tenant 99999999-0000-4000-8000-000000000009"},
		{name: "the state file is of another tenant", before: func(w *world) {
			w.edit(w.in.StateFile, w.in.Tenant, "99999999-0000-4000-8000-000000000009")
			w.edit(w.in.BackUp, w.in.Tenant, "99999999-0000-4000-8000-000000000009")
		}, code: 1, says: "is of tenant 99999999", then: nothing},
		{name: "the operator may not delete credentials", args: func(w *world) []string { return append(w.migration(), "--operator", "local:reader") }, code: 1, says: "may the operator delete its credentials"},
		{name: "a squatter has the name and the state file names nobody", before: func(w *world) {
			w.squat(legacy.DisplayName)
			w.edit(w.in.StateFile, `"PROVISIONER_CLIENT_ID": "`+w.in.AppID+`",`, "")
			w.edit(w.in.BackUp, `"PROVISIONER_CLIENT_ID": "`+w.in.AppID+`",`, "")
		}, code: 1, says: "which application is the Provisioner", then: (*world).squatterUntouched},
		{name: "a squatter has the name and the state file names ours", before: func(w *world) { w.squat(legacy.DisplayName) }, code: 0, after: (*world).migrated, then: (*world).squatterUntouched},
		{name: "an application shares the beginning of the name", before: func(w *world) {
			w.squat(legacy.DisplayName + " 2")
			w.fresh()
			w.call(http.MethodDelete, "applications/"+w.in.ObjectID, nil, nil)
		}, args: command("provisioner", "bootstrap", "--yes"), code: 0, after: (*world).squatterUntouched, then: func(w *world) { w.logsIn(w.machine) }},
		{name: "bootstrap meets a squatter", before: func(w *world) {
			w.squat(legacy.DisplayName)
			w.fresh()
			w.call(http.MethodDelete, "applications/"+w.in.ObjectID, nil, nil)
		}, args: command("provisioner", "bootstrap", "--yes"), code: 1, says: "not ours", after: (*world).squatterUntouched, then: nothing},
		{name: "consent is refused, then granted", before: func(w *world) {
			w.fresh()
			w.call(http.MethodDelete, "applications/"+w.in.ObjectID, nil, nil)
		}, args: command("provisioner", "bootstrap", "--yes", "--operator", "local:appadmin"), code: 4, says: "consent to", after: nothing, then: func(w *world) {
			w.wants(0, w.machine, "provisioner", "bootstrap", "--yes")
			w.logsIn(w.machine)
			w.wants(0, w.machine, "provisioner", "bootstrap", "--yes")
		}},
	}
}

// disks are faults of files.
func disks() []row {
	return []row{
		{name: "the state file is corrupt", before: func(w *world) { w.keepState([]byte(`{"TENANT_ID": "x",, }`)) }, code: 1, says: "does not read", after: (*world).stateKept, then: nothing},
		{name: "the state file is cut short", before: func(w *world) {
			b, err := os.ReadFile(w.in.StateFile)
			w.must(err)
			w.keepState(b[:len(b)/2])
		}, code: 1, says: "does not read", after: (*world).stateKept, then: nothing},
		{name: "the state file is empty", before: func(w *world) { w.keepState(nil) }, code: 1, says: "does not read", after: (*world).stateKept, then: nothing},
		{name: "bootstrap meets a corrupt state file", before: func(w *world) { w.keepState([]byte("{")) }, args: command("provisioner", "bootstrap", "--yes"), code: 1, says: "does not read", after: (*world).stateKept, then: nothing},
		{name: "the state file is read-only", before: func(w *world) { w.must(os.Chmod(w.in.StateFile, 0o400)) }, code: 0, after: func(w *world) {
			if info, err := os.Stat(w.in.StateFile); err != nil || info.Mode().Perm() != 0o400 {
				w.Errorf("it was replaced, as its folder allows, and lost its mode: %v", err)
			}
			w.must(os.Chmod(w.in.StateFile, 0o600))
			w.migrated()
		}, then: nothing},
		{name: "the state file's folder is read-only", before: func(w *world) {
			w.mount(w.repo, w.repo, "", unix.MS_BIND, "")
			w.mount("", w.repo, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}, code: 1, says: "read-only file system", then: func(w *world) {
			w.unmount(w.repo)
			w.goesOn()
		}},
		{name: "the state file is a mount of its own", before: func(w *world) { w.mount(w.in.StateFile, w.in.StateFile, "", unix.MS_BIND, "") }, code: 1, says: "mount", then: func(w *world) {
			w.unmount(w.in.StateFile)
			w.goesOn()
		}},
		{name: "the state file is a link", before: func(w *world) {
			at := filepath.Join(w.home, "elsewhere.json")
			w.must(os.Rename(w.in.StateFile, at))
			w.must(os.Symlink(at, w.in.StateFile))
		}, code: 0, after: func(w *world) {
			w.migrated()
			if info, err := os.Lstat(w.in.StateFile); err != nil || info.Mode()&os.ModeSymlink == 0 {
				w.Errorf("the link is gone: %v", err)
			}
		}, then: nothing},
		{name: "the disk of the state file is full", before: func(w *world) { w.onFullDisk(w.repo) }, code: 1, says: "no space left", then: func(w *world) {
			w.must(os.Remove(filepath.Join(w.repo, "filler")))
			w.goesOn()
		}},
		{name: "the disk of our own home is full", before: func(w *world) {
			repo := w.repo
			w.machine = w.second() // the cloud's own files lie beside ours
			w.repo = repo
			w.onFullDisk(filepath.Join(w.home, "local"))
		}, code: 1, says: "full", then: func(w *world) {
			w.must(os.Remove(filepath.Join(w.home, "local", "filler")))
			w.goesOn()
		}},
	}
}

// times are faults of clocks and policies.
func times() []row {
	return []row{
		{name: "the clock is ten minutes slow", before: func(w *world) { w.turn(localcloud.Knobs{ClockOffset: 10 * time.Minute}) }, code: 1, says: "clock", after: (*world).clockRight},
		{name: "the clock is ten minutes fast", before: func(w *world) { w.turn(localcloud.Knobs{ClockOffset: -10 * time.Minute}) }, code: 1, says: "clock", after: (*world).clockRight},
		{name: "a policy caps the life of certificates", before: func(w *world) { w.policy("asymmetricKeyLifetime", "P90D") }, code: 0, after: (*world).migrated, then: func(w *world) {
			for _, c := range w.lives() {
				if c > day(90)+time.Minute {
					w.Errorf("a certificate lives %s", c)
				}
			}
		}},
		{name: "a policy wants a trusted authority", fault: "authority-wanted", code: 1, says: "--certificate"},
	}
}
