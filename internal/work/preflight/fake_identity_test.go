package preflight

import (
	"context"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// fakeIdentity is what the directory and this machine have of the identity.
type fakeIdentity struct {
	app         *agent.Application // nil: not there
	sp          *agent.Principal
	managed     *agent.UserAssignedIdentity
	federated   []agent.FederatedCredential
	owners      owners
	namesakes   []agent.Namesake
	memberships agent.Membership
	scoped      []agent.DirectoryRole
	appRoles    []agent.AppRole
	consents    []agent.Consent
	over        []agent.RoleHolder
	takers      []agent.Assignment
	attached    []string
	policy      agent.CredentialPolicy
	self        api.Caller
	key         KeyFacts
	env         map[string]string
	open        *agent.Run
	clocks      []ClockReading
}

func healthyIdentity(f *fake) fakeIdentity {
	rec := f.subject.Record
	return fakeIdentity{
		app: &agent.Application{ID: applicationID, AppID: appID, DisplayName: "bot", UniqueName: rec.UniqueName, SignInAudience: "AzureADMyOrg", Certificates: []agent.Certificate{registered(rec.Generations[0])}},
		sp:  &agent.Principal{ID: principalID, AppID: appID, Enabled: true},
		// No owner: the operator who created the application has been taken out.
		policy: agent.CredentialPolicy{NoPasswords: true, LongestLife: 730 * 24 * time.Hour, Policies: []string{"no passwords"}},
		self:   api.Caller{ObjectID: principalID, TenantID: tenantID, AppID: appID, Name: appID, AppIDACR: "2"},
		key:    KeyFacts{State: agent.KeyPresent, Backend: "keychain"},
		env:    agent.EnvOf("", appID, tenantID),
		clocks: []ClockReading{{"the login service", today(), today(), time.Second}, {"Azure Resource Manager", today(), today(), time.Second}},
	}
}

type fakeGraph struct{ *fake }

func (f fakeGraph) Application(ctx context.Context, id string) (agent.Application, error) {
	if err := f.ask(ctx, "Application"); err != nil {
		return agent.Application{}, err
	}
	if f.app == nil || id != applicationID {
		return agent.Application{}, fault.Newf(fault.NotFound, "no application")
	}
	return *f.app, nil
}

func (f fakeGraph) PrincipalByID(ctx context.Context, id string) (agent.Principal, error) {
	if err := f.ask(ctx, "Principal"); err != nil {
		return agent.Principal{}, err
	}
	if f.sp == nil || id != principalID {
		return agent.Principal{}, fault.Newf(fault.NotFound, "no service principal")
	}
	return *f.sp, nil
}

func (f fakeGraph) Federated(ctx context.Context, _ string) ([]agent.FederatedCredential, error) {
	return f.federated, f.ask(ctx, "Federated")
}

func (f fakeGraph) Owners(ctx context.Context, _ string) ([]agent.Owner, error) {
	return f.owners.application, f.ask(ctx, "Owners")
}

func (f fakeGraph) PrincipalOwners(ctx context.Context, _ string) ([]agent.Owner, error) {
	return f.owners.principal, f.ask(ctx, "PrincipalOwners")
}

func (f fakeGraph) RolesOver(ctx context.Context, _ string) ([]agent.RoleHolder, error) {
	return f.over, f.ask(ctx, "RolesOver")
}

func (f fakeGraph) Consents(ctx context.Context, _ string) ([]agent.Consent, error) {
	return f.consents, f.ask(ctx, "Consents")
}

func (f fakeGraph) Namesakes(ctx context.Context, _, but string) ([]agent.Namesake, error) {
	all := f.namesakes
	if f.app != nil && f.app.ID != but { // a list by name has the recorded one too
		all = append([]agent.Namesake{{Application: *f.app}}, all...)
	}
	return all, f.ask(ctx, "Namesakes")
}

func (f fakeGraph) Memberships(ctx context.Context, _ string) (agent.Membership, error) {
	return f.memberships, f.ask(ctx, "Memberships")
}

func (f fakeGraph) ScopedRoles(ctx context.Context, _ string) ([]agent.DirectoryRole, error) {
	return f.scoped, f.ask(ctx, "ScopedRoles")
}

func (f fakeGraph) AppRolesOf(ctx context.Context, _ string) ([]agent.AppRole, error) {
	return f.appRoles, f.ask(ctx, "AppRolesOf")
}

func (f fakeGraph) CredentialPolicy(ctx context.Context, _ string) (agent.CredentialPolicy, error) {
	return f.policy, f.ask(ctx, "CredentialPolicy")
}

func (f fakeSelf) Login(ctx context.Context, _ string) (api.Caller, error) {
	return f.self, f.ask(ctx, "Login")
}

type fakeOwn struct{ *fake }

func (f fakeOwn) Key(ctx context.Context, _ agent.Generation) (KeyFacts, error) {
	return f.key, f.ask(ctx, "Key")
}

func (f fakeOwn) Env(ctx context.Context, path string) (string, map[string]string, error) {
	return "/srv/bot/" + path, f.env, f.ask(ctx, "Env")
}

func (f fakeOwn) Clocks(ctx context.Context) ([]ClockReading, error) {
	return f.clocks, f.ask(ctx, "Clocks")
}

type fakeIdentities struct{ *fake }

func (f fakeIdentities) Identity(ctx context.Context, _ string) (*agent.UserAssignedIdentity, error) {
	return f.managed, f.ask(ctx, "Identity")
}

func (f fakeIdentities) IdentityFederated(ctx context.Context, _ string) ([]agent.FederatedCredential, error) {
	return f.federated, f.ask(ctx, "IdentityFederated")
}

func (f fakeIdentities) AssignmentsAt(ctx context.Context, _ string) ([]agent.Assignment, error) {
	return f.takers, f.ask(ctx, "AssignmentsAt")
}

func (f fakeIdentities) AttachedTo(ctx context.Context, _ string) ([]string, error) {
	return f.attached, f.ask(ctx, "AttachedTo")
}

// repeated are methods that are asked once per thing and not once per run.
func repeated(method string) bool { return repeatedRBAC(method) || repeatedSecrets(method) }
