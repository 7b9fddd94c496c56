package web

import (
	"context"
	"slices"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// planPage shows a plan, and asks for the consent that it needs.
type planPage struct {
	Agent   string
	Verb    agent.Verb
	Answer  answer[api.PlanAnswer]
	Consent api.Consent
	Goes    *agent.Run // the run that stopped midway, and would be continued instead
	Other   *agent.Run // one of another verb: it has to end first
	Purge   bool       // revoke
	All     bool       // revoke
	From    string     // "setup" where the wizard asked
	Action  string     // where the form goes
	Extra   []check    // further things to say yes to
	Back    string
}

// check is a box of the form that has to be ticked.
type check struct{ Name, Label string }

// Steps are the steps that would be carried out.
func (p planPage) Steps() []agent.Step {
	if p.Goes != nil {
		return p.Goes.Plan.Steps
	}
	return p.Answer.V.Plan.Steps
}

// Digest is that of the plan which the page shows.
func (p planPage) Digest() string {
	if p.Goes != nil {
		return p.Goes.Digest
	}
	return p.Answer.V.Digest
}

func noVerb(verb string) error {
	return fault.New(fault.NotFound, "there is no plan to "+verb, "an agent is provisioned, rotated or revoked")
}

// wanted reads what a plan is asked for.
func (v *visit) wanted() (api.PlanRequest, error) {
	r := api.PlanRequest{Agent: v.r.PathValue("agent"), Verb: agent.Verb(v.r.PathValue("verb")), Purge: v.r.Form.Get("purge") == "yes", AllAssigned: v.r.Form.Get("all") == "yes"}
	if !slices.Contains([]agent.Verb{agent.Apply, agent.Rotate, agent.Revoke}, r.Verb) {
		return r, noVerb(string(r.Verb))
	}
	return r, nil
}

func (v *visit) plan() {
	req, err := v.wanted()
	if err != nil {
		v.fail(err)
		return
	}
	page := v.planFor(req)
	page.From = v.from()
	title := verbWord(string(req.Verb)) + " " + req.Agent
	v.show(statusOf(page.Answer.Problem), "plan", "overview", title, page)
}

// planFor asks for the plan and judges which consent it needs.
func (v *visit) planFor(req api.PlanRequest) planPage {
	page := planPage{Agent: req.Agent, Verb: req.Verb, Purge: req.Purge, All: req.AllAssigned, Back: "/agents/" + req.Agent}
	page.Action = page.Back + "/plan/" + string(req.Verb)
	page.Answer = ask(v.door.Plan(v.ctx(), req))
	if open := page.Answer.V.Open; open != nil {
		if open.Verb == req.Verb {
			page.Goes = open
		} else {
			page.Other = open
		}
	}
	page.Consent = page.Answer.V.Consent()
	if page.Goes != nil {
		page.Consent = api.PlanAnswer{Plan: page.Goes.Plan}.Consent()
	}
	return page
}

// from is "setup" where the wizard asked, and "" otherwise: what follows is decided here, never by an address in a request.
func (v *visit) from() string {
	if v.r.Form.Get("from") == "setup" {
		return "setup"
	}
	return ""
}

// pinned is the digest that the form names. Without one a form would carry out whatever the plan has become.
func (v *visit) pinned() (string, error) {
	digest := v.r.PostForm.Get("digest")
	if len(digest) < api.LeastDigits {
		return "", fault.New(fault.Invalid, "the form names no plan", "look at the plan again, and confirm that one")
	}
	return digest, nil
}

// consents judges whether the form says what the plan needs. It is called with the plan that would be carried out, under the agent's lock.
func consents(said, name string, extra func(api.PlanAnswer) error) func(api.PlanAnswer) (bool, error) {
	return func(p api.PlanAnswer) (bool, error) {
		switch p.Consent() {
		case api.NameConsent:
			if said != name {
				return false, fault.New(fault.Refused, "the name that was typed is not "+name+": nothing was changed", "type the agent's name to confirm")
			}
		case api.YesConsent:
			if said != "yes" {
				return false, fault.New(fault.Refused, "the plan was not agreed to: nothing was changed", "tick the box below the plan")
			}
		}
		if extra != nil {
			return true, extra(p)
		}
		return true, nil
	}
}

func (v *visit) carryOut() {
	req, err := v.wanted()
	digest, e := v.pinned()
	if err == nil {
		err = e
	}
	if err == nil && req.Verb == agent.Revoke && v.r.PostForm.Get("confirm") != req.Agent {
		// Asked here too, so that whoever mistypes hears it at once.
		err = fault.New(fault.Refused, "the name that was typed is not "+req.Agent+": nothing was changed", "type the agent's name to confirm")
	}
	if err != nil {
		v.fail(err)
		return
	}
	do := api.ApplyRequest{PlanRequest: req, Digest: digest, Approve: consents(v.r.PostForm.Get("confirm"), req.Agent, nil)}
	v.start(req.Agent, string(req.Verb), func(ctx context.Context, door Door, events func(api.Event)) (any, error) {
		switch req.Verb {
		case agent.Rotate:
			return door.Rotate(ctx, do, events)
		case agent.Revoke:
			return door.Revoke(ctx, do, events)
		}
		return door.Apply(ctx, do, events)
	})
}

// start begins a job and shows it. The job has a door of its own: it goes on when whoever asked is gone.
func (v *visit) start(name, verb string, do func(context.Context, Door, func(api.Event)) (any, error)) {
	door, err := v.Enter(v.r)
	if err != nil {
		v.fail(err)
		return
	}
	job, joined, err := v.Jobs.Start(name, verb, v.who, func(ctx context.Context, events func(api.Event)) (any, error) {
		defer func() { _ = door.Close() }() // what the job did is in journal and ledger by then
		return do(ctx, door, events)
	})
	if err != nil || joined {
		_ = door.Close() // nobody uses it
	}
	if err != nil {
		v.fail(err)
		return
	}
	to := "/jobs/" + job.ID
	query := ""
	if joined {
		query = "?joined=yes"
	}
	if v.from() != "" {
		query = "?from=setup" + map[bool]string{true: "&joined=yes"}[joined]
	}
	v.see(to + query)
}

// fixPage shows what fixing the roles would do.
type fixPage struct {
	Agent string
	Roles answer[api.RolesAnswer]
	From  string
}

func (v *visit) fix() {
	page := fixPage{Agent: v.r.PathValue("agent"), From: v.from()}
	page.Roles = ask(v.door.Roles(v.ctx(), page.Agent))
	v.show(statusOf(page.Roles.Problem), "fix", "overview", "Fix the roles of "+page.Agent, page)
}

func (v *visit) carryOutFix() {
	name := v.r.PathValue("agent")
	digest, err := v.pinned()
	if err != nil {
		v.fail(err)
		return
	}
	req := api.FixRequest{Agent: name, Digest: digest, Approve: consents(v.r.PostForm.Get("confirm"), name, nil)}
	v.start(name, "fix-roles", func(ctx context.Context, door Door, events func(api.Event)) (any, error) {
		return door.FixRoles(ctx, req, events)
	})
}
