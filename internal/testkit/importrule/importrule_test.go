package importrule_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/testkit/importrule"
)

// rules are all that the house asks of its files, by name.
func rules() map[string]func(importrule.Tree) []importrule.Violation {
	return map[string]func(importrule.Tree) []importrule.Violation{
		"imports": func(t importrule.Tree) []importrule.Violation {
			return t.Imports(importrule.Rules(), importrule.Homes())
		},
		"passwords": importrule.Tree.Passwords,
		"inits":     importrule.Tree.Inits,
		"skips":     importrule.Tree.Skips,
		"sleeps":    importrule.Tree.Sleeps,
	}
}

func TestThisRepositoryKeepsTheRules(t *testing.T) {
	root, err := importrule.Root(".")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := importrule.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, wanted := range []string{"internal/domain/agent/diff.go", "internal/localcloud/cloud.go", "internal/world/token/token.go", "internal/work/job/job.go"} {
		if !slices.ContainsFunc(tree.Go, func(f importrule.GoFile) bool { return f.Path == wanted }) {
			t.Errorf("%s was not looked at", wanted)
		}
	}
	for name, check := range rules() {
		t.Run(name, func(t *testing.T) {
			for _, v := range check(tree) {
				t.Error(v)
			}
		})
	}
}

const ours = "example.org/ours/internal/"

// planted are trees with one violation each, or with none where want is "".
func planted() []struct {
	name, rule, want string
	files            map[string]string
} {
	type tree = map[string]string
	imports := func(pkg, imported string) string {
		return "package " + pkg + "\n\nimport _ \"" + imported + "\"\n"
	}
	return []struct {
		name, rule, want string
		files            map[string]string
	}{
		{"a verb that imports a system", "imports", "internal/work/provision/x.go:3: imports internal/world/entra",
			tree{"internal/work/provision/x.go": imports("provision", ours+"world/entra")}},
		{"a verb that imports another verb", "imports", "internal/work/provision/x.go:3: imports internal/work/migrate",
			tree{"internal/work/provision/x.go": imports("provision", ours+"work/migrate")}},
		{"a verb that imports the job runner", "imports", "", tree{"internal/work/provision/x.go": imports("provision", ours+"work/job")}},
		{"a word that imports a library", "imports", "internal/domain/role/x.go:3: imports github.com/google/uuid",
			tree{"internal/domain/role/x.go": imports("role", "github.com/google/uuid")}},
		{"a word that imports an extended standard library", "imports", "internal/domain/role/x.go:3: imports golang.org/x/sys/unix",
			tree{"internal/domain/role/x.go": imports("role", "golang.org/x/sys/unix")}},
		{"a word that imports a word and the standard library", "imports", "", tree{
			"internal/domain/role/x.go": imports("role", ours+"domain/fault"), "internal/domain/role/y.go": imports("role", "encoding/json")}},
		{"a system that imports another system", "imports", "internal/world/token/x.go:3: imports internal/world/keystore",
			tree{"internal/world/token/x.go": imports("token", ours+"world/keystore")}},
		{"a keystore backend that imports the keystore", "imports", "",
			tree{"internal/world/keystore/agefile/x.go": imports("agefile", ours+"world/keystore")}},
		{"a memory that imports a verb", "imports", "internal/record/state/x.go:3: imports internal/work/job",
			tree{"internal/record/state/x.go": imports("state", ours+"work/job")}},
		{"a face that imports the door", "imports", "internal/front/cli/x.go:3: imports internal/control",
			tree{"internal/front/cli/x.go": imports("cli", ours+"control")}},
		{"a face that imports another face", "imports", "internal/front/tui/x.go:3: imports internal/front/cli",
			tree{"internal/front/tui/x.go": imports("tui", ours+"front/cli")}},
		{"a door that imports a system", "imports", "internal/control/x.go:3: imports internal/world/arm",
			tree{"internal/control/x.go": imports("control", ours+"world/arm")}},
		{"a local cloud that imports our words", "imports", "internal/localcloud/graph/x.go:3: imports internal/domain/role",
			tree{"internal/localcloud/graph/x.go": imports("graph", ours+"domain/role")}},
		{"a local cloud that imports its own parts", "imports", "",
			tree{"internal/localcloud/graph/x.go": imports("graph", ours+"localcloud/directory")}},
		{"a command that imports more than app", "imports", "cmd/leastkey/main.go:3: imports internal/control",
			tree{"cmd/leastkey/main.go": imports("main", ours+"control")}},
		{"app that imports anything", "imports", "",
			tree{"internal/app/x.go": imports("app", ours+"world/entra"), "internal/app/y.go": imports("app", ours+"localcloud")}},
		{"app that imports testkit", "imports", "internal/app/x.go:3: imports internal/testkit/canary",
			tree{"internal/app/x.go": imports("app", ours+"testkit/canary")}},
		{"a product that imports a suite of tests", "imports", "internal/app/x.go:3: imports internal/world/keystore/keystoretest",
			tree{"internal/app/x.go": imports("app", ours+"world/keystore/keystoretest")}},
		{"a test that imports testkit and a system", "imports", "",
			tree{"internal/work/job/x_test.go": imports("job", ours+"testkit/canary"), "internal/work/job/y_test.go": imports("job", ours+"world/entra")}},
		{"a folder that nobody planned", "imports", "internal/util/x.go:1: is in a folder without a rule",
			tree{"internal/util/x.go": "package util\n"}},
		{"an SDK outside world", "imports", "internal/control/x.go:3: imports github.com/Azure/azure-sdk-for-go/sdk/azcore",
			tree{"internal/control/x.go": imports("control", "github.com/Azure/azure-sdk-for-go/sdk/azcore")}},
		{"a library that nobody listed", "imports", "internal/world/arm/x.go:3: imports github.com/someone/something",
			tree{"internal/world/arm/x.go": imports("arm", "github.com/someone/something")}},
		{"a library for tests in the product", "imports", "internal/record/state/x.go:3: imports pgregory.net/rapid",
			tree{"internal/record/state/x.go": imports("state", "pgregory.net/rapid")}},
		{"a product that needs a C compiler", "imports", "internal/world/keystore/keychain/x.go:3: imports C",
			tree{"internal/world/keystore/keychain/x.go": imports("keychain", "C")}},
		{"a file of another operating system", "imports", "internal/world/arm/x_windows.go:5: imports internal/world/entra",
			tree{"internal/world/arm/x_windows.go": "//go:build windows\n\n" + imports("arm", ours+"world/entra")}},

		{"a client that names the action", "passwords", "internal/world/entra/x.go:3: names addpassword",
			tree{"internal/world/entra/x.go": "package entra\n\nconst path = \"/applications/1/addPassword\"\n"}},
		{"a client that names it in other letters", "passwords", "internal/world/entra/x.go:2: names addpassword",
			tree{"internal/world/entra/x.go": "package entra\n// ADDPASSWORD\n"}},
		{"a client that puts the name together", "passwords", "internal/world/entra/x.go:3: spells addpassword",
			tree{"internal/world/entra/x.go": "package entra\n\nvar p = \"/applications/\" + id + \"/add\" + (\"Pass\" + \"word\")\n"}},
		{"a script that names the action", "passwords", "script/live.sh:1: names addpassword",
			tree{"script/live.sh": "az rest --url /addPassword\n"}},
		{"a template that names the action", "passwords", "internal/front/web/page.html:1: names addpassword",
			tree{"internal/front/web/page.html": "<a href=addPassword>\n"}},
		{"cloud, tests and documentation that name the action", "passwords", "", tree{
			"internal/localcloud/graph/x.go": "package graph\n// addPassword\n", "internal/world/entra/x_test.go": "package entra\n// addPassword\n",
			"docs/threat-model.md": "addPassword\n", "README.md": "addPassword\n", "script/legacy.txtar": "addPassword\n", "bin/leastkey": "addPassword\n"}},

		{"a package that runs before main", "inits", "internal/world/arm/x.go:2: has func init",
			tree{"internal/world/arm/x.go": "package arm\nfunc init() {}\n"}},
		{"a method called init", "inits", "", tree{"internal/world/arm/x.go": "package arm\ntype t int\nfunc (t) init() {}\n"}},

		{"a test that skips", "skips", "internal/world/arm/x_test.go:3: calls Skip",
			tree{"internal/world/arm/x_test.go": "package arm\nimport \"testing\"\nfunc TestX(t *testing.T) { t.Skip() }\n"}},
		{"a test that skips with a reason", "skips", "internal/world/arm/x_test.go:3: calls Skipf",
			tree{"internal/world/arm/x_test.go": "package arm\nimport \"testing\"\nfunc TestX(t *testing.T) { t.Skipf(\"no %s\", \"az\") }\n"}},

		{"a product that sleeps", "sleeps", "internal/world/arm/x.go:3: calls time.Sleep",
			tree{"internal/world/arm/x.go": "package arm\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"}},
		{"a product that sleeps under another name", "sleeps", "internal/world/arm/x.go:3: calls time.Sleep",
			tree{"internal/world/arm/x.go": "package arm\nimport clock \"time\"\nvar pause = clock.Sleep\n"}},
		{"a test, testkit and a local cloud that sleep", "sleeps", "", tree{
			"internal/world/arm/x_test.go":       "package arm\nimport \"time\"\nfunc f() { time.Sleep(1) }\n",
			"internal/testkit/crash/x.go":        "package crash\nimport \"time\"\nfunc f() { time.Sleep(1) }\n",
			"internal/localcloud/graph/pause.go": "package graph\nimport \"time\"\nfunc f() { time.Sleep(1) }\n"}},
	}
}

func TestPlantedViolationsAreFound(t *testing.T) {
	for _, p := range planted() {
		t.Run(p.name, func(t *testing.T) {
			got := rules()[p.rule](plant(t, p.files))
			switch {
			case p.want == "" && len(got) > 0:
				t.Errorf("found %v, want nothing", got)
			case p.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0].String(), p.want+":")):
				t.Errorf("found %v, want %q", got, p.want)
			}
		})
	}
}

// plant makes a module of files on disk and reads it.
func plant(t *testing.T, files map[string]string) importrule.Tree {
	t.Helper()
	root := t.TempDir()
	write := func(name, content string) {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.org/ours\n")
	for name, content := range files {
		write(name, content)
	}
	tree, err := importrule.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestRootIsFoundFromBelowOrNotAtAll(t *testing.T) {
	root, err := importrule.Root(".")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := importrule.Root(filepath.Join(root, "internal", "testkit")); err != nil || got != root {
		t.Errorf("Root = %q, %v; want %q", got, err, root)
	}
	if got, err := importrule.Root(t.TempDir()); err == nil {
		t.Errorf("Root outside a module = %q, want an error", got)
	}
}
