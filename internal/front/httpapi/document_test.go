package httpapi_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// TestEveryOperationIsDescribed: a summary, a stable id, the role that it needs, its errors, and examples that fit their own schemas.
func TestEveryOperationIsDescribed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	doc := w.front.Described()
	for key, op := range operations(doc) {
		if op.Summary == "" || !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(op.OperationID) || len(op.Tags) != 1 {
			t.Errorf("%s: summary %q, id %q, tags %v", key, op.Summary, op.OperationID, op.Tags)
		}
		open := op.OperationID == "login"
		if !open && !regexp.MustCompile(`Needs role (view|approve|apply)\.$`).MatchString(op.Description) {
			t.Errorf("%s does not say which role it needs: %q", key, op.Description)
		}
		for _, status := range []string{"401", "503", "default"} {
			if op.Responses[status] == nil {
				t.Errorf("%s has no answer %s", key, status)
			}
		}
		if op.RequestBody != nil {
			example(t, doc, key+" request", op.RequestBody.Content["application/json"])
		}
		for status, resp := range op.Responses {
			for kind, media := range resp.Content {
				if kind == "application/json" || (strings.HasSuffix(kind, "json") && media.Example != nil) {
					example(t, doc, key+" "+status, media)
				}
			}
		}
	}
}

func example(t *testing.T, doc huma.API, where string, media *huma.MediaType) {
	t.Helper()
	if media == nil || media.Example == nil {
		t.Errorf("%s has no example", where)
		return
	}
	b, err := json.Marshal(media.Example)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	if bad := valid(doc, media.Schema, b); bad != "" {
		t.Errorf("%s: the example does not fit: %s\n%s", where, bad, b)
	}
}

// TestTheDocumentIsServed: as JSON and as YAML, in OpenAPI 3.1, to who has a token.
func TestTheDocumentIsServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for path, begins := range map[string]string{"/api/v1/openapi.json": `{"components"`, "/api/v1/openapi.yaml": "components:"} {
		r := w.send(viewing, "GET", path, "")
		if r.status != 200 || !strings.HasPrefix(string(r.body), begins) || !strings.Contains(string(r.body), "3.1.0") {
			t.Errorf("%s: %d %.60s", path, r.status, r.body)
		}
	}
}
