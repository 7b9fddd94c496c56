package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

const labels = 13 // columns of the labels of a summary

// report writes what apply, adopt, up and revoke answer, for a person.
func (p *printer) report(r api.Report) {
	if r.Revoked {
		p.revoked(r)
		return
	}
	p.styled(bold, "%s", headline(r))
	p.identity(r)
	p.grants(r.Roles)
	p.proof(r)
	p.work(r)
	p.reportFindings(r)
}

func headline(r api.Report) string {
	switch {
	case r.Rest != nil:
		return fmt.Sprintf("%s: this half is done, %s left.", r.Agent, plural(len(r.Rest.Steps), "step is", "steps are"))
	case r.Prepared:
		return prepared(r)
	case api.FindingsExit(r.Findings) != api.ExitDone:
		return fmt.Sprintf("%s is not as it should be; the findings below say why.", r.Agent)
	case has(r.Findings, agent.NothingToRotate):
		return fmt.Sprintf("Nothing to rotate: %s has no key.", r.Agent)
	case r.Rotated:
		return fmt.Sprintf("%s logs in with a new key.", r.Agent)
	case r.Changed && r.ApplicationID == "":
		return fmt.Sprintf("%s: its roles are assigned; whoever made the other half goes on with leastkey apply.", r.Agent)
	case !r.Changed:
		return fmt.Sprintf("Nothing to do: %s is as the spec says.", r.Agent)
	}
	return fmt.Sprintf("%s has an identity of its own on the %s cloud.", r.Agent, r.Cloud)
}

// prepared never says that a migration is done while a password opens what the certificate opens.
func prepared(r api.Report) string {
	said := r.Agent + " logs in with a certificate"
	if !r.Changed {
		said = "Nothing to do: " + said
	}
	if n := r.Proof.PasswordCredentials; n > 0 {
		return fmt.Sprintf("%s, and with %s beside it: prepared, not migrated.", said, plural(n, "password", "passwords"))
	}
	if api.FindingsExit(r.Findings) != api.ExitDone {
		return said + "; the findings below say what is left."
	}
	return said + "; no password is left."
}

func (p *printer) field(label, text string) {
	if text != "" {
		p.item(2, dim, label, labels, text)
	}
}

func (p *printer) identity(r api.Report) {
	p.field("identity", string(r.Kind)+" "+r.Agent)
	p.field("client id", r.ApplicationID)
	p.field("principal", r.PrincipalID)
	p.field("resource id", r.ResourceID)
	p.field("tenant", r.TenantID)
	if r.LogsIn != "" && r.ApplicationID != "" {
		p.field("logs in", r.LogsIn+"; nobody else, and not with a key")
	}
	if !r.Key.Zero() {
		p.field("key", r.Key.String())
	}
	if !r.NotAfter.IsZero() {
		p.field("certificate", "valid until "+when(r.NotAfter))
	}
	if !r.OldUntil.IsZero() {
		p.field("old one", "rotated out, stays registered until "+when(r.OldUntil)+"; the first apply after that removes it")
	}
	p.field("env file", r.EnvFile)
}

// grants writes each role with its scope and why the agent has it.
func (p *printer) grants(roles []api.Granted) {
	for i, g := range roles {
		label := ""
		if i == 0 {
			label = "roles"
		}
		text := g.Role + " on " + role.Short(g.Scope)
		if g.Why != "" {
			text += ": " + g.Why
		}
		if !g.Ours {
			text += " (found, not ours)"
		}
		p.item(2, dim, label, labels, text)
	}
}

func (p *printer) proof(r api.Report) {
	if r.LogsIn != "" {
		p.keylessProof(r)
		return
	}
	if !r.Proof.ReadBack {
		p.field("proof", plural(r.Proof.Logins, "login", "logins")+" with the agent's own key; nothing was read back yet")
		return
	}
	p.field("proof", fmt.Sprintf("%s with the agent's own key; read back: %s, %s",
		plural(r.Proof.Logins, "login", "logins"),
		plural(r.Proof.PasswordCredentials, "password credential", "password credentials"),
		plural(r.Proof.ForeignCredentials, "foreign credential", "foreign credentials")))
	p.readable(r)
}

// keylessProof claims no login: nobody here can log in as such an identity.
func (p *printer) keylessProof(r api.Report) {
	switch {
	case has(r.Findings, agent.NothingToRotate):
	case !r.Proof.ReadBack:
		p.field("proof", "nothing was read back yet; from here nobody can log in as it")
	default:
		p.field("proof", fmt.Sprintf("read back: %s, %s; from here nobody can log in as it",
			plural(r.Proof.PasswordCredentials, "password credential", "password credentials"),
			plural(r.Proof.ForeignCredentials, "foreign credential", "foreign credentials")))
		p.readable(r)
	}
}

func (p *printer) readable(r api.Report) {
	if len(r.Proof.Readable) == 0 {
		return
	}
	var at []string
	for _, s := range r.Proof.Readable {
		at = append(at, role.Short(s))
	}
	p.item(2, dim, "", labels, "role assignments read on "+strings.Join(at, ", "))
}

func has(all []finding.Finding, id string) bool {
	return slices.ContainsFunc(all, func(f finding.Finding) bool { return f.ID == id })
}

func (p *printer) work(r api.Report) {
	done := 0
	for _, s := range r.Steps {
		if s.Status == api.Done {
			done++
		}
	}
	work := plural(r.Requests, "request", "requests") + ", " + took(r.WallMS)
	if len(r.Steps) > 0 {
		work = fmt.Sprintf("%s done of %d, ", plural(done, "step", "steps"), len(r.Steps)) + work
	}
	p.field("work", work)
	if r.LedgerHead != "" {
		p.field("ledger head", api.ShortDigest(r.LedgerHead))
	}
}

func (p *printer) reportFindings(r api.Report) {
	if len(r.Findings) > 0 {
		p.blank()
		p.styled(bold, "Findings")
		p.findings(2, r.Findings)
	}
}

// revoked says what is gone and until when a token that is already out may still work.
func (p *printer) revoked(r api.Report) {
	if r.Changed {
		p.styled(bold, "%s is revoked.", r.Agent)
	} else {
		p.styled(bold, "Nothing to do: %s has no identity left.", r.Agent)
	}
	for _, s := range r.Steps {
		word, st := statusWord(s.Status)
		p.item(2, st, word, labels, sentence(s.Title, s.Detail))
	}
	if !r.TokensUntil.IsZero() {
		p.field("tokens", "one issued before may be accepted until "+when(r.TokensUntil))
	}
	p.work(r)
	p.reportFindings(r)
}

func sentence(title, detail string) string {
	switch {
	case detail == "":
		return title
	case title == "": // about the run, not about a step
		return detail
	}
	return title + ": " + detail
}

// statusWord is how a step stands, in a word.
func statusWord(s api.Status) (string, style) {
	switch s {
	case api.Begun:
		return "begun", plain
	case api.Waiting:
		return "waiting", amber
	case api.Done:
		return "done", green
	case api.Already:
		return "was done", green
	case api.Failed:
		return "FAILED", red
	case api.NotRun:
		return "not run", dim
	}
	return string(s), plain
}

// whole is the report as programs get it: lists are never null.
func whole(r api.Report) api.Report {
	r.Roles, r.Steps = list(r.Roles), list(r.Steps)
	return r
}
