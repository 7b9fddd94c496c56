package httpapi

import (
	"context"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// serve finds out who asks, and hands the request to the API or to the web. Whatever is not named here as open needs a caller.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if s.life.Err() != nil && r.URL.Path != "/healthz" && r.URL.Path != "/readyz" {
		w.Header().Set("Connection", "close")
		s.fail(w, r, ending())
		return
	}
	if isAPI(r.URL.Path) {
		s.serveAPI(w, r)
		return
	}
	s.servePage(w, r)
}

func isAPI(p string) bool {
	return p == "/api" || strings.HasPrefix(p, "/api/") || slices.Contains([]string{"/healthz", "/readyz", "/health", "/metrics"}, p)
}

// open tells whether an endpoint of the API needs no caller: it says that the server is there, or it is how one logs in.
func (s *Server) open(r *http.Request) bool {
	switch r.URL.Path {
	case "/healthz", "/readyz", "/health", "/api/auth/check":
		return true
	case v1 + "/session":
		return r.Method == http.MethodPost
	case "/metrics":
		return s.c.MetricsOpen
	}
	return false
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	limit := int64(maxBody)
	if s.open(r) {
		limit = maxOpenBody
	} else {
		var err error
		if r, err = s.identified(r); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	h, pattern := s.mux.Handler(r)
	noteOf(r.Context()).route = pattern
	if pattern == "" {
		s.noRoute(w, r, h)
		return
	}
	if !s.wholeBody(w, r, limit) || !s.jsonOnly(w, r) {
		return
	}
	s.mux.ServeHTTP(w, r)
}

// noRoute answers for a path that is not there, or not with that method. The mux knows which, and which methods are.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request, h http.Handler) {
	said := &discard{header: http.Header{}}
	h.ServeHTTP(said, r)
	if said.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", said.header.Get("Allow"))
		s.reply(w, r, plain(http.StatusMethodNotAllowed, fault.Unsupported, r.Method+" does not go with this path", "it takes "+said.header.Get("Allow")))
		return
	}
	s.fail(w, r, noPath())
}

func noPath() error {
	return fault.New(fault.NotFound, "there is no such path", "GET "+v1+"/openapi.json lists them")
}

// servePage is the web: the login page and its assets for anybody, the rest for who has a session. A browser without one is led to the login.
func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	noteOf(r.Context()).route = "web"
	if s.c.Pages == nil {
		s.fail(w, r, noPath())
		return
	}
	if !publicPage(r.URL.Path) {
		known, err := s.identified(r)
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case err != nil && fault.Is(err, fault.Unauthenticated) && reads && r.Header.Get("Authorization") == "":
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		case err != nil:
			s.fail(w, r, err)
			return
		}
		r = known
	}
	if !s.wholeBody(w, r, maxBody) {
		return
	}
	if safe(r.Method) { // a page that follows events; what changes something is not cut
		ctx, cancel := s.whileWelcome(r.Context(), r)
		defer cancel()
		r = r.WithContext(ctx)
	}
	s.c.Pages.ServeHTTP(w, r)
}

func publicPage(p string) bool {
	return p == "/login" || p == "/favicon.ico" || strings.HasPrefix(p, "/assets/")
}

// identified is the request with its caller. A caller who is known by a cookie must also come from a page of ours.
func (s *Server) identified(r *http.Request) (*http.Request, error) {
	who, err := s.identify(r)
	if err != nil {
		return r, err
	}
	if who.Session {
		if err := s.fromOurs(r); err != nil {
			return r, err
		}
	}
	noteOf(r.Context()).who = who
	return r.WithContext(context.WithValue(r.Context(), whoKey{}, who)), nil
}

func ending() error {
	return fault.New(fault.Unavailable, "the server is ending", "ask again once it is back")
}

// discard keeps what a handler would answer but for the body.
type discard struct {
	header http.Header
	status int
}

// Header implements [http.ResponseWriter].
func (d *discard) Header() http.Header { return d.header }

// WriteHeader implements [http.ResponseWriter].
func (d *discard) WriteHeader(status int) { d.status = status }

// Write implements [http.ResponseWriter].
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// strange tells whether a path is one that no client of ours sends: one that is not clean, or hides a slash, a backslash or a control
// character in an escape. Such a path means one thing to a proxy and another behind it.
func strange(r *http.Request) bool {
	p := r.URL.Path
	if !strings.HasPrefix(p, "/") {
		return true
	}
	if clean := path.Clean(p); clean != p && clean+"/" != p {
		return true
	}
	escaped := strings.ToLower(r.URL.EscapedPath())
	if strings.Contains(escaped, "%2f") || strings.Contains(escaped, "%5c") || strings.Contains(escaped, "%2e") {
		return true
	}
	return strings.ContainsFunc(p, func(c rune) bool { return c == '\\' || c < 0x20 || c == 0x7f })
}

// registerFrame registers what belongs to the server itself.
func (s *Server) registerFrame() {
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, "application/json", map[string]string{"status": "ok"})
	})
	s.mux.HandleFunc("GET /readyz", s.ready)
	if s.c.MetricsOpen {
		s.mux.Handle("GET /metrics", s.meters.handler())
	} else {
		s.mux.HandleFunc("GET /metrics", s.need(api.View, s.meters.handler().ServeHTTP))
	}
	s.registerSession()
}

// ready says whether requests can be served: the record reads and writes, and the server does not end.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	err := error(nil)
	if s.life.Err() != nil {
		err = ending()
	} else if s.c.House.Ready(r.Context()) != nil {
		// Why is in the log: whoever asks here has not said who they are.
		err = fault.New(fault.Unavailable, "the record cannot be read or written", "look at the server's log")
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, "application/json", map[string]string{"status": "ready"})
}
