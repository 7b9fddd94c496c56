package web

import (
	"context"
	"slices"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// keptRuns is how many runs the trend shows.
const keptRuns = 12

type preflightPage struct {
	Agent   string
	Report  answer[*api.PreflightReport] // nil if no run is kept
	Runs    answer[[]api.PreflightReport]
	Only    finding.Outcome // "" shows all
	Running []api.Job
	From    string
	Newest  bool
}

func (p preflightPage) reload() bool { return len(p.Running) > 0 }

// group is the checks of one category that are shown.
type group struct {
	Title    string
	ID       string
	Findings []finding.Finding
	Of       int // all of the category
}

// Groups sorts the findings by category, in the order of the seed; a category that has none is left out.
func (p preflightPage) Groups() []group {
	if p.Report.V == nil {
		return nil
	}
	all := []group{{Title: "Identity verification", ID: string(finding.Identity)}, {Title: "RBAC verification", ID: string(finding.RBAC)},
		{Title: "Secret isolation", ID: string(finding.Secrets)}, {Title: "Other checks", ID: "other"}}
	for _, f := range p.Report.V.Findings {
		at := slices.IndexFunc(all, func(g group) bool { return g.ID == string(f.Category) })
		if at < 0 {
			at = len(all) - 1
		}
		all[at].Of++
		if p.Only == "" || p.Only == f.Outcome {
			all[at].Findings = append(all[at].Findings, f)
		}
	}
	return slices.DeleteFunc(all, func(g group) bool { return g.Of == 0 })
}

// Worst are the checks that somebody has to look at.
func (p preflightPage) Worst() (all []finding.Finding) {
	for _, f := range p.Report.V.Findings {
		if f.Outcome == finding.Fail || f.Outcome == finding.Unknown {
			all = append(all, f)
		}
	}
	return all
}

// tile is one of the counts, which is also the filter for it.
type tile struct {
	Outcome finding.Outcome
	N       int
}

// Tiles are the counts of the run, the worst first.
func (p preflightPage) Tiles() []tile {
	c := p.Report.V.Counts
	return []tile{{finding.Fail, c.Failed}, {finding.Unknown, c.Unknown}, {finding.Warn, c.Warnings}, {finding.Pass, c.Passed}, {finding.Skip, c.Skipped}}
}

// Formats are what a report is exported as, by the API.
func (preflightPage) Formats() [][2]string {
	return [][2]string{{"json", "JSON"}, {"sarif", "SARIF 2.1.0"}, {"junit", "JUnit"}, {"html", "HTML"}}
}

func (v *visit) preflight() {
	name := v.r.PathValue("agent")
	page := preflightPage{Agent: name, Only: finding.Outcome(v.r.Form.Get("outcome")), Running: v.running(name), From: v.from()}
	if !slices.Contains([]finding.Outcome{finding.Pass, finding.Fail, finding.Warn, finding.Skip, finding.Unknown}, page.Only) {
		page.Only = ""
	}
	page.Runs = ask(v.door.PreflightRuns(v.ctx(), name, keptRuns))
	run := v.r.Form.Get("run")
	report, err := v.door.PreflightRun(v.ctx(), name, run)
	switch {
	case err == nil:
		page.Report = ask(&report, nil)
		page.Newest = run == "" || len(page.Runs.V) > 0 && page.Runs.V[0].ID == report.ID
	case fault.Is(err, fault.NotFound) && run == "": // there was none yet
	default:
		page.Report = ask[*api.PreflightReport](nil, err)
	}
	v.show(statusOf(page.Report.Problem), "preflight", "overview", "Security verification of "+name, page)
}

func (v *visit) runPreflight() {
	name := v.r.PathValue("agent")
	v.start(name, "preflight", func(ctx context.Context, door Door, events func(api.Event)) (any, error) {
		return door.Preflight(ctx, api.PreflightRequest{Agent: name}, events)
	})
}
