package agent

import (
	"slices"
	"time"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// Values of the parameter "via" of steps that change key credentials: by whose right.
const (
	ViaOperator = "operator" // PATCH of the whole list, as the operator
	ViaKey      = "key"      // addKey and removeKey with proof of possession, as the identity itself
)

// NoReader is the finding of a rotation without an operator: it may not read the application back. What such a rotation rests on is the
// answer of addKey, logins with the new key, the answer of removeKey and the refusal of the old key; that nobody has read is by design, so
// this finding alone does not make a command fail.
const NoReader = "no-reader"

// RotateOptions are what the operator decided about a rotation.
type RotateOptions struct {
	Options
	Overlap time.Duration // how long the old certificate stays; 0 removes it at once
	// Alone rotates with the identity's own key, without an operator: nothing of the application can be read then, and the observation
	// has none.
	Alone bool
}

// Renew is the plan that replaces the active key: a new one is made, registered and proved, then the old one goes, or stays until its
// overlap ends. While the old certificate is valid the identity does it with its own right; otherwise the operator registers the new one.
func Renew(s Spec, name string, o Observed, opt RotateOptions) Plan {
	d := &differ{spec: s, agent: s.Agents[name], seen: o.sorted(), opt: opt.Options, rec: o.Record}
	d.plan = newPlan(Rotate, s, name, o.Record, opt.Options)
	if d.agent.Keyless() {
		d.nothingToRotate()
		return d.plan
	}
	old := d.rec.Active()
	why := d.whyNewKey(old)
	if !opt.Alone && why == "" && d.seen.Application != nil && !d.registered(old) {
		why = "its certificate was removed from the application by somebody"
	}
	d.renewable(old, why, opt.Alone)
	if len(d.plan.Blockers) > 0 {
		return d.plan
	}
	via := ViaOperator
	if why == "" {
		via, why = ViaKey, "its certificate runs until "+old.NotAfter.Format(time.DateOnly)
	}
	d.newKey(old, why)
	for i, s := range d.plan.Steps {
		if s.Action == RegisterCertificate {
			s.With["via"], s.With["app_id"] = via, "$app_id"
			if via == ViaKey {
				d.plan.Steps[i].Plane = Identity
			}
		}
	}
	d.login()
	for _, g := range d.rec.Generations {
		switch {
		case old != nil && g.ID == old.ID && opt.Overlap > 0:
			d.step(Step{ID: "retire-later", Action: RetireLater, Plane: Here, Title: "keep the old certificate for " + opt.Overlap.String(), Why: "the overlap that was asked for",
				With: map[string]string{"generation": g.ID, "overlap": opt.Overlap.String()}, After: []string{stepLogin}})
		case g.Overlapping(d.seen.Now):
		case opt.Alone && g.KeyID == "":
			// Whether its certificate is registered, and under which key id, only a reader of the application can tell. Without its
			// record nobody would know that it is ours.
			d.find(finding.Warn, "key-id-pending", "is only one certificate of ours registered?", "certificate "+g.SHA256+" may still be there: nobody has seen its key id",
				"the next run with an operator removes it: leastkey apply "+d.agent.Name)
		default:
			d.drop(g, via)
		}
	}
	d.rotated(opt.Alone)
	return d.plan
}

// NothingToRotate is the finding of a rotation of an identity that has no key.
const NothingToRotate = "nothing-to-rotate"

// nothingToRotate says why there is nothing: what such an identity logs in with is renewed by whoever makes it.
func (d *differ) nothingToRotate() {
	if !d.rec.Provisioned() || d.rec.PrincipalID == "" {
		d.block("not-provisioned", "is there anything to rotate?", "agent "+d.agent.Name+" is not provisioned", "leastkey apply "+d.agent.Name)
		return
	}
	detail := "no: whoever logs in does it with a token of another issuer, which makes and renews its keys by itself"
	if d.agent.Kind == ManagedIdentity {
		detail = "no: Azure makes, keeps and renews what a managed identity logs in with, and nobody else ever has it"
	}
	d.find(finding.Skip, NothingToRotate, "is there anything to rotate?", detail, "")
}

// renewable stops a rotation that could only guess.
func (d *differ) renewable(old *Generation, why string, alone bool) {
	switch {
	case !d.rec.Provisioned() || d.rec.PrincipalID == "":
		d.block("not-provisioned", "is there anything to rotate?", "agent "+d.agent.Name+" is not provisioned", "leastkey apply "+d.agent.Name)
	case alone && why != "":
		d.block("needs-operator", "can the identity rotate by itself?", "no: "+why, "run it with an operator: leastkey rotate "+d.agent.Name)
	case !alone:
		d.identityBlockers()
		if d.seen.Application != nil && d.seen.Principal == nil {
			d.block("no-principal", "has the application a service principal?", "the recorded service principal "+d.rec.PrincipalID+" is gone, so no key can log in", "leastkey apply "+d.agent.Name)
		}
	}
}

// Overlapping tells whether the generation was replaced and stays until its overlap ends.
func (g Generation) Overlapping(now time.Time) bool {
	return !g.Active && !g.RetireAt.IsZero() && now.Before(g.RetireAt)
}

// drop removes an earlier generation: its certificate, then its key once it opens nothing.
func (d *differ) drop(g Generation, via string) {
	last := stepLogin
	ids := d.keyIDs(g)
	for _, id := range ids {
		expected := ""
		if d.seen.Application != nil {
			expected = d.expected()
			d.gone = append(d.gone, id)
		}
		remove := Step{ID: "remove-certificate:" + id, Action: RemoveCertificate, Plane: Graph, Title: "remove certificate " + short(g.SHA256) + "…", Why: "its successor has logged in", Destroys: true,
			With:  map[string]string{"application": "$application", "app_id": "$app_id", "key_id": id, "sha256": g.SHA256, "expected": expected, "via": via},
			After: d.after(d.lastCredentialStep(), stepLogin), Proof: []string{stepLogin}}
		if via == ViaKey {
			remove.Plane = Identity
		}
		d.step(remove)
		last = remove.ID
	}
	if len(ids) > 0 && d.seen.Keys[g.ID] == KeyPresent {
		dead := "dead:" + g.ID
		d.step(Step{ID: dead, Action: ProveDead, Plane: Identity, Title: "prove that the old key opens nothing", With: map[string]string{"app_id": "$app_id", "generation": g.ID}, After: []string{last}})
		last = dead
	}
	d.step(Step{ID: "delete-key:" + g.ID, Action: DeleteKey, Plane: Here, Title: "delete key " + short(g.ID) + " from the keystore", Why: "nothing uses it", Destroys: true,
		With: map[string]string{"generation": g.ID, "key": g.Ref.String()}, After: slices.Compact(d.after(last, stepLogin)), Proof: []string{stepLogin}})
}

// keyIDs are the key ids under which the generation's certificate is on the application: as read, or, where nobody may read, as recorded.
// One that a lost answer has left unrecorded is found by its hash.
func (d *differ) keyIDs(g Generation) []string {
	if d.seen.Application == nil {
		return slices.DeleteFunc([]string{g.KeyID}, func(id string) bool { return id == "" })
	}
	var ids []string
	for _, c := range d.seen.Application.Certificates {
		if d.is(c, g) {
			ids = append(ids, c.KeyID)
		}
	}
	return ids
}

// rotated ends a rotation with the read-back, where somebody may read.
func (d *differ) rotated(alone bool) {
	if alone {
		d.find(finding.Unknown, NoReader, "are the credentials as planned?", "without an operator nobody may read the application", "the next run with an operator reads it: leastkey plan "+d.agent.Name)
		return
	}
	if d.seen.Application != nil {
		d.passwords("applications", d.seen.Application.Passwords)
		d.federated(false)
	}
	var all []string
	for _, s := range d.plan.Steps {
		all = append(all, s.ID)
	}
	d.step(Step{ID: stepVerify, Action: Verify, Plane: Here, Title: "read the application back", Why: "no password, only our certificates",
		With: map[string]string{"application": "$application", "app_id": "$app_id", "principal": "$principal", WithoutAssignments: "true"}, After: all})
}
