package localcloud

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/leastkey/leastkey/internal/localcloud/arm"
	"github.com/leastkey/leastkey/internal/localcloud/jwks"
	"github.com/leastkey/leastkey/internal/localcloud/msi"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Identity is how the code on one Azure resource asks for tokens of its managed identities.
type Identity struct {
	Resource string     // ARM id, in the case of the resource
	Endpoint string     // of App Service and Container Apps: what IDENTITY_ENDPOINT says there
	Header   Credential // what IDENTITY_HEADER says
	IMDS     string     // base URL that stands for http://169.254.169.254
}

// Why a resource has no managed-identity endpoint.
var (
	ErrNotAResource = errors.New("not the id of an Azure resource")
	ErrNoResource   = errors.New("the resource does not exist")
	ErrNoIdentity   = errors.New("the resource has no identity block")
)

// identities are the managed-identity endpoints there are, under the cloud's lock.
type identities struct {
	made    map[string]Identity // by the key of the resource's id
	count   int                 // of those ever made, as in-process hosts have no other number
	servers []*http.Server
	serving sync.WaitGroup
}

// identitySuffix ends the in-process hosts of managed-identity endpoints, which a number begins.
const identitySuffix = ".identity.leastkey.test"

// Identity gives a resource its managed-identity endpoint: on loopback, in plain http as in Azure, if the cloud listens, and else in
// process alone. Asking again gives the same. The endpoint lasts until Reset or Close; whether and for which identities it gives tokens
// depends on the resource at each request. The errors are [ErrNotAResource], [ErrNoResource], [ErrNoIdentity], or that of the listener.
func (c *Cloud) Identity(resource string) (Identity, error) {
	id, err := arm.ParseID(resource)
	if err != nil || len(id.Parts) == 0 {
		return Identity{}, fmt.Errorf("%q: %w", resource, ErrNotAResource)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return Identity{}, errors.New("the local cloud is closed")
	}
	w := c.world.Load()
	w.store.Primary(func(v replica.View) { // what was just written has an endpoint, which may not see it yet
		switch _, found := w.rbac.BoundIdentities(v, id); {
		case !found:
			err = fmt.Errorf("%s: %w", resource, ErrNoResource)
		case !w.rbac.HasIdentityBlock(v, id):
			err = fmt.Errorf("%s: %w", resource, ErrNoIdentity)
		}
	})
	if err != nil {
		return Identity{}, err
	}
	if made, ok := c.msi.made[id.Key()]; ok {
		return made, nil
	}
	return c.makeIdentity(w, id)
}

func (c *Cloud) makeIdentity(w *world, id arm.ID) (Identity, error) {
	made := Identity{Resource: id.String(), Header: freshCredential()}
	// The handler keeps the world that it was made for, so that a request under way during a reset meets no other resource of the name.
	h := msi.New(msi.Config{Env: w.env, ARM: w.rbac, Login: w.login, Resource: id, Header: made.Header.Reveal})
	g := gate{c: c, plane: planeIdentity, next: func(*world) http.Handler { return h }}
	c.msi.count++
	host := strconv.Itoa(c.msi.count) + identitySuffix
	gates := maps.Clone(*c.identity.Load())
	gates[host] = g
	if c.net != nil {
		l, err := bind(context.Background(), net.IPv4(127, 0, 0, 1), 0, 0)
		if err != nil {
			return Identity{}, err
		}
		host = l.Addr().String()
		gates[host] = g
		c.msi.servers = append(c.msi.servers, serveOn(c, l, g, nil, &c.msi.serving))
	}
	made.IMDS = "http://" + host
	made.Endpoint = made.IMDS + msi.AppServicePath
	c.identity.Store(&gates)
	if c.msi.made == nil {
		c.msi.made = map[string]Identity{}
	}
	c.msi.made[id.Key()] = made
	return made, nil
}

// close ends every endpoint.
func (i *identities) close(c *Cloud) {
	c.identity.Store(&map[string]gate{})
	shutdown(i.servers)
	i.serving.Wait()
	i.servers, i.made = nil, nil
}

// issuerKey finds the key of an outside issuer, as Config.FetchJWKS says.
func (c *Cloud) issuerKey(ctx context.Context, issuer, kid string) (*rsa.PublicKey, error) {
	if fetch := c.cfg.FetchJWKS; fetch != nil {
		keys, err := fetch(ctx, issuer)
		if err != nil {
			return nil, err
		}
		return rsaOf(keys[kid])
	}
	if len(*c.listening.Load()) == 0 {
		return nil, errors.New("a cloud that does not listen asks nobody")
	}
	return c.issuers.Key(ctx, issuer, kid)
}

func rsaOf(key crypto.PublicKey) (*rsa.PublicKey, error) {
	if key, ok := key.(*rsa.PublicKey); ok {
		return key, nil
	}
	return nil, jwks.ErrNoKey
}

// identityStatus is the answer of the management API to a resource without an endpoint.
func identityStatus(err error) int {
	switch {
	case errors.Is(err, ErrNotAResource):
		return http.StatusBadRequest
	case errors.Is(err, ErrNoResource):
		return http.StatusNotFound
	case errors.Is(err, ErrNoIdentity):
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

// identityJSON is the answer, the only one of the management API that holds a credential: the header is of no use on any other port.
type identityJSON struct {
	Resource string `json:"resource"`
	Endpoint string `json:"identity_endpoint"`
	Header   string `json:"identity_header"`
	IMDS     string `json:"imds"`
}

func (i Identity) document() identityJSON {
	return identityJSON{Resource: i.Resource, Endpoint: i.Endpoint, Header: i.Header.Reveal(), IMDS: i.IMDS}
}

func (d identityJSON) identity() Identity {
	return Identity{Resource: d.Resource, Endpoint: d.Endpoint, Header: NewCredential(d.Header), IMDS: d.IMDS}
}
