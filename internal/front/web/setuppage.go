package web

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// The wizard keeps nothing on the server: each step's answers travel in the address to the next, so that the browser's back button goes back,
// and two tabs are two wizards. Nothing is written before the step "file", and nothing is done in the cloud before a plan is confirmed.

// wish is what has been answered so far.
type wish struct {
	Subscription, Group, Location                   string
	Agent, Kind, Vault, Pool, Safety, EnvFile, Days string
	SHA256                                          string // of the leastkey.yaml that was read
}

// fields are the wish as a form has it.
func (w *wish) fields() []field {
	return []field{{"subscription", "subscription", &w.Subscription}, {"group", "resource_group", &w.Group}, {"location", "location", &w.Location},
		{"agent", "agents", &w.Agent}, {"kind", "kind", &w.Kind}, {"vault", "key_vault", &w.Vault}, {"pool", "session_pool", &w.Pool},
		{"safety", "content_safety", &w.Safety}, {"env_file", "env_file", &w.EnvFile}, {"days", "certificate.days", &w.Days}, {"sha256", "", &w.SHA256}}
}

// field is one answer: as forms name it, as leastkey.yaml does, and what it is.
type field struct {
	name, key string
	value     *string
}

// step is one step of the wizard.
type step struct{ ID, Title string }

func steps() []step {
	return []step{{"operator", "Operator and subscription"}, {"group", "Resource group"}, {"agent", "Agent"}, {"options", "Vault and options"},
		{"file", "leastkey.yaml"}, {"infrastructure", "Infrastructure"}, {"verify", "Verify"}}
}

// change is one field of leastkey.yaml before and after.
type change struct{ Field, Was, Will string }

// Mark is the change as a plan has it.
func (c change) Mark() [2]string {
	switch {
	case c.Was == "":
		return [2]string{"+", "create"}
	case c.Will == "":
		return [2]string{"-", "destroy"}
	}
	return [2]string{"~", "change"}
}

type setupPage struct {
	Step    string
	Steps   []step
	Wish    wish
	Was     wish // as leastkey.yaml says it now
	Agents  []string
	Target  api.Resolved
	Choices answer[api.Choices]
	Spec    answer[api.SpecAnswer]
	Changes []change
	Refused *api.SpecAnswer // leastkey.yaml cannot be written: the text as it would be
	Problem *api.Problem    // of the write
	Plan    planPage
	Card    card
	Last    answer[*api.PreflightReport]
	Running []api.Job
}

func (p setupPage) reload() bool { return len(p.Running) > 0 }

// At is the number of the step, from 1.
func (p setupPage) At() int {
	return slices.IndexFunc(p.Steps, func(s step) bool { return s.ID == p.Step }) + 1
}

// Keep are the answers that a step hands on: all but those that it asks for itself.
func (p setupPage) Keep(asked ...string) (all [][2]string) {
	for _, f := range p.Wish.fields() {
		if *f.value != "" && !slices.Contains(asked, f.name) {
			all = append(all, [2]string{f.name, *f.value})
		}
	}
	return all
}

// Link is the address of a step with the answers so far.
func (p setupPage) Link(id string) string {
	q := url.Values{}
	for _, kv := range p.Keep() {
		q.Set(kv[0], kv[1])
	}
	if len(q) == 0 {
		return "/setup/" + id
	}
	return "/setup/" + id + "?" + q.Encode()
}

// Chosen tells whether a choice is the one that the wish names, by id or by name.
func (p setupPage) Chosen(c api.Choice, wished string) bool {
	return wished != "" && (strings.EqualFold(c.ID, wished) || strings.EqualFold(c.Name, wished))
}

// NoGroup tells whether the wish's resource group is known not to be there: the list was read, and has no such group.
func (p setupPage) NoGroup() bool {
	_, unread := p.Choices.V.Errors["resource_groups"]
	return p.Choices.Problem == nil && p.Choices.V.As.Name != "" && !unread && p.Wish.Group != "" && !p.Listed(p.Choices.V.Groups, p.Wish.Group)
}

// MakeGroup is the command that makes it; each value is one word of a shell, whatever it holds.
func (p setupPage) MakeGroup() string {
	var b strings.Builder
	b.WriteString("az group create")
	for _, o := range [][2]string{{"--name", p.Wish.Group}, {"--location", cmp.Or(p.Wish.Location, "eastus")}, {"--subscription", p.Wish.Subscription}} {
		if o[1] != "" {
			b.WriteString(" " + o[0] + " " + word(o[1]))
		}
	}
	return b.String()
}

// word is a text as one word of a POSIX shell.
func word(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9')
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Listed tells whether any choice is the one that the wish names.
func (p setupPage) Listed(all []api.Choice, wished string) bool {
	return slices.ContainsFunc(all, func(c api.Choice) bool { return p.Chosen(c, wished) })
}

// setupStep is a step of the wizard. Those that write leastkey.yaml come before there is a cloud, and where the file is faulty; those after
// them look at the cloud.
func (s *site) setupStep() http.HandlerFunc {
	before, after := s.recall(api.View, (*visit).setup), s.page(api.View, (*visit).setup)
	return func(w http.ResponseWriter, r *http.Request) {
		if id := r.PathValue("step"); id == "infrastructure" || id == "verify" {
			after(w, r)
			return
		}
		before(w, r)
	}
}

func (v *visit) setup() {
	id := cmp.Or(v.r.PathValue("step"), "operator")
	if !slices.ContainsFunc(steps(), func(s step) bool { return s.ID == id }) {
		v.fail(fault.New(fault.NotFound, "the wizard has no step "+id, "it begins with the operator and the subscription"))
		return
	}
	v.showSetup(http.StatusOK, v.setupPage(id))
}

func (v *visit) showSetup(status int, page setupPage) {
	v.show(status, "setup", "setup", "Setup: "+page.Steps[page.At()-1].Title, page)
}

// setupPage gathers what a step shows.
func (v *visit) setupPage(id string) setupPage {
	page := setupPage{Step: id, Steps: steps()}
	if v.door != nil {
		page.Target = v.door.Target()
	}
	page.Spec = ask(v.House.ReadSpec(v.ctx()))
	for _, f := range page.Wish.fields() {
		*f.value = strings.TrimSpace(v.r.Form.Get(f.name))
	}
	page.fromSpec()
	switch id {
	case "operator", "group", "options":
		group := ""
		if id == "options" {
			group = page.Wish.Group
		}
		page.Choices = ask(v.House.Choices(v.ctx(), page.Wish.Subscription, group))
	case "file":
		page.compare()
	case "infrastructure":
		page.Running = v.changing(page.Wish.Agent)
		page.Card = v.card(page.Wish.Agent)
		page.Card.From = "setup"
		page.Plan = v.planFor(api.PlanRequest{Agent: page.Wish.Agent, Verb: agent.Apply})
		page.Plan.From = "setup"
	case "verify":
		page.Running = v.running(page.Wish.Agent)
		page.Last = v.lastRun(page.Wish.Agent)
	}
	return page
}

// fromSpec fills what nobody has answered yet from leastkey.yaml.
func (p *setupPage) fromSpec() {
	s := p.Spec.V.Spec
	p.Agents = slices.Sorted(maps.Keys(s.Agents))
	if p.Wish.Agent == "" {
		p.Wish.Agent = "polyclaw-runtime"
		if len(p.Agents) > 0 {
			p.Wish.Agent = p.Agents[0]
		}
	}
	p.Was = wish{Subscription: s.Subscription, Group: s.ResourceGroup, Location: s.Location, SHA256: p.Spec.V.SHA256}
	if a := s.Agents[p.Wish.Agent]; a != nil {
		p.Was.Agent, p.Was.Kind, p.Was.Vault, p.Was.Pool, p.Was.Safety, p.Was.EnvFile = a.Name, string(a.Kind), a.KeyVault, a.SessionPool, a.ContentSafety, a.EnvFile
		if a.Certificate.Days > 0 {
			p.Was.Days = strconv.Itoa(a.Certificate.Days)
		}
		p.Was.Agent = p.Wish.Agent
	}
	if p.New() { // what the local cloud's own spec names may not be there, and nobody has asked for it
		p.Was.Vault, p.Was.Pool, p.Was.Safety = "", "", ""
	}
	was := p.Was
	if p.Wish.SHA256 != "" { // the options were passed: what is empty there was emptied
		was = wish{Subscription: was.Subscription, Group: was.Group, Location: was.Location, Kind: was.Kind, Days: was.Days, EnvFile: was.EnvFile}
	}
	defaults := was.fields()
	for i, f := range p.Wish.fields() {
		if *f.value == "" {
			*f.value = *defaults[i].value
		}
	}
	p.Wish.Kind = cmp.Or(p.Wish.Kind, string(agent.ServicePrincipal))
}

// unread is the wish's SHA256 where there was no leastkey.yaml to read.
const unread = "none"

// Pin is the leastkey.yaml that the options were chosen for, as the form hands it on.
func (p setupPage) Pin() string { return cmp.Or(p.Was.SHA256, unread) }

// Value is what the wish says for a choice: its name, or its id where it lies in another group, in which leastkey.yaml's name would not find it.
func (p setupPage) Value(c api.Choice) string {
	if c.Group == "" || strings.EqualFold(c.Group, p.Wish.Group) {
		return c.Name
	}
	return c.ID
}

// Line is one line of a file, with its number.
type Line struct {
	N    int
	Text string
}

// Faulty is leastkey.yaml where it does not read; nil where it does.
func (p setupPage) Faulty() (all []Line) {
	if p.Spec.V.Problem == "" || p.Spec.V.Text == "" {
		return nil
	}
	for i, text := range strings.Split(strings.TrimSuffix(p.Spec.V.Text, "\n"), "\n") {
		all = append(all, Line{i + 1, text})
	}
	return all
}

// New tells whether there is no leastkey.yaml yet.
func (p setupPage) New() bool { return p.Spec.Problem == nil && p.Spec.V.File == "" }

// compare lists what leastkey.yaml would say anew; where there is none, that is all of it.
func (p *setupPage) compare() {
	if p.New() {
		p.Was = wish{}
	}
	was := p.Was.fields()
	for i, f := range p.Wish.fields() {
		if f.name != "sha256" && *f.value != *was[i].value {
			p.Changes = append(p.Changes, change{f.key, *was[i].value, *f.value})
		}
	}
}

// specChange is the wish as the house writes it; what stays is left out.
func (p *setupPage) specChange() (api.SpecChange, error) {
	c := api.SpecChange{SHA256: p.Was.SHA256, Agent: p.Wish.Agent}
	if p.New() {
		cloud, tenant := string(p.Target.Cloud), cmp.Or(p.Target.Tenant, p.Target.TenantID)
		c.Cloud, c.Tenant = &cloud, &tenant
	}
	for _, f := range []struct {
		was, will string
		to        **string
	}{
		{p.Was.Subscription, p.Wish.Subscription, &c.Subscription}, {p.Was.Group, p.Wish.Group, &c.ResourceGroup}, {p.Was.Location, p.Wish.Location, &c.Location},
		{p.Was.Kind, p.Wish.Kind, &c.Kind}, {p.Was.Vault, p.Wish.Vault, &c.KeyVault}, {p.Was.Pool, p.Wish.Pool, &c.SessionPool},
		{p.Was.Safety, p.Wish.Safety, &c.ContentSafety}, {p.Was.EnvFile, p.Wish.EnvFile, &c.EnvFile},
	} {
		if f.was != f.will {
			will := f.will
			*f.to = &will
		}
	}
	if p.Was.Days != p.Wish.Days {
		days, err := strconv.Atoi(p.Wish.Days)
		if err != nil || days < 1 {
			return c, fault.New(fault.Invalid, "a certificate cannot live for "+strconv.Quote(p.Wish.Days)+" days", "a number of days, such as 365")
		}
		c.Days = &days
	}
	return c, nil
}

// writeSpec changes leastkey.yaml as the page before it showed, and goes on to the infrastructure. Where the file cannot be written the page
// offers its text.
func (v *visit) writeSpec() {
	page := v.setupPage("file")
	if page.Spec.Problem != nil {
		v.showSetup(statusOf(page.Spec.Problem), page)
		return
	}
	if v.door == nil && page.New() { // a first file is about a cloud
		v.nowhere("setup")
		return
	}
	if page.Wish.SHA256 != page.Pin() {
		page.Problem = problem(fault.New(fault.Conflict, "leastkey.yaml has changed since the wizard read it", "look at the changes again"))
		page.Wish.SHA256 = page.Pin()
		v.showSetup(statusOf(page.Problem), page)
		return
	}
	if len(page.Changes) > 0 {
		c, err := page.specChange()
		var out api.SpecAnswer
		if err == nil {
			out, err = v.House.WriteSpec(v.ctx(), v.who, c)
		}
		if err != nil {
			if page.Problem = problem(err); fault.Is(err, fault.Refused) && out.Text != "" {
				page.Refused = &out
			}
			v.showSetup(statusOf(page.Problem), page)
			return
		}
	}
	v.see("/setup/infrastructure?agent=" + url.QueryEscape(page.Wish.Agent))
}
