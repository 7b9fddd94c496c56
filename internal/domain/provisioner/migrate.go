package provisioner

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// ImportKey records the key that the active slot holds already, with its certificate, as a generation of ours: what the original's own
// migration has left.
const ImportKey agent.Action = "key.import"

// MigratePlan is the way from a client secret to a certificate. Nothing is deleted before the certificate has logged in with the key as
// the keystore gives it back; nothing is purged from disk before the secret opens nothing any more. The application's name, its ids and
// its permissions are not touched.
func MigratePlan(s agent.Spec, o Observed, opt Options) agent.Plan {
	p := newPlanner(Migrate, s, o, opt)
	p.identity()
	p.migratable()
	if len(p.plan.Blockers) > 0 {
		return p.plan
	}
	passwords := p.passwords()
	places := slices.DeleteFunc(slices.Clone(o.Places), func(place Place) bool { return place.Foreign })
	dirty := passwords+len(places) > 0
	g, why := p.active()
	slot := p.usableSlot()
	p.holders(passwords)
	p.foreign()
	p.expiry()
	stale := g != nil && o.File.Exists && !p.unchanged(g) // a state file from a backup, perhaps: readers would find no certificate of the key
	if !dirty && (g != nil || slot) && !stale {
		return p.plan // nothing to do
	}
	if p.stuck(); len(p.plan.Blockers) > 0 {
		return p.plan
	}
	if o.File.HasSecret && !opt.NoBackUp {
		p.step(agent.Step{ID: stepBackUp, Action: BackUp, Plane: agent.Here, Title: "back up " + o.File.Path + ", encrypted", Why: "for seven days, to an identity in the keystore", With: map[string]string{"file": o.File.Path}})
	}
	p.credential(g, slot, why, agent.ViaOperator, p.held())
	p.removePasswords()
	p.readBack()
	p.purge()
	return p.plan
}

// foreign names what is kept under the legacy key and is not known to be this application's: nothing is done to it, and it is not what a
// migration is about.
func (p *planner) foreign() {
	for _, place := range p.seen.Places {
		if place.Foreign {
			p.find(finding.Warn, "secret-elsewhere", "is the secret anywhere else on this machine?", where(place)+": "+place.Why, "if it is an old secret of this application, remove it by hand; another application's stays")
		}
	}
}

// stuck stops a plan that would remove the passwords and then could not take the secret off this machine, or could never find it again.
func (p *planner) stuck() {
	for _, place := range p.seen.Places {
		switch {
		case place.Kind != Other && place.Stuck != "":
			p.block("stuck:"+place.Path, "can the secret be removed from "+place.Path+"?", "no: "+place.Stuck, "make it a file that can be replaced, or remove the secret from it by hand once it is dead")
		case place.Kind == Other && !place.Foreign && p.opt.NoBackUp && p.seen.File.HasSecret:
			p.block("unknown-later:"+place.Path, "will the secret in "+where(place)+" be found again?", "without a backup nobody would know later what to look for", "name the file with --edit, or let a backup be made")
		}
	}
}

// held are the permissions that the service principal has been granted, where that was read: the token of the new certificate must bring
// them too.
func (p *planner) held() (roles []string) {
	for _, r := range p.seen.Offered {
		if slices.ContainsFunc(p.seen.Granted, func(g Grant) bool { return strings.EqualFold(g.RoleID, r.ID) }) {
			roles = append(roles, r.Value)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

// credential makes sure that a certificate of ours logs in: the recorded one, that of the active slot, or a new one.
func (p *planner) credential(g *agent.Generation, slot bool, why, via string, roles []string) {
	switch {
	case g != nil:
		p.use(g)
		p.login("$generation", roles)
		if !p.unchanged(g) {
			p.state()
		}
	case slot:
		c := p.seen.Slot.Certificate
		p.step(agent.Step{ID: stepKey, Action: ImportKey, Plane: agent.Here, Title: "record the key of the active slot", Why: "its certificate " + short(c.SHA256) + "… is on the application",
			With: map[string]string{"certificate": base64.StdEncoding.EncodeToString(c.DER), "key_id": c.KeyID}, After: p.after(stepBackUp)})
		p.login("$generation", roles)
		p.state()
	default:
		p.displaced()
		p.key(why, via, roles)
	}
}

// usableSlot tells whether the key in the active slot, which nobody recorded, has a certificate on the application.
func (p *planner) usableSlot() bool {
	c := p.seen.Slot.Certificate
	if p.seen.Slot.State != agent.KeyPresent || c == nil || p.seen.Application == nil || !p.seen.Now.Before(c.End) || len(c.DER) == 0 {
		return false
	}
	for _, have := range p.seen.Application.Certificates {
		if strings.EqualFold(have.SHA256, c.SHA256) {
			return true
		}
	}
	return false
}

// importing is the recorded generation whose key and certificate the plan takes from the slot as they are; "" if it is not recorded, or the
// plan takes none.
func (p *planner) importing() string {
	s, ok := p.plan.Step(stepKey)
	if !ok || s.Action != ImportKey {
		return ""
	}
	for _, g := range p.seen.Record.Generations {
		if belongs(*p.seen.Slot.Certificate, g) {
			return g.ID
		}
	}
	return ""
}

// displaced says what becomes of a key in the active slot that is not ours.
func (p *planner) displaced() {
	if p.seen.Slot.State == agent.KeyPresent && p.seen.Record.Active() == nil {
		p.find(finding.Warn, "slot-taken", "is the active slot of the keystore free?", "it holds a key that no certificate of the application belongs to", "it is kept beside, under a name of its own, and never deleted")
	}
}

func (p *planner) migratable() {
	switch {
	case !p.known() && len(p.seen.Namesakes) > 0:
		p.block("unknown-application", "which application is the Provisioner?", fmt.Sprintf("%s names none, and %d application(s) have its display name: %s", cmp.Or(p.seen.File.Path, "the state file"), len(p.seen.Namesakes), namesakes(p.seen.Namesakes)),
			"if one of them is yours: leastkey provisioner adopt --app-id ID")
	case !p.known():
		p.block("unknown-application", "which application is the Provisioner?", cmp.Or(p.seen.File.Path, "the state file")+" names none", "name the state file with --state-file; a new Provisioner begins with leastkey provisioner bootstrap")
	case p.seen.Application != nil && p.seen.Principal == nil:
		p.block("no-principal", "has the application a service principal?", "application "+p.clientID()+" has none, so nothing can log in as it", "az ad sp create --id "+p.clientID())
	}
	if r := p.seen.Rights; r.Known && !r.Enough {
		p.block("rights", "may the operator delete its credentials?", "no: "+r.Detail, "ask for Application Administrator (a PIM role may need activating), or become owner of the application")
	} else if !r.Known {
		p.find(finding.Warn, "rights", "may the operator delete its credentials?", "it cannot be told beforehand: "+cmp.Or(r.Detail, "the token does not say"), "if not, everything is put back")
	}
	if p.seen.Secret == SecretUnknown {
		p.find(finding.Warn, "secret-unclear", "does the old secret still work?", "the login service gave no clear answer", "it is asked again at the end")
	}
}

func namesakes(all []agent.Namesake) string {
	var each []string
	for _, n := range all {
		var owners []string
		for _, w := range n.Owners {
			owners = append(owners, strings.TrimSpace(w.DisplayName+" "+w.ID))
		}
		each = append(each, fmt.Sprintf("app id %s (%s; %d certificates, %d passwords)", n.AppID, cmp.Or(strings.Join(owners, ", "), "no owner"), len(n.Certificates), len(n.Passwords)))
	}
	return strings.Join(each, "; ")
}

func (p *planner) passwords() int {
	n := 0
	if p.seen.Application != nil {
		n += len(p.seen.Application.Passwords)
	}
	if p.seen.Principal != nil {
		n += len(p.seen.Principal.Passwords)
	}
	return n
}

// noPasswords stops a plan that has to end without passwords and does not remove them.
func (p *planner) noPasswords() {
	if n := p.passwords(); n > 0 {
		p.block("passwords", "has the application no password?", fmt.Sprintf("it has %d", n), "leastkey provisioner migrate removes them once a certificate works")
	}
}

// holders says who is affected: every other holder of a password stops working.
func (p *planner) holders(passwords int) {
	if passwords == 0 {
		return
	}
	p.find(finding.Warn, "other-holders", "who else uses the secret?", fmt.Sprintf("%d password(s) go now: every other machine, pipeline and person that uses one stops working", passwords),
		"say that you know: --sole-holder, or --others-accept")
}

func (p *planner) removePasswords() {
	remove := func(collection string, all []agent.Password) {
		for _, pw := range all {
			p.step(agent.Step{ID: "remove-password:" + pw.KeyID, Action: agent.RemovePassword, Plane: agent.Graph, Destroys: true,
				Title: "remove password " + describePassword(pw) + " of the " + strings.TrimSuffix(collection, "s"), Why: "with it anybody is the Provisioner",
				With:  map[string]string{"collection": collection, "key_id": pw.KeyID, "application": "$application", "principal": "$principal"},
				After: p.after(stepBackUp, stepLogin, stepPromote, stepState), Proof: []string{stepLogin}})
		}
	}
	remove("applications", p.seen.Application.Passwords)
	remove("servicePrincipals", p.seen.Principal.Passwords)
}

func describePassword(pw agent.Password) string {
	return fmt.Sprintf("%s (%q, begins %s…, %s to %s)", pw.KeyID, pw.DisplayName, pw.Hint, pw.Start.Format(time.DateOnly), pw.End.Format(time.DateOnly))
}

// purge proves the secret dead, takes it off this machine, and looks again.
func (p *planner) purge() {
	if len(p.seen.Places) == 0 {
		return
	}
	var proof []string
	if p.seen.Secret != NoSecret {
		proof = []string{stepDead}
		p.step(agent.Step{ID: stepDead, Action: SecretDeadProof, Plane: agent.Identity, Title: "prove that the secret opens nothing any more", Why: "what still works is not thrown away",
			With: p.where(map[string]string{"app_id": "$app_id"}), After: p.after(stepNone)})
	}
	var purged []string
	places := slices.Clone(p.seen.Places)
	// The state file comes last: it is what tells a run that was cut off what to look for.
	slices.SortStableFunc(places, func(a, b Place) int { return boolInt(a.Kind == StateFile) - boolInt(b.Kind == StateFile) })
	for i, place := range places {
		if place.Kind == Edit {
			p.find(finding.Warn, "edit", "what is changed in "+place.Path+"?", place.Diff, "")
		}
		if place.Foreign {
			continue
		}
		if place.Kind == Other {
			p.find(finding.Warn, "secret-elsewhere", "is the secret anywhere else on this machine?", where(place)+" holds it: "+cmp.Or(place.Why, "it is not ours to change"), "look at it, then run again with --edit "+place.Path)
			continue
		}
		id := fmt.Sprintf("purge-%d", i+1)
		with := map[string]string{"file": place.Path, "kind": string(place.Kind)}
		if place.SHA256 != "" { // what was shown is what is cut out
			with["sha256"] = place.SHA256
		}
		p.step(agent.Step{ID: id, Action: PurgeSecret, Plane: agent.Here, Destroys: true, Title: "remove the secret from " + place.Path, Why: "exactly its value; every other key stays",
			With: p.where(with), After: append(p.after(stepLogin, stepNone, stepDead, stepState), purged...), Proof: append(slices.Clone(proof), p.after(stepLogin)...)})
		purged = append(purged, id)
	}
	p.step(agent.Step{ID: stepScan, Action: ScanSecret, Plane: agent.Here, Title: "search again for the secret", With: p.where(nil), After: append(purged, p.after(stepDead)...)})
}

// where adds to a step's parameters what is searched: lists are one to a line.
func (p *planner) where(with map[string]string) map[string]string {
	if with == nil {
		with = map[string]string{}
	}
	with["state"], with["env"] = p.seen.File.Path, p.opt.EnvFile
	with["also"], with["edit"] = strings.Join(p.opt.Also, "\n"), strings.Join(p.opt.Edit, "\n")
	return with
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func where(place Place) string {
	if place.Line > 0 {
		return fmt.Sprintf("%s, line %d", place.Path, place.Line)
	}
	return place.Path
}
