package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

//go:embed migrations/*.sql
var files embed.FS

// applicationID is the mark that the first migration sets.
const applicationID = 1280009593

// migration is one numbered step of the schema; number n leads from user_version n-1 to n.
type migration struct {
	number int
	sql    string
}

// embedded reads the migrations that come with the binary, in order and without a gap.
func embedded() ([]migration, error) {
	entries, err := files.ReadDir("migrations")
	if err != nil {
		return nil, fmt.Errorf("read the migrations inside the binary: %w", err)
	}
	var all []migration
	for i, e := range entries {
		digits, _, _ := strings.Cut(e.Name(), "_")
		n, err := strconv.Atoi(digits)
		if err != nil || n != i+1 {
			return nil, fmt.Errorf("migration %s inside the binary is out of order", e.Name())
		}
		b, err := files.ReadFile("migrations/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read the migrations inside the binary: %w", err)
		}
		all = append(all, migration{n, string(b)})
	}
	return all, nil
}

// upgrade brings a database of an earlier version to ours, and refuses any other.
func upgrade(ctx context.Context, db *sql.DB, path string, all []migration) error {
	var mark, version int
	err := errors.Join(
		db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&mark),
		db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version))
	switch {
	case err != nil:
		return explain("read version of database "+path, err)
	case mark == 0 && version == 0 && empty(ctx, db):
		return damaged(path, errors.New("it is empty"))
	case mark != applicationID || version < 1:
		return fault.New(fault.Refused, path+" is a database of another program", "choose another LEASTKEY_HOME")
	}
	return migrate(ctx, db, path, version, all)
}

// empty tells whether the database has nothing in it: what a cut-off copy or a full disk leaves of one of ours.
func empty(ctx context.Context, db *sql.DB) bool {
	var n int
	err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&n)
	return err == nil && n == 0
}

// migrate takes the steps after version in one transaction. Two processes may arrive here at once: the second finds nothing left to do.
func migrate(ctx context.Context, db *sql.DB, path string, version int, all []migration) error {
	if version > len(all) {
		return newer(path, version, len(all))
	}
	if version == len(all) {
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return explain("upgrade database "+path, err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return explain("upgrade database "+path, err)
	}
	if version > len(all) {
		return newer(path, version, len(all))
	}
	for _, m := range all[version:] {
		if _, err := tx.ExecContext(ctx, m.sql); err != nil {
			return explain(fmt.Sprintf("upgrade database %s to version %d", path, m.number), err)
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(all))); err != nil {
		return explain("upgrade database "+path, err)
	}
	if err := tx.Commit(); err != nil {
		return explain("upgrade database "+path, err)
	}
	return nil
}

func newer(path string, version, ours int) error {
	return fault.New(fault.Refused, fmt.Sprintf("database %s has version %d, this leastkey knows %d", path, version, ours),
		"use the newer leastkey that wrote it")
}
