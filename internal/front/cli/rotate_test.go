package cli

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// rotation is a run whose door rotates.
func rotation(t *testing.T) *run {
	r := newRun(t)
	r.door.plan = agent.Plan{Version: 1, Verb: agent.Rotate, Cloud: agent.Public, Tenant: tenantID, Agent: "bot", Spec: &agent.Spec{}, Steps: []agent.Step{
		{ID: "key", Action: agent.MintKey, Plane: agent.Here, Title: "make its key"},
		{ID: "certificate", Action: agent.RegisterCertificate, Plane: agent.Identity, Title: "register its certificate"},
		{ID: "remove", Action: agent.RemoveCertificate, Plane: agent.Identity, Title: "remove the old one", Destroys: true},
		{ID: "dead", Action: agent.ProveDead, Plane: agent.Identity, Title: "prove that it opens nothing"}}}
	r.door.report.Rotated = true
	return r
}

func TestRotateAsksForWhatTheFlagsSay(t *testing.T) {
	hour, none := time.Hour, time.Duration(0)
	for args, want := range map[string]*time.Duration{"rotate bot --yes": nil, "rotate bot --yes --overlap 1h": &hour, "rotate bot --yes --overlap 0s": &none} {
		r := rotation(t)
		code, _, story := r.do(strings.Fields(args)...)
		if code != api.ExitDone || len(r.door.rotated) != 1 {
			t.Fatalf("%s: exit code %d, %s", args, code, story)
		}
		got := r.door.rotated[0]
		if got.Agent != "bot" || (got.Overlap == nil) != (want == nil) || (want != nil && *got.Overlap != *want) || got.Issued != nil {
			t.Errorf("%s: asked for %+v", args, got)
		}
	}
}

func TestRotateNeedsApprovalAndTellsWhatItDid(t *testing.T) {
	r := rotation(t)
	want(t, r, api.ExitUsage, nil, []string{"remove the old one", "rotate on the public cloud needs approval"}, "rotate", "bot")
	r = rotation(t)
	r.terminal, r.stdin = true, "y\n"
	r.door.report.OldUntil = at(20)
	want(t, r, api.ExitDone, []string{"bot logs in with a new key", "rotated out, stays registered until"}, []string{"Carry this plan out?", "next: leastkey status bot"}, "rotate", "bot")
	r = rotation(t)
	want(t, r, api.ExitDone, []string{`"rotated": true`}, nil, "rotate", "bot", "--json", "--digest", r.door.plan.Digest())
}

// That nobody may read is how a rotation without an operator is; everything else that is unknown is not a success.
func TestRotateWithoutAReaderIsDone(t *testing.T) {
	for id, code := range map[string]int{agent.NoReader: api.ExitDone, "something-else": api.ExitFindings} {
		r := rotation(t)
		r.door.report.Findings = []finding.Finding{{ID: id, Question: "are the credentials as planned?", Outcome: finding.Unknown, Detail: "nobody may read"}}
		want(t, r, code, []string{"nobody may read"}, nil, "rotate", "bot", "--yes")
	}
}

func TestRotateAll(t *testing.T) {
	r := rotation(t)
	r.door.records = []agent.Record{sampleRecord("a"), sampleRecord("b")}
	want(t, r, api.ExitDone, []string{"logs in with a new key"}, nil, "rotate", "--all", "--yes")
	if len(r.door.rotated) != 2 || r.door.rotated[0].Agent != "a" || r.door.rotated[1].Agent != "b" {
		t.Errorf("asked for %+v", r.door.rotated)
	}
	want(t, rotation(t), api.ExitDone, []string{"no agent is recorded"}, nil, "rotate", "--all", "--yes")
}

func TestRotateTakesOneCertificate(t *testing.T) {
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("der")})
	for name, c := range map[string]struct {
		file []byte
		code int
	}{
		"one":           {block, api.ExitDone},
		"two":           {append(append([]byte{}, block...), block...), api.ExitUsage},
		"a private key": {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("der")}), api.ExitUsage},
		"text":          {[]byte("hello"), api.ExitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c.pem")
			if err := os.WriteFile(path, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			r := rotation(t)
			code, _, story := r.do("rotate", "bot", "--yes", "--certificate", path)
			if code != c.code || (code == api.ExitDone) != (len(r.door.rotated) == 1 && string(r.door.rotated[0].Issued) == "der") {
				t.Errorf("exit code %d, asked %+v: %s", code, r.door.rotated, story)
			}
		})
	}
}
