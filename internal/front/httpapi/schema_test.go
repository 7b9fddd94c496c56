package httpapi_test

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

// described checks answers by what the OpenAPI document says of them, and notes which operations were seen to succeed.
type described struct {
	mu        sync.Mutex
	succeeded map[string]bool
}

// operations are the operations of the document by method and path.
func operations(a huma.API) map[string]*huma.Operation {
	all := map[string]*huma.Operation{}
	for path, item := range a.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete} {
			if op != nil {
				all[method+" "+path] = op
			}
		}
	}
	return all
}

// operationOf is the operation of a request, nil if the document has none.
func operationOf(a huma.API, method, path string) *huma.Operation {
	path = strings.TrimPrefix(path, "/api/v1")
	var found *huma.Operation
	literal := -1
	for key, op := range operations(a) {
		m, template, _ := strings.Cut(key, " ")
		if n, ok := fits(template, path); ok && m == method && n > literal {
			found, literal = op, n
		}
	}
	return found
}

// fits tells whether a path is of a template, and how many of its parts are written out.
func fits(template, path string) (literal int, ok bool) {
	t, p := strings.Split(template, "/"), strings.Split(path, "/")
	if len(t) != len(p) {
		return 0, false
	}
	for i := range t {
		switch {
		case strings.HasPrefix(t[i], "{"):
		case t[i] == p[i]:
			literal++
		default:
			return 0, false
		}
	}
	return literal, true
}

// answer says what is wrong with an answer by the document; "" if nothing.
func (d *described) answer(a huma.API, method, target string, status int, kind string, body []byte) string {
	u, err := url.Parse(target)
	if err != nil {
		return err.Error()
	}
	op := operationOf(a, method, u.Path)
	if op == nil {
		return "the document has no operation " + method + " " + u.Path
	}
	resp := op.Responses[strconv.Itoa(status)]
	if resp == nil && status >= 400 {
		resp = op.Responses["default"]
	}
	if resp == nil {
		return fmt.Sprintf("%s has no answer %d", op.OperationID, status)
	}
	if status < 400 {
		d.mu.Lock()
		if d.succeeded == nil {
			d.succeeded = map[string]bool{}
		}
		d.succeeded[op.OperationID] = true
		d.mu.Unlock()
	}
	if len(resp.Content) == 0 {
		if len(body) > 0 {
			return op.OperationID + " answers a body, and the document has none"
		}
		return ""
	}
	kind, _, _ = mime.ParseMediaType(kind)
	media := resp.Content[kind]
	if media == nil {
		return fmt.Sprintf("%s answers %d with %s, which the document does not have", op.OperationID, status, kind)
	}
	if !strings.HasSuffix(kind, "json") || media.Schema == nil {
		return ""
	}
	return valid(a, media.Schema, body)
}

// valid says what is wrong with a document by a schema.
func valid(a huma.API, schema *huma.Schema, body []byte) string {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err.Error()
	}
	var res huma.ValidateResult
	huma.Validate(a.OpenAPI().Components.Schemas, schema, huma.NewPathBuffer([]byte("answer"), 0), huma.ModeReadFromServer, v, &res)
	var bad []string
	for _, err := range res.Errors {
		bad = append(bad, err.Error())
	}
	return strings.Join(bad, "\n")
}
