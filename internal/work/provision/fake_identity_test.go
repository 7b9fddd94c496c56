package provision_test

import (
	"context"
	"maps"
	"slices"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/work/provision"
)

const resource = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/bot-mi"

// identity puts a managed identity into the world, with those tags.
func (w *world) identity(tags map[string]string) *agent.UserAssignedIdentity {
	w.mi = &agent.UserAssignedIdentity{ID: resource, Name: "bot-mi", ClientID: appID, PrincipalID: principal, Tags: tags}
	return w.mi
}

func (w *world) Identity(context.Context, string) (*agent.UserAssignedIdentity, error) {
	if err := w.at("read identity"); err != nil || w.mi == nil {
		return nil, err
	}
	i := *w.mi
	i.Tags, i.Federated = maps.Clone(i.Tags), nil
	return &i, nil
}

func (w *world) IdentityFederated(context.Context, string) ([]agent.FederatedCredential, error) {
	if err := w.at("list federated"); err != nil {
		return nil, err
	}
	if w.mi == nil {
		return nil, notFound()
	}
	return slices.Clone(w.mi.Federated), nil
}

func (w *world) PutIdentity(_ context.Context, _, _ string, tags map[string]string) (*agent.UserAssignedIdentity, bool, error) {
	if err := w.at("put identity"); err != nil {
		return nil, false, err
	}
	created := w.mi == nil
	if created {
		w.identity(nil)
	}
	w.mi.Tags = maps.Clone(tags)
	return w.mi, created, w.at("identity is put")
}

func (w *world) DeleteIdentity(context.Context, string) error {
	if err := w.at("delete identity"); err != nil {
		return err
	}
	w.mi = nil
	return nil
}

func put(all []agent.FederatedCredential, f agent.FederatedCredential) []agent.FederatedCredential {
	f.ID = "id of " + f.Name
	all = slices.DeleteFunc(slices.Clone(all), func(o agent.FederatedCredential) bool { return o.Name == f.Name })
	return append(all, f)
}

func (w *world) PutIdentityFederated(_ context.Context, _ string, f agent.FederatedCredential) error {
	if err := w.at("put federated"); err != nil {
		return err
	}
	if w.mi == nil {
		return notFound()
	}
	w.mi.Federated = put(w.mi.Federated, f)
	return nil
}

func (w *world) PutFederated(_ context.Context, _ string, f agent.FederatedCredential) error {
	if err := w.at("put federated"); err != nil {
		return err
	}
	if w.app == nil {
		return notFound()
	}
	w.app.Federated = put(w.app.Federated, f)
	return nil
}

func (w *world) RemoveIdentityFederated(_ context.Context, _, name string) error {
	if err := w.at("remove federated"); err != nil {
		return err
	}
	if w.mi == nil {
		return notFound()
	}
	w.mi.Federated = slices.DeleteFunc(slices.Clone(w.mi.Federated), func(f agent.FederatedCredential) bool { return f.Name == name })
	return nil
}

var _ provision.ARM = (*world)(nil)
