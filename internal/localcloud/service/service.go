// Package service is what the local cloud's services (login, Graph, ARM, Key Vault) share: their environment and their manner of
// answering.
package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
)

// Endpoints are the base URLs, without trailing slash.
type Endpoints struct {
	Login string            `json:"login"`  // https://localhost:40001
	Graph string            `json:"graph"`  // https://localhost:40002
	ARM   string            `json:"arm"`    // https://localhost:40003
	Vault map[string]string `json:"vaults"` // vault name → base URL
}

// Env is what a service is given. Every field is set but Gate, which may be nil.
type Env struct {
	Dir           *directory.Directory
	Auth          *authority.Authority
	Now           func() time.Time     // the cloud's clock, its offset included
	TokenLifetime func() time.Duration // of access tokens minted now
	Endpoints     func() Endpoints     // known once the cloud listens
	NewID         func() string        // a fresh GUID, lower case
	Random        func(n int) []byte   // fresh random bytes

	// Gate answers one request of a Graph batch: next gives the answer, unless the request draws a fault of its own, as each request
	// of a batch is throttled by itself (Microsoft Graph, "Throttling and batching"). It logs the request. nil means next answers.
	Gate func(next http.Handler, w http.ResponseWriter, r *http.Request)
}

// Item answers one request of a batch through the Gate, or at once where there is none.
func (e Env) Item(next http.Handler, w http.ResponseWriter, r *http.Request) {
	if e.Gate == nil {
		next.ServeHTTP(w, r)
		return
	}
	e.Gate(next, w, r)
}

// JSON answers with a status and a JSON body.
func JSON(w http.ResponseWriter, status int, body any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		http.Error(w, "local cloud: answer does not encode: "+err.Error(), http.StatusInternalServerError)
		return
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// ErrBody says that a request body is not the JSON that was expected.
var ErrBody = errors.New("the request body is not valid JSON")

// Body decodes a JSON request body of at most 4 MiB into v; an empty body leaves v as it is.
func Body(r *http.Request, v any) error {
	b, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	if json.Unmarshal(b, v) != nil {
		return ErrBody
	}
	return nil
}
