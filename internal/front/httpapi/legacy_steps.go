package httpapi

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
)

const (
	stepOK     = "ok"
	stepFailed = "failed"
	stepSkip   = "skip"
	stepSkips  = "skipped" // as fix-roles spells it
)

// provisionSteps tells the steps of a provision under the original's names and in its order; those that it does not have come behind, under
// ours. A step that did not run is not told, as in the original.
func provisionSteps(p provisioned, problem *api.Problem) []legacyStep {
	if p.Plan.Spec == nil { // nobody has looked
		return []legacyStep{}
	}
	group := legacyStep{Step: "check_rg", Status: stepOK}
	if blocked(p.Plan, "resource-group") {
		group.Status = stepFailed
	}
	out := []legacyStep{group}
	for _, b := range p.Plan.Blockers {
		if b.ID != "resource-group" {
			out = append(out, legacyStep{spelled(b.ID), stepFailed, b.Detail})
		}
	}
	if len(p.Plan.Blockers) > 0 {
		return out
	}
	out = append(out, identitySteps(p)...)
	out = append(out, credentialSteps(p, problem)...)
	out = append(out, roleSteps(p)...)
	out = append(out, envSteps(p)...)
	return append(out, otherSteps(p)...)
}

// ran gives a step of apply, if it came to its end.
func (p provisioned) ran(id string) (api.StepReport, bool) {
	i := slices.IndexFunc(p.Apply.Steps, func(s api.StepReport) bool { return s.Step == id && ended(s) })
	if i < 0 {
		return api.StepReport{}, false
	}
	return p.Apply.Steps[i], true
}

func ended(s api.StepReport) bool {
	return s.Status == api.Done || s.Status == api.Already || s.Status == api.Failed
}

func stepAs(name, detail string, s api.StepReport) legacyStep {
	if s.Status == api.Failed {
		return legacyStep{name, stepFailed, s.Detail}
	}
	return legacyStep{name, stepOK, detail}
}

// identitySteps are find_sp, or create_app (only where it failed) and create_sp.
func identitySteps(p provisioned) []legacyStep {
	app, made := p.ran("application")
	principal, second := p.ran("principal")
	switch {
	case made && app.Status == api.Failed:
		return []legacyStep{stepAs("create_app", "", app)}
	case second:
		return []legacyStep{stepAs("create_sp", p.Apply.ApplicationID, principal)}
	case !made && p.Plan.Facts[agent.FactAppID] != "":
		return []legacyStep{{"find_sp", stepOK, "Reusing " + p.Plan.Facts[agent.FactAppID]}}
	}
	return nil
}

// credentialSteps is rotate_creds: the first certificate, or the one that takes over.
func credentialSteps(p provisioned, problem *api.Problem) []legacyStep {
	if p.Rotate != nil {
		if problem != nil {
			return []legacyStep{{"rotate_creds", stepFailed, problem.Detail}}
		}
		return []legacyStep{{"rotate_creds", stepOK, ""}}
	}
	for _, id := range []string{"key", "certificate", "login"} {
		if s, ok := p.ran(id); ok && s.Status == api.Failed {
			return []legacyStep{stepAs("rotate_creds", "", s)}
		}
	}
	if s, ok := p.ran("certificate"); ok {
		return []legacyStep{stepAs("rotate_creds", "", s)}
	}
	return nil
}

// roleSteps are a row for each role that was to be assigned or is there.
func roleSteps(p provisioned) []legacyStep {
	rows, planned := map[string]legacyStep{}, map[string]bool{} // by role id and scope
	key := func(roleID, scope string) string { return strings.ToLower(roleID + " " + scope) }
	for _, s := range p.Plan.Steps {
		if s.Action != agent.AssignRole {
			continue
		}
		k := key(s.With["role_id"], s.With["scope"])
		planned[k] = true
		if ran, ok := p.ran(s.ID); ok {
			rows[k] = stepAs("rbac_"+spelled(s.With["role"]), s.With["role"]+" on "+s.With["scope"], ran)
		}
	}
	for _, g := range p.Apply.Roles {
		if !planned[key(g.RoleID, g.Scope)] { // what was to be assigned and was not is recorded all the same, if somebody else removed it
			rows[key(g.RoleID, g.Scope)] = legacyStep{"rbac_" + spelled(g.Role), stepOK, g.Role + " on " + g.Scope}
		}
	}
	var out []legacyStep
	for _, k := range slices.SortedFunc(maps.Keys(rows), inProvisionOrder) {
		out = append(out, rows[k])
	}
	return out
}

// inProvisionOrder sorts keys of roles as the original assigns them: bot service, reader, vault, session pool; the others behind.
func inProvisionOrder(a, b string) int {
	rank := func(key string) int {
		ids := []string{"9fc6112f-f48e-4e27-8b09-72a5c94e4ae9", "acdd72a7-3385-48ef-bd42-f606fba81ae7", "b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
			"4633458b-17de-408a-b874-0445c86b69e6", "0fb8eba5-a2bb-4abe-b1c1-49dfad359bb0"}
		if i := slices.IndexFunc(ids, func(id string) bool { return strings.HasPrefix(key, id) }); i >= 0 {
			return i
		}
		return len(ids)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
}

// envSteps is write_env: also where the file was right already.
func envSteps(p provisioned) []legacyStep {
	if s, ok := p.ran("environment"); ok {
		return []legacyStep{stepAs("write_env", "", s)}
	}
	if _, planned := p.Plan.Step("environment"); !planned && failedStep(p.Apply) == "" {
		return []legacyStep{{"write_env", stepOK, ""}}
	}
	return nil
}

// otherSteps are what the original does not do: logging in, reading back, removing what is too much.
func otherSteps(p provisioned) []legacyStep {
	var out []legacyStep
	for _, s := range p.Apply.Steps {
		step, _ := p.Plan.Step(s.Step)
		if theirs := []string{"application", "principal", "key", "certificate", "environment"}; slices.Contains(theirs, s.Step) || step.Action == agent.AssignRole || !ended(s) {
			continue
		}
		if s.Step == "login" && s.Status == api.Failed {
			continue // it is rotate_creds
		}
		out = append(out, stepAs(spelled(s.Step), s.Detail, s))
	}
	return out
}

// spelled is an id or a role as the original spells steps: lower case, with underscores, and without what tells two of them apart.
func spelled(id string) string {
	id, _, _ = strings.Cut(id, ":")
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, id), "_")
}
