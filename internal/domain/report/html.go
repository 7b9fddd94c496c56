package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed" // for the page
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/plain"
)

//go:embed report.gohtml
var pageText string

//go:embed report.css
var pageStyle string

// opening is where the report begins in a page. A script element of a type that is no script's holds data, and nothing runs it
// (https://html.spec.whatwg.org/multipage/scripting.html#data-block).
const opening = `<script type="application/json" id="leastkey-report">`

// page is the report for people: one file, which asks for nothing and runs nothing, whatever the texts in it say.
func page(r api.PreflightReport) ([]byte, error) {
	own, err := json.Marshal(r) // it escapes <, > and &, so that no text in it can end the element
	if err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	t, err := template.New("report").Funcs(template.FuncMap{
		"outcome": finding.Outcome.Word, "when": when, "took": took, "web": Website, "changed": changed(r),
		"open": Open, "tally": Tally, "or": func(a, b string) string { return cmp.Or(a, b) },
	}).Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("the report's page: %w", err)
	}
	sum := sha256.Sum256([]byte(pageStyle))
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"R": r, "Groups": Groups(r.Findings), "Headline": Headline(r), "Style": template.CSS(pageStyle), "Own": template.JS(plain.JSON(own)),
		"Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'",
	})
	if err != nil {
		return nil, fmt.Errorf("write the report's page: %w", err)
	}
	return []byte(plain.Text(b.String())), nil // the report itself has been escaped as JSON
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func took(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

// changed says what the check's outcome was in the run before, where it was another.
func changed(r api.PreflightReport) func(id string) string {
	return func(id string) string {
		for _, c := range r.Changes {
			switch {
			case c.ID != id:
			case c.Was == "":
				return "not asked in the run before"
			default:
				return "was " + strings.ToLower(c.Was.Word()) + " in the run before"
			}
		}
		return ""
	}
}

// inPage finds the report of a page.
func inPage(b []byte) ([]byte, error) {
	_, rest, ok := bytes.Cut(b, []byte(opening))
	if !ok {
		return nil, fmt.Errorf("it is a page of something else")
	}
	own, _, ok := bytes.Cut(rest, []byte("</script>"))
	if !ok {
		return nil, fmt.Errorf("it is cut off")
	}
	return own, nil
}
