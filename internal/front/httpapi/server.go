package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Config is what a server stands on.
type Config struct {
	House  House
	Tokens Tokens
	Jobs   Jobs
	// Pages is the web; nil means that there is none. It is asked for every path that is not the API's, by callers with a session, and by
	// anybody for /login and what lies below /assets/.
	Pages http.Handler
	// LegacyAgent is the agent of the seed's endpoints; "" is the only one.
	LegacyAgent string
	// AdminSecret is the seed's, of level apply; the zero Value means that there is none.
	AdminSecret secret.Value
	// Person is who a login link stands for: the person of the operating system.
	Person string
	// Hosts are the names, without a port, by which the server may be called besides loopback's. A request for another name is refused: that
	// is what a browser sends whose name service was made to point here (DNS rebinding).
	Hosts []string
	// Named tells whether the server's own certificate is for a name; nil means that there is none.
	Named func(host string) bool
	// TLS means that browsers come over TLS, here or at a proxy: cookies are then Secure.
	TLS bool
	// Proxied means that a reverse proxy stands before the server and writes X-Forwarded-For.
	Proxied bool
	// MetricsOpen lets anybody read /metrics.
	MetricsOpen bool
	// Due is the work that the server will do on its own; nil means that it does none.
	Due func(context.Context) ([]api.DueWork, error)
	Log *slog.Logger // nil means none
	// Trace gives each request a span; nil means none.
	Trace trace.TracerProvider
	Now   func() time.Time // nil means time.Now
}

// Server is the admin server without its socket.
type Server struct {
	c        Config
	mux      *http.ServeMux // of the API
	api      huma.API
	hosts    map[string]bool
	origin   http.CrossOriginProtection
	sessions *sessions
	throttle *throttle
	meters   *meters
	streams  *places
	tracer   trace.Tracer

	life  context.Context // of the server; its end tells whatever goes on for long
	close context.CancelCauseFunc
}

// New makes a server. fault.Invalid: something is missing. A server without any token lets nobody in, but is none the less made.
func New(c Config) (*Server, error) {
	if c.House == nil || c.Tokens == nil || c.Jobs == nil {
		return nil, fault.Newf(fault.Invalid, "httpapi: a server needs a house, tokens and jobs")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Trace == nil {
		c.Trace = noop.NewTracerProvider()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{
		c: c, mux: http.NewServeMux(), hosts: map[string]bool{}, sessions: newSessions(c.Now), throttle: newThrottle(c.Now),
		streams: &places{by: map[string]int{}}, tracer: c.Trace.Tracer("leastkey"),
	}
	s.life, s.close = context.WithCancelCause(context.Background())
	for _, h := range c.Hosts {
		s.hosts[strings.ToLower(strings.Trim(h, "[]"))] = true
	}
	s.meters = newMeters(s)
	s.api = humago.NewWithPrefix(s.mux, v1, describe(c.House.Version()))
	s.api.UseMiddleware(s.level)
	s.registerFrame()
	registerV1(s, s.api)
	registerLegacy(s, s.mux)
	return s, nil
}

// v1 is where the API of our own begins.
const v1 = "/api/v1"

// describe is the API as OpenAPI says it, and how it reads and writes.
func describe(v api.Version) huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "Leastkey", Version: v.Version, Description: "The admin server of leastkey. Errors are application/problem+json (RFC 9457)."},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"token":   {Type: "http", Scheme: "bearer", Description: "an admin token: leastkey serve token add NAME --role ROLE"},
					"session": {Type: "apiKey", In: "cookie", Name: cookieName(false), Description: "a browser's session, over TLS " + cookieName(true)},
				},
			},
			Security: []map[string][]string{{"token": {}}, {"session": {}}},
		},
		OpenAPIPath: "/openapi",
		// No page of documentation: it would load its script from elsewhere.
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{plainProblem},
	}
}

// Handler is the server as net/http runs it.
func (s *Server) Handler() http.Handler {
	return s.watch(s.harden(http.HandlerFunc(s.serve)))
}

// Close tells the streams that the server ends; requests that come after it get 503. It may be called more than once.
func (s *Server) Close() { s.close(errEnded) }

// Who is the caller of a request.
type Who struct {
	Name    string // of the token; for a login link the person of the operating system
	Level   api.Level
	Session bool // a browser

	token string    // name of the token that it ends with; "" for a login link or ADMIN_SECRET
	made  time.Time // when that token was made: another of the same name is another
}

// self is the caller apart from the way in which they came. A token may have the name of a person of the operating system.
func (w Who) self() string {
	if w.token != "" {
		return "token:" + w.token
	}
	return w.Name
}

// Actor is the caller as the ledger will have it; the house adds the operator.
func (w Who) Actor() string {
	if w.Session {
		return w.self() + " [browser]"
	}
	return w.self()
}

type whoKey struct{}

// WhoOf is who asks; false in a request that needs nobody.
func WhoOf(ctx context.Context) (Who, bool) {
	w, ok := ctx.Value(whoKey{}).(Who)
	return w, ok
}

// Enter opens the door as the caller; close it.
func (s *Server) Enter(ctx context.Context) (Door, error) { return s.enter(ctx) }

func (s *Server) enter(ctx context.Context) (Door, error) {
	who, ok := WhoOf(ctx)
	if !ok {
		return nil, unauthenticated()
	}
	return s.c.House.Enter(ctx, who.Actor())
}

// recall opens the door as the caller, for reading what is kept.
func (s *Server) recall(ctx context.Context) (Door, error) {
	who, ok := WhoOf(ctx)
	if !ok {
		return nil, unauthenticated()
	}
	return s.c.House.Recall(ctx, who.Actor())
}

// may refuses a caller whose level is too low.
func may(ctx context.Context, level api.Level) error {
	who, ok := WhoOf(ctx)
	switch {
	case !ok:
		return unauthenticated()
	case !who.Level.Includes(level):
		return fault.New(fault.Forbidden, "this needs a token of role "+string(level)+", yours is of role "+string(who.Level), "leastkey serve token add NAME --role "+string(level))
	}
	return nil
}

// entered has the ledger take an identified caller's refused attempt to change something. The answer stays what it is; where the ledger cannot be
// written, the log says so.
func (s *Server) entered(r *http.Request, why error) error {
	if !safe(r.Method) {
		s.tried(r.Context(), r.PathValue("agent"), why)
	}
	return why
}

func (s *Server) tried(ctx context.Context, subject string, why error) {
	who, ok := WhoOf(ctx)
	if !ok || !fault.Is(why, fault.Forbidden) {
		return
	}
	if len(subject) > maxSubject {
		subject = subject[:maxSubject]
	}
	if err := s.c.House.Refused(ctx, who.Actor(), noteOf(ctx).route, subject, why); err != nil {
		s.c.Log.Error("a refused attempt is not in the ledger", "request", noteOf(ctx).id, "error", err.Error())
	}
}

// maxSubject bounds what a caller writes into the ledger.
const maxSubject = 128

// need lets only callers of a level through to a handler of the plain mux.
func (s *Server) need(level api.Level, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := may(r.Context(), level); err != nil {
			s.fail(w, r, s.entered(r, err))
			return
		}
		h(w, r)
	}
}

// openLevel is of the operation with which one logs in.
const openLevel api.Level = "anybody"

// levelKey is where an operation of the API says which level it needs.
const levelKey = "level"

// level lets only callers of the operation's level through. An operation that names none needs the highest: one that was forgotten must not
// be open.
func (s *Server) level(ctx huma.Context, next func(huma.Context)) {
	level, ok := ctx.Operation().Metadata[levelKey].(api.Level)
	if !ok {
		level = api.Full
	}
	if level == openLevel {
		next(ctx)
		return
	}
	if err := may(ctx.Context(), level); err != nil {
		r, w := humago.Unwrap(ctx)
		s.fail(w, r, s.entered(r, err))
		return
	}
	next(ctx)
}

// route registers an operation of the API for callers of a level. Errors of do become problems. Bodies have been read before do is called, so
// that nothing of a request's connection limits how long do takes.
func route[I, O any](a huma.API, level api.Level, op huma.Operation, do func(context.Context, *I) (*O, error)) {
	prepare(a, level, &op)
	huma.Register(a, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, failed(err)
		}
		return out, nil
	})
}

// prepare completes an operation as route does; for those that huma.Register or sse.Register are given directly.
func prepare(a huma.API, level api.Level, op *huma.Operation) {
	if op.Metadata == nil {
		op.Metadata = map[string]any{}
	}
	op.Metadata[levelKey] = level
	if level != openLevel {
		op.Description = strings.TrimSpace(op.Description + "\n\nNeeds role " + string(level) + ".")
	}
	op.MaxBodyBytes = maxBody + 1 // huma refuses its limit itself; ours was kept before
	op.BodyReadTimeout = -1       // a deadline for reading would end the request when it passes, long after the body was read
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	op.Responses["default"] = &huma.Response{Description: "Problem", Content: map[string]*huma.MediaType{problemType: {Schema: problemSchema(a)}}}
}
