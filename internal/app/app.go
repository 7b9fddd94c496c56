// Package app knows everyone: it reads the configuration, decides between the local cloud and a real one, plugs the systems of the world
// and the memory into the verbs, and hands the door to a face. Wiring lives here and nowhere else.
package app

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"

	"go.opentelemetry.io/otel/trace"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/front/cli"
	"github.com/leastkey/leastkey/internal/work/migrate"
	"github.com/leastkey/leastkey/internal/work/provision"
)

// version is set when the binary is linked.
var version = "0.1.0-dev"

// Hooks let a test stand between the product and what it changes. A nil one changes nothing.
type Hooks struct {
	Transport func(http.RoundTripper) http.RoundTripper
	Journal   func(control.Journal) control.Journal
	State     func(control.State) control.State
	Ledger    func(control.Ledger) control.Ledger
	Keys      func(provision.Keystore) provision.Keystore
	Env       func(provision.EnvFile) provision.EnvFile
	Files     func(migrate.Files) migrate.Files
}

// App is the program, before it knows where to work.
type App struct {
	Getenv  func(string) string
	Streams cli.Streams
	Hooks   Hooks

	traces trace.TracerProvider // nil is none
}

// Main runs the command line of this process and returns its exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &App{Getenv: os.Getenv, Streams: cli.Standard(os.Getenv)}
	return a.Run(ctx, args)
}

// Run runs one command line.
func (a *App) Run(ctx context.Context, args []string) int {
	return cli.Run(ctx, args, a.Streams, cli.World{
		Open:   func(ctx context.Context, t api.Target) (cli.Door, error) { return a.Open(ctx, t) },
		Remote: a.remote,
		Up:     a.up,
		Serve:  a.serve,
		Tokens: adminTokens{a},
		Cloud:  localCloud{a},
		Init:   a.initialise,
		Login:  a.login,
		Doctor: a.doctor,
		ProvisionerToken: func(ctx context.Context, t api.Target, stateFile, scope string) (api.Token, error) {
			return a.provisionerToken(ctx, provisionerToken{target: t, stateFile: stateFile, scope: scope})
		},
		Checks:  checks,
		Version: versionOf(),
	})
}

func versionOf() api.Version {
	v := api.Version{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.time":
				v.Built = s.Value
			}
		}
	}
	return v
}

// home is LEASTKEY_HOME: where everything of ours is kept.
func (a *App) home() (string, error) {
	if h := a.Getenv("LEASTKEY_HOME"); h != "" {
		return filepath.Abs(h)
	}
	if x := a.Getenv("XDG_STATE_HOME"); filepath.IsAbs(x) { // the specification says that a relative one is to be ignored
		return filepath.Join(x, "leastkey"), nil
	}
	h := a.Getenv("HOME")
	if h == "" && runtime.GOOS == "windows" {
		h = a.Getenv("USERPROFILE")
	}
	if h == "" {
		return "", fault.New(fault.Invalid, "neither LEASTKEY_HOME nor HOME is set", "set LEASTKEY_HOME to a folder of your own")
	}
	return filepath.Join(h, ".local", "state", "leastkey"), nil
}

// localDir is the folder of the local cloud and its record, below state if that is named.
func (a *App) localDir(state string) (string, error) {
	if state != "" {
		abs, err := filepath.Abs(state)
		return filepath.Join(abs, "local"), err
	}
	h, err := a.home()
	return filepath.Join(h, "local"), err
}

// actor is the person of the operating system, for the ledger.
func actor() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &fault.Error{Code: fault.Unavailable, Op: "make folder " + dir, Err: err}
	}
	return nil
}
