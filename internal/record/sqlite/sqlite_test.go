package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

func home(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "local", "a b?c#d%41", "leastkey.db") // names that a URI would read differently
}

func mustOpen(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func exec(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func TestOpenMakesAPrivateDurableDatabase(t *testing.T) {
	path := home(t)
	db := mustOpen(t, path)
	exec(t, db, "CREATE TABLE x (v TEXT)")
	exec(t, db, "INSERT INTO x VALUES ($1)", "kept")
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %04o", filepath.Base(name), info.Mode().Perm())
		}
	}
	for dir := filepath.Dir(path); filepath.Base(dir) != filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(path)))); dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("folder %s: %v %v", dir, info.Mode(), err)
		}
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000", "user_version": "1"} {
		var got string
		if err := db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %q, want %q (%v)", pragma, got, want, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var v string
	if err := mustOpen(t, path).QueryRowContext(t.Context(), "SELECT v FROM x").Scan(&v); err != nil || v != "kept" {
		t.Fatal(v, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	foreign := func(t *testing.T, path string) {
		db, err := connect(path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		exec(t, db, "CREATE TABLE theirs (v TEXT)")
	}
	write := func(b []byte, mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, b, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	var whole []byte
	{
		path := home(t)
		db := mustOpen(t, path)
		exec(t, db, "CREATE TABLE x (v TEXT)")
		for range 50 {
			exec(t, db, "INSERT INTO x VALUES ($1)", strings.Repeat("v", 1000))
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		if whole, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	scribbled := bytes.Clone(whole)
	copy(scribbled[2*4096:], bytes.Repeat([]byte{0xA5}, 4096))

	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		want fault.Code
	}{
		{"a symbolic link", func(t *testing.T, path string) {
			write(whole, 0o600)(t, path+".real")
			if err := os.Symlink(path+".real", path); err != nil {
				t.Fatal(err)
			}
		}, fault.Refused},
		{"a file that others may read", write(whole, 0o640), fault.Refused},
		{"a folder in its place", func(t *testing.T, path string) {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		}, fault.Refused},
		{"a text file", write([]byte(strings.Repeat("not a database\n", 100)), 0o600), fault.Corrupt},
		{"an empty file", write(nil, 0o600), fault.Corrupt},
		{"a cut-off database", write(whole[:4096*3], 0o600), fault.Corrupt},
		{"a scribbled page", write(scribbled, 0o600), fault.Corrupt},
		{"a log without its database", write(nil, 0o600), fault.Corrupt},
		{"another program's database", func(t *testing.T, path string) {
			write(nil, 0o600)(t, path)
			foreign(t, path)
		}, fault.Refused},
		{"a database of a later version", func(t *testing.T, path string) {
			write(whole, 0o600)(t, path)
			db, err := connect(path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			exec(t, db, "PRAGMA user_version = 99")
		}, fault.Refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := home(t)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			target := path
			if c.name == "a log without its database" {
				target += "-wal"
			}
			c.make(t, target)
			before, _ := os.ReadFile(target)
			db, err := Open(t.Context(), path)
			if err == nil {
				_ = db.Close()
			}
			if !fault.Is(err, c.want) || fault.Hint(err) == "" && c.name != "a folder in its place" {
				t.Fatalf("got %v (%s, hint %q), want %s with a hint", err, fault.CodeOf(err), fault.Hint(err), c.want)
			}
			if after, _ := os.ReadFile(target); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
	if os.Geteuid() == 0 { // only root can make what belongs to another user
		t.Run("a file and a folder of another user", func(t *testing.T) {
			path := home(t)
			if err := mustOpen(t, path).Close(); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{path, filepath.Dir(path)} {
				if err := os.Chown(name, 12345, 12345); err != nil {
					t.Fatal(err)
				}
				if _, err := Open(t.Context(), path); !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
					t.Error(err)
				}
				if err := os.Chown(name, 0, 0); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	t.Run("a folder that others may write", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), filepath.Join(dir, "x.db")); !fault.Is(err, fault.Refused) {
			t.Fatal(err)
		}
	})
}

func TestUnfinishedDatabaseOfAKilledProcessIsMadeAgain(t *testing.T) {
	path := home(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, path)
	if _, err := os.Stat(path + ".new"); !os.IsNotExist(err) {
		t.Fatal("the unfinished file is still there")
	}
}

func TestUpgradeTakesAllStepsOrNone(t *testing.T) {
	all, err := embedded()
	if err != nil {
		t.Fatal(err)
	}
	path := home(t)
	if err := mustOpen(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	n := len(all)
	broken := append(all[:n:n], migration{n + 1, "CREATE TABLE a (v TEXT)"}, migration{n + 2, "CREATE TABLE a (v TEXT)"})
	if db, err := open(t.Context(), path, broken); err == nil {
		_ = db.Close()
		t.Fatal("a failing migration passed")
	}
	good := append(all[:n:n], migration{n + 1, "CREATE TABLE a (v TEXT)"}, migration{n + 2, "CREATE TABLE b (v TEXT); CREATE TABLE c (v TEXT)"})
	db, err := open(t.Context(), path, good)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, db, "INSERT INTO a VALUES ('1')")
	exec(t, db, "INSERT INTO c VALUES ('1')")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path); !fault.Is(err, fault.Refused) {
		t.Fatalf("the version before opened it: %v", err)
	}
}

func TestManyOpenAtOnce(t *testing.T) {
	path := home(t)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			db, err := Open(context.Background(), path)
			if err != nil {
				errs[i] = err
				return
			}
			defer db.Close()
			if _, err := db.Exec("CREATE TABLE IF NOT EXISTS x (v TEXT)"); err != nil {
				errs[i] = err
				return
			}
			for j := range 5 {
				if _, err := db.Exec("INSERT INTO x VALUES ($1)", fmt.Sprint(i, j)); err != nil {
					errs[i] = err
				}
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	var n int
	if err := mustOpen(t, path).QueryRow("SELECT count(*) FROM x").Scan(&n); err != nil || n != 40 {
		t.Fatal(n, err)
	}
}

// A goroutine that outlived Close would make synctest.Test fail.
func TestCloseLeavesNoGoroutineInVirtualTime(t *testing.T) {
	path := home(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		db, err := Open(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(ctx, "CREATE TABLE x (v TEXT)"); err != nil {
			t.Fatal(err)
		}
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	})
}
