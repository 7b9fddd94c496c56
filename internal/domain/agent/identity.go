package agent

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// ManagedTokenLife is how long a token of a managed identity may live: Azure keeps it for the resource for about a day, and nothing ends
// it earlier (Microsoft, "Managed identities for Azure resources frequently asked questions").
const ManagedTokenLife = 24 * time.Hour

// identityName is Azure's naming rule of user-assigned identities.
var identityName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,127}$`)

// managed refuses what a managed identity cannot have.
func (v *validator) managed(field, name string, a *Agent) {
	if agentName.MatchString(name) && !identityName.MatchString(strings.TrimSuffix(name, "-mi")+"-mi") {
		v.add(field, "a managed identity's name has letters, digits, dashes and underscores alone", "")
	}
	if len(a.Certificates) > 0 {
		v.add(field+".certificates", "a managed identity has no certificate", "remove the field")
	}
}

// kind is what the record is of. One from before kinds were recorded is of an application.
func (r Record) kind() Kind {
	if r.Managed() {
		return ManagedIdentity
	}
	return cmp.Or(r.Kind, ServicePrincipal)
}

// AdoptIdentity makes the record that of an existing managed identity; held and by are as for [Record.Adopt]. None of its federated
// credentials is ours: those that the spec asks for satisfy it, the others are findings.
func (r *Record) AdoptIdentity(i UserAssignedIdentity, held []Assignment, by string) {
	r.Adopt(Application{AppID: i.ClientID}, i.PrincipalID, held, by)
	r.ResourceID, r.Federated = i.ID, nil
}

// managedBlockers are what must not be guessed at of a managed identity.
func (d *differ) managedBlockers() {
	d.tooManyFederated()
	name, wanted := d.agent.Name, d.spec.IdentityID(d.agent)
	if d.seen.AzureUnread {
		d.block("azure-unread", "is the managed identity there?", "you may not read resource group "+d.spec.ResourceGroup+", where a managed identity lives", "somebody who may read and write there: leastkey apply "+name)
		return
	}
	i := d.seen.Identity
	switch {
	case !d.rec.Provisioned() && i != nil:
		d.block("identity-exists", "is the name of the managed identity free?", describeIdentity(*i, d.seen.Assignments, d.opt.Roles),
			"if it is this agent's: leastkey adopt --resource-id "+i.ID+" "+name+"; if not: give the agent another name")
	case !d.rec.Provisioned():
	case !strings.EqualFold(d.rec.ResourceID, wanted):
		d.block("identity-elsewhere", "is the managed identity where the spec says?", "the recorded identity is "+d.rec.ResourceID+", the spec's would be "+wanted,
			"an identity cannot move: correct resource_group and subscription, or leastkey revoke "+name+" and apply again")
	case i == nil:
		d.block("identity-gone", "is the recorded managed identity there?", "managed identity "+d.rec.ResourceID+" was deleted by somebody; it has no recycle bin",
			"find out who and why; then leastkey revoke "+name+", and apply again makes a new one, which its resources have to be given anew")
	case !strings.EqualFold(i.PrincipalID, d.rec.PrincipalID) || !strings.EqualFold(i.ClientID, d.rec.AppID):
		d.block("identity-replaced", "is the managed identity the recorded one?", "principal of "+i.ID+" is "+i.PrincipalID+", recorded is "+d.rec.PrincipalID+": somebody deleted it and made another of its name",
			"find out who made it anew; leastkey revoke "+name+" leaves the new one alone, and leastkey adopt --resource-id "+i.ID+" "+name+" takes it")
	case d.seen.Principal != nil && !d.seen.Principal.Enabled:
		d.block("principal-disabled", "is the service principal enabled?", "service principal "+d.seen.Principal.ID+" was disabled by somebody",
			"if that was not on purpose: az ad sp update --id "+d.rec.AppID+" --set accountEnabled=true")
	}
}

// describeIdentity is what somebody has to know before they call an identity theirs.
func describeIdentity(i UserAssignedIdentity, held []Assignment, roles role.Catalogue) string {
	var b strings.Builder
	fmt.Fprintf(&b, "managed identity %s exists, and leastkey has not made it: client id %s, principal %s", i.ID, i.ClientID, i.PrincipalID)
	list := func(what string, all []string) {
		if len(all) == 0 {
			all = []string{"none"}
		}
		fmt.Fprintf(&b, "; %s: %s", what, strings.Join(all, ", "))
	}
	var federated, tags, grants []string
	for _, f := range i.Federated {
		federated = append(federated, f.describe())
	}
	for _, key := range slices.Sorted(maps.Keys(i.Tags)) {
		tags = append(tags, key+"="+i.Tags[key])
	}
	for _, a := range held {
		grants = append(grants, cmp.Or(a.Role, roles.Name(a.RoleID), a.RoleID)+" on "+role.Short(a.Scope))
	}
	list("federated credentials", federated)
	list("tags", tags)
	list("roles", grants)
	return b.String()
}

// identity makes the managed identity, and waits until the directory has its service principal.
func (d *differ) identity() {
	if !d.rec.Provisioned() {
		id := d.spec.IdentityID(d.agent)
		d.step(Step{ID: stepIdentity, Action: CreateIdentity, Plane: ARM, Title: "create managed identity " + role.Short(id), With: map[string]string{"resource": id, "location": d.spec.Location}})
		d.await("")
		return
	}
	if d.seen.Principal == nil {
		d.await("the directory does not show it")
		// Azure makes it with the identity and for as long as that is there, so what it holds is neither gone nor somebody else's.
		d.seen.Principal = &Principal{ID: d.seen.Identity.PrincipalID, AppID: d.seen.Identity.ClientID, Enabled: true}
	}
	for _, p := range d.seen.Principal.Passwords {
		d.find(finding.Fail, "password-credential", "has the identity no password?", fmt.Sprintf("password %s (%q, begins %s…) is on the service principal", p.KeyID, p.DisplayName, p.Hint),
			"az ad sp credential delete --id "+d.rec.AppID+" --key-id "+p.KeyID)
	}
}

// await waits for the service principal. Reading the directory is everybody's right, so the step goes with whoever makes the identity.
func (d *differ) await(why string) {
	d.step(Step{ID: stepPrincipal, Action: AwaitPrincipal, Plane: ARM, Title: "find its service principal in the directory", Why: why,
		With: map[string]string{"app_id": "$app_id", "principal": "$principal"}, After: d.after(stepIdentity)})
}

// keyless sees to it that the identity has the federated credentials of the spec and nothing else that lets somebody in. A certificate of
// ours from before stays until the operator gives it up: nobody here can log in as the workload, so nothing proves that its successor works.
func (d *differ) keyless() {
	d.writeFederated()
	if app := d.seen.Application; app != nil {
		for _, c := range app.Certificates {
			whose := d.rec.Whose(d.agent, c)
			switch {
			case whose == Known:
			case d.asked(c.SHA256, c.KeyID):
				d.removeCertificate(c, "you asked for it")
			case whose == Foreign:
				d.notOurs(c)
			default:
				d.find(finding.Warn, "certificate-left", "does only a federated token open it?", "certificate "+describe(c)+" of ours still does",
					"once every workload has logged in with its own token: leastkey apply "+d.agent.Name+" --remove-foreign "+cmp.Or(c.SHA256, c.KeyID))
			}
		}
		d.passwords("applications", app.Passwords)
	}
	d.federated(true)
	if p := d.seen.Principal; p != nil && d.agent.Kind != ManagedIdentity { // that of a managed identity has a certificate of Azure's own
		d.passwords("servicePrincipals", p.Passwords)
		d.principalCertificates(p.Certificates)
	}
	d.unusedKeys()
}

// unusedKeys deletes the keys whose certificate is not on the application any more, or goes with this plan.
func (d *differ) unusedKeys() {
	for _, g := range d.rec.Generations {
		var after, proof []string
		if d.registered(&g) {
			gone := ""
			for _, c := range d.seen.Application.Certificates {
				if d.is(c, g) && d.has("remove-certificate:"+c.KeyID) {
					gone = "remove-certificate:" + c.KeyID
				}
			}
			if gone == "" {
				continue
			}
			after, proof = []string{gone, stepFederated}, []string{stepFederated}
		}
		d.step(Step{ID: "delete-key:" + g.ID, Action: DeleteKey, Plane: Here, Title: "delete key " + short(g.ID) + " from the keystore", Why: "nothing uses it", Destroys: true,
			With: map[string]string{"generation": g.ID, "key": g.Ref.String()}, After: after, Proof: proof})
	}
}
