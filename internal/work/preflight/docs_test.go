package preflight

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

var write = flag.Bool("write", false, "write the checks into docs/preflight.md instead of comparing them")

// generated is the line below which docs/preflight.md is this registry's.
const generated = "<!-- Below this line everything is written by: go test ./internal/work/preflight -run Documentation -write -->\n"

// TestDocumentation compares docs/preflight.md with the registry: a check that nobody can look up is not finished.
func TestDocumentation(t *testing.T) {
	path := filepath.Join("..", "..", "..", "docs", "preflight.md")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	written, have, ok := strings.Cut(string(b), generated)
	if !ok {
		t.Fatalf("%s lacks the line\n%s", path, generated)
	}
	want := "\n" + documentation()
	switch {
	case have == want:
	case *write:
		if err := os.WriteFile(path, []byte(written+generated+want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what the registry says; go test ./internal/work/preflight -run Documentation -write writes it", path)
	}
}

func documentation() string {
	var b strings.Builder
	titles := map[finding.Category]string{finding.Identity: "Identity", finding.RBAC: "Roles (RBAC)", finding.Secrets: "Secrets"}
	all := Checks()
	fmt.Fprintf(&b, "## The checks\n\nThere are %d.\n\n| check | title | severity | need |\n|---|---|---|---|\n", len(all))
	for _, c := range all {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s |\n", c.ID, c.ID, cell(c.Name), c.Severity, need(c))
	}
	var last finding.Category
	for _, c := range all {
		if c.Category != last {
			fmt.Fprintf(&b, "\n## %s\n", titles[c.Category])
			last = c.Category
		}
		fmt.Fprintf(&b, "\n### %s\n\n**%s.** %s\n\n", c.ID, strings.TrimSuffix(c.Name, "."), sentence(c.Question))
		fmt.Fprintf(&b, "- Category %s, severity %s, %s.\n", c.Category, c.Severity, need(c))
		if c.Remedy != "" {
			fmt.Fprintf(&b, "- To do where it does not pass: %s.\n", strings.TrimSuffix(text(c.Remedy), "."))
		}
		if c.Moot != nil {
			b.WriteString("- Skipped where the question does not arise; the finding says why.\n")
		}
	}
	return b.String()
}

func need(c Check) string {
	if c.Required {
		return "required"
	}
	return "advisory"
}

// sentence begins in capitals.
func sentence(s string) string { return strings.ToUpper(s[:1]) + text(s[1:]) }

// text keeps Markdown from taking a placeholder for HTML.
func text(s string) string { return strings.NewReplacer("<", "&lt;", ">", "&gt;").Replace(s) }

func cell(s string) string { return strings.ReplaceAll(text(s), "|", "\\|") }

// TestEveryCheckIsWhole holds the registry to what faces, documentation and stored reports rely on.
func TestEveryCheckIsWhole(t *testing.T) {
	id := regexp.MustCompile(`^[a-z][a-z0-9_]*$`) // stands in addresses, in SARIF and in JUnit
	seen := map[string]bool{}
	ended := map[finding.Category]bool{}
	var last finding.Category
	for _, c := range Checks() {
		if !id.MatchString(c.ID) || seen[c.ID] {
			t.Errorf("%q: an id is lower case, and there once", c.ID)
		}
		seen[c.ID] = true
		if c.Name == "" || c.Decide == nil || !strings.HasSuffix(c.Question, "?") {
			t.Errorf("%s lacks a name, a question that is one, or an answer", c.ID)
		}
		switch c.Severity {
		case finding.Critical, finding.High, finding.Medium, finding.Low:
		default:
			t.Errorf("%s has severity %q", c.ID, c.Severity)
		}
		switch c.Category {
		case finding.Identity, finding.RBAC, finding.Secrets:
		default:
			t.Errorf("%s has category %q", c.ID, c.Category)
		}
		if c.Category != last {
			if ended[c.Category] {
				t.Errorf("%s stands apart from its category", c.ID)
			}
			ended[last], last = true, c.Category
		}
		if c.Remedy == "" {
			t.Errorf("%s does not say what to do", c.ID)
		}
	}
	if len(seen) == 0 {
		t.Error("there is no check")
	}
}
