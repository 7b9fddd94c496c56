package graph

import (
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// firstParty is a service principal that every tenant has.
type firstParty struct {
	appID, name, scope, scopeID string // scope is the one delegated permission; "" for none
	names                       []string
}

var firstParties = []firstParty{
	{appID: directory.ARMAppID, name: "Windows Azure Service Management API", scope: "user_impersonation", scopeID: "41094075-9dad-400e-a0bd-54e686782033",
		names: []string{"https://management.azure.com/", "https://management.azure.com", "https://management.core.windows.net/", "https://management.core.windows.net"}},
	{appID: directory.VaultAppID, name: "Azure Key Vault", scope: "user_impersonation", scopeID: "f53da476-18e3-4152-8e01-aec403e6edc0", names: []string{"https://vault.azure.net"}},
	{appID: directory.ExchangeAppID, name: "AAD Token Exchange Endpoint", names: []string{"api://AzureADTokenExchange"}},
	{appID: directory.CognitiveAppID, name: "Microsoft Cognitive Services", scope: "user_impersonation", scopeID: "5f1e8914-a52b-429f-9324-91b92b81adaf", names: []string{"https://cognitiveservices.azure.com"}},
	{appID: directory.SessionsAppID, name: "Azure Container Apps Dynamic Sessions", scope: "user_impersonation", scopeID: "2c7dd73f-7a21-485b-a7a2-000000000002", names: []string{"https://dynamicsessions.io"}},
	{appID: directory.AzureCLIAppID, name: "Microsoft Azure CLI"},
}

// SeedTenant makes what a tenant has before anybody adds to it: the service principals of Microsoft's own services. What Azure CLI may
// do with those in a user's name is preauthorized, which no tenant lists as a grant.
func SeedTenant(tx replica.Tx, dir *directory.Directory, newID func() string) {
	put := func(p directory.ServicePrincipal) {
		p.ID, p.ServicePrincipalType, p.AccountEnabled = newID(), "Application", true
		p.CreatedDateTime, p.AppOwnerOrganizationID = tx.Now().UTC(), directory.MicrosoftTenantID
		p.ServicePrincipalNames = append([]string{p.AppID}, p.ServicePrincipalNames...)
		dir.ServicePrincipals.Put(tx, p.ID, p)
	}
	put(directory.ServicePrincipal{
		AppID: directory.GraphAppID, DisplayName: "Microsoft Graph", ServicePrincipalNames: []string{"https://graph.microsoft.com", "https://graph.microsoft.com/"},
		AppRoles: graphRoles(), PermissionScopes: graphScopes(),
	})
	for _, f := range firstParties {
		p := directory.ServicePrincipal{AppID: f.appID, DisplayName: f.name, ServicePrincipalNames: f.names}
		if f.scope != "" {
			p.PermissionScopes = []directory.PermissionScope{{ID: f.scopeID, Value: f.scope, Type: "User", IsEnabled: true}}
		}
		put(p)
	}
}

// graphRoles are Microsoft Graph's application permissions that anything here asks about.
func graphRoles() []directory.AppRole {
	var roles []directory.AppRole
	for p := range permissions() {
		if p.app != "" {
			roles = append(roles, directory.AppRole{ID: p.app, Value: p.name, DisplayName: p.name, Description: p.name, AllowedMemberTypes: []string{"Application"}, IsEnabled: true})
		}
	}
	return roles
}

// graphScopes are Microsoft Graph's delegated permissions that anything here asks about.
func graphScopes() []directory.PermissionScope {
	var scopes []directory.PermissionScope
	for p := range permissions() {
		if p.delegated == "" {
			continue
		}
		consent := "Admin"
		if strings.Contains(" email offline_access openid profile User.Read User.ReadBasic.All ", " "+p.name+" ") {
			consent = "User"
		}
		scopes = append(scopes, directory.PermissionScope{ID: p.delegated, Value: p.name, Type: consent, IsEnabled: true})
	}
	return scopes
}
