package app

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
)

// TestARefusedAttemptIsInTheLedger: whoever tries what their role does not let them is seen, through the API, polyclaw's endpoints and the pages, and
// cannot fill the ledger with it.
func TestARefusedAttemptIsInTheLedger(t *testing.T) {
	s := newServed(t)
	h, tokens := s.server(t)
	entries := func() (all []api.LedgerEntry) {
		t.Helper()
		l, err := s.enter(t.Context(), "test")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if all, err = l.Ledger(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := len(entries())
	tries := []struct{ path, subject, body string }{
		{"/api/v1/agents/polyclaw-runtime/revoke", "polyclaw-runtime", `{"confirm":"polyclaw-runtime"}`},
		{"/api/setup/runtime-identity/revoke", "", ""},
		{"/agents/polyclaw-runtime/plan/revoke", "polyclaw-runtime", ""},
		{"/api/v1/plans", "polyclaw-runtime", `{"verb":"apply","release":true,"agent":"polyclaw-runtime"}`},
	}
	for _, try := range tries {
		if w := ask(h, tokens[api.View], "POST", try.path, try.body); w.Code != http.StatusForbidden {
			t.Fatalf("%s: %d %s", try.path, w.Code, w.Body)
		}
	}
	all := entries()[before:]
	if len(all) != len(tries) {
		t.Fatalf("%d entries of %d attempts: %+v", len(all), len(tries), all)
	}
	for i, e := range all {
		if e.Allowed || !strings.HasPrefix(e.Actor, "token:view") || !strings.Contains(e.Action, "POST") || !strings.Contains(e.Detail, "role") || (i != 3 && e.Subject != tries[i].subject) {
			t.Errorf("%s: %+v", tries[i].path, e)
		}
	}
	ask(h, tokens[api.View], "GET", "/api/v1/agents", "")
	for range 3 * refusalsKept {
		ask(h, tokens[api.View], "POST", tries[0].path, tries[0].body)
	}
	all = entries()[before:]
	if len(all) != refusalsKept || !strings.Contains(all[len(all)-1].Detail, "not entered") {
		t.Errorf("%d entries, the last %+v", len(all), all[len(all)-1])
	}
	if yes, _ := s.refusals.enters(all[0].Actor, time.Now().Add(refusalsWithin)); !yes {
		t.Error("after an hour nothing is entered any more")
	}
}
