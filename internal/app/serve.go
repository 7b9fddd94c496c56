package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/front/httpapi"
	"github.com/leastkey/leastkey/internal/front/web"
	"github.com/leastkey/leastkey/internal/record/access"
	"github.com/leastkey/leastkey/internal/record/ledger"
	"github.com/leastkey/leastkey/internal/record/sqlite"
)

const (
	serverDB      = sqlite.Server
	defaultListen = "127.0.0.1:9090" // the port of the seed's admin server
	// grace is how long running work may take to finish once the server was told to end. A step that is interrupted then is in the journal.
	grace = time.Minute
)

// serverRecord is what the server itself remembers: its tokens, and a ledger of who changed them.
type serverRecord struct {
	*access.Store
	ledger control.Ledger
	db     *sql.DB
}

func (a *App) serverRecord(ctx context.Context, home string) (*serverRecord, error) {
	if err := private(home); err != nil {
		return nil, err
	}
	db, err := sqlite.Open(ctx, filepath.Join(home, serverDB))
	if err != nil {
		return nil, err
	}
	st, err := access.New(ctx, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	ld, err := ledger.New(ctx, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &serverRecord{st, ld, db}, nil
}

// Note does something once the server's ledger has it; where it fails, the ledger has that too.
func (r *serverRecord) Note(ctx context.Context, actor, action, subject, detail string, do func() error) error {
	e := api.LedgerEntry{Actor: actor, Action: action, Subject: subject, Allowed: true, Detail: detail}
	if _, err := r.ledger.Append(ctx, e); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	err := do()
	if err == nil {
		return nil
	}
	e.Allowed, e.Detail = false, strings.TrimPrefix(detail+"; "+err.Error(), "; ")
	_, failed := r.ledger.Append(context.WithoutCancel(ctx), e)
	return errors.Join(err, failed)
}

// adminTokens implements [cli.AdminTokens].
type adminTokens struct{ a *App }

func (t adminTokens) with(ctx context.Context, do func(*serverRecord) error) error {
	home, err := t.a.home()
	if err != nil {
		return err
	}
	r, err := t.a.serverRecord(ctx, home)
	if err != nil {
		return err
	}
	return errors.Join(do(r), r.db.Close())
}

// Add implements [cli.AdminTokens].
func (t adminTokens) Add(ctx context.Context, name string, level api.Level) (made api.NewAdminToken, err error) {
	err = t.with(ctx, func(r *serverRecord) error {
		return r.Note(ctx, actor(), "serve token add", name, string(level), func() error {
			made, err = r.Add(ctx, name, level, actor())
			return err
		})
	})
	return made, err
}

// Revoke implements [cli.AdminTokens].
func (t adminTokens) Revoke(ctx context.Context, name string) error {
	return t.with(ctx, func(r *serverRecord) error {
		return r.Note(ctx, actor(), "serve token revoke", name, "", func() error { return r.Revoke(ctx, name) })
	})
}

// List implements [cli.AdminTokens]. A ledger of changes that does not hold together is an error: the list may be somebody else's.
func (t adminTokens) List(ctx context.Context) (all []api.AdminToken, err error) {
	err = t.with(ctx, func(r *serverRecord) error {
		v, err := r.ledger.Verify(ctx)
		if err != nil {
			return err
		}
		if !v.Intact {
			return fault.New(fault.Corrupt, fmt.Sprintf("the ledger of the tokens is broken at entry %d", v.Broken), "keep a copy of "+serverDB+", move it away, and make new tokens")
		}
		all, err = r.Store.List(ctx)
		return err
	})
	return all, err
}

// serve runs the admin server until the context ends.
func (a *App) serve(ctx context.Context, r api.ServeRequest, ready func(api.ServeInfo)) (err error) {
	home, err := a.home()
	if err != nil {
		return err
	}
	traced, stop, err := a.traced(r.Trace)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(context.WithoutCancel(ctx))) }()
	rec, err := traced.serverRecord(ctx, home)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rec.db.Close()) }()
	h, err := traced.newHouse(home, r.Target, rec)
	if err != nil {
		return err
	}
	s, err := traced.server(r, h)
	if err != nil {
		return err
	}
	ready(s.info())
	return s.run(ctx)
}

// server is an admin server with its socket.
type server struct {
	http     *httpapi.Server
	house    *house
	jobs     *control.Jobs
	listener net.Listener
	keys     *tls.Config
	public   public // of the proxy before it
	log      *slog.Logger
	r        api.ServeRequest
	notes    []string
}

func (a *App) server(r api.ServeRequest, h *house) (*server, error) {
	level := slog.LevelInfo
	if r.Quiet {
		level = slog.LevelWarn
	}
	s := &server{house: h, jobs: control.NewJobs(), r: r, log: slog.New(slog.NewJSONHandler(a.logTo(), &slog.HandlerOptions{Level: level}))}
	var err error
	if s.keys, err = keysOf(r); err != nil {
		return nil, err
	}
	secretValue, err := a.adminSecret(r.SecretFile)
	if err != nil {
		return nil, err
	}
	if a.Getenv("ADMIN_SECRET") != "" {
		s.notes = append(s.notes, "ADMIN_SECRET in the environment is not used: every child process could read it there. Put it into a file, and name that with --admin-secret-file")
	}
	if s.public, err = proxyOf(r.BehindProxy); err != nil {
		return nil, err
	}
	if s.listener, err = listen(r); err != nil {
		return nil, err
	}
	c := httpapi.Config{
		House: h, Tokens: h.tokens, Jobs: s.jobs, LegacyAgent: r.LegacyAgent, AdminSecret: secretValue, Person: actor(),
		Hosts: s.public.hosts(), Named: namedBy(s.keys), TLS: s.keys != nil || r.BehindProxy != "", Proxied: r.BehindProxy != "", MetricsOpen: r.MetricsOpen,
		Due: h.due, Log: s.log, Trace: a.traces, Pages: pages(h, s.jobs),
	}
	if s.http, err = httpapi.New(c); err != nil {
		return nil, errors.Join(err, s.listener.Close())
	}
	return s, nil
}

// pages is the web over the house.
func pages(h *house, jobs *control.Jobs) http.Handler {
	enter := func(open func(context.Context, string) (lease, error)) func(*http.Request) (web.Door, error) {
		return func(r *http.Request) (web.Door, error) {
			who, ok := httpapi.WhoOf(r.Context())
			if !ok {
				return nil, fault.New(fault.Unauthenticated, "nobody has logged in", "log in again")
			}
			l, err := open(r.Context(), who.Actor())
			if err != nil {
				return nil, closed(err)
			}
			return l, nil
		}
	}
	return web.New(web.Config{
		Enter: enter(h.enter), Recall: enter(h.recall),
		Who: func(r *http.Request) (string, api.Level, bool) {
			who, ok := httpapi.WhoOf(r.Context())
			return who.Actor(), who.Level, ok
		},
		House: h, Jobs: jobs,
	})
}

func (a *App) logTo() io.Writer {
	if a.Streams.Err != nil {
		return a.Streams.Err
	}
	return os.Stderr
}

// shortestSecret is what somebody who guesses at the throttle's pace does not find in a lifetime.
const shortestSecret = 16

// adminSecret reads the seed's ADMIN_SECRET from the named file, or from systemd's credential of that name (systemd.exec(5), CREDENTIALS). The
// zero Value means that there is none.
func (a *App) adminSecret(file string) (secret.Value, error) {
	given := file != ""
	if !given {
		dir := a.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return secret.Value{}, nil
		}
		file = filepath.Join(dir, "admin-secret")
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, os.ErrNotExist) && !given:
		return secret.Value{}, nil
	case err != nil:
		return secret.Value{}, &fault.Error{Code: fault.Invalid, Op: "read the admin secret", Err: err}
	case !info.Mode().IsRegular() || info.Size() > 4096:
		return secret.Value{}, fault.New(fault.Invalid, file+" is no file with a secret", "")
	}
	if given { // what systemd hands over is its own to protect
		if err := readByOthers(file, info.Mode()); err != nil {
			return secret.Value{}, err
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return secret.Value{}, &fault.Error{Code: fault.Invalid, Op: "read the admin secret", Err: err}
	}
	b = bytes.TrimRight(b, "\r\n")
	if len(b) < shortestSecret {
		return secret.Value{}, fault.New(fault.Refused, fmt.Sprintf("the admin secret has %d characters", len(b)), fmt.Sprintf("at least %d; openssl rand -base64 32 makes a good one", shortestSecret))
	}
	return secret.New(b), nil
}

// info says where the server answers, with a new login link.
func (s *server) info() api.ServeInfo {
	i := api.ServeInfo{URL: s.url(), Notes: s.notes}
	if !s.r.NoLink {
		_ = s.http.Invite().Use(func(code []byte) error {
			i.Login = secret.New([]byte(i.URL + "/login#" + string(code)))
			return nil
		})
	}
	return i
}

// run serves, and does what is due, until the context ends. Then nothing new begins, and what runs has grace to finish.
func (s *server) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		if !s.r.Idle {
			s.house.work(ctx, s.jobs, s.log)
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		within, stop := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer stop()
		s.jobs.Close(within) // requests that wait for a job have their answer when it ends
	}()
	err := s.http.Serve(ctx, s.listener, s.keys, grace+10*time.Second)
	cancel()
	<-ended
	<-worked
	return errors.Join(err, s.house.Close())
}
