// Package migrate moves the Provisioner from a client secret to a certificate: what it reads before a plan, and the handlers of the steps
// that only the Provisioner's plans have. The other steps are those of package provision.
//
// The legacy secret passes through here as a value that cannot be printed. It is asked of the login service, to see whether it still works,
// and compared with what lies on disk; it is written nowhere.
package migrate

import (
	"context"
	"crypto"
	"slices"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// Graph is the part of Microsoft Graph that the Provisioner's plans need beside package provision's.
type Graph interface {
	observe.Graph
	ApplicationByAppID(ctx context.Context, appID string) (agent.Application, error)
	// AppRoles are the application permissions that a resource offers, with the object id of its service principal.
	AppRoles(ctx context.Context, resourceAppID string) (principalID string, roles []provisioner.AppRole, err error)
	Declared(ctx context.Context, objectID, resourceAppID string) ([]string, error)
	Declare(ctx context.Context, objectID, resourceAppID string, roleIDs []string) error
	Granted(ctx context.Context, principalID, resourceID string) ([]provisioner.Grant, error)
	GrantRole(ctx context.Context, principalID, resourceID, roleID string) error
	// Rights tells whether the caller may delete the application's credentials, as far as can be seen without trying.
	Rights(ctx context.Context, app agent.Application) (provisioner.Rights, error)
}

// Keys keeps the Provisioner's keys. Its active slot is the one entry that is ever replaced.
type Keys interface {
	observe.Keys
	Ref(name string) secret.Ref
	Create(ctx context.Context, name string, key crypto.Signer) (secret.Ref, error)
	Replace(ctx context.Context, name string, key crypto.Signer) error
	Delete(ctx context.Context, ref secret.Ref) error
	// Certificate is the certificate that the original has put beside the key; fault.NotFound if there is none.
	Certificate(ctx context.Context, ref secret.Ref) (der []byte, err error)
}

// Where says what is searched for the legacy secret.
type Where struct {
	State   string         // the state file; its folder and its .bak files are searched too
	Env     string         // the environment file
	Also    []string       // further files and folders
	Edit    []string       // files that the operator lets us change
	BackUps []string       // our own encrypted backups, which know the value after the state file does not any more
	Known   []secret.Value // what this process has found to be the secret before
	// Ours asks whether a value that another file assigns to the legacy key is a secret of our application; nil where nobody can tell.
	Ours func(ctx context.Context, v secret.Value) (bool, error)
}

// Legacy is what the search has found: the values, which cannot be printed, and where they lie.
type Legacy struct {
	Values []secret.Value
	Places []provisioner.Place
}

// Files is the part of record/statefile that is needed.
type Files interface {
	// State reads the state file. One that does not exist is not an error; one that does not read is fault.Corrupt.
	State(ctx context.Context, path string) (provisioner.File, error)
	UpdateState(ctx context.Context, path string, set map[string]string, remove []string) (did string, err error)
	// Legacy searches. A folder or file that cannot be read is an error: what nobody could look at is not clean.
	Legacy(ctx context.Context, w Where) (Legacy, error)
	// Purge takes the values out of a file. approved is the SHA-256 of the content that the operator was shown, for [provisioner.Edit].
	Purge(ctx context.Context, path string, values []secret.Value, kind provisioner.Kind, approved string) (did string, err error)
	// BackUp writes an encrypted copy under a name, or finds the one that an earlier try has written.
	BackUp(ctx context.Context, path, name string) (agent.BackUp, error)
}

// Secret asks the login service whether a client secret still works. said is its code where it does not.
type Secret func(ctx context.Context, appID string, v secret.Value) (works bool, said string, err error)

// Memory is the record.
type Memory interface {
	Agent(ctx context.Context, name string) (agent.Record, error)
}

// Config is everything that the Provisioner's plans act through. Every field is needed.
type Config struct {
	Graph   Graph
	Keys    Keys
	Files   Files
	Secret  Secret
	Memory  Memory
	Tenant  string        // GUID
	Default secret.Ref    // of the active slot in the usual keychain: not written into the state file
	Settle  time.Duration // how long an absence must last before it is believed
}

// Migrate reads, and holds the handlers.
type Migrate struct {
	Config
	mu    sync.Mutex
	known map[string][]secret.Value // state file → what the search has found; a value that was live at planning is dead afterwards
}

// New checks nothing: a missing field is a fault of the wiring, found by the first test.
func New(c Config) *Migrate { return &Migrate{Config: c, known: map[string][]secret.Value{}} }

// remembered are the values that this process has found for the state file.
func (m *Migrate) remembered(state string) []secret.Value {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.known[state])
}

// search searches, with what this process has found before and what unexpired backups know.
func (m *Migrate) search(ctx context.Context, w Where, rec agent.Record) (Legacy, error) {
	w.Known = m.remembered(w.State)
	for _, b := range rec.BackUps {
		if time.Now().Before(b.Expires) && !slices.Contains(w.BackUps, b.Path) {
			w.BackUps = append(w.BackUps, b.Path)
		}
	}
	found, err := m.Files.Legacy(ctx, w)
	if err == nil {
		m.mu.Lock()
		m.known[w.State] = slices.Clone(found.Values)
		m.mu.Unlock()
	}
	return found, err
}

// Handlers are the handlers of the actions that only the Provisioner's plans have.
func (m *Migrate) Handlers() map[agent.Action]job.Handler {
	return map[agent.Action]job.Handler{
		provisioner.DeclarePermissions: m.declare(),
		provisioner.GrantPermission:    m.grant(),
		provisioner.PinPermissions:     m.pin(),
		provisioner.BackUp:             m.backUp(),
		provisioner.WriteState:         m.writeState(),
		provisioner.RestoreState:       m.restoreState(),
		provisioner.PromoteKey:         m.promote(),
		provisioner.RestoreKey:         m.restoreKey(),
		provisioner.ImportKey:          m.importKey(),
		provisioner.NoPasswords:        m.noPasswords(),
		provisioner.SecretDeadProof:    m.secretDead(),
		provisioner.PurgeSecret:        m.purge(),
		provisioner.ScanSecret:         m.scan(),
	}
}

func evidence(asked, answer string) []finding.Evidence {
	return []finding.Evidence{{Asked: asked, Answer: answer, At: time.Now().UTC()}}
}

// recorded is the generation that a step names.
func (m *Migrate) recorded(ctx context.Context, c *job.Call) (agent.Generation, agent.Record, error) {
	rec, err := m.Memory.Agent(ctx, provisioner.Name)
	if err != nil {
		return agent.Generation{}, rec, err
	}
	g := rec.Generation(c.With("generation"))
	if g == nil {
		return agent.Generation{}, rec, fault.Newf(fault.Corrupt, "generation %q of the plan is not recorded", c.With("generation"))
	}
	return *g, rec, nil
}
