package arm

import (
	"net/http"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// operation is a long-running one. What it does is done when it begins, as on a very fast day; that it has ended is told after a while,
// so that clients wait for it as they would (Microsoft, "Track asynchronous Azure operations").
type operation struct {
	ID           string    `json:"id"`
	Subscription string    `json:"subscription,omitempty"` // "" is the tenant
	Caller       string    `json:"caller,omitempty"`       // who began it
	Began        time.Time `json:"began,omitzero"`
	Ends         time.Time `json:"ends,omitzero"`
	Target       string    `json:"target,omitempty"` // key of what it makes, shown at its end; "" where there is nothing to show
	Final        int       `json:"final,omitempty"`  // status of the last answer where there is nothing to show; 0 is 200
}

const (
	// settling is how long the cloud's clock runs until an operation has ended: the least that a client can be told to wait.
	settling   = time.Second
	retryAfter = "1"

	// remembered is for how long an operation that has ended can be asked for.
	remembered = time.Hour
)

// begin makes an operation of the call and forgets those that nobody will ask for any more.
func (s *Service) begin(tx replica.Tx, c *call, target string, final int) operation {
	var old []string
	for op := range s.operations.Each(tx.View) {
		if tx.Now().Before(op.Ends.Add(remembered)) {
			break // the oldest come first
		}
		old = append(old, op.ID)
	}
	for _, id := range old {
		s.operations.Delete(tx, id)
	}
	op := operation{ID: s.env.NewID(), Subscription: strings.ToLower(c.id.Subscription), Caller: c.who.ObjectID, Began: tx.Now(), Ends: tx.Now().Add(settling), Target: target, Final: final}
	s.operations.Put(tx, op.ID, op)
	return op
}

// watch is the headers with which a provider sends a client to its operation. location is the region, for the resource's own path.
func (s *Service) watch(c *call, op operation, namespace, location string) map[string]string {
	at := s.env.Endpoints().ARM + "/subscriptions/" + op.Subscription + "/providers/" + namespace + "/locations/" + plainLocation(location)
	tail := "/" + op.ID + "?api-version=" + c.param("api-version")
	return map[string]string{"Azure-AsyncOperation": at + "/operationStatuses" + tail, "Location": at + "/operationResults" + tail, "Retry-After": retryAfter}
}

// polled tells which operation the path asks for, and in which manner.
func (c *call) polled() (id string, kind polling, ok bool) {
	if c.method != http.MethodGet {
		return "", 0, false
	}
	if c.id.Group == "" && len(c.id.Parts) == 0 && len(c.rest) == 2 && c.id.Subscription != "" && words(c.rest, "operationresults") {
		return c.rest[1], byLocation, true
	}
	p := c.id.Last()
	switch typ := strings.ToLower(strings.Join(p.Types, "/")); {
	case c.id.Group != "" || c.id.ManagementGroup != "" || len(c.id.Parts) != 1 || len(c.rest) > 0:
	case c.id.Subscription != "" && typ == "locations/operationstatuses":
		return p.Names[1], byStatus, true
	case c.id.Subscription != "" && typ == "locations/operationresults":
		return p.Names[1], byLocation, true
	case c.id.Subscription == "" && strings.EqualFold(p.Type(), managementNS+"/operationResults"):
		return p.Names[0], byBoth, true
	}
	return "", 0, false
}

// polling is a manner of asking for an operation: Azure-AsyncOperation has the outcome in the body, Location in the status.
type polling int

const (
	byStatus polling = iota
	byLocation
	byBoth // management groups, whose two headers are one address
)

// poll tells how far an operation is, to whoever began it or sees its subscription. It is asked of the primary, because the replica that
// answers may not have heard of an operation that another has begun.
func (s *Service) poll(v replica.View, c *call, id string, kind polling) (reply, effect) {
	sees := c.id.Subscription != "" && s.sees(v, c.who.ObjectID, ID{Subscription: c.id.Subscription})
	return reply{}, func(tx replica.Tx) reply {
		op, found := s.operations.Get(tx.View, id)
		if !found || !strings.EqualFold(op.Subscription, c.id.Subscription) || !sees && op.Caller != c.who.ObjectID {
			return fail(http.StatusNotFound, "OperationNotFound", "The operation '%s' could not be found.", id)
		}
		ended := !tx.Now().Before(op.Ends)
		status := object{"id": c.path, "name": op.ID, "status": "InProgress", "startTime": stamp(op.Began)}
		if ended {
			status["status"], status["endTime"] = "Succeeded", stamp(op.Ends)
		}
		rep := ok(status)
		switch target, shown := s.target(tx.View, c, op.Target); {
		case kind == byStatus:
		case !ended:
			rep.status = http.StatusAccepted
			if kind == byLocation {
				rep.body = nil
			}
			rep.header = map[string]string{"Location": s.env.Endpoints().ARM + c.path + "?api-version=" + c.param("api-version")}
		case kind == byLocation && shown:
			rep.body = target
		case kind == byLocation:
			rep = reply{status: max(op.Final, http.StatusOK)}
		}
		if !ended {
			if rep.header == nil {
				rep.header = map[string]string{}
			}
			rep.header["Retry-After"] = retryAfter
		}
		return rep
	}
}

// target is what an operation has made, if it is still there and the caller may read it: to see that an operation has ended takes less than
// to see what it has made.
func (s *Service) target(v replica.View, c *call, key string) (object, bool) {
	r, found := s.resources.Get(v, key)
	if !found {
		return nil, false
	}
	id, err := ParseID(r.ID)
	if err != nil || !s.allowed(v, c.who.ObjectID, id, r.Type+"/read", false) {
		return nil, false
	}
	return s.json(r), true
}
