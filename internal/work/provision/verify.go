package provision

import (
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
)

// verify reads the identity back until it is exactly as planned. What this plan changed may lag, and is waited for; what it did not
// touch and should not be there is counted, and shown by the plan's findings.
func (p *Provision) verify() job.Handler {
	return job.Handler{Looks: true, Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		rec, err := p.Memory.Agent(ctx, c.Run.Agent)
		if err != nil {
			return agent.Result{}, err
		}
		back, err := p.readBack(ctx, c.Run.Plan, rec, c.With(agent.WithoutAssignments) != "")
		if err != nil {
			return agent.Result{}, job.Spreading(err)
		}
		if late := back.late(c.Run.Plan, rec, p.Roles); late != "" {
			return agent.Result{}, fault.Newf(fault.NotYet, "%s", late)
		}
		return back.result(c.Run.Plan, rec), nil
	}}
}

// readback is what was read.
type readback struct {
	app         agent.Application
	principal   agent.Principal
	assignments []agent.Assignment
	readable    []string
	blind       bool // the caller may not read role assignments: nothing is known of them
	took        time.Duration
}

func (p *Provision) readBack(ctx context.Context, plan agent.Plan, rec agent.Record, blind bool) (readback, error) {
	var (
		back = readback{blind: blind}
		errs [3]error
		wg   sync.WaitGroup
	)
	began := time.Now()
	wg.Go(func() { back.app, errs[0] = p.Graph.Application(ctx, rec.ApplicationID) })
	wg.Go(func() { back.principal, errs[1] = p.Graph.Principal(ctx, rec.AppID) })
	wg.Go(func() {
		if blind {
			return
		}
		back.assignments, back.readable, errs[2] = observe.Assignments(ctx, p.ARM, p.Roles, *plan.Spec, plan.Spec.Agents[plan.Agent], rec.PrincipalID)
	})
	wg.Wait()
	back.took = time.Since(began)
	return back, errors.Join(errs[:]...)
}

// late is what has not arrived, or not left, yet; "" once the reading agrees with the plan.
func (b readback) late(plan agent.Plan, rec agent.Record, roles role.Catalogue) string {
	a := plan.Spec.Agents[plan.Agent]
	if !slices.ContainsFunc(b.app.Certificates, func(c agent.Certificate) bool { return rec.Whose(a, c) == agent.Current }) {
		return "our certificate is not on the application yet"
	}
	for _, s := range plan.Steps {
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
		case agent.RemoveRole:
			if slices.ContainsFunc(b.assignments, func(as agent.Assignment) bool { return strings.EqualFold(as.Name, s.With["name"]) }) {
				return "an assignment on " + role.Short(s.With["scope"]) + " is still there"
			}
		}
	}
	for _, g := range plan.Spec.Grants(a, roles) {
		if !b.blind && !slices.ContainsFunc(b.assignments, func(as agent.Assignment) bool {
			return as.Grant().Key() == g.Key() && strings.EqualFold(as.PrincipalID, rec.PrincipalID)
		}) {
			return g.Role + " on " + role.Short(g.Scope) + " is not listed yet"
		}
	}
	return ""
}

func (b readback) result(plan agent.Plan, rec agent.Record) agent.Result {
	a := plan.Spec.Agents[plan.Agent]
	passwords := len(b.app.Passwords) + len(b.principal.Passwords)
	foreign := Foreign(rec, a, b.app.Certificates, b.principal.Certificates)
	detail := fmt.Sprintf("%d passwords, %d foreign credentials, %d role assignments", passwords, foreign, len(b.assignments))
	if b.blind {
		detail = fmt.Sprintf("%d passwords, %d foreign credentials; role assignments were not read", passwords, foreign)
	}
	at := time.Now().UTC()
	r := agent.Result{
		Detail: detail,
		Facts:  map[string]string{FactPasswords: strconv.Itoa(passwords), FactForeign: strconv.Itoa(foreign), FactReadable: strings.Join(b.readable, " ")},
		Evidence: []finding.Evidence{
			{Asked: "GET applications/" + b.app.ID, Answer: fmt.Sprintf("%d passwords, %d certificates", len(b.app.Passwords), len(b.app.Certificates)), At: at, Took: b.took},
			{Asked: "GET servicePrincipals(appId='" + b.app.AppID + "')", Answer: fmt.Sprintf("%d passwords, %d certificates", len(b.principal.Passwords), len(b.principal.Certificates)), At: at, Took: b.took},
		},
	}
	if !b.blind {
		r.Evidence = append(r.Evidence, finding.Evidence{Asked: "GET roleAssignments at " + strings.Join(b.readable, ", "), Answer: fmt.Sprintf("%d assignments", len(b.assignments)), At: at, Took: b.took})
	}
	return r
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
	for n := range times {
		err := job.Wait(ctx, job.Probe{What: "a token for " + rec.Agent, Try: func(ctx context.Context) error {
			who, err := p.Login(ctx, rec.AppID, key, g.DER)
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
