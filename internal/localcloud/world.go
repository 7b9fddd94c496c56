package localcloud

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/arm"
	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/entra"
	"github.com/leastkey/leastkey/internal/localcloud/graph"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
	"github.com/leastkey/leastkey/internal/localcloud/service"
	"github.com/leastkey/leastkey/internal/localcloud/vault"
)

// world is everything that a reset replaces: the memory and the services that look at it.
type world struct {
	instance  string
	store     *replica.Store
	dir       *directory.Directory
	env       service.Env
	login     *entra.Service // of the login host, and what signs the managed identities' tokens
	graph     http.Handler
	arm       http.Handler
	rbac      *arm.Service
	vaults    *vault.Service
	operators []Operator
}

// instanceFile lies beside the state file and says whose it is.
type instanceFile struct {
	Instance string `json:"instance"`
	Lives    uint64 `json:"lives"`    // how often it was opened
	Complete bool   `json:"complete"` // the state file holds a whole seed
}

func (c *Cloud) instancePath() string {
	return filepath.Join(filepath.Dir(c.cfg.StateFile), "instance.json")
}
func (c *Cloud) signingKeyPath() string {
	return filepath.Join(filepath.Dir(c.cfg.StateFile), "token-signing-key.pem")
}

// openWorld opens the state file, or makes a new world.
func (c *Cloud) openWorld() (*world, error) {
	if c.cfg.StateFile == "" {
		return c.newWorld()
	}
	var f instanceFile
	known, err := readJSON(c.instancePath(), &f)
	if err != nil {
		return nil, err
	}
	if known && f.Complete {
		return c.oldWorld(f)
	}
	if info, err := os.Stat(c.cfg.StateFile); !known && err == nil && info.Size() > 0 {
		return nil, fmt.Errorf("%s exists, but %s, which says whose it is, does not; move it away or reset the local cloud", c.cfg.StateFile, c.instancePath())
	}
	w, err := c.newWorld()
	if err != nil {
		return nil, err
	}
	return w, c.keep(w)
}

// oldWorld goes on with the world of the state file.
func (c *Cloud) oldWorld(f instanceFile) (*world, error) {
	key, err := c.readSigningKey()
	if err != nil {
		return nil, err
	}
	f.Lives++
	w, err := c.emptyWorld(f.Instance, key, f.Lives)
	if err != nil {
		return nil, err
	}
	if err := w.store.Persist(c.cfg.StateFile); err != nil {
		return nil, err
	}
	if w.operators, err = c.enlist(w); err != nil {
		return nil, errors.Join(err, w.store.Close())
	}
	c.Knobs().setLag(w.store)
	return w, writeJSON(c.instancePath(), f)
}

// newWorld makes and seeds a world in memory. While it is seeded there is no lag: what was there at the beginning has spread.
func (c *Cloud) newWorld() (*world, error) {
	w, err := c.emptyWorld(newSource(0, 0).GUID(), c.cfg.SigningKey, 0)
	if err != nil {
		return nil, err
	}
	if err := c.seed(w); err != nil {
		return nil, err
	}
	if w.operators, err = c.enlist(w); err != nil {
		return nil, err
	}
	c.Knobs().setLag(w.store)
	return w, nil
}

// keep writes a new world to the state file. A crash in the middle leaves an incomplete instance, which the next start replaces.
func (c *Cloud) keep(w *world) error {
	if c.cfg.StateFile == "" {
		return nil
	}
	f := instanceFile{Instance: w.instance}
	if err := writeJSON(c.instancePath(), f); err != nil {
		return err
	}
	if err := os.Remove(c.cfg.StateFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(w.env.Auth.Key())})
	if err := writeFile(c.signingKeyPath(), key); err != nil {
		return err
	}
	if err := w.store.Persist(c.cfg.StateFile); err != nil {
		return err
	}
	f.Complete = true
	return writeJSON(c.instancePath(), f)
}

// replaceWorld makes a new world, and ends the old one only when the new one stands.
func (c *Cloud) replaceWorld(old *world) (*world, error) {
	w, err := c.newWorld()
	if err != nil {
		return nil, err
	}
	if err := old.store.Close(); err != nil {
		fmt.Fprintf(c.cfg.Log, "local cloud: what the reset discards was not kept either: %v\n", err)
	}
	return w, c.keep(w)
}

// emptyWorld makes the services around empty tables.
func (c *Cloud) emptyWorld(instance string, key *rsa.PrivateKey, life uint64) (*world, error) {
	seed := c.cfg.Seed
	if seed == 0 {
		seed = c.cfg.Knobs.Seed
	}
	// Replication keeps real time: a clock offset that is turned while the cloud runs must not make writes come from the future. What
	// the services write and compare is the cloud's time.
	store := replica.New(replica.Options{Now: c.cfg.Now, Clock: c.now, Seed: seed})
	dir := directory.New(store, directory.Tenant{ID: c.cfg.TenantID, DisplayName: DefaultTenantName, Domain: c.cfg.Domain})
	auth, err := authority.New(c.now, c.issuer, key)
	if err != nil {
		return nil, err
	}
	ids := newSource(c.cfg.Seed, life)
	env := service.Env{
		Dir: dir, Auth: auth, Now: c.now,
		TokenLifetime: func() time.Duration { return c.Knobs().lifetime() },
		Endpoints:     c.Endpoints, NewID: ids.GUID, Random: ids.Bytes, Gate: c.item,
	}
	w := &world{instance: instance, store: store, dir: dir, env: env}
	w.login = entra.New(env)
	w.login.IssuerKey = c.issuerKey
	w.graph = graph.New(env)
	w.rbac = arm.New(env)
	w.arm = withMetadata(c, withDoors(c, w, w.rbac))
	w.vaults = vault.New(env, w.rbac)
	return w, nil
}

// issuer names this cloud's login endpoint, so that nothing outside can take its tokens for Entra's.
func (c *Cloud) issuer(version string) string {
	base := c.Endpoints().Login + "/" + c.cfg.TenantID + "/"
	if version == "2.0" {
		return base + "v2.0"
	}
	return base
}

func (c *Cloud) readSigningKey() (*rsa.PrivateKey, error) {
	b, err := os.ReadFile(c.signingKeyPath())
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key", c.signingKeyPath())
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s holds no RSA key", c.signingKeyPath())
	}
	return key, nil
}
