// Package state remembers what each agent has: ids, references to keys and public certificates, never a secret. It says what leastkey
// did; only the world says whether it is still so.
package state

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/record/sqlite"
)

// Store is the agents' records and a few named values, in a database that the caller opened and closes.
type Store struct {
	Now func() time.Time // the clock for when a row was written; New sets time.Now
	db  *sql.DB
}

const schema = `
CREATE TABLE IF NOT EXISTS agents (
	name    TEXT PRIMARY KEY,
	record  TEXT NOT NULL,
	updated TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS meta (
	name    TEXT PRIMARY KEY,
	value   TEXT NOT NULL,
	updated TEXT NOT NULL
);`

// New makes the tables where they are missing.
func New(ctx context.Context, db *sql.DB) (*Store, error) {
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, sqlite.Failed("prepare state", err)
	}
	return &Store{Now: time.Now, db: db}, nil
}

// Agent is the record of that agent; one with nothing but its name if there is none. fault.Corrupt if it does not read.
func (s *Store) Agent(ctx context.Context, name string) (agent.Record, error) {
	return read(ctx, s.db, name)
}

// Agents are all records, by name. fault.Corrupt if one does not read: a list that left it out would pass for complete.
func (s *Store) Agents(ctx context.Context) (all []agent.Record, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT name, record FROM agents ORDER BY name`)
	if err != nil {
		return nil, sqlite.Failed("read agents", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return nil, sqlite.Failed("read agents", err)
		}
		r, err := decode(name, text)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return nil, sqlite.Failed("read agents", err)
	}
	return all, nil
}

// Save writes the record. One that is there and does not read is refused, not overwritten: it may be the only trace of what exists.
func (s *Store) Save(ctx context.Context, r agent.Record) error {
	return s.Update(ctx, r.Agent, func(have *agent.Record) error {
		*have = r
		return nil
	})
}

// Update reads a record, lets change alter it, and writes it, all in one transaction. An error of change is returned as it is and
// nothing is written. change must not use the Store.
func (s *Store) Update(ctx context.Context, name string, change func(*agent.Record) error) error {
	if name == "" {
		return fault.Newf(fault.Invalid, "a record needs the name of its agent")
	}
	return within(ctx, s.db, "write record of agent "+name, func(tx *sql.Tx) error {
		r, err := read(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := change(&r); err != nil {
			return err
		}
		if r.Agent != name {
			return fault.Newf(fault.Invalid, "the record of agent %s cannot become that of %s", name, r.Agent)
		}
		b, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode record of agent %s: %w", name, err)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO agents (name, record, updated) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET record = excluded.record, updated = excluded.updated`, name, string(b), s.stamp())
		if err != nil {
			return sqlite.Failed("write record of agent "+name, err)
		}
		return nil
	})
}

// Delete forgets the agent; one that is not there is fine. A record that does not read stays.
func (s *Store) Delete(ctx context.Context, name string) error {
	return within(ctx, s.db, "forget agent "+name, func(tx *sql.Tx) error {
		if _, err := read(ctx, tx, name); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM agents WHERE name = $1`, name); err != nil {
			return sqlite.Failed("forget agent "+name, err)
		}
		return nil
	})
}

// Meta is the value of that name; false if there is none.
func (s *Store) Meta(ctx context.Context, name string) (value string, ok bool, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = $1`, name).Scan(&value)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", false, nil
	case err != nil:
		return "", false, sqlite.Failed("read "+name, err)
	}
	return value, true, nil
}

// SetMeta writes the value of that name.
func (s *Store) SetMeta(ctx context.Context, name, value string) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO meta (name, value, updated) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated = excluded.updated`, name, value, s.stamp())
	if err != nil {
		return sqlite.Failed("write "+name, err)
	}
	return nil
}

func (s *Store) stamp() string { return s.Now().UTC().Format(time.RFC3339Nano) }

// querier is the part that a database and a transaction share.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func read(ctx context.Context, q querier, name string) (agent.Record, error) {
	var text string
	err := q.QueryRowContext(ctx, `SELECT record FROM agents WHERE name = $1`, name).Scan(&text)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return agent.Record{Agent: name}, nil
	case err != nil:
		return agent.Record{}, sqlite.Failed("read record of agent "+name, err)
	}
	return decode(name, text)
}

// decode is strict: a field that we do not know would be lost by the next write.
func decode(name, text string) (agent.Record, error) {
	var r agent.Record
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	err := d.Decode(&r)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows the record")
		}
	}
	if err == nil && r.Agent != name {
		err = errors.New("it names another agent")
	}
	if err != nil {
		return agent.Record{}, &fault.Error{Code: fault.Corrupt, Op: "record of agent " + name + " does not read", Err: err,
			Hint: "nothing was changed; restore the database from a backup, or look at it with leastkey state export"}
	}
	return r, nil
}

// within runs f in a transaction; an error of f, or of the database, undoes all of it.
func within(ctx context.Context, db *sql.DB, op string, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return sqlite.Failed(op, err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return sqlite.Failed(op, err)
	}
	return nil
}
