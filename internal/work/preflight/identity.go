package preflight

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// Graph is the part of Microsoft Graph that the checks ask, as the operator. An object that Graph says is not there is a fault of code
// NotFound.
type Graph interface {
	Application(ctx context.Context, objectID string) (agent.Application, error)
	Federated(ctx context.Context, objectID string) ([]agent.FederatedCredential, error)
	Owners(ctx context.Context, objectID string) ([]agent.Owner, error)
	Namesakes(ctx context.Context, displayName string) ([]agent.Namesake, error)
	PrincipalByID(ctx context.Context, principalID string) (agent.Principal, error)
	PrincipalOwners(ctx context.Context, principalID string) ([]agent.Owner, error)
	// Memberships are tenant-wide roles and groups, through groups too; ScopedRoles the roles that are held directly, at any scope.
	Memberships(ctx context.Context, principalID string) (agent.Membership, error)
	ScopedRoles(ctx context.Context, principalID string) ([]agent.DirectoryRole, error)
	AppRolesOf(ctx context.Context, principalID string) ([]agent.AppRole, error)
	CredentialPolicy(ctx context.Context, applicationID string) (agent.CredentialPolicy, error)
}

// Self acts as the identity, with its own key.
type Self interface {
	// Login gets a new token for the scope ("" is Azure Resource Manager's) and tells whose it is.
	Login(ctx context.Context, scope string) (api.Caller, error)
	ownRights
	// SecretNames lists the names of the secrets of a vault, and no value. The identity's token is fetched while where finds out the
	// vault's address.
	SecretNames(ctx context.Context, where func() (string, error)) ([]string, error)
}

// Own is what this machine has of the identity.
type Own interface {
	// Key looks for the key of a generation. An answer of the keystore that there is none is a state, not an error.
	Key(ctx context.Context, g agent.Generation) (KeyFacts, error)
	// Env reads the ids of the identity from the environment file: none if there is no file. at is its absolute path.
	Env(ctx context.Context, path string) (at string, ids map[string]string, err error)
	// Clocks asks services, without a token, what time it is.
	Clocks(ctx context.Context) ([]ClockReading, error)
	// Identity is a managed identity as Azure Resource Manager shows it to the operator; nil: it answered that there is none.
	Identity(ctx context.Context, resourceID string) (*agent.UserAssignedIdentity, error)
}

// KeyFacts are where a key is, and whether it is the certificate's.
type KeyFacts struct {
	State       agent.KeyState
	Backend     string // keychain, age, memory
	Development bool   // age: the identity that opens it lies beside it
}

// ClockReading is the time of a service beside ours, in the middle of the request. The service tells whole seconds.
type ClockReading struct {
	Service      string
	Theirs, Ours time.Time
	Within       time.Duration // half of how long the request took: how far Ours may be off
}

// identityLookups are read as the operator, from the directory.
type identityLookups struct {
	operator    lookup[api.Caller]
	configured  lookup[agent.Record]
	application lookup[*agent.Application] // nil: not there, or the kind has none
	identity    lookup[*agent.UserAssignedIdentity]
	principal   lookup[*agent.Principal] // nil: not there
	login       lookup[api.Caller]
	key         lookup[KeyFacts]
	owners      lookup[owners]
	federated   lookup[[]agent.FederatedCredential]
	memberships lookup[agent.Membership]
}

// owners are those of both objects: each can add a credential.
type owners struct{ application, principal []agent.Owner }

// wire says who owns each lookup, and how it is read.
func (l *identityLookups) wire() {
	l.operator = lookup[api.Caller]{owner: "azure_logged_in", read: func(ctx context.Context, a *Ask) (api.Caller, error) { return a.run.p.Operator(ctx) }}
	l.configured = lookup[agent.Record]{owner: "identity_configured", read: configured}
	l.application = lookup[*agent.Application]{owner: "identity_valid", read: application}
	l.identity = lookup[*agent.UserAssignedIdentity]{owner: "identity_valid", read: managedIdentity}
	l.principal = lookup[*agent.Principal]{owner: "identity_valid", read: principal}
	l.login = lookup[api.Caller]{owner: "identity_login", read: func(ctx context.Context, a *Ask) (api.Caller, error) { return a.run.self.Login(ctx, "") }}
	l.key = lookup[KeyFacts]{owner: "identity_key_class", read: func(ctx context.Context, a *Ask) (KeyFacts, error) {
		return a.run.p.Own.Key(ctx, *a.Record.Active())
	}}
	l.owners = lookup[owners]{owner: "identity_owners", read: ownersOf}
	l.federated = lookup[[]agent.FederatedCredential]{owner: "identity_federated", read: federatedOf}
	l.memberships = lookup[agent.Membership]{owner: "identity_directory_roles", read: asOperator(func(ctx context.Context, a *Ask) (agent.Membership, error) {
		return a.run.p.Graph.Memberships(ctx, a.Record.PrincipalID)
	})}
}

// operator is who looks. The checks that ask Graph or Azure Resource Manager need nobody else.
func (a *Ask) operator() (api.Caller, error) { return get(a, &a.run.operator) }

// recorded is the record of the identity, once there is one to ask about.
func (a *Ask) recorded() (agent.Record, error) { return get(a, &a.run.configured) }

// application is the application as Graph shows it.
func (a *Ask) application() (agent.Application, error) {
	return there(get(a, &a.run.application))
}

// principal is the service principal as Graph shows it.
func (a *Ask) principal() (agent.Principal, error) {
	return there(get(a, &a.run.principal))
}

// there is an object that others ask about: where it is gone, identity_valid says so, and they have nothing to ask about.
func there[T any](v *T, err error) (T, error) {
	if err == nil && v == nil {
		err = missing("identity_valid", "the object is not in the directory")
	}
	if err != nil {
		var zero T
		return zero, err
	}
	return *v, nil
}

func configured(_ context.Context, a *Ask) (agent.Record, error) {
	if !a.Record.Provisioned() {
		return a.Record, missing("identity_configured", "no identity is recorded")
	}
	return a.Record, nil
}

// asOperator reads once there is an identity to ask about. It reads while it is still being found out who the operator is, which saves a
// round, and believes no answer before that is known: the directory of another tenant would say of everything that it is not there.
func asOperator[T any](read func(context.Context, *Ask) (T, error)) func(context.Context, *Ask) (T, error) {
	return func(ctx context.Context, a *Ask) (T, error) {
		var zero T
		if _, err := a.recorded(); err != nil {
			return zero, err
		}
		v, err := read(ctx, a)
		if _, nobody := a.unheard().operator(); nobody != nil {
			return zero, nobody
		}
		return v, err
	}
}

// found makes "the service says that it is not there" an answer.
func found[T any](v T, err error) (*T, error) {
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &v, nil
}

func application(ctx context.Context, a *Ask) (*agent.Application, error) {
	return asOperator(func(ctx context.Context, a *Ask) (*agent.Application, error) {
		return found(a.run.p.Graph.Application(ctx, a.Record.ApplicationID))
	})(ctx, a)
}

func principal(ctx context.Context, a *Ask) (*agent.Principal, error) {
	return asOperator(func(ctx context.Context, a *Ask) (*agent.Principal, error) {
		return found(a.run.p.Graph.PrincipalByID(ctx, a.Record.PrincipalID))
	})(ctx, a)
}

func managedIdentity(ctx context.Context, a *Ask) (*agent.UserAssignedIdentity, error) {
	return asOperator(func(ctx context.Context, a *Ask) (*agent.UserAssignedIdentity, error) {
		return a.run.p.Own.Identity(ctx, a.Record.ResourceID)
	})(ctx, a)
}

// ownersOf reads the owners of both objects at once.
func ownersOf(ctx context.Context, a *Ask) (owners, error) {
	return asOperator(func(ctx context.Context, a *Ask) (all owners, err error) {
		var other error
		var both sync.WaitGroup
		both.Go(func() {
			if a.Record.ApplicationID != "" {
				all.application, other = a.run.p.Graph.Owners(ctx, a.Record.ApplicationID)
			}
		})
		all.principal, err = a.run.p.Graph.PrincipalOwners(ctx, a.Record.PrincipalID)
		both.Wait()
		return all, errors.Join(other, err)
	})(ctx, a)
}

func federatedOf(ctx context.Context, a *Ask) ([]agent.FederatedCredential, error) {
	if a.Record.ResourceID != "" {
		id, err := there(get(a, &a.run.identity))
		return id.Federated, err
	}
	return asOperator(func(ctx context.Context, a *Ask) ([]agent.FederatedCredential, error) {
		return a.run.p.Graph.Federated(ctx, a.Record.ApplicationID)
	})(ctx, a)
}

func identityChecks() []Check { return nil }
