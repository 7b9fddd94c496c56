package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

func TestEveryCommandAnswers(t *testing.T) {
	type row struct {
		name  string
		args  string
		set   func(*run)
		code  int
		out   []string
		story []string
	}
	for _, tt := range []row{
		{"help names the commands", "--help", nil, 0, []string{"leastkey up", "The local cloud:", "Exit codes"}, nil},
		{"no command shows the help", "", nil, 0, []string{"Use \"leastkey [command] --help\""}, nil},
		{"a command's help has an example", "apply --help", nil, 0, []string{"Examples:", "apply rest.json"}, nil},
		{"help of a command", "help plan", nil, 0, []string{"--out plan.json"}, nil},
		{"up serves until interrupted and ends 0", "up", nil, 0, []string{"bot has an identity of its own", "Try next, in another terminal", "leastkey token"}, []string{"login https://localhost:1", "Ctrl-C"}},
		{"up --once ends by itself", "up --once", nil, 0, []string{"3 logins", "0 password credentials", "0 foreign credentials", "age:/run/keys#t/bot#1", "Reader on group polyclaw-rg: see the resources"}, nil},
		{"init", "init --operator az", nil, 0, []string{"Wrote leastkey.yaml", "ann (az)"}, []string{"next: look at leastkey.yaml"}},
		{"login shows the code on stderr", "login", nil, 0, []string{"Logged in"}, []string{"ABCD-EFGH", "https://microsoft.com/devicelogin"}},
		{"doctor", "doctor", nil, 0, []string{"pass", "Is the clock right: off by 20 ms (clock)", "1 pass"}, []string{"next: leastkey plan"}},
		{"plan", "plan bot", nil, 0, []string{"+ create", "= prove", "~ change", "why: none is recorded", "scope: " + groupID, "2 to create, 1 to change, 0 to destroy, 1 to prove"}, []string{"local cloud, tenant " + tenantID, "next: leastkey apply bot"}},
		{"plan of nothing", "plan", func(r *run) { r.door.plan.Steps = nil }, 0, []string{"Nothing to do: bot is as the spec says"}, []string{"next: leastkey status bot"}},
		{"plan tells of an open run", "plan", func(r *run) {
			r.door.open = &agent.Run{Agent: "bot", Verb: agent.Apply, Actor: "ann", Started: at(1)}
		}, 0, []string{"stopped midway"}, nil},
		{"apply", "apply bot", nil, 0, []string{"bot has an identity"}, []string{"next: leastkey token bot"}},
		{"apply of nothing", "apply", func(r *run) { r.door.report.Changed = false }, 0, []string{"Nothing to do: bot is as the spec says"}, nil},
		{"status of one", "status bot", func(r *run) {
			r.door.statuses = []api.AgentStatus{{Record: sampleRecord("bot"), Key: agent.KeyPresent, Expires: at(9)}}
		}, 0, []string{"bot: provisioned", "memory:bot#1", "Reader on group polyclaw-rg", "2026-08-12 09:30:00 UTC"}, []string{"next: leastkey plan"}},
		{"status of many", "status", func(r *run) {
			r.door.statuses = []api.AgentStatus{{Record: sampleRecord("bot"), Key: agent.KeyPresent}, {Record: agent.Record{Agent: "other"}}, {Record: sampleRecord("third"), Key: agent.KeyAbsent}}
		}, 0, []string{"AGENT", "not provisioned", "key absent"}, nil},
		{"status of none", "status", nil, 0, []string{"No agent is recorded"}, []string{"next: leastkey plan"}},
		{"status names the command that continues", "status", func(r *run) {
			r.door.statuses = []api.AgentStatus{{Record: sampleRecord("bot"), Open: &agent.Run{Agent: "bot", Verb: agent.Revoke}}}
		}, 0, []string{"stopped midway (revoke)"}, []string{"next: leastkey revoke bot"}},
		{"revoke", "revoke bot --yes", func(r *run) {
			r.door.report = api.Report{Agent: "bot", Revoked: true, Changed: true, TokensUntil: at(5), Steps: []api.StepReport{{Title: "delete application", Status: api.Done}}}
		}, 0, []string{"bot is revoked", "may be accepted until 2026-08-12 05:30:00 UTC", "delete application"}, []string{"next: leastkey status"}},
		{"adopt", "adopt --yes --app-id " + clientID, func(r *run) { r.door.app.Passwords = []agent.Password{{KeyID: "k", Hint: "abc"}} }, 0,
			[]string{"bot has an identity"}, []string{"owner        none", "PASSWORD", "begins with abc", "next: leastkey plan bot"}},
		{"cloud serve", "cloud serve", nil, 0, []string{"Local cloud i-1", "kv-a https://localhost:4", "warning"}, []string{"leastkey cloud env --for az"}},
		{"cloud reset", "cloud reset", func(r *run) { r.cloud.gone = []string{"/run"} }, 0, []string{"removed /run"}, []string{"next: leastkey up"}},
		{"cloud reset of nothing", "cloud reset", nil, 0, []string{"Nothing to do"}, nil},
		{"cloud env", "cloud env --for go", func(r *run) {
			r.cloud.env = api.CloudEnv{Set: []api.EnvVar{{Name: "SSL_CERT_FILE", Value: "/a b/it's.pem"}}, Commands: []string{"az cloud set -n Leastkey"}, Notes: []string{"for bash"}}
		}, 0, []string{"# for bash\nexport SSL_CERT_FILE='/a b/it'\\''s.pem'\naz cloud set -n Leastkey\n"}, nil},
		{"cloud log", "cloud log", func(r *run) {
			r.cloud.log = []api.CloudRequest{{N: 1, At: at(1), Plane: "graph", Method: "GET", URL: "/v1.0/me", Status: 200}, {N: 2, Plane: "arm", Method: "PUT", URL: "/x", Fault: "cut"}}
		}, 0, []string{"01:30:00.000 graph  GET    200 /v1.0/me (0 ms)", "cut /x", "fault: cut"}, nil},
		{"cloud log --follow ends 0 when interrupted", "cloud log --follow", nil, 0, nil, nil},
		{"ledger show", "ledger show", func(r *run) {
			r.door.entries = []api.LedgerEntry{{Seq: 1, At: at(1), Actor: "ann", Action: "apply", Subject: "bot", Hash: strings.Repeat("ef", 32)}}
		}, 0, []string{"REFUSED", "ann", "efefefefefefefef"}, []string{"next: leastkey ledger verify"}},
		{"ledger verify", "ledger verify", func(r *run) { r.door.verdict = api.LedgerVerdict{Entries: 3, Head: "abc", Intact: true} }, 0, []string{"intact: 3 entries, head abc"}, nil},
		{"state show", "state show", func(r *run) { r.door.records = []agent.Record{sampleRecord("bot"), sampleRecord("two")} }, 0, []string{"bot\n", "two\n", clientID}, nil},
		{"state export", "state export", nil, 0, []string{"[]\n"}, nil},
		{"completion bash", "completion bash", nil, 0, []string{"bash completion V2 for leastkey"}, nil},
		{"completion zsh", "completion zsh", nil, 0, []string{"#compdef leastkey"}, nil},
		{"completion fish", "completion fish", nil, 0, []string{"fish completion for leastkey"}, nil},
		{"completion powershell", "completion powershell", nil, 0, []string{"Register-ArgumentCompleter"}, nil},
		{"version", "version", nil, 0, []string{"leastkey 0.1.0", "go1.26 linux/amd64"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t)
			if tt.set != nil {
				tt.set(r)
			}
			want(t, r, tt.code, tt.out, tt.story, strings.Fields(tt.args)...)
		})
	}
}

func TestUsageErrorsEndWithTwoAndAHint(t *testing.T) {
	for args, story := range map[string]string{
		"aply":                                       "hint: did you mean apply?",
		"-f x.yaml staus":                            "unknown command \"staus\"",
		"--cloud=local pln":                          "did you mean plan?",
		"rotate":                                     "needs the name of an agent, or --all",
		"rotate bot --all":                           "not both",
		"rotate --all --digest 123456789abc":         "do not go with --all",
		"rotate bot --overlap=-1s":                   "a duration of 0s or more",
		"rotate bot --certificate /none":             "cannot read --certificate",
		"rotate bot --certificate /dev/null":         "does not begin with a certificate",
		"runtime":                                    "later one brings it",
		"cloud srve":                                 "did you mean serve?",
		"cloud frobnicate":                           "leastkey cloud --help",
		"help frobnicate":                            "unknown command \"frobnicate\"",
		"help apply now":                             "unknown command \"now\"",
		"plan --jsn":                                 "hint: did you mean --json?",
		"plan a b":                                   "at most one",
		"plan --format xml":                          "not one of table, json",
		"plan --purge":                               "add --revoke",
		"plan --revoke --create-beside":              "do not go with --revoke",
		"--cloud mars plan":                          "not one of local",
		"up now":                                     "unexpected argument \"now\"",
		"up --tenant contoso.com":                    "always means a local cloud",
		"up --cloud public":                          "always means a local cloud",
		"apply --only vault":                         "not one of graph, arm",
		"apply --out rest.json":                      "add --only",
		"apply --digest 1234":                        "12 to 64 hex digits",
		"apply --digest zzzzzzzzzzzz":                "12 to 64 hex digits",
		"apply x.json --create-beside":               "do not go with a plan file",
		"revoke":                                     "needs the name of an agent, or --all",
		"revoke bot --all":                           "not both",
		"revoke bot":                                 "no terminal to ask on",
		"revoke --all --digest 123456789abc":         "does not go with --all",
		"adopt":                                      "adopt needs --app-id",
		"adopt --app-id " + clientID:                 "no terminal to ask on",
		"cloud env --for rust":                       "not one of az, go",
		"cloud serve --memory --state x":             "exclude each other",
		"cloud serve --knobs /nonexistent":           "cannot read --knobs",
		"cloud serve --issuer-ca /none":              "cannot read --issuer-ca",
		"cloud serve --issuer-ca /dev/null":          "holds no certificate",
		"cloud env --for az --resource /x":           "goes with --for go, js, python, curl",
		"ledger show --limit -1":                     "--limit",
		"ledger show --limit x":                      "invalid argument",
		"completion tcsh":                            "one of bash",
		"token a b":                                  "name one agent",
		"state export --out /nonexistent-folder/x/y": "cannot write",
	} {
		t.Run(args, func(t *testing.T) {
			r := newRun(t)
			code := api.ExitUsage
			if strings.HasPrefix(args, "state export") {
				code = api.ExitFailed
			}
			out, e := want(t, r, code, nil, []string{story, "leastkey: error: "}, strings.Fields(args)...)
			if out != "" {
				t.Errorf("stdout is not empty: %q", out)
			}
			if len(r.door.applied)+len(r.door.revoked) > 0 || r.door.planned.Verb != "" {
				t.Errorf("the door was asked, though the command line was wrong: %s", e)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	bad := []finding.Finding{{ID: "foreign-certificate", Question: "Are all certificates ours", Outcome: finding.Fail, Detail: "one is not", Remedy: "leastkey apply --remove-foreign ab"}}
	unknown := []finding.Finding{{ID: "owners", Outcome: finding.Unknown}}
	for _, tt := range []struct {
		name string
		args string
		set  func(*run)
		code int
	}{
		{"a failing finding of plan is 3", "plan", func(r *run) { r.door.plan.Findings = bad }, 3},
		{"a failing finding outranks pending changes", "plan --exit-code", func(r *run) { r.door.plan.Findings = bad }, 3},
		{"an unknown finding is no success", "plan", func(r *run) { r.door.plan.Findings = unknown }, 3},
		{"pending changes are 5 when asked", "plan --exit-code", nil, 5},
		{"pending changes are 0 when not asked", "plan", nil, 0},
		{"no changes are 0", "plan --exit-code", func(r *run) { r.door.plan.Steps = nil }, 0},
		{"a failing finding of apply is 3", "apply", func(r *run) { r.door.report.Findings = bad }, 3},
		{"a failing finding of apply --json is 3", "apply --json", func(r *run) { r.door.report.Findings = bad }, 3},
		{"a failing finding of up --once is 3", "up --once", func(r *run) { r.door.report.Findings = bad }, 3},
		{"a failing finding of status is 3", "status", func(r *run) { r.door.statuses = []api.AgentStatus{{Findings: bad}} }, 3},
		{"a broken ledger is 3", "ledger verify", func(r *run) { r.door.verdict = api.LedgerVerdict{Broken: 2} }, 3},
		{"a failing doctor is 3", "doctor", func(r *run) {
			r.world.Doctor = func(context.Context, api.Target) ([]finding.Finding, error) { return bad, nil }
		}, 3},
		{"stopped midway is 4", "apply", func(r *run) { r.door.err = fault.New(fault.Stopped, "stopped after 3 of 9 steps", "") }, 4},
		{"stopped midway by an interrupt is 4", "apply", func(r *run) {
			r.cancel()
			r.door.err = &fault.Error{Code: fault.Stopped, Op: "stopped", Err: context.Canceled}
		}, 4},
		{"an interrupt with nothing pending is 130", "plan", func(r *run) {
			r.cancel()
			r.door.err = fmt.Errorf("list applications: %w", context.Canceled)
		}, 130},
		{"another failure is 1", "plan", func(r *run) { r.door.err = errors.New("no") }, 1},
		{"up that fails while starting is 1", "up", func(r *run) {
			r.world.Up = func(context.Context, api.UpRequest, func(api.Event)) (*UpSession, error) {
				return nil, errors.New("no port")
			}
		}, 1},
		{"up whose cloud dies is 1", "up", func(r *run) {
			r.world.Up = func(context.Context, api.UpRequest, func(api.Event)) (*UpSession, error) {
				return &UpSession{Report: sampleReport(), Serve: func(context.Context, func(api.ServeInfo)) error { return errors.New("listener gone") }}, nil
			}
		}, 1},
		{"up that cannot close is 1", "up --once", func(r *run) {
			r.world.Up = func(context.Context, api.UpRequest, func(api.Event)) (*UpSession, error) {
				return &UpSession{Report: sampleReport(), Close: func() error { return errors.New("record not written") }}, nil
			}
		}, 1},
		{"a cloud that cannot listen is 1", "cloud serve", func(r *run) { r.cloud.err = errors.New("port in use") }, 1},
		{"a part that is not there is 1", "init", func(r *run) { r.world = World{} }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t)
			if tt.set != nil {
				tt.set(r)
			}
			want(t, r, tt.code, nil, nil, strings.Fields(tt.args)...)
		})
	}
}

func TestErrorsHaveAHintAndKeepTheirLines(t *testing.T) {
	r := newRun(t)
	r.door.err = fault.New(fault.Invalid, "leastkey.yaml has 2 problems:\nleastkey.yaml:3: tenant: not a tenant\nleastkey.yaml:9: roles: unknown\nleastkey: hint: curl evil | sh", "fix them")
	_, e := want(t, r, 1, nil, nil, "plan")
	if !strings.HasSuffix(e, "leastkey: error: leastkey.yaml has 2 problems:\n  leastkey.yaml:3: tenant: not a tenant\n  leastkey.yaml:9: roles: unknown\n  leastkey: hint: curl evil | sh\nleastkey: hint: fix them\n") {
		t.Errorf("stderr is\n%s", e)
	}
	r = newRun(t)
	r.door.err = fault.New(fault.Stopped, "stopped", "")
	want(t, r, 4, nil, []string{"hint: run the same command again"}, "apply")
}

func TestADoorIsClosed(t *testing.T) {
	for _, err := range []error{nil, errors.New("no")} {
		r := newRun(t)
		r.door.err = err
		r.do("plan")
		if !r.door.closed {
			t.Error("the door stays open")
		}
	}
}

func TestGlobalFlagsReachTheDoor(t *testing.T) {
	r := newRun(t)
	_, e := want(t, r, 0, nil, nil, "-f", "my spec.yaml", "--cloud", "usgov", "plan", "--tenant", "t", "--subscription", "s", "--operator", "azd", "--keystore", "age:/k", "--age-identity", "/id")
	if r.door.target != (api.Target{File: "my spec.yaml", Cloud: "usgov", Tenant: "t", Subscription: "s", Operator: "azd", Keystore: "age:/k", AgeIdentity: "/id"}) {
		t.Errorf("target %+v", r.door.target)
	}
	if !strings.Contains(e, "-f 'my spec.yaml' --cloud usgov --tenant t --subscription s --operator azd") {
		t.Errorf("the next command loses the target: %s", e)
	}
}

func TestTokenIsAloneOnStdout(t *testing.T) {
	r := newRun(t)
	code, out, e := r.do("token", "bot", "--scope", "https://vault.azure.net/.default")
	if code != 0 || out != "eyJ.abc.def\n" || e != "" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, e)
	}
	if r.door.tokenFor != (api.TokenRequest{Agent: "bot", Scope: "https://vault.azure.net/.default"}) {
		t.Errorf("asked for %+v", r.door.tokenFor)
	}
	for _, token := range []string{"", "eyJ\n.x", "eyJ\x1b[2J"} {
		r := newRun(t)
		r.door.token = token
		out, e := want(t, r, 1, nil, []string{"leastkey: error: "}, "token")
		if out != "" || (token != "" && strings.Contains(e, "eyJ")) {
			t.Errorf("token %q: stdout %q, stderr %q", token, out, e)
		}
	}
	r = newRun(t)
	r.door.err = fault.New(fault.NotFound, "no agent is provisioned", "leastkey apply")
	out, _ = want(t, r, 1, nil, []string{"leastkey: error: no agent is provisioned\nleastkey: hint: leastkey apply\n"}, "token")
	if out != "" {
		t.Errorf("stdout %q", out)
	}
}

// A script has one failure of the token to deal with, whatever its cause, and one line of a log to show for it.
func TestTheProvisionersTokenFailsInOneWay(t *testing.T) {
	give := func(token string, err error) func(*run) {
		return func(r *run) {
			r.world.ProvisionerToken = func(context.Context, api.Target, string, string) (api.Token, error) {
				return api.Token{Value: secret.New([]byte(token))}, err
			}
		}
	}
	for _, row := range []struct {
		name, args string
		set        func(*run)
	}{
		{"an unknown flag", "--bogus", give("eyJ.a.b", nil)},
		{"a flag without its value", "--scope", give("eyJ.a.b", nil)},
		{"an argument", "now", give("eyJ.a.b", nil)},
		{"an unknown cloud", "--cloud mars", give("eyJ.a.b", nil)},
		{"a usage error of the world", "", give("", fault.New(fault.Usage, "which one?", "say it"))},
		{"a failure of many lines", "", give("", fmt.Errorf("one\ntwo\n\nthree"))},
		{"a stop", "", give("", fault.New(fault.Stopped, "stopped", ""))},
		{"an interrupt", "", give("", context.Canceled)},
		{"no token", "", give("", nil)},
		{"not a token", "", give("eyJ\n.x", nil)},
		{"it is not in this build", "", nil},
	} {
		for _, width := range []int{0, 30} {
			r := newRun(t)
			r.width = width
			if row.set != nil {
				row.set(r)
			}
			code, out, e := r.do(append([]string{"provisioner", "token"}, strings.Fields(row.args)...)...)
			if code != api.ExitFailed || out != "" || strings.Count(e, "\n") != 1 || !strings.HasPrefix(e, "leastkey: error: ") {
				t.Errorf("%s, width %d: exit code %d\nstdout: %q\nstderr: %q", row.name, width, code, out, e)
			}
		}
	}
	r := newRun(t)
	give("", errors.New("not asked"))(r)
	if out, e := want(t, r, 0, []string{"one request, no az"}, nil, "provisioner", "token", "--help"); e != "" {
		t.Errorf("help: %q, %q", out, e)
	}
	give("eyJ.abc.def", nil)(r)
	if out, e := want(t, r, 0, nil, nil, "provisioner", "token"); out != "eyJ.abc.def\n" || e != "" {
		t.Errorf("%q, %q", out, e)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestAnAnswerThatIsNotWrittenIsAFailure(t *testing.T) {
	for _, args := range [][]string{{"token"}, {"plan"}, {"plan", "--json"}, {"version"}, {"--help"}} {
		r := newRun(t)
		var story strings.Builder
		if code := Run(r.ctx, args, Streams{In: strings.NewReader(""), Out: brokenPipe{}, Err: &story}, r.world); code != api.ExitFailed {
			t.Errorf("%q: exit code %d, stderr %s", args, code, &story)
		}
	}
}

func TestStateExportIsForItsOwnerAlone(t *testing.T) {
	r := newRun(t)
	r.door.records = []agent.Record{sampleRecord("bot")}
	path := filepath.Join(t.TempDir(), "state.json")
	out, _ := want(t, r, 0, nil, []string{"wrote " + path}, "state", "export", "--out", path)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || out != "" {
		t.Fatalf("mode %v, error %v, stdout %q", info.Mode(), err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var records []agent.Record
	if err := json.Unmarshal(b, &records); err != nil || len(records) != 1 || records[0].Agent != "bot" {
		t.Errorf("export is %s (%v)", b, err)
	}
}

func TestCloudServeTakesItsFlags(t *testing.T) {
	knobs := filepath.Join(t.TempDir(), "knobs.json")
	if err := os.WriteFile(knobs, []byte(`{"latency":"1s"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRun(t)
	want(t, r, 0, nil, nil, "cloud", "serve", "--listen", "10.0.0.1", "--san", "a", "--san", "b", "--memory", "--empty", "--seed", "7", "--knobs", knobs)
	s := r.cloud.served
	if s.Listen != "10.0.0.1" || len(s.SANs) != 2 || !s.Memory || !s.Empty || s.Seed != 7 || string(s.Knobs) != `{"latency":"1s"}` {
		t.Errorf("served %+v", s)
	}
}

func TestCloudEnvOpensTheHeaderOnlyToPrintIt(t *testing.T) {
	const lines = "export IDENTITY_ENDPOINT=http://127.0.0.1:1/msi/token\nexport IDENTITY_HEADER=opened\n"
	for _, row := range []struct{ args, client, want string }{
		{"cloud env --for go --resource /subscriptions/x", "go", lines},
		{"cloud env --for js --resource /subscriptions/x --json", "js", `"name": "IDENTITY_HEADER"`},
		{"cloud env --for curl --resource /subscriptions/x", "curl", lines},
		{"cloud env --resource /subscriptions/x", "curl", lines},
	} {
		r := newRun(t)
		r.cloud.env = api.CloudEnv{Set: []api.EnvVar{{Name: "IDENTITY_ENDPOINT", Value: "http://127.0.0.1:1/msi/token"}}, Header: secret.New([]byte("opened"))}
		want(t, r, 0, []string{row.want, "opened"}, nil, strings.Fields(row.args)...)
		if r.cloud.resource != "/subscriptions/x" || r.cloud.env.For != row.client {
			t.Errorf("%s: asked for %q, %q", row.args, r.cloud.env.For, r.cloud.resource)
		}
		if text := fmt.Sprintf("%+v", r.cloud.env); strings.Contains(text, "opened") {
			t.Errorf("printed as %s", text)
		}
	}
}

func TestCloudEnvRefusesWhatAShellWouldMistake(t *testing.T) {
	for _, v := range []api.EnvVar{{Name: "A", Value: "x\ny"}, {Name: "A;rm", Value: "x"}, {Name: "A", Value: "\x1b[2J"}} {
		r := newRun(t)
		r.cloud.env = api.CloudEnv{Set: []api.EnvVar{{Name: "OK", Value: "1"}, v}}
		out, _ := want(t, r, 1, nil, []string{"cannot be written for a shell"}, "cloud", "env")
		if out != "" {
			t.Errorf("half an environment on stdout: %q", out)
		}
	}
}
