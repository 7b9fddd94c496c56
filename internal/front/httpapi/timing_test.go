package httpapi

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/leastkey/leastkey/internal/domain/secret"
)

// operationOf is the operation behind a field of a path.
func operationOf(v any) *huma.Operation {
	o, _ := v.(*huma.Operation)
	return o
}

// How long a comparison takes must not tell how much of a guess is right. That is so by construction, which this reads in the source: both sides
// are hashed, and the hashes are compared by crypto/subtle.
func TestSecretsAreComparedByTheirHashesInConstantTime(t *testing.T) {
	for _, row := range []struct{ file, function string }{{"identify.go", "same"}, {"../../record/access/access.go", "Check"}} {
		file, err := parser.ParseFile(token.NewFileSet(), row.file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		var calls []string
		found := false
		ast.Inspect(file, func(n ast.Node) bool {
			f, ok := n.(*ast.FuncDecl)
			if !ok || f.Name.Name != row.function {
				return true
			}
			found = true
			ast.Inspect(f, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok {
					switch fun := c.Fun.(type) {
					case *ast.SelectorExpr:
						calls = append(calls, fun.Sel.Name)
					case *ast.Ident:
						calls = append(calls, fun.Name)
					}
				}
				return true
			})
			return false
		})
		hashes := slices.Contains(calls, "hash") || slices.Contains(calls, "Sum256")
		if !found || !hashes || !slices.Contains(calls, "ConstantTimeCompare") || slices.Contains(calls, "Equal") || slices.Contains(calls, "EqualFold") {
			t.Errorf("%s in %s calls %v", row.function, row.file, calls)
		}
	}
}

// A comparison that stops at the first difference would be a thousand times faster here for a guess that is wrong at once than for one that is
// wrong at its end; ours is not even four times.
func TestTheTimeOfAComparisonDoesNotDependOnTheGuess(t *testing.T) {
	const size, rounds = 1 << 16, 60
	right := bytes.Repeat([]byte("k"), size)
	early, late := bytes.Clone(right), bytes.Clone(right)
	early[0], late[size-1] = 'x', 'x'
	took := map[string][]time.Duration{}
	kept := secret.New(right)
	for range rounds { // in turn, so that a busy machine is busy for both
		for name, guess := range map[string][]byte{"early": early, "late": late} {
			v := secret.New(guess)
			began := time.Now()
			if same(kept, v) {
				t.Fatal("a wrong guess is right")
			}
			took[name] = append(took[name], time.Since(began))
		}
	}
	median := func(all []time.Duration) time.Duration {
		slices.Sort(all)
		return all[len(all)/2]
	}
	a, b := median(took["early"]), median(took["late"])
	if a > 4*b || b > 4*a {
		t.Errorf("a guess that is wrong at once takes %s, one that is wrong at its end %s", a, b)
	}
	if !same(kept, secret.New(bytes.Clone(right))) {
		t.Error("the right one is wrong")
	}
}
