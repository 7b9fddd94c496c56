package httpapi

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// How long what a browser has is good for.
const (
	linkLife    = 5 * time.Minute
	idleLife    = time.Hour
	sessionLife = 12 * time.Hour
	maxSessions = 1000
	ownSessions = 20 // of one caller
)

// cookieName is the cookie of a session. With __Host- a browser takes it only over TLS, for this host alone, and from no subdomain of it.
func cookieName(tls bool) string {
	if tls {
		return "__Host-leastkey"
	}
	return "leastkey"
}

// sessions are the browsers that have logged in, and the links with which one can. Both are kept by their hash and in memory alone: they end with
// the process.
type sessions struct {
	now   func() time.Time
	mu    sync.Mutex
	open  map[[sha256.Size]byte]*session
	links map[[sha256.Size]byte]time.Time // until when
}

type session struct {
	who    Who
	opened time.Time
	used   time.Time
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, open: map[[sha256.Size]byte]*session{}, links: map[[sha256.Size]byte]time.Time{}}
}

// random is 256 random bits as text.
func random() secret.Value {
	return secret.New([]byte(rand.Text() + rand.Text())) // each has at least 128 bits, by its documentation
}

// Invite makes the code of a login link: good once, for five minutes, for whoever has it. It belongs behind the # of /login, the part of an
// address that no browser sends anywhere.
func (s *Server) Invite() secret.Value {
	v := random()
	s.sessions.mu.Lock()
	defer s.sessions.mu.Unlock()
	s.sessions.links[hash(v)] = s.sessions.now().Add(linkLife)
	return v
}

// redeem uses a login code up.
func (s *sessions) redeem(code secret.Value) bool {
	key := hash(code)
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.links[key]
	delete(s.links, key)
	return ok && s.now().Before(until)
}

// begin opens a session and gives its cookie's value.
func (s *sessions) begin(who Who) secret.Value {
	v := random()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.tidy(now, who.self())
	s.open[hash(v)] = &session{who: who, opened: now, used: now}
	return v
}

// tidy ends what has run out, and makes room for one more of self: whoever opens many loses the one of their own that they used longest ago, and
// somebody else's goes only where all are full and they have none. The caller holds the lock.
func (s *sessions) tidy(now time.Time, self string) {
	var all, own oldest
	for key, x := range s.open {
		if !x.alive(now) {
			delete(s.open, key)
			continue
		}
		all.see(key, x)
		if x.who.self() == self {
			own.see(key, x)
		}
	}
	switch {
	case own.n >= ownSessions, own.n > 0 && all.n >= maxSessions:
		delete(s.open, own.key)
	case all.n >= maxSessions:
		delete(s.open, all.key)
	}
}

// oldest is the session that was used longest ago, of n.
type oldest struct {
	key [sha256.Size]byte
	at  time.Time
	n   int
}

func (o *oldest) see(key [sha256.Size]byte, x *session) {
	if o.n == 0 || x.used.Before(o.at) {
		o.key, o.at = key, x.used
	}
	o.n++
}

func (x *session) alive(now time.Time) bool {
	return now.Sub(x.used) < idleLife && now.Sub(x.opened) < sessionLife
}

// use finds the session of a cookie and prolongs it.
func (s *sessions) use(cookie secret.Value) (session, bool) {
	key := hash(cookie)
	s.mu.Lock()
	defer s.mu.Unlock()
	x, now := s.open[key], s.now()
	if x == nil {
		return session{}, false
	}
	if !x.alive(now) {
		delete(s.open, key)
		return session{}, false
	}
	x.used = now
	return *x, true
}

// lives tells whether the session of a cookie goes on, without prolonging it.
func (s *sessions) lives(cookie secret.Value) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.open[hash(cookie)]
	return x != nil && x.alive(s.now())
}

func (s *sessions) end(cookie secret.Value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, hash(cookie))
}

// returning is who a cookie's session belongs to. A session that was opened with a token ends with it, and has its level of now.
func (s *Server) returning(ctx context.Context, cookie secret.Value) (Who, error) {
	x, ok := s.sessions.use(cookie)
	if !ok {
		return Who{}, fault.New(fault.Unauthenticated, "the session has ended", "log in again")
	}
	if x.who.token == "" {
		return x.who, nil
	}
	token, err := s.c.Tokens.Current(ctx, x.who.token)
	if err != nil {
		if fault.Is(err, fault.Unauthenticated) {
			s.sessions.end(cookie)
		}
		return Who{}, err
	}
	if !token.Made.Equal(x.who.made) { // another token of that name
		s.sessions.end(cookie)
		return Who{}, fault.New(fault.Unauthenticated, "the session has ended", "log in again")
	}
	x.who.Level = token.Level
	return x.who, nil
}

// SessionAnswer is who the caller is.
type SessionAnswer struct {
	Name    string    `json:"name"`
	Role    api.Level `json:"role"`
	Session bool      `json:"session" doc:"whether it is a browser's session"`
}

// loginInput is a login code or a token. They are plain text for the length of one call, because that is what JSON has.
type loginInput struct {
	Body struct {
		Code  string `json:"code,omitempty" maxLength:"512" doc:"of a login link"`
		Token string `json:"token,omitempty" maxLength:"512" doc:"an admin token"`
	}
}

type loginOutput struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
	Body      SessionAnswer
}

type logoutOutput struct {
	SetCookie http.Cookie `header:"Set-Cookie"`
}

func (s *Server) registerSession() {
	login := huma.Operation{OperationID: "login", Method: http.MethodPost, Path: "/session", Summary: "Exchange a login link or a token for a browser's session",
		Tags: []string{"session"}, Security: []map[string][]string{}}
	prepare(s.api, openLevel, &login)
	huma.Register(s.api, login, func(ctx context.Context, in *loginInput) (*loginOutput, error) {
		who, err := s.login(ctx, in)
		if err != nil {
			return nil, failed(err)
		}
		s.meters.logins.WithLabelValues("session").Inc()
		noteOf(ctx).who = who
		out := &loginOutput{Body: answerOf(who)}
		_ = s.sessions.begin(who).Use(func(b []byte) error {
			out.SetCookie = s.cookie(string(b), int(sessionLife.Seconds()))
			return nil
		})
		return out, nil
	})
	route(s.api, api.View, huma.Operation{OperationID: "who-am-i", Method: http.MethodGet, Path: "/session", Summary: "Say who the caller is", Tags: []string{"session"}},
		func(ctx context.Context, _ *struct{}) (*struct{ Body SessionAnswer }, error) {
			who, _ := WhoOf(ctx)
			return &struct{ Body SessionAnswer }{answerOf(who)}, nil
		})
	route(s.api, api.View, huma.Operation{OperationID: "logout", Method: http.MethodDelete, Path: "/session", Summary: "End the browser's session", Tags: []string{"session"}, DefaultStatus: http.StatusNoContent},
		func(ctx context.Context, in *struct {
			Plain http.Cookie `cookie:"leastkey"`
			Host  http.Cookie `cookie:"__Host-leastkey"`
		}) (*logoutOutput, error) {
			value := in.Plain.Value
			if s.c.TLS {
				value = in.Host.Value
			}
			s.sessions.end(secret.New([]byte(value)))
			return &logoutOutput{s.cookie("", -1)}, nil
		})
}

func answerOf(who Who) SessionAnswer { return SessionAnswer{who.Name, who.Level, who.Session} }

// login tells who may have a session. A code has 256 bits and cannot be guessed, so that a wrong one counts for nothing: it is an old link.
func (s *Server) login(ctx context.Context, in *loginInput) (who Who, err error) {
	if (in.Body.Code == "") == (in.Body.Token == "") {
		return who, fault.New(fault.Invalid, "a login needs either a code or a token", "")
	}
	if in.Body.Code != "" {
		if s.sessions.redeem(secret.New([]byte(in.Body.Code))) {
			return Who{Name: s.c.Person, Level: api.Full, Session: true}, nil
		}
		s.meters.logins.WithLabelValues("refused").Inc()
		return who, fault.New(fault.Unauthenticated, "the login link is not valid any more", "it works once and for five minutes; log in with a token: leastkey serve token add NAME --role ROLE")
	}
	if who, err = s.admit(ctx, secret.New([]byte(in.Body.Token))); err != nil {
		return who, err
	}
	who.Session = true
	return who, nil
}

// cookie is the session's: not for scripts, and sent by this server's own pages alone.
func (s *Server) cookie(value string, maxAge int) http.Cookie {
	return http.Cookie{Name: cookieName(s.c.TLS), Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, Secure: s.c.TLS, SameSite: http.SameSiteStrictMode}
}
