// Package verify is the checklist after the Provisioner's migration: each item a question that is asked of the world as it is now, with what
// came back. It changes nothing. A lookup that failed is unknown, and never a pass.
package verify

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/job"
)

// Graph reads the credentials, as the operator.
type Graph interface {
	ApplicationByAppID(ctx context.Context, appID string) (agent.Application, error)
	Principal(ctx context.Context, appID string) (agent.Principal, error)
	AppRoles(ctx context.Context, resourceAppID string) (principalID string, roles []provisioner.AppRole, err error)
	Granted(ctx context.Context, principalID, resourceID string) ([]provisioner.Grant, error)
}

// Keys is the Provisioner's keystore.
type Keys interface {
	Ref(name string) secret.Ref
	Open(ctx context.Context, ref secret.Ref) (crypto.Signer, error)
	// Certificate is the one that lies beside the key; fault.NotFound if there is none.
	Certificate(ctx context.Context, ref secret.Ref) (der []byte, err error)
}

// Repository is the git repository that the state file lies in.
type Repository interface {
	Top() string
	Shallow() bool // earlier commits are not here
	Tracked(ctx context.Context, patterns []string) ([]string, error)
	Ignored(ctx context.Context, paths []string) ([]string, error)
	// Search looks through everything that the history holds for the values, and for what was ever given to the secret's key. It tells
	// where, and how many objects it has looked at.
	Search(ctx context.Context, values []secret.Value) (found []string, objects int, err error)
}

// Helped is what the token helper did.
type Helped struct {
	Path  string
	Token bool // it printed a token and a line end, and nothing else
	Bytes int
	Took  time.Duration
}

// Look says where the legacy secret is looked for.
type Look struct {
	State   string
	Also    []string // further files and folders
	BackUps []string // encrypted copies that know the value
}

// Config is everything that the checklist asks. Every field is needed.
type Config struct {
	Graph Graph
	Keys  Keys
	// State reads the state file.
	State func(ctx context.Context, path string) (provisioner.File, error)
	// Search looks for the legacy secret in the state file's folder, the temporary folders, the environment file and what Look names. A backup
	// that does not open is an error: it may know the value.
	Search func(ctx context.Context, look Look) ([]secret.Value, []provisioner.Place, error)
	// Below names the files in the folders below a folder; all is false where there are more than it names.
	Below func(ctx context.Context, dir string) (files []string, all bool, err error)
	// Git opens the repository of a folder. fault.NotFound: there is none; fault.Unsupported: there is none to be seen, and no git.
	Git func(ctx context.Context, dir string) (Repository, error)
	// Login gets a token for Graph, in one request, and tells whose it is.
	Login func(ctx context.Context, appID string, key crypto.Signer, der []byte) (api.Caller, error)
	// Sources shows every script and program below a folder, with the language that its comments are written in.
	Sources func(ctx context.Context, dir string, look func(path, language string, content []byte) error) (int, error)
	// Helper finds the token helper and runs it. fault.NotFound: it is not there.
	Helper func(ctx context.Context, program, stateFile string) (Helped, error)
	Tenant string // GUID
}

// Verify answers the checklist.
type Verify struct{ Config }

// New checks nothing: a missing field is a fault of the wiring, found by the first test.
func New(c Config) *Verify { return &Verify{c} }

// Ask says what is checked.
type Ask struct {
	State   string // absolute path of the state file
	Also    []string
	Runbook string // absolute path
	Helper  string
	Record  agent.Record
	// Operator is why nobody can be asked as the operator; nil if somebody can.
	Operator error
	Now      time.Time
}

// Seen is what the checks have found beside their findings.
type Seen struct {
	Findings []finding.Finding
	AppID    string
	Key      secret.Ref
	SHA256   string
	NotAfter time.Time
}

// patience bounds how long a service that is away is asked again.
const patience = 30 * time.Second

// list is the checklist on its way.
type list struct {
	*Verify
	ask  Ask
	file provisioner.File
	key  crypto.Signer
	der  []byte
	seen Seen

	once  sync.Once
	found searched
}

// Check answers the whole list, in its order.
func (v *Verify) Check(ctx context.Context, ask Ask) Seen {
	l := &list{Verify: v, ask: ask}
	state := l.state(ctx) // first: it says whose application this is
	key := l.keyOf(ctx)
	checks := []func(context.Context) []finding.Finding{
		l.onDisk, l.history, l.ignored, nil, l.passwords, nil, l.token, l.code, l.helper, l.runbook,
	}
	found := make([][]finding.Finding, len(checks))
	found[3], found[5] = state, key
	var all sync.WaitGroup
	for i, check := range checks {
		if check != nil {
			all.Go(func() { found[i] = check(ctx) })
		}
	}
	all.Wait()
	for _, f := range found {
		l.seen.Findings = append(l.seen.Findings, f...)
	}
	l.seen.AppID = l.appID()
	return l.seen
}

func (l *list) appID() string {
	if l.file.Client != "" {
		return l.file.Client
	}
	return l.ask.Record.AppID
}

// check is one question on its way to its answer.
type check struct {
	finding.Finding
	began time.Time
}

func begin(id, question string) *check {
	return &check{finding.Finding{ID: id, Question: question, Outcome: finding.Pass}, time.Now()}
}

// saw adds evidence: what was asked since the last of it, and what came back.
func (c *check) saw(asked, answer string) *check {
	now := time.Now()
	c.Evidence = append(c.Evidence, finding.Evidence{Asked: asked, Answer: answer, At: now.UTC(), Took: now.Sub(c.began)})
	c.began = now
	return c
}

func (c *check) end(outcome finding.Outcome, detail, remedy string) []finding.Finding {
	c.Outcome, c.Detail, c.Remedy = outcome, detail, remedy
	return []finding.Finding{c.Finding}
}

func (c *check) pass(format string, a ...any) []finding.Finding {
	return c.end(finding.Pass, fmt.Sprintf(format, a...), "")
}

// unknown is the outcome where a lookup failed, with its cause.
func (c *check) unknown(asked string, err error) []finding.Finding {
	c.saw(asked, err.Error())
	c.Evidence[len(c.Evidence)-1].Status = status(err)
	return c.end(finding.Unknown, "nobody could tell: "+err.Error(), fault.Hint(err))
}

// refused is the outcome of something that has to work, and does not.
func (c *check) refused(asked string, err error) []finding.Finding {
	c.saw(asked, err.Error())
	c.Evidence[len(c.Evidence)-1].Status = status(err)
	return c.end(finding.Fail, err.Error(), fault.Hint(err))
}

// read asks once more while a service is throttled or away, for a while. "Not yet" is an answer here: nothing was made a moment ago.
func read[T any](ctx context.Context, what string, once func(context.Context) (T, error)) (T, error) {
	var got T
	var said error
	err := job.Wait(ctx, job.Probe{What: what, Deadline: patience, Try: func(ctx context.Context) error {
		got, said = once(ctx)
		if fault.Is(said, fault.Throttled, fault.Unavailable) {
			return said
		}
		return nil
	}})
	if err == nil {
		err = said
	}
	return got, err
}

// status is the HTTP status of a failure; 0 if it has none.
func status(err error) int {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Status
	}
	return 0
}
