package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/migrate"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// ProvisionerStatus tells how the Provisioner stands: its credentials, its permissions, what is open and what falls due. It changes
// nothing.
func (d *Door) ProvisionerStatus(ctx context.Context, r api.ProvisionerRequest) (api.ProvisionerReport, error) {
	w := &errand{Door: d, req: r, began: time.Now(), requests: d.c.Requests()}
	w.report = api.ProvisionerReport{Verb: "status", Cloud: d.c.Where.Cloud, TenantID: d.c.Where.TenantID}
	err := w.status(ctx)
	return w.finish(ctx, err)
}

func (w *errand) status(ctx context.Context) error {
	var err error
	if w.parts, err = w.provisioner(); err != nil {
		return err
	}
	if w.where, err = w.parts.Files(w.req); err != nil {
		return err
	}
	w.report.StateFile = w.where.State
	if err := w.enter(ctx, "provisioner status", provisioner.Name, "", nil); err != nil {
		return err
	}
	rec, err := w.record(ctx, provisioner.Name)
	if err != nil {
		return err
	}
	if open, err := w.c.Journal.Open(ctx, provisioner.Name); err != nil {
		return err
	} else if open != nil {
		w.find(finding.Fail, "open-run", "is nothing left half done?", fmt.Sprintf("a %s that began on %s stopped midway", open.Verb, open.Started.Format(time.DateTime)), open.Command()+" goes on with it")
	}
	if _, err := w.Caller(ctx); err != nil {
		return err
	}
	w.seen, err = w.parts.Migrate.Observe(ctx, w.spec(), rec, migrate.Ask{StateFile: w.where.State, Where: w.where, Permissions: true, Secret: true})
	if err != nil {
		return err
	}
	w.credentials(rec)
	w.backUps(rec)
	plan := provisioner.BootstrapPlan(w.spec(), w.seen, w.options())
	for _, f := range append(plan.Findings, plan.Blockers...) {
		if !slices.ContainsFunc(w.report.Findings, func(have finding.Finding) bool { return have.ID == f.ID && have.Detail == f.Detail }) {
			w.report.Findings = append(w.report.Findings, f)
		}
	}
	if n := len(plan.Steps); n > 0 {
		w.find(finding.Warn, "drift", "is the Provisioner as the spec says?", fmt.Sprintf("%d steps are pending", n), "leastkey provisioner bootstrap --dry-run shows them")
	}
	return nil
}

func (w *errand) find(outcome finding.Outcome, id, question, detail, remedy string) {
	w.report.Findings = append(w.report.Findings, finding.Finding{ID: id, Question: question, Outcome: outcome, Detail: detail, Remedy: remedy})
}

// credentials says whether this machine can log in, and with what.
func (w *errand) credentials(rec agent.Record) {
	if len(w.seen.Places) > 0 {
		for _, p := range w.seen.Places {
			if p.Foreign {
				w.find(finding.Warn, "secret-elsewhere", "is no secret on disk?", p.Path+": "+p.Why, "if it is an old secret of this application, remove it by hand; another application's stays")
				continue
			}
			w.find(finding.Fail, "secret-on-disk", "is no secret on disk?", p.Path+" holds the secret, which is "+string(w.seen.Secret), "leastkey provisioner migrate")
		}
	}
	g := rec.Active()
	if g != nil {
		if f, soon := provisioner.Expiry(g.NotBefore, g.NotAfter, w.seen.Now); soon {
			w.report.Findings = append(w.report.Findings, f)
		}
	}
	switch {
	case g == nil && w.seen.Slot.State == agent.KeyPresent && w.seen.Slot.Certificate != nil:
		w.find(finding.Warn, "key", "can this machine log in?", "by a certificate that leastkey did not make, until "+w.seen.Slot.Certificate.End.Format(time.DateOnly), "leastkey provisioner migrate records it")
	case g == nil && w.seen.Application != nil:
		w.find(finding.Fail, "key", "can this machine log in?", "it has no certificate of its own", "leastkey provisioner migrate registers one")
	case g != nil && w.seen.Keys[g.ID] != agent.KeyPresent:
		w.find(finding.Fail, "key", "can this machine log in?", "key "+g.Ref.String()+" is "+string(w.seen.Keys[g.ID]), "leastkey provisioner rotate makes a new one")
	}
	for _, old := range rec.Generations {
		if old.Overlapping(w.seen.Now) {
			w.find(finding.Warn, "overlap", "is only one certificate of ours registered?", "certificate "+old.SHA256+" stays until "+old.RetireAt.Format(time.DateTime), "")
		}
	}
}

// backUps reminds of encrypted copies of the state file, which hold what was purged.
func (w *errand) backUps(rec agent.Record) {
	for _, b := range rec.BackUps {
		if w.seen.Now.After(b.Expires) {
			w.find(finding.Warn, "back-up", "is no backup kept longer than it is of use?", b.Path+" expired on "+b.Expires.Format(time.DateOnly), "delete it: it holds the state file from before the migration, encrypted")
		}
	}
}

// ProvisionerAdopt records an existing application as the Provisioner, in the state file and in the record. It changes nothing in the
// cloud.
func (d *Door) ProvisionerAdopt(ctx context.Context, r api.ProvisionerRequest, appID string, approve func(agent.Application) (bool, error)) (api.ProvisionerReport, error) {
	w := &errand{Door: d, req: r, began: time.Now(), requests: d.c.Requests()}
	w.report = api.ProvisionerReport{Verb: "adopt", Cloud: d.c.Where.Cloud, TenantID: d.c.Where.TenantID}
	unlock, err := d.c.Lock(ctx, provisioner.Name, nil)
	if err != nil {
		return w.report, err
	}
	err = w.adopt(ctx, appID, approve)
	if e := unlock(); err == nil {
		err = e
	}
	return w.finish(ctx, err)
}

func (w *errand) adopt(ctx context.Context, appID string, approve func(agent.Application) (bool, error)) error {
	refuse := func(err error) error { return w.enter(ctx, "provisioner adopt", provisioner.Name, appID, err) }
	var err error
	if w.parts, err = w.provisioner(); err != nil {
		return err
	}
	if w.where, err = w.parts.Files(w.req); err != nil {
		return refuse(err)
	}
	w.report.StateFile = w.where.State
	if !agent.IsGUID(appID) {
		return refuse(fault.New(fault.Usage, "an app id is a GUID", ""))
	}
	if open, err := w.c.Journal.Open(ctx, provisioner.Name); err != nil || open != nil {
		if err == nil {
			err = fault.New(fault.Stopped, "a "+string(open.Verb)+" of the Provisioner stopped midway", "finish it first: "+open.Command())
		}
		return refuse(err)
	}
	rec, err := w.record(ctx, provisioner.Name)
	if err != nil {
		return err
	}
	file, err := w.parts.Migrate.Files.State(ctx, w.where.State)
	if err != nil {
		return refuse(err)
	}
	if file.Client != "" && !strings.EqualFold(file.Client, appID) {
		return refuse(fault.New(fault.Conflict, w.where.State+" says that application "+file.Client+" is the Provisioner, not "+appID, "name another file with --state-file; if that application is gone for good, remove "+provisioner.KeyClient+" from this one"))
	}
	if _, err := w.Caller(ctx); err != nil {
		return refuse(err)
	}
	if err := w.stale(ctx, rec, appID); err != nil {
		return refuse(err)
	}
	app, err := job.Retry(ctx, "application "+appID, func(ctx context.Context) (agent.Application, error) {
		app, err := w.parts.Migrate.Graph.ApplicationByAppID(ctx, appID)
		if err == nil {
			app.Owners, err = w.parts.Migrate.Graph.Owners(ctx, app.ID)
		}
		return app, err
	})
	if err != nil {
		return refuse(err)
	}
	yes := false
	if approve != nil {
		if yes, err = approve(app); err != nil {
			return refuse(err)
		}
	}
	if !yes {
		return refuse(fault.New(fault.Refused, "not approved: nothing was changed", ""))
	}
	if err := refuse(nil); err != nil {
		return err
	}
	w.report.Changed = true
	if _, err := w.parts.Migrate.Files.UpdateState(ctx, w.where.State, map[string]string{provisioner.KeyTenant: w.c.Where.TenantID, provisioner.KeyClient: app.AppID}, nil); err != nil {
		return err
	}
	return w.c.State.Update(ctx, provisioner.Name, func(rec *agent.Record) error {
		rec.Kind, rec.Instance, rec.Subscription, rec.Adopted = agent.ServicePrincipal, w.c.Where.Instance, w.c.Where.Subscription, true
		rec.ApplicationID, rec.AppID, rec.UniqueName, rec.PrincipalID, rec.StateFile = app.ID, app.AppID, app.UniqueName, "", w.where.State
		return nil
	})
}

// stale refuses to record another application than the recorded one, unless that one is gone.
func (w *errand) stale(ctx context.Context, rec agent.Record, appID string) error {
	if rec.AppID == "" || strings.EqualFold(rec.AppID, appID) {
		return nil
	}
	old, err := observe.Present(ctx, w.parts.Migrate.Settle, "application "+rec.AppID, func(ctx context.Context) (agent.Application, error) {
		return w.parts.Migrate.Graph.ApplicationByAppID(ctx, rec.AppID)
	})
	if err != nil {
		return err
	}
	if old != nil {
		return fault.New(fault.Conflict, "application "+rec.AppID+" is recorded as the Provisioner, and it is there", "each record has one Provisioner: use another LEASTKEY_HOME for another one")
	}
	return nil
}
