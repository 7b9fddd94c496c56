package clients

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/leastkey/leastkey/internal/localcloud"
)

// seen is what this process has seen of all clients.
var seen record

// record holds the clients' chapters.
type record struct {
	mu       sync.Mutex
	chapters []*chapter
}

// chapter is what one test has done with a client.
type chapter struct {
	client, test string

	mu      sync.Mutex
	entries []entry
	notes   []string
	broken  int // failures of the test that were no entry's
}

// entry is an operation, or with a code a negative case.
type entry struct {
	Name     string
	Code     string // that the client's error carried; "" for an operation
	Requests []string
	Failed   bool
}

func (r *record) chapter(client, test string) *chapter {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &chapter{client: client, test: test}
	r.chapters = append(r.chapters, c)
	return c
}

// forget leaves out what tests of this package itself have done.
func (r *record) forget(client string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chapters = slices.DeleteFunc(r.chapters, func(c *chapter) bool { return c.client == client })
}

func (c *chapter) add(e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, e)
}

// breaks writes down that something failed which is no operation, such as how a program ended.
func (c *chapter) breaks() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken++
}

// end is the end of the chapter's test. A failure that is not written down yet came from between the operations.
func (c *chapter) end(failed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if failed && c.broken == 0 && !slices.ContainsFunc(c.entries, func(e entry) bool { return e.Failed }) {
		c.broken = 1
	}
}

func (c *chapter) note(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.notes, text) {
		c.notes = append(c.notes, text)
	}
}

// history is all of one client, in an order that does not depend on what ran first.
type history struct {
	client  string
	entries []entry
	notes   []string
	broken  int
}

// histories are those of all clients, by name.
func (r *record) histories() []history {
	r.mu.Lock()
	defer r.mu.Unlock()
	chapters := slices.Clone(r.chapters)
	slices.SortStableFunc(chapters, func(a, b *chapter) int { return cmp.Or(cmp.Compare(a.client, b.client), cmp.Compare(a.test, b.test)) })
	var all []history
	for _, c := range chapters {
		if len(all) == 0 || all[len(all)-1].client != c.client {
			all = append(all, history{client: c.client})
		}
		h := &all[len(all)-1]
		c.mu.Lock()
		h.entries = append(h.entries, c.entries...)
		h.broken += c.broken
		for _, n := range c.notes {
			if !slices.Contains(h.notes, n) {
				h.notes = append(h.notes, n)
			}
		}
		c.mu.Unlock()
	}
	return all
}

// tally counts entries, and as failed also what failed beside them.
type tally struct{ operations, negative, failed int }

func (h history) tally() tally {
	n := tally{failed: h.broken}
	for _, e := range h.entries {
		if e.Code == "" {
			n.operations++
		} else {
			n.negative++
		}
		if e.Failed {
			n.failed++
		}
	}
	return n
}

func (n tally) plus(m tally) tally {
	return tally{n.operations + m.operations, n.negative + m.negative, n.failed + m.failed}
}

// String is the form of the verdict.
func (n tally) String() string {
	return fmt.Sprintf("%d operations, %d negative cases, %d failed", n.operations, n.negative, n.failed)
}

var (
	guid    = regexp.MustCompile(`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)
	version = regexp.MustCompile(`\b[0-9a-fA-F]{32}\b`)
	literal = regexp.MustCompile(`'([^']|'')*'`)
	opaque  = regexp.MustCompile(`/[0-9A-Za-z_-]{43}(/|$)`) // Graph's ids of assignments and grants: base64url of 32 bytes
)

// line is a request as the record shows it: what is the same in every run. The host is left out, as every plane has its own; of the
// query there is what a service decides by.
func line(r localcloud.Request) string {
	u, err := url.Parse(r.URL)
	if err != nil {
		u = &url.URL{Path: r.URL}
	}
	s := r.Method + " " + r.Plane + " " + anonymous(u.Path)
	if q := query(u.Query()); q != "" {
		s += "?" + q
	}
	if r.Batch {
		s = "(in $batch) " + s
	}
	if r.Status == 0 {
		return s + " → cut"
	}
	return fmt.Sprintf("%s → %d", s, r.Status)
}

func anonymous(s string) string {
	return opaque.ReplaceAllString(version.ReplaceAllString(guid.ReplaceAllString(s, "{id}"), "{version}"), "/{id}$1")
}

// query is the version, and the shape of what is selected.
func query(q url.Values) string {
	var parts []string
	for _, name := range []string{"api-version", "$filter", "$select", "$expand"} {
		if v := q.Get(name); v != "" {
			parts = append(parts, name+"="+anonymous(literal.ReplaceAllString(v, "'…'")))
		}
	}
	return strings.Join(parts, "&")
}
