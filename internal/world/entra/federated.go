package entra

import (
	"context"
	"net/http"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// PutFederated makes the federated credential of that name on an application, or changes it in place: the same call never makes a second
// one (Microsoft Graph, "Upsert federatedIdentityCredential").
//
// fault.NotFound: a replica does not know the application, or there is none.
func (c *Client) PutFederated(ctx context.Context, objectID string, f agent.FederatedCredential) error {
	path, err := object("applications", objectID)
	if err != nil {
		return err
	}
	op := "write federated credential " + f.Name + " of application " + objectID
	if f.Name == "" || len(f.Audiences) != 1 {
		return fault.New(fault.Invalid, op+": it needs a name and one audience", "")
	}
	// The name is the alternate key and cannot be changed, so it is in the address alone.
	_, err = c.do(ctx, call{op: op, need: writing(), method: http.MethodPatch, path: keyed(path[1:]+"/federatedIdentityCredentials", "name", f.Name), prefer: "create-if-missing", body: struct {
		Issuer    string   `json:"issuer"`
		Subject   string   `json:"subject"`
		Audiences []string `json:"audiences"`
	}{f.Issuer, f.Subject, f.Audiences}})
	return err
}
