package entra

import (
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

func TestLifetimesOfPolicies(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"P365D": 365 * day, "P4DT12H30M5S": 4*day + 12*time.Hour + 30*time.Minute + 5*time.Second, "PT1H": time.Hour,
		"P": 0, "P0D": 0, "": 0, "365": 0, "P1Y": 0, "-P1D": 0, "P999999D": 0, "P1D ": 0,
	} {
		got, ok := lifetime(text)
		if ok != (want > 0) || ok && got != want {
			t.Errorf("%q is %s, %v", text, got, ok)
		}
	}
}

func TestWhatAPolicyDemands(t *testing.T) {
	const day = 24 * time.Hour
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	before, after, year, month, nonsense := made.Add(-time.Hour), made.Add(time.Hour), "P365D", "P30D", "a year"
	add := restriction{Type: "passwordAddition", State: "enabled"}
	life := func(max *string) restriction {
		return restriction{Type: "asymmetricKeyLifetime", State: "enabled", Max: max}
	}
	for _, row := range []struct {
		name string
		r    restrictions
		want agent.CredentialPolicy
	}{
		{"nothing", restrictions{}, agent.CredentialPolicy{}},
		{"no passwords", restrictions{Passwords: []restriction{add}}, agent.CredentialPolicy{NoPasswords: true}},
		{"switched off", restrictions{Passwords: []restriction{{Type: "passwordAddition", State: "disabled"}}}, agent.CredentialPolicy{}},
		{"for newer applications", restrictions{Passwords: []restriction{{Type: "passwordAddition", After: &after}}}, agent.CredentialPolicy{}},
		{"for this one and newer ones", restrictions{Passwords: []restriction{{Type: "passwordAddition", After: &before}}}, agent.CredentialPolicy{NoPasswords: true}},
		{"passwords of other kinds", restrictions{Passwords: []restriction{{Type: "symmetricKeyAddition", State: "enabled"}}}, agent.CredentialPolicy{}},
		{"the shortest life counts", restrictions{Keys: []restriction{life(&year), life(&month), life(&year)}}, agent.CredentialPolicy{LongestLife: 30 * day}},
		{"a life without a number", restrictions{Keys: []restriction{life(nil)}}, agent.CredentialPolicy{}},
	} {
		client, _ := serve(t, ok(`{"createdDateTime":"2026-01-01T00:00:00Z"}`))
		got, err := client.demands(t.Context(), "p", row.r, "/applications/"+appObject)
		if err != nil || got.NoPasswords != row.want.NoPasswords || got.LongestLife != row.want.LongestLife || len(got.Policies) != 1 {
			t.Errorf("%s: %+v, %v", row.name, got, err)
		}
	}
	client, _ := serve(t)
	if _, err := client.demands(t.Context(), "p", restrictions{Keys: []restriction{life(&nonsense)}}, ""); !fault.Is(err, fault.Unknown) {
		t.Errorf("a lifetime that does not read: %v", err)
	}
}
