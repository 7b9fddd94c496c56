package journal

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/record/sqlite"
)

const selectEntry = `SELECT run_id, step_id, intent, begun, ended, result FROM entries`

// scanner is the part that one row and many share.
type scanner interface{ Scan(into ...any) error }

// runs reads runs; where is the rest of the query.
func (j *Journal) runs(ctx context.Context, where string, args ...any) (all []agent.Run, err error) {
	rows, err := j.db.QueryContext(ctx, `SELECT id, agent, verb, digest, actor, plan, started, finished, status FROM runs `+where, args...)
	if err != nil {
		return nil, sqlite.Failed("read runs", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		r, err := scanRun(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return nil, sqlite.Failed("read runs", err)
	}
	return all, nil
}

func scanRun(row scanner) (agent.Run, error) {
	var r agent.Run
	var plan, started string
	var finished sql.NullString
	if err := row.Scan(&r.ID, &r.Agent, &r.Verb, &r.Digest, &r.Actor, &plan, &started, &finished, &r.Status); err != nil {
		return agent.Run{}, sqlite.Failed("read runs", err)
	}
	var err1, err2, err3 error
	r.Started, err1 = time.Parse(time.RFC3339Nano, started)
	r.Finished, err2 = moment(finished)
	err3 = strict(plan, &r.Plan)
	if err := errors.Join(err1, err2, err3); err != nil {
		return agent.Run{}, corrupt("run "+r.ID+" of agent "+r.Agent+" does not read", err)
	}
	switch r.Status {
	case agent.RunOpen, agent.RunDone, agent.RunSuperseded:
	default:
		return agent.Run{}, corrupt("run "+r.ID+" of agent "+r.Agent+" has an unknown status", nil)
	}
	if (r.Finished == nil) != (r.Status == agent.RunOpen) {
		return agent.Run{}, corrupt("run "+r.ID+" of agent "+r.Agent+" is both open and finished, or neither", nil)
	}
	return r, nil
}

func scanEntry(row scanner) (agent.Entry, error) {
	var e agent.Entry
	var intent, begun string
	var ended, result sql.NullString
	if err := row.Scan(&e.RunID, &e.StepID, &intent, &begun, &ended, &result); err != nil {
		return agent.Entry{}, sqlite.Failed("read journal", err)
	}
	var err1, err2, err3, err4 error
	e.Begun, err1 = time.Parse(time.RFC3339Nano, begun)
	e.Ended, err2 = moment(ended)
	err3 = strict(intent, &e.Intent)
	if result.Valid {
		err4 = strict(result.String, &e.Result)
	}
	if ended.Valid != result.Valid {
		err4 = errors.New("it has an end without a result, or a result without an end")
	}
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return agent.Entry{}, corrupt("step "+e.StepID+" of run "+e.RunID+" does not read", err)
	}
	return e, nil
}

func entryOf(ctx context.Context, tx *sql.Tx, runID, stepID string) (e agent.Entry, found bool, err error) {
	e, err = scanEntry(tx.QueryRowContext(ctx, selectEntry+` WHERE run_id = $1 AND step_id = $2`, runID, stepID))
	if errors.Is(err, sql.ErrNoRows) {
		return agent.Entry{}, false, nil
	}
	return e, err == nil, err
}

func statusOf(ctx context.Context, tx *sql.Tx, runID string) (agent.RunStatus, error) {
	var status agent.RunStatus
	err := tx.QueryRowContext(ctx, `SELECT status FROM runs WHERE id = $1`, runID).Scan(&status)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", fault.Newf(fault.NotFound, "there is no run %s", runID)
	case err != nil:
		return "", sqlite.Failed("read run "+runID, err)
	}
	return status, nil
}

func moment(s sql.NullString) (*time.Time, error) {
	if !s.Valid {
		return nil, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s.String)
	if err != nil {
		return nil, err
	}
	return &t, nil
}

// strict decodes one JSON value and nothing after it. A field that we do not know belongs to a later version: a plan of which a part is
// ignored is not the plan that was approved.
func strict(text string, into any) error {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, more := d.Token(); more != io.EOF {
		return errors.New("something follows it")
	}
	return nil
}

func corrupt(op string, cause error) error {
	return &fault.Error{Code: fault.Corrupt, Op: op, Err: cause, Hint: "nothing was changed; restore the database from a backup, or look at it with leastkey state export"}
}
