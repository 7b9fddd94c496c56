// Package client asks an admin server what the door answers here, so that a face works the same with either. It decides nothing: a change is
// planned by the server, shown to the person, and approved by the digest of what was shown.
//
// The server's certificate is always verified, and plain HTTP is spoken with this machine alone. A redirect is never followed: the token would
// go wherever it leads.
package client

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Config says which server, and as whom.
type Config struct {
	URL   string // https://leastkey.example, or http:// and this machine
	Token secret.Value
	HTTP  http.RoundTripper // nil means one of its own, with the system's certificate authorities and the usual proxy variables
}

// Door is control at a server. Safe for use from several goroutines.
type Door struct {
	base   string // without a slash at its end
	token  secret.Value
	http   *http.Client
	target api.Resolved
	who    api.WhoAmI
}

// Open asks the server who the caller is and where it works. fault.Usage: the address is none to send a token to. fault.Unauthenticated: the
// server does not know the token.
func Open(ctx context.Context, c Config) (*Door, error) {
	base, err := address(c.URL)
	if err != nil {
		return nil, err
	}
	if c.Token.Empty() {
		return nil, fault.New(fault.Usage, "there is no token for "+base, "leastkey serve token add NAME --role ROLE makes one at the server")
	}
	d := &Door{base: base, token: c.Token, http: &http.Client{Transport: c.HTTP, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if c.HTTP == nil {
		d.http.Transport = transport()
	}
	if err := d.get(ctx, "/whoami", &d.who); err != nil {
		return nil, err
	}
	d.target = d.who.Target
	return d, nil
}

func transport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport
	}
	t = t.Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	return t
}

// address checks where a token would be sent.
func address(raw string) (string, error) {
	u, err := url.Parse(strings.TrimRight(strings.TrimSpace(raw), "/"))
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return "", fault.New(fault.Usage, "the server's address is not one", "such as https://leastkey.example or http://127.0.0.1:8765")
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && loopback(u.Hostname()):
	case u.Scheme == "http":
		return "", fault.New(fault.Usage, "a token is not sent to "+u.Host+" in clear", "use https; http is for this machine alone")
	default:
		return "", fault.New(fault.Usage, "the server's address does not begin with https://", "")
	}
	return u.String(), nil
}

// loopback tells whether a name is this machine by itself: whatever else a resolver may answer, RFC 6761 lets no localhost leave it.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}

// Target says where the server works.
func (d *Door) Target() api.Resolved { return d.target }

// Close lets go of idle connections. What the server does goes on.
func (d *Door) Close() error {
	d.http.CloseIdleConnections()
	return nil
}
