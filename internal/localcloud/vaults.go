package localcloud

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// A door is the way to the data plane of one vault: a host of the in-process transport and, once the cloud listens, a port. The vaults
// of the seed have theirs always. That of any other vault opens before the request that makes it is answered, so that the answer can
// name it, and closes when the vault is purged; while it is only deleted, the door answers that it is.

// vaultGate is the way into the data plane of the vault with the name.
func (c *Cloud) vaultGate(name string) gate {
	return gate{c: c, plane: planeVault, vault: name, next: func(w *world) http.Handler { return w.vaults.Of(name) }}
}

// named is a vault's port for clients that make a vault's address of its name and a suffix, as az does: the suffix tells one port, so the
// host tells the vault. Any other host means the vault whose port it is.
type named struct {
	c    *Cloud
	name string
}

const namedSuffix = ".vault.localhost"

// ServeHTTP implements [http.Handler].
func (n named) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := n.name
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if of, ok := strings.CutSuffix(strings.ToLower(host), namedSuffix); ok && n.c.ends.Load().Vault[of] != "" {
		name = of
	}
	n.c.vaultGate(name).ServeHTTP(w, r)
}

// vaultPath finds the name of the vault that an ARM path names. Host names are made of it, so it has to be one by Azure's rule too.
var vaultPath = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.KeyVault/vaults/([a-z](?:-?[a-z0-9]){2,23})/?$`)

// withDoors keeps the doors in step with the requests to ARM that make and purge vaults.
func withDoors(c *Cloud, w *world, next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		name := ""
		if m := vaultPath.FindStringSubmatch(r.URL.Path); m != nil && r.Method == http.MethodPut {
			name = strings.ToLower(m[1])
			if err := c.openDoor(r.Context(), name); err != nil {
				fmt.Fprintf(c.cfg.Log, "local cloud: no data plane for vault %s: %v\n", name, err)
				service.JSON(rw, http.StatusServiceUnavailable, map[string]any{"error": map[string]string{"code": "ServerUnavailable", "message": "The local cloud cannot open a data plane for the vault."}})
				return
			}
		}
		if name != "" || r.Method == http.MethodPost && strings.HasSuffix(strings.ToLower(r.URL.Path), "/purge") {
			defer func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.leaveDoor(name)
				c.closeDoors(w)
			}()
		}
		next.ServeHTTP(rw, r)
	})
}

// openDoor opens the door of a vault that is about to be made, and keeps it open until leaveDoor at least.
func (c *Cloud) openDoor(ctx context.Context, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errors.New("the local cloud is closed")
	}
	if err := c.addDoor(ctx, name); err != nil {
		return err
	}
	c.awaited[name]++
	return nil
}

func (c *Cloud) leaveDoor(name string) {
	if c.awaited[name]--; c.awaited[name] <= 0 {
		delete(c.awaited, name)
	}
}

// addDoor opens a door that is not open. The caller holds c.mu.
func (c *Cloud) addDoor(ctx context.Context, name string) error {
	ends := *c.ends.Load()
	if ends.Vault[name] != "" {
		return nil
	}
	ends.Vault = maps.Clone(ends.Vault)
	ends.Vault[name] = "https://" + name + vaultSuffix
	if n := c.net; n != nil {
		gates := maps.Clone(*c.listening.Load())
		if err := n.addDoor(ctx, c, name, ends.Vault, gates); err != nil {
			return err
		}
		c.listening.Store(&gates)
	}
	return c.publish(ends)
}

// publish makes the endpoints known.
func (c *Cloud) publish(ends service.Endpoints) error {
	c.ends.Store(&ends)
	if c.net == nil {
		return nil
	}
	c.net.run.Endpoints = ends
	return c.net.announce(c)
}

// openDoors opens the doors of the vaults that a state file brought back, before the cloud listens.
func (c *Cloud) openDoors(w *world) {
	ends := *c.ends.Load()
	ends.Vault = maps.Clone(ends.Vault)
	w.store.Primary(func(v replica.View) {
		for _, r := range w.rbac.Vaults(v) {
			name := strings.ToLower(r.Name)
			ends.Vault[name] = "https://" + name + vaultSuffix
		}
	})
	c.ends.Store(&ends)
}

// closeDoors closes the doors that lead to no vault of the world. The caller holds c.mu.
func (c *Cloud) closeDoors(w *world) {
	if w != c.world.Load() || c.closed { // a reset has been faster, and has closed them all
		return
	}
	ends := *c.ends.Load()
	ends.Vault = maps.Clone(ends.Vault)
	var gone []string
	w.store.Primary(func(v replica.View) {
		for name := range ends.Vault {
			if c.awaited[name] == 0 && !slices.Contains(vaultNames(), name) && !w.rbac.HasVault(v, name) {
				gone = append(gone, name)
			}
		}
	})
	if len(gone) == 0 {
		return
	}
	gates := maps.Clone(*c.listening.Load())
	for _, name := range gone {
		delete(gates, strings.TrimPrefix(ends.Vault[name], "https://"))
		delete(ends.Vault, name)
		if c.net != nil {
			c.net.closeDoor(name)
		}
	}
	c.listening.Store(&gates)
	if err := c.publish(ends); err != nil {
		fmt.Fprintf(c.cfg.Log, "local cloud: %v\n", err)
	}
}

// addDoor listens for a vault, at the port of the last run if it is free, and enters its URL and its gate.
func (n *network) addDoor(ctx context.Context, c *Cloud, name string, urls map[string]string, gates map[string]gate) error {
	l, err := bind(ctx, n.ip, c.cfg.Ports.Vaults[name], n.kept.Vaults[name])
	if err != nil {
		return err
	}
	g, port := c.vaultGate(name), l.Addr().(*net.TCPAddr).Port
	address := net.JoinHostPort(n.host, strconv.Itoa(port))
	n.doors[name], n.ports.Vaults[name] = n.serve(c, l, named{c, name}, n.tls), port
	urls[name], gates[address] = "https://"+address, g
	return nil
}

// closeDoor stops listening for a vault; requests under way get a moment to end.
func (n *network) closeDoor(name string) {
	door := n.doors[name]
	delete(n.doors, name)
	delete(n.ports.Vaults, name)
	n.servers = slices.DeleteFunc(n.servers, func(s *http.Server) bool { return s == door })
	n.serving.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if door.Shutdown(ctx) != nil {
			_ = door.Close()
		}
	})
}
