// Package report writes what a run of the preflight has found in the forms that other programs and people read, and reads it back.
//
// Every form holds the report itself beside what it makes of it, and is a pure function of the report: [Read] writes the form again and
// compares, so that a page whose text was changed and whose report was not does not pass for the report.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/plain"
)

// Format is a form of the report.
type Format string

// The forms.
const (
	JSON  Format = "json"
	SARIF Format = "sarif" // 2.1.0, OASIS
	JUnit Format = "junit" // as Jenkins, GitLab and Azure Pipelines read it
	HTML  Format = "html"  // one file that asks for nothing else
)

// Formats are all of them.
func Formats() []Format { return []Format{JSON, SARIF, JUnit, HTML} }

// Media is the form's media type, and Suffix the end of its file's name.
func (f Format) Media() string {
	switch f {
	case SARIF:
		return "application/sarif+json"
	case JUnit:
		return "application/xml"
	case HTML:
		return "text/html; charset=utf-8"
	}
	return "application/json"
}

// Suffix is how a file of the form is called.
func (f Format) Suffix() string {
	if f == JUnit {
		return ".xml"
	}
	return "." + string(f)
}

// Write writes the report in the form. fault.Usage: there is no such form.
func Write(r api.PreflightReport, f Format) ([]byte, error) {
	switch f {
	case JSON:
		return document(r)
	case SARIF:
		return document(sarif(r))
	case JUnit:
		return junit(r)
	case HTML:
		return page(r)
	}
	return nil, fault.New(fault.Usage, fmt.Sprintf("no form %q of a report", f), "there are json, sarif, junit and html")
}

// Document is a report that was read, and the form that it was in.
type Document struct {
	Report  api.PreflightReport
	Format  Format
	Differs string // what the document shows beside the report is not what the report says; "" where it is
}

// Read finds the report in a document of any form. Whether it is sealed is another question: see [api.PreflightReport.Seal]. fault.Invalid:
// no report is in it. Errors do not echo the content.
func Read(b []byte) (Document, error) {
	b = bytes.TrimPrefix(b, []byte("\ufeff")) // some editors put it there
	form, inner, err := find(b)
	if err != nil {
		return Document{}, invalid(err)
	}
	d := Document{Format: form}
	if d.Report, err = decode(inner); err != nil {
		return Document{}, invalid(err)
	}
	again, err := Write(d.Report, form)
	if err != nil {
		return Document{}, err
	}
	if !same(form, b, again) {
		d.Differs = "the document does not show what its report says: it was changed, or another version of leastkey than this one wrote it"
		if d.Report.Version != "" {
			d.Differs += " (the report names " + d.Report.Version + ")"
		}
	}
	return d, nil
}

func invalid(err error) error {
	return fault.New(fault.Invalid, "no preflight report is in it: "+err.Error(), "leastkey preflight --format json, sarif, junit or html writes one")
}

// find tells the form, and gives the report's own JSON.
func find(b []byte) (Format, []byte, error) {
	text := bytes.TrimSpace(b)
	switch {
	case bytes.HasPrefix(text, []byte("{")):
		return inJSON(text)
	case bytes.HasPrefix(text, []byte("<?xml")):
		inner, err := inJUnit(text)
		return JUnit, inner, err
	case bytes.HasPrefix(bytes.ToLower(text[:min(len(text), 20)]), []byte("<!doctype html")):
		inner, err := inPage(text)
		return HTML, inner, err
	}
	return "", nil, fmt.Errorf("it is neither JSON nor XML nor HTML")
}

// decode is strict: a field that we do not know is no part of the seal, and a person could take it for one.
func decode(b []byte) (api.PreflightReport, error) {
	var r api.PreflightReport
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return r, fmt.Errorf("it is cut off, or has a field that this version does not know")
	}
	if d.More() {
		return r, fmt.Errorf("something follows it")
	}
	if r.ID == "" || r.Agent == "" || r.Digest == "" {
		return r, fmt.Errorf("it has no id, agent or digest")
	}
	return r, nil
}

// same tells whether two documents say the same. JSON may be laid out anew, but every name and value must stand where it stood: decoders
// differ in which of two equal names they take, so a second one could show another outcome to whoever reads it with another tool.
func same(f Format, got, want []byte) bool {
	if f != JSON && f != SARIF {
		return bytes.Equal(bytes.TrimSpace(got), bytes.TrimSpace(want))
	}
	a, b := json.NewDecoder(bytes.NewReader(got)), json.NewDecoder(bytes.NewReader(want))
	a.UseNumber()
	b.UseNumber()
	for {
		x, errX := a.Token()
		y, errY := b.Token()
		if errX != nil || errY != nil {
			return errX == errY // both io.EOF
		}
		if x != y {
			return false
		}
	}
}

// document is a value as indented JSON.
func document(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	return append(plain.JSON(b), '\n'), nil
}

// Group is the findings of one category.
type Group struct {
	Category finding.Category
	Findings []finding.Finding
}

// Title is the category as a heading.
func (g Group) Title() string { return Heading(g.Category) }

// Counts are the outcomes of the group.
func (g Group) Counts() api.Counts { return api.Count(g.Findings) }

// Groups are the categories in the order of their first finding.
func Groups(all []finding.Finding) []Group {
	var g []Group
	for _, f := range all {
		i := slices.IndexFunc(g, func(g Group) bool { return g.Category == f.Category })
		if i < 0 {
			i, g = len(g), append(g, Group{Category: f.Category})
		}
		g[i].Findings = append(g[i].Findings, f)
	}
	return g
}

// Heading is a category as people read it.
func Heading(c finding.Category) string {
	switch c {
	case finding.Identity:
		return "Identity"
	case finding.RBAC:
		return "Roles (RBAC)"
	case finding.Secrets:
		return "Secrets"
	}
	return string(c)
}

// Headline is the verdict in a sentence.
func Headline(r api.PreflightReport) string {
	if !r.Green {
		return "Not green: " + Tally(r.Counts)
	}
	return "Green: " + Tally(r.Counts)
}

// Tally is the outcomes in words; what did not happen is left out.
func Tally(counts api.Counts) string {
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{{counts.Passed, "passed"}, {counts.Failed, "failed"}, {counts.Warnings, "warned"}, {counts.Unknown, "unknown"}, {counts.Skipped, "skipped"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if parts == nil {
		return "nothing was checked"
	}
	return strings.Join(parts, ", ")
}

// Open tells whether somebody should look: the check neither passed nor was without its question.
func Open(f finding.Finding) bool {
	return f.Outcome != finding.Pass && (f.Outcome != finding.Skip || f.Cause != "")
}

// Website is where the documentation of a check stands, as an address: the finding names a file of the repository.
func Website(docs string) string {
	if docs == "" {
		return ""
	}
	return "https://github.com/leastkey/leastkey/blob/main/" + docs
}
