package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

func at(agentName, what string) string { return "/agents/" + url.PathEscape(agentName) + what }

// Status is of one agent, or of all for "".
func (d *Door) Status(ctx context.Context, agentName string) ([]api.AgentStatus, error) {
	if agentName == "" {
		var all []api.AgentStatus
		err := d.get(ctx, "/status", &all)
		return all, err
	}
	var one api.AgentStatus
	if err := d.get(ctx, at(agentName, "/status"), &one); err != nil {
		return nil, err
	}
	return []api.AgentStatus{one}, nil
}

// State gives every record.
func (d *Door) State(ctx context.Context) (all []agent.Record, err error) {
	err = d.get(ctx, "/records", &all)
	return all, err
}

// Ledger gives the newest entries, oldest first; 0 is all.
func (d *Door) Ledger(ctx context.Context, limit int) (all []api.LedgerEntry, err error) {
	err = d.get(ctx, "/ledger?limit="+strconv.Itoa(limit), &all)
	return all, err
}

// VerifyLedger has the server recompute the chain.
func (d *Door) VerifyLedger(ctx context.Context) (v api.LedgerVerdict, err error) {
	err = d.get(ctx, "/ledger/verify", &v)
	return v, err
}

// Caller is the operator whose session acts at the server.
func (d *Door) Caller(ctx context.Context) (c api.Caller, err error) {
	err = d.get(ctx, "/operator", &c)
	return c, err
}

// Identity looks the identity up.
func (d *Door) Identity(ctx context.Context, agentName string) (a api.IdentityAnswer, err error) {
	if agentName, err = d.named(ctx, agentName); err == nil {
		err = d.get(ctx, at(agentName, "/identity"), &a)
	}
	return a, err
}

// Roles lists what the identity holds beside what it needs.
func (d *Door) Roles(ctx context.Context, agentName string) (a api.RolesAnswer, err error) {
	if agentName, err = d.named(ctx, agentName); err == nil {
		err = d.get(ctx, at(agentName, "/roles"), &a)
	}
	return a, err
}

// named is the agent that is meant: the only one of the server's spec where none is named, as the door itself has it.
func (d *Door) named(ctx context.Context, agentName string) (string, error) {
	if agentName != "" {
		return agentName, nil
	}
	var all []api.AgentSummary
	if err := d.get(ctx, "/agents", &all); err != nil {
		return "", err
	}
	names := []string{}
	for _, a := range all {
		if a.Specified {
			names = append(names, a.Agent)
		}
	}
	if len(names) == 1 {
		return names[0], nil
	}
	return "", fault.New(fault.Usage, "which agent?", "name one of "+strings.Join(names, ", "))
}

// Preflight runs every check at the server.
func (d *Door) Preflight(ctx context.Context, r api.PreflightRequest, events func(api.Event)) (api.PreflightReport, error) {
	name, err := d.named(ctx, r.Agent)
	if err != nil {
		return api.PreflightReport{}, err
	}
	return run[api.PreflightReport](ctx, d, at(name, "/preflight-runs"), nil, events)
}

// PreflightRuns gives the kept reports, the newest first and without evidence; 0 is all.
func (d *Door) PreflightRuns(ctx context.Context, agentName string, limit int) (all []api.PreflightReport, err error) {
	if agentName, err = d.named(ctx, agentName); err == nil {
		err = d.get(ctx, at(agentName, "/preflight-runs?limit="+strconv.Itoa(limit)), &all)
	}
	return all, err
}

// PreflightRun gives one kept report, whole; "" is the newest.
func (d *Door) PreflightRun(ctx context.Context, agentName, id string) (r api.PreflightReport, err error) {
	if id == "" {
		id = "latest"
	}
	if agentName, err = d.named(ctx, agentName); err == nil {
		err = d.get(ctx, at(agentName, "/preflight-runs/"+url.PathEscape(id)), &r)
	}
	return r, err
}

// PreflightVerify has the server tell whether a report is genuine: its ledger knows.
func (d *Door) PreflightVerify(ctx context.Context, r api.PreflightReport) (v api.PreflightVerdict, err error) {
	err = d.call(ctx, http.MethodPost, "/preflight/verify", r, &v)
	return v, err
}

// Token, Adopt and what looks through the Provisioner's files are not done through a server: a token is its agent's alone, and files are of
// the machine that has them.

// Token is refused.
func (d *Door) Token(context.Context, api.TokenRequest) (api.Token, error) {
	return api.Token{}, unoffered("asking for an agent's token")
}

// Adopt is refused.
func (d *Door) Adopt(context.Context, api.AdoptRequest, func(api.Event)) (api.Report, error) {
	return api.Report{}, unoffered("adopting an application")
}

// ProvisionerVerify is refused.
func (d *Door) ProvisionerVerify(context.Context, api.VerifyRequest) (api.VerifyAnswer, error) {
	return api.VerifyAnswer{}, unoffered("the Provisioner's checklist")
}

// ProvisionerAdopt is refused.
func (d *Door) ProvisionerAdopt(context.Context, api.ProvisionerRequest, string, func(agent.Application) (bool, error)) (api.ProvisionerReport, error) {
	return api.ProvisionerReport{}, unoffered("adopting the Provisioner")
}
