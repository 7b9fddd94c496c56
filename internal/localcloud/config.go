// Package localcloud stands for the slices of Entra ID, Microsoft Graph, Azure Resource Manager and Key Vault that an agent's identity
// needs, on one machine and with faults on demand.
//
// A [Cloud] is reached in two ways. [Cloud.Transport] calls its handlers in process, under hosts of .leastkey.test (a name that RFC
// 6761 reserves), without a socket and with whatever clock the caller lives in, so that tests wait in virtual time. [Cloud.Listen]
// serves the same handlers over TLS with a certificate authority of its own, on one port each for login, Graph, ARM and every vault,
// so that each has its own audience.
//
// The cloud is harder than the real one by [Knobs]. It tells what it was asked by a request log, and is told what to do over a
// management API that stays on loopback.
package localcloud

import (
	"context"
	"crypto"
	"crypto/rsa"
	"io"
	"net/http"
	"sync"
	"time"
)

// What a cloud is made with unless its Config says otherwise. The ids are the same in every local cloud, so that examples in the
// documentation can name them.
const (
	DefaultTenantID       = "1ea57ce1-0000-4000-8000-000000000001"
	DefaultDomain         = "contoso.onmicrosoft.com"
	DefaultTenantName     = "Contoso (Leastkey local cloud)"
	DefaultSubscriptionID = "1ea57ce1-0000-4000-8000-000000000002"
	DefaultGroup          = "polyclaw-rg"
	DefaultLocation       = "eastus"
	DefaultVault          = "kv-polyclaw"
	LegacyGroup           = "legacy-rg"
	LegacyVault           = "kv-legacy" // in access-policy mode, for what must be refused
)

// Config says what kind of cloud to make. The zero value is a cloud in memory with the seed's resources, no lag and no faults.
type Config struct {
	// Seed makes ids, and every other random choice of the services, repeat from run to run. That makes their client secrets and
	// device codes guessable, so it is for tests. 0 means unguessable ones.
	Seed uint64

	TenantID       string // "" means DefaultTenantID
	Domain         string // "" means DefaultDomain
	SubscriptionID string // "" means DefaultSubscriptionID
	Empty          bool   // no resource groups or resources: only the tenant, the subscription and the operators
	Further        int    // further subscriptions, with nothing in them: one holds no more than 4,000 role assignments

	// StateFile keeps everything over restarts; instance.json and token-signing-key.pem lie beside it. "" means memory.
	StateFile string
	// RunDir holds the run file, the certificate authority, the ports and the operators' test credentials, all 0600. "" means that
	// nothing of this is written: then no other process can find the cloud.
	RunDir string
	// LogFile gets a JSON line per request. "" means that the log is only in memory.
	LogFile string

	Listen           string   // address without port: loopback, or a private address or a name that resolves to one; "" means 127.0.0.1
	SANs             []string // further host names and private addresses in the TLS certificate; off loopback the first is the host of the URLs
	Ports            Ports    // 0 means the port of the last run if it is free, else any
	ManagementSocket string   // path of a Unix socket for the management API; "" means a loopback port

	Knobs Knobs
	Hooks Hooks

	SigningKey  *rsa.PrivateKey // of tokens; nil means the one beside StateFile, or a fresh one. Sharing one saves tests the time to make it
	OperatorKey *rsa.PrivateKey // of sp-operator; nil means the one in RunDir, or a fresh one. Without key and RunDir there is no sp-operator
	// FetchJWKS reads the keys of an outside issuer for federated credentials, by key id. nil means that they are fetched over https once
	// the cloud listens; a cloud that is only in process asks nobody, and answers as if no outside issuer could be reached.
	FetchJWKS func(ctx context.Context, issuer string) (map[string]crypto.PublicKey, error)
	// IssuerCAs are certificate authorities, in PEM, that outside issuers may have besides those of the system.
	IssuerCAs [][]byte

	Now func() time.Time // nil means time.Now
	Log io.Writer        // what a person should see: addresses, warnings, broken handshakes; nil means nowhere
}

// Ports are TCP ports to listen on.
type Ports struct {
	Login      int            `json:"login"`
	Graph      int            `json:"graph"`
	ARM        int            `json:"arm"`
	Management int            `json:"management"`
	Vaults     map[string]int `json:"vaults"` // by vault name
}

// Hooks let a test act at an exact point of a request, and of each request of a batch. They run in the request's own goroutine and see neither body nor answer. nil
// means none.
type Hooks struct {
	Before func(*http.Request) // the request has come through the faults; its effect has not happened
	After  func(*http.Request) // its effect has happened; no byte of the answer has left
}

func (c Config) withDefaults() Config {
	set := func(s *string, d string) {
		if *s == "" {
			*s = d
		}
	}
	set(&c.TenantID, DefaultTenantID)
	set(&c.Domain, DefaultDomain)
	set(&c.SubscriptionID, DefaultSubscriptionID)
	set(&c.Listen, "127.0.0.1")
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = io.Discard
	}
	c.Log = &oneAtATime{w: c.Log}
	return c
}

// oneAtATime lets the servers share a writer that is made for one.
type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements [io.Writer].
func (o *oneAtATime) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}
