package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
)

// The names of leastkey's databases: the record, and what the admin server remembers for itself.
const (
	Record = "leastkey.db"
	Server = "server.db"
)

// Part tells whether a path leads to one of the databases, or to what SQLite keeps beside it, by its name. No such file is ever opened but by
// SQLite: closing any descriptor of it drops this process's locks, and the next process then deletes a log that is still written
// (https://www.sqlite.org/howtocorrupt.html, section 2.2).
func Part(path string) bool {
	if at, err := filepath.EvalSymlinks(path); err == nil {
		path = at
	}
	name := filepath.Base(path)
	for _, db := range []string{Record, Server} {
		if rest, ok := strings.CutPrefix(name, db); ok && (rest == "" || rest == "-wal" || rest == "-shm" || rest == "-journal") {
			return true
		}
	}
	return false
}

// Search gives everything in the database to found until that says something: each value and each definition whole, and then each page as it
// lies in the file, which holds what was deleted too. It reads through the handle alone; see [Part].
func Search(ctx context.Context, db *sql.DB, found func([]byte) string) (string, error) {
	queries := []string{"SELECT sql FROM sqlite_schema"}
	tables, err := db.QueryContext(ctx, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name")
	if err != nil {
		return "", explain("search the database", err)
	}
	for tables.Next() {
		var name string
		if err := tables.Scan(&name); err != nil {
			return "", errors.Join(explain("search the database", err), tables.Close())
		}
		queries = append(queries, `SELECT * FROM "`+strings.ReplaceAll(name, `"`, `""`)+`"`)
	}
	if err := errors.Join(tables.Err(), tables.Close()); err != nil {
		return "", explain("search the database", err)
	}
	for _, q := range append(queries, "SELECT data FROM sqlite_dbpage") { // https://www.sqlite.org/dbpage.html
		if what, err := searchRows(ctx, db, q, found); what != "" || err != nil {
			return what, err
		}
	}
	return "", nil
}

func searchRows(ctx context.Context, db *sql.DB, query string, found func([]byte) string) (what string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return "", explain("search the database", err)
	}
	defer func() {
		if e := errors.Join(rows.Err(), rows.Close()); e != nil && err == nil {
			err = explain("search the database", e)
		}
	}()
	columns, err := rows.Columns()
	if err != nil {
		return "", explain("search the database", err)
	}
	values, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return "", explain("search the database", err)
		}
		for _, v := range values {
			if what := found(v); what != "" {
				return what, nil
			}
		}
	}
	return "", nil
}
