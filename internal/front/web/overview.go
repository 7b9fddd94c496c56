package web

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
)

// routes are the pages for those who have signed in.
func (s *site) routes(mux *http.ServeMux) {
	for pattern, h := range map[string]http.HandlerFunc{
		"GET /{$}":                         s.page(api.View, (*visit).overview),
		"GET /agents/{agent}":              s.page(api.View, (*visit).agent),
		"GET /agents/{agent}/plan/{verb}":  s.page(api.View, (*visit).plan),
		"POST /agents/{agent}/plan/{verb}": s.page(api.Full, (*visit).carryOut),
		"GET /agents/{agent}/fix":          s.page(api.View, (*visit).fix),
		"POST /agents/{agent}/fix":         s.page(api.Full, (*visit).carryOutFix),
		"GET /agents/{agent}/preflight":    s.page(api.View, (*visit).preflight),
		"POST /agents/{agent}/preflight":   s.page(api.Approve, (*visit).runPreflight),
		"GET /ledger":                      s.recall(api.View, (*visit).ledger),
		"GET /provisioner":                 s.page(api.View, (*visit).provisioner),
		"GET /provisioner/plan/{verb}":     s.page(api.View, (*visit).provisionerPlan),
		"POST /provisioner/plan/{verb}":    s.page(api.Full, (*visit).carryOutProvisioner),
		"GET /jobs":                        s.recall(api.View, (*visit).jobs),
		"GET /jobs/{id}":                   s.recall(api.View, (*visit).job),
		"GET /jobs/{id}/events":            s.open(api.View, s.Recall, true, (*visit).events),
		"GET /setup":                       s.recall(api.View, (*visit).setup),
		"GET /setup/{step}":                s.setupStep(),
		"POST /setup/file":                 s.recall(api.Full, (*visit).writeSpec),
		"GET /": s.page(api.View, func(v *visit) {
			v.show(http.StatusNotFound, "error", "", "Not found", &api.Problem{Title: "Not Found", Status: http.StatusNotFound, Detail: "there is no page of that address", Hint: "the overview has links to all of them"})
		}),
	} {
		mux.HandleFunc(pattern, h)
	}
}

// agentRow is one agent of the overview.
type agentRow struct {
	Name    string
	Kind    agent.Kind
	Wanted  bool // leastkey.yaml has it
	Status  *api.AgentStatus
	Last    answer[*api.PreflightReport] // nil if there was none
	Running *api.Job
}

// State is how the agent stands, in one word for the badge and its class.
func (r agentRow) State() [2]string {
	switch {
	case r.Running != nil:
		return [2]string{"Busy: " + verbWord(r.Running.Verb), "busy"}
	case r.Status == nil:
		return [2]string{"Not provisioned", "quiet"}
	case r.Status.Open != nil:
		return [2]string{"Stopped midway", "bad"}
	case !r.Status.Record.Provisioned():
		return [2]string{"Not provisioned", "quiet"}
	case api.FindingsExit(r.Status.Findings) != api.ExitDone:
		return [2]string{"Needs attention", "bad"}
	case len(r.Status.Findings) > 0:
		return [2]string{"Provisioned, with warnings", "warn"}
	}
	return [2]string{"Provisioned", "good"}
}

type overviewPage struct {
	Agents  answer[[]agentRow]
	Spec    *api.Problem // why there is no spec
	Running []api.Job
}

func (p overviewPage) reload() bool { return len(p.Running) > 0 }

func (v *visit) overview() {
	page := overviewPage{Running: v.running("")}
	spec, err := v.door.Spec()
	page.Spec = problem(err)
	all, err := v.door.Status(v.ctx(), "")
	if err != nil {
		page.Agents.Problem = problem(err)
		v.show(statusOf(page.Agents.Problem), "overview", "overview", "Agents", page)
		return
	}
	for i := range all {
		row := agentRow{Name: all[i].Record.Agent, Kind: all[i].Record.Kind, Status: &all[i]}
		if a := spec.Agents[row.Name]; a != nil {
			row.Kind, row.Wanted = a.Kind, true
		}
		page.Agents.V = append(page.Agents.V, row)
	}
	for name, a := range spec.Agents {
		if !slices.ContainsFunc(page.Agents.V, func(r agentRow) bool { return r.Name == name }) {
			page.Agents.V = append(page.Agents.V, agentRow{Name: name, Kind: a.Kind, Wanted: true})
		}
	}
	slices.SortFunc(page.Agents.V, func(a, b agentRow) int { return strings.Compare(a.Name, b.Name) })
	for i := range page.Agents.V {
		r := &page.Agents.V[i]
		r.Last = v.lastRun(r.Name)
		if run := v.changing(r.Name); len(run) > 0 {
			r.Running = &run[0]
		}
	}
	v.show(http.StatusOK, "overview", "overview", "Agents", page)
}

// lastRun is the newest preflight of an agent, nil if there was none. It is read from the record here, so it is known also where a cloud has
// used up the time that the page may look.
func (v *visit) lastRun(name string) answer[*api.PreflightReport] {
	runs, err := v.door.PreflightRuns(context.WithoutCancel(v.ctx()), name, 1)
	if err != nil || len(runs) == 0 {
		return ask[*api.PreflightReport](nil, err)
	}
	return ask(&runs[0], nil)
}

// running are the jobs that run, of one agent or of all.
func (v *visit) running(name string) []api.Job {
	return slices.DeleteFunc(v.Jobs.List(), func(j api.Job) bool {
		return j.Status != api.JobRunning || name != "" && j.Agent != name
	})
}

// changing are those that change the agent. A preflight runs beside a change, so it keeps nobody from one.
func (v *visit) changing(name string) []api.Job {
	return slices.DeleteFunc(v.running(name), func(j api.Job) bool { return j.Verb == "preflight" })
}

func (s *site) login(w http.ResponseWriter, r *http.Request) {
	v := &visit{site: s, w: w, r: r}
	v.show(http.StatusOK, "login", "", "Sign in", nil)
}
