package graph

import (
	"fmt"
	"net/http"
	"testing"
)

func TestBatch(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	id, appID, _ := u.makeApp("bot")
	json := map[string]string{"Content-Type": "application/json"}
	item := func(id, method, url string, more ...any) map[string]any {
		m := map[string]any{"id": id, "method": method, "url": url}
		for i := 0; i+1 < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	batch := func(items ...map[string]any) answer { return u.post("$batch", map[string]any{"requests": items}) }
	a := batch(
		item("3", "PATCH", "/applications/"+id, "headers", json, "body", map[string]any{"notes": "n"}, "dependsOn", []string{"1"}),
		item("1", "GET", "/applications?$filter=appId%20eq%20'"+appID+"'"),
		item("2", "GET", "applications/none"),
		item("4", "GET", "/applications/"+id, "dependsOn", []string{"2"}),
		item("5", "POST", "/applications", "body", map[string]any{"displayName": "x"}),
		item("6", "GET", "/users"),
	).is(200)
	got := map[string]map[string]any{}
	for _, r := range a.list("responses") {
		got[r["id"].(string)] = r
	}
	for id, status := range map[string]float64{"1": 200, "2": 404, "3": 204, "4": 424, "5": 400, "6": 403} {
		if got[id]["status"] != status {
			t.Errorf("%s: %v", id, got[id])
		}
	}
	if value := got["1"]["body"].(map[string]any)["value"].([]any); len(value) != 1 {
		t.Error(value)
	}
	if u.get("applications/"+id).str("notes") != "n" {
		t.Error("the change in the batch was not made")
	}
	many := []map[string]any{}
	for i := range 21 {
		many = append(many, item(fmt.Sprint(i), "GET", "/applications"))
	}
	for sentence, items := range map[string][]map[string]any{
		"21 requests are refused":              many,
		"no request is refused":                nil,
		"an id given twice is refused":         {item("1", "GET", "/x"), item("1", "GET", "/x")},
		"a circle is refused":                  {item("1", "GET", "/x", "dependsOn", []string{"2"}), item("2", "GET", "/x", "dependsOn", []string{"1"})},
		"an unknown dependency is refused":     {item("1", "GET", "/x", "dependsOn", []string{"9"})},
		"an absolute url is refused":           {item("1", "GET", "https://h/v1.0/applications")},
		"a batch inside of a batch is refused": {item("1", "POST", "/$batch")},
		"an escaped batch is refused":          {item("1", "POST", "/%24batch")},
		"a batch in capitals is refused":       {item("1", "POST", "$BA%74CH")},
		"a batch behind slashes is refused":    {item("1", "POST", "///$batch?x=1")},
		"a batch with a key is refused":        {item("1", "POST", "$batch('x')")},
	} {
		t.Run(sentence, func(t *testing.T) { batch(items...).is(400, "BadRequest: ") })
	}
}

func TestRequestOfABatchBringsNoToken(t *testing.T) {
	c := newCloud(t)
	admin, u := c.app("User.Read.All"), c.app("Application.Read.All")
	a := u.post("$batch", map[string]any{"requests": []any{
		map[string]any{"id": "1", "method": "GET", "url": "/users", "headers": map[string]string{"authorization": "Bearer " + admin.token}},
		map[string]any{"id": "2", "method": "GET", "url": "/applications", "headers": map[string]string{"AUTHORIZATION": "Bearer nonsense"}},
	}}).is(200)
	for i, want := range []float64{403, 200} {
		if got := a.list("responses")[i]["status"]; got != want {
			t.Errorf("request %d: %v, want %v: the token must be the batch's", i+1, got, want)
		}
	}
}

func TestRequestOfABatchGoesThroughTheGate(t *testing.T) {
	c := newCloud(t)
	var passed []string
	c.env.Gate = func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		passed = append(passed, r.Method+" "+r.URL.Path)
		if r.URL.Path == "/v1.0/users" {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		next.ServeHTTP(w, r)
	}
	c.s = New(c.env)
	a := c.app("Application.Read.All", "User.Read.All").post("$batch", map[string]any{"requests": []any{
		map[string]any{"id": "1", "method": "GET", "url": "/users"}, map[string]any{"id": "2", "method": "GET", "url": "/applications"},
		map[string]any{"id": "3", "method": "GET", "url": "/groups", "dependsOn": []string{"1"}},
	}}).is(200)
	for i, want := range []float64{429, 200, 424} {
		if got := a.list("responses")[i]["status"]; got != want {
			t.Errorf("request %d: %v, want %v", i+1, got, want)
		}
	}
	if got := a.list("responses")[0]["headers"].(map[string]any)["Retry-After"]; got != "7" {
		t.Errorf("Retry-After %v", got)
	}
	if fmt.Sprint(passed) != "[GET /v1.0/users GET /v1.0/applications]" {
		t.Error(passed)
	}
}
