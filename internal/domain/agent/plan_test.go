package agent_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// The digest is what a person approves, perhaps in another process of another version: it must not move by accident. When a change of
// the plan moves it on purpose, the golden values move with it, and the changelog says that pinned plans have to be made anew.
func TestDigestIsGolden(t *testing.T) {
	drift := inOrder()
	older(&drift)
	for name, c := range map[string]struct {
		plan agent.Plan
		want string
	}{
		"a first apply": {diff(t, untouched(), options()), "e8f3cf337ef8c54c82670008a8f17e6991ecb1284bc34c11f222e33204dbfa24"},
		"a repair":      {diff(t, drift, options()), "25813d895042e6eaf5dbf7471f728f79a2a21d4b771f121e5a98ff627aae3c52"},
		"a revoke":      {agent.Withdraw(wanted(), "bot", inOrder(), agent.RevokeOptions{Options: options(), Purge: true}), "0341fbdbc08cd2b58ca6d364ce718f3a448e0d246376bbd0f5bd85f9120d3ccf"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.plan.Digest(); got != c.want {
				b, _ := json.MarshalIndent(c.plan, "", "  ")
				t.Errorf("digest %s, want %s of\n%s", got, c.want, b)
			}
		})
	}
}

func TestWhatTheDigestDependsOn(t *testing.T) {
	plain := diff(t, untouched(), options()).Digest()
	later := untouched()
	later.Now = later.Now.Add(time.Hour)
	if diff(t, later, options()).Digest() != plain {
		t.Error("it depends on the time")
	}
	noted := diff(t, untouched(), options())
	noted.Findings = []finding.Finding{{ID: "x"}}
	if noted.Digest() != plain {
		t.Error("it depends on findings")
	}
	for what, change := range map[string]func(*agent.Spec, *agent.Options, *agent.Observed){
		"cloud":                 func(s *agent.Spec, _ *agent.Options, _ *agent.Observed) { s.Cloud = agent.Public },
		"tenant":                func(_ *agent.Spec, o *agent.Options, _ *agent.Observed) { o.Tenant = other },
		"local cloud":           func(_ *agent.Spec, o *agent.Options, _ *agent.Observed) { o.Instance = "cloud-2" },
		"subscription":          func(s *agent.Spec, _ *agent.Options, _ *agent.Observed) { s.Subscription = other },
		"resource group":        func(s *agent.Spec, _ *agent.Options, _ *agent.Observed) { s.ResourceGroup = "rg" },
		"life of a certificate": func(s *agent.Spec, _ *agent.Options, _ *agent.Observed) { s.Agents["bot"].Certificate.Days = 30 },
		"roles": func(s *agent.Spec, _ *agent.Options, _ *agent.Observed) {
			s.Agents["bot"].Roles = agent.Roles{List: []agent.RoleAt{{Role: "Reader", Scope: group}}}
		},
		"the recorded application": func(_ *agent.Spec, _ *agent.Options, o *agent.Observed) {
			*o = inOrder()
			o.Application.Certificates = nil
		},
	} {
		s, opt, o := wanted(), options(), untouched()
		change(&s, &opt, &o)
		if agent.Diff(s, "bot", o, opt).Digest() == plain {
			t.Errorf("it does not depend on the %s", what)
		}
	}
}

// What others of the spec do is not part of an agent's plan, and no field of a plan can hold a key.
func TestAPlanHoldsItsAgentAlone(t *testing.T) {
	s := wanted()
	s.Agents["another"] = &agent.Agent{Name: "another"}
	p := agent.Diff(s, "bot", untouched(), options())
	if len(p.Spec.Agents) != 1 || p.Spec.Agents["bot"] == nil || len(s.Agents) != 2 {
		t.Errorf("the plan's spec has %d agents, the spec %d", len(p.Spec.Agents), len(s.Agents))
	}
	if p.Digest() != diff(t, untouched(), options()).Digest() {
		t.Error("its digest depends on another agent")
	}
}

func TestAPlanSurvivesJSON(t *testing.T) {
	o := inOrder()
	older(&o)
	p := diff(t, o, options())
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back agent.Plan
	if err := json.Unmarshal(b, &back); err != nil || back.Digest() != p.Digest() {
		t.Errorf("the digest is %s after JSON, was %s: %v", back.Digest(), p.Digest(), err)
	}
}

func TestSound(t *testing.T) {
	for name, c := range map[string]struct {
		steps []agent.Step
		want  bool
	}{
		"no steps":                       {nil, true},
		"one after the other":            {[]agent.Step{{ID: "a"}, {ID: "b", After: []string{"a"}}}, true},
		"after a step of the other half": {[]agent.Step{{ID: "b", After: []string{"a"}}}, true},
		"twice":                          {[]agent.Step{{ID: "a"}, {ID: "a"}}, false},
		"after itself":                   {[]agent.Step{{ID: "a", After: []string{"a"}}}, false},
		"after each other":               {[]agent.Step{{ID: "a", After: []string{"b"}}, {ID: "b", After: []string{"a"}}}, false},
	} {
		if err := (agent.Plan{Steps: c.steps}).Sound(); (err == nil) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOnly(t *testing.T) {
	drift := inOrder()
	older(&drift)
	drift.Assignments = append(drift.Assignments[1:], agent.Assignment{ID: "x", Name: "n", RoleID: other, Scope: group, PrincipalID: principal})
	for name, c := range map[string]struct {
		seen       agent.Observed
		plane      agent.Plane
		half, rest string
	}{
		"a first apply, by the person with rights on Graph": {untouched(), agent.Graph, "application principal key certificate login", "role:azure-bot-service-contributor-role@polyclaw-rg role:reader@polyclaw-rg role:key-vault-secrets-officer@kv"},
		"a first apply, by the person with rights on ARM":   {untouched(), agent.ARM, "", "application principal key certificate login"},
		"a repair of both, by the person with Graph":        {drift, agent.Graph, "login remove-certificate:k2 delete-key:" + gen2, "role:azure-bot-service-contributor-role@polyclaw-rg remove-role:" + other + "@polyclaw-rg"},
		"a repair of both, by the person with ARM":          {drift, agent.ARM, "role:azure-bot-service-contributor-role@polyclaw-rg remove-role:" + other + "@polyclaw-rg", "login remove-certificate:k2 delete-key:" + gen2},
		"nothing": {inOrder(), agent.ARM, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := diff(t, c.seen, options())
			digest := p.Digest()
			half, rest := p.Only(c.plane)
			if got := ids(half); got != c.half {
				t.Errorf("half %s\nwant %s", got, c.half)
			}
			if got := ids(rest); got != c.rest {
				t.Errorf("rest %s\nwant %s", got, c.rest)
			}
			for _, h := range []agent.Plan{half, rest} {
				for _, s := range h.Steps {
					for _, id := range s.After {
						if _, ok := h.Step(id); !ok {
							t.Errorf("step %s waits for %s, which is not in its half", s.ID, id)
						}
					}
				}
			}
			if p.Digest() != digest {
				t.Error("splitting changed the plan")
			}
		})
	}
}

func TestWithFacts(t *testing.T) {
	p := diff(t, untouched(), options())
	_, rest := p.Only(agent.Graph)
	resolved := rest.WithFacts(map[string]string{agent.FactPrincipal: principal, agent.FactAppID: appID, agent.FactApplication: appObject, "certificate": "x", agent.FactKey: "y"})
	if len(resolved.Facts) != 3 || resolved.Facts[agent.FactPrincipal] != principal || resolved.Facts[agent.FactAppID] != appID {
		t.Errorf("facts %v", resolved.Facts)
	}
	if len(rest.Facts) != 0 || len(p.Facts) != 0 {
		t.Error("the first plan has them too")
	}
	if again := resolved.WithFacts(map[string]string{agent.FactPrincipal: ""}); again.Facts[agent.FactPrincipal] != principal {
		t.Error("an empty fact overwrites")
	}
}

func TestIsGUID(t *testing.T) {
	for text, want := range map[string]bool{tenant: true, strings.ToUpper(other): true, "": false, tenant + "\n": false, "{" + tenant + "}": false, strings.ReplaceAll(tenant, "-", ""): false, tenant[:35] + "g": false} {
		if agent.IsGUID(text) != want {
			t.Errorf("IsGUID(%q) = %v", text, !want)
		}
	}
}
