package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// Options are what the operator decided beside the spec.
type Options struct {
	Roles         role.Catalogue
	Tenant        string   // GUID
	Instance      string   // of the local cloud
	CreateBeside  bool     // create although another application has the display name
	RemoveForeign []string // SHA-256 of certificates, key ids of passwords, ids or names of federated credentials that shall go
}

// Diff is the plan that makes the world as the spec says, as far as the observation shows it. It decides everything and does nothing.
// Where it must not go on, the plan has blockers and no steps.
func Diff(s Spec, name string, o Observed, opt Options) Plan {
	a := s.Agents[name]
	d := &differ{spec: s, agent: a, seen: o.sorted(), opt: opt, rec: o.Record}
	d.plan = newPlan(Apply, s, name, o.Record, opt)
	d.plan.CreateBeside = opt.CreateBeside
	d.blockers()
	if len(d.plan.Blockers) > 0 {
		return d.plan
	}
	if a.Kind == ManagedIdentity {
		d.identity()
	} else {
		d.application()
	}
	if a.Keyless() {
		d.keyless()
	} else {
		d.credentials()
	}
	d.roles()
	d.readBack()
	d.unmatched()
	return d.plan
}

// unmatched lists what the operator wants removed and nothing goes by: a mistyped id must not pass for a credential that has gone.
func (d *differ) unmatched() {
	for _, id := range d.opt.RemoveForeign {
		goes := slices.Contains(d.named, id) || slices.ContainsFunc(d.plan.Steps, func(s Step) bool {
			return s.Destroys && (strings.EqualFold(s.With["key_id"], id) || strings.EqualFold(s.With["sha256"], id))
		})
		if !goes && !slices.Contains(d.plan.Unmatched, id) {
			d.plan.Unmatched = append(d.plan.Unmatched, id)
		}
	}
}

func newPlan(verb Verb, s Spec, name string, rec Record, opt Options) Plan {
	only := s
	only.Agents = map[string]*Agent{name: s.Agents[name]}
	p := Plan{Version: 1, Verb: verb, Cloud: s.Cloud, Instance: opt.Instance, Tenant: opt.Tenant, Subscription: s.Subscription, Agent: name, Spec: &only, Facts: map[string]string{}}
	for fact, value := range map[string]string{FactApplication: rec.ApplicationID, FactAppID: rec.AppID, FactPrincipal: rec.PrincipalID, FactUniqueName: rec.UniqueName, FactResource: rec.ResourceID} {
		if value != "" {
			p.Facts[fact] = value
		}
	}
	return p
}

type differ struct {
	spec  Spec
	agent *Agent
	seen  Observed
	rec   Record
	opt   Options
	plan  Plan
	gone  []string // key ids that the steps so far remove
	named []string // of opt.RemoveForeign: what names something that is not ours
}

func (d *differ) block(id, question, detail, remedy string) {
	d.plan.Blockers = append(d.plan.Blockers, finding.Finding{ID: id, Question: question, Outcome: finding.Fail, Detail: detail, Remedy: remedy})
}

func (d *differ) find(outcome finding.Outcome, id, question, detail, remedy string) {
	d.plan.Findings = append(d.plan.Findings, finding.Finding{ID: id, Question: question, Outcome: outcome, Detail: detail, Remedy: remedy})
}

func (d *differ) step(s Step) { d.plan.Steps = append(d.plan.Steps, s) }

func (d *differ) has(id string) bool {
	_, ok := d.plan.Step(id)
	return ok
}

// after keeps those ids that the plan has: the others were done long ago.
func (d *differ) after(ids ...string) []string {
	return slices.DeleteFunc(ids, func(id string) bool { return !d.has(id) })
}

// ResourceBlockers are the reasons for which no role may be assigned: what the spec names is not there, or would not heed one.
func ResourceBlockers(s Spec, name string, o Observed) []finding.Finding {
	d := &differ{spec: s, agent: s.Agents[name], seen: o}
	d.resources()
	return d.plan.Blockers
}

// blockers are what must not be guessed at: each stops the plan before its first step.
func (d *differ) blockers() {
	if d.seen.AzureUnread {
		d.find(finding.Warn, "azure-unread", "is everything in Azure as the spec says?", "you may not read resource group "+d.spec.ResourceGroup+", so nothing is known of it", "whoever applies the other half looks first")
	} else {
		d.resources()
	}
	d.identityBlockers()
	d.envBlocker()
}

func (d *differ) resources() {
	o, a := d.seen, d.agent
	if !o.GroupExists {
		d.block("resource-group", "does the resource group exist?", "resource group "+d.spec.ResourceGroup+" does not exist in subscription "+d.spec.Subscription,
			"create it (az group create), or correct resource_group; leastkey never creates one")
	}
	if a.KeyVault != "" {
		switch {
		case o.Vault == nil:
			d.block("key-vault", "does the vault exist?", "vault "+d.spec.VaultID(a)+" does not exist", "correct key_vault, or remove it")
		case !o.Vault.RBAC:
			d.block("key-vault-mode", "does the vault use Azure RBAC?", "vault "+o.Vault.ID+" uses access policies, so that role assignments on it do nothing",
				"its owner can switch it: az keyvault update --enable-rbac-authorization true; leastkey never does")
		}
	}
	if a.SessionPool != "" && !o.PoolExists {
		d.block("session-pool", "does the session pool exist?", d.spec.PoolID(a)+" does not exist", "correct session_pool, or remove it")
	}
	if a.ContentSafety != "" && !o.SafetyFound {
		d.block("content-safety", "does the content safety account exist?", d.spec.SafetyID(a)+" does not exist", "correct content_safety, or remove it")
	}
}

func (d *differ) identityBlockers() {
	if d.rec.Provisioned() && d.rec.Managed() != (d.agent.Kind == ManagedIdentity) {
		d.block("kind-changed", "is the identity of the spec's kind?", "agent "+d.agent.Name+" has a "+string(d.rec.kind())+" and the spec says "+string(d.agent.Kind),
			"one is not made of the other: leastkey revoke "+d.agent.Name+", then apply again")
		return
	}
	if d.agent.Kind == ManagedIdentity {
		d.managedBlockers()
		return
	}
	d.tooManyFederated()
	o := d.seen
	if !d.rec.Provisioned() {
		if len(o.Namesakes) > 0 && !d.opt.CreateBeside {
			d.block("namesake", "is the display name free?", namesakes(d.agent.Name, o.Namesakes),
				"if one of them is this agent's: leastkey adopt --app-id ID; if not: run again with --create-beside")
		}
		return
	}
	for _, n := range o.Namesakes {
		if n.UniqueName != "" && n.UniqueName == d.rec.UniqueName {
			d.block("nonce", "is our unique name ours alone?", "application "+n.ID+" has our unique name and is not the recorded "+d.rec.ApplicationID, "find out who made it before going on")
			continue
		}
		d.find(finding.Warn, "namesake", "is the display name used once?", namesakes(d.agent.Name, []Namesake{n}), "")
	}
	if o.Application == nil {
		d.block("application-gone", "is the recorded application there?", "application "+d.rec.ApplicationID+" was deleted by somebody",
			"restore it within 30 days (az rest --method post --url …/directory/deletedItems/"+d.rec.ApplicationID+"/restore), or leastkey revoke "+d.agent.Name+" and apply again")
		return
	}
	if o.Principal != nil && d.rec.PrincipalID != "" && !strings.EqualFold(o.Principal.ID, d.rec.PrincipalID) {
		d.block("principal-replaced", "is the service principal the recorded one?", "the application's service principal is "+o.Principal.ID+", recorded is "+d.rec.PrincipalID,
			"find out who made it anew; if that was on purpose: leastkey adopt --app-id "+d.rec.AppID)
		return
	}
	if g := d.rec.Active(); g != nil && o.Keys[g.ID] == "" {
		d.block("key-unknown", "is the private key in the keystore?", "nobody has looked for key "+g.Ref.String(), "")
	}
	if o.Principal != nil && !o.Principal.Enabled {
		d.block("principal-disabled", "is the service principal enabled?", "service principal "+o.Principal.ID+" was disabled by somebody",
			"if that was not on purpose: az ad sp update --id "+d.rec.AppID+" --set accountEnabled=true")
	}
}

func namesakes(name string, all []Namesake) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d other application(s) named %s:", len(all), name)
	for _, n := range all {
		var owners []string
		for _, w := range n.Owners {
			owners = append(owners, strings.TrimSpace(w.DisplayName+" "+w.ID))
		}
		who := "no owner"
		if len(owners) > 0 {
			who = "owned by " + strings.Join(owners, ", ")
		}
		fmt.Fprintf(&b, " app id %s (%s; %d certificates, %d passwords)", n.AppID, who, len(n.Certificates), len(n.Passwords))
	}
	return b.String()
}

// Step ids that others refer to.
const (
	stepApplication = "application"
	stepPrincipal   = "principal"
	stepKey         = "key"
	stepCertificate = "certificate"
	stepLogin       = "login"
	stepVerify      = "verify"
	stepEnv         = "environment"
	stepIdentity    = "identity"
	stepFederated   = "federated"
)

func (d *differ) application() {
	o := d.seen
	if !d.rec.Provisioned() {
		d.step(Step{ID: stepApplication, Action: CreateApplication, Plane: Graph, Title: "create application " + d.agent.Name, With: map[string]string{"display_name": d.agent.Name}})
	} else if o.Application.SignInAudience != "AzureADMyOrg" {
		d.step(Step{ID: "single-tenant", Action: SingleTenant, Plane: Graph, Title: "make the application single tenant", Why: "its sign-in audience is " + o.Application.SignInAudience,
			With: map[string]string{"application": "$application"}})
	}
	if o.Application != nil && len(o.Application.RedirectURIs) > 0 {
		d.find(finding.Warn, "redirect-uris", "does the application take redirects?", strings.Join(o.Application.RedirectURIs, ", "), "an agent needs none: remove them")
	}
	d.owners()
	d.principal()
}

// principal makes the service principal where the recorded one is not there.
func (d *differ) principal() {
	if o := d.seen; o.Principal == nil || o.Principal.ID != d.rec.PrincipalID {
		why := ""
		if d.rec.PrincipalID != "" {
			why = "the recorded service principal " + d.rec.PrincipalID + " is gone"
		}
		d.step(Step{ID: stepPrincipal, Action: CreatePrincipal, Plane: Graph, Title: "create its service principal", Why: why, With: map[string]string{"app_id": "$app_id"}, After: d.after(stepApplication)})
	}
}

// owners names each owner that neither made the application nor is in the spec: an owner may add a credential to it at any time. Those of
// an adopted application were shown and accepted when it was adopted; of such a one they are compared once somebody is recorded for it, or
// the spec lists any.
func (d *differ) owners() {
	if d.seen.Application == nil || (d.rec.Adopted && d.rec.CreatedBy == "" && len(d.agent.Owners) == 0) {
		return
	}
	for _, o := range d.seen.Application.Owners {
		if strings.EqualFold(o.ID, d.rec.CreatedBy) || slices.ContainsFunc(d.agent.Owners, func(id string) bool { return strings.EqualFold(id, o.ID) }) {
			continue
		}
		d.find(finding.Warn, "unexpected-owner", "are the application's owners those of the spec?", strings.TrimSpace(o.Type+" "+o.ID+" "+o.DisplayName)+" owns the application and may add credentials to it",
			"if that is meant, list it under owners; if not: az ad app owner remove --id "+d.rec.AppID+" --owner-object-id "+o.ID)
	}
}

func (d *differ) credentials() {
	active := d.rec.Active()
	d.usable(active)
	d.foreign()
	d.orphans(active)
}

// usable makes a key, or registers the certificate of the one that there is, where nothing logs in without.
func (d *differ) usable(active *Generation) {
	why := d.whyNewKey(active)
	switch {
	case why != "":
		d.newKey(active, why)
	case !d.registered(active):
		d.facts(active)
		d.register(map[string]string{"generation": active.ID}, "its certificate was removed from the application by somebody")
	default:
		d.facts(active)
		if due := d.agent.Certificate.RenewalDue(*active); d.seen.Now.After(due) {
			d.find(finding.Warn, FindExpiry, "does the certificate live long enough?", fmt.Sprintf("it expires on %s, and its renewal is due since %s", active.NotAfter.Format(time.DateOnly), due.Format(time.DateOnly)), "leastkey rotate "+d.agent.Name)
		}
	}
}

// whyNewKey is "" while the active key can go on.
func (d *differ) whyNewKey(active *Generation) string {
	switch {
	case active == nil:
		return "there is no key yet"
	case !d.seen.Now.Before(active.NotAfter):
		return "its certificate expired on " + active.NotAfter.Format(time.DateOnly)
	}
	switch d.seen.Keys[active.ID] {
	case KeyAbsent:
		return "its private key is no longer in the keystore"
	case KeyMismatched:
		return "the keystore holds another key than the certificate's"
	}
	return ""
}

func (d *differ) registered(g *Generation) bool {
	return d.seen.Application != nil && slices.ContainsFunc(d.seen.Application.Certificates, func(c Certificate) bool { return d.is(c, *g) })
}

// is tells whether a certificate on the application is the generation's.
func (d *differ) is(c Certificate, g Generation) bool {
	return strings.EqualFold(c.SHA256, g.SHA256) || (c.SHA256 == "" && c.KeyID == g.KeyID)
}

// facts names the generation that the plan goes on with.
func (d *differ) facts(g *Generation) {
	d.plan.Facts[FactGeneration], d.plan.Facts[FactSHA256] = g.ID, g.SHA256
}

func (d *differ) newKey(old *Generation, why string) {
	if old == nil && !d.rec.Provisioned() {
		why = ""
	}
	d.step(Step{ID: stepKey, Action: MintKey, Plane: Here, Title: "make its key in the keystore", Why: why,
		With: map[string]string{"days": fmt.Sprint(d.agent.Certificate.Days), "bits": "2048"}})
	d.register(map[string]string{"generation": "$generation"}, why)
}

func (d *differ) register(with map[string]string, why string) {
	with["application"] = "$application"
	if d.seen.Application != nil {
		with["expected"] = d.expected()
	}
	d.step(Step{ID: stepCertificate, Action: RegisterCertificate, Plane: Graph, Title: "register its certificate", Why: why, With: with, After: d.after(stepApplication, stepKey)})
}

// expected is the key ids that were seen and that no step so far removes: a reading that lacks one of them may be a replica's that lags.
func (d *differ) expected() string {
	var ids []string
	for _, c := range d.seen.Application.Certificates {
		if !slices.Contains(d.gone, c.KeyID) {
			ids = append(ids, c.KeyID)
		}
	}
	return strings.Join(ids, " ")
}

// foreign deals with every credential that is not the active generation's. The proof of a removal is a login with the active one.
func (d *differ) foreign() {
	app := d.seen.Application
	if app == nil {
		return
	}
	for _, c := range app.Certificates {
		switch d.rec.Whose(d.agent, c) {
		case OursOlder:
			if d.overlapping(c) {
				continue
			}
			why := "it is an earlier one of ours"
			if d.retired(c) {
				why = "it was rotated out, and its overlap has ended"
			}
			d.removeCertificate(c, why)
		case Current:
			if d.has(stepKey) { // the successor replaces it
				d.removeCertificate(c, "its successor takes over")
			}
		case Foreign:
			if d.asked(c.SHA256, c.KeyID) {
				d.removeCertificate(c, "you asked for it")
				continue
			}
			d.notOurs(c)
		}
	}
	d.passwords("applications", app.Passwords)
	d.federated(true)
	if p := d.seen.Principal; p != nil {
		d.passwords("servicePrincipals", p.Passwords)
		d.principalCertificates(p.Certificates)
	}
}

func (d *differ) notOurs(c Certificate) {
	d.find(finding.Fail, "foreign-certificate", "are the certificates on the application ours?", "certificate "+describe(c)+" is not ours",
		"if it is another machine's, list its SHA-256 under certificates; if not: leastkey apply --remove-foreign "+cmp.Or(c.SHA256, c.KeyID))
}

func (d *differ) principalCertificates(all []Certificate) {
	for _, c := range all {
		if d.rec.Whose(d.agent, c) == Foreign {
			d.find(finding.Fail, "foreign-principal-certificate", "has the service principal no certificate of its own?", "certificate "+describe(c)+" on the service principal is not ours",
				"its owner can remove it: az ad sp credential delete --id "+d.rec.AppID+" --cert --key-id "+c.KeyID)
		}
	}
}

// overlapping tells whether the certificate was rotated out and stays until its overlap ends; retired, whether that end has come.
func (d *differ) overlapping(c Certificate) bool {
	return slices.ContainsFunc(d.rec.Generations, func(g Generation) bool { return g.Overlapping(d.seen.Now) && d.is(c, g) })
}

func (d *differ) retired(c Certificate) bool {
	return slices.ContainsFunc(d.rec.Generations, func(g Generation) bool {
		return !g.Active && !g.RetireAt.IsZero() && !d.seen.Now.Before(g.RetireAt) && d.is(c, g)
	})
}

func describe(c Certificate) string {
	what := cmp.Or(c.SHA256, "of key id "+c.KeyID)
	return fmt.Sprintf("%s (%q, until %s)", what, c.DisplayName, c.End.Format(time.DateOnly))
}

func (d *differ) asked(ids ...string) bool {
	hit := false
	for _, want := range d.opt.RemoveForeign {
		if slices.ContainsFunc(ids, func(id string) bool { return id != "" && strings.EqualFold(id, want) }) {
			d.named, hit = append(d.named, want), true
		}
	}
	return hit
}

func (d *differ) removeCertificate(c Certificate, why string) {
	proof := d.prove()
	expected := d.expected()
	d.gone = append(d.gone, c.KeyID)
	d.step(Step{ID: "remove-certificate:" + c.KeyID, Action: RemoveCertificate, Plane: Graph, Title: "remove certificate " + describe(c), Why: why, Destroys: true,
		With: map[string]string{"application": "$application", "key_id": c.KeyID, "sha256": c.SHA256, "expected": expected}, After: d.after(d.lastCredentialStep(), proof), Proof: []string{proof}})
}

// lastCredentialStep orders changes of the application's credentials: keyCredentials is replaced as a whole, so two at a time would
// undo each other.
func (d *differ) lastCredentialStep() string {
	for i := len(d.plan.Steps) - 1; i >= 0; i-- {
		switch d.plan.Steps[i].Action {
		case RemoveCertificate, RegisterCertificate:
			return d.plan.Steps[i].ID
		}
	}
	return ""
}

func (d *differ) passwords(collection string, all []Password) {
	for _, p := range all {
		if d.asked(p.KeyID) {
			proof := d.prove()
			d.step(Step{ID: "remove-password:" + p.KeyID, Action: RemovePassword, Plane: Graph, Title: "remove password " + p.KeyID, Why: "you asked for it", Destroys: true,
				With: map[string]string{"collection": collection, "key_id": p.KeyID, "application": "$application", "principal": "$principal"}, After: d.after(proof), Proof: []string{proof}})
			continue
		}
		d.find(finding.Fail, "password-credential", "has the identity no password?", fmt.Sprintf("password %s (%q, begins %s…) is on the %s", p.KeyID, p.DisplayName, p.Hint, strings.TrimSuffix(collection, "s")),
			"whoever uses it loses it: leastkey apply --remove-foreign "+p.KeyID)
	}
}

// orphans are keys that a stopped or superseded run left in the keystore without ever using them, and ours that nothing shows any more.
func (d *differ) orphans(active *Generation) {
	for _, g := range d.rec.Generations {
		if (active != nil && g.ID == active.ID && !d.has(stepKey)) || g.Overlapping(d.seen.Now) {
			continue
		}
		var after []string
		proof := []string(nil)
		if d.registered(&g) {
			d.login()
			c := slices.IndexFunc(d.seen.Application.Certificates, func(c Certificate) bool { return strings.EqualFold(c.SHA256, g.SHA256) || c.KeyID == g.KeyID })
			after, proof = d.after("remove-certificate:"+d.seen.Application.Certificates[c].KeyID), []string{stepLogin}
			after = append(after, stepLogin)
		} else if d.has(stepKey) && active != nil && g.ID == active.ID {
			d.login()
			after, proof = []string{stepLogin}, []string{stepLogin}
		}
		d.step(Step{ID: "delete-key:" + g.ID, Action: DeleteKey, Plane: Here, Title: "delete key " + short(g.ID) + " from the keystore", Why: "nothing uses it", Destroys: true,
			With: map[string]string{"generation": g.ID, "key": g.Ref.String()}, After: after, Proof: proof})
	}
}

func short(id string) string { return id[:min(8, len(id))] }

// login adds the proof that the active key works, once.
func (d *differ) login() {
	if d.has(stepLogin) {
		return
	}
	d.step(Step{ID: stepLogin, Action: Login, Plane: Identity, Title: "log in with the certificate", Why: "prove the key as reopened from the keystore",
		With: map[string]string{"app_id": "$app_id", "generation": "$generation", "times": "3"}, After: d.after(stepCertificate, stepPrincipal)})
}

func (d *differ) unique(id string) string {
	for n, base := 2, id; d.has(id); n++ {
		id = fmt.Sprintf("%s-%d", base, n)
	}
	return id
}
