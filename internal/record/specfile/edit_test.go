package specfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

const commented = `# our agents
cloud: public # not the local one
tenant: contoso.onmicrosoft.com
# who pays
subscription: 11111111-1111-1111-1111-111111111111
resource_group: "bots" # quoted by hand
agents:
  # answers mail
  mailbot:
    kind: service-principal
    key_vault: kv-mail # with the SMTP password
    # one per team
    session_pool: pool
    owners: [22222222-2222-2222-2222-222222222222]
  other: {env_file: other.env}
`

func p[T any](v T) *T { return &v }

func TestEditKeepsWhatItDoesNotName(t *testing.T) {
	got, err := Edit("leastkey.yaml", commented, api.SpecChange{Agent: "mailbot", ResourceGroup: p("bots"), KeyVault: p("kv-new"), Location: p("westeurope"), Days: p(90)}, role.Builtin())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(commented), "\n") {
		line = strings.Replace(line, "kv-mail", "kv-new", 1)
		if !strings.Contains(got, line+"\n") {
			t.Errorf("lost: %s", line)
		}
	}
	for _, added := range []string{"\nlocation: westeurope\n", "\n    certificate:\n      days: 90\n"} {
		if !strings.Contains(got, added) {
			t.Errorf("%q is missing", added)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	s, err := Parse("x", []byte(got), role.Builtin())
	if err != nil || s.Agents["mailbot"].KeyVault != "kv-new" || s.Agents["mailbot"].Certificate.Days != 90 || s.Location != "westeurope" || len(s.Agents) != 2 {
		t.Errorf("%+v %v", s, err)
	}
	again, err := Edit("leastkey.yaml", got, api.SpecChange{Agent: "mailbot", KeyVault: p("kv-new")}, role.Builtin())
	if err != nil || again != got {
		t.Errorf("the same change again changes the file: %v\n%s", err, again)
	}
}

func TestEditRemovesAndAdds(t *testing.T) {
	got, err := Edit("leastkey.yaml", commented, api.SpecChange{Agent: "mailbot", SessionPool: p(""), ContentSafety: p("safe")}, role.Builtin())
	if err != nil || strings.Contains(got, "session_pool") || !strings.Contains(got, "# one per team") || !strings.Contains(got, "content_safety: safe") {
		t.Errorf("%v\n%s", err, got)
	}
	got, err = Edit("leastkey.yaml", commented, api.SpecChange{Agent: "third", KeyVault: p("kv"), EnvFile: p("third.env")}, role.Builtin())
	if err != nil || !strings.Contains(got, "  third:\n    env_file: third.env\n    key_vault: kv\n") {
		t.Errorf("%v\n%s", err, got)
	}
	got, err = Edit("leastkey.yaml", commented, api.SpecChange{Agent: "other", KeyVault: p("kv")}, role.Builtin())
	if err != nil || !strings.Contains(got, "  other: {env_file: other.env, key_vault: kv}\n") {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestEditMakesAFirstFile(t *testing.T) {
	got, err := Edit("leastkey.yaml", "", api.SpecChange{Agent: "bot", Cloud: p("local"), Tenant: p("a.example.org"), Subscription: p(sub), ResourceGroup: p("rg"), KeyVault: p("kv")}, role.Builtin())
	if err != nil || !strings.Contains(got, "bot:") {
		t.Fatalf("%v\n%s", err, got)
	}
	s, err := Parse("x", []byte(got), role.Builtin())
	if err != nil || s.Agents["bot"] == nil || s.Agents["bot"].KeyVault != "kv" || s.Agents["bot"].Kind != agent.ServicePrincipal {
		t.Errorf("%+v %v", s, err)
	}
}

func TestEditRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		text   string
		change api.SpecChange
		code   fault.Code
	}{
		"a change of nobody":           {commented, api.SpecChange{}, fault.Invalid},
		"a value that is not valid":    {commented, api.SpecChange{Agent: "mailbot", Tenant: p("not a tenant")}, fault.Invalid},
		"an agent of no possible name": {commented, api.SpecChange{Agent: "../x"}, fault.Invalid},
		"a value with a line end":      {commented, api.SpecChange{Agent: "mailbot", KeyVault: p("kv\nowners: []")}, fault.Invalid},
		"a file that does not read":    {"a: [", api.SpecChange{Agent: "a"}, fault.Invalid},
		"a list for a file":            {"- a\n", api.SpecChange{Agent: "a"}, fault.Invalid},
		"a second document":            {commented + "---\nagents: {evil: {}}\n", api.SpecChange{Agent: "mailbot", KeyVault: p("kv-new")}, fault.Invalid},
		"an empty second document":     {commented + "---\n", api.SpecChange{Agent: "mailbot", KeyVault: p("kv-new")}, fault.Invalid},
		"an empty first document":      {"---\n---\n" + commented, api.SpecChange{Agent: "mailbot", KeyVault: p("kv-new")}, fault.Invalid},
		"an anchor":                    {strings.Replace(commented, "  mailbot:", "  mailbot: &m", 1), api.SpecChange{Agent: "mailbot", KeyVault: p("kv")}, fault.Conflict},
		"an alias":                     {strings.Replace(strings.Replace(commented, "  mailbot:", "  mailbot: &m", 1), "other: {env_file: other.env}", "other: *m", 1), api.SpecChange{Agent: "other", KeyVault: p("kv")}, fault.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Edit("leastkey.yaml", row.text, row.change, role.Builtin())
			if !fault.Is(err, row.code) || strings.Contains(name, "second document") && !strings.Contains(err.Error(), "leastkey.yaml:16:") {
				t.Errorf("%v\n%s", err, got)
			}
		})
	}
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leastkey.yaml")
	if !Writable(path) {
		t.Error("an empty folder is not writable")
	}
	if err := Replace(path, "", "one\n"); err != nil {
		t.Fatal(err)
	}
	text, sum, err := Text(path)
	if err != nil || text != "one\n" {
		t.Fatal(text, err)
	}
	if err := Replace(path, "", "two\n"); !fault.Is(err, fault.Conflict) {
		t.Errorf("a file that was not seen is replaced: %v", err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, sum, "two\n"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if err := Replace(path, sum, "three\n"); !fault.Is(err, fault.Conflict) {
		t.Errorf("what has changed meanwhile is replaced: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "two\n" {
		t.Errorf("%q %v", b, err)
	}
	if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
		t.Errorf("left over: %v %v", all, err)
	}
}

func TestReplaceWritesWhereALinkLeads(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real.yaml"), filepath.Join(dir, "leastkey.yaml")
	if err := os.WriteFile(real, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.yaml", link); err != nil {
		t.Fatal(err)
	}
	if err := Replace(link, sumOf([]byte("one\n")), "two\n"); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != "real.yaml" {
		t.Errorf("the link is gone: %v", err)
	}
	if b, _ := os.ReadFile(real); string(b) != "two\n" {
		t.Errorf("%q", b)
	}
}
