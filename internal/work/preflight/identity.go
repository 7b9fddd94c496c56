package preflight

import (
	"context"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
)

// Graph is the part of Microsoft Graph that the checks ask, as the operator. An object that Graph says is not there is a fault of code
// NotFound.
type Graph interface {
	Application(ctx context.Context, objectID string) (agent.Application, error)
	Federated(ctx context.Context, objectID string) ([]agent.FederatedCredential, error)
	Owners(ctx context.Context, objectID string) ([]agent.Owner, error)
	Principal(ctx context.Context, appID string) (agent.Principal, error)
}

// Self acts as the identity, with its own key.
type Self interface {
	// Login gets a new token for the scope ("" is Azure Resource Manager's) and tells whose it is.
	Login(ctx context.Context, scope string) (api.Caller, error)
}

// identityLookups are read as the operator, from the directory.
type identityLookups struct {
	operator    lookup[api.Caller]
	configured  lookup[agent.Record]
	application lookup[*agent.Application] // nil: not there
	principal   lookup[*agent.Principal]
}

// wire says who owns each lookup, and how it is read.
func (l *identityLookups) wire() {}

func identityChecks() []Check { return nil }
