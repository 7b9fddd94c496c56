package preflight

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// identityConfigured fails where nothing is recorded: the original skipped, so that a run without any identity had no failure. The
// environment file is output only; one that names another identity makes the agent log in as somebody whom nobody has examined.
func identityConfigured() Check {
	return Check{
		ID: "identity_configured", Name: "Runtime Identity Configured", Severity: finding.Critical, Required: true,
		Question: "has the agent an identity of its own, of the kind that the spec says, and does its environment file name that one?",
		Remedy:   "leastkey apply",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			rec := a.Record
			if !rec.Provisioned() {
				return fail("no identity is recorded for %s", a.Agent.Name).because("the record of "+a.Agent.Name, "no application and no managed identity").instead("leastkey apply " + a.Agent.Name)
			}
			kind := agent.ServicePrincipal
			if a.managed() {
				kind = agent.ManagedIdentity
			}
			if kind != cmp.Or(a.Agent.Kind, agent.ServicePrincipal) {
				return fail("agent %s has a %s, and the spec says %s: what is examined here is not what the spec asks for", a.Agent.Name, kind, a.Agent.Kind).
					because("the record of "+rec.Agent, "%s, client id %s, principal %s", kind, rec.AppID, rec.PrincipalID).
					instead("one is not made of the other: leastkey revoke " + a.Agent.Name + ", then apply again; or correct kind in the spec")
			}
			env, err := get(a, &a.run.env)
			if err != nil {
				return failed(err)
			}
			v := func(v Verdict) Verdict {
				return v.because("the record of "+rec.Agent, "%s, client id %s, principal %s", kind, rec.AppID, rec.PrincipalID).
					because("the ids in "+env.at, "%s", idsOf(env.ids)).instead(v.Remedy)
			}
			other, absent := compareIDs(agent.EnvOf(rec.ResourceID, rec.AppID, a.Where.TenantID), env.ids)
			switch {
			case len(other) > 0:
				return v(fail("%s names another identity: %s", env.at, strings.Join(other, ", ")).instead("correct the file, or let leastkey apply " + rec.Agent + " write it"))
			case len(absent) > 0:
				return v(warn("%s does not have %s: the agent does not know its identity from there", env.at, strings.Join(absent, ", ")).instead("leastkey apply " + rec.Agent))
			}
			return v(pass("%s %s, and %s agrees", kind, rec.AppID, env.at))
		},
	}
}

// compareIDs gives the keys that have another value than the record's, or that only the other kind of identity has, and those that are not
// there. Letter case is no difference in ids.
func compareIDs(want, have map[string]string) (other, absent []string) {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		switch {
		case have[key] == "":
			absent = append(absent, key)
		case !strings.EqualFold(have[key], want[key]):
			other = append(other, key)
		}
	}
	for _, key := range agent.EnvNames() {
		if _, ours := want[key]; !ours && have[key] != "" && key != "AZURE_TENANT_ID" {
			other = append(other, key)
		}
	}
	return other, absent
}

func idsOf(ids map[string]string) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(ids)) {
		all = append(all, key+"="+ids[key])
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, " ")
}
