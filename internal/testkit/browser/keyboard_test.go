package browser

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// Without a mouse: sign in with a token, go through the wizard to a managed identity, watch its steps, and verify it.
func TestByKeyboardAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, to := Open(t, w.served.URL), shots(t)
	b.Go("/login", 200)
	b.TabTo("Skip to the content")
	b.Keys(kb.Enter)
	b.TabTo("Admin token")
	b.Keys("not-a-token" + kb.Enter)
	b.refused(to)
	b.TabTo("Admin token")
	b.Keys(w.token(t, "apply") + kb.Enter)
	b.Await("Not provisioned")

	b.TabTo("Setup")
	b.Press(kb.Enter)
	b.TabTo("Next: resource group")
	b.Press(kb.Enter)
	b.TabTo("Next: agent")
	b.Press(kb.Enter)
	b.TabTo("Service principal with a certificate")
	b.Keys(kb.ArrowDown)
	if at := b.eval(focused); !strings.HasPrefix(at, "User-assigned managed identity") {
		t.Errorf("the arrow leads to %q", at)
	}
	b.TabTo("Next: vault and options")
	b.Press(kb.Enter)
	b.TabTo("Next: leastkey.yaml")
	b.Press(kb.Enter)
	b.Says("managed-identity")
	b.TabTo("Write it and go on")
	b.Press(kb.Enter)
	b.Says("User-assigned managed identity", "Not provisioned", "to create")

	// The cloud is slow now, so that there is something to watch.
	_, err := w.manage.PatchKnobs(t.Context(), []byte(`{"latency":"2s"}`))
	must(t, err)
	b.TabTo("Provision as shown")
	b.Press(kb.Enter)
	b.Await("Begun")
	b.Says("It is running", "It goes on when this page is closed")
	b.Look(to, "job-running", "")
	_, err = w.manage.PatchKnobs(t.Context(), []byte(`{"latency":"0s"}`))
	must(t, err)
	b.Await("has an identity of its own")
	if at := b.eval(focused); !strings.Contains(at, "has an identity of its own") {
		t.Errorf("when the job has ended the focus is on %q: whoever listens does not hear of it", at)
	}
	b.Look(to, "job-managed")
	b.TabTo("Go on")
	b.Press(kb.Enter)
	b.TabTo("Run all checks")
	b.Press(kb.Enter)
	b.Await("Go on")
	b.Go("/agents/"+bot, 200)
	b.Says("User-assigned managed identity", "Provisioned", "!Missing")
	b.Look(to, "agent-managed", "")
	b.TabTo("Security verification")
	b.Press(kb.Enter)
	b.TabTo("Pass")
	b.TabTo("Pass")
	b.Keys(kb.Enter)
	b.Await("Evidence")
	b.Look(to, "preflight-evidence", "")
}

// refused looks at a sign-in that failed: the console has named the answer, and the page says what to do.
func (b *Browser) refused(to Shots) {
	b.Helper()
	b.Await("serve token add")
	b.expect("401")
	b.Look(to, "login-refused")
}

// A cloud that does not answer is told on every page, and nothing on any page says that all is well.
func TestACloudThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, to := Open(t, w.served.URL), shots(t)
	b.Go("/login", 200)
	b.Visit(w.link())
	b.Await("Not provisioned")
	if r := w.house.Leastkey(t, "apply", bot); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	b.Go("/agents/"+bot, 200)
	b.Says("Provisioned", "Assigned")
	_, err := w.manage.PatchKnobs(t.Context(), []byte(`{"server_error_rate":1}`))
	must(t, err)
	for path, picture := range map[string]string{"/agents/" + bot: "agent-unknown", "/setup/infrastructure": "setup-failed"} {
		b.Visit(path)
		b.Said() // the console names the status of the page
		b.Says("!Nothing to fix", "!Nothing to do", "!Assigned", "!Provision as shown", "!Next: resource group")
		if alerts := b.eval(`String(document.querySelectorAll("[role=alert]").length)`); alerts == "0" {
			t.Errorf("%s does not say that anything failed: %s", path, b.Text())
		}
		kinds := []string{}
		if picture == "agent-unknown" {
			kinds = []string{""}
		}
		b.Look(to, picture, kinds...)
	}
}
