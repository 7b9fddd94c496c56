package httpapi

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/report"
)

// preflight is running the checks, and what they found.
func (v *version1) preflight() {
	route(v.api, api.Approve, accepted(operation(http.MethodPost, "/agents/{agent}/preflight-runs", "run-preflight", "preflight", "Run every check",
		"The job's events tell each finding as it comes, and its result is the report, which is kept. Nothing is changed.")),
		func(ctx context.Context, in *AgentPath) (*jobAnswer, error) {
			return answerJob(v.runPreflight(ctx, in.Agent))
		})
	route(v.api, api.View, operation(http.MethodGet, "/agents/{agent}/preflight-runs", "list-preflight-runs", "preflight", "List the kept reports", "The newest first, without the evidence of their findings."),
		func(ctx context.Context, in *struct {
			AgentPath
			Limit int `query:"limit" default:"20" minimum:"0" maximum:"10000" doc:"How many at most; 0 is all that are kept."`
		}) (*body[[]api.PreflightReport], error) {
			return ask(ctx, v.Server, func(d Door) ([]api.PreflightReport, error) {
				all, err := d.PreflightRuns(ctx, in.Agent, in.Limit)
				return list(all), unlisted(err)
			})
		})
	v.preflightReport()
	route(v.api, api.View, operation(http.MethodPost, "/preflight/verify", "verify-preflight", "preflight", "Tell whether a report is genuine",
		"A report is genuine if its digest is that of what it says, and the ledger, whose chain is intact, has an entry of that digest."),
		func(ctx context.Context, in *struct{ Body api.PreflightReport }) (*body[api.PreflightVerdict], error) {
			return ask(ctx, v.Server, func(d Door) (api.PreflightVerdict, error) { return d.PreflightVerify(ctx, in.Body) })
		})
	route(v.api, api.View, operation(http.MethodGet, "/agents/{agent}/findings", "list-findings", "preflight", "The findings of the newest run", "404 where none has run."),
		func(ctx context.Context, in *AgentPath) (*body[api.AgentFindings], error) {
			return ask(ctx, v.Server, func(d Door) (api.AgentFindings, error) {
				r, err := d.PreflightRun(ctx, in.Agent, "latest")
				return api.AgentFindings{Run: r.ID, At: r.At, Green: r.Green, Findings: list(r.Findings)}, unlisted(err)
			})
		})
}

func (v *version1) runPreflight(ctx context.Context, name string) (api.Job, error) {
	if _, err := ask(ctx, v.Server, func(d Door) (api.AgentSummary, error) { return summary(ctx, d, name) }); err != nil {
		return api.Job{}, err
	}
	return v.desk.begin(ctx, preflightOf(name))
}

// preflightOf is the work of a run. Nothing of it needs approval, so that it has begun when it begins.
func preflightOf(name string) assignment {
	return assignment{agent: name, verb: preflightVerb, do: func(ctx context.Context, d Door, begun func(), events func(api.Event)) (any, error) {
		begun()
		r, err := d.Preflight(ctx, api.PreflightRequest{Agent: name}, events)
		if err != nil && r.Digest == "" {
			return nil, err
		}
		return r, err // beside an error it was made, and not kept
	}}
}

type reportInput struct {
	AgentPath
	ID     string        `path:"id" doc:"Id of the run, or latest." example:"latest" maxLength:"64"`
	Format report.Format `query:"format" default:"json" enum:"json,sarif,junit,html" doc:"sarif is SARIF 2.1.0; html is one file that needs no script. Each holds the whole report: leastkey preflight verify reads them all."`
}

// reportFile is a report as a file.
type reportFile struct {
	ContentType string `header:"Content-Type"`
	Disposition string `header:"Content-Disposition" doc:"A name for the file."`
	Body        []byte
}

// preflightReport gives one run, in the format that is asked for.
func (v *version1) preflightReport() {
	op := operation(http.MethodGet, "/agents/{agent}/preflight-runs/{id}", "get-preflight-run", "preflight", "Show or export a report", "With everything that was asked and answered, redacted.")
	op.Responses = map[string]*huma.Response{"200": {Description: "The report.", Content: map[string]*huma.MediaType{
		"application/json":       {Schema: v.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.PreflightReport](), true, "PreflightReport")},
		"application/sarif+json": {Schema: &huma.Schema{Type: huma.TypeObject, Description: "SARIF 2.1.0", AdditionalProperties: true}},
		"application/xml":        {Schema: &huma.Schema{Type: huma.TypeString, Description: "JUnit"}},
		"text/html":              {Schema: &huma.Schema{Type: huma.TypeString}},
	}}}
	route(v.api, api.View, op, func(ctx context.Context, in *reportInput) (*reportFile, error) {
		got, err := ask(ctx, v.Server, func(d Door) (api.PreflightReport, error) {
			r, err := d.PreflightRun(ctx, in.Agent, in.ID)
			return r, unlisted(err)
		})
		if err != nil {
			return nil, err
		}
		b, err := report.Write(got.Body, in.Format)
		if err != nil {
			return nil, err
		}
		return &reportFile{ContentType: in.Format.Media(), Disposition: `attachment; filename="leastkey-preflight` + in.Format.Suffix() + `"`, Body: b}, nil
	})
}
