package reports

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/report"
	"github.com/leastkey/leastkey/internal/testkit/product"
)

// present tells whether a program is there, which it is when the command works.
func present(t *testing.T, command ...string) bool {
	t.Helper()
	err := exec.CommandContext(t.Context(), command[0], command[1:]...).Run()
	switch {
	case err == nil:
		return true
	case os.Getenv("ALLOW_MISSING") == "1":
		t.Logf("missing: %s (%v)", strings.Join(command, " "), err)
	default:
		t.Fatalf("%s: %v; script/deps.sh installs what is needed, or tells its package. ALLOW_MISSING=1 goes on without", strings.Join(command, " "), err)
	}
	return false
}

// samples are a report with every outcome and texts that no form likes, an empty one, and those of the product.
func samples(t *testing.T) map[string]api.PreflightReport {
	t.Helper()
	const hostile = "</script> ]]> \" ' & <b> \x00 \x1b[31m \u2028 \u202e \ufffe é 漢"
	at := time.Date(2026, 8, 12, 9, 30, 0, 123456789, time.UTC)
	var all []finding.Finding
	for i, o := range []finding.Outcome{finding.Pass, finding.Warn, finding.Fail, finding.Unknown, finding.Skip} {
		for j, c := range []finding.Category{finding.Identity, finding.RBAC, finding.Secrets} {
			all = append(all, finding.Finding{ID: string(c) + "_" + string(o), Question: "Is it?", Outcome: o, Detail: hostile, Remedy: hostile, Name: hostile, Category: c,
				Severity: []finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low}[(i+j)%4], Required: j == 0, Docs: "docs/preflight.md#x",
				Evidence: []finding.Evidence{{Asked: hostile, Answer: hostile, Status: 200, At: at, Took: time.Second}}})
		}
	}
	every := api.PreflightReport{ID: "1", Agent: "bot", Cloud: "local", TenantID: "t", At: at, Version: "0.1.0", Findings: all, Counts: api.Count(all), Green: finding.Green(all), WallMS: 12, LedgerHead: "ab",
		Before: "0", Changes: []api.PreflightChange{{ID: "rbac_fail", Was: finding.Pass, Now: finding.Fail}}}
	every.Digest = every.Seal()
	empty := api.PreflightReport{ID: "2", Agent: "bot", At: at, Green: true}
	empty.Digest = empty.Seal()
	made := map[string]api.PreflightReport{"with every outcome": every, "with nothing in it": empty}
	maps.Copy(made, products(t))
	return made
}

// products are reports that the product has made on a local cloud: for an operator who may look, and for one who may not.
func products(t *testing.T) map[string]api.PreflightReport {
	t.Helper()
	binary, err := product.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := product.NewHouse(t, binary)
	var cloud api.CloudInfo
	h.Serve(t, &cloud, "", "cloud", "serve")
	if r := h.Leastkey(t, "apply", "--yes"); r.Code != 0 {
		t.Fatalf("apply: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	made := map[string]api.PreflightReport{}
	for name, operator := range map[string]string{"of a good identity": "local:admin", "by an operator who may not look": "local:nobody"} {
		r := h.Leastkey(t, "preflight", "--json", "--operator", operator)
		doc, err := report.Read([]byte(r.Stdout))
		if err != nil || doc.Differs != "" || len(doc.Report.Findings) == 0 {
			t.Fatalf("preflight %s: exit %d, %v, %s\n%s", name, r.Code, err, doc.Differs, r.Stderr)
		}
		made[name] = doc.Report
	}
	return made
}

func write(t *testing.T, r api.PreflightReport, f report.Format) string {
	t.Helper()
	b, err := report.Write(r, f)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "report"+f.Suffix())
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// validator is Microsoft's program, which npm's package holds for this system.
func validator(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", "..", "script", "reports"))
	if err != nil {
		t.Fatal(err)
	}
	// Their only script makes the program executable, which is done here: no script of a package runs.
	if r := product.Run(t, dir, os.Environ(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"); r.Code != 0 {
		t.Fatalf("npm ci: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	system := map[string]string{"windows": "win32"}[runtime.GOOS]
	if system == "" {
		system = runtime.GOOS
	}
	program := filepath.Join(dir, "node_modules", "@microsoft", "sarif-multitool-"+system, "Sarif.Multitool")
	if runtime.GOOS == "windows" {
		program += ".exe"
	} else if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	return program
}

// complaints are what the validator says of a file: of the schema, and of Microsoft's own rules, without notes.
func complaints(t *testing.T, program, file string) []string {
	t.Helper()
	home := t.TempDir()
	out := filepath.Join(home, "verdict.sarif")
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1"}
	r := product.Run(t, home, env, program, "validate", file, "--output", out)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatalf("exit %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	var log struct {
		Runs []struct {
			Invocations []struct {
				ExecutionSuccessful bool `json:"executionSuccessful"`
			} `json:"invocations"`
			Results []struct {
				RuleID  string `json:"ruleId"`
				Level   string `json:"level"`
				Message struct {
					Text      string   `json:"text"`
					ID        string   `json:"id"`
					Arguments []string `json:"arguments"`
				} `json:"message"`
			} `json:"results"`
		} `json:"runs"`
	}
	if err := json.Unmarshal(b, &log); err != nil || len(log.Runs) != 1 || len(log.Runs[0].Invocations) != 1 || !log.Runs[0].Invocations[0].ExecutionSuccessful {
		t.Fatalf("exit %d, no verdict: %v\n%s\n%s%s", r.Code, err, b, r.Stdout, r.Stderr)
	}
	var all []string
	for _, c := range log.Runs[0].Results {
		all = append(all, strings.TrimSpace(c.Level+" "+c.RuleID+" "+c.Message.ID+" "+c.Message.Text+" "+strings.Join(c.Message.Arguments, ", ")))
	}
	return all
}

// schemaErrors are where a file breaks the published schema, by another implementation of JSON Schema.
func schemaErrors(t *testing.T, program, file string) []string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "script", "reports")
	r := product.Run(t, dir, os.Environ(), "node", "schema.mjs", filepath.Join(filepath.Dir(program), "sarif-2.1.0.json"), file)
	if r.Code != 0 {
		t.Fatalf("schema.mjs: exit %d\n%s", r.Code, r.Stderr)
	}
	return strings.FieldsFunc(r.Stdout, func(c rune) bool { return c == '\n' })
}

func TestMicrosoftsValidatorAcceptsTheSARIF(t *testing.T) {
	if !present(t, "npm", "--version") || !present(t, "node", "--version") {
		return
	}
	program := validator(t)
	all := samples(t)
	for name, r := range all {
		file := write(t, r, report.SARIF)
		for _, c := range append(complaints(t, program, file), schemaErrors(t, program, file)...) {
			t.Errorf("a report %s: %s", name, c)
		}
	}
	// That they say nothing means something only if they speak.
	b, err := os.ReadFile(write(t, all["with every outcome"], report.SARIF))
	if err != nil {
		t.Fatal(err)
	}
	spoilt := func(old, new string) string {
		text := strings.Replace(string(b), old, new, 1)
		if text == string(b) {
			t.Fatalf("the SARIF has no %s", old)
		}
		path := filepath.Join(t.TempDir(), "spoilt.sarif")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if len(complaints(t, program, spoilt(`"ruleId":`, `"rule-id":`))) == 0 {
		t.Error("Microsoft's validator accepts a result without its rule")
	}
	if len(schemaErrors(t, program, spoilt(`"kind": "open"`, `"kind": "unknown"`))) == 0 {
		t.Error("the schema accepts a kind that SARIF does not have")
	}
}

// read is what python3-junitparser makes of a file.
const read = `
import json, sys
from junitparser import JUnitXml, Failure, Error, Skipped
names = {Failure: "failure", Error: "error", Skipped: "skipped"}
x = JUnitXml.fromfile(sys.argv[1])
json.dump({"tests": x.tests, "failures": x.failures, "errors": x.errors,
  "cases": {c.name: [names[type(r)] for r in c.result] for s in x for c in s},
  "suites": {s.name: [s.tests, s.failures, s.errors, s.skipped] for s in x},
  "digests": sorted({p.value for s in x for p in s.properties() if p.name == "digest"})}, sys.stdout)
`

func TestJUnitparserReadsTheJUnit(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's interpreter sees Debian's packages, whatever else is in PATH
	if !present(t, python, "-c", "import junitparser") {
		return
	}
	for name, r := range samples(t) {
		got := product.Run(t, t.TempDir(), []string{"PATH=" + os.Getenv("PATH")}, python, "-c", read, write(t, r, report.JUnit))
		var x struct {
			Tests, Failures, Errors int
			Cases                   map[string][]string
			Suites                  map[string][]int
			Digests                 []string
		}
		if err := json.Unmarshal([]byte(got.Stdout), &x); err != nil {
			t.Errorf("a report %s: exit %d, %v\n%s", name, got.Code, err, got.Stderr)
			continue
		}
		errs := 0
		for _, f := range r.Findings {
			var want string
			switch {
			case f.Outcome == finding.Fail:
				want = "failure"
			case f.Outcome == finding.Unknown && f.Required, f.Outcome == finding.Skip && f.Cause != "" && f.Required:
				want = "error"
				errs++
			case f.Outcome == finding.Unknown, f.Outcome == finding.Skip:
				want = "skipped"
			}
			if is := strings.Join(x.Cases[f.ID], " "); is != want {
				t.Errorf("a report %s: %s (%s) is read as %q, want %q", name, f.ID, f.Outcome, is, want)
			}
		}
		if x.Tests != len(r.Findings) || len(x.Cases) != len(r.Findings) || x.Failures != r.Counts.Failed || x.Errors != errs {
			t.Errorf("a report %s: %+v of %+v", name, x, r.Counts)
		}
		if len(r.Findings) > 0 && (len(x.Digests) != 1 || x.Digests[0] != r.Digest) {
			t.Errorf("a report %s: digests %v", name, x.Digests)
		}
	}
}
