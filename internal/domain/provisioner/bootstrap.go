package provisioner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// BootstrapPlan makes the Provisioner, or repairs it: application, service principal, permissions declared and consented, certificate,
// state file. It never removes a credential: an application that still has passwords is migrated first.
func BootstrapPlan(s agent.Spec, o Observed, opt Options) agent.Plan {
	p := newPlanner(Bootstrap, s, o, opt)
	p.plan.CreateBeside = opt.CreateBeside
	all, added, missing := Required(o.Offered, o.Record.Permissions, s.Provisioner.Permissions)
	p.identity()
	p.bootstrappable(missing)
	if len(p.plan.Blockers) > 0 {
		return p.plan
	}
	if s.Provisioner.Permissions != "agent-id-only" {
		p.find(finding.Warn, "tier-zero", "can the Provisioner take over the tenant?", "yes: "+strings.Join(slices.DeleteFunc(slices.Clone(all), func(r string) bool { return !TierZero(r) }), ", "),
			"permissions: agent-id-only leaves these out, where the tenant's agents do not need them")
	}
	p.application()
	p.permissions(all, added)
	p.surplus(all)
	p.expiry()
	g, why := p.active()
	due := g != nil && p.due(g.ID)
	if g != nil && p.unchanged(g) && len(p.plan.Steps) == 0 && !due {
		p.use(g)
		return p.plan
	}
	if !p.known() {
		why = ""
	}
	p.credential(g, p.usableSlot(), why, agent.ViaOperator, all)
	switch {
	case due:
		p.older(g.ID, agent.ViaOperator)
	case g == nil:
		p.older(p.importing(), agent.ViaOperator)
	}
	p.readBack()
	return p.plan
}

func (p *planner) bootstrappable(missing []string) {
	if !p.known() && len(p.seen.Namesakes) > 0 && !p.opt.CreateBeside {
		p.block("namesake", "is the display name free?", fmt.Sprintf("%d application(s) named %s that are not ours: %s", len(p.seen.Namesakes), p.spec.Provisioner.DisplayName, namesakes(p.seen.Namesakes)),
			"if one of them is yours: leastkey provisioner adopt --app-id ID; if not: --create-beside")
	}
	if len(missing) > 0 {
		p.block("permission-missing", "does Microsoft Graph offer every permission in this tenant?", "not offered: "+strings.Join(missing, ", "), "Agent ID may not be switched on in this tenant; permissions: agent-id-only asks for fewer")
	}
	p.noPasswords()
	if p.seen.File.HasSecret {
		p.block("secret-on-disk", "is no secret on disk?", p.seen.File.Path+" holds "+KeySecret, "leastkey provisioner migrate")
	}
}

func (p *planner) application() {
	if !p.known() {
		p.step(agent.Step{ID: stepApplication, Action: agent.CreateApplication, Plane: agent.Graph, Title: "create application " + p.spec.Provisioner.DisplayName, With: map[string]string{"display_name": p.spec.Provisioner.DisplayName}})
	} else if p.seen.Application.SignInAudience != "AzureADMyOrg" {
		p.step(agent.Step{ID: "single-tenant", Action: agent.SingleTenant, Plane: agent.Graph, Title: "make the application single tenant", Why: "its sign-in audience is " + p.seen.Application.SignInAudience,
			With: map[string]string{"application": "$application"}})
	}
	if p.seen.Principal == nil {
		p.step(agent.Step{ID: stepPrincipal, Action: agent.CreatePrincipal, Plane: agent.Graph, Title: "create its service principal", With: map[string]string{"app_id": "$app_id"}, After: p.after(stepApplication)})
	}
}

// permissions declares and consents. A permission that Graph offers and the pinned set lacks is an addition, which somebody approves with
// the plan.
func (p *planner) permissions(all, added []string) {
	id := map[string]string{}
	for _, r := range p.seen.Offered {
		id[r.Value] = r.ID
	}
	var ids []string
	undeclared := false
	for _, v := range all {
		ids = append(ids, id[v])
		undeclared = undeclared || !slices.ContainsFunc(p.seen.Declared, func(d string) bool { return strings.EqualFold(d, id[v]) })
	}
	if undeclared {
		p.step(agent.Step{ID: stepDeclare, Action: DeclarePermissions, Plane: agent.Graph, Title: fmt.Sprintf("declare %d application permissions", len(all)),
			With: map[string]string{"application": "$application", "roles": strings.Join(ids, " ")}, After: p.after(stepApplication)})
	}
	var granted []string
	for _, v := range all {
		if slices.ContainsFunc(p.seen.Granted, func(g Grant) bool { return strings.EqualFold(g.RoleID, id[v]) }) {
			continue
		}
		s := agent.Step{ID: "grant:" + v, Action: GrantPermission, Plane: agent.Graph, Title: "consent to " + v,
			With: map[string]string{"principal": "$principal", "resource": p.seen.GraphID, "role_id": id[v], "role": v}, After: p.after(stepPrincipal)}
		switch {
		case slices.Contains(added, v):
			s.With["addition"], s.Why = "true", "Graph offers it now, and the pinned set does not have it: approving the plan adds it"
		case p.known():
			s.Why = "it is declared and was not consented, or somebody took it away"
		}
		p.step(s)
		granted = append(granted, s.ID)
	}
	if !slices.Equal(p.seen.Record.Permissions, all) {
		p.step(agent.Step{ID: stepPin, Action: PinPermissions, Plane: agent.Here, Title: fmt.Sprintf("pin the set of %d permissions", len(all)), With: map[string]string{"roles": strings.Join(all, " ")}, After: granted})
	}
}

// surplus names what the service principal holds beyond the set.
func (p *planner) surplus(all []string) {
	value := map[string]string{}
	for _, r := range p.seen.Offered {
		value[strings.ToLower(r.ID)] = r.Value
	}
	for _, g := range p.seen.Granted {
		v := value[strings.ToLower(g.RoleID)]
		if slices.Contains(all, v) {
			continue
		}
		if v == "" {
			v = "role " + g.RoleID
		}
		p.find(finding.Warn, "permission-surplus", "does the Provisioner hold only the pinned permissions?", "it holds "+v+" too", "if that is not meant: az rest --method delete --url …/v1.0/servicePrincipals/"+p.plan.Facts[agent.FactPrincipal]+"/appRoleAssignments/"+g.ID)
	}
}

// unchanged tells whether the state file says what it should.
func (p *planner) unchanged(g *agent.Generation) bool {
	f := p.seen.File
	return f.Exists && strings.EqualFold(f.Tenant, p.opt.Tenant) && strings.EqualFold(f.Client, p.plan.Facts[agent.FactAppID]) && len(f.Certs) == 1 && string(f.Certs[0]) == string(g.DER)
}
