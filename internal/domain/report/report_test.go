package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/report"
)

// hostile is what a display name may hold: the ends of every element and section that a form has, and what no form can hold.
const hostile = "</script><script>alert(1)</script> ]]> --> \" ' & <b> \x00 \x1b[31m \u2028 \u202e \ufffe \U000e0001 é 漢"

func at(second int) time.Time { return time.Date(2026, 8, 12, 9, 30, second, 123456789, time.UTC) }

// example has every outcome, in every category.
func example() api.PreflightReport {
	evidence := []finding.Evidence{{Asked: "GET https://graph/applications?$filter=x eq '" + hostile + "'", Answer: `{"a":"` + hostile + `"}`, Status: 200, At: at(1), Took: 12 * time.Millisecond, Digest: "ab"}, {Asked: "file /x", Answer: "mode 0600", At: at(2)}}
	all := []finding.Finding{
		{ID: "identity-configured", Category: finding.Identity, Severity: finding.Critical, Required: true, Name: "Identity is there", Question: "Is there one?", Outcome: finding.Pass, Detail: "it is", Evidence: evidence, Docs: "docs/preflight.md#identity-configured"},
		{ID: "owners", Category: finding.Identity, Severity: finding.Medium, Question: "Who owns it?", Outcome: finding.Warn, Detail: hostile, Remedy: "remove " + hostile, Docs: "docs/preflight.md#owners"},
		{ID: "policy", Category: finding.Identity, Severity: finding.Low, Question: "Which policy?", Outcome: finding.Unknown, Detail: "403"},
		{ID: "elevated", Category: finding.RBAC, Severity: finding.High, Required: true, Question: "Is a role elevated?", Outcome: finding.Fail, Detail: "Owner on the subscription\nand another", Remedy: "leastkey roles fix", Evidence: evidence},
		{ID: "scope", Category: finding.RBAC, Severity: finding.High, Required: true, Question: "Are scopes right?", Outcome: finding.Unknown, Detail: "timeout"},
		{ID: "probe", Category: finding.RBAC, Severity: finding.High, Required: true, Question: "Can it delete?", Outcome: finding.Skip, Cause: "scope", Detail: "not asked"},
		{ID: "vault", Category: finding.Secrets, Severity: finding.Low, Question: "Is there a vault?", Outcome: finding.Skip, Detail: "the spec names none"},
	}
	r := api.PreflightReport{
		ID: "0123456789abcdef0123456789abcdef", Agent: "bot", Kind: "service-principal", Cloud: "local", TenantID: "t", Subscription: "s", AppID: "a", PrincipalID: "p",
		As: api.Caller{Operator: "az", Name: hostile, TenantID: "t"}, At: at(0), Version: "0.1.0", Findings: all, Counts: api.Count(all), Green: finding.Green(all),
		Changes: []api.PreflightChange{{ID: "owners", Was: finding.Pass, Now: finding.Warn}, {ID: "vault", Now: finding.Skip}}, Before: "ffff",
		Requests: 12, Rounds: 4, WallMS: 345, LedgerHead: strings.Repeat("cd", 32),
	}
	r.Digest = r.Seal()
	return r
}

func write(t *testing.T, r api.PreflightReport, f report.Format) []byte {
	t.Helper()
	b, err := report.Write(r, f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEveryFormIsReadBackWhole(t *testing.T) {
	healthy := api.PreflightReport{ID: "1", Agent: "bot", At: at(0), Green: true}
	healthy.Digest = healthy.Seal()
	for name, r := range map[string]api.PreflightReport{"with every outcome": example(), "with nothing in it": healthy} {
		for _, f := range report.Formats() {
			b := write(t, r, f)
			d, err := report.Read(b)
			if err != nil {
				t.Errorf("%s %s: %v\n%s", f, name, err, b)
				continue
			}
			if d.Format != f || d.Differs != "" || !reflect.DeepEqual(d.Report, r) || d.Report.Seal() != r.Digest {
				t.Errorf("%s %s: %s %q\n%+v", f, name, d.Format, d.Differs, d.Report)
			}
			if !bytes.Equal(b, write(t, r, f)) {
				t.Errorf("%s: two writings differ", f)
			}
			if i := bytes.IndexFunc(b, func(r rune) bool { return r < 0x20 && r != '\n' && r != '\t' || r == 0x202e || r == 0xfffe }); i >= 0 {
				t.Errorf("%s holds a character that a terminal acts on, or XML cannot hold, at %d: %q", f, i, b[max(0, i-20):i+20])
			}
			if d, err := report.Read(append([]byte("\ufeff\n"), append(b, "\n\n"...)...)); err != nil || d.Differs != "" {
				t.Errorf("%s with a mark before it: %v %s", f, err, d.Differs)
			}
		}
	}
	if _, err := report.Write(example(), "pdf"); !fault.Is(err, fault.Usage) {
		t.Error(err)
	}
}

// A change of the report breaks its seal; a change of what stands beside it is seen because the form is written again.
func TestNoFormCanBeEdited(t *testing.T) {
	for _, tt := range []struct {
		name     string
		form     report.Format
		old, new string
	}{
		{"an outcome of the report", report.JSON, `"outcome": "fail"`, `"outcome": "pass"`},
		{"the verdict, with a second one", report.JSON, `"green": false`, `"green": false, "green": true`},
		{"the verdict, with a first one", report.JSON, `"green": false`, `"green": true, "green": false`},
		{"the verdict, in capitals", report.JSON, `"green": false`, `"green": false, "GREEN": false`},
		{"the result's level", report.SARIF, `"level": "error",`, `"level": "note",`},
		{"the message", report.SARIF, `Owner on the subscription`, `Reader on the subscription`},
		{"a second report in SARIF", report.SARIF, `"counts": {`, `"report": {}, "counts": {`},
		{"the text of the page", report.HTML, `class="verdict red">Not green`, `class="verdict green">Green`},
		{"a script in the page", report.HTML, `</main>`, `<script>1</script></main>`},
		{"a result of JUnit", report.JUnit, `<failure message="Owner`, `<skipped message="Owner`},
		{"a comment in JUnit", report.JUnit, `<testcase`, `<!-- x --><testcase`},
	} {
		b := write(t, example(), tt.form)
		edited := bytes.Replace(b, []byte(tt.old), []byte(tt.new), 1)
		if bytes.Equal(b, edited) {
			t.Errorf("%s: there is no %q in it", tt.name, tt.old)
		}
		d, err := report.Read(edited)
		if err == nil && d.Differs == "" && d.Report.Seal() == d.Report.Digest {
			t.Errorf("%s: it passes for the report", tt.name)
		}
	}
}

func TestAnotherLayoutOfJSONIsTheSame(t *testing.T) {
	for _, f := range []report.Format{report.JSON, report.SARIF} {
		var b bytes.Buffer
		if err := json.Compact(&b, write(t, example(), f)); err != nil {
			t.Fatal(err)
		}
		if d, err := report.Read(b.Bytes()); err != nil || d.Differs != "" || d.Report.Seal() != d.Report.Digest {
			t.Errorf("%s: %v %q", f, err, d.Differs)
		}
	}
}

func TestWhatIsNoReportIsRefused(t *testing.T) {
	whole := string(write(t, example(), report.JSON))
	for name, text := range map[string]string{
		"nothing":              "",
		"a letter":             "x",
		"JSON of another kind": `{"agent":"bot"}`,
		"a list":               `[]`,
		"a report cut off":     whole[:len(whole)/2],
		"a later version's":    strings.Replace(whole, `"id":`, `"new": 1, "id":`, 1),
		"two reports":          whole + whole,
		"SARIF of another":     `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"x"}},"results":[]}]}`,
		"SARIF of two runs":    `{"version":"2.1.0","runs":[{"properties":{"report":{}}},{}]}`,
		"JUnit of another":     `<?xml version="1.0"?><testsuites/>`,
		"JUnit that talks":     `<?xml version="1.0"?><testsuites><system-out>hello</system-out></testsuites>`,
		"XML cut off":          `<?xml version="1.0"?><testsuites><system-out>`,
		"another page":         `<!doctype html><title>x</title>`,
		"a page cut off":       `<!doctype html><script type="application/json" id="leastkey-report">{}`,
	} {
		d, err := report.Read([]byte(text))
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %+v %v", name, d, err)
		}
	}
}

func TestSARIFSaysWhatTheReportSays(t *testing.T) {
	var log struct {
		Runs []struct {
			Invocations []struct {
				ExitCode int `json:"exitCode"`
			}
			Tool struct {
				Driver struct {
					Rules []struct{ ID, HelpURI string }
				}
			}
			Results []struct {
				RuleID, Kind, Level, BaselineState string
				PartialFingerprints                map[string]string
			}
			Properties struct{ Digest, LedgerHead string }
		}
	}
	r := example()
	if err := json.Unmarshal(write(t, r, report.SARIF), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	want := [][4]string{
		{"identity-configured", "pass", "none", "unchanged"}, {"owners", "fail", "warning", "updated"}, {"policy", "open", "none", "unchanged"},
		{"elevated", "fail", "error", "unchanged"}, {"scope", "open", "none", "unchanged"}, {"probe", "notApplicable", "none", "unchanged"}, {"vault", "notApplicable", "none", "new"},
	}
	prints := map[string]bool{}
	for i, res := range run.Results {
		if got := [4]string{res.RuleID, res.Kind, res.Level, res.BaselineState}; got != want[i] {
			t.Errorf("result %d is %v, want %v", i, got, want[i])
		}
		prints[res.PartialFingerprints["checkOfAgent/v1"]] = true
	}
	if len(run.Results) != len(want) || len(prints) != len(want) || len(run.Tool.Driver.Rules) != len(want) {
		t.Errorf("%d results, %d fingerprints, %d rules", len(run.Results), len(prints), len(run.Tool.Driver.Rules))
	}
	if run.Properties.Digest != r.Digest || run.Properties.LedgerHead != r.LedgerHead || run.Invocations[0].ExitCode != 3 {
		t.Errorf("%+v", run.Properties)
	}
	if !strings.HasSuffix(run.Tool.Driver.Rules[1].HelpURI, "docs/preflight.md#owners") {
		t.Error(run.Tool.Driver.Rules[1])
	}
}

func TestJUnitCountsWhatNobodyCouldTellAsAnError(t *testing.T) {
	var got struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Suites   []struct {
			Name    string `xml:"name,attr"`
			Skipped int    `xml:"skipped,attr"`
			Cases   []struct {
				Name    string    `xml:"name,attr"`
				Failure *struct{} `xml:"failure"`
				Error   *struct{} `xml:"error"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(write(t, example(), report.JUnit), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 7 || got.Failures != 1 || got.Errors != 2 || len(got.Suites) != 3 {
		t.Errorf("%+v", got)
	}
	said := map[string]string{}
	for _, s := range got.Suites {
		for _, c := range s.Cases {
			switch {
			case c.Failure != nil:
				said[c.Name] = "failure"
			case c.Error != nil:
				said[c.Name] = "error"
			case c.Skipped != nil:
				said[c.Name] = "skipped"
			default:
				said[c.Name] = "passed"
			}
		}
	}
	want := map[string]string{"identity-configured": "passed", "owners": "passed", "policy": "skipped", "elevated": "failure", "scope": "error", "probe": "error", "vault": "skipped"}
	if !reflect.DeepEqual(said, want) {
		t.Errorf("%v, want %v", said, want)
	}
}

func TestThePageAsksForNothingAndRunsNothing(t *testing.T) {
	page := string(write(t, example(), report.HTML))
	if n := strings.Count(page, "<script"); n != 1 {
		t.Errorf("it has %d script elements, one of which is data", n)
	}
	for _, bad := range []string{"<link", "<img", "src=", "@import", "url(", "onclick", "<b>", "alert(1)</script> ]]"} {
		if strings.Contains(page, bad) {
			t.Errorf("it has %s", bad)
		}
	}
	for _, good := range []string{"Not green: 1 passed, 1 failed, 1 warned, 2 unknown, 2 skipped", `<html lang="en">`, `content="default-src &#39;none&#39;`, "was pass in the run before", "because of <a href=\"#scope\">", "Evidence (2)"} {
		if !strings.Contains(page, good) {
			t.Errorf("it lacks %s", good)
		}
	}
}

func FuzzRead(f *testing.F) {
	r := example()
	for _, form := range report.Formats() {
		b, err := report.Write(r, form)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := report.Read(b)
		if err != nil || d.Differs != "" {
			return
		}
		if d.Report.Seal() == r.Digest && !reflect.DeepEqual(d.Report, r) {
			t.Error("another report has the digest")
		}
	})
}
