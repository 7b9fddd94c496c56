package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// TokenExchange is the audience of a token that is exchanged for one of Entra's, unless the spec says otherwise (Microsoft, "Workload
// identity federation"; sovereign clouds have names of their own).
const TokenExchange = "api://AzureADTokenExchange"

// The limits of Entra and ARM (Microsoft, "Important considerations and restrictions for federated identity credentials").
const (
	mostFederated     = 20  // on one application or managed identity
	longestFederation = 600 // characters of issuer, subject and audience
)

// Keyless tells whether the agent logs in without any key of ours: nothing is minted, registered or rotated, and nobody but the resource
// or workload itself can log in as it.
func (a *Agent) Keyless() bool { return a.Kind == ManagedIdentity || len(a.Federated) > 0 }

// LogsIn says who can log in as an agent that has no key, "" of one that has.
func (a *Agent) LogsIn() string {
	var who []string
	if a.Kind == ManagedIdentity {
		who = append(who, "code on an Azure resource that the identity is assigned to")
	}
	for _, f := range a.Federated {
		who = append(who, f.Subject+" of "+f.Issuer)
	}
	return strings.Join(who, "; ")
}

// Name is what the federated credential is called. It follows from issuer and subject, which are unique on one identity, so that a second
// try cannot make a second one. The audience is not part of it: Entra refuses two credentials that differ in it alone, so that a new
// audience is written into the one that there is.
func (f Federated) Name() string {
	sum := sha256.Sum256([]byte(f.Issuer + "\n" + f.Subject))
	return "leastkey-" + hex.EncodeToString(sum[:16])
}

// Credential is what the spec asks for as Graph and ARM show it, without an id.
func (f Federated) Credential() FederatedCredential {
	return FederatedCredential{Name: f.Name(), Issuer: f.Issuer, Subject: f.Subject, Audiences: []string{f.Audience}}
}

// Stands tells whether a credential admits exactly the tokens of the wanted one, whatever it is called.
func (f FederatedCredential) Stands(want FederatedCredential) bool {
	return f.Issuer == want.Issuer && f.Subject == want.Subject && slices.Equal(f.Audiences, want.Audiences)
}

// StrangeFederated are the credentials that the spec does not ask for: each lets in somebody whom nobody has named.
func (a *Agent) StrangeFederated(all []FederatedCredential) []FederatedCredential {
	return slices.DeleteFunc(slices.Clone(all), func(f FederatedCredential) bool {
		return slices.ContainsFunc(a.Federated, func(w Federated) bool { return f.Stands(w.Credential()) })
	})
}

func (f FederatedCredential) describe() string {
	return fmt.Sprintf("%q (issuer %s, subject %s)", f.Name, f.Issuer, f.Subject)
}

// federated are the federated credentials that were found, of application or managed identity.
func (o Observed) federated() []FederatedCredential {
	switch {
	case o.Application != nil:
		return o.Application.Federated
	case o.Identity != nil:
		return o.Identity.Federated
	}
	return nil
}

// federation is what has to become of the federated credentials.
type federation struct {
	write   []writing
	remove  []removal
	strange []FederatedCredential // nobody asked for it, and it is not ours to touch
}

type writing struct {
	FederatedCredential
	why      string
	replaces string // id of somebody else's that the operator gave up for it
}

type removal struct {
	FederatedCredential
	why string
}

// federation compares. Ours is what our record names; a name that looks like ours proves nothing.
func (d *differ) federation() federation {
	var out federation
	dealt := map[string]bool{}
	have := d.seen.federated()
	ours := func(name string) bool { return slices.Contains(d.rec.Federated, name) }
	for _, w := range d.agent.Federated {
		want := w.Credential()
		i := slices.IndexFunc(have, func(f FederatedCredential) bool { return f.Issuer == want.Issuer && f.Subject == want.Subject })
		if i < 0 {
			i = slices.IndexFunc(have, func(f FederatedCredential) bool { return strings.EqualFold(f.Name, want.Name) })
		}
		if i < 0 {
			why := ""
			if ours(want.Name) {
				why = WhyRemoved
			}
			out.write = append(out.write, writing{FederatedCredential: want, why: why})
			continue
		}
		found := have[i]
		dealt[found.Name] = true
		want.Name = found.Name // it cannot be renamed
		switch {
		case found.Stands(want):
		case ours(found.Name):
			out.write = append(out.write, writing{FederatedCredential: want, why: found.differs(want)})
		case d.asked(found.ID, found.Name):
			out.write = append(out.write, writing{FederatedCredential: want, why: "you asked for it: " + found.differs(want), replaces: found.ID})
		default:
			out.strange = append(out.strange, found)
		}
	}
	for _, f := range have {
		switch {
		case dealt[f.Name]:
		case ours(f.Name):
			out.remove = append(out.remove, removal{f, "the spec does not ask for it, and it is recorded as ours"})
		case d.asked(f.ID, f.Name):
			out.remove = append(out.remove, removal{f, "you asked for it"})
		default:
			out.strange = append(out.strange, f)
		}
	}
	return out
}

// differs says how a credential is not as wanted.
func (f FederatedCredential) differs(want FederatedCredential) string {
	if f.Issuer == want.Issuer && f.Subject == want.Subject {
		return "its audience is " + strings.Join(f.Audiences, ", ")
	}
	return "it admits subject " + f.Subject + " of " + f.Issuer
}

// tooManyFederated stops a plan that would fail half way: the limit counts what is there until it is removed, and ours are written first.
func (d *differ) tooManyFederated() {
	n := len(d.seen.federated())
	for _, w := range d.federation().write {
		if !slices.ContainsFunc(d.seen.federated(), func(f FederatedCredential) bool { return f.Name == w.Name }) {
			n++
		}
	}
	if n > mostFederated && n > len(d.seen.federated()) {
		d.block("federated-limit", "is there room for the federated credentials?", fmt.Sprintf("with those of the spec there would be %d, and %d are allowed", n, mostFederated),
			"remove one that is not needed first, or use a second agent")
	}
}

// on is where the federated credentials are: the parameter that names it, and whose rights change them.
func (d *differ) on(with map[string]string) (map[string]string, Plane) {
	if d.agent.Kind == ManagedIdentity {
		with["resource"] = "$" + FactResource
		return with, ARM
	}
	with["application"] = "$" + FactApplication
	return with, Graph
}

// writeFederated makes or changes each credential of the spec, one after the other: concurrent writes on one identity are refused
// (Microsoft, "Important considerations and restrictions for federated identity credentials").
func (d *differ) writeFederated() {
	last, writes := d.after(stepApplication, stepIdentity), d.federation().write
	for _, w := range writes {
		with, plane := d.on(map[string]string{"name": w.Name, "issuer": w.Issuer, "subject": w.Subject, "audience": w.Audiences[0]})
		if w.replaces != "" {
			with["replaces"] = w.replaces
		}
		s := Step{ID: "federated:" + w.Name, Action: WriteFederated, Plane: plane, Title: "let " + w.Subject + " of " + w.Issuer + " log in as it", Why: w.why, With: with, After: last, Destroys: w.replaces != ""}
		d.step(s)
		last = []string{s.ID}
	}
	if len(writes) > 0 {
		d.seeFederated()
	}
}

// seeFederated adds, once, the proof that the spec's federated credentials are there. Where nobody here can log in, it is the proof that a
// removal rests on.
func (d *differ) seeFederated() {
	if d.has(stepFederated) {
		return
	}
	after := d.after(stepPrincipal) // without which nobody logs in
	for _, s := range d.plan.Steps {
		if s.Action == WriteFederated {
			after = append(after, s.ID)
		}
	}
	with, plane := d.on(map[string]string{"names": d.expectedFederated()})
	d.step(Step{ID: stepFederated, Action: SeeFederated, Plane: plane, Title: "see its federated credentials", Why: "those of the spec are there, three readings in a row", With: with, After: after})
}

// expectedFederated are the names of the spec's federated credentials that are there once the plan is carried out: all but those in whose
// place there is somebody else's.
func (d *differ) expectedFederated() string {
	strange := d.federation().strange
	var names []string
	for _, w := range d.agent.Federated {
		name := w.Name()
		if !slices.ContainsFunc(strange, func(f FederatedCredential) bool {
			return (f.Issuer == w.Issuer && f.Subject == w.Subject) || strings.EqualFold(f.Name, name)
		}) {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// prove adds the proof on which a removal rests, and gives its id: a login with the key, or, where there is none, the sight of what the
// workloads log in with.
func (d *differ) prove() string {
	if !d.agent.Keyless() {
		d.login()
		return stepLogin
	}
	d.seeFederated()
	return stepFederated
}

// federated removes what nobody asks for and names what is not ours. dropped says whether this plan takes away what the spec dropped.
func (d *differ) federated(dropped bool) {
	f := d.federation()
	for _, r := range f.remove {
		if d.asked(r.ID, r.FederatedCredential.Name) || dropped {
			d.removeFederated(r)
		}
	}
	for _, s := range f.strange {
		d.find(finding.Fail, "federated-credential", "does nobody log in as the identity without its key?", "federated credential "+s.describe()+" lets in whoever has a token of that subject",
			"whoever uses it loses it: leastkey apply --remove-foreign "+s.ID)
	}
}

func (d *differ) removeFederated(r removal) {
	proof := d.prove()
	after := d.after(proof)
	if d.agent.Keyless() {
		after = append(d.after(d.lastRemoval()), after...)
	}
	key := r.ID
	if d.agent.Kind == ManagedIdentity {
		key = r.FederatedCredential.Name // by which ARM knows it
	}
	with, plane := d.on(map[string]string{"key_id": key})
	if slices.Contains(d.rec.Federated, r.FederatedCredential.Name) {
		with["name"] = r.FederatedCredential.Name // by which the record knows it
	}
	d.step(Step{ID: "remove-federated:" + key, Action: RemoveFederated, Plane: plane, Title: "remove federated credential " + r.describe(), Why: r.why, Destroys: true, With: with, After: after, Proof: []string{proof}})
}

// lastRemoval orders the removals of an identity that has many: see writeFederated.
func (d *differ) lastRemoval() string {
	for i := len(d.plan.Steps) - 1; i >= 0; i-- {
		if d.plan.Steps[i].Action == RemoveFederated {
			return d.plan.Steps[i].ID
		}
	}
	return ""
}

// federated checks the federated credentials of an agent.
func (v *validator) federated(field string, a *Agent) {
	if n := len(a.Federated); n > mostFederated {
		v.add(field+".federated", fmt.Sprintf("%d federated credentials; an identity has at most %d", n, mostFederated), "")
	}
	seen := map[string]int{}
	for i, f := range a.Federated {
		at := fmt.Sprintf("%s.federated[%d]", field, i)
		v.issuer(at+".issuer", f.Issuer)
		v.federatedText(at+".subject", f.Subject, "name the workload, such as repo:OWNER/NAME:environment:prod or system:serviceaccount:NAMESPACE:NAME")
		v.federatedText(at+".audience", f.Audience, "leave it out for "+TokenExchange)
		if strings.Contains(f.Subject, "*") {
			v.add(at+".subject", "a subject is compared as it is: * stands for nothing", "name one workload per entry")
		}
		key := f.Issuer + "\n" + f.Subject
		if first, twice := seen[key]; twice {
			v.add(at, fmt.Sprintf("issuer and subject are those of federated[%d]; an identity takes each pair once", first), "")
		} else {
			seen[key] = i
		}
	}
}

// issuer wants what a token's iss can be: Entra compares the two as they are, and fetches the issuer's keys from there.
func (v *validator) issuer(field, text string) {
	u, err := url.Parse(text)
	switch {
	case text == "" || err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		v.add(field, "not the https address of an issuer", "it is the iss of its tokens, such as https://token.actions.githubusercontent.com")
	default:
		v.federatedText(field, text, "")
	}
}

func (v *validator) federatedText(field, text, hint string) {
	switch {
	case strings.TrimSpace(text) == "":
		v.add(field, "nothing is said", hint)
	case strings.TrimSpace(text) != text || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		v.add(field, "has white space around it, or control characters in it", "")
	case len(text) > longestFederation:
		v.add(field, fmt.Sprintf("is longer than %d characters", longestFederation), "")
	}
}
