package httpapi

import (
	"context"
	"net/http"
	"slices"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

// ledger is who asked for what.
func (v *version1) ledger() {
	route(v.api, api.View, operation(http.MethodGet, "/ledger", "list-ledger", "ledger", "Who asked for what, allowed or not", "The newest entries, the oldest of them first."),
		func(ctx context.Context, in *struct {
			Limit int `query:"limit" default:"100" minimum:"0" maximum:"10000" doc:"How many of the newest; 0 is all."`
		}) (*body[[]api.LedgerEntry], error) {
			return kept(ctx, v.Server, func(d Door) ([]api.LedgerEntry, error) { all, err := d.Ledger(ctx, in.Limit); return list(all), err })
		})
	route(v.api, api.View, operation(http.MethodGet, "/ledger/verify", "verify-ledger", "ledger", "Check that every entry follows from the one before", "Compare `head` with one that an earlier report printed, to notice a ledger that was rewritten whole."),
		func(ctx context.Context, _ *struct{}) (*body[api.LedgerVerdict], error) {
			return kept(ctx, v.Server, func(d Door) (api.LedgerVerdict, error) { return d.VerifyLedger(ctx) })
		})
}

// provisioner is the application that makes Agent ID objects. Files are the server's own: which one the state file is, and where else the
// secret may lie, is not for a request to say.
func (v *version1) provisioner() {
	route(v.api, api.View, operation(http.MethodGet, "/provisioner", "get-provisioner", "provisioner", "How the Provisioner stands", "Its credential, permissions and state file."),
		func(ctx context.Context, _ *struct{}) (*body[api.ProvisionerReport], error) {
			return ask(ctx, v.Server, func(d Door) (api.ProvisionerReport, error) { return d.ProvisionerStatus(ctx, api.ProvisionerRequest{}) })
		})
	route(v.api, api.View, operation(http.MethodPost, "/provisioner/plans", "plan-provisioner", "provisioner", "Plan a change of the Provisioner",
		"Changes nothing. `plan` is in the answer, and `plan_digest` pins it for /provisioner/actions, asked for with the same fields."),
		func(ctx context.Context, in *struct{ Body api.ProvisionerOrder }) (*body[api.ProvisionerReport], error) {
			req, err := provisionerRequest(in.Body)
			if err != nil {
				return nil, err
			}
			req.DryRun, req.Digest = true, ""
			return ask(ctx, v.Server, func(d Door) (api.ProvisionerReport, error) { return d.Provisioner(ctx, req, func(api.Event) {}) })
		})
	route(v.api, api.Full, accepted(operation(http.MethodPost, "/provisioner/actions", "change-provisioner", "provisioner", "Change the Provisioner",
		"Pinned by `digest`, or, on the local cloud alone, approved unseen by `approve`.")),
		func(ctx context.Context, in *struct{ Body api.ProvisionerOrder }) (*jobAnswer, error) {
			return answerJob(v.changeProvisioner(ctx, in.Body))
		})
}

func (v *version1) changeProvisioner(ctx context.Context, o api.ProvisionerOrder) (api.Job, error) {
	req, err := provisionerRequest(o)
	if err != nil {
		return api.Job{}, err
	}
	if _, err := ask(ctx, v.Server, func(d Door) (struct{}, error) { return struct{}{}, pinned(d.Target(), o.Digest, o.Approve) }); err != nil {
		return api.Job{}, err
	}
	return v.desk.begin(ctx, assignment{agent: provisioner.Name, verb: "provisioner-" + string(o.Verb), pin: o.Digest,
		do: func(ctx context.Context, d Door, approved func(), events func(api.Event)) (any, error) {
			req.Approve = consent(approved)
			rep, err := d.Provisioner(ctx, req, events)
			return rep, err
		}})
}

func provisionerRequest(o api.ProvisionerOrder) (api.ProvisionerRequest, error) {
	verbs := []agent.Verb{provisioner.Bootstrap, provisioner.Migrate, agent.Rotate, provisioner.Retire, provisioner.Rollback}
	if !slices.Contains(verbs, o.Verb) {
		return api.ProvisionerRequest{}, fault.New(fault.Invalid, "the Provisioner has no such verb", "bootstrap, migrate, rotate, retire or rollback")
	}
	d, err := overlap(o.Overlap)
	if err != nil {
		return api.ProvisionerRequest{}, err
	}
	r := api.ProvisionerRequest{Verb: o.Verb, CreateBeside: o.CreateBeside, SoleHolder: o.SoleHolder, OthersAccept: o.OthersAccept, NoBackUp: o.NoBackUp, SHA256: o.SHA256, Digest: o.Digest}
	if d != nil {
		r.Overlap = *d
	}
	return r, nil
}

// specification is leastkey.yaml.
func (v *version1) specification() {
	route(v.api, api.View, operation(http.MethodGet, "/spec", "get-spec", "spec", "Show leastkey.yaml", "With its SHA-256, which a change names."),
		func(ctx context.Context, _ *struct{}) (*body[api.SpecAnswer], error) {
			got, err := v.c.House.ReadSpec(ctx)
			return &body[api.SpecAnswer]{got}, outside(err)
		})
	op := operation(http.MethodPatch, "/spec", "change-spec", "spec", "Change leastkey.yaml", "Fields that are not named stay, and so do comments. Nothing is applied. 409: it has changed meanwhile.")
	op.Responses = v.fuller(http.StatusForbidden, "It cannot be written here; spec holds the file as it would be.", api.UnwrittenSpec{})
	route(v.api, api.Full, op, func(ctx context.Context, in *struct{ Body api.SpecChange }) (*body[api.SpecAnswer], error) {
		who, _ := WhoOf(ctx)
		got, err := v.c.House.WriteSpec(ctx, who.Actor(), in.Body)
		if fault.Is(err, fault.Refused) && got.Text != "" {
			p := problemOf(err)
			return nil, &fullerError{p, api.UnwrittenSpec{Problem: p, Spec: &got}, err}
		}
		return &body[api.SpecAnswer]{got}, outside(err)
	})
	route(v.api, api.View, operation(http.MethodGet, "/choices", "list-choices", "spec", "What the operator may choose from", "A list that could not be read is empty, and `errors` says why."),
		func(ctx context.Context, in *struct {
			Subscription string `query:"subscription" doc:"\"\" is that of leastkey.yaml." maxLength:"64"`
			Group        string `query:"resource_group" doc:"Narrows the resources." maxLength:"128"`
		}) (*body[api.Choices], error) {
			got, err := v.c.House.Choices(ctx, in.Subscription, in.Group)
			got.Subscriptions, got.Groups, got.Vaults = list(got.Subscriptions), list(got.Groups), list(got.Vaults)
			got.SessionPools, got.ContentSafety = list(got.SessionPools), list(got.ContentSafety)
			return &body[api.Choices]{got}, outside(err)
		})
}
