package httpapi_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var write = flag.Bool("write", false, "write the table of operations into docs/api.md")

// TestTheDocumentationListsEveryOperation compares the table of docs/api.md with the operations; -args -write brings it up to date.
func TestTheDocumentationListsEveryOperation(t *testing.T) {
	t.Parallel()
	const path = "../../../docs/api.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const head = "| operation | role | does |\n|---|---|---|\n"
	before, rest, ok := strings.Cut(string(b), head)
	if !ok {
		t.Fatal("docs/api.md has no table of operations")
	}
	_, after, _ := strings.Cut(rest, "\n\n")
	var rows []string
	for key, op := range operations(newWorld(t, nil).front.Described()) {
		role := "anybody"
		if m := regexp.MustCompile(`Needs role (\w+)\.$`).FindStringSubmatch(op.Description); m != nil {
			role = m[1]
		}
		method, p, _ := strings.Cut(key, " ")
		rows = append(rows, fmt.Sprintf("| `%s %s` | %s | %s |", method, p, role, op.Summary))
	}
	slices.SortFunc(rows, func(a, b string) int {
		return strings.Compare(strings.SplitN(a, " ", 4)[2]+a, strings.SplitN(b, " ", 4)[2]+b)
	})
	want := before + head + strings.Join(rows, "\n") + "\n\n" + after
	if want == string(b) {
		return
	}
	if !*write {
		t.Fatal("docs/api.md lists other operations than there are: go test ./internal/front/httpapi -run Documentation -args -write")
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
