package witness

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/product"
)

// house is the built product with its local cloud running.
type house struct {
	product.House
	run       localcloud.Run
	report    api.Report // of up
	operators map[string]localcloud.Operator
}

// up runs `leastkey up` until it says that it serves. At the end of the test it is interrupted, and has to end well.
func up(t *testing.T) *house {
	t.Helper()
	binary, err := product.Build(t.Context(), t.TempDir())
	must(t, err)
	h := &house{House: product.NewHouse(t, binary)}
	t.Cleanup(func() { // after the interruption
		if _, err := localcloud.ReadRun(context.Background(), h.RunDir()); !errors.Is(err, localcloud.ErrNoRun) {
			t.Errorf("the run file is left over: %v", err)
		}
	})
	h.Serve(t, &h.report, "This terminal serves", "up")
	h.run, err = localcloud.ReadRun(t.Context(), h.RunDir())
	must(t, err)
	h.operators = operators(t, h.run)
	return h
}

func operators(t *testing.T, run localcloud.Run) map[string]localcloud.Operator {
	t.Helper()
	all, err := localcloud.ReadOperators(run)
	must(t, err)
	named := map[string]localcloud.Operator{}
	for _, o := range all {
		named[o.Name] = o
	}
	return named
}

// leastkey runs the product in a shell that has the variables env.
func (h *house) leastkey(t *testing.T, dir string, env []string, args ...string) product.Result {
	t.Helper()
	return product.Run(t, dir, env, h.Binary, args...)
}

// says runs the product and reads the JSON that it answers with.
func (h *house) says(t *testing.T, dir string, env []string, into any, args ...string) {
	t.Helper()
	r := h.leastkey(t, dir, env, append(args, "--json")...)
	if r.Code != 0 {
		t.Fatalf("leastkey %s: exit %d\n%s", strings.Join(args, " "), r.Code, r.Stderr)
	}
	decode(t, "leastkey "+strings.Join(args, " "), r.Stdout, into)
}

func decode(t *testing.T, what, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%s: %v\n%s", what, err, text)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
