package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// The keys of a runtime identity with a client secret in the environment file that Polyclaw writes.
const (
	LegacyAppID    = "RUNTIME_SP_APP_ID"
	LegacyPassword = "RUNTIME_SP_PASSWORD"
	LegacyTenant   = "RUNTIME_SP_TENANT"
)

// FindLegacy is the finding that a client secret still opens an identity that has a certificate beside it. It fails, so that nobody takes
// a migration that is prepared for one that is finished.
const FindLegacy = "legacy-password"

// Legacy is what an environment file says of an agent that logs in with a client secret. The secret itself is not in it.
type Legacy struct {
	File   string // absolute path
	AppID  string
	Tenant string
	Works  Works
	Said   string // the login service's code where the secret is dead, the error where nobody knows
}

// Works is whether the login service takes the secret.
type Works string

// The answers. Anything but the login service's own "this secret is wrong, or has expired" leaves it unknown.
const (
	Alive        Works = "works"
	Dead         Works = "dead"
	WorksUnknown Works = "unknown"
)

// PrepareOptions are what the preparation of a migration goes by.
type PrepareOptions struct {
	Options
	Legacy Legacy
	// Adopt says that the application is not recorded yet, and that the observation's record is the one that it will have. Its ids were
	// confirmed by the environment file, never by a display name.
	Adopt bool
}

// Prepare is the plan that gives an agent with a client secret its certificate: a key is made, registered beside every other credential
// and proved, and the environment file learns the ids. Nothing is removed: whatever runs with the secret still logs in with it. Roles are
// left to the next apply.
func Prepare(s Spec, name string, o Observed, opt PrepareOptions) Plan {
	d := &differ{spec: s, agent: s.Agents[name], seen: o.sorted(), opt: opt.Options, rec: o.Record}
	d.plan = newPlan(Migrate, s, name, o.Record, opt.Options)
	if d.agent.Keyless() {
		d.block("keyless", "does the agent log in with a certificate?", "agent "+name+" gets no certificate: "+d.agent.LogsIn()+" logs in as it", "migrate is for kind: service-principal without federated")
		return d.plan
	}
	d.identityBlockers()
	d.envBlocker()
	if len(d.plan.Blockers) > 0 {
		return d.plan
	}
	if opt.Adopt {
		d.step(Step{ID: stepApplication, Action: AdoptApplication, Plane: Here, Title: "record application " + d.rec.AppID + " as " + d.agent.Name + "'s", Why: LegacyAppID + " of " + opt.Legacy.File + " names it",
			With: map[string]string{"application": "$application", "app_id": "$app_id", "principal": d.rec.PrincipalID}})
	}
	d.owners()
	d.principal()
	d.usable(d.rec.Active())
	for i, s := range d.plan.Steps {
		if s.Action == MintKey {
			d.plan.Steps[i].After = d.after(stepApplication)
		}
	}
	d.strangers()
	d.legacy(opt.Legacy)
	d.prepared()
	return d.plan
}

// strangers names what else lets somebody in. A preparation removes nothing.
func (d *differ) strangers() {
	for _, c := range d.seen.Application.Certificates {
		if d.rec.Whose(d.agent, c) == Foreign {
			d.notOurs(c)
		}
	}
	d.federated(false)
	if p := d.seen.Principal; p != nil {
		d.principalCertificates(p.Certificates)
	}
}

// legacy says which passwords are still there, and whether the one of the environment file opens anything.
func (d *differ) legacy(l Legacy) {
	var left []string
	add := func(object string, all []Password) {
		for _, p := range all {
			left = append(left, fmt.Sprintf("on the %s: key id %s (%q, begins %s…), from %s until %s", object, p.KeyID, p.DisplayName, cmp.Or(p.Hint, "?"), p.Start.UTC().Format(time.DateOnly), p.End.UTC().Format(time.DateOnly)))
		}
	}
	add("application", d.seen.Application.Passwords)
	if d.seen.Principal != nil {
		add("service principal", d.seen.Principal.Passwords)
	}
	const question, remedy = "does only its certificate open the identity?", "leave them until whatever logs in with one has fetched a token the new way: leastkey removes them with its broker, in a later version"
	switch {
	case len(left) > 0:
		d.find(finding.Fail, FindLegacy, question, fmt.Sprintf("%d password(s) are still there, and who logs in with them is unknown\n%s", len(left), strings.Join(left, "\n")), remedy)
	case l.Works == Alive:
		d.find(finding.Fail, FindLegacy, question, "no password is listed on application and service principal, but "+LegacyPassword+" of "+l.File+" still opens it", remedy)
	}
	const works = "does the secret of the environment file still open the identity?"
	switch l.Works {
	case Dead:
		d.find(finding.Warn, "legacy-secret", works, LegacyPassword+" of "+l.File+" is dead ("+l.Said+"): what logs in with it has stopped already", "take the line out of the file once nothing reads it")
	case Alive:
	default:
		d.find(finding.Unknown, "legacy-secret", works, "nobody knows: "+l.Said, "run it again once the login service answers")
	}
}

// prepared ends a preparation with the proof, the read-back and the environment file.
func (d *differ) prepared() {
	moved := d.movedEnv()
	if moved {
		d.find(finding.Warn, "env-moved", "is the environment file the one of the spec?", "the agent's keys are in "+d.rec.EnvFile+", and env_file names "+d.seen.EnvPath, "leastkey apply "+d.agent.Name+" moves them")
	}
	env := d.envChanges()
	if moved {
		env = ""
	}
	if len(d.plan.Steps) == 0 && env == "" {
		return
	}
	d.login()
	var all []string
	for _, s := range d.plan.Steps {
		all = append(all, s.ID)
	}
	d.step(Step{ID: stepVerify, Action: Verify, Plane: Here, Title: "read the application back", Why: "our certificate is there, beside everything that was",
		With: map[string]string{"application": "$application", "app_id": "$app_id", "principal": "$principal", WithoutAssignments: "true"}, After: all})
	if env != "" {
		d.step(Step{ID: stepEnv, Action: WriteEnv, Plane: Here, Title: "write the environment file " + d.agent.EnvFile, Why: env, With: map[string]string{"file": d.agent.EnvFile, "app_id": "$app_id"}, After: []string{stepVerify}})
	}
}

// envChanges says what the environment file lacks, "" if nothing. A value of somebody else's is not shown: nobody knows what it is.
func (d *differ) envChanges() string {
	var adds, changes []string
	for key, value := range EnvKeys(d.rec.AppID, d.opt.Tenant) {
		switch have := d.seen.Env[key]; have {
		case value:
		case "":
			adds = append(adds, key)
		default:
			changes = append(changes, key)
		}
	}
	slices.Sort(adds)
	slices.Sort(changes)
	var say []string
	if len(adds) > 0 {
		say = append(say, "adds "+strings.Join(adds, ", "))
	}
	if len(changes) > 0 {
		say = append(say, "replaces the value of "+strings.Join(changes, ", "))
	}
	if len(say) == 0 {
		return ""
	}
	return strings.Join(say, "; ") + "; every other line stays"
}
