package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// TestApproval is the table of who has to consent to what.
func TestApproval(t *testing.T) {
	digest := samplePlan(agent.Public, agent.Apply).Digest()
	for _, tt := range []struct {
		name     string
		args     string
		cloud    agent.Cloud
		destroys bool
		terminal bool
		stdin    string
		code     int
		story    string
	}{
		{name: "the local cloud needs no consent", args: "apply", cloud: agent.Local},
		{name: "destroying on the local cloud needs consent", args: "apply", cloud: agent.Local, destroys: true, code: 2, story: "repeat with --digest"},
		{name: "destroying on the local cloud asks", args: "apply", cloud: agent.Local, destroys: true, terminal: true, stdin: "y\n", story: "cannot be undone"},
		{name: "a real cloud needs consent", args: "apply", cloud: agent.Public, code: 2, story: "apply on the public cloud needs approval"},
		{name: "a real cloud shows who acts and asks", args: "apply", cloud: agent.Public, terminal: true, stdin: "yes\n", story: "admin@contoso.onmicrosoft.com, object " + clientID + " (az)"},
		{name: "no is no", args: "apply", cloud: agent.Public, terminal: true, stdin: "n\n", code: 1, story: "not approved; nothing was changed"},
		{name: "an empty line is no", args: "apply", cloud: agent.Public, terminal: true, stdin: "\n", code: 1, story: "not approved"},
		{name: "the end of input is no", args: "apply", cloud: agent.Public, terminal: true, code: 1, story: "not approved"},
		{name: "--yes on a real cloud still shows the plan", args: "apply --yes", cloud: agent.Public, story: "2 to create"},
		{name: "the right digest consents", args: "apply --digest " + digest[:12], cloud: agent.Public},
		{name: "the whole digest consents, in capitals too", args: "apply --digest " + strings.ToUpper(digest), cloud: agent.Public},
		{name: "another digest stops, even with --yes", args: "apply --yes --digest 000000000000", cloud: agent.Public, code: 1, story: "not 000000000000 as approved"},
		{name: "another digest stops on the local cloud too", args: "apply --digest 000000000000", cloud: agent.Local, code: 1, story: "nothing was changed"},
		{name: "revoke wants the agent's name", args: "revoke bot", cloud: agent.Local, terminal: true, stdin: "bot\n", story: "Type the agent's name"},
		{name: "revoke takes no yes for a name", args: "revoke bot", cloud: agent.Local, terminal: true, stdin: "y\n", code: 1, story: "not approved"},
		{name: "revoke --yes needs no terminal", args: "revoke bot --yes", cloud: agent.Public},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun(t)
			r.terminal, r.stdin = tt.terminal, tt.stdin
			verb, _, _ := strings.Cut(tt.args, " ")
			r.door.plan = samplePlan(tt.cloud, agent.Verb(verb))
			if tt.destroys {
				r.door.plan.Steps[0].Destroys = true
			}
			want(t, r, tt.code, nil, []string{tt.story}, strings.Fields(tt.args)...)
		})
	}
}

func TestAdoptAsks(t *testing.T) {
	for stdin, code := range map[string]int{"y\n": 0, "n\n": 1, "": 1} {
		r := newRun(t)
		r.terminal, r.stdin = true, stdin
		want(t, r, code, nil, []string{"Application bot", "Adopt this application? [y/N]"}, "adopt", "--app-id", clientID, "bot")
		if r.door.adopted.Agent != "bot" || r.door.adopted.AppID != clientID {
			t.Errorf("adopted %+v", r.door.adopted)
		}
	}
}

func TestRevokeAllStopsAtTheFirstThatIsDeclined(t *testing.T) {
	r := newRun(t)
	r.terminal, r.stdin = true, "bot\nno\n"
	r.door.plan = samplePlan(agent.Local, agent.Revoke)
	r.door.records = []agent.Record{sampleRecord("bot"), sampleRecord("other"), sampleRecord("third")}
	want(t, r, 1, nil, []string{"revoke other (1 agent of 3 before it are revoked): not approved"}, "revoke", "--all", "--purge", "--all-assignments")
	if len(r.door.revoked) != 2 || !r.door.revoked[0].Purge || !r.door.revoked[0].AllAssigned || r.door.revoked[1].Agent != "other" {
		t.Errorf("revoked %+v", r.door.revoked)
	}
}

func TestAPlanFileKeepsItsDigest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan.json")
	r := newRun(t)
	r.door.plan = samplePlan(agent.Public, agent.Apply)
	r.door.plan.Agent = "bot\u202e\u009b" // what a terminal would act on must survive the file as it is
	digest := r.door.plan.Digest()
	want(t, r, 0, nil, []string{"next: leastkey apply " + path}, "plan", "--out", path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parsePlan(b)
	if err != nil || p.Digest() != digest {
		t.Fatalf("the file gives digest %v, want %s (%v)", p, digest, err)
	}
	if text := strings.ReplaceAll(string(b), "\n", ""); clean(text) != text {
		t.Error("the file holds characters that a terminal acts on")
	}
	want(t, r, 0, nil, nil, "apply", path)
	got := r.door.applied[0]
	if got.Plan == nil || got.Plan.Digest() != digest || got.Agent != p.Agent {
		t.Errorf("applied %+v", got)
	}
	if r.door.target.Cloud != agent.Public || r.door.target.Tenant != tenantID || r.door.target.Subscription != subID {
		t.Errorf("the plan does not aim: %+v", r.door.target)
	}
	want(t, newRun(t), 2, nil, []string{"not 000000000000"}, "apply", path, "--digest", "000000000000")
}

func TestAPlanFileOfARevocationStillWantsTheName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan.json")
	r := newRun(t)
	r.door.plan = samplePlan(agent.Public, agent.Revoke)
	want(t, r, 0, []string{"- destroy", "cannot be undone"}, nil, "plan", "--revoke", "--purge", "--out", path)
	if r.door.planned.Verb != agent.Revoke || !r.door.planned.Purge {
		t.Errorf("planned %+v", r.door.planned)
	}
	want(t, r, 2, nil, []string{"needs approval"}, "apply", path)
	r.terminal, r.stdin = true, "bot\n"
	want(t, r, 0, nil, nil, "apply", path)
	if len(r.door.revoked) != 2 || len(r.door.applied) != 0 {
		t.Errorf("applied %d, revoked %d", len(r.door.applied), len(r.door.revoked))
	}
}

func TestPlanFilesThatAreNot(t *testing.T) {
	dir := t.TempDir()
	for content, why := range map[string]string{
		"":                           "cut off",
		"{":                          "cut off",
		"nope":                       "not JSON at byte",
		`{"version":1,"secret":"x"}`: "a field that this version does not know",
		`{"version":2}`:              "its version is 2",
		`{"version":1}`:              "lacks agent, tenant, cloud or spec",
		`{"version":"eyJ0b2tlbg"}`:   "field version is not a int",
		`{"version":1,"verb":"x","agent":"a","tenant":"t","cloud":"local","spec":{}}`:        "neither apply nor revoke",
		`{"version":1,"verb":"apply","agent":"a","tenant":"t","cloud":"local","spec":{}} {}`: "something follows",
	} {
		path := filepath.Join(dir, "p.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, e := want(t, newRun(t), 1, nil, []string{"is not a plan of leastkey: ", why, "plan --out"}, "apply", path)
		if strings.Contains(e, "eyJ0b2tlbg") {
			t.Error("the error echoes the file")
		}
	}
	want(t, newRun(t), 1, nil, []string{"cannot read plan"}, "apply", filepath.Join(dir, "gone.json"))
}

func TestOnlyWritesTheOtherHalf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rest.json")
	r := newRun(t)
	_, rest := r.door.plan.Only(agent.Graph)
	r.door.report.Rest = &rest
	want(t, r, 0, []string{"this half is done, 1 step is left"}, []string{"leastkey apply " + path}, "apply", "--only", "graph", "--out", path)
	if r.door.applied[0].Only != agent.Graph {
		t.Errorf("applied %+v", r.door.applied[0])
	}
	p, err := readPlan(path)
	if err != nil || p.Digest() != rest.Digest() {
		t.Errorf("rest is %+v (%v)", p, err)
	}
	want(t, newRun(t), 1, nil, []string{"cannot write /nonexistent-folder/rest.json"}, "apply", "--only", "arm", "--out", "/nonexistent-folder/rest.json")
}

func TestADraftThatIsNotCommittedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "plan.json")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRun(t)
	r.door.err = os.ErrDeadlineExceeded
	want(t, r, 1, nil, nil, "plan", "--out", path)
	b, err := os.ReadFile(path)
	entries, _ := os.ReadDir(dir)
	if err != nil || string(b) != "old" || len(entries) != 1 {
		t.Errorf("file %q, %d entries (%v)", b, len(entries), err)
	}
}

func TestPlanFlagsReachTheDoor(t *testing.T) {
	r := newRun(t)
	r.door.plan.Cloud = agent.Public
	_, e := want(t, r, 0, nil, nil, "plan", "bot", "--create-beside", "--remove-foreign", "ab", "--remove-foreign", "cd")
	if !r.door.planned.CreateBeside || len(r.door.planned.RemoveForeign) != 2 {
		t.Errorf("planned %+v", r.door.planned)
	}
	if !strings.Contains(e, "--digest "+api.ShortDigest(r.door.plan.Digest())+" --create-beside --remove-foreign ab --remove-foreign cd") {
		t.Errorf("the next command is another plan: %s", e)
	}
}

func TestAPassphraseIsNotReadFromAPipe(t *testing.T) {
	s := Streams{In: strings.NewReader("hunter2\n"), Out: &strings.Builder{}, Err: &strings.Builder{}, Terminal: true}
	if v, err := s.Secret(t.Context(), "Passphrase"); err == nil || v.Equal(secret.New([]byte("hunter2"))) {
		t.Error("a passphrase came through a pipe")
	}
}

func FuzzParsePlan(f *testing.F) {
	f.Add([]byte(`{"version":1,"verb":"apply","cloud":"local","tenant":"t","subscription":"s","agent":"a","spec":{"agents":{"a":{}}},"steps":[{"id":"x","action":"login","plane":"login","title":"t"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePlan(b)
		if err != nil {
			return
		}
		dir := t.TempDir()
		d, err := beginFile(filepath.Join(dir, "p.json"), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := writePlan(d, *p); err != nil {
			t.Fatal(err)
		}
		again, err := readPlan(filepath.Join(dir, "p.json"))
		if err != nil || again.Digest() != p.Digest() {
			t.Fatalf("a plan does not survive its file: %v", err)
		}
	})
}

func TestAnInterruptedQuestionChangesNothing(t *testing.T) {
	r := newRun(t)
	r.door.plan.Cloud = agent.Public
	in, typed := io.Pipe() // nobody types
	defer typed.Close()
	asked := &untilQuestion{seen: r.cancel}
	code := Run(r.ctx, []string{"apply"}, Streams{In: in, Out: io.Discard, Err: asked, Terminal: true}, r.world)
	if code != api.ExitInterrupted || !strings.HasSuffix(asked.String(), "leastkey: error: interrupted\n") {
		t.Errorf("exit code %d, stderr %s", code, asked)
	}
}

// untilQuestion calls seen when a question has been put.
type untilQuestion struct {
	strings.Builder
	seen func()
}

func (u *untilQuestion) Write(b []byte) (int, error) {
	defer func() {
		if strings.Contains(string(b), "[y/N]") {
			u.seen()
		}
	}()
	return u.Builder.Write(b)
}

// WriteString goes the same way; a Builder's own would be taken by io.WriteString.
func (u *untilQuestion) WriteString(s string) (int, error) { return u.Write([]byte(s)) }
