// Package graph is the local cloud's Microsoft Graph: the slices of v1.0 and beta that agents, operators and Azure CLI use.
//
// A request is read whole, then looked up on one replica of the directory (who calls, what they may do, which object they mean, as
// that replica shows it), then, if it writes, checked again and done on the primary. So reads lag and uniqueness does not, as in the
// real service. Status codes, error codes and wordings are those of Microsoft's documentation and of answers seen in 2025 and 2026.
package graph

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/graph/odata"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// Service answers the Graph host.
type Service struct {
	env    service.Env
	dir    *directory.Directory
	routes map[string][]route // by first segment, lower case

	schemas map[string]*schema // by the name of the type
}

// New makes the service.
func New(env service.Env) *Service {
	s := &Service{env: env, dir: env.Dir, routes: map[string][]route{}, schemas: schemas()}
	for _, r := range routes() {
		first := strings.ToLower(r.segments[0])
		s.routes[first] = append(s.routes[first], r)
	}
	return s
}

// call is one request on its way through the service.
type call struct {
	s       *Service
	r       *http.Request
	version string // v1.0 or beta
	id      string // request-id
	body    []byte
	query   odata.Query
	who     caller

	arg map[string]string // what stands for the {names} of the route
	key map[string]string // name of the alternate key of an argument, lower case; absent for the object's own id
	app directory.Application
	sp  directory.ServicePrincipal
	usr directory.User

	under     string          // the collection that the path begins with, as its route spells it
	cast      directory.Agent // the type of Agent ID that the path casts to
	agent     directory.Agent // the type of the object, where it is of Agent ID
	blueprint string          // app id of a new agent identity's blueprint

	act      func(c *call) error // what is left to do once the replica has been looked at
	status   int
	answer   any // JSON body; nil for none
	location string
}

// maxBody bounds a request body, as Graph does.
const maxBody = 4 << 20

// ServeHTTP answers a request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{s: s, r: r, id: s.env.NewID(), arg: map[string]string{}, key: map[string]string{}, status: http.StatusOK}
	h := w.Header()
	h.Set("request-id", c.id)
	h.Set("client-request-id", c.clientRequestID())
	h.Set("x-ms-ags-diagnostic", `{"ServerInfo":{"DataCenter":"Local Cloud","Slice":"E","Ring":"5","ScaleUnit":"000","RoleInstance":"LC00000000"}}`)
	h.Set("Cache-Control", "no-cache")
	h.Set("Strict-Transport-Security", "max-age=31536000")
	if err := c.serve(); err != nil {
		s.refuse(w, c, err)
		return
	}
	h.Set("OData-Version", "4.0")
	h.Set("x-ms-resource-unit", "1")
	if c.location != "" {
		h.Set("Location", c.location)
	}
	switch answer := c.answer.(type) {
	case nil:
		w.WriteHeader(c.status)
	case plainText:
		h.Set("Content-Type", "text/plain")
		w.WriteHeader(c.status)
		_, _ = io.WriteString(w, string(answer))
	default:
		h.Set("Content-Type", "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
		service.JSON(w, c.status, answer)
	}
}

// plainText is an answer that is not JSON: what $count gives.
type plainText string

func (c *call) clientRequestID() string {
	if id := c.r.Header.Get("client-request-id"); id != "" {
		return id
	}
	return c.id
}

// serve does the request: caller, route, body and options first, because they need no lock; then the directory.
func (c *call) serve() error {
	if err := c.identify(); err != nil {
		return err
	}
	route, err := c.find()
	if err != nil {
		return err
	}
	if c.r.Method != http.MethodGet {
		if c.body, err = io.ReadAll(io.LimitReader(c.r.Body, maxBody+1)); err != nil {
			return badRequest("The request body could not be read.")
		}
		if len(c.body) > maxBody {
			return &problem{status: http.StatusRequestEntityTooLarge, code: "BadRequest", message: "The request is too large."}
		}
		if len(c.body) > 0 && c.r.Header.Get("Content-Type") == "" {
			return &problem{status: http.StatusBadRequest, code: "BadRequest", message: "Write requests (excluding DELETE) must contain the Content-Type header declaration."}
		}
	}
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return badRequest("The query string is not valid.")
	}
	if c.query, err = odata.ParseQuery(values, c.r.Header.Get("ConsistencyLevel")); err != nil {
		return c.badQuery(err)
	}
	c.s.dir.Store.Read(replica.Graph, func(v replica.View) { err = c.enter(route, v) })
	if err != nil || c.act == nil {
		return err
	}
	return c.act(c)
}

func (c *call) badQuery(err error) error {
	if _, ok := errors.AsType[*odata.UnsupportedError](err); ok {
		return &problem{status: http.StatusBadRequest, code: "Request_UnsupportedQuery", message: err.Error()}
	}
	if _, ok := errors.AsType[*odata.SyntaxError](err); ok {
		return &problem{status: http.StatusBadRequest, code: "BadRequest", message: err.Error()}
	}
	return badRequest("%s", err.Error())
}

// write runs f on the primary.
func (c *call) write(f func(tx replica.Tx) error) error { return c.s.dir.Store.Write(f) }

// base is the URL of the version, without a slash at the end.
func (c *call) base() string { return c.s.env.Endpoints().Graph + "/" + c.version }

// context is an @odata.context.
func (c *call) context(of string) string { return c.base() + "/$metadata#" + of }

// created answers 201 with the object at the path.
func (c *call) created(path string, object map[string]any, context string) {
	object["@odata.context"] = c.context(context)
	c.status, c.answer, c.location = http.StatusCreated, object, c.base()+"/"+path
}

// ok answers 200 with the object.
func (c *call) ok(object map[string]any, context string) {
	object["@odata.context"] = c.context(context)
	c.answer = object
}

// done answers 204.
func (c *call) done() { c.status, c.answer = http.StatusNoContent, nil }
