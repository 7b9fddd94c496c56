package graph

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/graph/odata"
)

// maxBatch is how many requests a batch has at most (Microsoft Graph, "Combine multiple HTTP requests using JSON batching").
const maxBatch = 20

func batchRoutes() []route {
	return []route{{method: "POST", segments: path("$batch"), op: "batch", do: (*call).batch}}
}

type batchItem struct {
	ID        string            `json:"id"`
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers"`
	Body      json.RawMessage   `json:"body"`
	DependsOn []string          `json:"dependsOn"`
}

// target is the url of the request below a version.
func (i batchItem) target(version string) (*url.URL, error) {
	return url.Parse("/" + version + "/" + strings.TrimLeft(i.URL, "/"))
}

// batch tells whether the request is a batch itself, however its path is escaped: it is read as the router will read it.
func (i batchItem) batch() bool {
	target, err := i.target("v1.0")
	if err != nil {
		return false // which its own answer says
	}
	segments, err := odata.ParsePath(strings.TrimPrefix(target.EscapedPath(), "/"))
	return err == nil && len(segments) > 1 && strings.EqualFold(segments[1].Name, "$batch")
}

// batch answers each request by itself. A request runs after those it depends on, and not at all if one of them failed.
func (c *call) batch() error {
	var in struct {
		Requests []batchItem `json:"requests"`
	}
	if err := c.decode(&in); err != nil {
		return err
	}
	order, err := arrange(in.Requests)
	if err != nil {
		return err
	}
	responses, failed := []object{}, map[string]bool{}
	for _, item := range order {
		var answer object
		if slices.ContainsFunc(item.DependsOn, func(id string) bool { return failed[id] }) {
			answer = object{"status": http.StatusFailedDependency, "headers": object{"Content-Type": "application/json"}, "body": object{"error": object{
				"code": "FailedDependency", "message": "Request is dependent on a request that failed.",
			}}}
		} else {
			answer = c.item(item)
		}
		answer["id"] = item.ID
		failed[item.ID] = answer["status"].(int) >= 400
		responses = append(responses, answer)
	}
	c.answer = object{"responses": responses}
	return nil
}

func badBatch(message string) *problem {
	return &problem{status: http.StatusBadRequest, code: "BadRequest", message: message}
}

// arrange checks the requests and orders them so that each comes after what it depends on.
func arrange(items []batchItem) ([]batchItem, error) {
	if len(items) == 0 || len(items) > maxBatch {
		return nil, badBatch("Invalid batch payload format: a batch has between 1 and 20 requests.")
	}
	byID := map[string]batchItem{}
	for _, item := range items {
		if _, twice := byID[item.ID]; item.ID == "" || twice {
			return nil, badBatch("Duplicate or empty request id '" + item.ID + "' in the batch.")
		}
		if item.URL == "" || strings.Contains(item.URL, "://") || item.batch() {
			return nil, badBatch("The url of request '" + item.ID + "' must be relative and not itself a batch.")
		}
		byID[item.ID] = item
	}
	var order []batchItem
	state := map[string]int{} // 1 being arranged, 2 arranged
	var visit func(item batchItem) bool
	visit = func(item batchItem) bool {
		if state[item.ID] != 0 {
			return state[item.ID] == 2
		}
		state[item.ID] = 1
		for _, id := range item.DependsOn {
			if dependency, ok := byID[id]; !ok || !visit(dependency) {
				return false
			}
		}
		state[item.ID] = 2
		order = append(order, item)
		return true
	}
	for _, item := range items {
		if !visit(item) {
			return nil, badBatch("The dependsOn of request '" + item.ID + "' names an unknown request or goes in a circle.")
		}
	}
	return order, nil
}

// item runs one request of a batch as the caller of the batch: a request cannot bring a token of its own. It goes through the gate like
// any other request, so it is throttled and logged by itself.
func (c *call) item(in batchItem) object {
	target, err := in.target(c.version)
	if err != nil || len(in.Body) > 0 && !hasContentType(in.Headers) {
		return object{"status": http.StatusBadRequest, "headers": object{"Content-Type": "application/json"}, "body": object{"error": object{
			"code": "BadRequest", "message": "Write request id : " + in.ID + " does not contain Content-Type header or body, or its url is not valid.",
		}}}
	}
	inner := c.r.Clone(c.r.Context())
	inner.Method, inner.URL, inner.RequestURI = strings.ToUpper(in.Method), target, target.RequestURI()
	inner.Header = http.Header{}
	for name, value := range in.Headers {
		inner.Header.Set(name, value)
	}
	inner.Header["Authorization"] = c.r.Header["Authorization"]
	inner.Body, inner.ContentLength = io.NopCloser(bytes.NewReader(in.Body)), int64(len(in.Body))
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	c.s.env.Item(c.s, w, inner)
	answer := object{"status": w.status}
	headers := object{}
	for name := range w.header {
		headers[name] = w.header.Get(name)
	}
	answer["headers"] = headers
	if w.body.Len() > 0 {
		var body any
		if json.Unmarshal(w.body.Bytes(), &body) != nil {
			body = w.body.String()
		}
		answer["body"] = body
	}
	return answer
}

func hasContentType(headers map[string]string) bool {
	for name := range headers {
		if strings.EqualFold(name, "Content-Type") {
			return true
		}
	}
	return false
}

// recorder keeps the answer of one request of a batch.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(b []byte) (int, error) { return w.body.Write(b) }
