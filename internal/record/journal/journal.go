// Package journal is the crash story: what was going to be done is on disk before it is done, and what was seen is on disk after it.
// A step with a begin and no end may or may not have had its effect: whoever continues looks at the world first.
//
// It takes only the words of domain/agent, which have no room for a secret.
package journal

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/record/sqlite"
)

// Journal is the runs and the entries of their steps, in a database that the caller opened (with synchronous=FULL) and closes.
type Journal struct {
	Now func() time.Time // the clock for begins and ends; New sets time.Now
	db  *sql.DB
}

// One run of an agent is open at a time; the index holds that even against a process that skips the agent's lock.
const schema = `
CREATE TABLE IF NOT EXISTS runs (
	id       TEXT PRIMARY KEY,
	seq      BIGINT NOT NULL UNIQUE,
	agent    TEXT NOT NULL,
	verb     TEXT NOT NULL,
	digest   TEXT NOT NULL,
	actor    TEXT NOT NULL,
	plan     TEXT NOT NULL,
	started  TEXT NOT NULL,
	finished TEXT,
	status   TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS runs_open ON runs (agent) WHERE status = 'open';
CREATE TABLE IF NOT EXISTS entries (
	run_id  TEXT NOT NULL REFERENCES runs (id),
	step_id TEXT NOT NULL,
	seq     BIGINT NOT NULL,
	intent  TEXT NOT NULL,
	begun   TEXT NOT NULL,
	ended   TEXT,
	result  TEXT,
	PRIMARY KEY (run_id, step_id)
);`

// New makes the tables where they are missing.
func New(ctx context.Context, db *sql.DB) (*Journal, error) {
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, sqlite.Failed("prepare journal", err)
	}
	return &Journal{Now: time.Now, db: db}, nil
}

// Start opens a run. A zero Started is now; its status is open whatever r says. fault.Conflict if the agent has an open run, or if the
// id is taken.
func (j *Journal) Start(ctx context.Context, r agent.Run) error {
	if r.ID == "" || r.Agent == "" {
		return fault.Newf(fault.Invalid, "a run needs an id and an agent")
	}
	if r.Started.IsZero() {
		r.Started = j.Now()
	}
	plan, err := json.Marshal(r.Plan)
	if err != nil {
		return fmt.Errorf("encode plan of run %s: %w", r.ID, err)
	}
	op := "start run " + r.ID
	return within(ctx, j.db, op, func(tx *sql.Tx) error {
		var taken, open int
		if err := tx.QueryRowContext(ctx, `SELECT
			(SELECT count(*) FROM runs WHERE id = $1), (SELECT count(*) FROM runs WHERE agent = $2 AND status = 'open')`,
			r.ID, r.Agent).Scan(&taken, &open); err != nil {
			return sqlite.Failed(op, err)
		}
		switch {
		case taken > 0:
			return fault.Newf(fault.Conflict, "run %s exists already", r.ID)
		case open > 0:
			return fault.New(fault.Conflict, "agent "+r.Agent+" has an open run", "leastkey status shows it; the command that began it continues it")
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO runs (id, seq, agent, verb, digest, actor, plan, started, status)
			VALUES ($1, (SELECT coalesce(max(seq), 0) + 1 FROM runs), $2, $3, $4, $5, $6, $7, 'open')`,
			r.ID, r.Agent, string(r.Verb), r.Digest, r.Actor, string(plan), stamp(r.Started))
		if err != nil {
			return sqlite.Failed(op, err)
		}
		return nil
	})
}

// Open is the agent's open run, nil if it has none.
func (j *Journal) Open(ctx context.Context, agentName string) (*agent.Run, error) {
	open, err := j.runs(ctx, `WHERE agent = $1 AND status = 'open' ORDER BY seq`, agentName)
	switch {
	case err != nil:
		return nil, err
	case len(open) == 0:
		return nil, nil
	case len(open) > 1:
		return nil, corrupt(fmt.Sprintf("agent %s has %d open runs", agentName, len(open)), nil)
	}
	return &open[0], nil
}

// OpenRuns are the open runs of all agents, oldest first.
func (j *Journal) OpenRuns(ctx context.Context) ([]agent.Run, error) {
	return j.runs(ctx, `WHERE status = 'open' ORDER BY seq`)
}

// Runs are all runs of the agent, oldest first.
func (j *Journal) Runs(ctx context.Context, agentName string) ([]agent.Run, error) {
	return j.runs(ctx, `WHERE agent = $1 ORDER BY seq`, agentName)
}

// Last is the agent's run that was started last, nil if there never was one.
func (j *Journal) Last(ctx context.Context, agentName string) (*agent.Run, error) {
	last, err := j.runs(ctx, `WHERE agent = $1 ORDER BY seq DESC LIMIT 1`, agentName)
	if err != nil || len(last) == 0 {
		return nil, err
	}
	return &last[0], nil
}

// Finish closes a run. The same status again is fine, another is fault.Conflict. A run is not done while a step has begun and not ended.
func (j *Journal) Finish(ctx context.Context, runID string, status agent.RunStatus) error {
	if status != agent.RunDone && status != agent.RunSuperseded {
		return fault.Newf(fault.Invalid, "a run does not finish as %q", status)
	}
	op := "finish run " + runID
	return within(ctx, j.db, op, func(tx *sql.Tx) error {
		have, err := statusOf(ctx, tx, runID)
		if err != nil || have == status {
			return err
		}
		if have != agent.RunOpen {
			return fault.Newf(fault.Conflict, "run %s is %s already", runID, have)
		}
		if status == agent.RunDone {
			if err := nothingPending(ctx, tx, runID); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `UPDATE runs SET status = $1, finished = $2 WHERE id = $3`, string(status), stamp(j.Now()), runID); err != nil {
			return sqlite.Failed(op, err)
		}
		return nil
	})
}

func nothingPending(ctx context.Context, tx *sql.Tx, runID string) error {
	var step string
	err := tx.QueryRowContext(ctx, `SELECT step_id FROM entries WHERE run_id = $1 AND ended IS NULL ORDER BY seq LIMIT 1`, runID).Scan(&step)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return sqlite.Failed("finish run "+runID, err)
	}
	return fault.Newf(fault.Conflict, "run %s is not done: step %s has begun and not ended", runID, step)
}

// Entries are the run's entries in the order in which they began.
func (j *Journal) Entries(ctx context.Context, runID string) (all []agent.Entry, err error) {
	rows, err := j.db.QueryContext(ctx, selectEntry+` WHERE run_id = $1 ORDER BY seq`, runID)
	if err != nil {
		return nil, sqlite.Failed("read entries of run "+runID, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		e, err := scanEntry(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if err := rows.Err(); err != nil {
		return nil, sqlite.Failed("read entries of run "+runID, err)
	}
	return all, nil
}

// Begin records that the step is going to be done; it is on disk when Begin returns. A step that began before keeps its first intent,
// whatever is passed now, and that entry comes back: a nonce minted before a crash is the one to look for after it.
func (j *Journal) Begin(ctx context.Context, runID, stepID string, intent map[string]string) (entry agent.Entry, err error) {
	if stepID == "" {
		return entry, fault.Newf(fault.Invalid, "an entry of run %s needs a step", runID)
	}
	text, err := json.Marshal(intent)
	if err != nil {
		return entry, fmt.Errorf("encode intent of step %s: %w", stepID, err)
	}
	op := "begin step " + stepID
	err = within(ctx, j.db, op, func(tx *sql.Tx) error {
		have, found, err := entryOf(ctx, tx, runID, stepID)
		if err != nil {
			return err
		}
		if found {
			entry = have
			return nil
		}
		status, err := statusOf(ctx, tx, runID)
		if err != nil {
			return err
		}
		if status != agent.RunOpen {
			return fault.Newf(fault.Conflict, "step %s cannot begin: run %s is %s", stepID, runID, status)
		}
		entry = agent.Entry{RunID: runID, StepID: stepID, Intent: maps.Clone(intent), Begun: j.Now().UTC().Round(0)}
		_, err = tx.ExecContext(ctx, `INSERT INTO entries (run_id, step_id, seq, intent, begun)
			VALUES ($1, $2, (SELECT coalesce(max(seq), 0) + 1 FROM entries WHERE run_id = $1), $3, $4)`,
			runID, stepID, string(text), stamp(entry.Begun))
		if err != nil {
			return sqlite.Failed(op, err)
		}
		return nil
	})
	if err != nil {
		return agent.Entry{}, err
	}
	return entry, nil
}

// Withdraw takes the Begin of a step back that was refused before it could have any effect, so that nobody has to find out about it
// later. A step that has ended, or never began, is fault.Conflict.
func (j *Journal) Withdraw(ctx context.Context, runID, stepID string) error {
	op := "withdraw step " + stepID
	return within(ctx, j.db, op, func(tx *sql.Tx) error {
		have, found, err := entryOf(ctx, tx, runID, stepID)
		switch {
		case err != nil:
			return err
		case !found || have.Ended != nil:
			return fault.Newf(fault.Conflict, "step %s of run %s is not under way", stepID, runID)
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM entries WHERE run_id = $1 AND step_id = $2`, runID, stepID); err != nil {
			return sqlite.Failed(op, err)
		}
		return nil
	})
}

// End records what the step left behind. The same result again is fine; another one, or the end of what was not begun, is
// fault.Conflict.
func (j *Journal) End(ctx context.Context, runID, stepID string, r agent.Result) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode result of step %s: %w", stepID, err)
	}
	op := "end step " + stepID
	return within(ctx, j.db, op, func(tx *sql.Tx) error {
		have, found, err := entryOf(ctx, tx, runID, stepID)
		switch {
		case err != nil:
			return err
		case !found:
			return fault.Newf(fault.Conflict, "step %s of run %s ends without having begun", stepID, runID)
		case have.Ended != nil:
			return sameResult(have, text)
		}
		if _, err := tx.ExecContext(ctx, `UPDATE entries SET ended = $1, result = $2 WHERE run_id = $3 AND step_id = $4`,
			stamp(j.Now()), string(text), runID, stepID); err != nil {
			return sqlite.Failed(op, err)
		}
		return nil
	})
}

func sameResult(have agent.Entry, text []byte) error {
	was, err := json.Marshal(have.Result)
	if err != nil {
		return fmt.Errorf("encode result of step %s: %w", have.StepID, err)
	}
	if !bytes.Equal(was, text) {
		return fault.Newf(fault.Conflict, "step %s of run %s has ended already, with another result", have.StepID, have.RunID)
	}
	return nil
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

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
