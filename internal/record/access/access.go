// Package access keeps the admin server's tokens: of each its name, what it may do, and the SHA-256 of its text. Whoever reads the database
// cannot log in with what is there.
package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/record/sqlite"
)

// prefix lets scanners for leaked secrets know a token of ours.
const prefix = "lk_"

// usedEvery is how exactly the last use of a token is kept, so that not every request writes.
const usedEvery = time.Minute

// Store is the tokens, in a database that the caller opened and closes.
type Store struct {
	Now func() time.Time // New sets time.Now
	db  *sql.DB
}

const schema = `
CREATE TABLE IF NOT EXISTS tokens (
	hash    TEXT PRIMARY KEY,
	name    TEXT NOT NULL,
	level   TEXT NOT NULL,
	made    TEXT NOT NULL,
	made_by TEXT NOT NULL,
	used    TEXT NOT NULL DEFAULT '',
	revoked TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX IF NOT EXISTS tokens_by_name ON tokens (name) WHERE revoked = '';`

// New makes the table where it is missing.
func New(ctx context.Context, db *sql.DB) (*Store, error) {
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, sqlite.Failed("prepare tokens", err)
	}
	return &Store{Now: time.Now, db: db}, nil
}

// names are what a log line and a ledger entry can show as it is. A capital is not among them, so that no token can be called ADMIN_SECRET.
var names = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$`)

// Add makes a token. Its text is in the answer and nowhere else. fault.Conflict: the name is taken.
func (s *Store) Add(ctx context.Context, name string, level api.Level, by string) (api.NewAdminToken, error) {
	if !names.MatchString(name) {
		return api.NewAdminToken{}, fault.New(fault.Invalid, "that is no name for a token", "small letters, digits, dots, dashes and underscores, at most 63")
	}
	if !level.Includes(api.View) {
		return api.NewAdminToken{}, fault.New(fault.Invalid, fmt.Sprintf("no role %q", level), "view, approve or apply")
	}
	text := []byte(prefix + rand.Text() + rand.Text()) // 260 bits: a Text has 26 letters of base32
	token := api.AdminToken{Name: name, Level: level, Made: s.Now().UTC(), By: by}
	sum := sha256.Sum256(text)
	got, err := s.db.ExecContext(ctx, `INSERT INTO tokens (hash, name, level, made, made_by) SELECT $1, $2, $3, $4, $5
		WHERE NOT EXISTS (SELECT 1 FROM tokens WHERE name = $2 AND revoked = '')`, hex.EncodeToString(sum[:]), name, string(level), stamp(token.Made), by)
	if err != nil {
		return api.NewAdminToken{}, sqlite.Failed("add token "+name, err)
	}
	if n, err := got.RowsAffected(); err != nil || n != 1 {
		return api.NewAdminToken{}, fault.New(fault.Conflict, "there is a token "+name+" already", "revoke it, or choose another name")
	}
	return api.NewAdminToken{AdminToken: token, Value: secret.New(text)}, nil
}

// row is a token with the hash of its text.
type row struct {
	api.AdminToken
	hash string
}

// Check is the token with that text. Every token's hash is compared, each in constant time: how long it takes says how many tokens there are, and
// nothing of any. fault.Unauthenticated: none has it.
func (s *Store) Check(ctx context.Context, presented secret.Value) (api.AdminToken, error) {
	all, err := s.rows(ctx, `WHERE revoked = ''`)
	if err != nil {
		return api.AdminToken{}, err
	}
	var want string
	_ = presented.Use(func(b []byte) error {
		sum := sha256.Sum256(b)
		want = hex.EncodeToString(sum[:])
		return nil
	})
	found := -1
	for i := range all {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare([]byte(all[i].hash), []byte(want)), i, found)
	}
	if found < 0 {
		return api.AdminToken{}, unknown()
	}
	return all[found].AdminToken, s.use(ctx, &all[found])
}

// use writes down that the token was used.
func (s *Store) use(ctx context.Context, r *row) error {
	now := s.Now().UTC()
	if now.Sub(r.Used) < usedEvery {
		return nil
	}
	r.Used = now
	if _, err := s.db.ExecContext(ctx, `UPDATE tokens SET used = $1 WHERE hash = $2`, stamp(now), r.hash); err != nil {
		return sqlite.Failed("write the use of token "+r.Name, err)
	}
	return nil
}

// Current is the token of that name. fault.Unauthenticated: there is none, or it was revoked.
func (s *Store) Current(ctx context.Context, name string) (api.AdminToken, error) {
	all, err := s.rows(ctx, `WHERE revoked = '' AND name = $1`, name)
	if err != nil {
		return api.AdminToken{}, err
	}
	if len(all) == 0 {
		return api.AdminToken{}, unknown()
	}
	return all[0].AdminToken, s.use(ctx, &all[0])
}

func unknown() error { return fault.New(fault.Unauthenticated, "no such token, or it was revoked", "") }

// List gives all tokens, the revoked ones too, the oldest first.
func (s *Store) List(ctx context.Context) ([]api.AdminToken, error) {
	rows, err := s.rows(ctx, ``)
	all := make([]api.AdminToken, len(rows))
	for i, r := range rows {
		all[i] = r.AdminToken
	}
	return all, err
}

// Revoke ends a token, and with it the sessions that it opened. Its row stays. fault.NotFound: there is none.
func (s *Store) Revoke(ctx context.Context, name string) error {
	got, err := s.db.ExecContext(ctx, `UPDATE tokens SET revoked = $1 WHERE name = $2 AND revoked = ''`, stamp(s.Now()), name)
	if err != nil {
		return sqlite.Failed("revoke token "+name, err)
	}
	if n, err := got.RowsAffected(); err != nil || n == 0 {
		return fault.New(fault.NotFound, "there is no token "+name, "leastkey serve token list")
	}
	return nil
}

func (s *Store) rows(ctx context.Context, where string, args ...any) (all []row, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT hash, name, level, made, made_by, used, revoked FROM tokens `+where+` ORDER BY made, name`, args...)
	if err != nil {
		return nil, sqlite.Failed("read tokens", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r row
		var level, made, used, revoked string
		if err := rows.Scan(&r.hash, &r.Name, &level, &made, &r.By, &used, &revoked); err != nil {
			return nil, sqlite.Failed("read tokens", err)
		}
		r.Level = api.Level(level)
		var bad [3]error
		r.Made, bad[0] = moment(made)
		r.Used, bad[1] = moment(used)
		r.Revoked, bad[2] = moment(revoked)
		if err := errors.Join(bad[:]...); err != nil || !r.Level.Includes(api.View) || len(r.hash) != hex.EncodedLen(sha256.Size) {
			return nil, &fault.Error{Code: fault.Corrupt, Op: "token " + r.Name + " does not read", Err: err, Hint: "nothing was changed; restore the database from a backup, or move it away and make new tokens"}
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return nil, sqlite.Failed("read tokens", err)
	}
	return all, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func moment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339Nano, text)
}
