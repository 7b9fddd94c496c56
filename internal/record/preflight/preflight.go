// Package preflight remembers what the runs of the preflight have found, so that a run can be compared with the one before, and shown again.
// A report holds no secret. What it says was true when it was made; the ledger, not this table, proves that nobody has changed it since.
package preflight

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/record/sqlite"
)

// Keep is how many reports of each agent stay: half a year of one a day. The ledger keeps the digest of every one. Once there are more, the last of
// each day gone by stays, and the newest keepToday of the newest report's day: whoever may run the preflight could otherwise erase, by running it
// often, what it found before.
const (
	Keep      = 200
	keepToday = 50
)

// Store is the reports, in a database that the caller opened and closes.
type Store struct {
	Keep int // reports of each agent that stay; New sets Keep
	db   *sql.DB
}

// n orders the reports as they were saved: the clock may be set back.
const schema = `
CREATE TABLE IF NOT EXISTS preflights (
	n      BIGINT PRIMARY KEY,
	id     TEXT NOT NULL UNIQUE,
	agent  TEXT NOT NULL,
	report TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS preflights_of_agent ON preflights (agent, n);`

// thin leaves the last report of each day, and of the given day the newest few, where there are more than the agent's share. One that does not
// read is a day of its own: it is not ours to clear away.
const thin = `
DELETE FROM preflights WHERE agent = $1 AND (SELECT count(*) FROM preflights WHERE agent = $1) > $4 AND n IN (
	SELECT n FROM (
		SELECT n, day, row_number() OVER (PARTITION BY day ORDER BY n DESC) AS place FROM (
			SELECT n, coalesce(CASE WHEN json_valid(report) THEN substr(json_extract(report, '$.at'), 1, 10) END, id) AS day FROM preflights WHERE agent = $1))
	WHERE place > CASE WHEN day = $2 THEN $3 ELSE 1 END)`

// New makes the table where it is missing.
func New(ctx context.Context, db *sql.DB) (*Store, error) {
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, sqlite.Failed("prepare the preflight's reports", err)
	}
	return &Store{Keep: Keep, db: db}, nil
}

// Save keeps a sealed report and thins those of its agent out beyond Keep, in one transaction. fault.Invalid: it has no id or no agent,
// or its digest is not that of what it says. fault.Conflict: a report of that id is kept already; one never replaces another.
func (s *Store) Save(ctx context.Context, r api.PreflightReport) error {
	if r.ID == "" || r.Agent == "" || r.Digest != r.Seal() {
		return fault.Newf(fault.Invalid, "a report is kept with its id, its agent and its digest")
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode report %s: %w", r.ID, err)
	}
	op := "keep report " + r.ID
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return sqlite.Failed(op, err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	var there int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM preflights WHERE id = $1`, r.ID).Scan(&there); err != nil {
		return sqlite.Failed(op, err)
	}
	if there > 0 {
		return fault.Newf(fault.Conflict, "report %s is kept already", r.ID)
	}
	for _, step := range []struct {
		query string
		args  []any
	}{
		{`INSERT INTO preflights (n, id, agent, report) SELECT coalesce(max(n), 0) + 1, $1, $2, $3 FROM preflights`, []any{r.ID, r.Agent, string(b)}},
		{thin, []any{r.Agent, r.At.UTC().Format(time.DateOnly), min(keepToday, max(s.Keep, 1)), max(s.Keep, 1)}},
		{`DELETE FROM preflights WHERE agent = $1 AND n NOT IN (SELECT n FROM preflights WHERE agent = $1 ORDER BY n DESC LIMIT $2)`, []any{r.Agent, max(s.Keep, 1)}},
	} {
		if _, err := tx.ExecContext(ctx, step.query, step.args...); err != nil {
			return sqlite.Failed(op, err)
		}
	}
	if err := tx.Commit(); err != nil {
		return sqlite.Failed(op, err)
	}
	return nil
}

// Latest is the newest report of the agent; nil if there is none. fault.Corrupt if it does not read.
func (s *Store) Latest(ctx context.Context, agent string) (*api.PreflightReport, error) {
	all, err := s.List(ctx, agent, 1)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

// List is the reports of the agent, the newest first; limit 0 or less means all. fault.Corrupt if one of them does not read: a list that left
// it out would pass for complete.
func (s *Store) List(ctx context.Context, agent string, limit int) (all []api.PreflightReport, err error) {
	if limit <= 0 {
		limit = int(^uint32(0) >> 1)
	}
	rows, err := s.db.QueryContext(ctx, `SELECT id, report FROM preflights WHERE agent = $1 ORDER BY n DESC LIMIT $2`, agent, limit)
	if err != nil {
		return nil, sqlite.Failed("read the preflight's reports", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id, text string
		if err := rows.Scan(&id, &text); err != nil {
			return nil, sqlite.Failed("read the preflight's reports", err)
		}
		r, err := decode(agent, id, text)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return nil, sqlite.Failed("read the preflight's reports", err)
	}
	return all, nil
}

// Seals are what the ledger must hold of every kept report, of whatever agent: id, agent, ledger head and digest, the oldest first. Nothing
// else of the reports is given, and they are not verified: what was changed in them the ledger does not hold.
func (s *Store) Seals(ctx context.Context) (all []api.PreflightReport, err error) {
	const op = "read the seals of the preflight's reports"
	rows, err := s.db.QueryContext(ctx, `SELECT id, agent, coalesce(json_extract(report, '$.ledger_head'), ''), coalesce(json_extract(report, '$.digest'), '') FROM preflights ORDER BY n`)
	if err != nil {
		return nil, sqlite.Failed(op, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r api.PreflightReport
		if err := rows.Scan(&r.ID, &r.Agent, &r.LedgerHead, &r.Digest); err != nil {
			return nil, sqlite.Failed(op, err)
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return nil, sqlite.Failed(op, err)
	}
	return all, nil
}

// Get is the agent's report of that id. fault.NotFound: there is none, or it was the oldest one day. fault.Corrupt: it does not read.
func (s *Store) Get(ctx context.Context, agent, id string) (api.PreflightReport, error) {
	var text string
	err := s.db.QueryRowContext(ctx, `SELECT report FROM preflights WHERE agent = $1 AND id = $2`, agent, id).Scan(&text)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return api.PreflightReport{}, fault.New(fault.NotFound, "no preflight report "+id+" of agent "+agent+" is kept here", "leastkey preflight history "+agent+" lists them")
	case err != nil:
		return api.PreflightReport{}, sqlite.Failed("read report "+id, err)
	}
	return decode(agent, id, text)
}

// decode takes nothing but a report that is whole: of that agent and id, with no field that we do not know, and as it was sealed.
func decode(agent, id, text string) (api.PreflightReport, error) {
	var r api.PreflightReport
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	err := d.Decode(&r)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows it")
		}
	}
	switch {
	case err != nil:
	case r.ID != id || r.Agent != agent:
		err = errors.New("it names another id or agent")
	case r.Digest != r.Seal():
		err = errors.New("its digest is not that of what it says")
	}
	if err != nil {
		return api.PreflightReport{}, &fault.Error{Code: fault.Corrupt, Op: "preflight report " + id + " of agent " + agent + " does not read", Err: err,
			Hint: "nothing was changed; restore the database from a backup"}
	}
	return r, nil
}
