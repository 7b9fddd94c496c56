package service

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestBody(t *testing.T) {
	for _, row := range []struct {
		name, body string
		want       error
		value      string
	}{
		{"a JSON object is read", `{"a":"b"}`, nil, "b"},
		{"an empty body leaves the value alone", " \n", nil, "before"},
		{"what is not JSON is told apart from a broken connection", `{"a":`, ErrBody, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			v := struct {
				A string `json:"a"`
			}{"before"}
			err := Body(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(row.body)), &v)
			if !errors.Is(err, row.want) {
				t.Fatalf("got %v, want %v", err, row.want)
			}
			if err == nil && v.A != row.value {
				t.Errorf("got %q, want %q", v.A, row.value)
			}
		})
	}
}

func TestJSON(t *testing.T) {
	w := httptest.NewRecorder()
	JSON(w, http.StatusTeapot, map[string]string{"a": "<b> & c"})
	if w.Code != http.StatusTeapot || strings.TrimSpace(w.Body.String()) != `{"a":"<b> & c"}` {
		t.Errorf("got %d %s; services do not escape HTML", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	JSON(w, http.StatusOK, func() {})
	if w.Code != http.StatusInternalServerError {
		t.Errorf("a value that does not encode answers %d", w.Code)
	}
}

func TestAnItemOfABatchGoesThroughTheGateIfThereIsOne(t *testing.T) {
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	for _, row := range []struct {
		name string
		gate func(http.Handler, http.ResponseWriter, *http.Request)
		want int
	}{
		{"without a gate the service answers", nil, http.StatusNoContent},
		{"a gate may answer itself", func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTooManyRequests)
		}, http.StatusTooManyRequests},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			Env{Gate: row.gate}.Item(next, w, httptest.NewRequest(http.MethodGet, "/", nil))
			if w.Code != row.want {
				t.Errorf("got %d, want %d", w.Code, row.want)
			}
		})
	}
}
