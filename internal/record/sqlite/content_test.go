package sqlite

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSearchFindsItWhereverItLies(t *testing.T) {
	found := func(b []byte) string {
		if bytes.Contains(b, []byte("marked-secret")) {
			return "it"
		}
		return ""
	}
	long := strings.Repeat("x", 4090) // so that the mark lies across two pages
	for name, c := range map[string]struct {
		do   []string
		want string
	}{
		"nothing":                 {nil, ""},
		"a text":                  {[]string{"INSERT INTO x VALUES ('a marked-secret')"}, "it"},
		"a blob":                  {[]string{"INSERT INTO x VALUES (CAST('a marked-secret' AS BLOB))"}, "it"},
		"across two pages":        {[]string{"INSERT INTO x VALUES ('" + long[:4090] + "marked-secret" + long + "')"}, "it"},
		"in a table of odd name":  {[]string{`CREATE TABLE "a""b" (v)`, `INSERT INTO "a""b" VALUES ('marked-secret')`}, "it"},
		"in a definition":         {[]string{"CREATE TABLE y (v TEXT DEFAULT 'marked-secret')"}, "it"},
		"deleted":                 {[]string{"INSERT INTO x VALUES ('a marked-secret')", "DELETE FROM x"}, "it"},
		"in a table that is gone": {[]string{"CREATE TABLE y (v)", "INSERT INTO y VALUES ('" + long + "'), ('marked-secret')", "DROP TABLE y"}, "it"},
	} {
		t.Run(name, func(t *testing.T) {
			db := mustOpen(t, home(t))
			exec(t, db, "CREATE TABLE x (v)")
			exec(t, db, "INSERT INTO x VALUES (1), (NULL), ('fine')")
			for _, q := range c.do {
				exec(t, db, q)
			}
			if got, err := Search(t.Context(), db, found); err != nil || got != c.want {
				t.Errorf("%q %v, want %q", got, err, c.want)
			}
			exec(t, db, "INSERT INTO x VALUES (2)") // the handle's one connection is free again
		})
	}
	db := mustOpen(t, home(t))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Search(t.Context(), db, found); err == nil {
		t.Error("a closed database was searched")
	}
}

func TestPartsOfADatabaseAreKnownByName(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "innocent")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, Record), nil, 0o600), os.Symlink(filepath.Join(dir, Record), link)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		filepath.Join(dir, Record): true, link: true, "/x/leastkey.db-wal": true, "/x/leastkey.db-shm": true, "/x/leastkey.db-journal": true, "/x/server.db": true, "server.db-wal": true,
		"/x/leastkey.db.bak": false, "/x/leastkey.db.lock": false, "/x/leastkey.yaml": false, "/leastkey.db/x": false, filepath.Join(dir, "none"): false,
	} {
		if Part(path) != want {
			t.Errorf("%s: %t", path, !want)
		}
	}
}
