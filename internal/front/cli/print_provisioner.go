package cli

import (
	"fmt"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

// provisionerReport writes what the Provisioner's commands answer, for a person.
func (p *printer) provisionerReport(r api.ProvisionerReport, now time.Time) {
	p.styled(bold, "%s", provisionerHeadline(r))
	p.field("client id", r.ApplicationID)
	p.field("principal", r.PrincipalID)
	p.field("tenant", r.TenantID)
	p.field("state file", r.StateFile)
	if !r.Key.Zero() {
		p.field("key", r.Key.String())
	}
	if !r.NotAfter.IsZero() {
		p.field("certificate", r.SHA256+", until "+when(r.NotAfter))
	}
	for i, c := range r.Others {
		label := ""
		if i == 0 {
			label = "others"
		}
		p.item(2, dim, label, labels, orDash(c.SHA256)+", "+age(now.Sub(c.Start))+" old, until "+when(c.End))
	}
	if n := len(r.Permissions); n > 0 {
		p.field("permissions", plural(n, "application permission", "application permissions")+" pinned")
	}
	if m := r.Migrated; m != nil {
		p.migrated(*m)
	}
	if r.Verb != "status" {
		done := 0
		for _, s := range r.Steps {
			if s.Status == api.Done || s.Status == api.Already {
				done++
			}
		}
		p.field("work", fmt.Sprintf("%s done of %d, %s, %s", plural(done, "step", "steps"), len(r.Steps), plural(r.Requests, "request", "requests"), took(r.WallMS)))
	}
	if r.LedgerHead != "" {
		p.field("ledger head", api.ShortDigest(r.LedgerHead))
	}
	if len(r.Findings) > 0 {
		p.blank()
		p.styled(bold, "Findings")
		p.findings(2, r.Findings)
	}
}

func provisionerHeadline(r api.ProvisionerReport) string {
	switch {
	case r.Verb == "status":
		return "The Provisioner on the " + string(r.Cloud) + " cloud"
	case r.Verb == "adopt":
		return "The application is recorded as the Provisioner."
	case r.Migrated != nil:
		return migratedHeadline(*r.Migrated)
	case !r.Changed && finding.Failed(r.Findings):
		return "Nothing was changed."
	case !r.Changed:
		return "Nothing to do."
	case r.Verb == provisioner.Bootstrap:
		return "The Provisioner logs in with a certificate."
	case r.Verb == agent.Rotate:
		return "The Provisioner has a new key."
	case r.Verb == provisioner.Retire:
		return "The certificate is retired."
	case r.Verb == provisioner.Rollback:
		return "The migration is taken back."
	}
	return "Done."
}

// migratedHeadline is the seed's summary where it is true, and says what is left where it is not.
func migratedHeadline(m api.Migrated) string {
	migrated := fmt.Sprintf("migrated %s", plural(m.Passwords, "password credential", "password credentials"))
	switch {
	case len(m.Places) > 0:
		return migrated + "; the secret is still in " + plural(len(m.Places), "place", "places")
	case len(m.Purged) > 0:
		return migrated + "; secret purged from disk"
	}
	return migrated + "; no secret was on disk"
}

func (p *printer) migrated(m api.Migrated) {
	for i, path := range m.Purged {
		label := ""
		if i == 0 {
			label = "purged"
		}
		p.item(2, dim, label, labels, path)
	}
	for _, place := range m.Places {
		p.item(2, red, "STILL IN", labels, place.Path)
	}
	if m.BackUp != "" {
		p.field("backup", m.BackUp+", encrypted, expires "+when(m.Expires))
	}
}

func age(d time.Duration) string {
	if d < 48*time.Hour {
		return plural(int(d/time.Hour), "hour", "hours")
	}
	return plural(int(d/(24*time.Hour)), "day", "days")
}
