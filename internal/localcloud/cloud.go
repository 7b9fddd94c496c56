package localcloud

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"

	"github.com/leastkey/leastkey/internal/localcloud/jwks"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// ErrInUse says that another process has the run folder or the state file.
var ErrInUse = errors.New("another local cloud uses this folder")

// Cloud is one local cloud. Its methods may be called by many goroutines.
type Cloud struct {
	cfg   Config
	locks []*flock.Flock

	world  atomic.Pointer[world] // replaced by Reset
	knobs  atomic.Pointer[Knobs]
	ends   atomic.Pointer[service.Endpoints]
	ids    *source // of the gates; the services have the world's
	faults lottery
	log    *requestLog

	gates     map[string]gate                 // by in-process host, but for the vaults'
	listening atomic.Pointer[map[string]gate] // by host and port
	identity  atomic.Pointer[map[string]gate] // managed-identity endpoints, by in-process host and by host and port

	issuers *jwks.Fetcher // of outside issuers' keys

	mu      sync.Mutex     // guards what follows, and makes Reset, Listen, SetKnobs and Close one after the other
	net     *network       // nil until Listen
	awaited map[string]int // vaults whose making is under way, by name
	msi     identities
	closed  bool
}

// New makes a cloud, or opens the one that Config.StateFile holds. It is at once reachable by Transport; Close it.
func New(cfg Config) (*Cloud, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Knobs.Check(); err != nil {
		return nil, err
	}
	for _, name := range cfg.SANs {
		if err := checkSAN(name); err != nil {
			return nil, err
		}
	}
	issuers, err := jwks.New(cfg.Now, cfg.IssuerCAs...)
	if err != nil {
		return nil, err
	}
	c := &Cloud{cfg: cfg, ids: newSource(cfg.Seed, 1<<63), issuers: issuers, awaited: map[string]int{}}
	c.knobs.Store(&cfg.Knobs)
	c.listening.Store(&map[string]gate{})
	c.identity.Store(&map[string]gate{})
	c.inProcess()
	if err := c.open(); err != nil {
		c.unlock()
		c.issuers.Close()
		return nil, err
	}
	return c, nil
}

// inProcess makes the gates and the endpoints that the cloud has before it listens.
func (c *Cloud) inProcess() {
	ends := service.Endpoints{
		Login: "https://" + loginHost, Graph: "https://" + graphHost, ARM: "https://" + armHost, Vault: map[string]string{},
	}
	c.gates = map[string]gate{
		loginHost: {c: c, plane: planeLogin, next: func(w *world) http.Handler { return w.login }},
		graphHost: {c: c, plane: planeGraph, next: func(w *world) http.Handler { return w.graph }},
		armHost:   {c: c, plane: planeARM, next: func(w *world) http.Handler { return w.arm }},
	}
	for _, v := range vaultNames() {
		ends.Vault[v] = "https://" + v + vaultSuffix
	}
	c.ends.Store(&ends)
}

func (c *Cloud) open() error {
	dirs := []string{c.cfg.RunDir}
	if c.cfg.StateFile != "" {
		dirs = append(dirs, filepath.Dir(c.cfg.StateFile))
	}
	slices.Sort(dirs) // one order, so that two starts cannot hold one lock each
	for _, dir := range slices.Compact(dirs) {
		if err := c.lock(dir); err != nil {
			return err
		}
	}
	var err error
	if c.log, err = openRequestLog(c.cfg.LogFile); err != nil {
		return err
	}
	w, err := c.openWorld()
	if err != nil {
		return errors.Join(err, c.log.close())
	}
	c.world.Store(w)
	c.openDoors(w)
	return nil
}

func (c *Cloud) lock(dir string) error {
	if dir == "" {
		return nil
	}
	if err := privateDir(dir); err != nil {
		return err
	}
	l := flock.New(filepath.Join(dir, "cloud.lock"), flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err == nil && !ok {
		err = fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	if err != nil {
		return err
	}
	c.locks = append(c.locks, l)
	return nil
}

func (c *Cloud) unlock() {
	for _, l := range c.locks {
		_ = l.Unlock() // the system frees it with the process at the latest
	}
	c.locks = nil
}

// Close stops listening, removes the run file and says whether everything was kept. It may be called more than once.
func (c *Cloud) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	err := c.log.close() // first: it ends the answers that follow the log
	c.issuers.Close()    // then the answers that wait for an issuer
	c.msi.close(c)
	if c.net != nil {
		err = errors.Join(err, c.net.close())
	}
	err = errors.Join(err, c.world.Load().store.Close())
	c.unlock()
	return err
}

// Reset forgets everything and seeds anew, as another instance: clients that recorded the old one can tell, tokens of the old one are
// refused, and operators have new passwords. Addresses and certificate authority stay.
func (c *Cloud) Reset() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errors.New("the local cloud is closed")
	}
	w, err := c.replaceWorld(c.world.Load())
	if err != nil {
		return err
	}
	c.world.Store(w)
	c.msi.close(c) // whose resources are gone
	c.closeDoors(w)
	if c.net != nil {
		return c.net.announce(c)
	}
	return nil
}

// Instance is the id of what the cloud holds: the same over restarts with a state file, another after a reset.
func (c *Cloud) Instance() string { return c.world.Load().instance }

// TenantID is the GUID of the tenant.
func (c *Cloud) TenantID() string { return c.cfg.TenantID }

// Domain is the tenant's domain.
func (c *Cloud) Domain() string { return c.cfg.Domain }

// SubscriptionID is the GUID of the subscription.
func (c *Cloud) SubscriptionID() string { return c.cfg.SubscriptionID }

// Endpoints are the base URLs: those of the in-process transport until the cloud listens, then the real ones.
func (c *Cloud) Endpoints() service.Endpoints { return *c.ends.Load() }

// Operators are the people and applications who may use the cloud, with their test credentials.
func (c *Cloud) Operators() []Operator { return slices.Clone(c.world.Load().operators) }

// Requests returns the remembered requests, oldest first: all of the last few thousand.
func (c *Cloud) Requests() []Request { return c.log.since(0) }

// Counts tells how often each plane was asked.
func (c *Cloud) Counts() map[string]Count { return c.log.tally() }

// Knobs returns the knobs as they are.
func (c *Cloud) Knobs() Knobs { return *c.knobs.Load() }

// SetKnobs turns the knobs, from the next request on, and starts the sequence of faults anew.
func (c *Cloud) SetKnobs(k Knobs) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.setKnobs(k)
}

func (c *Cloud) setKnobs(k Knobs) error {
	if err := k.Check(); err != nil {
		return err
	}
	c.knobs.Store(&k)
	c.faults.reset()
	k.setLag(c.world.Load().store)
	return nil
}

// ApproveDevice signs a user in with the code that a device shows, as the user would in a browser.
func (c *Cloud) ApproveDevice(userCode, upn string) error {
	return c.world.Load().login.ApproveDevice(userCode, upn)
}

// now is the cloud's clock.
func (c *Cloud) now() time.Time { return c.cfg.Now().Add(c.Knobs().ClockOffset) }
