package localcloud

import (
	"net/http"
	"strings"
	"time"
)

// gate is the way into one service: it draws the request's fault, keeps the answer back until the effect has happened, and logs.
type gate struct {
	c     *Cloud
	plane string
	vault string                      // of a vault's gate
	next  func(w *world) http.Handler // the service, in the world of the moment
}

// ServeHTTP implements [http.Handler]. The log has its line before the client has its answer, so that whoever waits for the one finds
// the other.
func (g gate) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.answer(r).send(w) }

func (g gate) answer(r *http.Request) *answer {
	c := g.c
	knobs := c.Knobs()
	f := c.faults.draw(knobs, g.plane, r)
	entry := describe(g.plane, g.vault, r)
	entry.Fault = string(f.kind)
	start := c.cfg.Now()
	entry.Time = start.UTC()
	out := newAnswer()
	defer func() { // also when the handler gives the connection up
		entry.Ms = float64(c.cfg.Now().Sub(start)) / float64(time.Millisecond)
		c.log.add(entry)
	}()

	cutUnless(pause(r.Context(), f.before))
	switch f.kind {
	case dropBefore:
		panic(http.ErrAbortHandler)
	case throttled, serverError:
		refuse(out, r, g.plane, f, c.now(), c.ids.GUID())
	default:
		c.effect(g.next(c.world.Load()), out, r)
	}
	switch f.kind {
	case dropAfter:
		panic(http.ErrAbortHandler)
	case serverErrorAfter:
		out = newAnswer()
		refuse(out, r, g.plane, f, c.now(), c.ids.GUID())
	}
	cutUnless(pause(r.Context(), f.after))

	// Clients measure the difference between the clocks by this header.
	out.header.Set("Date", c.now().UTC().Format(http.TimeFormat))
	// A browser would keep this for localhost, and with it break whatever else is served there.
	out.header.Del("Strict-Transport-Security")
	entry.Status = max(out.status, http.StatusOK)
	entry.Request = requestID(out.header)
	return out
}

func (c *Cloud) effect(h http.Handler, w http.ResponseWriter, r *http.Request) {
	if f := c.cfg.Hooks.Before; f != nil {
		f(r)
	}
	h.ServeHTTP(w, r)
	if f := c.cfg.Hooks.After; f != nil {
		f(r)
	}
}

// item answers one request of a Graph batch: it draws a fault of its own and has its own line in the log, as the service throttles
// the requests of a batch one by one (Microsoft Graph, "Throttling and batching"). Latency is the batch's, whose requests run at once.
func (c *Cloud) item(next http.Handler, w http.ResponseWriter, r *http.Request) {
	f := c.faults.draw(c.Knobs(), planeGraph, r).inside()
	entry := describe(planeGraph, "", r)
	entry.Fault, entry.Batch = string(f.kind), true
	start := c.cfg.Now()
	entry.Time = start.UTC()
	defer func() {
		entry.Ms = float64(c.cfg.Now().Sub(start)) / float64(time.Millisecond)
		c.log.add(entry)
	}()
	out := newAnswer()
	if f.kind == none || f.kind == serverErrorAfter {
		c.effect(next, out, r)
	}
	if f.kind != none {
		out = newAnswer()
		refuse(out, r, planeGraph, f, c.now(), c.ids.GUID())
	}
	entry.Status = max(out.status, http.StatusOK)
	entry.Request = requestID(out.header)
	out.send(w)
}

// cutUnless gives up the connection of a client that is gone.
func cutUnless(there bool) {
	if !there {
		panic(http.ErrAbortHandler)
	}
}

// requestID is the id under which the service answered, whatever it calls it.
func requestID(h http.Header) string {
	for _, name := range []string{"request-id", "x-ms-request-id"} {
		if v := h.Get(name); v != "" {
			return v
		}
	}
	return ""
}

// handlerOf is the gate of an in-process host or of an address that the cloud listens on, nil if there is none, and the scheme under
// which it is served.
func (c *Cloud) handlerOf(host string) (h http.Handler, scheme string) {
	host = strings.ToLower(host)
	name := strings.TrimSuffix(host, ":443")
	if g, ok := c.gates[name]; ok {
		return g, "https"
	}
	if vault, ok := strings.CutSuffix(name, vaultSuffix); ok && c.ends.Load().Vault[vault] != "" {
		return c.vaultGate(vault), "https"
	}
	if g, ok := (*c.listening.Load())[host]; ok {
		return g, "https"
	}
	if g, ok := (*c.identity.Load())[strings.TrimSuffix(host, ":80")]; ok {
		return g, "http"
	}
	return nil, "https"
}
