// Package ledger keeps who asked for what and whether it was allowed: append-only, each entry chained to the one before by its hash.
//
// Whoever can write the database can also compute hashes: the chain alone shows a change that was made without rewriting all that
// follows. The head, which every apply and report prints, is what pins the past: see [Ledger.VerifyHead].
package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/record/sqlite"
)

// Ledger is the chain, in a database that the caller opened and closes.
type Ledger struct {
	Now func() time.Time // the clock of At; New sets time.Now
	db  *sql.DB
}

const schema = `
CREATE TABLE ledger (
	seq   BIGINT PRIMARY KEY,
	entry TEXT NOT NULL,
	hash  TEXT NOT NULL
);`

// guard is a trigger of SQLite's.
type guard struct{ name, sql string }

// guards are a second line against our own mistakes. Somebody who writes to the file can drop them; the chain shows what they do then, all
// but the cutting off of its end. That they are gone tells it too, so they are made with the table and never again: see [Ledger.Unguarded].
func guards() []guard {
	return []guard{
		{"ledger_is_not_changed", `CREATE TRIGGER ledger_is_not_changed BEFORE UPDATE ON ledger
	BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END`},
		{"ledger_is_not_deleted", `CREATE TRIGGER ledger_is_not_deleted BEFORE DELETE ON ledger
	BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END`},
		{"ledger_only_grows", `CREATE TRIGGER ledger_only_grows BEFORE INSERT ON ledger
	WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM ledger)
	BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END`},
	}
}

// New makes the table and its guards together, where the table is missing.
func New(ctx context.Context, db *sql.DB) (*Ledger, error) {
	const op = "prepare ledger"
	l := &Ledger{Now: time.Now, db: db}
	there, err := l.written(ctx, db, "table", "ledger")
	if err != nil || there != "" {
		return l, err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, sqlite.Failed(op, err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if there, err = l.written(ctx, tx, "table", "ledger"); err != nil || there != "" {
		return l, err // another process was faster
	}
	steps := []string{schema}
	for _, g := range guards() {
		steps = append(steps, g.sql)
	}
	for _, step := range steps {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return nil, sqlite.Failed(op, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, sqlite.Failed(op, err)
	}
	return l, nil
}

// written is the statement that the database keeps of a thing of its own; "" if there is none of that name.
func (l *Ledger) written(ctx context.Context, q querier, kind, name string) (statement string, err error) {
	rows, err := q.QueryContext(ctx, `SELECT sql FROM sqlite_master WHERE type = $1 AND name = $2`, kind, name)
	if err != nil {
		return "", sqlite.Failed("look at ledger", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := rows.Scan(&statement); err != nil {
			return "", sqlite.Failed("look at ledger", err)
		}
	}
	if err := rows.Err(); err != nil {
		return "", sqlite.Failed("look at ledger", err)
	}
	return statement, nil
}

// Unguarded are the names of the guards that are gone, or that are not as New has made them. None of our own operations takes one away.
func (l *Ledger) Unguarded(ctx context.Context) (gone []string, err error) {
	for _, g := range guards() {
		have, err := l.written(ctx, l.db, "trigger", g.name)
		if err != nil {
			return nil, err
		}
		if strings.Join(strings.Fields(have), " ") != strings.Join(strings.Fields(g.sql), " ") {
			gone = append(gone, g.name)
		}
	}
	return gone, nil
}

// content is what is hashed: the entry without its hash, as JSON with these fields in this order, no spaces, < > & as they are, and
// the time in UTC. Strings are valid UTF-8.
type content struct {
	Seq     int64     `json:"seq"`
	At      time.Time `json:"at"`
	Actor   string    `json:"actor"`
	Action  string    `json:"action"`
	Subject string    `json:"subject"`
	Allowed bool      `json:"allowed"`
	Detail  string    `json:"detail,omitempty"`
	Prev    string    `json:"prev"`
}

func contentOf(e api.LedgerEntry) content {
	clean := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
	return content{e.Seq, e.At.UTC().Round(0), clean(e.Actor), clean(e.Action), clean(e.Subject), e.Allowed, clean(e.Detail), e.Prev}
}

func (c content) entry(hash string) api.LedgerEntry {
	return api.LedgerEntry{Seq: c.Seq, At: c.At, Actor: c.Actor, Action: c.Action, Subject: c.Subject, Allowed: c.Allowed, Detail: c.Detail, Prev: c.Prev, Hash: hash}
}

func (c content) canonical() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(c); err != nil {
		return nil, fmt.Errorf("encode ledger entry: %w", err)
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

func hashOf(canonical []byte) string {
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:])
}

// Append adds the entry and returns it with Seq, At, Prev and Hash filled in; what the caller put there is ignored. It is on disk when
// Append returns. fault.Corrupt, and nothing is added, if the last entry is not what its hash says: a broken chain does not grow.
func (l *Ledger) Append(ctx context.Context, e api.LedgerEntry) (api.LedgerEntry, error) {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return api.LedgerEntry{}, sqlite.Failed("write ledger", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	last, err := head(ctx, tx)
	if err != nil {
		return api.LedgerEntry{}, err
	}
	e.Seq, e.At, e.Prev = last.Seq+1, l.Now(), last.Hash
	c := contentOf(e)
	b, err := c.canonical()
	if err != nil {
		return api.LedgerEntry{}, err
	}
	e = c.entry(hashOf(b))
	if _, err := tx.ExecContext(ctx, `INSERT INTO ledger (seq, entry, hash) VALUES ($1, $2, $3)`, e.Seq, string(b), e.Hash); err != nil {
		return api.LedgerEntry{}, sqlite.Failed("write ledger", err)
	}
	if err := tx.Commit(); err != nil {
		return api.LedgerEntry{}, sqlite.Failed("write ledger", err)
	}
	return e, nil
}

// Head is the hash of the last entry, "" if there is none.
func (l *Ledger) Head(ctx context.Context) (string, error) {
	e, err := head(ctx, l.db)
	return e.Hash, err
}

// List is the last entries, oldest first; limit 0 or less means all. It does not verify the chain, only that each entry reads.
func (l *Ledger) List(ctx context.Context, limit int) ([]api.LedgerEntry, error) {
	if limit <= 0 {
		limit = int(^uint32(0) >> 1)
	}
	var all []api.LedgerEntry
	err := each(ctx, l.db, `SELECT seq, entry, hash FROM (SELECT seq, entry, hash FROM ledger ORDER BY seq DESC LIMIT $1) AS recent ORDER BY seq`,
		func(r row) error {
			c, err := r.content()
			if err != nil {
				return err
			}
			all = append(all, c.entry(r.hash))
			return nil
		}, limit)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Verify computes every hash again. It shows a changed entry, one missing before the end, and a changed order; an end cut off shows
// only against a head known from before: [Ledger.VerifyHead].
func (l *Ledger) Verify(ctx context.Context) (api.LedgerVerdict, error) {
	v, _, err := l.verify(ctx, "")
	return v, err
}

// VerifyHead is Verify, and the chain must contain the entry with that hash: the head that an earlier report printed. If it does not,
// the ledger was cut off or rewritten since, and Broken is the number after the last entry.
func (l *Ledger) VerifyHead(ctx context.Context, head string) (api.LedgerVerdict, error) {
	v, seen, err := l.verify(ctx, strings.ToLower(strings.TrimSpace(head)))
	if err == nil && v.Intact && !seen {
		v.Intact, v.Broken = false, v.Entries+1
	}
	return v, err
}

func (l *Ledger) verify(ctx context.Context, wanted string) (v api.LedgerVerdict, seen bool, err error) {
	v.Intact, seen = true, wanted == ""
	err = each(ctx, l.db, `SELECT seq, entry, hash FROM ledger ORDER BY seq`, func(r row) error {
		v.Entries++
		if v.Intact && !r.follows(v.Entries, v.Head) {
			v.Intact, v.Broken = false, v.Entries
		}
		v.Head = r.hash
		seen = seen || r.hash == wanted
		return nil
	})
	return v, seen, err
}

// row is one row as it lies in the table.
type row struct {
	seq   int64
	entry string
	hash  string
}

// follows tells whether the row is the entry of that number after one of that hash.
func (r row) follows(seq int64, prev string) bool {
	c, err := r.content()
	return err == nil && r.seq == seq && c.Seq == seq && c.Prev == prev && hashOf([]byte(r.entry)) == r.hash
}

// content decodes the row; only the one spelling that canonical makes is an entry.
func (r row) content() (content, error) {
	var c content
	d := json.NewDecoder(strings.NewReader(r.entry))
	d.DisallowUnknownFields()
	err := d.Decode(&c)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows it")
		}
	}
	if err == nil {
		var b []byte
		if b, err = c.canonical(); err == nil && string(b) != r.entry {
			err = errors.New("it is not in canonical form")
		}
	}
	if err != nil {
		return content{}, &fault.Error{Code: fault.Corrupt, Op: fmt.Sprintf("ledger entry %d does not read", r.seq), Err: err,
			Hint: "leastkey ledger verify says where the chain breaks"}
	}
	return c, nil
}

// querier is the part that a database and a transaction share.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// head is the last entry, the zero one if there is none, checked against its own hash.
func head(ctx context.Context, q querier) (last api.LedgerEntry, err error) {
	err = each(ctx, q, `SELECT seq, entry, hash FROM ledger ORDER BY seq DESC LIMIT 1`, func(r row) error {
		c, err := r.content()
		if err != nil {
			return err
		}
		if c.Seq != r.seq || hashOf([]byte(r.entry)) != r.hash {
			return fault.New(fault.Corrupt, fmt.Sprintf("ledger entry %d is not what its hash says", r.seq), "leastkey ledger verify says where the chain breaks")
		}
		last = c.entry(r.hash)
		return nil
	})
	return last, err
}

func each(ctx context.Context, q querier, query string, f func(row) error, args ...any) (err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return sqlite.Failed("read ledger", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.seq, &r.entry, &r.hash); err != nil {
			return sqlite.Failed("read ledger", err)
		}
		if err := f(r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return sqlite.Failed("read ledger", err)
	}
	return nil
}
