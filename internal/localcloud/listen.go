package localcloud

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/service"
)

const portsFile = "ports.json"

// network is the listening side of a cloud.
type network struct {
	dir     string // the run folder, or ""
	servers []*http.Server
	serving sync.WaitGroup
	ports   Ports
	run     Run
	stop    func() bool // forgets the context that Listen was given

	ip    net.IP // where, as whom and how it listens, for the vaults that come later
	host  string
	tls   *tls.Config
	kept  Ports                   // of the last run
	doors map[string]*http.Server // by name of the vault
}

// Listen serves the cloud over TLS and writes the run file, then returns; serving ends with ctx or Close. It may be called once.
func (c *Cloud) Listen(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return errors.New("the local cloud is closed")
	case c.net != nil:
		return errors.New("the local cloud listens already")
	}
	n := &network{dir: c.cfg.RunDir}
	if err := n.open(ctx, c); err != nil {
		return errors.Join(err, n.close())
	}
	c.net = n
	n.stop = context.AfterFunc(ctx, func() { _ = c.Close() })
	return nil
}

func (n *network) open(ctx context.Context, c *Cloud) error {
	ip, err := listenAddress(ctx, c.cfg.Listen)
	if err != nil {
		return err
	}
	host, sans := "localhost", c.cfg.SANs
	if !ip.Equal(net.IPv4(127, 0, 0, 1)) && !ip.Equal(net.IPv6loopback) {
		if host = c.cfg.Listen; len(sans) > 0 {
			host = sans[0]
		}
		if err := checkSAN(host); err != nil {
			return err
		}
		sans = append([]string{host, ip.String()}, sans...)
	}
	if !ip.IsLoopback() {
		fmt.Fprintf(c.cfg.Log, "local cloud: warning: it listens on %s, where other machines may reach it; its operators' test credentials are all that keeps them out\n", ip)
	}
	authority, err := openCA(n.dir, namesOf(sans), c.cfg.Now())
	if err != nil {
		return err
	}
	conf, err := authority.serverTLS(namesOf(sans))
	if err != nil {
		return err
	}
	kept := Ports{}
	if n.dir != "" { // a damaged hint is no hint
		_, _ = readJSON(filepath.Join(n.dir, portsFile), &kept)
	}
	ends, gates := service.Endpoints{Vault: map[string]string{}}, map[string]gate{}
	n.ports.Vaults = map[string]int{}
	serve := func(h http.Handler, want, last int) (string, int, error) {
		l, err := bind(ctx, ip, want, last)
		if err != nil {
			return "", 0, err
		}
		port := l.Addr().(*net.TCPAddr).Port
		n.serve(c, l, h, conf)
		address := net.JoinHostPort(host, strconv.Itoa(port))
		if g, ok := h.(gate); ok {
			gates[address] = g
		}
		return "https://" + address, port, nil
	}
	for _, p := range []struct {
		host       string
		want, last int
		url        *string
		port       *int
	}{
		{loginHost, c.cfg.Ports.Login, kept.Login, &ends.Login, &n.ports.Login},
		{graphHost, c.cfg.Ports.Graph, kept.Graph, &ends.Graph, &n.ports.Graph},
		{armHost, c.cfg.Ports.ARM, kept.ARM, &ends.ARM, &n.ports.ARM},
	} {
		if *p.url, *p.port, err = serve(c.gates[p.host], p.want, p.last); err != nil {
			return err
		}
	}
	n.ip, n.host, n.tls, n.kept, n.doors = ip, host, conf, kept, map[string]*http.Server{}
	for _, v := range slices.Sorted(maps.Keys(c.ends.Load().Vault)) {
		if err := n.addDoor(ctx, c, v, ends.Vault, gates); err != nil {
			return err
		}
	}
	if err := n.manage(ctx, c, conf, kept.Management); err != nil {
		return err
	}
	c.ends.Store(&ends)
	c.listening.Store(&gates)
	n.run.Endpoints, n.run.CAPEM = ends, string(authority.pem)
	return n.announce(c)
}

// manage serves the management API: on a Unix socket, or over TLS on loopback whatever the services listen on.
func (n *network) manage(ctx context.Context, c *Cloud, conf *tls.Config, last int) error {
	n.run.Token = freshCredential()
	h := management{c, n.run.Token}
	if path := c.cfg.ManagementSocket; path != "" {
		if err := removeSocket(path); err != nil {
			return err
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
		if err != nil {
			return err
		}
		n.serve(c, l, h, nil)
		n.run.Management = "unix://" + path
		return os.Chmod(path, 0o600) // the token guards it until then
	}
	l, err := bind(ctx, net.IPv4(127, 0, 0, 1), c.cfg.Ports.Management, last)
	if err != nil {
		return err
	}
	n.ports.Management = l.Addr().(*net.TCPAddr).Port
	n.serve(c, l, h, conf)
	n.run.Management = "https://localhost:" + strconv.Itoa(n.ports.Management)
	return nil
}

// announce writes what others need to find the cloud.
func (n *network) announce(c *Cloud) error {
	w := c.world.Load()
	n.run.Instance, n.run.PID, n.run.Started = w.instance, os.Getpid(), c.cfg.Now().UTC()
	n.run.TenantID, n.run.Domain, n.run.SubscriptionID = c.cfg.TenantID, c.cfg.Domain, c.cfg.SubscriptionID
	if n.dir == "" {
		return nil
	}
	dir, err := filepath.Abs(n.dir)
	if err != nil {
		return err
	}
	n.run.CAFile, n.run.OperatorsFile = filepath.Join(dir, caFile), filepath.Join(dir, operatorsFile)
	if err := writeJSON(filepath.Join(dir, portsFile), n.ports); err != nil {
		return err
	}
	return n.run.write(dir)
}

func (n *network) serve(c *Cloud, l net.Listener, h http.Handler, conf *tls.Config) *http.Server {
	s := serveOn(c, l, h, conf, &n.serving)
	n.servers = append(n.servers, s)
	return s
}

// serveOn serves a listener, over TLS if there is a configuration for it, until the server is shut down.
func serveOn(c *Cloud, l net.Listener, h http.Handler, conf *tls.Config, serving *sync.WaitGroup) *http.Server {
	s := &http.Server{
		Handler: h, TLSConfig: conf.Clone(),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 256 << 10,
		ErrorLog: log.New(c.cfg.Log, "local cloud: ", 0),
	}
	serving.Go(func() {
		var err error
		if conf == nil {
			err = s.Serve(l)
		} else {
			err = s.ServeTLS(l, "", "") // with HTTP/2, which the SDKs' raw query texts need
		}
		if !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintf(c.cfg.Log, "local cloud: %v\n", err)
		}
	})
	return s
}

// close removes the run file first, so that nobody is sent to a cloud that is going; requests under way get a moment to end.
func (n *network) close() error {
	var err error
	if n.dir != "" && n.run.Instance != "" {
		err = removeRun(n.dir)
	}
	if n.stop != nil {
		n.stop()
	}
	shutdown(n.servers)
	n.serving.Wait()
	return err
}

// shutdown ends servers; requests under way get a moment.
func shutdown(servers []*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var ending sync.WaitGroup
	for _, s := range servers {
		ending.Go(func() {
			if s.Shutdown(ctx) != nil {
				_ = s.Close() // what is left is cut
			}
		})
	}
	ending.Wait()
}

// bind takes the wanted port; without one, that of the last run if it is free, else any.
func bind(ctx context.Context, ip net.IP, want, last int) (net.Listener, error) {
	var lc net.ListenConfig
	at := func(port int) (net.Listener, error) {
		return lc.Listen(ctx, "tcp", net.JoinHostPort(ip.String(), strconv.Itoa(port)))
	}
	if want != 0 {
		return at(want)
	}
	if last != 0 {
		if l, err := at(last); err == nil {
			return l, nil
		}
	}
	return at(0)
}

// listenAddress accepts a loopback or private address, or a name whose every address is one: in a network of containers a name is all
// that is known beforehand. An unspecified or public address would offer test credentials to strangers.
func listenAddress(ctx context.Context, host string) (net.IP, error) {
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", host, err)
	}
	for _, a := range addresses {
		if !a.IP.IsLoopback() && !a.IP.IsPrivate() {
			return nil, fmt.Errorf("listen on %q: %s is neither a loopback nor a private address", host, a.IP)
		}
	}
	for _, a := range addresses {
		if a.IP.To4() != nil {
			return a.IP, nil
		}
	}
	return addresses[0].IP, nil
}

// removeSocket clears the way for a Unix socket, and removes nothing that is not one.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("%s exists and is no socket", path)
	}
	return os.Remove(path)
}
