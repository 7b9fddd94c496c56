package httpapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// maxToken bounds what is hashed for a caller who may be anybody.
const maxToken = 512

// adminSecret is the name in the ledger of who presents the seed's ADMIN_SECRET.
const adminSecret = "ADMIN_SECRET"

// identify finds out who asks: by the bearer token, or else by the browser's cookie. A request that has both is the token's.
func (s *Server) identify(r *http.Request) (Who, error) {
	if all := r.Header.Values("Authorization"); len(all) > 0 {
		presented, ok := bearer(all)
		if !ok {
			return Who{}, unauthenticated()
		}
		return s.admit(r.Context(), presented)
	}
	c, err := r.Cookie(cookieName(s.c.TLS))
	if err != nil {
		return Who{}, unauthenticated()
	}
	return s.returning(r.Context(), secret.New([]byte(c.Value)))
}

func bearer(all []string) (secret.Value, bool) {
	scheme, rest, _ := strings.Cut(all[0], " ")
	rest = strings.TrimSpace(rest)
	if len(all) != 1 || !strings.EqualFold(scheme, "Bearer") || rest == "" || len(rest) > maxToken {
		return secret.Value{}, false
	}
	return secret.New([]byte(rest)), true
}

// admit tells who has that token or secret. Tokens have 256 bits and cannot be guessed, so they are looked at even while the throttle is shut:
// somebody who guesses from the same address does not lock their owners out. ADMIN_SECRET is whatever a person chose: while the throttle is shut it is
// compared now and then only, so that guessing stays slow, and whoever has the right one still comes in.
func (s *Server) admit(ctx context.Context, presented secret.Value) (Who, error) {
	token, err := s.c.Tokens.Check(ctx, presented)
	switch {
	case err == nil:
		return Who{Name: token.Name, Level: token.Level, token: token.Name, made: token.Made}, nil
	case !fault.Is(err, fault.Unauthenticated):
		return Who{}, err
	}
	from := noteOf(ctx).address
	wait := s.throttle.wait(from)
	if wait > 0 && (s.c.AdminSecret.Empty() || !s.throttle.glimpse(from) || !same(s.c.AdminSecret, presented)) {
		s.meters.logins.WithLabelValues("throttled").Inc()
		return Who{}, &fault.Error{Code: fault.Throttled, Op: "too many failed logins", RetryAfter: wait, Hint: "wait until Retry-After has passed"}
	}
	if !s.c.AdminSecret.Empty() && same(s.c.AdminSecret, presented) {
		s.throttle.succeeded(from)
		return Who{Name: adminSecret, Level: api.Full}, nil
	}
	s.throttle.failed(from)
	s.meters.logins.WithLabelValues("refused").Inc()
	return Who{}, unauthenticated()
}

// same compares two secrets by their hashes, so that neither content nor length shows in how long it takes.
func same(a, b secret.Value) bool {
	x, y := hash(a), hash(b)
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func hash(v secret.Value) (sum [sha256.Size]byte) {
	_ = v.Use(func(b []byte) error {
		sum = sha256.Sum256(b)
		return nil
	})
	return sum
}

// addressOf is where a request comes from, for the throttle: behind a proxy what it wrote last into X-Forwarded-For. Of IPv6 it is the /64,
// which is what one customer has (RFC 6177).
func (s *Server) addressOf(r *http.Request) string {
	from := r.RemoteAddr
	if host, _, err := net.SplitHostPort(from); err == nil {
		from = host
	}
	if s.c.Proxied {
		all := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if last := strings.TrimSpace(all[len(all)-1]); net.ParseIP(last) != nil {
			from = last
		}
	}
	ip := net.ParseIP(from)
	if ip != nil && ip.To4() == nil {
		return ip.Mask(net.CIDRMask(64, 128)).String()
	}
	return from
}
