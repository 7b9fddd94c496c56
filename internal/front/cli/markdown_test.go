package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

func TestTheSummaryTellsNoFolders(t *testing.T) {
	ans := api.VerifyAnswer{ApplicationID: "app", TenantID: "tenant", Cloud: "public", StateFile: "/home/me/repo/.entraclaw-state.json", At: time.Unix(0, 0), LedgerHead: "abcdef",
		Key: secret.Ref{Backend: "age", Store: "/home/me/keys", Name: "tenant"},
		Findings: []finding.Finding{
			{ID: "a", Question: "is it | clean?", Outcome: finding.Pass, Detail: "/home/me/repo/deploy/x.sh:3 and /opt/tools/helper, as <b>\nsaid"},
			{ID: "b", Question: "does it answer?", Outcome: finding.Pass, Detail: "https://graph.example.org/v1.0/me"},
		},
		Migrated: &api.Migrated{Passwords: 2, Purged: []string{"/home/me/repo/.env"}},
	}
	got := markdown(ans)
	for _, want := range []string{"and with nothing else", "| pass | is it \\| clean? (`a`) | deploy/x.sh:3 and …/helper, as &lt;b> said |", "https://graph.example.org/v1.0/me", "removed: **2**", "from `.env`",
		"`age:…/keys#tenant`", "`abcdef`", "az ad app show --id app"} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if strings.Contains(got, "/home/me") || strings.Contains(got, "/opt") {
		t.Errorf("a folder of this machine is in it")
	}

	// What is not complete is not told as if it were.
	ans.Findings[1].Outcome = finding.Unknown
	ans.Migrated.Places = []provisioner.Place{{Path: "/etc/secret"}}
	got = markdown(ans)
	for _, want := range []string{"is not complete", "**UNKNOWN**", "**The secret is still in `…/secret`.**"} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if strings.Contains(got, "and with nothing else") || t.Failed() {
		t.Error(got)
	}
}
