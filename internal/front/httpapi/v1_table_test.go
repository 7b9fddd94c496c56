package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/front/httpapi"
)

const v1 = "/api/v1"

// problem is the shape of an error.
func problem(status int, code fault.Code) string {
	return fmt.Sprintf(`{"type":"about:blank","title":%q,"status":%d,"detail":"<text>","hint?":"<text>","code":%q}`, http.StatusText(status), status, code)
}

// decode reads an answer.
func decode[T any](w *world, r reply, status int) (v T) {
	w.Helper()
	if r.status != status {
		w.Fatalf("status %d, want %d\n%s", r.status, status, r.body)
	}
	if err := json.Unmarshal(r.body, &v); err != nil {
		w.Fatalf("%v\n%s", err, r.body)
	}
	return v
}

// plan makes a plan.
func (w *world) plan(token, order string) api.KeptPlan {
	w.Helper()
	return decode[api.KeptPlan](w, w.ask(token, "POST", v1+"/plans", order), 200)
}

// finish waits for a job's end.
func (w *world) finish(r reply) api.Job {
	w.Helper()
	j := decode[api.Job](w, r, 202)
	if got, want := r.header.Get("Location"), v1+"/jobs/"+j.ID; got != want {
		w.Errorf("Location is %q, want %q", got, want)
	}
	done, err := w.jobs.Wait(w.Context(), j.ID)
	if err != nil {
		w.Fatal(err)
	}
	return done
}

// good waits for a job's end and fails the test unless it is a good one.
func (w *world) good(r reply) api.Job {
	w.Helper()
	j := w.finish(r)
	if j.Status != api.JobDone {
		w.Fatalf("job %s: %+v", j.Verb, j.Problem)
	}
	return j
}

// TestAWholeLifeThroughTheAPI goes through every operation once; each answer is checked by the OpenAPI document as it comes.
func TestAWholeLifeThroughTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	get := func(path string) reply { w.Helper(); return w.ask(viewing, "GET", v1+path, "") }
	at := "/agents/" + bot

	who := decode[api.WhoAmI](w, get("/whoami"), 200)
	if who.Level != api.View || who.Target.Cloud != agent.Local {
		t.Errorf("whoami: %+v", who)
	}
	decode[api.Version](w, get("/version"), 200)
	decode[api.Caller](w, get("/operator"), 200)
	if all := decode[[]api.AgentSummary](w, get("/agents"), 200); len(all) != 1 || all[0].Configured || !all[0].Specified {
		t.Errorf("agents before: %+v", all)
	}
	for _, path := range []string{"/status", "/records", "/jobs", "/plans", "/ledger", at, at + "/identity", at + "/roles", at + "/preflight-runs", "/choices", "/spec", "/provisioner", "/session"} {
		if r := get(path); r.status != 200 {
			t.Errorf("GET %s: %d %s", path, r.status, r.body)
		}
	}
	w.like(get(at+"/status"), 404, problem(404, fault.NotFound))
	w.like(get(at+"/findings"), 404, problem(404, fault.NotFound))

	p := w.plan(applying, `{"verb":"apply","release":true}`)
	if p.Plan.Empty() || p.Level != api.Full || p.Expires.Sub(p.Made) != time.Hour || p.Digest != p.Plan.Digest() {
		t.Errorf("plan: %+v", p)
	}
	decode[api.KeptPlan](w, get("/plans/"+p.Digest[:12]), 200)
	if r := w.ask(applying, "DELETE", v1+"/plans/"+p.Digest, ""); r.status != 204 {
		t.Errorf("drop: %d %s", r.status, r.body)
	}
	p = w.plan(applying, `{"verb":"apply"}`)
	decode[api.KeptPlan](w, w.ask(applying, "POST", v1+"/plans/"+p.Digest+"/release", ""), 200)
	j := w.good(w.ask(approving, "POST", v1+"/plans/"+p.Digest+"/approve", ""))
	var rep api.Report
	if err := json.Unmarshal(j.Result, &rep); err != nil || rep.ApplicationID == "" || rep.Digest != p.Digest || j.Actor != "token:approveer" {
		t.Errorf("job %+v: %+v %v", j.Actor, rep, err)
	}
	decode[api.Job](w, get("/jobs/"+j.ID), 200)
	w.like(w.ask(applying, "POST", v1+"/plans/"+p.Digest+"/approve", ""), 409, problem(409, fault.Conflict))
	decode[api.AgentStatus](w, get(at+"/status"), 200)
	if roles := decode[api.RolesAnswer](w, get(at+"/roles"), 200); len(roles.Pending) != 0 || len(roles.Held) < 5 {
		t.Errorf("roles: %+v", roles)
	}
	decode[[]api.AgentStatus](w, get("/status"), 200)
	decode[[]agent.Record](w, get("/records"), 200)
	decode[api.IdentityAnswer](w, get(at+"/identity"), 200)

	w.good(w.ask(approving, "POST", v1+at+"/preflight-runs", ""))
	runs := decode[[]api.PreflightReport](w, get(at+"/preflight-runs?limit=5"), 200)
	if len(runs) != 1 {
		t.Fatalf("runs: %d", len(runs))
	}
	report := get(at + "/preflight-runs/" + runs[0].ID)
	decode[api.PreflightReport](w, report, 200)
	for _, format := range []string{"sarif", "junit", "html"} {
		if r := get(at + "/preflight-runs/latest?format=" + format); r.status != 200 || !strings.Contains(r.header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%s: %d %v", format, r.status, r.header)
		}
	}
	if v := decode[api.PreflightVerdict](w, w.ask(viewing, "POST", v1+"/preflight/verify", string(report.body)), 200); !v.Sealed || !v.Recorded || !v.Intact {
		t.Errorf("verdict of our own report: sealed %v, recorded %v, intact %v: %s", v.Sealed, v.Recorded, v.Intact, v.Detail)
	}
	if f := decode[api.AgentFindings](w, get(at+"/findings"), 200); f.Run != runs[0].ID || len(f.Findings) == 0 {
		t.Errorf("findings: %+v", f)
	}

	before := w.record().Active().ID
	w.good(w.ask(applying, "POST", v1+at+"/rotate", `{"approve":true,"overlap":"0s"}`))
	if w.record().Active().ID == before {
		t.Error("nothing was rotated")
	}
	w.removeRole("Reader")
	roles := decode[api.RolesAnswer](w, get(at+"/roles"), 200)
	w.good(w.ask(applying, "POST", v1+at+"/fix-roles", `{"digest":"`+roles.Digest+`"}`))
	if roles := decode[api.RolesAnswer](w, get(at+"/roles"), 200); len(roles.Pending) != 0 {
		t.Errorf("after the repair: %v", roles.Pending)
	}

	if v := decode[api.LedgerVerdict](w, get("/ledger/verify"), 200); !v.Intact || v.Entries == 0 {
		t.Errorf("ledger: %+v", v)
	}
	if all := decode[[]api.LedgerEntry](w, get("/ledger?limit=3"), 200); len(all) != 3 {
		t.Errorf("ledger: %d entries", len(all))
	}
	w.like(w.ask(applying, "POST", v1+at+"/migrate", `{"approve":true}`), 404, problem(404, fault.NotFound)) // no secret to migrate from
	decode[api.SpecAnswer](w, w.ask(applying, "PATCH", v1+"/spec", `{"agent":"polyclaw-runtime","sha256":"ab"}`), 200)
	if u := decode[api.UnwrittenSpec](w, w.ask(applying, "PATCH", v1+"/spec", `{"agent":"polyclaw-runtime","location":"westus"}`), 403); u.Spec == nil || !strings.Contains(u.Spec.Text, "westus") {
		t.Errorf("a spec that cannot be written: %+v", u)
	}
	w.like(w.ask(applying, "PATCH", v1+"/spec", `{"agent":"polyclaw-runtime","sha256":"cd"}`), 409, problem(409, fault.Conflict))

	w.events(j.ID)
	bootstrap := decode[api.ProvisionerReport](w, w.ask(viewing, "POST", v1+"/provisioner/plans", `{"verb":"bootstrap"}`), 200)
	w.good(w.ask(applying, "POST", v1+"/provisioner/actions", `{"verb":"bootstrap","digest":"`+bootstrap.Digest+`"}`))

	w.like(w.ask(applying, "POST", v1+at+"/revoke", `{"approve":true}`), 400, problem(400, fault.Invalid))
	w.good(w.ask(applying, "POST", v1+at+"/revoke", `{"approve":true,"confirm":"polyclaw-runtime","purge":true}`))
	if all := decode[[]api.AgentSummary](w, get("/agents"), 200); len(all) != 1 || all[0].Configured {
		t.Errorf("agents after: %+v", all)
	}
	w.ask(applying, "DELETE", v1+"/session", "")
	w.ask("", "POST", v1+"/session", `{"token":"`+viewing+`"}`)

	unseen := map[string]bool{}
	for _, op := range operations(w.front.Described()) {
		unseen[op.OperationID] = true
	}
	for id := range w.says.succeeded {
		delete(unseen, id)
	}
	delete(unseen, "migrate-agent") // TestARefusalIsToldAtOnce has it
	if len(unseen) > 0 {
		t.Errorf("operations that were never seen to succeed: %v", slices.Sorted(maps.Keys(unseen)))
	}
}

// events reads the events of a job from its start, and from its middle.
func (w *world) events(id string) {
	w.Helper()
	read := func(after int) (numbers []int, last string) {
		req, err := http.NewRequestWithContext(w.Context(), "GET", w.at.URL+v1+"/jobs/"+id+"/events", nil)
		if err != nil {
			w.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+viewing)
		if after > 0 {
			req.Header.Set("Last-Event-ID", strconv.Itoa(after))
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			w.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
			w.Errorf("Content-Type %s", kind)
		}
		w.says.answer(w.front.Described(), "GET", v1+"/jobs/"+id+"/events", resp.StatusCode, resp.Header.Get("Content-Type"), nil)
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if n, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				at, err := strconv.Atoi(n)
				if err != nil {
					w.Error(err)
				}
				numbers = append(numbers, at)
			}
			if kind, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				last = kind
			}
		}
		return numbers, last
	}
	all, last := read(0)
	if last != "done" || len(all) < 4 {
		w.Fatalf("%d events, the last is %q", len(all), last)
	}
	for i, n := range all {
		if n != i+1 {
			w.Fatalf("event %d has number %d", i+1, n)
		}
	}
	rest, last := read(3)
	if last != "done" || len(rest) != len(all)-3 || rest[0] != 4 {
		w.Errorf("after event 3 came %v, of %d", rest, len(all))
	}
}

func TestARefusalIsToldAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.provision()
	at := v1 + "/agents/" + bot
	for _, row := range []struct {
		sentence            string
		token, method, path string
		body                string
		status              int
		code                fault.Code
	}{
		{"a plan of an agent that is not there", applying, "POST", v1 + "/plans", `{"verb":"apply","agent":"nope"}`, 400, fault.Usage},
		{"a plan for a verb that is none", applying, "POST", v1 + "/plans", `{"verb":"destroy"}`, 400, fault.Invalid},
		{"a plan with a field that is none", applying, "POST", v1 + "/plans", `{"verb":"apply","env_file":"/etc/passwd"}`, 422, fault.Invalid},
		{"a plan that is not there", viewing, "GET", v1 + "/plans/0123456789ab", "", 404, fault.NotFound},
		{"a pin that is too short", viewing, "GET", v1 + "/plans/0123", "", 422, fault.Invalid},
		{"a plan that nobody made, approved", approving, "POST", v1 + "/plans/0123456789ab/approve", "", 404, fault.NotFound},
		{"an approval by a viewer", viewing, "POST", v1 + "/plans/0123456789ab/approve", "", 403, fault.Forbidden},
		{"a rotation by an approver", approving, "POST", at + "/rotate", `{"approve":true}`, 403, fault.Forbidden},
		{"a rotation that nobody approved", applying, "POST", at + "/rotate", `{}`, 400, fault.Invalid},
		{"a rotation of an agent that is not there", applying, "POST", v1 + "/agents/nope/rotate", `{"approve":true}`, 404, fault.Usage},
		{"a rotation pinned to another plan", applying, "POST", at + "/rotate", `{"digest":"0123456789ab"}`, 409, fault.Conflict},
		{"an overlap that is none", applying, "POST", at + "/rotate", `{"approve":true,"overlap":"soon"}`, 400, fault.Invalid},
		{"an overlap before now", applying, "POST", at + "/rotate", `{"approve":true,"overlap":"-1h"}`, 400, fault.Invalid},
		{"a job that is not there", viewing, "GET", v1 + "/jobs/nope", "", 404, fault.NotFound},
		{"events of a job that is not there", viewing, "GET", v1 + "/jobs/nope/events", "", 404, fault.NotFound},
		{"a report that is not there", viewing, "GET", at + "/preflight-runs/latest", "", 404, fault.NotFound},
		{"a format that is none", viewing, "GET", at + "/preflight-runs/latest?format=pdf", "", 422, fault.Invalid},
		{"a verb of the Provisioner that is none", applying, "POST", v1 + "/provisioner/actions", `{"verb":"apply","approve":true}`, 400, fault.Invalid},
		{"a body that is none", applying, "POST", v1 + "/plans", "", 400, fault.Invalid},
		{"half a body", applying, "POST", v1 + "/plans", "{", 400, fault.Invalid},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			r := w.ask(row.token, row.method, row.path, row.body)
			if r.status != row.status {
				t.Errorf("status %d, want %d", r.status, row.status)
			}
			w.like(r, row.status, problem(row.status, row.code))
		})
	}
	t.Run("an operator who is not logged in is not the caller's fault", func(*testing.T) {
		w.as("none")
		defer w.as("local:admin")
		w.like(w.ask(applying, "POST", v1+"/plans", `{"verb":"apply"}`), 503, problem(503, fault.Unauthenticated))
		w.like(w.ask(viewing, "GET", v1+"/operator", ""), 503, problem(503, fault.Unauthenticated))
	})
	t.Run("a plan that must not go on comes with its blockers", func(t *testing.T) {
		w.set(func(w *world) { w.spec.ResourceGroup, w.spec.Agents[bot] = "not-there-rg", bare() })
		b := decode[api.BlockedPlan](w, w.ask(applying, "POST", v1+"/plans", `{"verb":"apply"}`), 403)
		if b.Plan == nil || len(b.Plan.Plan.Blockers) != 1 || b.Code != string(fault.Refused) {
			t.Errorf("%+v", b)
		}
	})
}

func TestAnApproverCarriesOutWhatAnApplierPlanned(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	seen := w.plan(viewing, `{"verb":"apply"}`)
	if seen.Level != api.View {
		t.Errorf("level %s", seen.Level)
	}
	approve := v1 + "/plans/" + seen.Digest + "/approve"
	w.like(w.ask(approving, "POST", approve, ""), 403, problem(403, fault.Forbidden))
	if made := w.plan(applying, `{"verb":"apply"}`); made.Digest != seen.Digest || made.Level != api.Full {
		t.Errorf("%+v", made)
	}
	w.like(w.ask(approving, "POST", approve, ""), 403, problem(403, fault.Forbidden)) // it was only looked at
	w.like(w.ask(approving, "POST", v1+"/plans", `{"verb":"apply","release":true}`), 403, problem(403, fault.Forbidden))
	w.like(w.ask(approving, "POST", v1+"/plans/"+seen.Digest+"/release", ""), 403, problem(403, fault.Forbidden))
	drop := v1 + "/plans/" + seen.Digest
	w.like(w.ask(viewing, "DELETE", drop, ""), 403, problem(403, fault.Forbidden))
	if r := w.ask(applying, "DELETE", drop, ""); r.status != 204 {
		t.Errorf("drop: %d %s", r.status, r.body)
	}
	w.like(w.ask(applying, "POST", v1+"/plans/"+seen.Digest+"/release", ""), 404, problem(404, fault.NotFound))
	w.plan(viewing, `{"verb":"apply"}`)
	if r := w.ask(viewing, "DELETE", drop, ""); r.status != 204 {
		t.Errorf("drop one's own: %d %s", r.status, r.body)
	}
	w.plan(applying, `{"verb":"apply"}`)
	if p := decode[api.KeptPlan](w, w.ask(applying, "POST", v1+"/plans/"+seen.Digest+"/release", ""), 200); p.Release != "token:applyer" {
		t.Errorf("released by %q", p.Release)
	}
	for _, token := range []string{viewing, applying} { // a client plans before it asks anything
		if again := w.plan(token, `{"verb":"apply"}`); again.Level != api.Full || again.Release == "" {
			t.Errorf("whoever looks again takes the release back: %+v", again.Level)
		}
	}
	w.good(w.ask(approving, "POST", approve, ""))
	if again := w.plan(viewing, `{"verb":"apply"}`); again.Level != api.View {
		t.Error("a viewer's new plan passes for an applier's")
	}
}

func TestAChangedWorldIsAConflict(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.plan(applying, `{"verb":"apply"}`)
	w.set(func(w *world) { w.spec.Agents[bot].ContentSafety = "" })
	w.like(w.ask(applying, "POST", v1+"/plans/"+p.Digest+"/approve", ""), 409, problem(409, fault.Conflict))
	if w.record().Provisioned() {
		t.Error("something was made all the same")
	}
}

func TestPlansExpireAndAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	w := newWorld(t, func(c *httpapi.Config) { c.Now = func() time.Time { return now } })
	first := w.plan(applying, `{"verb":"apply"}`)
	for i := range 120 { // of a token that may only look
		w.set(func(w *world) { w.spec.Agents[bot].Certificate.Days = 100 + i })
		w.plan(viewing, `{"verb":"apply"}`)
	}
	all := decode[[]api.KeptPlan](w, w.ask(viewing, "GET", v1+"/plans", ""), 200)
	if len(all) != 100 || all[99].Digest != first.Digest {
		t.Errorf("%d plans are kept; the applier's is there: %v", len(all), all[len(all)-1].Digest == first.Digest)
	}
	now = now.Add(61 * time.Minute)
	w.like(w.ask(viewing, "GET", v1+"/plans/"+first.Digest, ""), 404, problem(404, fault.NotFound))
}

// TestSecondCallersJoin lets several callers ask for the same at once: one job, one identity.
func TestSecondCallersJoin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	answers := make(chan reply, 4)
	for range cap(answers) {
		go func() { answers <- w.ask(applying, "POST", provisionPath, `{}`) }()
	}
	for range cap(answers) {
		if r := <-answers; r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	// Who came while it ran has joined; who came later has rotated, in a job of their own behind it.
	jobs := w.jobs.List() // the newest first
	for i := 1; i < len(jobs); i++ {
		if jobs[i-1].Started.Before(jobs[i].Ended) {
			t.Errorf("job %s began at %v, before job %s had ended at %v", jobs[i-1].ID, jobs[i-1].Started, jobs[i].ID, jobs[i].Ended)
		}
	}
	if got := len(w.record().Generations); got != 1 {
		t.Errorf("%d keys", got)
	}
}

// TestADisconnectDoesNotCancel: the client goes away in the middle, and the identity is finished all the same.
func TestADisconnectDoesNotCancel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx, hangUp := context.WithCancel(t.Context())
	w.set(func(w *world) {
		w.broken = func(r *http.Request) *http.Response {
			if r.Method == http.MethodPatch && strings.HasPrefix(r.URL.Path, "/v1.0/applications(uniqueName=") {
				hangUp()
			}
			return nil
		}
	})
	req, err := http.NewRequestWithContext(ctx, "POST", w.at.URL+provisionPath, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+applying)
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Fatal("the request was answered before it could be given up")
	}
	jobs := w.jobs.List()
	if len(jobs) != 1 {
		t.Fatalf("%d jobs", len(jobs))
	}
	if j, err := w.jobs.Wait(t.Context(), jobs[0].ID); err != nil || j.Status != api.JobDone || !w.record().Provisioned() {
		t.Errorf("%+v %v", j, err)
	}
}

// TestOtherWorkOfAnAgentHasToWait: while one change runs, another of the same agent is refused, and so is the same with another plan.
func TestOtherWorkOfAnAgentHasToWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.provision()
	at := v1 + "/agents/" + bot
	p := w.plan(applying, `{"verb":"rotate","overlap":"1h"}`)
	working, goOn := make(chan struct{}), make(chan struct{})
	job, _, err := w.jobs.Start(bot, "rotate", "test", func(context.Context, func(api.Event)) (any, error) {
		close(working)
		<-goOn
		return api.Report{Agent: bot}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	<-working
	w.like(w.ask(applying, "POST", at+"/revoke", `{"approve":true,"confirm":"polyclaw-runtime"}`), 409, problem(409, fault.Busy))
	w.like(w.ask(applying, "POST", v1+"/plans/"+p.Digest+"/approve", ""), 409, problem(409, fault.Busy))
	w.like(w.ask(applying, "POST", revokePath, ""), 409, `{"ok":false,"error":"<text>","hint":"<text>","steps":[]}`)
	if joined := decode[api.Job](w, w.ask(applying, "POST", at+"/rotate", `{"approve":true}`), 202); joined.ID != job.ID {
		t.Errorf("it did not join job %s: %s", job.ID, joined.ID)
	}
	close(goOn)
}
