package specfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

const sub = "00000000-0000-0000-0000-000000000000"

// whole has every field.
const whole = `cloud: local                 # local | public | usgov | china
tenant: contoso.onmicrosoft.com
subscription: 00000000-0000-0000-0000-000000000000
resource_group: polyclaw-rg
location: eastus
operator: az
provisioner:
  display_name: EntraClaw Agent ID Provisioner
  keystore: auto
  state_file: .entraclaw-state.json
  permissions: seed
agents:
  polyclaw-runtime:
    kind: service-principal
    certificate: {days: 365, overlap: 0s, renew_at: 0.66}
    certificates: []
    owners: []
    env_file: .env
    roles: polyclaw
    key_vault: kv-polyclaw
    session_pool: ""
    content_safety: ""
    federated: []
    broker: {audiences: [https://management.azure.com, https://vault.azure.net], rate: 50/s}
    runtime: {uid: 10002, env: [], vault_refs: []}
    image: ""
`

const head = "tenant: contoso.onmicrosoft.com\nsubscription: " + sub + "\n"

func parse(text string) (agent.Spec, error) {
	return Parse("leastkey.yaml", []byte(text), role.Builtin())
}

func TestParseReadsEveryField(t *testing.T) {
	s, err := parse(whole)
	if err != nil {
		t.Fatal(err)
	}
	want := agent.Spec{
		Cloud: agent.Local, Tenant: "contoso.onmicrosoft.com", Subscription: sub, ResourceGroup: "polyclaw-rg", Location: "eastus", Operator: "az",
		Provisioner: agent.Provisioner{DisplayName: "EntraClaw Agent ID Provisioner", Keystore: "auto", StateFile: ".entraclaw-state.json", Permissions: "seed"},
		Agents: map[string]*agent.Agent{"polyclaw-runtime": {
			Name: "polyclaw-runtime", Kind: agent.ServicePrincipal, Certificate: agent.CertificatePolicy{Days: 365, RenewAt: 0.66},
			Certificates: []string{}, Owners: []string{}, EnvFile: ".env", Roles: agent.Roles{Set: "polyclaw"}, KeyVault: "kv-polyclaw", Federated: []agent.Federated{},
			Broker:  agent.Broker{Audiences: []string{"https://management.azure.com", "https://vault.azure.net"}, Rate: "50/s"},
			Runtime: agent.Runtime{UID: 10002, Env: []string{}, VaultRefs: []string{}},
		}},
	}
	if !reflect.DeepEqual(s, want) {
		t.Fatalf("%+v\n%+v", s, want)
	}
}

func TestParseFillsDefaultsAndReadsLists(t *testing.T) {
	scope := "/subscriptions/" + sub + "/resourceGroups/rg"
	s, err := parse("\uFEFF" + head + "agents:\r\n  a:\r\n  b: {roles: [], env_file: b.env}\r\n  c:\n    env_file: c.env\n    roles: &r\n    - {role: Reader, scope: " + scope + "}\n    certificate: {overlap: 72h}\n  d.e: {roles: *r, env_file: d.env}\n")
	if err != nil {
		t.Fatal(err)
	}
	list := agent.Roles{List: []agent.RoleAt{{Role: "Reader", Scope: scope}}}
	for name, want := range map[string]agent.Roles{"a": {Set: "polyclaw"}, "b": {List: []agent.RoleAt{}}, "c": list, "d.e": list} {
		a := s.Agents[name]
		if a == nil || a.Name != name || !reflect.DeepEqual(a.Roles, want) || a.Certificate.Days != 365 || a.Kind != agent.ServicePrincipal {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if s.Agents["c"].Certificate.Overlap != 72*time.Hour {
		t.Error(s.Agents["c"].Certificate)
	}
}

func TestEveryProblemIsSaidOnceAndWhere(t *testing.T) {
	wide := "/subscriptions/" + sub
	for _, c := range []struct {
		name, text string
		want       []string // the beginning of each line of the error
	}{
		{"an empty file", "# nothing\n", []string{"leastkey.yaml:1:1: the file is empty (leastkey init"}},
		{"nothing at all", "", []string{"leastkey.yaml:1:1: the file is empty (leastkey init"}},
		{"a file of text", "hello", []string{"leastkey.yaml:1:1: want fields: cloud, tenant,"}},
		{"a list", "- a", []string{"leastkey.yaml:1:1: want fields: cloud, tenant,"}},
		{"broken YAML", head + "agents: [a\nb: {", []string{"leastkey.yaml:3: not YAML: "}},
		{"a list that the end of the file cuts off", "[a", []string{"leastkey.yaml:2: not YAML: "}},
		{"a tab", "agents:\n\ta: 1", []string{"leastkey.yaml:2: not YAML: "}},
		{"two documents", head + "agents: {a: }\n---\nagents: {b: }\n", []string{"leastkey.yaml:4:1: a second YAML document"}},
		{"missing fields stand at the top", "agents: {a: }\n", []string{"leastkey.yaml:1:1: tenant: not a tenant", "leastkey.yaml:1:1: subscription: not a subscription"}},
		{"no agent", head + "agents:\n", []string{"leastkey.yaml:3:1: agents: no agent is named"}},
		{"a misspelt key", head + "agents:\n  a:\n    rols: polyclaw\n    zebra: 1\n", []string{
			"leastkey.yaml:5:5: agents.a.rols: unknown key (did you mean roles?)", "leastkey.yaml:6:5: agents.a.zebra: unknown key (known here: kind,"}},
		{"a misspelt key whose field is missing", "tennant: x\nsubscription: " + sub + "\nagents: {a: }", []string{"leastkey.yaml:1:1: tennant: unknown key (did you mean tenant?)"}},
		{"a misspelt key beside a wrong one", "tennant: x\ntenant: x\nsubscription: " + sub + "\nagents: {a: }", []string{
			"leastkey.yaml:1:1: tennant: unknown key", "leastkey.yaml:2:9: tenant: not a tenant"}},
		{"a duplicate key", head + "agents: {a: }\ntenant: fabrikam.com\n", []string{"leastkey.yaml:4:1: tenant: the key is already on line 1"}},
		{"a duplicate agent", head + "agents:\n  a: {}\n  a: {}\n", []string{"leastkey.yaml:5:3: agents.a: the key is already on line 4"}},
		{"a secret", head + "agents:\n  a:\n    client_secret: hunter2\nPassword: hunter2\n", []string{
			"leastkey.yaml:5:5: agents.a.client_secret: no secret belongs here", "leastkey.yaml:6:1: Password: no secret belongs here"}},
		{"wrong types", head + "location: 7\nprovisioner: x\nagents:\n  a:\n    kind: [x]\n    certificate: {days: many, overlap: 3, renew_at: .nan}\n    owners: me\n    runtime: {uid: 1.5, env: {A: B}}\n    federated: [x]\n    env_file: true\n", []string{
			"leastkey.yaml:3:11: location: want text, found a number (put it in quotes)", "leastkey.yaml:4:14: provisioner: want fields: display_name, keystore, state_file, permissions, found text",
			"leastkey.yaml:7:11: agents.a.kind: want text, found a list", "leastkey.yaml:8:25: agents.a.certificate.days: want a whole number, found text",
			"leastkey.yaml:8:40: agents.a.certificate.overlap: want a duration such as 0s, 90m or 72h, found a number", "leastkey.yaml:8:53: agents.a.certificate.renew_at: want a number, found a number",
			"leastkey.yaml:9:13: agents.a.owners: want a list, found text", "leastkey.yaml:10:20: agents.a.runtime.uid: want a whole number",
			"leastkey.yaml:10:30: agents.a.runtime.env: want a list, found fields", "leastkey.yaml:11:17: agents.a.federated[0]: want fields: issuer, subject, audience, found text",
			"leastkey.yaml:12:15: agents.a.env_file: want text, found true or false"}},
		{"agents as a list", head + "agents: [a]\n", []string{"leastkey.yaml:3:9: agents: want names, each with its fields, found a list"}},
		{"a number as a name", head + "agents: {7: {}, a: {}}\n", []string{"leastkey.yaml:3:10: agents: a key is not text"}},
		{"a written zero", head + "agents:\n  a:\n    certificate: {days: 0, renew_at: 0.0}\n", []string{
			"leastkey.yaml:5:25: agents.a.certificate.days: 0 is not", "leastkey.yaml:5:38: agents.a.certificate.renew_at: 0 is not"}},
		{"roles left empty", head + "agents:\n  a:\n    roles:\n  b: {roles: '', env_file: b}\n  c: {roles: {role: Reader}, env_file: c}\n  d:\n    env_file: d\n    roles:\n    -\n", []string{
			"leastkey.yaml:5:5: agents.a.roles: roles is empty", "leastkey.yaml:6:14: agents.b.roles: roles is empty", "leastkey.yaml:7:14: agents.c.roles: want polyclaw, or a list",
			"leastkey.yaml:11:6: agents.d.roles[0]: the item is empty"}},
		{"what the catalogue refuses", head + "agents:\n  a.b:\n    roles:\n    - {role: Readr, scope: " + wide + "}\n    - role: Owner\n      scope: " + wide + "/resourceGroups/rg\n", []string{
			`leastkey.yaml:6:14: agents.a.b.roles[0].role: unknown role "Readr" (did you mean "Reader"?)`, "leastkey.yaml:6:28: agents.a.b.roles[0].scope: subscription " + sub + " is wider",
			"leastkey.yaml:7:13: agents.a.b.roles[1].role: Owner is an elevated role"}},
		{"a missing field of a list item stands at the item", head + "agents:\n  a:\n    roles:\n    - role: Reader\n", []string{"leastkey.yaml:6:7: agents.a.roles[0].scope: not an ARM scope"}},
		{"kinds of later versions", head + "agents: {a: {kind: agent-identity}}\n", []string{"leastkey.yaml:3:20: agents.a.kind: agent-identity is not in this version"}},
		{"federated credentials that nobody could use", head + "agents:\n  a:\n    federated:\n    - {issuer: 'http://x', subject: s}\n    - {issuer: 'https://x', subject: s}\n    - {issuer: 'https://x', subject: s, audience: other}\n    key_vault_access: reader\n", []string{
			"leastkey.yaml:6:16: agents.a.federated[0].issuer: not the https address", "leastkey.yaml:8:7: agents.a.federated[2]: issuer and subject are those of federated[1]",
			`leastkey.yaml:9:23: agents.a.key_vault_access: "reader" is not one of officer, user`, "leastkey.yaml:9:23: agents.a.key_vault_access: there is no key_vault"}},
		{"a key that would steer the terminal", head + "agents: {a: }\n\"\\e[31m\": 1\n", []string{"leastkey.yaml:4:1: ?[31m: unknown key"}},
		{"a merge key", head + "agents:\n  a: &a {image: x}\n  b:\n    env_file: b\n    <<: *a\n", []string{"leastkey.yaml:7:5: agents.b.<<: merge keys are not read"}},
		{"an alias of itself", head + "agents: &x\n  a: *x\n", []string{"leastkey.yaml:4:3: agents.a.a: unknown key"}},
		{"a binary tag", head + "location: !!binary aGk=\nagents: {a: }", []string{"leastkey.yaml:3:11: location: want text, found a value with the tag !!binary"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parse(c.text)
			if _, ok := errors.AsType[*Error](err); !ok || !fault.Is(err, fault.Invalid) {
				t.Fatalf("%v", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("a secret is in the error")
			}
			got := strings.Split(err.Error(), "\n")
			for i := range max(len(got), len(c.want)) {
				switch {
				case i >= len(got):
					t.Errorf("missing: %s", c.want[i])
				case i >= len(c.want):
					t.Errorf("too much: %s", got[i])
				case !strings.HasPrefix(got[i], c.want[i]):
					t.Errorf("got  %s\nwant %s", got[i], c.want[i])
				}
			}
		})
	}
}

func TestAliasBombIsStopped(t *testing.T) {
	var b strings.Builder
	b.WriteString(head + "x0: &x0 [a, a, a, a, a, a, a, a, a]\n")
	for i := range 9 {
		fmt.Fprintf(&b, "x%d: &x%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d, ", i), 9), ", "))
	}
	b.WriteString("agents:\n  a:\n    federated: *x9\n")
	start := time.Now()
	if _, err := parse(b.String()); err == nil || len(strings.Split(err.Error(), "\n")) > maxProblems || time.Since(start) > 5*time.Second {
		t.Fatal(err)
	}
	// The same where each value is well formed, so that only the count can stop it.
	big := head + "agents:\n  a: {owners: &o [" + strings.Repeat("x,", 900) + "]}\n"
	for i := range 50 {
		big += fmt.Sprintf("  b%d: {owners: *o}\n", i)
	}
	if _, err := parse(big); err == nil || !strings.Contains(err.Error(), "too many values") {
		t.Fatal(err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "leastkey.yaml"), role.Builtin()); !fault.Is(err, fault.NotFound) || !strings.Contains(fault.Hint(err), "leastkey init") {
		t.Error(err)
	}
	if _, err := Load(dir, role.Builtin()); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
	path := filepath.Join(dir, "big.yaml")
	if err := os.WriteFile(path, []byte(strings.Repeat("#\n", 1<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, role.Builtin()); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "1 MiB") {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Load(path, role.Builtin()); err != nil || len(s.Agents) != 1 {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{whole, "", "a", "- a", head + "agents:\n  a:\n", "a: &a [*a]", "? {a: b}\n: c", "agents: {a: {roles: [{role: Reader, scope: /}]}}", "<<: 1", "--- \n...\n---\n", "a: !!int x", "agents: {\"\": {}}"} {
		f.Add([]byte(s))
	}
	c := role.Builtin()
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse("x.yaml", b, c)
		if err != nil {
			e, ok := errors.AsType[*Error](err)
			if !ok || len(e.Problems) == 0 || len(e.Problems) > maxProblems {
				t.Fatalf("%v", err)
			}
			for _, p := range e.Problems {
				if p.Message == "" || p.Line < 0 || p.Column < 0 {
					t.Fatalf("%+v", p)
				}
			}
			return
		}
		text, err := render(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("y.yaml", text, c)
		if err != nil {
			t.Fatalf("what we write does not read: %v\n%s", err, text)
		}
		if !reflect.DeepEqual(plainLists(s), plainLists(again)) {
			t.Fatalf("%+v\n%+v\n%s", s, again, text)
		}
	})
}

// plainLists makes empty lists nil, which only roles tells apart.
func plainLists(s agent.Spec) agent.Spec {
	for _, a := range s.Agents {
		for _, l := range []*[]string{&a.Certificates, &a.Owners, &a.Broker.Audiences, &a.Runtime.Env, &a.Runtime.VaultRefs} {
			if len(*l) == 0 {
				*l = nil
			}
		}
		if len(a.Federated) == 0 {
			a.Federated = nil
		}
	}
	return s
}

func TestLongTextsCostNothing(t *testing.T) {
	text := head + strings.Repeat("z", 1<<17) + ": 1\nagents:\n  a:\n    roles:\n" + strings.Repeat("    - {role: "+strings.Repeat("z", 1<<12)+", scope: /}\n", 200)
	start := time.Now()
	if _, err := parse(text); err == nil || time.Since(start) > 3*time.Second {
		t.Fatal(time.Since(start))
	}
}
