package entra

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Namesakes lists every application of exactly that display name, with its owners and credentials. A display name proves nothing: names
// are not unique and anybody may choose them. Hashes of certificates are not shown in lists.
func (c *Client) Namesakes(ctx context.Context, displayName string) ([]agent.Namesake, error) {
	return c.OtherNamesakes(ctx, displayName, "")
}

// OtherNamesakes are the namesakes but the application of that object id.
func (c *Client) OtherNamesakes(ctx context.Context, displayName, but string) ([]agent.Namesake, error) {
	k := call{op: "look for applications named " + displayName, need: reading(), method: http.MethodGet, path: "/applications", query: url.Values{
		"$filter": {"displayName eq '" + strings.ReplaceAll(displayName, "'", "''") + "'"},
		"$select": {applicationFields},
		"$top":    {"100"},
	}}
	var found []agent.Namesake
	err := pages(ctx, c, k, func(a application) error {
		d, err := a.domain()
		if err != nil {
			return &fault.Error{Code: fault.CodeOf(err), Op: k.op, Err: err}
		}
		if !strings.EqualFold(d.ID, but) {
			found = append(found, agent.Namesake{Application: d, Created: a.Created})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range found {
		if found[i].Owners, err = c.Owners(ctx, found[i].ID); err != nil {
			if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == fault.NotFound {
				// Listed by one replica and unknown to another; not an answer about the name.
				return nil, &fault.Error{Code: fault.NotYet, Op: k.op, Err: f}
			}
			return nil, err
		}
	}
	return found, nil
}

// Application reads one by its object id, with the certificates themselves. fault.NotFound: Graph answered that there is none.
func (c *Client) Application(ctx context.Context, objectID string) (agent.Application, error) {
	path, err := object("applications", objectID)
	if err != nil {
		return agent.Application{}, err
	}
	return c.application(ctx, "read application "+objectID, path)
}

// ApplicationByAppID reads one by its client id.
func (c *Client) ApplicationByAppID(ctx context.Context, appID string) (agent.Application, error) {
	return c.application(ctx, "read application with client id "+appID, keyed("applications", "appId", appID))
}

// ApplicationByUniqueName reads one by its unique name.
func (c *Client) ApplicationByUniqueName(ctx context.Context, uniqueName string) (agent.Application, error) {
	return c.application(ctx, "read application "+uniqueName, keyed("applications", "uniqueName", uniqueName))
}

func (c *Client) application(ctx context.Context, op, path string) (agent.Application, error) {
	var a application
	// Graph shows the certificates only to a read of one object that selects them.
	if _, err := c.do(ctx, call{op: op, need: reading(), method: http.MethodGet, path: path, query: url.Values{"$select": {applicationFields}}, out: &a}); err != nil {
		return agent.Application{}, err
	}
	d, err := a.domain()
	if err != nil {
		return agent.Application{}, &fault.Error{Code: fault.CodeOf(err), Op: op, Err: err}
	}
	return d, nil
}

// Owners lists the owners of an application.
func (c *Client) Owners(ctx context.Context, objectID string) ([]agent.Owner, error) {
	return c.owners(ctx, "read owners of application "+objectID, "applications", objectID)
}

func (c *Client) owners(ctx context.Context, op, collection, objectID string) ([]agent.Owner, error) {
	path, err := object(collection, objectID)
	if err != nil {
		return nil, err
	}
	var owners []agent.Owner
	k := call{op: op, need: reading(), method: http.MethodGet, path: path + "/owners", query: url.Values{"$select": {"id,displayName"}}}
	err = pages(ctx, c, k, func(o struct {
		ID          string `json:"id"`
		DisplayName string `json:"displayName"`
		Type        string `json:"@odata.type"`
	}) error {
		owners = append(owners, agent.Owner{ID: o.ID, DisplayName: o.DisplayName, Type: strings.TrimPrefix(o.Type, "#microsoft.graph.")})
		return nil
	})
	return owners, err
}

// Federated lists the federated credentials of an application: whoever holds a token of the issuer and subject that one names logs in as
// the application, without any key. Graph shows them to a request of their own only.
func (c *Client) Federated(ctx context.Context, objectID string) ([]agent.FederatedCredential, error) {
	path, err := object("applications", objectID)
	if err != nil {
		return nil, err
	}
	var all []agent.FederatedCredential
	k := call{op: "read federated credentials of application " + objectID, need: reading(), method: http.MethodGet, path: path + "/federatedIdentityCredentials"}
	err = pages(ctx, c, k, func(f struct {
		ID        string   `json:"id"`
		Name      string   `json:"name"`
		Issuer    string   `json:"issuer"`
		Subject   string   `json:"subject"`
		Audiences []string `json:"audiences"`
	}) error {
		if f.ID == "" { // a list that hides a way in is worse than none
			return fault.New(fault.Unknown, k.op+": the answer holds an unreadable one", "check --cloud and the proxy")
		}
		all = append(all, agent.FederatedCredential{ID: f.ID, Name: f.Name, Issuer: f.Issuer, Subject: f.Subject, Audiences: f.Audiences})
		return nil
	})
	return all, err
}

// RemoveFederated removes one federated credential. fault.NotFound: it is gone, or not visible.
func (c *Client) RemoveFederated(ctx context.Context, objectID, id string) error {
	path, err := object("applications", objectID)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, call{op: "remove federated credential " + id + " from " + objectID, need: writing(), method: http.MethodDelete, path: path + "/federatedIdentityCredentials/" + url.PathEscape(id)})
	return err
}

// UpsertApplication makes a single-tenant application of that unique name, or finds the one that an earlier try made: the same call
// never makes a second one (Microsoft, "Upsert application"). created tells which.
//
// fault.NotFound: the name is taken, and the replica that was asked does not show by what. After an earlier try that is lag; it does
// not pass if the application was deleted since, because its name stays reserved for 30 days.
func (c *Client) UpsertApplication(ctx context.Context, uniqueName, displayName string) (app agent.Application, created bool, err error) {
	op := "create application " + displayName + " as " + uniqueName
	var a application
	status, err := c.do(ctx, call{
		op: op, need: writing(), method: http.MethodPatch, path: keyed("applications", "uniqueName", uniqueName), prefer: "create-if-missing",
		body: struct {
			DisplayName string `json:"displayName"`
			Audience    string `json:"signInAudience"`
		}{displayName, singleTenant},
		out: &a,
	})
	// A replica that does not know the name yet tries to create, which the uniqueness of names, enforced without lag, forbids.
	taken := fault.Is(err, fault.Conflict)
	if err != nil && !taken {
		return agent.Application{}, false, err
	}
	if taken || status != http.StatusCreated {
		app, err = c.ApplicationByUniqueName(ctx, uniqueName)
		if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == fault.NotFound {
			err = f.WithHint("an earlier try made it and not every replica shows it yet, or it was deleted since")
		}
		return app, false, err
	}
	if app, err = a.domain(); err != nil {
		return agent.Application{}, false, &fault.Error{Code: fault.CodeOf(err), Op: op, Err: err}
	}
	return app, true, nil
}

const singleTenant = "AzureADMyOrg"

// SetSingleTenant admits only identities of its own tenant.
func (c *Client) SetSingleTenant(ctx context.Context, objectID string) error {
	path, err := object("applications", objectID)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, call{op: "make application " + objectID + " single-tenant", need: writing(), method: http.MethodPatch, path: path, body: struct {
		Audience string `json:"signInAudience"`
	}{singleTenant}})
	return err
}

// SetCertificates replaces the list of certificates: keep are entries as they were read just before, add are new ones with KeyID,
// DisplayName and DER. An entry in neither is removed, so the caller must have read the whole list. Both empty clears it.
func (c *Client) SetCertificates(ctx context.Context, objectID string, keep, add []agent.Certificate) error {
	path, err := object("applications", objectID)
	if err != nil {
		return err
	}
	entries := make([]keyEntry, 0, len(keep)+len(add)) // an empty list, not null
	for _, e := range keep {
		entries = append(entries, kept(e))
	}
	for _, e := range add {
		k, err := added(e)
		if err != nil {
			return err
		}
		entries = append(entries, k)
	}
	_, err = c.do(ctx, call{op: "set certificates of application " + objectID, need: writing(), method: http.MethodPatch, path: path, body: struct {
		Keys []keyEntry `json:"keyCredentials"`
	}{entries}})
	return err
}

// DeleteApplication puts one, with its service principal, in the recycle bin. fault.NotFound: it is gone, or not visible.
func (c *Client) DeleteApplication(ctx context.Context, objectID string) error {
	return c.delete(ctx, "delete application ", "applications", objectID)
}

func (c *Client) delete(ctx context.Context, verb, collection, id string) error {
	path, err := object(collection, id)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, call{op: verb + id, need: writing(), method: http.MethodDelete, path: path})
	return err
}
