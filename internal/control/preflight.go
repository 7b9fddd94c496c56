package control

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/work/preflight"
)

// Runs keeps the reports of the preflight.
type Runs interface {
	Save(ctx context.Context, r api.PreflightReport) error
	Latest(ctx context.Context, agent string) (*api.PreflightReport, error) // nil: there is none
	List(ctx context.Context, agent string, limit int) ([]api.PreflightReport, error)
	Get(ctx context.Context, agent, id string) (api.PreflightReport, error) // fault.NotFound
	Seals(ctx context.Context) ([]api.PreflightReport, error)               // of every agent: id, agent, ledger head and digest alone
}

// preflightAction is what the ledger calls a run: an entry when it is asked for, and one when it has ended, whose detail names the digest of
// its report.
const preflightAction = "preflight"

// sealing is the detail of the entry that ends a run.
func sealing(digest string) string { return "report " + digest }

// Preflight runs every check of an agent and keeps the report; tell, which may be nil, hears each finding as it comes. It changes nothing,
// and needs nobody's approval. Where nobody can be asked as the operator the report says so in what it could not tell.
//
// The report may come together with an error: then it was not kept.
func (d *Door) Preflight(ctx context.Context, r api.PreflightRequest, tell func(api.Event)) (api.PreflightReport, error) {
	a, err := d.named(r.Agent)
	if err != nil {
		return api.PreflightReport{}, err
	}
	rec, err := d.record(ctx, a.Name)
	if err := d.enter(ctx, preflightAction, a.Name, "asked", err); err != nil {
		return api.PreflightReport{}, err
	}
	head, err := d.c.Ledger.Head(ctx)
	if err != nil {
		return api.PreflightReport{}, err
	}
	before, err := d.c.Runs.Latest(ctx, a.Name)
	if err != nil {
		return api.PreflightReport{}, err
	}
	rep := d.examine(ctx, a, rec, tell)
	if ctx.Err() != nil { // what an interrupt has left unknown is not what was found
		return api.PreflightReport{}, context.Cause(ctx)
	}
	rep.LedgerHead = head
	compare(&rep, before)
	if rep, err = settled(rep); err != nil {
		return rep, err
	}
	rep.Digest = rep.Seal()
	if err := d.enter(ctx, preflightAction, a.Name, sealing(rep.Digest), nil); err != nil {
		return rep, err
	}
	return rep, d.c.Runs.Save(ctx, rep)
}

// examine asks everything, and measures it.
func (d *Door) examine(ctx context.Context, a *agent.Agent, rec agent.Record, tell func(api.Event)) api.PreflightReport {
	at := d.c.Where
	began := time.Now()
	rep := api.PreflightReport{
		ID: newID(), Agent: a.Name, Kind: cmp.Or(rec.Kind, a.Kind), Cloud: at.Cloud, TenantID: at.TenantID, Subscription: at.Subscription,
		AppID: rec.AppID, PrincipalID: rec.PrincipalID, At: began.UTC(), Version: d.c.Version,
	}
	c := d.c.Preflight.Config
	operator := once(c.Operator)
	c.Operator, c.Open, c.Ledger = operator, d.c.Journal.Open, d.remembering(c.Ledger)
	ctx, heard := c.Tape(ctx)
	rep.Findings = preflight.New(c).Run(ctx, preflight.Subject{Spec: d.c.Spec, Agent: a, Record: rec, Where: at, Now: rep.At}, told(a.Name, tell))
	if who, err := operator(ctx); err == nil { // asked already by the checks
		rep.As = who
	}
	rep.WallMS = time.Since(began).Milliseconds()
	rep.Requests, rep.Rounds = rounds(heard())
	rep.Counts, rep.Green = api.Count(rep.Findings), finding.Green(rep.Findings)
	return rep
}

// once asks who the operator is the first time only: the report names whom the checks have asked as.
func once(ask func(context.Context) (api.Caller, error)) func(context.Context) (api.Caller, error) {
	var first sync.Once
	var who api.Caller
	var err error
	return func(ctx context.Context) (api.Caller, error) {
		first.Do(func() { who, err = ask(ctx) })
		return who, err
	}
}

// told makes an event of each finding.
func told(agentName string, tell func(api.Event)) func(finding.Finding) {
	if tell == nil {
		return nil
	}
	return func(f finding.Finding) {
		e := api.Event{At: time.Now().UTC(), Agent: agentName, Step: f.ID, Title: cmp.Or(f.Name, f.Question, f.ID), Status: api.Done, Detail: f.Detail, Finding: &f}
		if f.Outcome == finding.Fail || f.Outcome == finding.Unknown {
			e.Status = api.Failed
		}
		tell(e)
	}
}

// rounds counts the requests, and the longest row of them in which each began after the one before had ended: what the wall time is made of
// where every request takes as long. Choosing always the one that ends first finds the longest row.
func rounds(heard []finding.Evidence) (requests, row int) {
	all := slices.Clone(heard)
	end := func(e finding.Evidence) time.Time { return e.At.Add(e.Took) }
	slices.SortFunc(all, func(a, b finding.Evidence) int { return end(a).Compare(end(b)) })
	var last time.Time
	for _, e := range all {
		if e.At.Before(last) {
			continue
		}
		last = end(e)
		row++
	}
	return len(all), row
}

// compare says which checks had another outcome in the run before. One that only the run before had is not asked any more.
func compare(rep *api.PreflightReport, before *api.PreflightReport) {
	if before == nil {
		return
	}
	rep.Before = before.ID
	was := map[string]finding.Outcome{}
	for _, f := range before.Findings {
		was[f.ID] = f.Outcome
	}
	for _, f := range rep.Findings {
		if was[f.ID] != f.Outcome {
			rep.Changes = append(rep.Changes, api.PreflightChange{ID: f.ID, Was: was[f.ID], Now: f.Outcome})
		}
	}
}

// settled is the report as it will be read back: an answer from outside may hold bytes that are no text, which encoding replaces, and the
// seal must be that of what is kept.
func settled(rep api.PreflightReport) (api.PreflightReport, error) {
	b, err := json.Marshal(rep)
	if err != nil {
		return rep, fmt.Errorf("encode the report: %w", err)
	}
	var same api.PreflightReport
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&same); err != nil {
		return rep, fmt.Errorf("encode the report: %w", err)
	}
	return same, nil
}

// PreflightRuns gives the kept reports of an agent, the newest first, without their findings' evidence; limit 0 or less means all. The seal
// of such a report does not hold: [Door.PreflightRun] gives one whole.
func (d *Door) PreflightRuns(ctx context.Context, agentName string, limit int) ([]api.PreflightReport, error) {
	name, err := d.recordedName(ctx, agentName)
	if err != nil {
		return nil, err
	}
	all, err := d.c.Runs.List(ctx, name, limit)
	for _, r := range all {
		for i := range r.Findings {
			r.Findings[i].Evidence = nil
		}
	}
	return all, err
}

// PreflightRun gives one kept report, whole; "" or "latest" is the newest. fault.NotFound: there is none.
func (d *Door) PreflightRun(ctx context.Context, agentName, id string) (api.PreflightReport, error) {
	name, err := d.recordedName(ctx, agentName)
	if err != nil {
		return api.PreflightReport{}, err
	}
	if id != "" && id != "latest" {
		return d.c.Runs.Get(ctx, name, id)
	}
	r, err := d.c.Runs.Latest(ctx, name)
	if err != nil {
		return api.PreflightReport{}, err
	}
	if r == nil {
		return api.PreflightReport{}, fault.New(fault.NotFound, "no preflight of agent "+name+" is kept here", "leastkey preflight "+name)
	}
	return *r, nil
}

// PreflightVerify tells whether a report is as it was made, and made here: its digest is that of what it says, and the ledger, whose chain is
// whole, has the head that it names and after that an entry with the digest. Somebody else may have written between the two.
//
// A digest alone proves nothing, because whoever changes a report can compute a new one; the entry in the ledger is what they cannot add
// without a trace.
func (d *Door) PreflightVerify(ctx context.Context, r api.PreflightReport) (api.PreflightVerdict, error) {
	v := api.PreflightVerdict{Report: r, Sealed: r.Digest != "" && r.Digest == r.Seal()}
	chain, err := d.c.Ledger.Verify(ctx)
	if err != nil {
		return v, err
	}
	v.Intact = chain.Intact
	var wrong []string
	if !v.Sealed {
		wrong = append(wrong, "the report was changed: its digest is not that of what it says")
	}
	if !v.Intact {
		wrong = append(wrong, fmt.Sprintf("the ledger here is broken at entry %d, and proves nothing", chain.Broken))
	} else if v.Entry, err = d.sealed(ctx, r); err != nil {
		return v, err
	} else if v.Recorded = v.Entry > 0; !v.Recorded {
		wrong = append(wrong, d.unrecorded(r))
	}
	v.Detail = strings.Join(wrong, "; ")
	return v, nil
}

// unrecorded says why the ledger may not know a report.
func (d *Door) unrecorded(r api.PreflightReport) string {
	if at := d.c.Where; r.Cloud != at.Cloud || !strings.EqualFold(r.TenantID, at.TenantID) {
		return fmt.Sprintf("the report is of tenant %s in cloud %s, and this is the ledger of tenant %s in cloud %s", r.TenantID, r.Cloud, at.TenantID, at.Cloud)
	}
	return "the ledger here has no entry of this report after the head that it names: it was made elsewhere, or the report or the ledger was replaced"
}

// sealed is the number of the entry that ends the report's run; 0 if there is none after the head that the report names.
func (d *Door) sealed(ctx context.Context, r api.PreflightReport) (int64, error) {
	all, err := d.c.Ledger.List(ctx, 0)
	if err != nil {
		return 0, err
	}
	return sealsOf(all).entry(r), nil
}

// seals are where the entries of a ledger stand: each hash, and the end of each run by agent and digest.
type seals struct {
	heads map[string]int64
	ends  map[[2]string]int64
}

func sealsOf(all []api.LedgerEntry) seals {
	s := seals{map[string]int64{}, map[[2]string]int64{}}
	for _, e := range all {
		s.heads[e.Hash] = e.Seq
		if e.Action == preflightAction {
			s.ends[[2]string{e.Subject, e.Detail}] = e.Seq
		}
	}
	return s
}

// entry is the number of the entry that ends the report's run; 0 if there is none after the head that the report names.
func (s seals) entry(r api.PreflightReport) int64 {
	head, known := s.heads[r.LedgerHead]
	if end := s.ends[[2]string{r.Agent, sealing(r.Digest)}]; known && end > head {
		return end
	}
	return 0
}

// remembering adds to what is known of the ledger which kept reports it does not hold any more. A chain that was cut off, or written anew,
// is whole in itself: what pins it is what others remember of it. Every report counts, not the newest alone, which may be of after the
// cut. The reports are read first: another run, which ends meanwhile, writes its entry before it keeps its report.
func (d *Door) remembering(read func(context.Context) (preflight.Chain, error)) func(context.Context) (preflight.Chain, error) {
	return func(ctx context.Context) (preflight.Chain, error) {
		kept, err := d.c.Runs.Seals(ctx)
		if err != nil {
			return preflight.Chain{}, err
		}
		chain, err := read(ctx)
		if err != nil || !chain.Intact || len(kept) == 0 {
			return chain, err
		}
		all, err := d.c.Ledger.List(ctx, 0)
		if err != nil {
			return chain, err
		}
		entries := sealsOf(all)
		for _, r := range kept {
			if entries.entry(r) == 0 {
				chain.Lost = append(chain.Lost, r.ID+" of "+r.Agent)
			}
		}
		return chain, nil
	}
}
