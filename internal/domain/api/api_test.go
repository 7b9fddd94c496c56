package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

func TestEveryCodeHasAStatusAndAnExitCode(t *testing.T) {
	for code, want := range map[fault.Code]struct{ status, exit int }{
		fault.Unknown:         {http.StatusInternalServerError, 1},
		fault.Invalid:         {http.StatusBadRequest, 1},
		fault.Usage:           {http.StatusBadRequest, 2},
		fault.NotFound:        {http.StatusNotFound, 1},
		fault.Conflict:        {http.StatusConflict, 1},
		fault.Forbidden:       {http.StatusForbidden, 1},
		fault.Unauthenticated: {http.StatusUnauthorized, 1},
		fault.Throttled:       {http.StatusTooManyRequests, 1},
		fault.Unavailable:     {http.StatusServiceUnavailable, 1},
		fault.NotYet:          {http.StatusServiceUnavailable, 1},
		fault.Corrupt:         {http.StatusConflict, 1},
		fault.Busy:            {http.StatusConflict, 1},
		fault.Refused:         {http.StatusForbidden, 1},
		fault.Stopped:         {http.StatusServiceUnavailable, 4},
		fault.Unsupported:     {http.StatusNotImplemented, 1},
	} {
		if got := api.HTTPStatus(code); got != want.status {
			t.Errorf("HTTPStatus(%s) = %d, want %d", code, got, want.status)
		}
		if got := api.ExitCode(fmt.Errorf("wrapped: %w", fault.Newf(code, "x"))); got != want.exit {
			t.Errorf("ExitCode(%s) = %d, want %d", code, got, want.exit)
		}
	}
	if api.ExitCode(nil) != 0 || api.ExitCode(errors.New("x")) != 1 {
		t.Error("no error is not done, or an error of others is")
	}
}

func TestPinned(t *testing.T) {
	digest := strings.Repeat("0123456789abcdef", 4)
	for name, c := range map[string]struct {
		pin  string
		want bool
	}{
		"no pin accepts every plan":         {"", true},
		"the whole digest":                  {digest, true},
		"what is shown":                     {digest[:api.ShownDigits], true},
		"the least":                         {digest[:api.LeastDigits], true},
		"upper case":                        {strings.ToUpper(digest[:api.LeastDigits]), true},
		"one digit less than the least":     {digest[:api.LeastDigits-1], false},
		"another digest":                    {"f" + digest[1:], false},
		"more than the digest":              {digest + "0", false},
		"the end of the digest":             {digest[32:], true}, // it repeats itself
		"a part that is not at its begin":   {digest[1:20], false},
		"a blank is no digit":               {" ", false},
		"the least, with a blank behind it": {digest[:api.LeastDigits] + " ", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (api.ApplyRequest{Digest: c.pin}).Pinned(digest); got != c.want {
				t.Errorf("Pinned = %v", got)
			}
		})
	}
	if api.ShortDigest("ab") != "ab" || len(api.ShortDigest(digest)) != api.ShownDigits {
		t.Error("ShortDigest does not cut")
	}
}

func TestConsent(t *testing.T) {
	make1 := []agent.Step{{ID: "a"}}
	destroy := []agent.Step{{ID: "a"}, {ID: "b", Destroys: true}}
	for name, c := range map[string]struct {
		plan agent.Plan
		want api.Consent
	}{
		"nothing to do":                      {agent.Plan{Cloud: agent.Public, Verb: agent.Apply}, api.NoConsent},
		"nothing to revoke":                  {agent.Plan{Cloud: agent.Public, Verb: agent.Revoke}, api.NoConsent},
		"making on the local cloud":          {agent.Plan{Cloud: agent.Local, Steps: make1}, api.NoConsent},
		"destroying on the local cloud":      {agent.Plan{Cloud: agent.Local, Steps: destroy}, api.YesConsent},
		"making on a real cloud":             {agent.Plan{Cloud: agent.USGov, Steps: make1}, api.YesConsent},
		"a cloud that is not named is real":  {agent.Plan{Steps: make1}, api.YesConsent},
		"revoking, even on the local cloud":  {agent.Plan{Cloud: agent.Local, Verb: agent.Revoke, Steps: make1}, api.NameConsent},
		"revoking on a real cloud":           {agent.Plan{Cloud: agent.China, Verb: agent.Revoke, Steps: destroy}, api.NameConsent},
		"destroying first, making afterward": {agent.Plan{Cloud: agent.Local, Steps: []agent.Step{{Destroys: true}, {}}}, api.YesConsent},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (api.PlanAnswer{Plan: c.plan}).Consent(); got != c.want {
				t.Errorf("Consent = %s, want %s", got, c.want)
			}
		})
	}
}

func TestFindingsExit(t *testing.T) {
	for outcome, want := range map[finding.Outcome]int{finding.Pass: 0, finding.Warn: 0, finding.Skip: 0, finding.Fail: 3, finding.Unknown: 3} {
		if got := api.FindingsExit([]finding.Finding{{Outcome: finding.Pass}, {Outcome: outcome}}); got != want {
			t.Errorf("%s: exit %d, want %d", outcome, got, want)
		}
	}
}

// A token is the answer of one command alone; whoever puts it into a report or a log by mistake shows nothing.
func TestATokenDoesNotPrint(t *testing.T) {
	token := api.Token{Value: secret.New([]byte("eyJ-canary")), Scope: "s"}
	b, err := json.Marshal(token)
	if err != nil || strings.Contains(string(b)+fmt.Sprintf("%v %+v %#v", token, token, token), "canary") {
		t.Errorf("a token prints: %s %+v", b, token)
	}
}

// What a report promises to programs.
func TestReportFields(t *testing.T) {
	b, err := json.Marshal(api.Report{Roles: []api.Granted{{}}, Steps: []api.StepReport{{}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"agent", "kind", "tenant_id", "application_id", "principal_id", "key", "roles", "role", "role_id", "scope", "proof", "logins", "password_credentials", "foreign_credentials", "steps", "step", "status", "ms", "requests", "wall_ms"} {
		if !strings.Contains(string(b), `"`+field+`":`) {
			t.Errorf("the report lacks %s: %s", field, b)
		}
	}
}
