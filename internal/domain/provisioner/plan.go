package provisioner

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Options are what the operator decided beside the spec.
type Options struct {
	Tenant       string // GUID
	Instance     string // of the local cloud
	CreateBeside bool   // bootstrap: create although another application has the display name
	SoleHolder   bool   // migrate: nobody else holds the secret
	OthersAccept bool   // migrate: its other holders know that it stops working now
	NoBackUp     bool   // migrate: no encrypted backup of the state file
	SHA256       string // retire: which certificate
	Overlap      time.Duration
	EnvFile      string   // migrate: absolute path of the environment file that may hold the secret
	Also         []string // migrate: further places that are searched
	Edit         []string // migrate: other files that the operator lets us change
	Alone        bool     // rotate without an operator: with the Provisioner's own key, and without reading anything back
}

// Names of the steps that others wait for.
const (
	stepApplication = "application"
	stepPrincipal   = "principal"
	stepDeclare     = "permissions"
	stepPin         = "pin"
	stepBackUp      = "back-up"
	stepKey         = "key"
	stepCertificate = "certificate"
	stepLogin       = "login"
	stepPromote     = "promote"
	stepBoth        = "state-both"
	stepState       = "state"
	stepNone        = "read-back"
	stepDead        = "secret-dead"
	stepScan        = "scan"
)

// planner gathers the steps of one plan.
type planner struct {
	spec agent.Spec
	seen Observed
	opt  Options
	plan agent.Plan
}

func newPlanner(verb agent.Verb, s agent.Spec, o Observed, opt Options) *planner {
	only := s
	only.Agents = nil
	p := &planner{spec: s, seen: o.sorted(), opt: opt}
	p.plan = agent.Plan{Version: 1, Verb: verb, Cloud: s.Cloud, Instance: opt.Instance, Tenant: opt.Tenant, Agent: Name, Spec: &only, Facts: map[string]string{}}
	p.fact(agent.FactApplication, o.Record.ApplicationID)
	p.fact(agent.FactAppID, o.Record.AppID)
	p.fact(agent.FactPrincipal, o.Record.PrincipalID)
	p.fact(agent.FactUniqueName, o.Record.UniqueName)
	if o.Application != nil { // the state file may know it though the record does not
		p.fact(agent.FactApplication, o.Application.ID)
		p.fact(agent.FactAppID, o.Application.AppID)
	}
	if o.Principal != nil {
		p.fact(agent.FactPrincipal, o.Principal.ID)
	}
	return p
}

func (p *planner) fact(name, value string) {
	if value != "" {
		p.plan.Facts[name] = value
	}
}

func (p *planner) step(s agent.Step) { p.plan.Steps = append(p.plan.Steps, s) }

func (p *planner) has(id string) bool {
	_, ok := p.plan.Step(id)
	return ok
}

// after keeps those ids that the plan has.
func (p *planner) after(ids ...string) []string {
	return slices.DeleteFunc(ids, func(id string) bool { return !p.has(id) })
}

func (p *planner) block(id, question, detail, remedy string) {
	p.plan.Blockers = append(p.plan.Blockers, finding.Finding{ID: id, Question: question, Outcome: finding.Fail, Detail: detail, Remedy: remedy})
}

func (p *planner) find(outcome finding.Outcome, id, question, detail, remedy string) {
	p.plan.Findings = append(p.plan.Findings, finding.Finding{ID: id, Question: question, Outcome: outcome, Detail: detail, Remedy: remedy})
}

// identity stops a plan where it is not sure which application is meant: file and record disagree, the file is of another tenant, or the
// recorded application is gone.
func (p *planner) identity() {
	f, rec := p.seen.File, p.seen.Record
	if f.Tenant != "" && !strings.EqualFold(f.Tenant, p.opt.Tenant) {
		p.block("state-tenant", "is the state file of this tenant?", f.Path+" is of tenant "+f.Tenant+", this is tenant "+p.opt.Tenant, "log in to the right tenant, or name the right state file")
	}
	if rec.AppID != "" && f.Client != "" && !strings.EqualFold(rec.AppID, f.Client) {
		p.block("state-disagrees", "do state file and record agree?", f.Path+" says application "+f.Client+", the record says "+rec.AppID,
			"find out which is right; the state file decides: correct it, or leastkey provisioner adopt --app-id ID")
	}
	if p.known() && p.seen.Application == nil && !p.opt.Alone { // without an operator nobody has looked
		p.block("application-gone", "is the recorded application there?", "application "+p.clientID()+" is not in tenant "+p.opt.Tenant,
			"restore it within 30 days from the recycle bin; if it is gone for good, remove "+KeyClient+" from "+f.Path+" and bootstrap")
	}
	p.firstUse()
	if p.seen.Principal != nil && !p.seen.Principal.Enabled {
		p.block("principal-disabled", "is the service principal enabled?", "service principal "+p.seen.Principal.ID+" was disabled by somebody", "if that was not on purpose: az ad sp update --id "+p.clientID()+" --set accountEnabled=true")
	}
}

// firstUse is where a state file names an application that this machine has no record of: a legacy install, or a file that somebody has
// laid in our way. The file has to be one that nobody else can write, the application has to bear the Provisioner's name, and who approves
// is shown what it is. To give it permissions takes an adoption.
func (p *planner) firstUse() {
	f, app := p.seen.File, p.seen.Application
	if p.seen.Record.AppID != "" || f.Client == "" || app == nil {
		return
	}
	adopt := "if it is yours: leastkey provisioner adopt --app-id " + app.AppID + " --state-file " + f.Path
	switch {
	case f.Foreign:
		p.block("state-owner", "is the state file ours?", f.Path+" belongs to another user, and says that "+app.AppID+" is the Provisioner", "run leastkey as its owner, or name another file with --state-file")
	case f.Mode&0o022 != 0:
		p.block("state-mode", "can nobody else write the state file?", fmt.Sprintf("%s has mode %04o: others may have written that %s is the Provisioner", f.Path, f.Mode, app.AppID), "chmod 600 "+f.Path+", once you have looked at it")
	case app.DisplayName != p.spec.Provisioner.DisplayName:
		p.block("other-name", "is the application of the state file the Provisioner?", fmt.Sprintf("%s names application %s, which is called %q and not %q", f.Path, app.AppID, app.DisplayName, p.spec.Provisioner.DisplayName), adopt)
	case p.plan.Verb == Bootstrap:
		p.block("not-adopted", "is the application of the state file ours?", f.Path+" says so, and no record of this machine does: "+namesakes([]agent.Namesake{{Application: *app}}), adopt)
	}
	p.find(finding.Warn, "first-use", "which application is it?", fmt.Sprintf("%q, as %s says: %s", app.DisplayName, f.Path, namesakes([]agent.Namesake{{Application: *app}})), "")
}

// known tells whether an application is recorded as the Provisioner.
func (p *planner) known() bool { return p.clientID() != "" }

// clientID is the recorded application id: the state file is the authority. A record of an application that is gone, and that somebody has
// taken out of the state file, is none.
func (p *planner) clientID() string {
	f := p.seen.File
	if f.Client != "" || (f.Exists && p.seen.Application == nil && !p.opt.Alone) {
		return f.Client
	}
	return p.seen.Record.AppID
}

// key adds a new generation: made, registered, proved by several logins and moved into the active slot. reason is why.
func (p *planner) key(reason, via string, roles []string) {
	p.step(agent.Step{ID: stepKey, Action: agent.MintKey, Plane: agent.Here, Title: "make its key in the keystore", Why: reason,
		With: map[string]string{"days": "365", "bits": "2048", "common_name": CommonName, "organization": Organization}, After: p.after(stepBackUp)})
	with := map[string]string{"application": "$application", "app_id": "$app_id", "generation": "$generation", "via": via}
	if p.seen.Application != nil {
		with["expected"] = p.expected()
	}
	p.step(agent.Step{ID: stepCertificate, Action: agent.RegisterCertificate, Plane: plane(via), Title: "register its certificate, all others kept", With: with, After: p.after(stepApplication, stepKey)})
	p.login("$generation", roles)
	p.promote()
	p.state()
}

// promote moves a proved key into the active slot.
func (p *planner) promote() {
	if p.seen.Record.Active() != nil || p.seen.Slot.State == agent.KeyPresent {
		p.step(agent.Step{ID: stepBoth, Action: WriteState, Plane: agent.Here, Title: "write the new certificate beside the old one into " + p.seen.File.Path, Why: "whichever key a reader finds in the active slot, its certificate is there",
			With: map[string]string{"file": p.seen.File.Path, "app_id": "$app_id", "generation": "$generation", "both": "true"}, After: []string{stepLogin}})
	}
	p.step(agent.Step{ID: stepPromote, Action: PromoteKey, Plane: agent.Here, Title: "put the key into the active slot of the keystore", Why: "what it held is kept beside",
		With: map[string]string{"generation": "$generation"}, After: p.after(stepLogin, stepBoth)})
}

func plane(via string) agent.Plane {
	if via == agent.ViaKey {
		return agent.Identity
	}
	return agent.Graph
}

func (p *planner) login(generation string, roles []string) {
	with := map[string]string{"app_id": "$app_id", "generation": generation, "times": "3"}
	if len(roles) > 0 {
		with["roles"] = strings.Join(roles, " ")
	}
	after := p.after(stepKey, stepCertificate, stepPrincipal) // an imported key has no step for its certificate
	for _, s := range p.plan.Steps {
		if s.Action == GrantPermission {
			after = append(after, s.ID)
		}
	}
	p.step(agent.Step{ID: stepLogin, Action: agent.Login, Plane: agent.Identity, Title: "log in three times with the key as the keystore gives it back", Why: "prove it before anything old goes", With: with, After: after})
}

func (p *planner) state() {
	p.step(agent.Step{ID: stepState, Action: WriteState, Plane: agent.Here, Title: "write ids and certificate into " + p.seen.File.Path, Why: "every other key stays",
		With: map[string]string{"file": p.seen.File.Path, "app_id": "$app_id", "generation": "$generation"}, After: p.after(stepPrincipal, stepLogin, stepPromote)})
}

// active is the generation that logs in, if its key and certificate are as they should be; why says what is wrong otherwise.
func (p *planner) active() (g *agent.Generation, why string) {
	g = p.seen.Record.Active()
	switch {
	case g == nil:
		return nil, "there is no key of ours yet"
	case !p.seen.Now.Before(g.NotAfter):
		return nil, "its certificate expired on " + g.NotAfter.Format(time.DateOnly)
	case p.seen.Keys[g.ID] == agent.KeyAbsent:
		return nil, "its private key is no longer in the keystore"
	case p.seen.Keys[g.ID] != agent.KeyPresent:
		return nil, "the keystore holds another key than the certificate's"
	case !p.registered(*g):
		return nil, "its certificate is not on the application"
	}
	return g, ""
}

func (p *planner) registered(g agent.Generation) bool {
	return p.seen.Application == nil || len(p.keyIDs(g)) > 0
}

// use names the generation that the plan goes on with.
func (p *planner) use(g *agent.Generation) {
	p.plan.Facts[agent.FactGeneration], p.plan.Facts[agent.FactSHA256] = g.ID, g.SHA256
}

// older removes what earlier generations of ours have left, once the new one is proved: their certificates, then their keys. One that is
// kept for an overlap stays until it is due. keep is a generation that stays.
func (p *planner) older(keep, via string) {
	for _, g := range p.seen.Record.Generations {
		if g.ID == keep || g.Overlapping(p.seen.Now) {
			continue
		}
		p.drop(g, via)
	}
}

// due tells whether an earlier generation of ours is to be removed now: its overlap has ended, or nothing uses it.
func (p *planner) due(keep string) bool {
	return slices.ContainsFunc(p.seen.Record.Generations, func(g agent.Generation) bool { return g.ID != keep && !g.Overlapping(p.seen.Now) })
}

// drop removes one generation's certificate, proves that its key opens nothing, and deletes the key.
func (p *planner) drop(g agent.Generation, via string) {
	last := stepLogin
	if p.seen.Application == nil && g.KeyID == "" {
		// Whether its certificate is registered, and under which key id, only a reader of the application can tell. Without its record
		// nobody would know that it is ours.
		p.find(finding.Warn, "key-id-pending", "is only one certificate of ours registered?", "certificate "+g.SHA256+" may still be there: nobody has seen its key id", "the next run with an operator removes it: leastkey provisioner bootstrap")
		return
	}
	for _, id := range p.keyIDs(g) {
		remove := "remove-certificate:" + id
		p.step(agent.Step{ID: remove, Action: agent.RemoveCertificate, Plane: plane(via), Title: "remove certificate " + short(g.SHA256) + "…", Why: "its successor has logged in", Destroys: true,
			With:  map[string]string{"application": "$application", "app_id": "$app_id", "key_id": id, "sha256": g.SHA256, "expected": p.expected(), "via": via},
			After: p.after(p.lastCredential(), stepLogin, stepState), Proof: []string{stepLogin}})
		last = remove
	}
	if last != stepLogin && p.seen.Keys[g.ID] == agent.KeyPresent {
		dead := "dead:" + g.ID
		p.step(agent.Step{ID: dead, Action: agent.ProveDead, Plane: agent.Identity, Title: "prove that the old key opens nothing", With: map[string]string{"app_id": "$app_id", "generation": g.ID}, After: []string{last}})
		last = dead
	}
	p.step(agent.Step{ID: "delete-key:" + g.ID, Action: agent.DeleteKey, Plane: agent.Here, Title: "delete key " + short(g.ID) + " from the keystore", Why: "nothing uses it", Destroys: true,
		With: map[string]string{"generation": g.ID, "key": p.beside(g).String()}, After: p.after(last, stepLogin, stepState), Proof: []string{stepLogin}})
}

// keyIDs are the key ids under which the generation's certificate is on the application: as read, or, where nobody may read, as recorded.
// One that a lost answer has left unrecorded is found by its hash, under whatever key ids it is there.
func (p *planner) keyIDs(g agent.Generation) (ids []string) {
	if p.seen.Application == nil {
		return slices.DeleteFunc([]string{g.KeyID}, func(id string) bool { return id == "" })
	}
	for _, c := range p.seen.Application.Certificates {
		if belongs(c, g) {
			ids = append(ids, c.KeyID)
		}
	}
	slices.Sort(ids)
	return ids
}

func belongs(c agent.Certificate, g agent.Generation) bool {
	return (c.SHA256 != "" && strings.EqualFold(c.SHA256, g.SHA256)) || (c.SHA256 == "" && c.KeyID != "" && c.KeyID == g.KeyID)
}

// beside is where the key of a generation lies that is not the active one any more. A promotion has moved it out of the slot, or the
// slot holds another key by now: no plan deletes what the slot holds.
func (p *planner) beside(g agent.Generation) secret.Ref {
	if g.Ref.Name == p.opt.Tenant {
		g.Ref.Name += "#" + g.ID
	}
	return g.Ref
}

// expected are the key ids that a change of the key credentials has to find: those that were seen, without those that earlier steps of
// the plan remove.
func (p *planner) expected() string {
	if p.seen.Application == nil {
		return ""
	}
	var ids []string
	for _, c := range p.seen.Application.Certificates {
		if !p.has("remove-certificate:" + c.KeyID) {
			ids = append(ids, c.KeyID)
		}
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

// lastCredential orders changes of the key credentials: they are replaced as a whole.
func (p *planner) lastCredential() string {
	for i := len(p.plan.Steps) - 1; i >= 0; i-- {
		switch p.plan.Steps[i].Action {
		case agent.RemoveCertificate, agent.RegisterCertificate:
			return p.plan.Steps[i].ID
		}
	}
	return ""
}

func short(id string) string { return id[:min(8, len(id))] }

// readBack ends a plan that changed credentials: no password on either object, our certificate there, all others as they were.
func (p *planner) readBack() {
	if p.opt.Alone {
		p.find(finding.Unknown, "no-reader", "are the credentials as planned?", "without an operator nobody may read the application", "the next run with an operator reads it: leastkey provisioner status")
		return
	}
	var all []string
	for _, s := range p.plan.Steps {
		all = append(all, s.ID)
	}
	p.step(agent.Step{ID: stepNone, Action: NoPasswords, Plane: agent.Graph, Title: "read the credentials back until they are as planned", Why: "no password on application and service principal, and our certificate",
		With: map[string]string{"application": "$application", "app_id": "$app_id", "principal": "$principal", "generation": "$generation"}, After: all})
}

// expiry warns of a certificate that ends soon, and lists those of other machines. One that the plan replaces is its reason, and no
// finding: a rotation in time, or of a certificate that has run out, would never be a success.
func (p *planner) expiry() {
	if g, _ := p.active(); g != nil && p.plan.Verb != agent.Rotate {
		if f, soon := Expiry(g.NotBefore, g.NotAfter, p.seen.Now); soon {
			p.plan.Findings = append(p.plan.Findings, f)
		}
	}
	for _, c := range p.seen.Others() {
		if s := p.seen.Slot.Certificate; s != nil && c.SHA256 != "" && strings.EqualFold(c.SHA256, s.SHA256) {
			continue // this machine's, though nobody has recorded it
		}
		p.find(finding.Warn, "other-certificate", "whose certificates are on the application?", "certificate "+describe(c)+" is not this machine's", "if its machine is gone: leastkey provisioner retire "+c.SHA256)
	}
}

// Expiry is [agent.Expiry] for the Provisioner's certificate.
func Expiry(notBefore, notAfter, now time.Time) (finding.Finding, bool) {
	return agent.Expiry(notBefore, notAfter, now, "leastkey provisioner rotate")
}

func describe(c agent.Certificate) string {
	what := c.SHA256
	if what == "" {
		what = "of key id " + c.KeyID
	}
	return fmt.Sprintf("%s (%q, until %s)", what, c.DisplayName, c.End.Format(time.DateOnly))
}
