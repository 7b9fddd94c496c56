package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// legacyPreflight is the answer of both preflight endpoints.
type legacyPreflight struct {
	Status   string        `json:"status"`
	Checks   []legacyCheck `json:"checks"`
	RunAt    *string       `json:"run_at"`
	Passed   int           `json:"passed"`
	Failed   int           `json:"failed"`
	Warnings int           `json:"warnings"`
	Skipped  int           `json:"skipped"`
}

type legacyCheck struct {
	ID       string `json:"id"`
	Category string `json:"category"`
	Name     string `json:"name"`
	Status   string `json:"status"` // pass, fail, warn or skip
	Detail   string `json:"detail"`
	Evidence string `json:"evidence"`
	Command  string `json:"command"`
}

// lastPreflight is the newest run; one that survives a restart, unlike the original's.
func (l *legacy) lastPreflight(w http.ResponseWriter, r *http.Request) {
	l.with(w, r, func(d Door, name string) error {
		none := legacyPreflight{Status: "ok", Checks: []legacyCheck{}}
		if name == "" {
			answer(w, http.StatusOK, none)
			return nil
		}
		got, err := d.PreflightRun(r.Context(), name, "latest")
		if fault.Is(err, fault.NotFound) {
			answer(w, http.StatusOK, none)
			return nil
		}
		if err != nil {
			return err
		}
		answer(w, http.StatusOK, preflightAs(got))
		return nil
	})
}

func (l *legacy) runPreflight(w http.ResponseWriter, r *http.Request) {
	l.with(w, r, func(_ Door, name string) error {
		if name == "" {
			return noAgent()
		}
		job, err := l.run(r.Context(), preflightOf(name))
		if gone(r.Context(), err) {
			return nil
		}
		if err != nil {
			return err
		}
		if p := job.Problem; p != nil {
			answer(w, legacyStatus(fault.Code(p.Code)), legacyError{Status: "error", Message: p.Detail, Hint: p.Hint})
			return nil
		}
		var got api.PreflightReport
		if err := json.Unmarshal(job.Result, &got); err != nil {
			return fault.Newf(fault.Unknown, "the result of job %s does not read", job.ID)
		}
		answer(w, http.StatusOK, preflightAs(got))
		return nil
	})
}

// runAt is a time as Python's isoformat writes it, with +00:00 for UTC.
const runAt = "2006-01-02T15:04:05.000000-07:00"

func preflightAs(r api.PreflightReport) legacyPreflight {
	out := legacyPreflight{Status: "ok", Checks: []legacyCheck{}, RunAt: orNull(r.At.UTC().Format(runAt))}
	for _, f := range r.Findings {
		c := legacyCheck{ID: f.ID, Category: string(f.Category), Name: f.Name, Status: statusAs(f), Detail: f.Detail, Evidence: evidenceAs(f.Evidence), Command: commandAs(f, r.Agent)}
		if c.Name == "" {
			c.Name = f.Question
		}
		switch c.Status {
		case "pass":
			out.Passed++
		case "fail":
			out.Failed++
		case "warn":
			out.Warnings++
		case "skip":
			out.Skipped++
		}
		out.Checks = append(out.Checks, c)
	}
	return out
}

// statusAs has no word for unknown: where an answer is needed it is no less than a failure, elsewhere a warning.
func statusAs(f finding.Finding) string {
	switch f.Outcome {
	case finding.Pass, finding.Fail, finding.Warn, finding.Skip:
		return string(f.Outcome)
	}
	if f.Required {
		return "fail"
	}
	return "warn"
}

// evidenceAs is the evidence as text: what came back for each thing that was asked.
func evidenceAs(all []finding.Evidence) string {
	var b strings.Builder
	for _, e := range all {
		fmt.Fprintf(&b, "%s\n", e.Asked)
		if e.Status != 0 {
			fmt.Fprintf(&b, "  status %d\n", e.Status)
		}
		for line := range strings.Lines(e.Answer) {
			fmt.Fprintf(&b, "  %s\n", strings.TrimRight(line, "\r\n"))
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

// commandAs is what to ask to see the same: the requests that were made, or, of a check that made none, our own command.
func commandAs(f finding.Finding, agent string) string {
	var asked []string
	for _, e := range f.Evidence {
		if !slices.Contains(asked, e.Asked) {
			asked = append(asked, e.Asked)
		}
	}
	if len(asked) == 0 {
		return "leastkey preflight " + agent
	}
	return strings.Join(asked, "\n")
}
