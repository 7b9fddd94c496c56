package browser

import (
	"os"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/testkit/legacy"
)

// The Provisioner is made by its plan, and its page then shows the credential that it has.
func TestTheProvisionerIsMadeByItsPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, to := Open(t, w.served.URL), shots(t)
	b.Go("/login", 200)
	b.Visit(w.link())
	b.Await("Not provisioned")
	b.Go("/provisioner", 200)
	b.Click("Bootstrap…")
	b.Says("to create", "register")
	b.Look(to, "provisioner-plan")
	if b.eval(`String(!!document.getElementById("confirm"))`) == "true" {
		b.Tick("I have read the plan")
	}
	b.Click("Bootstrap as shown")
	b.Await("Ledger head")
	b.Says("Done.", "!Failed")
	b.Look(to, "job-provisioner")
	b.Click("To the Provisioner")
	b.Says("Application ID", "ends ", "Migrate…", "Rotate…", "!There is none here")
	b.Look(to, "provisioner", "")
	b.Click("Migrate…")
	b.Says("Nothing to do")
	b.Look(to, "provisioner-nothing-to-migrate")
}

// A Provisioner of the original, with its secret on disk, is migrated by the page. A copy of the secret that the page may not touch stops it
// at the end, and it says so; once somebody has removed the copy it is done. No page ever has the secret.
func TestALegacyProvisionerIsMigrated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	in, err := legacy.Install(t.Context(), w.view, w.house.Home)
	must(t, err)
	b, to := Open(t, w.served.URL), shots(t)
	secretless := func() {
		t.Helper()
		page := b.eval("document.documentElement.outerHTML")
		for _, secret := range in.Secrets {
			if strings.Contains(page, secret) {
				t.Errorf("the page has a client secret: %s", b.where())
			}
		}
	}
	b.Go("/login", 200)
	b.Visit(w.link())
	b.Await("Not provisioned")
	b.Go("/provisioner", 200)
	b.Says(in.AppID, "Fail", "holds the secret")
	b.Look(to, "provisioner-legacy", "")
	secretless()
	b.Click("Migrate…")
	b.Says("to destroy", "Cannot be undone", "Every other holder of the secret stops working now")
	b.Look(to, "provisioner-migrate")
	secretless()
	b.agree()
	b.Await("Password credentials removed")
	b.Says("It stopped midway", "The secret is still in 1 place", "read back: 0 left", in.BackUp, "!Done.")
	b.Look(to, "job-migrated")
	secretless()

	must(t, os.Remove(in.BackUp))
	b.Click("To the Provisioner")
	b.Click("Migrate…")
	if text := b.Text(); !strings.Contains(text, "Nothing to do") {
		b.agree()
		b.Await("Ledger head")
		b.Says("!It stopped midway", "!It failed")
	}
	b.Go("/provisioner", 200)
	b.Says(in.AppID, "!holds the secret")
	b.Look(to, "provisioner-migrated")
	secretless()
	bad, err := in.Migrated(t.Context(), w.view)
	must(t, err)
	for _, wrong := range bad {
		t.Error(wrong)
	}
}

// agree ticks every box of a migration's form, and sends it.
func (b *Browser) agree() {
	b.Helper()
	for _, box := range []struct{ id, label string }{{"confirm", "I have read the plan"}, {"holders", "Every other holder of the secret"}} {
		if b.eval(`String(!!document.getElementById("`+box.id+`"))`) == "true" {
			b.Tick(box.label)
		}
	}
	b.Click("Migrate as shown")
}
