package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/plain"
)

// JUnit's report, of which there is no standard: what Jenkins' schema (https://github.com/jenkinsci/xunit-plugin, junit-10.xsd) allows.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		ID         string          `xml:"id,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Timestamp  string          `xml:"timestamp,attr"`
		Time       string          `xml:"time,attr"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
		Out        *junitData      `xml:"system-out"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name    string     `xml:"name,attr"`
		Class   string     `xml:"classname,attr"`
		Skipped *junitSaid `xml:"skipped"`
		Error   *junitSaid `xml:"error"`
		Failure *junitSaid `xml:"failure"`
		Out     *junitData `xml:"system-out"`
	}
	junitSaid struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
	junitData struct {
		Text string `xml:",cdata"`
	}
)

// junit has a suite for each category. A required check that nobody could answer is an error; an advisory one is skipped, since a program
// that reads this knows no third word.
func junit(r api.PreflightReport) ([]byte, error) {
	wall := fmt.Sprintf("%.3f", (time.Duration(r.WallMS) * time.Millisecond).Seconds())
	all := junitSuites{Name: "leastkey preflight of " + r.Agent, Time: wall}
	for i, g := range Groups(r.Findings) {
		s := junitSuite{
			Name: "preflight of " + r.Agent + ": " + g.Title(), ID: fmt.Sprint(i), Timestamp: r.At.UTC().Format("2006-01-02T15:04:05"), Time: wall,
			Properties: []junitProperty{{"agent", r.Agent}, {"tenant", r.TenantID}, {"report", r.ID}, {"digest", r.Digest}, {"ledger_head", r.LedgerHead}, {"green", fmt.Sprint(r.Green)}},
		}
		for _, f := range g.Findings {
			s.add(f)
		}
		all.Tests, all.Failures, all.Errors, all.Suites = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors, append(all.Suites, s)
	}
	if all.Suites == nil {
		all.Suites = []junitSuite{{Name: "preflight of " + r.Agent, ID: "0", Time: wall}}
	}
	own, err := json.Marshal(r) // it escapes <, > and &, so that no CDATA section ends in it
	if err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	all.Suites[len(all.Suites)-1].Out = &junitData{string(plain.JSON(own))}
	b, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}

func (s *junitSuite) add(f finding.Finding) {
	c := junitCase{Name: f.ID, Class: "leastkey.preflight." + cmp.Or(string(f.Category), "other")}
	detail := harmless(cmp.Or(f.Detail, f.Question))
	said := &junitSaid{Message: detail, Text: story(f)}
	s.Tests++
	switch {
	case f.Outcome == finding.Pass:
		c.Out = &junitData{detail}
	case f.Outcome == finding.Warn:
		c.Out = &junitData{"warning: " + detail + "\n" + story(f)}
	case f.Outcome == finding.Fail:
		said.Type = string(f.Severity)
		c.Failure = said
		s.Failures++
	case f.Outcome == finding.Skip && !(f.Required && f.Cause != ""):
		c.Skipped = &junitSaid{Message: detail}
		s.Skipped++
	case f.Required:
		said.Type = string(f.Outcome)
		c.Error = said
		s.Errors++
	default:
		c.Skipped = &junitSaid{Message: "unknown: " + detail}
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

// story is the question, what to do, and what the answer rests on.
func story(f finding.Finding) string {
	var b strings.Builder
	b.WriteString(f.Question + "\n")
	if f.Remedy != "" {
		b.WriteString("do: " + f.Remedy + "\n")
	}
	for _, e := range f.Evidence {
		fmt.Fprintf(&b, "asked %s, came back %s", e.Asked, e.Answer)
		if e.Status != 0 {
			fmt.Fprintf(&b, " (%d)", e.Status)
		}
		b.WriteString("\n")
	}
	return harmless(b.String())
}

// harmless makes what XML cannot hold (https://www.w3.org/TR/xml/#charsets), and what a terminal might act on, a visible escape.
func harmless(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\t' || r == '\n' || strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRuneToASCII(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// inJUnit finds the report: what the last suite has said.
func inJUnit(b []byte) ([]byte, error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	var last []byte
	for {
		t, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("it is not whole XML")
		}
		if e, ok := t.(xml.StartElement); ok && e.Name.Local == "system-out" {
			var text string
			if err := d.DecodeElement(&text, &e); err != nil {
				return nil, fmt.Errorf("it is not whole XML")
			}
			last = []byte(text)
		}
	}
	if last == nil {
		return nil, fmt.Errorf("it is JUnit of another tool")
	}
	return last, nil
}
