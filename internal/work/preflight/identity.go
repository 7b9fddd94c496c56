package preflight

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// Graph is the part of Microsoft Graph that the checks ask, as the operator. An object that Graph says is not there is a fault of code
// NotFound.
type Graph interface {
	Application(ctx context.Context, objectID string) (agent.Application, error)
	Federated(ctx context.Context, objectID string) ([]agent.FederatedCredential, error)
	Owners(ctx context.Context, objectID string) ([]agent.Owner, error)
	// Namesakes are the applications of the name but the one of the object id.
	Namesakes(ctx context.Context, displayName, but string) ([]agent.Namesake, error)
	// RolesOver are the holders of directory roles for one application alone.
	RolesOver(ctx context.Context, objectID string) ([]agent.RoleHolder, error)
	PrincipalByID(ctx context.Context, principalID string) (agent.Principal, error)
	PrincipalOwners(ctx context.Context, principalID string) ([]agent.Owner, error)
	// Memberships are tenant-wide roles and groups, through groups too; ScopedRoles the roles that are held directly, at any scope.
	Memberships(ctx context.Context, principalID string) (agent.Membership, error)
	ScopedRoles(ctx context.Context, principalID string) ([]agent.DirectoryRole, error)
	AppRolesOf(ctx context.Context, principalID string) ([]agent.AppRole, error)
	Consents(ctx context.Context, principalID string) ([]agent.Consent, error)
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
}

// Identities is the part of Azure Resource Manager that knows managed identities, asked as the operator. A nil identity: it answered that there
// is none. Federated credentials are read apart.
type Identities interface {
	Identity(ctx context.Context, resourceID string) (*agent.UserAssignedIdentity, error)
	IdentityFederated(ctx context.Context, resourceID string) ([]agent.FederatedCredential, error)
	// AssignmentsAt are the role assignments of everybody at the scope and above; AttachedTo the resources that have the identity.
	AssignmentsAt(ctx context.Context, scope string) ([]agent.Assignment, error)
	AttachedTo(ctx context.Context, resourceID string) ([]string, error)
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
	open        lookup[*agent.Run]       // nil: there is none
	login       lookup[api.Caller]
	key         lookup[KeyFacts]
	owners      lookup[owners]
	over        lookup[[]agent.RoleHolder]
	takers      lookup[[]judged]
	attached    lookup[[]string]
	federated   lookup[[]agent.FederatedCredential]
	memberships lookup[agent.Membership]
	scoped      lookup[[]agent.DirectoryRole]
	appRoles    lookup[[]agent.AppRole]
	consents    lookup[[]agent.Consent]
	namesakes   lookup[[]agent.Namesake]
	policy      lookup[agent.CredentialPolicy]
	env         lookup[envFacts]
	clocks      lookup[[]ClockReading]
}

// envFacts are the ids of the identity as the environment file has them.
type envFacts struct {
	at  string
	ids map[string]string
}

// owners are those of both objects: each can add a credential.
type owners struct{ application, principal []agent.Owner }

// wire says who owns each lookup, and how it is read.
func (l *identityLookups) wire() {
	l.operator = lookup[api.Caller]{owner: "azure_logged_in", read: func(ctx context.Context, a *Ask) (api.Caller, error) { return a.run.p.Operator(ctx) }}
	l.configured = lookup[agent.Record]{owner: "identity_configured", read: configured}
	l.application = lookup[*agent.Application]{owner: "identity_valid", read: asOperator(application)}
	l.identity = lookup[*agent.UserAssignedIdentity]{owner: "identity_valid", read: asOperator(managedIdentity)}
	l.open = lookup[*agent.Run]{owner: "identity_open_run", read: readOpen}
	l.principal = lookup[*agent.Principal]{owner: "identity_valid", read: asOperator(principal)}
	l.login = lookup[api.Caller]{owner: "identity_login", read: login}
	l.key = lookup[KeyFacts]{owner: "identity_key_class", read: keyFacts}
	l.owners = lookup[owners]{owner: "identity_owners", read: ofPrincipal(ownersOf)}
	l.over = lookup[[]agent.RoleHolder]{owner: "identity_owners", read: ofObject(func(ctx context.Context, a *Ask) ([]agent.RoleHolder, error) {
		return a.run.p.Graph.RolesOver(ctx, a.Record.ApplicationID)
	})}
	l.takers = lookup[[]judged]{owner: "identity_takeover", read: asOperator(takersOf)}
	l.attached = lookup[[]string]{owner: "identity_attached", read: asOperator(func(ctx context.Context, a *Ask) ([]string, error) {
		return a.run.p.Identities.AttachedTo(ctx, a.Record.ResourceID)
	})}
	l.federated = lookup[[]agent.FederatedCredential]{owner: "identity_federated", read: ofObject(federatedOf)}
	l.memberships = lookup[agent.Membership]{owner: "identity_directory_roles", read: ofPrincipal(func(ctx context.Context, a *Ask) (agent.Membership, error) {
		return a.run.p.Graph.Memberships(ctx, a.Record.PrincipalID)
	})}
	l.scoped = lookup[[]agent.DirectoryRole]{owner: "identity_scoped_directory_roles", read: ofPrincipal(func(ctx context.Context, a *Ask) ([]agent.DirectoryRole, error) {
		return a.run.p.Graph.ScopedRoles(ctx, a.Record.PrincipalID)
	})}
	l.appRoles = lookup[[]agent.AppRole]{owner: "identity_graph_permissions", read: ofPrincipal(func(ctx context.Context, a *Ask) ([]agent.AppRole, error) {
		return a.run.p.Graph.AppRolesOf(ctx, a.Record.PrincipalID)
	})}
	l.consents = lookup[[]agent.Consent]{owner: "identity_delegated_permissions", read: ofPrincipal(func(ctx context.Context, a *Ask) ([]agent.Consent, error) {
		return a.run.p.Graph.Consents(ctx, a.Record.PrincipalID)
	})}
	l.namesakes = lookup[[]agent.Namesake]{owner: "identity_namesakes", read: asOperator(func(ctx context.Context, a *Ask) ([]agent.Namesake, error) {
		return a.run.p.Graph.Namesakes(ctx, a.Agent.Name, a.Record.ApplicationID)
	})}
	l.policy = lookup[agent.CredentialPolicy]{owner: "identity_app_management_policy", read: ofObject(func(ctx context.Context, a *Ask) (agent.CredentialPolicy, error) {
		return a.run.p.Graph.CredentialPolicy(ctx, a.Record.ApplicationID)
	})}
	l.env = lookup[envFacts]{owner: "identity_configured", read: environmentIDs}
	l.clocks = lookup[[]ClockReading]{owner: "clock", read: func(ctx context.Context, a *Ask) ([]ClockReading, error) { return a.run.p.Own.Clocks(ctx) }}
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

// ofPrincipal is ofObject about the service principal, which an identity that was half made does not have yet.
func ofPrincipal[T any](read func(context.Context, *Ask) (T, error)) func(context.Context, *Ask) (T, error) {
	return ofObject(func(ctx context.Context, a *Ask) (T, error) {
		if a.Record.PrincipalID == "" {
			var zero T
			return zero, missing("identity_valid", "no service principal is recorded")
		}
		return read(ctx, a)
	})
}

// ofObject is asOperator about something that belongs to a recorded object: where that is not there, identity_valid is to tell.
func ofObject[T any](read func(context.Context, *Ask) (T, error)) func(context.Context, *Ask) (T, error) {
	return asOperator(func(ctx context.Context, a *Ask) (T, error) {
		v, err := read(ctx, a)
		if fault.Is(err, fault.NotFound) {
			err = &Unanswered{Owner: "identity_valid", Err: err}
		}
		return v, err
	})
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
	if a.Record.ApplicationID == "" {
		return nil, nil
	}
	return found(a.run.p.Graph.Application(ctx, a.Record.ApplicationID))
}

func principal(ctx context.Context, a *Ask) (*agent.Principal, error) {
	if a.Record.PrincipalID == "" {
		return nil, nil
	}
	return found(a.run.p.Graph.PrincipalByID(ctx, a.Record.PrincipalID))
}

func managedIdentity(ctx context.Context, a *Ask) (*agent.UserAssignedIdentity, error) {
	return a.run.p.Identities.Identity(ctx, a.Record.ResourceID)
}

// ownersOf reads the owners of both objects at once.
func ownersOf(ctx context.Context, a *Ask) (all owners, err error) {
	var other error
	var both sync.WaitGroup
	if a.Record.ApplicationID != "" {
		both.Go(func() { all.application, other = a.run.p.Graph.Owners(ctx, a.Record.ApplicationID) })
	}
	all.principal, err = a.run.p.Graph.PrincipalOwners(ctx, a.Record.PrincipalID)
	both.Wait()
	return all, errors.Join(other, err)
}

func federatedOf(ctx context.Context, a *Ask) ([]agent.FederatedCredential, error) {
	if a.managed() {
		return a.run.p.Identities.IdentityFederated(ctx, a.Record.ResourceID)
	}
	return a.run.p.Graph.Federated(ctx, a.Record.ApplicationID)
}

func environmentIDs(ctx context.Context, a *Ask) (envFacts, error) {
	at, ids, err := a.run.p.Own.Env(ctx, cmp.Or(a.Record.EnvFile, a.Agent.EnvFile))
	return envFacts{at, ids}, err
}

func keyFacts(ctx context.Context, a *Ask) (KeyFacts, error) {
	if _, err := a.recorded(); err != nil {
		return KeyFacts{}, err
	}
	g := a.Record.Active()
	if g == nil {
		return KeyFacts{}, missing("identity_key_class", "no key is recorded")
	}
	return a.run.p.Own.Key(ctx, *g)
}

// login logs in once there is a key to log in with.
func login(ctx context.Context, a *Ask) (api.Caller, error) {
	k, err := get(a.unheard(), &a.run.key)
	if err != nil {
		return api.Caller{}, err
	}
	if k.State != agent.KeyPresent {
		return api.Caller{}, missing("identity_key_class", "the key is %s", k.State)
	}
	return a.run.self.Login(ctx, "")
}

// managed tells whether the subject is a managed identity, which has no application and no key of ours.
func (s Subject) managed() bool {
	if s.Record.Provisioned() {
		return s.Record.ResourceID != ""
	}
	return s.Agent.Kind == agent.ManagedIdentity
}

// keyless says who logs in as an identity that has no key of its own, "" of one that has.
func (s Subject) keyless() string {
	if s.Record.Active() != nil || !s.Agent.Keyless() {
		return ""
	}
	return "it has no key of its own: " + s.Agent.LogsIn() + " logs in as it"
}

// notManaged is moot for a managed identity.
func notManaged(s Subject) string {
	if s.managed() {
		return "a managed identity has no application, and Azure keeps its credential; who can make it their own nevertheless: identity_takeover, identity_attached, identity_federated"
	}
	return ""
}

// isManaged is moot for an application.
func isManaged(s Subject) string {
	if !s.managed() {
		return "the identity is an application: who can add a way in follows from its owners and from directory roles (identity_owners)"
	}
	return ""
}

// withKey is moot for an identity that has no key on any machine.
func withKey(s Subject) string {
	if s.managed() {
		return "only an Azure resource that the managed identity is assigned to can log in as it"
	}
	return s.keyless()
}

// identityChecks are told in this order: who asks, what there is, who can be it, what it may be.
func identityChecks() []Check {
	all := []Check{
		azureLoggedIn(), identityConfigured(), openRun(), identityValid(), credentialExpiry(), identityLogin(), keyClass(), noPassword(), certificatesKnown(),
		certificateStrength(), federatedExactly(), ownersExpected(), takeover(), attachedKnown(), singleTenant(), namesakes(), managementPolicy(), directoryRoles(), scopedRoles(),
		graphPermissions(), delegatedPermissions(), clock(),
	}
	for i := range all {
		all[i].Category = finding.Identity
	}
	return all
}
