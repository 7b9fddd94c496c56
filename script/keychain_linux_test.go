package script_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/record/sqlite"
	"github.com/leastkey/leastkey/internal/record/state"
	"github.com/leastkey/leastkey/internal/testkit/canary"
	"github.com/leastkey/leastkey/internal/testkit/secretservice"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/keystore/keychain"
)

// TestKeychain runs the stories that need a keychain, each with a session bus and a real Secret Service that nobody else sees.
func TestKeychain(t *testing.T) {
	if !secretservice.Available(t) {
		return
	}
	for _, f := range stories(t, func(name string) bool { return strings.HasPrefix(name, ownMachine) }) {
		t.Run(f, func(t *testing.T) {
			service := secretservice.Start(t)
			p := params([]string{f})
			p.Setup = func(env *testscript.Env) error {
				if err := begin(env); err != nil {
					return err
				}
				env.Setenv("DBUS_SESSION_BUS_ADDRESS", service.Address)
				s := env.Values[storyKey{}].(*story)
				s.learnMore = s.learnKeychain
				return nil
			}
			p.Cmds["keyring"] = func(ts *testscript.TestScript, _ bool, args []string) {
				needs(ts, args, 1, 1, "keyring lock")
				service.Lock(t)
			}
			testscript.Run(t, p)
		})
	}
}

// learnKeychain reads the agents' keys and the operator's sign-in that the keychain holds.
func (s *story) learnKeychain() error {
	path := filepath.Join(s.work, "lk", "local", "leastkey.db")
	if _, err := os.Stat(path); err != nil {
		return nil // there is no agent yet
	}
	db, err := sqlite.Open(s.ctx, path)
	if err != nil {
		return err
	}
	defer db.Close()
	records, err := state.New(s.ctx, db)
	if err != nil {
		return err
	}
	all, err := records.Agents(s.ctx)
	if err != nil {
		return err
	}
	store, err := keychain.New(keychain.Config{Service: keystore.AgentService})
	if err != nil {
		return err
	}
	provisioners, err := keychain.New(keychain.Config{Service: provisioner.Service})
	if err != nil {
		return err
	}
	login := "login/" + localcloud.DefaultTenantID
	if kept, err := store.Secret(s.ctx, login); err == nil {
		if err := kept.Use(func(b []byte) error { return s.watch.Text(canary.LocalCloud, login, b) }); err != nil {
			return err
		}
	}
	for _, rec := range all {
		store := store
		if rec.Agent == provisioner.Name {
			store = provisioners
		}
		for _, g := range rec.Generations {
			key, err := store.Open(s.ctx, g.Ref)
			if err != nil {
				continue // it is locked or gone; then it was learnt before
			}
			text, err := keystore.EncodeKey(key)
			if err != nil {
				return err
			}
			if err := text.Use(func(b []byte) error { return s.watch.KeyPEM(canary.PrivateKey, g.Ref.String(), b) }); err != nil {
				return err
			}
		}
	}
	return nil
}
