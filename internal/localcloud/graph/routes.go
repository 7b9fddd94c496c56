package graph

import (
	"net/http"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/graph/odata"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// route is one operation of the API.
//
// The object that the path begins with (an application or a service principal) is found on the replica before look runs, and the
// caller's right to op on it is decided. A route with subject decides on another object instead.
type route struct {
	method   string
	segments []string
	op       operation
	subject  func(c *call, v replica.View) (subject, error)
	look     func(c *call, v replica.View) error // on the replica; must not keep the view
	do       func(c *call) error                 // afterwards, without a view
}

// find finds the route of the request and reads the arguments from the path.
func (c *call) find() (route, error) {
	segments, err := odata.ParsePath(strings.TrimPrefix(c.r.URL.EscapedPath(), "/"))
	if err != nil || len(segments) == 0 {
		return route{}, &problem{status: http.StatusBadRequest, code: "BadRequest", message: "The request URI is not valid."}
	}
	c.version = strings.ToLower(segments[0].Name)
	if c.version != "v1.0" && c.version != "beta" || segments[0].Keyed {
		return route{}, &problem{status: http.StatusBadRequest, code: "BadRequest", message: "Invalid version: " + segments[0].Name}
	}
	steps := steps(segments[1:])
	if len(steps) > 0 && steps[0].is("me") {
		if c.who.app {
			return route{}, &problem{status: http.StatusBadRequest, code: "BadRequest", message: "/me request is only valid with delegated authentication flow."}
		}
		steps = append([]step{{text: "users"}, {text: c.who.id, key: "me"}}, steps[1:]...)
	}
	steps, c.cast = uncast(steps)
	var other bool // a route of the path exists, with another method
	if len(steps) > 0 {
		for _, r := range c.s.routes[strings.ToLower(steps[0].text)] {
			if !r.matches(steps) {
				continue
			}
			if r.method != c.r.Method {
				other = true
				continue
			}
			c.take(r, steps)
			c.under = r.segments[0]
			if r.op == "user.read" && c.key["id"] == "me" {
				r.op = "me.read"
			}
			return r, nil
		}
	}
	if other {
		return route{}, wrongMethod()
	}
	return route{}, &problem{status: http.StatusBadRequest, code: "BadRequest", message: "Resource not found for the segment '" + unknown(segments) + "'."}
}

func unknown(segments []odata.Segment) string { return segments[len(segments)-1].Name }

// step is a segment of the path, or the key that a segment carries in parentheses.
type step struct {
	text  string
	keyed bool   // a key in parentheses
	key   string // name of an alternate key, lower case; "me" for the caller's own user
}

func (s step) is(literal string) bool {
	return !s.keyed && s.key == "" && strings.EqualFold(s.text, literal)
}

// steps flattens name(key) into two steps and drops casts to the type that the collection has anyway. Clients spell casts in any case
// and with either namespace (observed 2026-07). A cast that narrows stays a step, so that a route must know it.
func steps(segments []odata.Segment) []step {
	var all []step
	for _, s := range segments {
		name := strings.ToLower(s.Name)
		if cast, ok := strings.CutPrefix(strings.TrimPrefix(name, "microsoft."), "graph."); ok {
			if len(all) > 0 && (all[0].is("applications") && cast == "application" || all[0].is("servicePrincipals") && cast == "serviceprincipal") {
				continue
			}
			all = append(all, step{text: "microsoft.graph." + cast})
		} else {
			all = append(all, step{text: s.Name})
		}
		if s.Keyed {
			all = append(all, step{text: s.Value, keyed: true, key: strings.ToLower(s.Key)})
		}
	}
	return all
}

func (r route) matches(steps []step) bool {
	if len(steps) != len(r.segments) {
		return false
	}
	for i, segment := range r.segments {
		if isArgument(segment) {
			if steps[i].text == "" || !steps[i].keyed && strings.HasPrefix(steps[i].text, "$") {
				return false
			}
		} else if !steps[i].is(segment) {
			return false
		}
	}
	return true
}

func isArgument(segment string) bool { return strings.HasPrefix(segment, "{") }

func (c *call) take(r route, steps []step) {
	for i, segment := range r.segments {
		if name := strings.Trim(segment, "{}"); name != segment {
			c.arg[name] = steps[i].text
			if steps[i].key != "" {
				c.key[name] = steps[i].key
			}
		}
	}
}

// enter decides the caller's right and looks at the replica.
func (c *call) enter(r route, v replica.View) error {
	may := no // the best verdict over every type that the object can have
	for _, op := range c.agentOperations(r) {
		may = max(may, c.may(v, op))
	}
	if may == no && !rights[r.op].self {
		return denied()
	}
	find := r.subject
	if find == nil {
		find = c.target(r)
	}
	c.act = r.do
	on, err := find(c, v)
	if err != nil {
		// Whoever may do the operation on no object at all learns nothing about which objects exist.
		if may == no {
			return denied()
		}
		return err
	}
	if !on.decided {
		if err := c.allow(v, c.agentOperation(r, on.agent), on); err != nil {
			return err
		}
	}
	if r.look == nil {
		return nil
	}
	return r.look(c, v)
}

// target finds the object that the path of a route begins with.
func (c *call) target(r route) func(c *call, v replica.View) (subject, error) {
	if len(r.segments) > 1 && r.segments[1] == "{id}" {
		switch r.segments[0] {
		case "applications":
			return (*call).targetApplication
		case "servicePrincipals":
			return (*call).targetServicePrincipal
		}
	}
	return func(c *call, _ replica.View) (subject, error) {
		return subject{self: r.op == "batch", agent: c.cast}, nil
	}
}

// path splits a pattern.
func path(pattern string) []string { return strings.Split(pattern, "/") }

// routes is the whole API. Where a literal and an argument fit, the one that comes first here wins.
func routes() []route {
	var all []route
	for _, part := range [][]route{
		applicationRoutes(), credentialRoutes(), ownerRoutes(), federatedRoutes(), servicePrincipalRoutes(), assignmentRoutes(), grantRoutes(),
		sponsorRoutes(), inheritRoutes(), deletedItemRoutes(), directoryObjectRoutes(), userRoutes(), groupRoutes(), memberGroupRoutes(), directoryRoleRoutes(), organizationRoutes(), policyRoutes(), batchRoutes(),
	} {
		all = append(all, part...)
	}
	return all
}
