package token

import (
	"context"
	"net/url"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// LegacySecret asks whether a client secret that was found on this machine still opens the application: one request, whose token is thrown
// away. It is the only place where leastkey sends a client secret anywhere, and it does so to see that a migration has to happen, or has
// happened. said is the login service's code where the secret is refused (AADSTS7000215, wrong; AADSTS7000222, expired); every other
// refusal says nothing about the secret and is an error.
func (c *Client) LegacySecret(ctx context.Context, tenant, clientID string, v secret.Value, scope string) (works bool, said string, err error) {
	op := "ask whether the old secret of application " + clientID + " still works"
	if !agent.IsGUID(clientID) || v.Empty() {
		return false, "", fault.New(fault.Invalid, op+": no client id, or no secret", "")
	}
	endpoint, err := c.endpoint(tenant, "token")
	if err != nil {
		return false, "", err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {clientID}, "scope": {scope}}
	_ = v.Use(func(b []byte) error { form.Set("client_secret", string(b)); return nil }) // the function returns nil
	_, err = c.ask(ctx, op, endpoint, form)
	switch service := fault.Service(err); service {
	case "AADSTS7000215", "AADSTS7000222":
		return false, service, nil
	}
	return err == nil, "", err
}
