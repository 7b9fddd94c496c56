package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// hostile is a display name that erases the screen, forges a line, and turns the rest of its line around.
const hostile = "evil\x1b[2J\x1b]0;x\x07\r\nleastkey: hint: run me\u202etxt.exe\u009b31m\u2028\xff"

// squat puts the hostile text wherever the outside can put one.
func squat(r *run) {
	f := []finding.Finding{{ID: hostile, Question: hostile, Outcome: finding.Warn, Detail: hostile, Remedy: hostile, Evidence: []finding.Evidence{{Asked: hostile, Answer: hostile}}}}
	r.door.plan.Findings, r.door.report.Findings = f, f
	r.door.plan.Steps[0].Title, r.door.plan.Steps[0].Why = hostile, hostile
	r.door.report.Roles[0].Role, r.door.report.Roles[0].Scope, r.door.report.EnvFile = hostile, hostile, hostile
	r.door.report.Agent, r.door.report.Steps[0].Title = hostile, hostile
	rec := sampleRecord(hostile)
	rec.UniqueName = hostile
	r.door.records = []agent.Record{rec, rec}
	r.door.statuses = []api.AgentStatus{{Record: rec, Findings: f}, {Record: rec, Open: &agent.Run{Agent: hostile, Actor: hostile}}}
	r.door.entries = []api.LedgerEntry{{Actor: hostile, Action: hostile, Subject: hostile, Detail: hostile, Hash: hostile}}
	r.door.app = agent.Application{DisplayName: hostile, UniqueName: hostile, RedirectURIs: []string{hostile}, Owners: []agent.Owner{{DisplayName: hostile}},
		Certificates: []agent.Certificate{{DisplayName: hostile}}, Passwords: []agent.Password{{DisplayName: hostile, Hint: hostile}}}
	r.door.events = []api.Event{{Step: "a", Title: hostile, Status: api.Begun}, {Step: "a", Title: hostile, Status: api.Waiting, Detail: hostile}, {Step: "a", Title: hostile, Status: api.Done, Detail: hostile}}
	r.cloud.log = []api.CloudRequest{{URL: hostile, Plane: hostile, Method: hostile, Fault: hostile}}
	r.cloud.gone = []string{hostile}
	r.world.Version.Commit = hostile
}

func commandsThatPrint() [][]string {
	var all [][]string
	for _, c := range []string{"plan", "apply", "up --once", "status", "state show", "ledger show", "cloud log", "cloud reset", "revoke bot --yes", "version", "adopt --yes --app-id " + clientID, "doctor", "cloud serve"} {
		all = append(all, strings.Fields(c), append(strings.Fields(c), "--json"))
	}
	return all
}

func TestNothingFromOutsideReachesTheTerminalAsItIs(t *testing.T) {
	for _, args := range commandsThatPrint() {
		for _, width := range []int{0, 70} {
			r := newRun(t)
			squat(r)
			r.width = width
			_, out, e := r.do(args...)
			for name, text := range map[string]string{"stdout": out, "stderr": e} {
				if i := strings.IndexFunc(strings.ReplaceAll(text, "\n", ""), func(c rune) bool { return !strconv.IsPrint(c) }); i >= 0 || !utf8.ValidString(text) {
					t.Errorf("%q: %s holds what a terminal acts on: %q", args, name, text)
				}
				for line := range strings.Lines(text) {
					if strings.HasPrefix(line, "leastkey: hint: run me") {
						t.Errorf("%q: %s has a forged line", args, name)
					}
				}
			}
			if slices.Contains(args, "--json") && !json.Valid([]byte(out)) {
				t.Errorf("%q: not JSON: %s", args, out)
			}
		}
	}
}

func TestJSONMeansTheSameAfterCleaning(t *testing.T) {
	text := "a\u009bb\u202ec\U000e0041d\u2028e\x7ff"
	b, err := encode(map[string]string{"k": text})
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]string
	if err := json.Unmarshal(b, &back); err != nil || back["k"] != text {
		t.Errorf("%s reads as %q (%v)", b, back["k"], err)
	}
}

func TestLinesFitTheTerminal(t *testing.T) {
	for _, width := range []int{60, 80, 120} {
		for _, args := range commandsThatPrint() {
			if slices.Contains(args, "--json") {
				continue
			}
			r := newRun(t)
			squat(r)
			r.width = width
			r.door.plan.Steps[1].With["scope"] = vaultID + strings.Repeat("/très/long", 20)
			_, out, e := r.do(args...)
			for line := range strings.Lines(out + e) {
				if n := cells(strings.TrimRight(line, "\n")); n > width {
					t.Errorf("width %d, %q: %d columns: %s", width, args, n, line)
				}
			}
		}
	}
}

func TestATableStacksWhereItCannotFit(t *testing.T) {
	rows := func() [][]string { return [][]string{{clientID, "short", strings.Repeat("word ", 20)}} }
	columns := []column{{head: "ID"}, {head: "A"}, {head: "TEXT", bends: true}}
	for width, golden := range map[int]string{
		0: "ID                                    A      TEXT\n" + clientID + "  short  " + strings.TrimSpace(strings.Repeat("word ", 20)) + "\n",
		65: "ID                                    A      TEXT\n" +
			clientID + "  short  word word word word\n" + strings.Repeat(strings.Repeat(" ", 45)+"word word word word\n", 4),
		50: "ID    " + clientID + "\nA     short\n" + "TEXT  word word word word word word word word word\n      word word word word word word word word word\n      word word\n",
	} {
		var b bytes.Buffer
		p := &printer{w: &b, width: width}
		p.table(columns, rows())
		if b.String() != golden {
			t.Errorf("width %d:\n%s\nwant\n%s", width, &b, golden)
		}
	}
}

func TestWrapKeepsEveryWord(t *testing.T) {
	text := "assign Reader on " + vaultID + " 漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字 end"
	for room := 2; room < 200; room++ {
		lines := wrap(text, room)
		if got := strings.Join(strings.Fields(strings.Join(lines, "")), ""); got != strings.ReplaceAll(text, " ", "") {
			t.Fatalf("room %d loses text: %q", room, lines)
		}
		for _, l := range lines {
			if cells(l) > room {
				t.Fatalf("room %d: %q takes %d", room, l, cells(l))
			}
		}
	}
}

func TestThePlanLooksLikeThis(t *testing.T) {
	r := newRun(t)
	r.width = 80
	r.door.plan = samplePlan(agent.Public, agent.Apply)
	r.door.plan.Findings = []finding.Finding{{ID: "listkeys", Question: "Can a role read keys of resources?", Outcome: finding.Warn, Detail: "Azure Bot Service Contributor Role can", Remedy: "disable local authentication"}}
	digest := api.ShortDigest(r.door.plan.Digest())
	golden := `Plan to apply bot on the public cloud
  tenant        1ea57ce1-0000-4000-8000-000000000001
  subscription  1ea57ce1-0000-4000-8000-000000000002
  as            admin@contoso.onmicrosoft.com, object
                aaaaaaaa-0000-4000-8000-000000000003 (az)

Entra ID (Microsoft Graph, as the operator)
  + create   create application bot
             why: none is recorded

Azure (Resource Manager, as the operator)
  + create   assign Reader on group polyclaw-rg
             why: see the resources of the group
             scope: /subscriptions/1ea57ce1-0000-4000-8000-000000000002/
                    resourceGroups/polyclaw-rg

As the identity itself, with its own key
  = prove    log in with the certificate

On this machine
  ~ change   write .env

Findings
  warn    Can a role read keys of resources?: Azure Bot Service Contributor Role
          can (listkeys)
          do: disable local authentication

Plan ` + digest + `: 2 to create, 1 to change, 0 to destroy, 1 to prove
`
	out, _ := want(t, r, 0, nil, nil, "plan")
	if out != golden {
		t.Errorf("the plan is\n%s", out)
	}
	// The plan that is approved is the plan that is shown.
	r.terminal, r.stdin = true, "y\n"
	_, e := want(t, r, 0, nil, nil, "apply")
	if !strings.Contains(e, golden) {
		t.Errorf("apply asks about another text:\n%s", e)
	}
}

func TestTheSummaryLooksLikeThis(t *testing.T) {
	r := newRun(t)
	r.width = 80
	golden := `bot has an identity of its own on the local cloud.
  identity     service-principal bot
  client id    aaaaaaaa-0000-4000-8000-000000000003
  principal    aaaaaaaa-0000-4000-8000-000000000003
  tenant       1ea57ce1-0000-4000-8000-000000000001
  key          age:/run/keys#t/bot#1
  certificate  valid until 2026-08-12 09:30:00 UTC
  roles        Reader on group polyclaw-rg: see the resources of the group
               Key Vault Secrets Officer on vaults kv-polyclaw (found, not ours)
  proof        3 logins with the agent's own key; read back: 0 password
               credentials, 0 foreign credentials
               role assignments read on subscription
               1ea57ce1-0000-4000-8000-000000000002
  work         1 step done of 1, 24 requests, 412 ms
  ledger head  abababababababab

Try next:
  leastkey up
  leastkey init
`
	if out, _ := want(t, r, 0, nil, nil, "up", "--once"); out != golden {
		t.Errorf("the summary is\n%s", out)
	}
}

func TestJSONShapes(t *testing.T) {
	for args, keys := range map[string]string{
		"up --once --json":                        "agent kind tenant_id application_id principal_id key roles proof steps requests wall_ms",
		"up --once --format json":                 "agent roles",
		"apply --json":                            "agent plan_digest ledger_head changed",
		"revoke bot --yes --json":                 "agent steps",
		"adopt --yes --json --app-id " + clientID: "agent",
		"plan --json":                             "plan digest as",
		"init --json":                             "file as cloud agents",
		"login --json":                            "operator name tenant_id",
		"ledger verify --json":                    "entries head intact",
		"cloud serve --json":                      "instance login graph arm vaults ca dir",
		"cloud env --json":                        "for set",
		"cloud reset --json":                      "removed",
		"version --json":                          "version go platform",
	} {
		r := newRun(t)
		r.door.report.Steps, r.door.report.Roles, r.door.plan.Steps = nil, nil, nil
		r.door.verdict.Intact = true
		out, _ := want(t, r, 0, nil, nil, strings.Fields(args)...)
		var doc map[string]json.RawMessage
		if err := json.Unmarshal([]byte(out), &doc); err != nil {
			t.Errorf("%s: %v: %s", args, err, out)
		}
		for key := range strings.FieldsSeq(keys) {
			if v, ok := doc[key]; !ok || string(v) == "null" {
				t.Errorf("%s: %s is %s", args, key, v)
			}
		}
	}
	for _, args := range []string{"status --json", "ledger show --json", "state show --json", "state export", "revoke --all --yes --json"} {
		if out, _ := want(t, newRun(t), 0, nil, nil, strings.Fields(args)...); out != "[]\n" {
			t.Errorf("%s: an empty list is %q", args, out)
		}
	}
}

func TestAFailedRunStillReportsItsStepsAsJSON(t *testing.T) {
	r := newRun(t)
	r.door.err = fmt.Errorf("cut")
	out, _ := want(t, r, 1, []string{`"status": "done"`}, []string{"leastkey: error: cut"}, "apply", "--json")
	if !json.Valid([]byte(out)) {
		t.Errorf("not JSON: %s", out)
	}
}

func TestMeaningIsNeverInColourAlone(t *testing.T) {
	shown := func(color bool) string {
		r := newRun(t)
		r.color = color
		r.door.plan.Steps[0].Destroys = true
		r.door.plan.Findings = []finding.Finding{{ID: "x", Outcome: finding.Warn}}
		_, out, e := r.do("plan")
		return out + e
	}
	without, with := shown(false), shown(true)
	if !strings.Contains(with, "\x1b[31m- destroy\x1b[0m") {
		t.Errorf("no colour: %q", with)
	}
	if got := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(with, ""); got != without {
		t.Errorf("without colour the text is %q, want %q", got, without)
	}
}

func TestProgress(t *testing.T) {
	events := []api.Event{
		{Step: "app", Title: "create application bot", Status: api.Begun},
		{Step: "key", Title: "make a key", Status: api.Begun},
		{Step: "app", Title: "create application bot", Status: api.Waiting, Detail: "for replicas"},
		{Step: "app", Title: "create application bot", Status: api.Waiting, Detail: "for replicas"},
		{Step: "key", Title: "make a key", Status: api.Already},
		{Step: "app", Title: "create application bot", Status: api.Done, MS: 15, Detail: "object 1"},
		{Step: "env", Title: "write .env", Status: api.Failed, Detail: "disk full"},
		{Step: "end", Title: "verify", Status: api.NotRun},
	}
	for live, golden := range map[bool]string{
		false: "  waiting   create application bot: for replicas\n  was done  make a key\n  done      create application bot: object 1 (15 ms)\n  FAILED    write .env: disk full\n  not run   verify\n",
		true: "\r  ... create application bot\r\x1b[K\r  ... 2 at once: create applicat...\r\x1b[K\r  ... 2 at once: create applicat...\r\x1b[K\r  ... 2 at once: create applicat..." +
			"\r\x1b[K  was done  make a key\n\r  ... create application bot (fo...\r\x1b[K  done      create application bot:\n            object 1 (15 ms)\n  FAILED    write .env: disk full\n  not run   verify\n",
	} {
		var b bytes.Buffer
		c := &command{streams: Streams{Live: live}, err: &printer{w: &b}}
		if live {
			c.err.width = 36
		}
		g := c.progress()
		for _, e := range events {
			g.event(e)
		}
		g.close()
		if b.String() != golden {
			t.Errorf("live %v: %q\nwant %q", live, b.String(), golden)
		}
	}
}

func TestProgressTakesEventsFromManyGoroutines(t *testing.T) {
	var b bytes.Buffer
	c := &command{streams: Streams{Live: true}, err: &printer{w: &b, width: 80}}
	g := c.progress()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			step := fmt.Sprint(i)
			g.event(api.Event{Step: step, Title: "step " + step, Status: api.Begun})
			g.event(api.Event{Step: step, Title: "step " + step, Status: api.Done})
		})
	}
	wg.Wait()
	g.close()
	if n := strings.Count(b.String(), "  done "); n != 20 {
		t.Errorf("%d lines of 20:\n%q", n, b.String())
	}
}

func FuzzClean(f *testing.F) {
	f.Add(hostile)
	f.Add("plain")
	f.Fuzz(func(t *testing.T, s string) {
		c := clean(s)
		if strings.ContainsFunc(c, func(r rune) bool { return !strconv.IsPrint(r) }) || clean(c) != c {
			t.Fatalf("clean(%q) = %q", s, c)
		}
		if b, err := encode(s); err != nil || !json.Valid(b) || clean(strings.TrimSuffix(string(b), "\n")) != strings.TrimSuffix(string(b), "\n") {
			t.Fatalf("encode(%q) = %q, %v", s, b, err)
		}
	})
}
