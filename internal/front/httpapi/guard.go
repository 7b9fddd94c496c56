package httpapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// What a client may send, and how long it may take.
const (
	maxBody      = 1 << 20
	maxOpenBody  = 4 << 10 // of who has not said yet who they are
	bodyPatience = 10 * time.Second
)

// policy lets a page load what this server has, and nothing else: no inline script, no frame, no form to elsewhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// harden answers what is wrong whoever asks, before anybody is identified, and marks every answer for browsers.
func (s *Server) harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mark(w.Header(), r.URL.Path)
		switch {
		case !s.ourHost(r.Host):
			s.reply(w, r, plain(http.StatusMisdirectedRequest, fault.Refused, "this server is not called by that name", "use the address that leastkey serve printed, or name the public one with --behind-proxy"))
		case strange(r):
			s.fail(w, r, noPath())
		case secretInQuery(r.URL.RawQuery):
			// An address ends up in histories, logs and Referer headers.
			s.fail(w, r, fault.New(fault.Unauthenticated, "a token in the address is not accepted", "send it as a header, Authorization: Bearer TOKEN, and make a new one: this one has been in an address"))
		case s.origin.Check(r) != nil:
			s.fail(w, r, foreign())
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (s *Server) mark(h http.Header, path string) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if !strings.HasPrefix(path, "/assets/") {
		h.Set("Cache-Control", "no-store")
	}
	if s.c.TLS {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// ourHost tells whether the name that the client called is one of ours: loopback's, or one that was configured.
func (s *Server) ourHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"))
	ip := net.ParseIP(name)
	return name == "localhost" || (ip != nil && ip.IsLoopback()) || s.hosts[name] || (s.c.Named != nil && s.c.Named(name))
}

// secretInQuery tells whether a query has what people put tokens in.
func secretInQuery(raw string) bool {
	for pair := range strings.FieldsFuncSeq(raw, func(c rune) bool { return c == '&' || c == ';' }) {
		key, _, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(key); err == nil {
			key = k
		}
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "token", "secret", "admin_secret", "access_token", "authorization", "api_key", "apikey", "password":
			return true
		}
	}
	return false
}

func foreign() error {
	return fault.New(fault.Forbidden, "the request comes from another site's page", "open the server's own page")
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// fromOurs refuses a request that a browser sends with its cookie on behalf of somebody else's page. Another port of this machine is
// "same-site" to browsers, so SameSite alone does not stop it; and a change must say where it comes from, since only a browser has a cookie.
func (s *Server) fromOurs(r *http.Request) error {
	site := r.Header.Get("Sec-Fetch-Site")
	if safe(r.Method) {
		// What a person typed or bookmarked is "none"; a link from elsewhere may open a page of ours, and no more.
		if site == "" || site == "same-origin" || site == "none" || (!isAPI(r.URL.Path) && r.Header.Get("Sec-Fetch-Mode") == "navigate") {
			return nil
		}
		return foreign()
	}
	if site != "" {
		if site == "same-origin" {
			return nil
		}
		return foreign()
	}
	from, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || from.Host == "" || !strings.EqualFold(from.Host, r.Host) || (s.c.TLS && from.Scheme != "https") {
		return foreign()
	}
	return nil
}

// wholeBody reads the body before anybody works with it; false means that it has answered. From then on nothing of the connection limits how long
// the request takes.
func (s *Server) wholeBody(w http.ResponseWriter, r *http.Request, limit int64) bool {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return true
	}
	tooLarge := func() bool {
		w.Header().Set("Connection", "close")
		s.reply(w, r, plain(http.StatusRequestEntityTooLarge, fault.Invalid, "the body is too large", "at most "+size(limit)))
		return false
	}
	if r.ContentLength > limit {
		return tooLarge()
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case int64(len(b)) > limit:
		return tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		s.reply(w, r, plain(http.StatusRequestTimeout, fault.Invalid, "the body did not come in time", "send it within "+bodyPatience.String()))
		return false
	case err != nil:
		s.reply(w, r, plain(http.StatusBadRequest, fault.Invalid, "the body could not be read", ""))
		return false
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // a recorder of tests has none
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	return true
}

func size(n int64) string {
	if n >= 1<<20 {
		return "1 MiB"
	}
	return "4 KiB"
}

// jsonOnly refuses a body that says it is something else. A form is what a foreign page can send without being asked. The seed's endpoints never
// looked at what a body says of itself; there the origin alone keeps foreign pages out.
func (s *Server) jsonOnly(w http.ResponseWriter, r *http.Request) bool {
	said := r.Header.Get("Content-Type")
	if said == "" || legacyPath(r.URL.Path) || r.Body == nil || r.ContentLength == 0 {
		return true
	}
	if kind, _, err := mime.ParseMediaType(said); err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json")) {
		return true
	}
	s.reply(w, r, plain(http.StatusUnsupportedMediaType, fault.Unsupported, "the body is not JSON", "Content-Type: application/json"))
	return false
}
