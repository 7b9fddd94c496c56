package browser

import (
	"strings"
	"testing"
	"time"
)

// The whole life of an identity in a browser: from a local cloud that has none, through the wizard, to one that is verified; a role that
// somebody takes away is put back; the key is rotated; the identity is revoked.
func TestFromNothingToRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, to := Open(t, w.served.URL), shots(t)

	b.Go("/login", 200)
	b.Look(to, "login", "", "dark")
	b.Go("/agents/"+bot, 200) // nobody has signed in: it leads to the login page
	b.Says("Sign in", "!Provision")
	b.Visit(w.link())
	b.Await("Not provisioned")
	b.Look(to, "agents-none", "")

	b.Click("Identity")
	b.Says("Not provisioned", "There is no identity yet")
	b.Look(to, "agent-none")
	b.Go("/agents/"+bot+"/preflight", 200)
	b.Says("nothing is known about this identity")
	b.Look(to, "preflight-none")
	b.Go("/provisioner", 200)
	b.Says("There is none here")
	b.Look(to, "provisioner-none", "")

	w.wizard(b, to)
	w.repaired(b, to)
	w.rotated(b, to)
	w.revoked(b, to)

	b.Go("/jobs", 200)
	b.Says("Provision "+bot, "Rotate "+bot, "Revoke "+bot, "Fix roles "+bot, "Security verification "+bot)
	b.Look(to, "jobs", "")
	b.Go("/ledger?verify=yes", 200)
	b.Says("The chain is intact", "[browser]")
	b.Look(to, "ledger", "")
	b.Go("/nowhere", 404)
	b.expect("404")
	b.Look(to, "not-found")
	b.signOut()
}

// wizard goes through the setup.
func (w *world) wizard(b *Browser, to Shots) {
	b.Go("/setup", 200)
	b.Says("Operator and subscription", "admin@", w.run.TenantID)
	b.Look(to, "setup-1-operator", "")
	b.Click("Next: resource group")
	b.Look(to, "setup-2-group")
	b.Tick("polyclaw-rg")
	b.Click("Next: agent")
	b.Look(to, "setup-3-agent", "")
	b.Click("Next: vault and options")
	b.Says("Key Vault Secrets Officer")
	b.Choose("vault", "kv-polyclaw")
	b.Choose("pool", "polyclaw-pool")
	b.Choose("safety", "polyclaw-safety")
	b.Look(to, "setup-4-options", "")
	b.Click("Next: leastkey.yaml")
	b.Says("A new leastkey.yaml is written", bot, "kv-polyclaw")
	b.Look(to, "setup-5-file", "")
	b.Click("Write it and go on")
	if yaml := w.yaml(b.T); !strings.Contains(yaml, bot) || !strings.Contains(yaml, "kv-polyclaw") {
		b.Errorf("leastkey.yaml says:\n%s", yaml)
	}
	b.Says("Agent Identity", "Not provisioned", "to create", "Reader", "Key Vault Secrets Officer")
	b.Look(to, "setup-6-infrastructure", "")
	b.Click("Provision as shown")
	b.Await("has an identity of its own")
	b.Says("Done", "read back: 0 password credentials, 0 foreign credentials")
	b.Look(to, "job-provisioned", "")
	if found, err := w.view.Named(b.Context(), bot); err != nil || len(found.Apps) != 1 || len(found.Apps[0].Passwords) != 0 {
		b.Errorf("the cloud has %+v, %v", found, err)
	}
	b.Click("Go on")
	b.Says("The checks have not been run yet")
	b.Look(to, "setup-7-verify")
	b.Click("Run all checks")
	b.Await("No check fails")
	b.Look(to, "job-preflight")
	b.Click("Go on")
	b.Says("Verified", "!Not verified")
	b.Go("/agents/"+bot+"/preflight", 200)
	b.Says("Identity verification", "RBAC verification", "Secret isolation", "There was no run before")
	b.Look(to, "preflight", "", "dark", "narrow")
	b.Go("/agents/"+bot, 200)
	b.Says("Provisioned", "Assigned", "!Missing", "Nothing to fix", "In use")
	b.Look(to, "agent", "", "dark", "narrow")
	b.Go("/", 200)
	b.Says("Provisioned", "Verified")
	b.Look(to, "agents", "")
}

// repaired takes a role away behind the product's back, and has the page put it back.
func (w *world) repaired(b *Browser, to Shots) {
	found, err := w.view.Named(b.Context(), bot)
	must(b.T, err)
	principal := found.Principals[0].ID
	held, err := w.view.Assignments(b.Context(), principal)
	must(b.T, err)
	gone := held[0].Scope + "/providers/Microsoft.Authorization/roleAssignments/" + held[0].Name
	status, err := w.view.Call(b.Context(), "DELETE", gone+"?api-version=2022-04-01", nil, nil)
	if err != nil || status != 200 {
		b.Fatalf("remove %s: %d, %v", gone, status, err)
	}
	b.Go("/agents/"+bot, 200)
	b.Says("Missing", "Fix…", "!Nothing to fix")
	b.Look(to, "agent-role-missing", "")
	b.Click("Run all checks")
	b.Await("Not verified")
	b.Click("Show the report")
	b.Says("Not verified", "Since the run before")
	b.Look(to, "preflight-failing", "")
	b.Go("/agents/"+bot, 200)
	b.Click("Fix…")
	b.Look(to, "fix", "")
	b.Tick("I have read the plan")
	b.Click("Fix as shown")
	b.Await("are repaired")
	b.Look(to, "job-fixed")
	b.Click("To " + bot)
	b.Says("Assigned", "!Missing", "Nothing to fix")
	if now, err := w.view.Assignments(b.Context(), principal); err != nil || len(now) != len(held) {
		b.Errorf("%d role assignments, want %d: %v", len(now), len(held), err)
	}
}

func (w *world) rotated(b *Browser, to Shots) {
	before, err := w.view.Named(b.Context(), bot)
	must(b.T, err)
	b.Click("Rotate…")
	b.Says("to create", "Cannot be undone")
	b.Look(to, "rotate", "")
	b.Tick("I have read the plan")
	b.Click("Rotate as shown")
	b.Await("logs in with a new key")
	b.Look(to, "job-rotated")
	after, err := w.view.Named(b.Context(), bot)
	must(b.T, err)
	if len(after.Apps[0].Certificates) != 1 || after.Apps[0].Certificates[0] == before.Apps[0].Certificates[0] {
		b.Errorf("certificates %+v, then %+v", before.Apps[0].Certificates, after.Apps[0].Certificates)
	}
}

func (w *world) revoked(b *Browser, to Shots) {
	b.Go("/agents/"+bot+"/plan/revoke", 200)
	b.Look(to, "revoke", "")
	b.Fill("confirm", "polyclaw")
	b.Click("Revoke as shown")
	b.Says("The name that was typed is not "+bot, "nothing was changed")
	b.expect("403")
	b.Look(to, "revoke-mistyped")
	if found, err := w.view.Named(b.Context(), bot); err != nil || len(found.Apps) != 1 {
		b.Errorf("the cloud has %+v, %v", found, err)
	}
	b.Go("/agents/"+bot+"/plan/revoke", 200)
	b.Fill("confirm", bot)
	b.Click("Revoke as shown")
	b.Await("is revoked")
	b.Look(to, "job-revoked")
	if found, err := w.view.Named(b.Context(), bot); err != nil || len(found.Apps)+len(found.Principals) != 0 {
		b.Errorf("the cloud still has %+v, %v", found, err)
	}
	b.Click("To " + bot)
	b.Says("Not provisioned", "There is no identity yet")
}

// signOut ends the session; its pages are then closed.
func (b *Browser) signOut() {
	b.Helper()
	b.Leave("Sign out", "Sign in")
	b.Go("/ledger", 200)
	b.Says("Sign in", "!intact")
}

// expect waits until the console has named the status of what was loaded, and takes note that it named nothing else. It comes on its own
// way, sometimes after the page that it belongs to.
func (b *Browser) expect(status string) {
	b.Helper()
	late := time.After(patience)
	for look := time.NewTicker(20 * time.Millisecond); ; {
		if said := b.Said(); len(said) > 0 {
			look.Stop()
			if len(said) > 1 || !strings.Contains(said[0], "status of "+status) {
				b.Errorf("the console says %q, want the status %s once", said, status)
			}
			return
		}
		select {
		case <-look.C:
		case <-late:
			look.Stop()
			b.Fatalf("the console does not name the status %s", status)
		}
	}
}
