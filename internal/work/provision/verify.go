package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// Names of the facts that the read-back leaves.
const (
	FactPasswords = "password_credentials"
	FactForeign   = "foreign_credentials"
	FactReadable  = "assignments_read_at"
	FactUnplanned = "unplanned_assignments" // "Role on scope", one to a line: what the identity holds and no plan asked for
)

// verify reads the identity back until it is exactly as planned. What this plan changed may lag, and is waited for; what it did not
// touch and should not be there is counted, and shown by the plan's findings or, if it came after the plan, by those of the read-back.
func (p *Provision) verify() job.Handler {
	return job.Handler{Looks: true, Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		rec, err := p.Memory.Agent(ctx, c.Run.Agent)
		if err != nil {
			return agent.Result{}, err
		}
		var r agent.Result
		since := time.Now()
		err = c.Wait(ctx, job.Probe{What: c.Step.Title, Try: func(ctx context.Context) error {
			back, err := p.readBack(ctx, c.Run.Plan, rec, c.With(agent.WithoutAssignments) != "")
			if err != nil {
				return p.spreading(c, since, err, agent.CreateApplication, agent.CreatePrincipal, agent.CreateIdentity)
			}
			if late := back.late(c.Run.Plan, strings.Fields(c.With("federated")), rec, p.Roles); late.what != "" {
				if p.lagging(c, since, late.of...) {
					return fault.Newf(fault.NotYet, "%s", late.what)
				}
				return changed(c.Run.Agent, fault.Newf(fault.NotYet, "%s", late.what))
			}
			extra, sure := back.unplanned(c.Run.Plan, rec, p.Roles)
			if !sure && time.Since(since) < p.Settle { // a replica may still list what was removed a moment ago
				return fault.Newf(fault.NotYet, "%s was not planned", extra[0])
			}
			if err := back.unseen(c.Run.Plan); err != nil {
				return err
			}
			r = back.result(c.Run.Plan, rec)
			r.Facts[FactUnplanned] = strings.Join(extra, "\n")
			if len(extra) > 0 {
				r.Detail += "; not planned: " + strings.Join(extra, ", ")
			}
			return nil
		}})
		return r, err
	}}
}

// lagging tells whether what is not as it should be may still be a replica's lag: what a step of this plan made or removed, for as long as
// any probe waits; what was there long before, until its absence is to be believed. After that, somebody has changed it.
func (p *Provision) lagging(c *job.Call, since time.Time, by ...agent.Action) bool {
	young := !c.Resumed || time.Since(c.Run.Started) < job.DefaultDeadline
	ours := slices.ContainsFunc(c.Run.Plan.Steps, func(s agent.Step) bool { return slices.Contains(by, s.Action) })
	return (young && ours) || time.Since(since) < p.Settle
}

// spreading turns "not there" into "not yet" for as long as it may be lag, and back once it cannot be.
func (p *Provision) spreading(c *job.Call, since time.Time, err error, made ...agent.Action) error {
	if p.lagging(c, since, made...) {
		return job.Spreading(err)
	}
	return changed(c.Run.Agent, err)
}

// changed is the error where an absence has lasted for longer than any replica lags.
func changed(name string, err error) error {
	if !fault.Is(err, fault.NotYet, fault.NotFound) {
		return err
	}
	return &fault.Error{Code: fault.Conflict, Service: fault.Service(err), Hint: "somebody has changed or removed it: leastkey plan " + name, Err: err}
}

// readback is what was read.
type readback struct {
	app       agent.Application
	identity  agent.UserAssignedIdentity // instead of app, where the record is of one
	principal agent.Principal
	held      observe.Held
	blind     bool // the caller may not read role assignments: nothing is known of them
	took      time.Duration
}

func (p *Provision) readBack(ctx context.Context, plan agent.Plan, rec agent.Record, blind bool) (readback, error) {
	var (
		back = readback{blind: blind}
		errs [3]error
		wg   sync.WaitGroup
	)
	began := time.Now()
	wg.Go(func() {
		if rec.Managed() {
			back.identity, errs[0] = p.sameIdentity(ctx, rec)
			return
		}
		back.app, errs[0] = observe.Application(ctx, p.Graph, rec.ApplicationID)
	})
	wg.Go(func() { back.principal, errs[1] = p.Graph.Principal(ctx, rec.AppID) })
	wg.Go(func() {
		if blind {
			return
		}
		back.held, errs[2] = observe.HeldBy(ctx, p.ARM, p.Roles, *plan.Spec, plan.Spec.Agents[plan.Agent], rec, rec.PrincipalID)
	})
	wg.Wait()
	back.took = time.Since(began)
	return back, errors.Join(errs[:]...)
}

// sameIdentity reads the recorded managed identity, which somebody may have made anew under its name.
func (p *Provision) sameIdentity(ctx context.Context, rec agent.Record) (agent.UserAssignedIdentity, error) {
	i, err := observe.Identity(ctx, p.ARM, rec.ResourceID)
	if err == nil && !strings.EqualFold(i.PrincipalID, rec.PrincipalID) {
		err = fault.New(fault.Conflict, "principal of "+i.ID+" is "+i.PrincipalID+", recorded is "+rec.PrincipalID, "somebody made it anew: leastkey plan "+rec.Agent)
	}
	return i, err
}

// federated are the federated credentials that were read.
func (b readback) federated() []agent.FederatedCredential {
	return append(slices.Clone(b.app.Federated), b.identity.Federated...)
}

// late is what has not arrived, or not left, yet, and the steps that may have made it so a moment ago.
type late struct {
	what string
	of   []agent.Action
}

// late is empty once the reading agrees with the plan. federated are the names of the federated credentials that shall be there.
func (b readback) late(plan agent.Plan, federated []string, rec agent.Record, roles role.Catalogue) late {
	a := plan.Spec.Agents[plan.Agent]
	if !a.Keyless() && !slices.ContainsFunc(b.app.Certificates, func(c agent.Certificate) bool { return rec.Whose(a, c) == agent.Current }) {
		return late{"our certificate is not on the application", []agent.Action{agent.RegisterCertificate}}
	}
	if err := missingFederated(a, federated, b.federated()); err != nil {
		return late{err.Error(), []agent.Action{agent.WriteFederated}}
	}
	for _, s := range plan.Steps {
		if what := b.lingers(s); what != "" {
			return late{what, []agent.Action{s.Action}}
		}
	}
	for _, g := range plan.Spec.Grants(a, roles) {
		if b.blind || b.dark(g.Scope) {
			continue
		}
		made := assigns(plan, g)
		if slices.ContainsFunc(b.held.Assignments, func(as agent.Assignment) bool {
			return as.Grant().Key() == g.Key() && strings.EqualFold(as.PrincipalID, rec.PrincipalID) && (as.Condition == "" || !made)
		}) {
			continue
		}
		l := late{what: g.Role + " on " + role.Short(g.Scope) + " is not listed"}
		if made {
			l.of = []agent.Action{agent.AssignRole}
		}
		return l
	}
	return late{}
}

// lingers tells of what a step has removed and is still shown.
func (b readback) lingers(s agent.Step) string {
	id := s.With["key_id"]
	switch s.Action {
	case agent.RemoveCertificate:
		if slices.ContainsFunc(b.app.Certificates, func(c agent.Certificate) bool { return c.KeyID == id }) {
			return "certificate " + id + " is still on the application"
		}
	case agent.RemovePassword:
		if slices.ContainsFunc(slices.Concat(b.app.Passwords, b.principal.Passwords), func(c agent.Password) bool { return c.KeyID == id }) {
			return "password " + id + " is still there"
		}
	case agent.RemoveFederated:
		if slices.ContainsFunc(b.federated(), func(f agent.FederatedCredential) bool { return f.ID == id || f.Name == id }) {
			return "federated credential " + id + " is still there"
		}
	case agent.RemoveRole:
		if slices.ContainsFunc(b.held.Assignments, func(as agent.Assignment) bool { return strings.EqualFold(as.Name, s.With["name"]) }) {
			return "an assignment on " + role.Short(s.With["scope"]) + " is still there"
		}
	}
	return ""
}

func assigns(plan agent.Plan, g role.Grant) bool {
	return slices.ContainsFunc(plan.Steps, func(s agent.Step) bool {
		return s.Action == agent.AssignRole && role.Grant{RoleID: s.With["role_id"], Scope: s.With["scope"]}.Key() == g.Key()
	})
}

// unplanned are the roles that the identity holds and the plan neither asks for nor removes: somebody has given them since it was made.
// They are not sure where one may have been removed a moment ago.
func (b readback) unplanned(plan agent.Plan, rec agent.Record, roles role.Catalogue) (extra []string, sure bool) {
	want := map[string]bool{}
	for _, g := range plan.Spec.Grants(plan.Spec.Agents[plan.Agent], roles) {
		want[g.Key()] = true
	}
	sure = true
	for _, as := range b.held.Assignments {
		how := ""
		switch {
		case !strings.EqualFold(as.PrincipalID, rec.PrincipalID):
			how = ", through group " + as.PrincipalID
		case as.Condition != "":
			how = ", under a condition"
		}
		if want[as.Grant().Key()] && as.Condition == "" {
			continue
		}
		sure = sure && how != ""
		extra = append(extra, cmp.Or(as.Role, as.RoleID)+" on "+as.Scope+how)
	}
	slices.Sort(extra)
	return extra, sure
}

// dark tells whether the scope could not be read.
func (b readback) dark(scope string) bool {
	return slices.ContainsFunc(b.held.Unread, func(u string) bool { return strings.EqualFold(u, strings.TrimRight(scope, "/")) })
}

// unseen refuses to pass what this plan itself has assigned and cannot read back: that is not for a finding of the plan to say.
func (b readback) unseen(plan agent.Plan) error {
	for _, s := range plan.Steps {
		if s.Action == agent.AssignRole && b.dark(s.With["scope"]) {
			return fault.New(fault.Forbidden, "the assignments on "+role.Short(s.With["scope"])+" cannot be read back", "ask for Reader there, or let somebody who may read it apply again")
		}
	}
	return nil
}

func (b readback) result(plan agent.Plan, rec agent.Record) agent.Result {
	a := plan.Spec.Agents[plan.Agent]
	passwords := len(b.app.Passwords) + len(b.principal.Passwords)
	foreign := b.foreign(a, rec)
	detail := fmt.Sprintf("%d passwords, %d foreign credentials, %d role assignments", passwords, foreign, len(b.held.Assignments))
	if b.blind {
		detail = fmt.Sprintf("%d passwords, %d foreign credentials; role assignments were not read", passwords, foreign)
	}
	at := time.Now().UTC()
	object := finding.Evidence{Asked: "GET applications/" + b.app.ID, Answer: fmt.Sprintf("%d passwords, %d certificates, %d federated credentials", len(b.app.Passwords), len(b.app.Certificates), len(b.app.Federated)), At: at, Took: b.took}
	if rec.Managed() {
		object.Asked, object.Answer = "GET "+b.identity.ID, fmt.Sprintf("principal %s, %d federated credentials", b.identity.PrincipalID, len(b.identity.Federated))
	}
	r := agent.Result{
		Detail: detail,
		Facts:  map[string]string{FactPasswords: strconv.Itoa(passwords), FactForeign: strconv.Itoa(foreign), FactReadable: strings.Join(b.held.Readable, " ")},
		Evidence: []finding.Evidence{
			object,
			{Asked: "GET servicePrincipals(appId='" + rec.AppID + "')", Answer: fmt.Sprintf("%d passwords, %d certificates", len(b.principal.Passwords), len(b.principal.Certificates)), At: at, Took: b.took},
		},
	}
	if !b.blind {
		r.Evidence = append(r.Evidence, finding.Evidence{Asked: "GET roleAssignments at " + strings.Join(b.held.Readable, ", "), Answer: fmt.Sprintf("%d assignments", len(b.held.Assignments)), At: at, Took: b.took})
	}
	return r
}

func (b readback) foreign(a *agent.Agent, rec agent.Record) int {
	if rec.Managed() {
		return ForeignOfIdentity(a, b.identity)
	}
	return ForeignCredentials(rec, a, b.app, b.principal)
}

// ForeignCredentials counts what lets somebody else in: certificates that are neither ours nor known, and federated credentials that the
// spec does not ask for.
func ForeignCredentials(rec agent.Record, a *agent.Agent, app agent.Application, p agent.Principal) int {
	return Foreign(rec, a, app.Certificates, p.Certificates) + len(a.StrangeFederated(app.Federated))
}

// ForeignOfIdentity is ForeignCredentials of a managed identity, whose certificates are Azure's own.
func ForeignOfIdentity(a *agent.Agent, i agent.UserAssignedIdentity) int {
	return len(a.StrangeFederated(i.Federated))
}

// Foreign counts the certificates that are neither ours nor known.
func Foreign(rec agent.Record, a *agent.Agent, lists ...[]agent.Certificate) int {
	n := 0
	for _, c := range slices.Concat(lists...) {
		if rec.Whose(a, c) == agent.Foreign {
			n++
		}
	}
	return n
}

// ProveActive logs in with the active generation, without any plan: what an apply that has nothing to do ends with.
func (p *Provision) ProveActive(ctx context.Context, rec agent.Record, times int) (int, error) {
	g := rec.Active()
	if g == nil {
		return 0, fault.Newf(fault.Conflict, "agent %s has no active key", rec.Agent)
	}
	key, err := p.open(ctx, *g)
	if err != nil {
		return 0, err
	}
	young := time.Since(g.NotBefore) < job.DefaultDeadline
	for n := range times {
		since := time.Now()
		err := job.Wait(ctx, job.Probe{What: "a token for " + rec.Agent, Try: func(ctx context.Context) error {
			who, err := p.Login(ctx, rec.AppID, key, g.DER)
			if !young && time.Since(since) >= p.Settle {
				err = changed(rec.Agent, err)
			}
			if err == nil && !strings.EqualFold(who.ObjectID, rec.PrincipalID) {
				err = fault.Newf(fault.Conflict, "the token is of principal %s, not of %s", who.ObjectID, rec.PrincipalID)
			}
			return err
		}})
		if err != nil {
			return n, err
		}
	}
	return times, nil
}
