package provisioner

import (
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// RotatePlan replaces the active key. While its certificate is valid the Provisioner does it with its own right, by proof of possession;
// otherwise the operator registers the new one. With an overlap the old certificate stays until it is due.
func RotatePlan(s agent.Spec, o Observed, opt Options) agent.Plan {
	p := newPlanner(agent.Rotate, s, o, opt)
	p.identity()
	if !p.known() {
		p.block("unknown-application", "which application is the Provisioner?", "none is recorded", "leastkey provisioner bootstrap")
	}
	g, why := p.active()
	via := agent.ViaKey
	if g == nil {
		via = agent.ViaOperator
		if opt.Alone {
			p.block("needs-operator", "can the Provisioner rotate by itself?", "no: "+why, "run it with an operator: leastkey provisioner rotate")
		}
	}
	p.noPasswords()
	if len(p.plan.Blockers) > 0 {
		return p.plan
	}
	if g != nil {
		why = "its certificate runs until " + g.NotAfter.Format(time.DateOnly)
		p.plan.Facts["old_generation"], p.plan.Facts["old_sha256"] = g.ID, g.SHA256
	}
	p.expiry()
	if c := p.seen.Slot.Certificate; g == nil && p.usableSlot() && o.Whose(*c) == agent.Foreign {
		p.find(finding.Warn, "not-recorded", "whose key is in the active slot?", "one that leastkey has not made: its certificate "+describe(*c)+" stays on the application, and its key beside the new one",
			"once everything works: leastkey provisioner retire "+c.SHA256)
	} else {
		p.displaced()
	}
	p.key(why, via, nil)
	if g != nil && opt.Overlap > 0 {
		p.step(agent.Step{ID: "retire-later", Action: agent.RetireLater, Plane: agent.Here, Title: "keep the old certificate for " + opt.Overlap.String(), Why: "the overlap that was asked for",
			With: map[string]string{"generation": g.ID, "overlap": opt.Overlap.String()}, After: p.after(stepLogin, stepState)})
	} else {
		p.older("", via)
	}
	p.readBack()
	return p.plan
}

// RetirePlan removes one certificate that is not the active one: another machine's, or an earlier one of ours.
func RetirePlan(s agent.Spec, o Observed, opt Options) agent.Plan {
	p := newPlanner(Retire, s, o, opt)
	p.identity()
	p.noPasswords()
	g, why := p.active()
	var found *agent.Certificate
	if o.Application != nil && opt.SHA256 != "" { // one that Graph does not show has no hash
		for _, c := range o.Application.Certificates {
			if strings.EqualFold(c.SHA256, opt.SHA256) {
				found = &c
			}
		}
	}
	switch {
	case len(p.plan.Blockers) > 0:
	case g == nil:
		p.block("no-successor", "does this machine log in by itself?", why, "leastkey provisioner rotate, or migrate, first")
	case found == nil:
		p.block("not-there", "is the certificate on the application?", "no certificate "+opt.SHA256, "leastkey provisioner status lists them")
	case o.Whose(*found) == agent.Current:
		p.block("active", "is it not the one in use?", "it is this machine's own", "leastkey provisioner rotate replaces it")
	}
	if len(p.plan.Blockers) > 0 {
		return p.plan
	}
	p.use(g)
	p.login("$generation", nil)
	for _, old := range o.Record.Generations {
		if belongs(*found, old) {
			p.drop(old, agent.ViaKey)
			p.readBack()
			return p.plan
		}
	}
	p.find(finding.Warn, "other-machine", "whose is it?", "certificate "+describe(*found)+" is not this machine's: whoever uses it stops working", "")
	p.step(agent.Step{ID: "remove-certificate:" + found.KeyID, Action: agent.RemoveCertificate, Plane: agent.Identity, Title: "remove certificate " + describe(*found), Why: "you asked for it", Destroys: true,
		With:  map[string]string{"application": "$application", "app_id": "$app_id", "key_id": found.KeyID, "sha256": found.SHA256, "expected": p.expected(), "via": agent.ViaKey},
		After: []string{stepLogin}, Proof: []string{stepLogin}})
	p.readBack()
	return p.plan
}
