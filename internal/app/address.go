package app

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// public is how a proxy before the server is called: the zero value means that there is none. port is "" where it is that of https.
type public struct{ name, port string }

// hostName is a name of DNS, written without the dot at its end. Browsers send an internationalised one in its ASCII form (RFC 5891).
var hostName = regexp.MustCompile(`^(?i:[a-z0-9](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9](?:[a-z0-9_-]{0,62}))*)$`)

// proxyOf reads HOST[:PORT]. What is anything else would start a server that answers nobody.
func proxyOf(raw string) (public, error) {
	if raw == "" {
		return public{}, nil
	}
	p := public{name: raw}
	if host, port, err := net.SplitHostPort(raw); err == nil {
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return public{}, notPublic(raw)
		}
		p = public{host, strconv.Itoa(n)}
	} else {
		p.name = strings.TrimSuffix(strings.TrimPrefix(raw, "["), "]")
	}
	if p.port == "443" {
		p.port = ""
	}
	ip := net.ParseIP(p.name)
	if ip == nil && !hostName.MatchString(p.name) || ip != nil && ip.IsUnspecified() {
		return public{}, notPublic(raw)
	}
	return p, nil
}

func notPublic(raw string) error {
	return fault.New(fault.Usage, "--behind-proxy "+strconv.Quote(raw)+" is no public name", "write it as HOST or HOST:PORT, such as admin.example.org, without https://")
}

// hosts are the names that a client may use for it.
func (p public) hosts() []string {
	if p.name == "" {
		return nil
	}
	return []string{p.name}
}

// authority is a host and a port as an address has them.
func authority(name, port string) string {
	if port != "" {
		return net.JoinHostPort(name, port)
	}
	if strings.Contains(name, ":") {
		return "[" + name + "]"
	}
	return name
}

// leafOf is the server's own certificate; nil means that it has none.
func leafOf(keys *tls.Config) *x509.Certificate {
	if keys == nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(keys.Certificates[0].Certificate[0])
	if err != nil { // LoadX509KeyPair has parsed it
		return nil
	}
	return leaf
}

// namedBy tells whether the server's certificate is for a name, by the rules that clients follow (RFC 9525): wildcards are. nil means that
// there is no certificate.
func namedBy(keys *tls.Config) func(string) bool {
	leaf := leafOf(keys)
	if leaf == nil {
		return nil
	}
	return func(name string) bool { return leaf.VerifyHostname(name) == nil }
}

// url is where the server answers, as a person may open it: an address that means "every one of this machine" is none.
func (s *server) url() string {
	if s.public.name != "" {
		return "https://" + authority(s.public.name, s.public.port)
	}
	at := s.listener.Addr().String()
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return "http://" + at
	}
	scheme := "http"
	if leaf := leafOf(s.keys); leaf != nil {
		scheme = "https"
		host = cmp.Or(certified(leaf), host)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = machine()
	}
	return scheme + "://" + authority(host, port)
}

// certified is a name of the certificate by which this machine may be called; "" if it has none. A wildcard is this machine's own name in its
// domain.
func certified(leaf *x509.Certificate) string {
	for _, ip := range leaf.IPAddresses {
		if !ip.IsUnspecified() {
			return ip.String()
		}
	}
	if leaf.VerifyHostname(machine()) == nil {
		return machine()
	}
	if len(leaf.DNSNames) == 0 {
		return ""
	}
	first := leaf.DNSNames[0]
	if domain, wild := strings.CutPrefix(first, "*."); wild {
		own, _, _ := strings.Cut(machine(), ".")
		return own + "." + domain
	}
	return first
}

// machine is the name of this machine, or loopback's where it has none that an address may hold.
func machine() string {
	if name, err := os.Hostname(); err == nil && hostName.MatchString(name) {
		return strings.ToLower(name)
	}
	return "localhost"
}

// readByOthers refuses a file with a secret that other users of the machine can read. Docker mounts secrets readable by all, into a container
// where all is one; elsewhere that is every user of the machine.
func readByOthers(file string, mode fs.FileMode) error {
	if runtime.GOOS == "windows" || mode.Perm()&0o077 == 0 || strings.HasPrefix(file, "/run/secrets/") {
		return nil
	}
	return fault.New(fault.Refused, fmt.Sprintf("%s can be read by other users (mode %04o)", file, mode.Perm()), "chmod 600 "+file)
}

// listen takes the address. One that others reach needs TLS here or, by somebody's word, before it: a token in clear is everybody's.
func listen(r api.ServeRequest) (net.Listener, error) {
	at := cmp.Or(r.Listen, defaultListen)
	host, _, err := net.SplitHostPort(at)
	if err != nil {
		return nil, fault.New(fault.Usage, "--listen "+at+" is not an address", "write it as 127.0.0.1:9090")
	}
	ip := net.ParseIP(host)
	loopback := host == "localhost" || (ip != nil && ip.IsLoopback())
	if !loopback && r.TLSCert == "" && r.BehindProxy == "" {
		return nil, fault.New(fault.Usage, "--listen "+at+" is reached by others, and tokens would travel in clear", "add --tls-cert and --tls-key; or, where a proxy of yours speaks TLS, --behind-proxy with its public name")
	}
	if !loopback && r.MetricsOpen {
		return nil, fault.New(fault.Usage, "--metrics-open is for loopback addresses", "give the scraper a token of role view")
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, &fault.Error{Code: fault.Unavailable, Op: "listen on " + at, Err: err, Hint: "name another address with --listen"}
	}
	return l, nil
}

func keysOf(r api.ServeRequest) (*tls.Config, error) {
	if r.TLSCert == "" && r.TLSKey == "" {
		return nil, nil
	}
	if r.TLSCert == "" || r.TLSKey == "" {
		return nil, fault.New(fault.Usage, "--tls-cert and --tls-key go together", "")
	}
	info, err := os.Stat(r.TLSKey)
	if err != nil {
		return nil, &fault.Error{Code: fault.Invalid, Op: "read the server's key", Err: err}
	}
	if err := readByOthers(r.TLSKey, info.Mode()); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(r.TLSCert, r.TLSKey)
	if err != nil {
		return nil, &fault.Error{Code: fault.Invalid, Op: "read the server's certificate and key", Err: err}
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}
