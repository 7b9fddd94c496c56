package web

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/plain"
)

//go:embed templates/*.html
var templates embed.FS

// names are the pages. Each is a template of its own over the same frame.
func names() []string {
	return []string{"login", "error", "overview", "agent", "plan", "fix", "preflight", "ledger", "provisioner", "jobs", "job", "setup"}
}

// parse reads the templates, which are part of the program: one that does not parse is a fault that the first test shows.
func parse() map[string]*template.Template {
	base := template.Must(template.New("frame.html").Funcs(words()).ParseFS(templates, "templates/frame.html", "templates/part_*.html"))
	pages := map[string]*template.Template{}
	for _, name := range names() {
		pages[name] = template.Must(template.Must(base.Clone()).ParseFS(templates, "templates/"+name+".html"))
	}
	return pages
}

// site is the pages with what they need.
type site struct {
	Config
	pages   map[string]*template.Template
	streams *places
}

// frame is what a page is rendered with: what is around every page, and its own part.
type frame struct {
	Title   string
	Here    string // which link of the navigation is this page's
	Who     string // "" on the login page
	Level   api.Level
	May     map[string]bool // what whoever asks may do: approve, apply
	Where   api.Resolved
	Version api.Version
	Head    string // of the ledger; "" where it could not be read
	Now     time.Time
	Reload  bool         // something runs: without a script the page loads itself anew
	Away    *api.Problem // why no cloud is there, on a page that does without one
	Page    any
}

// visit is one request for a page.
type visit struct {
	*site
	w     http.ResponseWriter
	r     *http.Request
	who   string
	level api.Level
	door  Door         // opened as whoever asks; nil on a page that is shown without one too
	away  *api.Problem // why there is no door
}

func (v *visit) ctx() context.Context { return v.r.Context() }

// answer is what a part of a page shows: a value, or why there is none. A page shows one or the other, never a value that nobody gave.
type answer[T any] struct {
	V       T
	Problem *api.Problem
}

// ask makes a call an answer.
func ask[T any](v T, err error) answer[T] {
	if err != nil {
		return answer[T]{v, problem(err)}
	}
	return answer[T]{V: v}
}

func problem(err error) *api.Problem {
	if err == nil {
		return nil
	}
	if fault.CodeOf(err) == fault.Unknown && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		err = &fault.Error{Code: fault.Unavailable, Op: "no answer in time", Err: err, Hint: "look again; leastkey cloud log, or the service's status page, says whether it fails"}
	}
	p := api.ProblemOf(err)
	return &p
}

// lookFor bounds how long a page looks: the door is patient with a cloud that fails for a moment, a person before an empty page is not. What
// could not be read by then is said to be unknown.
const lookFor = 20 * time.Second

// page lets whoever has the level come to a page, with the door open, for as long as a page may look.
func (s *site) page(need api.Level, h func(*visit)) http.HandlerFunc {
	return timed(s.open(need, s.Enter, false, h))
}

// recall is page for what is kept, which needs no cloud: where none answers it is read by the last door that opened, and without one if need be.
func (s *site) recall(need api.Level, h func(*visit)) http.HandlerFunc {
	return timed(s.open(need, s.Recall, true, h))
}

func timed(open http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), lookFor)
		defer cancel()
		open(w, r.WithContext(ctx))
	}
}

// open lets whoever has the level in, with the door open; without one only where that is said to do.
func (s *site) open(need api.Level, enter func(*http.Request) (Door, error), without bool, h func(*visit)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name, level, ok := s.Who(r)
		if !ok {
			if r.Method == http.MethodGet {
				http.Redirect(w, r, "/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
				return
			}
			v := &visit{site: s, w: w, r: r}
			v.fail(fault.New(fault.Unauthenticated, "nobody is signed in here", "sign in again; nothing was changed"))
			return
		}
		v := &visit{site: s, w: w, r: r, who: name, level: level}
		r.Body = http.MaxBytesReader(w, r.Body, mostForm)
		if !level.Includes(need) {
			err := fault.New(fault.Forbidden, "this needs a token of role "+string(need)+", yours is of role "+string(level), "leastkey serve token add NAME --role "+string(need))
			if subject := r.PathValue("agent"); r.Method != http.MethodGet && r.Method != http.MethodHead {
				// A ledger that cannot be written changes nothing about the answer: it is no.
				_ = s.House.Refused(r.Context(), name, r.Pattern, subject[:min(len(subject), 128)], err)
			}
			v.fail(err)
			return
		}
		if err := r.ParseForm(); err != nil {
			v.fail(fault.New(fault.Invalid, "the form does not read", "go back and send it again"))
			return
		}
		door, err := enter(r)
		switch {
		case err == nil:
			defer func() { _ = door.Close() }() // a door that does not close well has given its answers already
			v.door = door
		case without:
			v.away = problem(err)
		default:
			v.fail(err)
			return
		}
		h(v)
	}
}

// mostForm bounds a form: the largest has a dozen names.
const mostForm = 64 << 10

// show renders a page. Nothing of it is sent before all of it is made.
func (v *visit) show(status int, name, here, title string, page any) {
	f := frame{Title: title, Here: here, Who: v.who, Level: v.level, Version: v.House.Version(), Now: time.Now(), Away: v.away, Page: page,
		May: map[string]bool{"approve": v.level.Includes(api.Approve), "apply": v.level.Includes(api.Full)}}
	if v.door != nil {
		f.Where = v.door.Target()
		if last, err := v.door.Ledger(context.WithoutCancel(v.ctx()), 1); err == nil && len(last) > 0 {
			f.Head = last[len(last)-1].Hash
		}
	}
	if p, ok := page.(interface{ reload() bool }); ok {
		f.Reload = p.reload()
	}
	var b bytes.Buffer
	if err := v.pages[name].ExecuteTemplate(&b, "frame.html", f); err != nil {
		http.Error(v.w, "this page does not render", http.StatusInternalServerError)
		return
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Header().Set("Cache-Control", "no-store")
	v.w.WriteHeader(status)
	_, _ = io.WriteString(v.w, plain.Text(b.String())) // whatever a page is made of, what it says is what there is
}

// fail shows an error as a page of its own.
func (v *visit) fail(err error) {
	p := problem(err)
	v.show(statusOf(p), "error", "", p.Title, p)
}

// nowhere shows why there is no door, where a page cannot do without one after all.
func (v *visit) nowhere(here string) {
	p := v.away
	v.away = nil // the page is about nothing else
	v.show(statusOf(p), "error", here, p.Title, p)
}

// statusOf is the status of a page that shows a problem. A cloud that does not know the operator is not a browser that has not signed in.
func statusOf(p *api.Problem) int {
	switch {
	case p == nil:
		return http.StatusOK
	case p.Status == http.StatusUnauthorized:
		return http.StatusBadGateway
	}
	return p.Status
}

// see sends the browser on after a change, so that loading the page again repeats nothing.
func (v *visit) see(path string) { http.Redirect(v.w, v.r, path, http.StatusSeeOther) }
