package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

// all are the addresses of all pages that one can go to.
func all() []string {
	a := "/agents/" + bot
	return []string{"/", a, a + "/plan/apply", a + "/plan/rotate", a + "/plan/revoke", a + "/fix", a + "/preflight", "/ledger", "/ledger?verify=yes", "/jobs", "/provisioner",
		"/provisioner/plan/migrate", "/provisioner/plan/bootstrap", "/provisioner/plan/rotate", "/setup", "/setup/operator", "/setup/group", "/setup/agent", "/setup/options", "/setup/file", "/setup/infrastructure", "/setup/verify"}
}

// wholesome is a house in which everything answers, the Provisioner too.
func wholesome() *house {
	h := good()
	h.prov = func(r api.ProvisionerRequest) (api.ProvisionerReport, error) {
		p := agent.Plan{Verb: r.Verb, Agent: provisioner.Name, Cloud: agent.Local, Steps: []agent.Step{
			{ID: "cert", Action: agent.RegisterCertificate, Plane: agent.Graph, Title: "register the certificate"},
			{ID: "pw", Action: agent.RemovePassword, Plane: agent.Graph, Title: "remove password abc", Destroys: true}}}
		return api.ProvisionerReport{Verb: r.Verb, ApplicationID: app, Plan: &p, Digest: p.Digest(), StateFile: "/srv/.entraclaw-state.json"}, nil
	}
	return h
}

func TestEveryPageShowsWhatTheDoorSays(t *testing.T) {
	b := visitor(t, wholesome())
	a := "/agents/" + bot
	for path, wants := range map[string][]string{
		"/":                          {bot, app, "Provisioned", "Verified", "Ledger head", "2e2e2e2e2e2e2e2e", "leastkey v1.2.3"},
		a:                            {"Assigned", "Service principal", app, object, "Nothing to fix", "leastkey assigned it", "Rotate…", "Revoke…"},
		a + "/plan/apply":            {"assign Reader on polyclaw-rg", "Why: it is missing", "Cannot be undone", "1 to create, 0 to change, 1 to destroy", `name="digest" value="`, "op@contoso.com", "I have read the plan"},
		a + "/plan/revoke":           {"Type the agent's name", "recycle bin", `name="confirm" required`},
		a + "/preflight":             {"No client secret", "passwordCredentials is empty", "GET https://graph.example", "Identity verification", "RBAC verification", "Secret isolation", "403 &lt;script&gt;", "format=sarif", "preflight-runs/00000000000000000000000000000002", `href="#check-policy"`, "<svg"},
		"/ledger":                    {"mallory", "Refused", "Allowed", "not approved"},
		"/ledger?verify=yes":         {"The chain is intact: 2 entries."},
		"/jobs":                      {"Nothing was started"},
		"/provisioner":               {app, "Migrate…", "/srv/.entraclaw-state.json"},
		"/provisioner/plan/migrate":  {"remove password abc", "Every other holder of the secret stops working now"},
		"/setup":                     {"op@contoso.com", "Production", "/srv/leastkey.yaml"},
		"/setup/group":               {"polyclaw-rg", "eastus"},
		"/setup/agent":               {"User-assigned managed identity", bot},
		"/setup/options":             {"kv-polyclaw in polyclaw-rg", sum("cloud: public\n")},
		"/setup/infrastructure":      {"Agent Identity", "Provision…", "Provision as shown", `name="from" value="setup"`},
		"/setup/verify":              {"Run all checks", "1 passed"},
		"/setup/file?sha256=x&vault": {"<del>kv-polyclaw</del>", "its comments and everything else stay"},
	} {
		t.Run(path, func(t *testing.T) {
			b.T = t
			b.shows(b.get(path), 200, wants...)
		})
	}
}

// What a page shows for approval is what is in the plan: no character of a name or an answer turns the text around or hides it.
func TestNoTextTurnsAPageAround(t *testing.T) {
	const hostile = "a\u202eb\u2066c\x1b[2Jd\u200be"
	const seen = `a\u202eb\u2066c\x1b[2Jd\u200be`
	h := wholesome()
	made := h.plan
	h.plan = func(r api.PlanRequest) (api.PlanAnswer, error) {
		ans, err := made(r)
		ans.Plan.Steps = append(ans.Plan.Steps, agent.Step{ID: "x", Action: agent.AssignRole, Plane: agent.ARM, Title: hostile, Why: hostile})
		return ans, err
	}
	h.ledger = append(h.ledger, api.LedgerEntry{Seq: 3, Actor: hostile, Action: "spec", Subject: hostile, Detail: hostile})
	h.runs[0].Findings[0].Detail = hostile
	h.choices.As.Name = hostile
	b := visitor(t, h)
	for _, path := range all() {
		page := b.get(path).Body.String()
		if i := strings.IndexFunc(page, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%s has %q", path, page[max(0, i-30):min(len(page), i+30)])
		}
	}
	a := "/agents/" + bot
	for _, path := range []string{a + "/plan/apply", "/ledger", a + "/preflight", "/setup"} {
		b.shows(b.get(path), 200, seen)
	}
}

// A page without a script or style of its own can be served under a policy that allows none, and then what a name, a scope or an error brings
// along is never run.
func TestNoPageHasInlineScriptOrStyle(t *testing.T) {
	b := visitor(t, wholesome())
	bad := regexp.MustCompile(`(?i)<script(?:[^>]*)>[^<]|<style|\sstyle=|\son[a-z]+=|javascript:|hx-on|<[^>]+\shx-vals=|<(?:iframe|object|embed|base)\b`)
	id := regexp.MustCompile(`\sid="([^"]+)"`)
	for _, path := range append(all(), "/login", "/nowhere") {
		text := b.get(path).Body.String()
		if found := bad.FindString(text); found != "" {
			t.Errorf("%s has %q", path, found)
		}
		for _, want := range []string{`<html lang="en">`, `<main id="main"`, "<h1>", "</html>", "includeIndicatorCSS"} {
			if strings.Count(text, want) != 1 {
				t.Errorf("%s has %d times %q", path, strings.Count(text, want), want)
			}
		}
		seen := map[string]bool{}
		for _, m := range id.FindAllStringSubmatch(text, -1) {
			if seen[m[1]] {
				t.Errorf("%s has the id %s twice", path, m[1])
			}
			seen[m[1]] = true
		}
	}
}

// praise is what no page may say that could not look.
func praise() []string {
	return []string{"!Nothing to fix", "!>Assigned<", "!>Provisioned<", "!>Verified<", "!Nothing to do", "!is intact", "!says all of this already", "!Provision as shown", "!Nothing had to be done"}
}

func TestAPageThatCouldNotLookSaysSo(t *testing.T) {
	h := &house{specErr: down("read leastkey.yaml"), runsErr: down("read the reports"), ledgErr: down("read the ledger"), readErr: down("read leastkey.yaml"), choErr: down("list")}
	b := visitor(t, h)
	for _, path := range all() {
		t.Run(path, func(t *testing.T) {
			b.T = t
			want := []string{"the service does not answer", "try again when &lt;it&gt; is back", "Ledger head unknown"}
			status := http.StatusServiceUnavailable
			switch path {
			case "/jobs": // it asks nobody
				b.shows(b.get(path), 200, "Ledger head unknown")
				return
			case "/setup", "/setup/operator", "/setup/group", "/setup/agent", "/setup/options", "/setup/file", "/setup/infrastructure", "/setup/verify":
				status = 200 // one part of several, and the box says which
			}
			b.shows(b.get(path), status, append(want, praise()...)...)
		})
	}
}

func TestADoorThatDoesNotOpenIsAnErrorPage(t *testing.T) {
	b := visitor(t, &house{enter: fault.New(fault.Unauthenticated, "az is not logged in", "az login")})
	for _, path := range all() {
		// 502: it is the cloud that does not know the operator. The browser has signed in. Jobs, and the steps that write leastkey.yaml, are shown
		// without a cloud too.
		status := http.StatusBadGateway
		if step, ok := strings.CutPrefix(path, "/setup"); strings.HasPrefix(path, "/jobs") || (ok && !strings.HasPrefix(step, "/infrastructure") && !strings.HasPrefix(step, "/verify")) {
			status = http.StatusOK
		}
		b.shows(b.get(path), status, append(praise(), "Az is not logged in", "az login")...)
	}
}

func TestUnknownIsNeitherMissingNorAssigned(t *testing.T) {
	h := good()
	h.runs = nil
	h.identity = func(string) (api.IdentityAnswer, error) {
		return api.IdentityAnswer{Agent: bot, Configured: true, Unread: "graph: 503"}, nil
	}
	h.roles = func(string) (api.RolesAnswer, error) {
		return api.RolesAnswer{Agent: bot, PrincipalID: object, Unread: []string{where}, Required: []api.RequiredRole{{Role: "Reader", Scope: where, Presence: api.PresenceUnknown, Detail: "403"}}}, nil
	}
	b := visitor(t, h)
	b.shows(b.get("/agents/"+bot), 200, append(praise(), "Nobody could look: graph: 503", ">Unknown<", "!>Missing<", "Some scopes could not be read")...)
}

func TestAManagedIdentityHasNothingToRotate(t *testing.T) {
	h := good()
	h.identity = func(string) (api.IdentityAnswer, error) {
		return api.IdentityAnswer{Agent: bot, Kind: agent.ManagedIdentity, Configured: true, Found: true, Enabled: true}, nil
	}
	h.status = func(string) ([]api.AgentStatus, error) { return nil, fault.New(fault.NotFound, "not provisioned", "") }
	b := visitor(t, h)
	b.shows(b.get("/agents/"+bot), 200, "Revoke…", "!Rotate…", "has no key and no certificate")
}

func TestStatesOfTheCard(t *testing.T) {
	now := time.Now()
	ok := api.IdentityAnswer{Configured: true, Found: true, Enabled: true}
	with := func(change func(*api.IdentityAnswer)) api.IdentityAnswer { i := ok; change(&i); return i }
	for name, c := range map[string]struct {
		id   api.IdentityAnswer
		err  error
		want string
	}{
		"all is well":                         {ok, nil, "Provisioned"},
		"nothing is recorded":                 {api.IdentityAnswer{}, nil, "Not provisioned"},
		"a lookup that failed":                {with(func(i *api.IdentityAnswer) { i.Unread = "x" }), nil, "Unknown"},
		"no answer at all":                    {ok, down("look"), "Unknown"},
		"deleted behind our back":             {with(func(i *api.IdentityAnswer) { i.Found = false }), nil, "Recorded, but not in the directory"},
		"disabled":                            {with(func(i *api.IdentityAnswer) { i.Enabled = false }), nil, "Disabled"},
		"a certificate that has ended":        {with(func(i *api.IdentityAnswer) { i.Expires = now }), nil, "Certificate ended"},
		"a run that stopped midway":           {with(func(i *api.IdentityAnswer) { i.Open = &agent.Run{} }), nil, "Stopped midway"},
		"stopped before there is an identity": {api.IdentityAnswer{Open: &agent.Run{}}, nil, "Stopped midway"},
	} {
		if got := (card{Identity: ask(c.id, c.err), Now: now}).State()[0]; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	form := url.Values{"digest": {strings.Repeat("a", 64)}, "confirm": {bot}}
	posts := []string{"/agents/" + bot + "/plan/apply", "/agents/" + bot + "/plan/rotate", "/agents/" + bot + "/plan/revoke", "/agents/" + bot + "/fix", "/provisioner/plan/migrate", "/setup/file"}
	for _, level := range []api.Level{api.View, api.Approve} {
		h := wholesome()
		b := visitor(t, h)
		b.level = level
		for _, path := range posts {
			b.shows(b.post(path, form), http.StatusForbidden, "this needs a token of role apply"[1:])
		}
		b.shows(b.get("/agents/"+bot), 200, "!Provision…", "!Revoke…")
		b.shows(b.get("/agents/"+bot+"/plan/apply"), 200, "!Provision as shown", "needs a token of role apply")
		w := b.post("/agents/"+bot+"/preflight", nil)
		if may := level == api.Approve; (w.Code == http.StatusSeeOther) != may {
			t.Errorf("a token of role %s that runs the checks gets %d", level, w.Code)
		}
		if w.Code == http.StatusSeeOther {
			b.ended(w)
		}
		for _, did := range h.called {
			if !strings.HasPrefix(did, "choices") && did != "preflight" && !strings.HasSuffix(did, " ") {
				t.Errorf("a token of role %s did %s", level, did)
			}
		}
	}
}

func TestNobodyGetsIn(t *testing.T) {
	h := wholesome()
	b := visitor(t, h)
	b.out = true
	for _, path := range all() {
		if w := b.get(path); w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/login") || strings.Contains(w.Body.String(), app) {
			t.Errorf("%s answers %d %s", path, w.Code, w.Header().Get("Location"))
		}
	}
	for _, path := range []string{"/agents/" + bot + "/plan/apply", "/setup/file", "/agents/" + bot + "/preflight"} {
		b.shows(b.post(path, nil), http.StatusBadGateway, "!"+app)
	}
	if len(h.called) > 0 {
		t.Errorf("the house was asked %q", h.called)
	}
	b.shows(b.get("/login"), 200, "Admin token", "serve token add")
}

func TestAChangeIsThePlanThatWasShown(t *testing.T) {
	h := good()
	h.act = func(verb string, r api.ApplyRequest, tell func(api.Event)) (api.Report, error) {
		plan, _ := h.plan(api.PlanRequest{Agent: r.Agent, Verb: agent.Verb(verb)})
		if !r.Pinned(plan.Digest) {
			return api.Report{Agent: r.Agent}, fault.New(fault.Conflict, "the world no longer matches the approved plan", "look at it again")
		}
		if yes, err := r.Approve(plan); err != nil || !yes {
			return api.Report{Agent: r.Agent}, errors.Join(err)
		}
		tell(api.Event{Step: "a", Title: "assign Reader", Status: api.Begun})
		tell(api.Event{Step: "a", Title: "assign Reader", Status: api.Done, MS: 12})
		return api.Report{Agent: r.Agent, Changed: true, Rotated: verb == "rotate", Revoked: verb == "revoke"}, nil
	}
	b := visitor(t, h)
	for _, c := range []struct{ verb, confirm, digest, want, says string }{
		{"apply", "yes", "shown", "done", "has an identity of its own"},
		{"apply", "", "shown", "failed", "The plan was not agreed to"},
		{"apply", "yes", strings.Repeat("0", 64), "failed", "no longer matches the approved plan"},
		{"rotate", "yes", "shown", "done", "logs in with a new key"},
		{"revoke", bot, "shown", "done", "is revoked"},
	} {
		page := b.shows(b.get("/agents/"+bot+"/plan/"+c.verb), 200)
		digest := c.digest
		if digest == "shown" {
			digest = regexp.MustCompile(`name="digest" value="([0-9a-f]{64})"`).FindStringSubmatch(page)[1]
		}
		job, to := b.ended(b.post("/agents/"+bot+"/plan/"+c.verb, url.Values{"digest": {digest}, "confirm": {c.confirm}}))
		if string(job.Status) != c.want || job.Actor != "alice" || job.Verb != c.verb {
			t.Errorf("%s with %q: %+v", c.verb, c.confirm, job)
		}
		b.shows(b.get(to), 200, c.says)
	}
	h.called = nil
	b.shows(b.post("/agents/"+bot+"/plan/revoke", url.Values{"digest": {strings.Repeat("a", 64)}, "confirm": {"polyclaw"}}), http.StatusForbidden, "The name that was typed is not")
	b.shows(b.post("/agents/"+bot+"/plan/apply", url.Values{"confirm": {"yes"}}), http.StatusBadRequest, "The form names no plan")
	b.shows(b.post("/agents/"+bot+"/plan/apply", url.Values{"digest": {"abc"}, "confirm": {"yes"}}), http.StatusBadRequest, "The form names no plan")
	b.shows(b.post("/agents/"+bot+"/plan/destroy", url.Values{"digest": {strings.Repeat("a", 64)}}), http.StatusNotFound)
	if len(h.called) > 0 {
		t.Errorf("a form that says too little did %q", h.called)
	}
}

func TestAFormOfAnotherSiteIsRefused(t *testing.T) {
	h := good()
	b := visitor(t, h)
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/agents/"+bot+"/preflight", nil)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	b.web.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden || len(h.called) > 0 {
		t.Errorf("%d, and the house was asked %q", w.Code, h.called)
	}
}

func TestAnOpenRunIsContinuedByItsOwnPlan(t *testing.T) {
	h := good()
	begun := agent.Plan{Verb: agent.Apply, Cloud: agent.Public, Agent: bot, Steps: []agent.Step{{ID: "x", Action: agent.MintKey, Title: "make a key"}}}
	verb := agent.Apply
	h.plan = func(r api.PlanRequest) (api.PlanAnswer, error) {
		return api.PlanAnswer{Plan: agent.Plan{Verb: r.Verb, Agent: bot, Steps: []agent.Step{{ID: "y", Title: "something new"}}}, Digest: "new", Open: &agent.Run{Agent: bot, Verb: verb, Actor: "bob", Digest: begun.Digest(), Plan: begun}}, nil
	}
	b := visitor(t, h)
	b.shows(b.get("/agents/"+bot+"/plan/apply"), 200, "make a key", "!something new", "stopped midway", `value="`+begun.Digest()+`"`, "Go on with the apply")
	verb = agent.Rotate
	b.shows(b.get("/agents/"+bot+"/plan/apply"), 200, "It has to end first", "!name=\"digest\"")
}

func TestAPlanThatIsBlockedIsNoPlan(t *testing.T) {
	h := good()
	h.plan = func(r api.PlanRequest) (api.PlanAnswer, error) {
		p := agent.Plan{Verb: r.Verb, Agent: bot, Blockers: []finding.Finding{{ID: "group-missing", Question: "is the group there?", Outcome: finding.Fail, Detail: "no group polyclaw-rg", Remedy: "az group create"}}}
		return api.PlanAnswer{Plan: p, Digest: p.Digest()}, fault.New(fault.Refused, "nothing was changed: no group polyclaw-rg", "az group create")
	}
	b := visitor(t, h)
	b.shows(b.get("/agents/"+bot+"/plan/apply"), http.StatusForbidden, append(praise(), "What stands in the way", "az group create", "!name=\"digest\"")...)
	b.shows(b.get("/setup/infrastructure"), 200, append(slices.DeleteFunc(praise(), func(s string) bool { return s == "!>Provisioned<" }), "az group create", "!name=\"digest\"", "!Next: verify")...)
}

func TestTheWizardWritesWhatItShowed(t *testing.T) {
	h := good()
	h.read.Spec = agent.Spec{ResourceGroup: "polyclaw-rg", Location: "eastus", Subscription: h.spec.Subscription, Agents: map[string]*agent.Agent{bot: {Kind: agent.ServicePrincipal, KeyVault: "kv-polyclaw", Certificate: agent.CertificatePolicy{Days: 365}}}}
	var wrote api.SpecChange
	h.write = func(c api.SpecChange) (api.SpecAnswer, error) { wrote = c; return h.read, nil }
	b := visitor(t, h)
	q := url.Values{"subscription": {h.spec.Subscription}, "group": {"other-rg"}, "location": {"eastus"}, "agent": {bot}, "kind": {"service-principal"}, "vault": {""}, "days": {"90"}, "sha256": {h.read.SHA256}}
	page := b.shows(b.get("/setup/file?"+q.Encode()), 200, "<del>polyclaw-rg</del>", "<ins>other-rg</ins>", "<del>kv-polyclaw</del>", "<ins>90</ins>", "!eastus</ins>")
	form := url.Values{}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([a-z_0-9]+)" value="([^"]*)">`).FindAllStringSubmatch(page, -1) {
		form.Set(m[1], m[2])
	}
	if w := b.post("/setup/file", form); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/setup/infrastructure?agent="+bot {
		t.Fatalf("%d %s\n%s", w.Code, w.Header(), w.Body)
	}
	if wrote.SHA256 != h.read.SHA256 || wrote.ResourceGroup == nil || *wrote.ResourceGroup != "other-rg" || wrote.KeyVault == nil || *wrote.KeyVault != "" || wrote.Days == nil || *wrote.Days != 90 || wrote.Location != nil || wrote.Kind != nil || wrote.Cloud != nil {
		t.Errorf("%+v", wrote)
	}

	form.Set("sha256", sum("another file"))
	b.shows(b.post("/setup/file", form), http.StatusConflict, "has changed since the wizard read it")
	form.Set("sha256", h.read.SHA256)
	form.Set("days", "many")
	b.shows(b.post("/setup/file", form), http.StatusBadRequest, "cannot live for")
	form.Set("days", "90")
	h.write = func(api.SpecChange) (api.SpecAnswer, error) {
		return api.SpecAnswer{Text: "# kept\nagents: <new>\n"}, fault.New(fault.Refused, "leastkey.yaml cannot be written: read-only file system", "put the text there yourself")
	}
	b.shows(b.post("/setup/file", form), http.StatusForbidden, "read-only file system", "# kept\nagents: &lt;new&gt;", "It is there now")
	h.write = nil
	b.shows(b.post("/setup/file", form), http.StatusServiceUnavailable, "the service does not answer", "!It is there now")
}

func TestTheWizardMakesAWholeFileWhereThereIsNone(t *testing.T) {
	h := good()
	h.read.File, h.read.SHA256 = "", ""
	var wrote api.SpecChange
	h.write = func(c api.SpecChange) (api.SpecAnswer, error) { wrote = c; return h.read, nil }
	b := visitor(t, h)
	b.shows(b.get("/setup/options"), 200, `name="sha256" value="none"`)
	q := url.Values{"subscription": {h.spec.Subscription}, "group": {"polyclaw-rg"}, "location": {"eastus"}, "agent": {bot}, "kind": {"managed-identity"}, "days": {"365"}, "sha256": {"none"}}
	b.shows(b.get("/setup/file?"+q.Encode()), 200, "A new leastkey.yaml is written", "<ins>polyclaw-rg</ins>", "<ins>managed-identity</ins>")
	if w := b.post("/setup/file", q); w.Code != http.StatusSeeOther {
		t.Fatal(w.Code, w.Body)
	}
	if wrote.SHA256 != "" || wrote.Cloud == nil || *wrote.Cloud != "public" || wrote.Tenant == nil || wrote.Subscription == nil || wrote.Kind == nil || wrote.ResourceGroup == nil {
		t.Errorf("%+v", wrote)
	}
}

// In an empty cloud without a leastkey.yaml nothing of the local cloud's own spec is taken for an answer, and a group that is missing is one thing to
// do, not three lists that could not be read.
func TestTheWizardBeginsInAnEmptyCloud(t *testing.T) {
	h := good()
	h.read.File, h.read.SHA256 = "", ""
	gone := "404 ResourceGroupNotFound"
	h.choices = api.Choices{As: api.Caller{Name: "op"}, Subscriptions: h.choices.Subscriptions, Errors: map[string]string{"key_vaults": gone, "session_pools": gone, "content_safety": gone}}
	b := visitor(t, h)
	command := "az group create --name polyclaw-rg --location eastus --subscription " + h.spec.Subscription
	b.shows(b.get("/setup/group"), 200, "is not there", command)
	b.shows(b.get("/setup/options"), 200, "is not there", command, "!could not be read", "!as in leastkey.yaml", "!kv-polyclaw")
	b.shows(b.get("/setup/options?group=a%27%3B+rm+-rf+~"), 200, `--name &#39;a&#39;\&#39;&#39;; rm -rf ~&#39; --location`)
	b.shows(b.get("/setup/file?sha256=none"), 200, "<ins>polyclaw-rg</ins>", "!key_vault")
	h.choices.Groups = []api.Choice{{ID: "/subscriptions/s/resourceGroups/polyclaw-rg", Name: "polyclaw-rg"}}
	b.shows(b.get("/setup/group"), 200, "!is not there", "!az group create")
	b.shows(b.get("/setup/options"), 200, "!is not there", "could not be read: "+gone)
	h.choices.Groups, h.choices.Errors["resource_groups"] = nil, "denied"
	b.shows(b.get("/setup/group"), 200, "!is not there", "denied")
}

func TestTheWizardSaysWhichCommandLogsIn(t *testing.T) {
	h := good()
	h.choices = api.Choices{Errors: map[string]string{"as": "no account is set"}}
	b := visitor(t, h)
	b.shows(b.get("/setup"), 200, "Nobody is logged in", "no account is set", "az login --tenant 99999999-1111-1111-1111-111111111111", "!Next: resource group")
	h.choErr = fault.New(fault.Unauthenticated, "az is not logged in", "az login")
	b.shows(b.get("/setup"), 200, "az login --tenant", "Az is not logged in", "!Next: resource group")
	h.choErr, h.choices = nil, api.Choices{As: api.Caller{Name: "op"}, Errors: map[string]string{"subscriptions": "403", "resource_groups": "denied", "key_vaults": "throttled"}}
	b.shows(b.get("/setup"), 200, "The list could not be read: 403", "Subscription ID")
	b.shows(b.get("/setup/group"), 200, "The list could not be read: denied", "Name of the group")
	b.shows(b.get("/setup/options"), 200, "The list could not be read: throttled", "kv-polyclaw (as in leastkey.yaml)")
}

func TestTheFilterShowsOneOutcomeAndCountsAll(t *testing.T) {
	b := visitor(t, good())
	a := "/agents/" + bot + "/preflight"
	b.shows(b.get(a+"?outcome=warn"), 200, "not quite", "!passwordCredentials is empty", "1 of 2", "None of that outcome")
	b.shows(b.get(a+"?outcome=<script>"), 200, "not quite", "passwordCredentials is empty")
	b.shows(b.get(a+"?run=00000000000000000000000000000001"), 200, "This is an earlier run", ">Not verified<")
	b.shows(b.get(a+"?run=none"), http.StatusNotFound, "No such run")
	h := good()
	h.runs = nil
	b = visitor(t, h)
	b.shows(b.get(a), 200, append(praise(), "nothing is known about this identity")...)
}

func TestAPreflightJobLeadsToItsReport(t *testing.T) {
	h := good()
	h.check = func(tell func(api.Event)) (api.PreflightReport, error) {
		tell(api.Event{Step: "no-secret", Title: "No client secret", Status: api.Failed, Detail: "one was found"})
		return h.runs[1], nil
	}
	b := visitor(t, h)
	_, to := b.ended(b.post("/agents/"+bot+"/preflight", url.Values{"from": {"setup"}}))
	b.shows(b.get(to), 200, "Not verified: 1 failed, 1 unknown", "one was found", "/setup/verify?agent="+bot)
	h.check = nil
	_, to = b.ended(b.post("/agents/"+bot+"/preflight", nil))
	b.shows(b.get(to), 200, "It failed", "the service does not answer", "!Show the report", "!No check fails")
}

func TestTheProvisionersPlanWantsAWordAboutOtherHolders(t *testing.T) {
	h := wholesome()
	look := h.prov
	h.prov = func(r api.ProvisionerRequest) (api.ProvisionerReport, error) {
		rep, err := look(r)
		if r.DryRun || r.Approve == nil {
			return rep, err
		}
		_, err = r.Approve(api.PlanAnswer{Plan: *rep.Plan, Digest: rep.Digest})
		rep.Plan, rep.Changed = nil, true
		return rep, err
	}
	b := visitor(t, h)
	form := url.Values{"digest": {strings.Repeat("a", 64)}, "confirm": {"yes"}}
	_, to := b.ended(b.post("/provisioner/plan/migrate", form))
	b.shows(b.get(to), 200, "It failed", "Nobody said what becomes of the secret")
	form.Set("holders", "yes")
	_, to = b.ended(b.post("/provisioner/plan/migrate", form))
	b.shows(b.get(to), 200, "Done.")
	h.prov = func(api.ProvisionerRequest) (api.ProvisionerReport, error) { return api.ProvisionerReport{}, nil }
	b.shows(b.get("/provisioner"), 200, "There is none here", "Bootstrap…", "!Migrate…")
}

func TestASecondBrowserJoinsAndOtherWorkWaits(t *testing.T) {
	h := good()
	hold := make(chan struct{})
	h.act = func(string, api.ApplyRequest, func(api.Event)) (api.Report, error) {
		<-hold
		return api.Report{Agent: bot}, nil
	}
	b := visitor(t, h)
	form := url.Values{"digest": {strings.Repeat("a", 64)}, "confirm": {bot}}
	first := b.post("/agents/"+bot+"/plan/apply", form)
	second := b.post("/agents/"+bot+"/plan/apply", form)
	if second.Header().Get("Location") != first.Header().Get("Location")+"?joined=yes" {
		t.Errorf("%s, then %s", first.Header().Get("Location"), second.Header().Get("Location"))
	}
	b.shows(b.get(second.Header().Get("Location")), 200, "The same was running already", "hx-sse:connect", "It is running")
	b.shows(b.post("/agents/"+bot+"/plan/revoke", form), http.StatusConflict, "Agent "+bot+" is busy")
	b.shows(b.get("/"), 200, "Busy: Provision")
	b.shows(b.get("/agents/"+bot), 200, "Busy: Provision", "!Revoke…")
	close(hold)
	b.ended(first)
}

func TestAPreflightKeepsNobodyFromRevoking(t *testing.T) {
	h := good()
	hold := make(chan struct{})
	h.check = func(func(api.Event)) (api.PreflightReport, error) { <-hold; return h.runs[0], nil }
	h.act = func(string, api.ApplyRequest, func(api.Event)) (api.Report, error) {
		return api.Report{Agent: bot, Revoked: true}, nil
	}
	b := visitor(t, h)
	look := b.post("/agents/"+bot+"/preflight", nil)
	b.shows(b.get("/agents/"+bot), 200, "Revoke…", "!Busy")
	b.shows(b.get("/"), 200, "!Busy")
	_, to := b.ended(b.post("/agents/"+bot+"/plan/revoke", url.Values{"digest": {strings.Repeat("a", 64)}, "confirm": {bot}}))
	b.shows(b.get(to), 200, "The identity of "+bot+" is revoked.")
	close(hold)
	b.ended(look)
}

func TestAJobIsToldAsWhatItLeft(t *testing.T) {
	step := api.StepReport{Step: "application", Title: "make the application", Status: api.Done}
	applied := api.Report{Agent: bot, ApplicationID: app, Changed: true, Steps: []api.StepReport{step}}
	rotated := api.Report{Agent: bot, ApplicationID: app, Rotated: true, Changed: true}
	for name, row := range map[string]struct {
		verb   string
		result any
		shows  []string
	}{
		"a provision of polyclaw's endpoint": {"provision", map[string]any{"plan": agent.Plan{Version: 1}, "apply": applied}, []string{bot + " has an identity of its own.", app, "make the application"}},
		"one that rotated": {"provision", map[string]any{"plan": agent.Plan{Version: 1}, "apply": api.Report{Agent: bot, ApplicationID: app, Steps: []api.StepReport{step}}, "rotate": rotated},
			[]string{bot + " logs in with a new key.", "make the application"}},
		"one that had nothing to do": {"provision", map[string]any{"plan": agent.Plan{Version: 1}, "apply": api.Report{Agent: bot, ApplicationID: app}}, []string{"Nothing had to be done: " + bot + " is as the spec says."}},
		"one that says nothing":      {"provision", map[string]any{}, []string{"what it answered does not read", "!Nothing had to be done", "!identity of its own"}},
		"what is no report":          {"apply", map[string]any{"plan": agent.Plan{Version: 1}}, []string{"what it answered does not read", "!Nothing had to be done", "!identity of its own"}},
		"an apply's report":          {"apply", applied, []string{bot + " has an identity of its own."}},
	} {
		t.Run(name, func(t *testing.T) {
			b := visitor(t, good())
			job, _, err := b.jobs.Start(bot, row.verb, "ann", func(context.Context, func(api.Event)) (any, error) { return row.result, nil })
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.jobs.Wait(t.Context(), job.ID); err != nil {
				t.Fatal(err)
			}
			b.shows(b.get("/jobs/"+job.ID), 200, row.shows...)
		})
	}
}

func TestStepsComeLive(t *testing.T) {
	h := good()
	next := make(chan api.Event)
	h.check = func(tell func(api.Event)) (api.PreflightReport, error) {
		for e := range next {
			tell(e)
		}
		return h.runs[0], nil
	}
	b := visitor(t, h)
	server := httptest.NewServer(b.web)
	defer server.Close()
	w := b.post("/agents/"+bot+"/preflight", nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", server.URL+w.Header().Get("Location")+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatal(got)
	}
	got := make(chan string)
	go func() {
		defer close(got)
		buf, text := make([]byte, 4096), ""
		for {
			n, err := res.Body.Read(buf)
			text += string(buf[:n])
			for {
				message, rest, whole := strings.Cut(text, "\n\n")
				if !whole {
					break
				}
				if text = rest; !strings.HasPrefix(message, ":") {
					got <- message
				}
			}
			if err != nil {
				return
			}
		}
	}()
	next <- api.Event{Step: "a", Title: "first <b>", Status: api.Begun}
	if m := <-got; !strings.Contains(m, "id: 1\n") || !strings.Contains(m, "first &lt;b&gt;") || !strings.Contains(m, "Begun") {
		t.Errorf("%q", m)
	}
	next <- api.Event{Step: "a", Title: "first <b>", Status: api.Done}
	if m := <-got; !strings.Contains(m, "id: 2\n") || strings.Contains(m, ">Begun<") || !strings.Contains(m, "Done") {
		t.Errorf("a step that has ended is shown once: %q", m)
	}
	next <- api.Event{Step: "b", Title: "a\u202eb\x1b\rdata: forged\r\revent: done", Status: api.Begun}
	if m := <-got; !strings.Contains(m, `a\u202eb\x1b\rdata: forged\r\revent: done`) || strings.ContainsAny(m, "\u202e\x1b\r") {
		t.Errorf("a title steers the stream: %q", m)
	}
	close(next)
	if m := <-got; m != "id: 4\nevent: done\ndata: done" {
		t.Errorf("%q", m)
	}
	if m, more := <-got; more {
		t.Errorf("after the end comes %q", m)
	}
	b.shows(b.get("/jobs/none/events"), http.StatusNotFound)
	b.shows(b.get("/jobs/none"), http.StatusNotFound, "No job none here")
}

func TestStreamsAreBounded(t *testing.T) {
	h := good()
	hold := make(chan struct{})
	h.check = func(func(api.Event)) (api.PreflightReport, error) { <-hold; return h.runs[0], nil }
	b := visitor(t, h)
	server := httptest.NewServer(b.web)
	defer server.Close()
	w := b.post("/agents/"+bot+"/preflight", nil)
	path := server.URL + w.Header().Get("Location") + "/events"
	ctx, cancel := context.WithCancel(t.Context())
	var open []*http.Response
	get := func(who string) *http.Response {
		req, _ := http.NewRequestWithContext(ctx, "GET", path, nil)
		req.Header.Set("X-Who", who)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, res)
		return res
	}
	for i := range mostStreams {
		who := "caller" + string(rune('a'+i/ownStreams))
		if res := get(who); res.StatusCode != 200 {
			t.Fatal(res.StatusCode)
		}
		if i == ownStreams-1 {
			if res := get(who); res.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("one caller has more than %d streams: %d", ownStreams, res.StatusCode)
			}
		}
	}
	if res := get("another"); res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Error(res.StatusCode)
	}
	cancel()
	for _, res := range open {
		res.Body.Close()
	}
	close(hold)
	b.ended(w)
}

func TestAssetsAreKeptForEverUnderTheirHash(t *testing.T) {
	b := visitor(t, good())
	b.out = true
	text := b.get("/login").Body.String()
	paths := regexp.MustCompile(`/assets/[^"#]+`).FindAllString(text, -1)
	if len(paths) < 5 {
		t.Fatal(paths)
	}
	for _, path := range paths {
		w := b.get(path)
		if w.Code != 200 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Content-Type") == "" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	for _, path := range []string{"/assets/leastkey.css", "/assets/leastkey.0000000000000000.css", "/assets/", "/assets/..%2fweb.go", "/assets/README.0000000000000000.md", "/assets/htmx.LICENSE"} {
		if w := b.get(path); w.Code == 200 {
			t.Errorf("%s is served", path)
		}
	}
}

// What others wrote is as its README says, byte for byte.
func TestVendoredFilesAreAsReleased(t *testing.T) {
	readme, err := fs.ReadFile(onDisk(), "assets/README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|.*`([0-9a-f]{64})` \\|$").FindAllStringSubmatch(string(readme), -1)
	if len(rows) != 3 {
		t.Fatalf("the README lists %d files", len(rows))
	}
	listed := map[string]bool{"README.md": true, "leastkey.css": true, "leastkey.js": true, "icon.svg": true}
	for _, row := range rows {
		b, err := fs.ReadFile(onDisk(), "assets/"+row[1])
		if err != nil {
			t.Fatal(err)
		}
		if got := sum(string(b)); got != row[2] {
			t.Errorf("%s has SHA-256 %s, the README says %s", row[1], got, row[2])
		}
		listed[row[1]] = true
	}
	files, err := fs.ReadDir(onDisk(), "assets")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !listed[f.Name()] {
			t.Errorf("%s is in no list", f.Name())
		}
	}
}

func TestLargeAndBrokenForms(t *testing.T) {
	b := visitor(t, good())
	b.shows(b.post("/agents/"+bot+"/plan/apply", url.Values{"digest": {strings.Repeat("a", mostForm)}}), http.StatusBadRequest, "The form does not read")
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/agents/"+bot+"/plan/apply", strings.NewReader("%zz=%"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	b.web.ServeHTTP(w, r)
	b.shows(w, http.StatusBadRequest)
	for _, path := range []string{"/agents/a%2fb", "/agents/%3Cscript%3E", "/setup/nothing", "/agents/x/plan/nothing", "/provisioner/plan/nothing", "/nothing"} {
		w := b.get(path)
		if w.Code >= 500 || strings.Contains(w.Body.String(), "<script>") {
			t.Errorf("%s: %d\n%s", path, w.Code, w.Body)
		}
	}
}

func TestWords(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range [][2]string{
		{left(now, now), "ended"}, {left(now.Add(90*time.Second), now), "in 1 minute"}, {left(now.Add(3*time.Hour), now), "in 3 hours"}, {left(now.Add(72*time.Hour), now), "in 3 days"},
		{took(12), "12 ms"}, {took(12_340), "12.3 s"}, {when(time.Time{}), "–"}, {when(now), "2026-11-22 12:00:00 UTC"}, {finding.Outcome("new").Word(), "Unknown"}, {outcomeClass("new"), "bad"}, {fmt.Sprint(statusWord("new")), "[new quiet]"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
}

// A page that waits for a cloud which never answers is there in time, and says that it does not know.
func TestAPageLooksForABoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := good()
		h.identity = func(string) (api.IdentityAnswer, error) { return api.IdentityAnswer{}, context.DeadlineExceeded }
		h.waits = true
		b := visitor(t, h)
		began := time.Now()
		b.shows(b.get("/agents/"+bot), http.StatusServiceUnavailable, "No answer in time", "!Nothing to fix", "Ledger head <a")
		if took := time.Since(began); took != lookFor {
			t.Errorf("it took %v", took)
		}
	})
}
