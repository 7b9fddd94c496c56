package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

func TestTheFrameAnswers(t *testing.T) {
	f := newFrame(t, nil)
	for _, row := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
	}{
		{"healthy", "GET", "/healthz", "", nil, 200},
		{"ready", "GET", "/readyz", "", nil, 200},
		{"metrics need somebody", "GET", "/metrics", "", nil, 401},
		{"metrics for who may look", "GET", "/metrics", "", []string{as(viewToken)}, 200},
		{"the description needs somebody", "GET", "/api/v1/openapi.json", "", nil, 401},
		{"the description", "GET", "/api/v1/openapi.json", "", []string{as(viewToken)}, 200},
		{"nobody", "GET", "/api/v1/session", "", nil, 401},
		{"somebody", "GET", "/api/v1/session", "", []string{as(viewToken)}, 200},
		{"a path that is not there", "GET", "/api/v1/nothing", "", []string{as(viewToken)}, 404},
		{"a method that does not go", "PATCH", "/api/v1/session", "", []string{as(viewToken)}, 405},
		{"no web", "GET", "/", "", []string{as(viewToken)}, 404},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := f.ask(t, row.method, row.path, row.body, row.headers...)
			if a.StatusCode != row.status {
				t.Fatalf("%d: %s", a.StatusCode, a.text)
			}
			if row.status >= 400 {
				a.problem(t)
			}
			if row.status == 405 && !strings.Contains(a.Header.Get("Allow"), http.MethodDelete) {
				t.Errorf("Allow %q", a.Header.Get("Allow"))
			}
		})
	}
}

// huma skips a struct that is embedded by an unexported type: what such a path names would be read as nothing, and nothing means the only agent.
func TestEveryNameInAPathIsRead(t *testing.T) {
	f := newFrame(t, nil)
	read := 0
	for path, item := range f.api.OpenAPI().Paths {
		for method, v := range map[string]any{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete} {
			op := operationOf(v)
			if op == nil {
				continue
			}
			for part := range strings.SplitSeq(path, "/") {
				name, is := strings.CutPrefix(part, "{")
				if !is {
					continue
				}
				read++
				if !slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "path" && p.Name+"}" == name }) {
					t.Errorf("%s %s does not read %s", method, path, part)
				}
			}
		}
	}
	if read < 8 {
		t.Errorf("only %d names", read)
	}
}
