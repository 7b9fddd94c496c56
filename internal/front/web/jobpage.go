package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/plain"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

// progress is what a job's events amount to: each step once, as it stands now.
type progress struct {
	Steps  []api.Event
	Latest string // for those who listen: one sentence, which changes with each event
	N      int    // of the last event
}

// add takes one more event in.
func (p *progress) add(e api.JobEvent) {
	p.N = e.N
	if e.Event == nil {
		return
	}
	now := *e.Event
	if now.Title == "" {
		now.Title = now.Step
	}
	if now.Title == "" {
		now.Title = now.Detail
	}
	p.Latest = now.Title + ": " + strings.ToLower(statusWord(now.Status)[0])
	at := slices.IndexFunc(p.Steps, func(s api.Event) bool { return s.Step != "" && s.Step == now.Step && s.Agent == now.Agent })
	if at < 0 {
		p.Steps = append(p.Steps, now)
		return
	}
	p.Steps[at] = now
}

type jobPage struct {
	Job      api.Job
	Progress progress
	From     string
	Joined   bool
	// What the job left, by its kind; nil where it left nothing of that kind, or has not ended.
	Report      *api.Report
	Preflight   *api.PreflightReport
	Provisioner *api.ProvisionerReport
	Unread      string // why the result does not read
}

func (p jobPage) reload() bool { return p.Job.Status == api.JobRunning }

// About is where the page leads back to.
func (p jobPage) About() string {
	if p.Job.Agent == provisioner.Name {
		return "/provisioner"
	}
	return "/agents/" + p.Job.Agent
}

// jobsPage lists what the server remembers.
type jobsPage struct{ Jobs []api.Job }

func (p jobsPage) reload() bool {
	return slices.ContainsFunc(p.Jobs, func(j api.Job) bool { return j.Status == api.JobRunning })
}

func (v *visit) jobs() {
	v.show(http.StatusOK, "jobs", "jobs", "Jobs", jobsPage{v.Jobs.List()})
}

func (v *visit) job() {
	job, err := v.Jobs.Job(v.r.PathValue("id"))
	if err != nil {
		v.fail(err)
		return
	}
	page := jobPage{Job: job, From: v.from(), Joined: v.r.Form.Get("joined") == "yes"}
	// What has been told so far: Follow tells that before it heeds its context.
	over, cancel := context.WithCancel(v.ctx())
	cancel()
	_ = v.Jobs.Follow(over, job.ID, 0, func(e api.JobEvent) error {
		page.Progress.add(e)
		if e.Done != nil {
			page.Job = *e.Done
		}
		return nil
	})
	page.results()
	v.show(http.StatusOK, "job", "jobs", verbWord(job.Verb)+" "+subjectOf(job.Agent), page)
}

func subjectOf(name string) string {
	if name == provisioner.Name {
		return ""
	}
	return name
}

// results reads what the job left. A result that does not read is said to be so, and is not taken for an empty one.
func (p *jobPage) results() {
	if len(p.Job.Result) == 0 {
		return
	}
	var err error
	switch verb := p.Job.Verb; {
	case verb == "preflight":
		p.Preflight = new(api.PreflightReport)
		err = json.Unmarshal(p.Job.Result, p.Preflight)
		if err != nil || p.Preflight.ID == "" { // it failed before there was a report
			p.Preflight = nil
		}
	case strings.HasPrefix(verb, "provisioner-"):
		p.Provisioner = new(api.ProvisionerReport)
		if err = json.Unmarshal(p.Job.Result, p.Provisioner); err != nil {
			p.Provisioner = nil
		}
	case verb == "provision":
		p.Report, err = provisioned(p.Job.Result)
	default:
		p.Report = new(api.Report)
		err = json.Unmarshal(p.Job.Result, p.Report)
	}
	if p.Report != nil && (err != nil || p.Report.Agent == "") {
		// JSON of another kind reads as a report of nothing, which must not be told as done.
		if p.Report = nil; err == nil && p.Job.Status == api.JobDone {
			err = errors.New("it is no report")
		}
	}
	if err != nil {
		p.Unread = err.Error()
	}
}

// provisioned is the job of polyclaw's endpoint as one report: what apply did, and the rotation after it. It is nil where neither began.
func provisioned(result json.RawMessage) (*api.Report, error) {
	var got struct {
		Apply  *api.Report `json:"apply"`
		Rotate *api.Report `json:"rotate"`
	}
	if err := json.Unmarshal(result, &got); err != nil || got.Apply == nil {
		return new(api.Report), err
	}
	if got.Rotate == nil || got.Rotate.ApplicationID == "" { // no rotation, or one that did not begin
		return got.Apply, nil
	}
	last := *got.Rotate
	last.Steps = append(slices.Clone(got.Apply.Steps), last.Steps...)
	last.Changed = last.Changed || got.Apply.Changed
	last.Requests += got.Apply.Requests
	last.WallMS += got.Apply.WallMS
	return &last, nil
}

// Headline says in a sentence what an ended job came to. It praises nothing that a finding contradicts.
func (p jobPage) Headline() string {
	switch {
	case p.Job.Status == api.JobRunning:
		return "It is running."
	case p.Job.Status == api.JobFailed && p.Job.Problem != nil && p.Job.Problem.Code == string(fault.Stopped):
		return "It stopped midway. What is done stays done; the same again goes on."
	case p.Job.Status == api.JobFailed:
		return "It failed."
	case p.Unread != "":
		return "It ended; what it answered does not read."
	case p.Preflight != nil:
		c := p.Preflight.Counts
		if p.Preflight.Green {
			return fmt.Sprintf("No check fails: %d passed, %s, %d unknown, %d skipped.", c.Passed, plural(c.Warnings, "warning", "warnings"), c.Unknown, c.Skipped)
		}
		return fmt.Sprintf("Not verified: %d failed, %d unknown.", c.Failed, c.Unknown)
	case p.Report != nil:
		return reportHeadline(p.Job.Verb, *p.Report)
	case p.Provisioner != nil:
		r := *p.Provisioner
		switch {
		case api.FindingsExit(r.Findings) != api.ExitDone:
			return "It ended, and something is not as it should be: see the findings."
		case !r.Changed:
			return "Nothing had to be done."
		}
		return "Done."
	}
	return "It ended, without a report."
}

func reportHeadline(verb string, r api.Report) string {
	switch {
	case api.FindingsExit(r.Findings) != api.ExitDone:
		return r.Agent + " is not as it should be: see the findings."
	case r.Revoked:
		return "The identity of " + r.Agent + " is revoked."
	case r.Rotated:
		return r.Agent + " logs in with a new key."
	case verb == "fix-roles" && r.Changed:
		return "The roles of " + r.Agent + " are repaired."
	case !r.Changed:
		return "Nothing had to be done: " + r.Agent + " is as the spec says."
	}
	return r.Agent + " has an identity of its own."
}

const (
	mostStreams = 64               // that may be open at once
	ownStreams  = 8                // of one caller: nobody takes all of them from the others
	heartbeat   = 15 * time.Second // so that a connection whose client is gone is noticed
	patience    = 10 * time.Second // for one write: a client that does not read is let go
)

// places counts the streams that are open, for each caller and for all.
type places struct {
	mu  sync.Mutex
	by  map[string]int
	all int
}

func (p *places) take(who string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= mostStreams || p.by[who] >= ownStreams {
		return false
	}
	p.by[who]++
	p.all++
	return true
}

func (p *places) give(who string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.by[who]--; p.by[who] == 0 {
		delete(p.by, who)
	}
}

// events streams a job's progress (server-sent events, HTML living standard, section 9.2). Each message is the list of steps as it is then, so
// that a browser that comes back after a break misses nothing.
func (v *visit) events() {
	id := v.r.PathValue("id")
	if _, err := v.Jobs.Job(id); err != nil {
		http.Error(v.w, err.Error(), http.StatusNotFound)
		return
	}
	if !v.streams.take(v.who) {
		v.w.Header().Set("Retry-After", "5")
		http.Error(v.w, fault.New(fault.Unavailable, "too many streams are open", "").Error(), http.StatusServiceUnavailable)
		return
	}
	defer v.streams.give(v.who)
	v.w.Header().Set("Content-Type", "text/event-stream")
	v.w.Header().Set("Cache-Control", "no-store")
	v.w.Header().Set("X-Accel-Buffering", "no")
	v.w.WriteHeader(http.StatusOK)
	if v.send(": here\n\n") == nil { // at once, so that whoever asked knows that it is open
		v.stream(id)
	}
}

func (v *visit) stream(id string) {
	ctx, cancel := context.WithCancel(v.ctx())
	defer cancel()
	news := make(chan api.JobEvent)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = v.Jobs.Follow(ctx, id, 0, func(e api.JobEvent) error {
			select {
			case news <- e:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	defer func() {
		cancel()
		<-ended
	}()
	alive := time.NewTicker(heartbeat)
	defer alive.Stop()
	var so progress
	seen, _ := strconv.Atoi(v.r.Header.Get("Last-Event-ID")) // 0 where there is none
	for {
		var err error
		select {
		case e := <-news:
			so.add(e)
			switch {
			case e.Done != nil:
				_ = v.send("id: " + strconv.Itoa(e.N) + "\nevent: done\ndata: done\n\n")
				return
			case e.N > seen:
				err = v.tell(so)
			}
		case <-alive.C:
			err = v.send(": alive\n\n")
		case <-ended:
			return
		}
		if err != nil {
			return
		}
	}
}

// tell sends the steps as they stand.
func (v *visit) tell(so progress) error {
	var b bytes.Buffer
	if err := v.pages["job"].ExecuteTemplate(&b, "progress", so); err != nil {
		return err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "id: %d\n", so.N)
	for line := range strings.Lines(plain.Text(b.String())) {
		if text := strings.TrimSpace(line); text != "" {
			out.WriteString("data: " + text + "\n")
		}
	}
	out.WriteString("\n")
	return v.send(out.String())
}

func (v *visit) send(text string) error {
	c := http.NewResponseController(v.w)
	_ = c.SetWriteDeadline(time.Now().Add(patience)) // a writer without deadlines, in a test, has none to set
	if _, err := v.w.Write([]byte(text)); err != nil {
		return err
	}
	return c.Flush()
}
