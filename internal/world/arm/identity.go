package arm

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// Identity reads a user-assigned managed identity by its ARM id, without its federated credentials; nil means that ARM answered that there
// is none.
func (c *Client) Identity(ctx context.Context, id string) (*agent.UserAssignedIdentity, error) {
	op := "read managed identity " + role.Short(id)
	client, s, err := c.identities(op, id)
	if err != nil {
		return nil, err
	}
	got, err := client.Get(ctx, s.Group, s.Name, nil)
	if err != nil {
		_, err = absent(c.failed(ctx, op, id, err))
		return nil, err
	}
	return identity(op, got.Identity)
}

// PutIdentity makes a user-assigned managed identity with these tags. created is false where one of the id was there: its tags are these
// now, and nothing else of it has changed.
func (c *Client) PutIdentity(ctx context.Context, id, location string, tags map[string]string) (made *agent.UserAssignedIdentity, created bool, err error) {
	op := "create managed identity " + role.Short(id)
	client, s, err := c.identities(op, id)
	if err != nil {
		return nil, false, err
	}
	body := armmsi.Identity{Location: &location, Tags: map[string]*string{}}
	for key, value := range tags {
		body.Tags[key] = &value
	}
	var answer *http.Response
	got, err := client.CreateOrUpdate(policy.WithCaptureResponse(ctx, &answer), s.Group, s.Name, body, nil)
	if err != nil {
		return nil, false, c.failed(ctx, op, id, err)
	}
	made, err = identity(op, got.Identity)
	return made, answer.StatusCode == http.StatusCreated, err
}

// DeleteIdentity deletes a user-assigned managed identity, for good; nil also when there was none.
func (c *Client) DeleteIdentity(ctx context.Context, id string) error {
	op := "delete managed identity " + role.Short(id)
	client, s, err := c.identities(op, id)
	if err != nil {
		return err
	}
	if _, err := client.Delete(ctx, s.Group, s.Name, nil); err != nil {
		_, err = absent(c.failed(ctx, op, id, err))
		return err
	}
	return nil
}

// IdentityFederated lists the federated credentials of a user-assigned managed identity. fault.NotFound: a replica does not know the
// identity, or there is none.
func (c *Client) IdentityFederated(ctx context.Context, id string) ([]agent.FederatedCredential, error) {
	op := "read federated credentials of " + role.Short(id)
	client, s, err := c.federations(op, id)
	if err != nil {
		return nil, err
	}
	var all []agent.FederatedCredential
	for pager := client.NewListPager(s.Group, s.Name, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, c.failed(ctx, op, id, err)
		}
		for _, f := range page.Value {
			if f == nil || f.Properties == nil || text(f.Name) == "" { // a list that hides a way in is worse than none
				return nil, fault.New(fault.Unknown, op+": the answer holds an unreadable one", "check --cloud and the proxy")
			}
			all = append(all, agent.FederatedCredential{ID: text(f.ID), Name: *f.Name, Issuer: text(f.Properties.Issuer), Subject: text(f.Properties.Subject), Audiences: texts(f.Properties.Audiences)})
		}
	}
	return all, nil
}

// federatedName is Azure's naming rule of federated credentials of managed identities.
var federatedName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,119}$`)

// PutIdentityFederated makes the federated credential of that name, or changes it in place: the same call never makes a second one.
// fault.Throttled also where another write on the identity was under way.
func (c *Client) PutIdentityFederated(ctx context.Context, id string, f agent.FederatedCredential) error {
	op := "write federated credential " + f.Name + " of " + role.Short(id)
	client, s, err := c.federations(op, id)
	if err != nil {
		return err
	}
	if !federatedName.MatchString(f.Name) {
		return fault.New(fault.Invalid, op+": not the name of a federated credential", "")
	}
	body := armmsi.FederatedIdentityCredential{Properties: &armmsi.FederatedIdentityCredentialProperties{Issuer: &f.Issuer, Subject: &f.Subject}}
	for _, a := range f.Audiences {
		body.Properties.Audiences = append(body.Properties.Audiences, &a)
	}
	if _, err := client.CreateOrUpdate(ctx, s.Group, s.Name, f.Name, body, nil); err != nil {
		return busy(c.failed(ctx, op, id, err))
	}
	return nil
}

// RemoveIdentityFederated removes the federated credential of that name; nil also when there was none. fault.NotFound: a replica does not
// know the identity, or there is none.
func (c *Client) RemoveIdentityFederated(ctx context.Context, id, name string) error {
	op := "remove federated credential " + name + " of " + role.Short(id)
	client, s, err := c.federations(op, id)
	if err != nil {
		return err
	}
	if !federatedName.MatchString(name) {
		return fault.New(fault.Invalid, op+": not the name of a federated credential", "")
	}
	if _, err := client.Delete(ctx, s.Group, s.Name, name, nil); err != nil {
		return busy(c.failed(ctx, op, id, err))
	}
	return nil
}

// busy makes of a write that met another one something to be repeated: ARM takes one at a time for each identity (Microsoft, "Important
// considerations and restrictions for federated identity credentials").
func busy(err error) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Service != "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity" {
		return err
	}
	again := *f
	again.Code = fault.Throttled
	return &again
}

func (c *Client) identities(op, id string) (*armmsi.UserAssignedIdentitiesClient, role.Scope, error) {
	s, err := identityScope(op, id)
	if err != nil {
		return nil, s, err
	}
	client, err := armmsi.NewUserAssignedIdentitiesClient(s.SubscriptionID, c.credential, c.options)
	if err != nil {
		return nil, s, &fault.Error{Code: fault.Invalid, Op: op, Err: err}
	}
	return client, s, nil
}

func (c *Client) federations(op, id string) (*armmsi.FederatedIdentityCredentialsClient, role.Scope, error) {
	s, err := identityScope(op, id)
	if err != nil {
		return nil, s, err
	}
	client, err := armmsi.NewFederatedIdentityCredentialsClient(s.SubscriptionID, c.credential, c.options)
	if err != nil {
		return nil, s, &fault.Error{Code: fault.Invalid, Op: op, Err: err}
	}
	return client, s, nil
}

// identityScope takes an ARM id apart. Only what is one may get into an address.
func identityScope(op, id string) (role.Scope, error) {
	s, err := role.ParseScope(id)
	if err != nil || s.Level != role.Resource || s.Group == "" || strings.Contains(id, "/.") || !strings.EqualFold(s.Provider+"/"+s.Type, "Microsoft.ManagedIdentity/userAssignedIdentities") {
		return s, fault.New(fault.Invalid, op+": not the id of a user-assigned managed identity", "")
	}
	return s, nil
}

// identity is one as the domain knows it. One that does not say whose principal it is is no answer: it would be recorded and trusted.
func identity(op string, i armmsi.Identity) (*agent.UserAssignedIdentity, error) {
	p := i.Properties
	if p == nil || !agent.IsGUID(text(p.PrincipalID)) || !agent.IsGUID(text(p.ClientID)) || text(i.ID) == "" {
		return nil, fault.New(fault.Unknown, op+": the answer is not a managed identity", "check --cloud and the proxy")
	}
	out := &agent.UserAssignedIdentity{ID: *i.ID, Name: text(i.Name), Location: text(i.Location), TenantID: text(p.TenantID), ClientID: *p.ClientID, PrincipalID: *p.PrincipalID}
	for key, value := range i.Tags {
		if out.Tags == nil {
			out.Tags = map[string]string{}
		}
		out.Tags[key] = text(value)
	}
	return out, nil
}
