package localcloud

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// Health is who answers.
type Health struct {
	Instance string `json:"instance"`
	PID      int    `json:"pid"`
}

// State counts what there is, as the primary sees it, and what was asked.
type State struct {
	Instance string           `json:"instance"`
	Objects  map[string]int   `json:"objects"` // by kind; what lies in the recycle bin is under deletedItems
	Requests map[string]Count `json:"requests"`
	Vaults   []string         `json:"vaults"` // names, lower case, in order; without those in the recycle bin

	Goroutines int    `json:"goroutines"`
	Heap       uint64 `json:"heap_bytes"` // what the last collection of garbage has left
}

// management is the API by which the cloud is told what to do. It is not part of any cloud that exists. Every request needs the token
// of the run file:
//
//	GET   /health                         who answers
//	GET   /knobs                          the knobs
//	PATCH /knobs                          turns those that the document names
//	GET   /log?since=N[&follow=1]         requests after number N, a JSON line each; follow goes on until the cloud ends
//	GET   /state[?collect=1]              counts; collect collects garbage first, so that heap_bytes is of now
//	POST  /reset                          forgets everything; answers with the new instance
//	POST  /devicecode/approve             {"user_code", "upn"}: the user enters the code that a device shows
//	POST  /identities                     {"resource"}: gives an Azure resource its managed-identity endpoint
type management struct {
	c     *Cloud
	token Credential
}

// ServeHTTP implements [http.Handler].
func (m management) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || !m.token.matches(token) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="leastkey local cloud management"`)
		complain(w, http.StatusUnauthorized, errors.New("the management token of the run file is required"))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	w.Header().Set("Cache-Control", "no-store")
	switch r.Method + " " + r.URL.Path {
	case "GET /health":
		service.JSON(w, http.StatusOK, m.health())
	case "GET /knobs":
		service.JSON(w, http.StatusOK, m.c.Knobs())
	case "PATCH /knobs":
		m.patchKnobs(w, r)
	case "GET /log":
		m.requests(w, r)
	case "GET /state":
		if r.URL.Query().Has("collect") {
			runtime.GC()
		}
		service.JSON(w, http.StatusOK, m.c.State())
	case "POST /reset":
		m.reset(w)
	case "POST /devicecode/approve":
		m.approve(w, r)
	case "POST /identities":
		m.identity(w, r)
	default:
		complain(w, http.StatusNotFound, errors.New("there is no such thing in the management API"))
	}
}

func complain(w http.ResponseWriter, status int, err error) {
	service.JSON(w, status, map[string]string{"error": err.Error()})
}

func (m management) health() Health { return Health{m.c.Instance(), os.Getpid()} }

func (m management) patchKnobs(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = m.c.patchKnobs(body)
	}
	if err != nil {
		complain(w, http.StatusBadRequest, err)
		return
	}
	service.JSON(w, http.StatusOK, m.c.Knobs())
}

// patchKnobs changes the knobs that a document names; two patches at once do not undo each other.
func (c *Cloud) patchKnobs(document []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.Knobs()
	if err := json.Unmarshal(document, &k); err != nil {
		return err
	}
	return c.setKnobs(k)
}

func (m management) requests(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var since uint64
	if s := q.Get("since"); s != "" {
		var err error
		if since, err = strconv.ParseUint(s, 10, 64); err != nil {
			complain(w, http.StatusBadRequest, errors.New("since is the number of a request"))
			return
		}
	}
	more, stop := m.c.log.follow()
	defer stop()
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, out := json.NewEncoder(w), http.NewResponseController(w)
	for {
		for _, line := range m.c.log.since(since) {
			if enc.Encode(line) != nil {
				return
			}
			since = line.N
		}
		if out.Flush() != nil || !q.Has("follow") {
			return
		}
		select {
		case _, open := <-more:
			if !open {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

func (m management) reset(w http.ResponseWriter) {
	if err := m.c.Reset(); err != nil {
		complain(w, http.StatusInternalServerError, err)
		return
	}
	service.JSON(w, http.StatusOK, m.health())
}

func (m management) approve(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		UserCode string `json:"user_code"`
		UPN      string `json:"upn"`
	}
	err := service.Body(r, &asked)
	if err == nil {
		err = m.c.ApproveDevice(asked.UserCode, asked.UPN)
	}
	if err != nil {
		complain(w, http.StatusBadRequest, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (m management) identity(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Resource string `json:"resource"`
	}
	if err := service.Body(r, &asked); err != nil {
		complain(w, http.StatusBadRequest, err)
		return
	}
	i, err := m.c.Identity(asked.Resource)
	if err != nil {
		complain(w, identityStatus(err), err)
		return
	}
	service.JSON(w, http.StatusOK, i.document())
}

// State counts the directory's objects and the requests, and what the process takes.
func (c *Cloud) State() State {
	w := c.world.Load()
	n, vaults := map[string]int{}, []string{}
	w.store.Primary(func(v replica.View) {
		d := w.dir
		n["users"], n["groups"] = len(d.Users.All(v)), len(d.Groups.All(v))
		tally(n, "applications", d.Applications.All(v), directory.Application.Live)
		tally(n, "servicePrincipals", d.ServicePrincipals.All(v), directory.ServicePrincipal.Live)
		n["federatedIdentityCredentials"] = len(d.FederatedCredentials.All(v))
		n["appRoleAssignments"] = len(d.AppRoleAssignments.All(v))
		n["oauth2PermissionGrants"] = len(d.PermissionGrants.All(v))
		n["directoryRoleMembers"] = len(d.RoleMembers.All(v))
		for _, r := range w.rbac.Vaults(v) {
			name := strings.ToLower(r.Name)
			if _, live := w.rbac.Vault(v, name); live {
				vaults = append(vaults, name)
			}
		}
	})
	slices.Sort(vaults)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return State{Instance: w.instance, Objects: n, Requests: c.Counts(), Vaults: slices.Compact(vaults), Goroutines: runtime.NumGoroutine(), Heap: live[0].Value.Uint64()}
}

func tally[T any](n map[string]int, kind string, all []T, live func(T) bool) {
	for _, x := range all {
		if live(x) {
			n[kind]++
		} else {
			n["deletedItems"]++
		}
	}
}
