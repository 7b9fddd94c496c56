//go:build unix

// Package script_test tells what a user sees: each .txtar file beside it is a story, run by the real program in processes of its own,
// over real sockets, on a local cloud of its own.
//
// Beside the commands of testscript a story has those of [commands]. The program itself is started by "exits CODE leastkey …" and "start
// NAME leastkey …" alone, so that each line of a story asserts an exit code and everything that the program prints is kept; at the end
// of every story all that it left and showed is swept for secrets.
package script_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/leastkey/leastkey/internal/app"
)

// parallel is how many stories run at once unless -parallel says otherwise: they wait more than they work.
const parallel = "6"

func TestMain(m *testing.M) {
	if f := flag.Lookup("test.parallel"); f != nil {
		if err := f.Value.Set(parallel); err != nil {
			panic(err)
		}
	}
	testscript.Main(m, map[string]func(){
		"leastkey":          func() { os.Exit(app.Main(os.Args[1:])) },
		"provisioner-token": func() { os.Exit(app.ProvisionerTokenMain(os.Args[1:])) },
	})
}

// ownMachine is how the names of those stories begin that need a keychain of their own; TestKeychain runs them.
const ownMachine = "keychain"

func TestStories(t *testing.T) {
	testscript.Run(t, params(stories(t, func(name string) bool { return !strings.HasPrefix(name, ownMachine) })))
}

// stories are the files whose names are wanted.
func stories(t *testing.T, wanted func(name string) bool) []string {
	all, err := filepath.Glob("*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var some []string
	for _, f := range all {
		if wanted(f) {
			some = append(some, f)
		}
	}
	if len(some) == 0 {
		t.Fatal("there are no stories")
	}
	return some
}

func params(files []string) testscript.Params {
	return testscript.Params{
		Files: files, Setup: begin, Cmds: commands(),
		RequireExplicitExec: true, // a bare "leastkey" would assert no exit code and escape the sweep
		RequireUniqueNames:  true,
	}
}

// commands are what a story can say beside testscript's own.
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		// processes
		"exits":  with(exits),  // exits CODE PROGRAM [ARG…]
		"start":  with(start),  // start NAME PROGRAM [ARG…], in the background
		"await":  with(await),  // await NAME stdout|stderr REGEXP [VAR]: until it has printed that
		"signal": with(signal), // signal NAME INT|TERM|KILL
		"ends":   with(ends),   // ends NAME CODE: until it has ended, with that code
		// the local cloud
		"cloud":       with(cloud),       // cloud start [ARG…] | stop | attach DIR | knobs JSON | approve NAME OPERATOR
		"graph":       with(graph),       // graph METHOD PATH [JSON], as the administrator
		"arm":         with(arm),         // arm METHOD PATH [JSON], as the administrator
		"provisioned": with(provisioned), // provisioned [OTHERS]: the cloud has exactly what it must have
		"revoked":     with(revoked),     // revoked PRINCIPAL [purged]: the cloud has nothing left
		"asks":        with(asks),        // asks STATUS [QUERY], of the managed-identity endpoint that was printed last
		// the Provisioner
		"legacy":   with(install),      // legacy DIR: what the original leaves, there | migrated | untouched
		"runtime":  with(agentRuntime), // runtime DIR: an agent of Polyclaw's with a client secret | works: it still does, and its file keeps its lines | FILE KEY VALUE: a copy
		"leak":     with(leak),         // leak FILE: writes the legacy secret there
		"runbook":  with(runbook),      // runbook FILE: every command of a document of the repository
		"squatter": with(squatter),     // squatter NAME VAR: an application of somebody else's; its client id goes into VAR
		// what somebody does behind our back
		"password": with(password),  // password COLLECTION OBJECT VAR: adds one; its key id goes into VAR
		"foreign":  with(foreign),   // foreign OBJECT VAR: adds a certificate; its SHA-256 goes into VAR
		"expire":   with(expire),    // expire: lets the agent's certificate run out
		"sql":      with(statement), // sql FILE STATEMENT
		"identity": with(identity),  // identity VAR: an age identity in a folder of its own; its file goes into VAR
		// answers
		"field": with(field), // field PATH WANT: of the JSON on stdout
		"keep":  with(keep),  // keep VAR PATH: of the JSON on stdout
		"mode":  with(mode),  // mode FILE OCTAL
	}
}

// with finds the story. None of the commands can be negated: each says what it wants.
func with(do func(*story, *testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command cannot be negated")
		}
		do(ts.Value(storyKey{}).(*story), ts, args)
	}
}

func needs(ts *testscript.TestScript, args []string, least, most int, usage string) {
	if len(args) < least || (most >= 0 && len(args) > most) {
		ts.Fatalf("usage: %s", usage)
	}
}
