package localcloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/service"
)

const runFile = "cloud.json"

// Run is how another process finds a running cloud: the content of the run file.
type Run struct {
	Instance       string
	PID            int
	Started        time.Time
	Endpoints      service.Endpoints
	CAFile         string // PEM; "" if the cloud has no run folder
	CAPEM          string
	Management     string     // https://localhost:PORT or unix://PATH
	Token          Credential // for the management API
	TenantID       string
	Domain         string
	SubscriptionID string
	OperatorsFile  string
}

// runJSON is the file's form, the only one that shows the token.
type runJSON struct {
	Notice         string            `json:"notice"`
	Instance       string            `json:"instance"`
	PID            int               `json:"pid"`
	Started        time.Time         `json:"started"`
	Endpoints      service.Endpoints `json:"endpoints"`
	CAFile         string            `json:"ca_file"`
	CAPEM          string            `json:"ca_pem"`
	Management     string            `json:"management"`
	Token          string            `json:"management_token"`
	TenantID       string            `json:"tenant_id"`
	Domain         string            `json:"domain"`
	SubscriptionID string            `json:"subscription_id"`
	OperatorsFile  string            `json:"operators_file"`
}

// ErrNoRun says that no cloud has announced itself in the folder.
var ErrNoRun = errors.New("no local cloud is running")

// StaleError says that a run file tells of a cloud that is not there any more, or is another one. Nothing in it is to be used.
type StaleError struct {
	File   string
	Reason string
	Err    error // why its cloud gives no answer, though its process lives; nil where it is known to be gone
}

// Unwrap is the cause.
func (e *StaleError) Unwrap() error { return e.Err }

// Error implements error.
func (e *StaleError) Error() string {
	return fmt.Sprintf("%s is left over: %s", e.File, e.Reason)
}

func (r Run) write(dir string) error {
	return writeJSON(filepath.Join(dir, runFile), runJSON{
		Notice:   "A Leastkey local cloud. The token is a test credential: it controls this cloud and nothing else.",
		Instance: r.Instance, PID: r.PID, Started: r.Started, Endpoints: r.Endpoints, CAFile: r.CAFile, CAPEM: r.CAPEM,
		Management: r.Management, Token: r.Token.Reveal(), TenantID: r.TenantID, Domain: r.Domain,
		SubscriptionID: r.SubscriptionID, OperatorsFile: r.OperatorsFile,
	})
}

func removeRun(dir string) error {
	if err := os.Remove(filepath.Join(dir, runFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ReadRun finds the cloud that runs in a folder: the file is private, its process lives, and the cloud that answers is the one it
// speaks of. The errors are [ErrNoRun], a [*StaleError], or that of a file which cannot be read or trusted.
func ReadRun(ctx context.Context, dir string) (Run, error) {
	path := filepath.Join(dir, runFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Run{}, fmt.Errorf("%s: %w", dir, ErrNoRun)
	}
	if err != nil {
		return Run{}, err
	}
	if err := private(info); err != nil { // somebody else may have written where we would send tokens
		return Run{}, fmt.Errorf("%s: %w", path, err)
	}
	var f runJSON
	known, err := readJSON(path, &f)
	if err != nil {
		return Run{}, err
	}
	if !known { // it went while we looked
		return Run{}, fmt.Errorf("%s: %w", dir, ErrNoRun)
	}
	if !alive(f.PID) {
		return Run{}, &StaleError{File: path, Reason: fmt.Sprintf("process %d has ended", f.PID)}
	}
	r := Run{
		Instance: f.Instance, PID: f.PID, Started: f.Started, Endpoints: f.Endpoints, CAFile: f.CAFile, CAPEM: f.CAPEM,
		Management: f.Management, Token: NewCredential(f.Token), TenantID: f.TenantID, Domain: f.Domain,
		SubscriptionID: f.SubscriptionID, OperatorsFile: f.OperatorsFile,
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m, err := r.Manage()
	if err != nil {
		return Run{}, &StaleError{File: path, Reason: err.Error()}
	}
	defer m.Close()
	h, err := m.Health(ctx)
	switch {
	case err != nil:
		return Run{}, &StaleError{File: path, Reason: "its cloud does not answer: " + err.Error(), Err: err}
	case h.Instance != r.Instance || h.PID != r.PID:
		return Run{}, &StaleError{File: path, Reason: "another cloud answers at its address"}
	}
	return r, nil
}

// Run describes the listening cloud; it is the zero Run before Listen.
func (c *Cloud) Run() Run {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.net == nil {
		return Run{}
	}
	return c.net.run
}
