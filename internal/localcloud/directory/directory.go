// Package directory holds the objects of the local cloud's one Entra tenant: what the login service, Graph and ARM all look at.
//
// Field names and JSON forms are Microsoft Graph's (v1.0, metadata of August 2026). Values are immutable once put into a table.
package directory

import (
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Well-known ids.
const (
	GraphAppID     = "00000003-0000-0000-c000-000000000000" // Microsoft Graph
	AADGraphAppID  = "00000002-0000-0000-c000-000000000000" // Azure AD Graph: the audience of proofs of possession
	ARMAppID       = "797f4846-ba00-4fd7-ba43-dac1f8f63013" // Azure Resource Manager ("Windows Azure Service Management API")
	VaultAppID     = "cfa8b339-82a2-471a-a3c9-0fc0be7a4093" // Azure Key Vault
	ExchangeAppID  = "fb60f99c-7a34-4190-8149-302f77469936" // AAD token exchange endpoint
	SessionsAppID  = "2c7dd73f-7a21-485b-a7a2-000000000001" // dynamic sessions; the real id was not seen anywhere, so this one is ours
	CognitiveAppID = "7d312290-28c8-473c-a0ed-8e53749b6d6d" // Microsoft Cognitive Services
	AzureCLIAppID  = "04b07795-8ddb-461a-bbee-02f9e1bf7b46" // Azure CLI, a public client

	MicrosoftTenantID = "f8cdef31-a31e-4b4a-93e4-5f571e91255a" // owns Microsoft's own applications
)

// AzureCLIScopes are the delegated permissions on Microsoft Graph for which Azure CLI is preauthorized (scp of its tokens, observed
// 2026).
const AzureCLIScopes = "Application.ReadWrite.All AppRoleAssignment.ReadWrite.All AuditLog.Read.All DelegatedPermissionGrant.ReadWrite.All Directory.AccessAsUser.All email Group.ReadWrite.All openid profile User.Read.All User.ReadWrite.All"

// Role template ids of directory roles (Microsoft Entra built-in roles).
const (
	GlobalAdministrator         = "62e90394-69f5-4237-9190-012177145e10"
	PrivilegedRoleAdministrator = "e8611ab8-c189-46e8-94e1-60213ab1f814"
	ApplicationAdministrator    = "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3"
	CloudAppAdministrator       = "158c047a-c907-4556-b7ef-446551a6b5f7"
	DirectoryReaders            = "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"
	GlobalReader                = "f2ef992c-3afb-46b9-b7cf-a126ee74c451"
)

// Tenant is the one tenant; ID is its GUID.
type Tenant struct {
	ID          string `json:"id"`
	DisplayName string `json:"displayName"`
	Domain      string `json:"domain"` // the initial domain, contoso.onmicrosoft.com
}

// User is a person. Password is the test credential, never shown by Graph.
type User struct {
	ID                string    `json:"id"`
	UserPrincipalName string    `json:"userPrincipalName"`
	DisplayName       string    `json:"displayName"`
	Mail              string    `json:"mail,omitempty"`
	AccountEnabled    bool      `json:"accountEnabled"`
	CreatedDateTime   time.Time `json:"createdDateTime"`
	Password          string    `json:"password,omitempty"`

	Agent            Agent  `json:"agent,omitempty"`            // AgentUser or ""
	IdentityParentID string `json:"identityParentId,omitempty"` // of an agent user: its agent identity
	MailNickname     string `json:"mailNickname,omitempty"`     // "" means the part before the @
	UsageLocation    string `json:"usageLocation,omitempty"`
}

// Group is a security group; Members are object ids of users, service principals and groups.
type Group struct {
	ID                 string    `json:"id"`
	DisplayName        string    `json:"displayName"`
	MailNickname       string    `json:"mailNickname,omitempty"`
	Members            []string  `json:"members"`
	IsAssignableToRole bool      `json:"isAssignableToRole,omitempty"` // directory roles may be given to it; fixed when it is made
	CreatedDateTime    time.Time `json:"createdDateTime"`
}

// KeyCredential is a certificate (or symmetric key) of an application or service principal. Key is DER.
type KeyCredential struct {
	KeyID               string    `json:"keyId"`
	CustomKeyIdentifier string    `json:"customKeyIdentifier,omitempty"` // base64 text as sent, or base64(SHA-1(DER))
	DisplayName         *string   `json:"displayName"`
	Type                string    `json:"type"`
	Usage               string    `json:"usage"`
	StartDateTime       time.Time `json:"startDateTime"`
	EndDateTime         time.Time `json:"endDateTime"`
	Key                 []byte    `json:"key,omitempty"`
}

// PasswordCredential is a client secret. Secret is the value, which only addPassword's answer ever shows.
type PasswordCredential struct {
	KeyID         string    `json:"keyId"`
	DisplayName   *string   `json:"displayName"`
	Hint          string    `json:"hint"`
	StartDateTime time.Time `json:"startDateTime"`
	EndDateTime   time.Time `json:"endDateTime"`
	Secret        string    `json:"secret"`
}

// AppRole is an application permission (or a role for users) that a resource defines.
type AppRole struct {
	ID                 string   `json:"id"`
	Value              string   `json:"value"`
	DisplayName        string   `json:"displayName"`
	Description        string   `json:"description"`
	AllowedMemberTypes []string `json:"allowedMemberTypes"`
	IsEnabled          bool     `json:"isEnabled"`
}

// PermissionScope is a delegated permission that a resource defines.
type PermissionScope struct {
	ID        string `json:"id"`
	Value     string `json:"value"`
	Type      string `json:"type"` // User or Admin
	IsEnabled bool   `json:"isEnabled"`
}

// Application is an app registration. Rest keeps the properties that the local cloud stores and does not look at, by Graph name.
type Application struct {
	ID                  string               `json:"id"`
	AppID               string               `json:"appId"`
	DisplayName         string               `json:"displayName"`
	UniqueName          *string              `json:"uniqueName"`
	SignInAudience      string               `json:"signInAudience"`
	CreatedDateTime     time.Time            `json:"createdDateTime"`
	CreatedByAppID      string               `json:"createdByAppId,omitempty"`
	DeletedDateTime     *time.Time           `json:"deletedDateTime"` // set while in the recycle bin
	IsDisabled          bool                 `json:"isDisabled,omitempty"`
	IdentifierURIs      []string             `json:"identifierUris"`
	Tags                []string             `json:"tags"`
	KeyCredentials      []KeyCredential      `json:"keyCredentials"`
	PasswordCredentials []PasswordCredential `json:"passwordCredentials"`
	AppRoles            []AppRole            `json:"appRoles"`
	PermissionScopes    []PermissionScope    `json:"oauth2PermissionScopes"`
	TokenVersion        int                  `json:"requestedAccessTokenVersion,omitempty"` // 0 and 1 mean v1 tokens
	PublicClient        bool                 `json:"isFallbackPublicClient,omitempty"`
	Owners              []string             `json:"owners"` // object ids
	PolicyIDs           []string             `json:"appManagementPolicies,omitempty"`
	Agent               Agent                `json:"agent,omitempty"`    // Blueprint or ""
	Sponsors            []string             `json:"sponsors,omitempty"` // of a blueprint: object ids
	Inheritable         []Inheritable        `json:"inheritablePermissions,omitempty"`
	Rest                map[string]any       `json:"rest,omitempty"`
}

// ServicePrincipal is an application's (or managed identity's) presence in the tenant.
type ServicePrincipal struct {
	ID                     string               `json:"id"`
	AppID                  string               `json:"appId"`
	DisplayName            string               `json:"displayName"`
	ServicePrincipalType   string               `json:"servicePrincipalType"` // Application, ManagedIdentity, …
	AccountEnabled         bool                 `json:"accountEnabled"`
	CreatedDateTime        time.Time            `json:"createdDateTime"`
	DeletedDateTime        *time.Time           `json:"deletedDateTime"`
	AppOwnerOrganizationID string               `json:"appOwnerOrganizationId"`
	AppRoleAssignmentReq   bool                 `json:"appRoleAssignmentRequired,omitempty"`
	AlternativeNames       []string             `json:"alternativeNames"`
	ServicePrincipalNames  []string             `json:"servicePrincipalNames"`
	Tags                   []string             `json:"tags"`
	KeyCredentials         []KeyCredential      `json:"keyCredentials"`
	PasswordCredentials    []PasswordCredential `json:"passwordCredentials"`
	AppRoles               []AppRole            `json:"appRoles"`
	PermissionScopes       []PermissionScope    `json:"oauth2PermissionScopes"`
	Owners                 []string             `json:"owners"`
	Agent                  Agent                `json:"agent,omitempty"`                    // BlueprintPrincipal, AgentIdentity or ""
	BlueprintID            string               `json:"agentIdentityBlueprintId,omitempty"` // of an agent identity: its blueprint's app id
	CreatedByAppID         string               `json:"createdByAppId,omitempty"`
	Sponsors               []string             `json:"sponsors,omitempty"`
	Rest                   map[string]any       `json:"rest,omitempty"`
}

// FederatedCredential lets a token of another issuer stand for the application. ParentID is the application's (or identity's
// service principal's) object id.
type FederatedCredential struct {
	ID          string   `json:"id"`
	ParentID    string   `json:"parentId"`
	Name        string   `json:"name"`
	Issuer      string   `json:"issuer"`
	Subject     string   `json:"subject"`
	Audiences   []string `json:"audiences"`
	Description *string  `json:"description"`
}

// AppRoleAssignment grants an application permission.
type AppRoleAssignment struct {
	ID              string    `json:"id"`
	PrincipalID     string    `json:"principalId"`
	PrincipalType   string    `json:"principalType"`
	ResourceID      string    `json:"resourceId"`
	AppRoleID       string    `json:"appRoleId"`
	CreatedDateTime time.Time `json:"createdDateTime"`
}

// PermissionGrant is a delegated grant (oauth2PermissionGrant).
type PermissionGrant struct {
	ID          string  `json:"id"`
	ClientID    string  `json:"clientId"`
	ConsentType string  `json:"consentType"` // AllPrincipals or Principal
	PrincipalID *string `json:"principalId"`
	ResourceID  string  `json:"resourceId"`
	Scope       string  `json:"scope"`
}

// RoleMember says that a principal holds a directory role. ID is Template + "/" + PrincipalID.
type RoleMember struct {
	ID          string `json:"id"`
	Template    string `json:"roleTemplateId"`
	PrincipalID string `json:"principalId"`
}

// Policy is an app management policy; ID "default" is the tenant's. Body is the resource as Graph gives it.
type Policy struct {
	ID   string         `json:"id"`
	Body map[string]any `json:"body"`
}

// Directory is the tables of the tenant.
//
// Indexes. Applications: appId, displayName (lower case), namePrefix (see [PrefixKey]), uniqueName (kept by deleted ones too), owner,
// identifierUri, createdBy (app id), deleted (key "true"), agent (type; deleted ones too). ServicePrincipals: appId, displayName,
// namePrefix, servicePrincipalName, owner, deleted, agent and blueprint (app id; deleted ones too). Users: upn (lower case), namePrefix,
// agent, parent (of agent users). DeletedUsers: upn. Groups: displayName, namePrefix, member. FederatedCredentials: parent.
// AppRoleAssignments: principal, resource. PermissionGrants: client, resource. RoleMembers: principal, template.
//
// Objects in the recycle bin stay in their table with DeletedDateTime set; [Application.Live] and [ServicePrincipal.Live] tell.
type Directory struct {
	Tenant               Tenant
	Store                *replica.Store
	Users                *replica.Table[User]
	DeletedUsers         *replica.Table[DeletedUser]
	Groups               *replica.Table[Group]
	Applications         *replica.Table[Application]
	ServicePrincipals    *replica.Table[ServicePrincipal]
	FederatedCredentials *replica.Table[FederatedCredential]
	AppRoleAssignments   *replica.Table[AppRoleAssignment]
	PermissionGrants     *replica.Table[PermissionGrant]
	RoleMembers          *replica.Table[RoleMember]
	Policies             *replica.Table[Policy]
}

// PreAuthorized are the values of the delegated permissions that users need not consent to for a client: those that the application
// grants it as one of its api.preAuthorizedApplications.
func (a Application) PreAuthorized(client string) []string {
	api, _ := a.Rest["api"].(map[string]any)
	listed, _ := api["preAuthorizedApplications"].([]any)
	var values []string
	for _, one := range listed {
		entry, _ := one.(map[string]any)
		if id, _ := entry["appId"].(string); !strings.EqualFold(id, client) {
			continue
		}
		ids, _ := entry["delegatedPermissionIds"].([]any)
		for _, p := range a.PermissionScopes {
			if p.IsEnabled && slices.ContainsFunc(ids, func(id any) bool { s, _ := id.(string); return strings.EqualFold(s, p.ID) }) {
				values = append(values, p.Value)
			}
		}
	}
	return values
}

// Live tells whether the application is not in the recycle bin.
func (a Application) Live() bool { return a.DeletedDateTime == nil }

// Live tells whether the service principal is not in the recycle bin.
func (p ServicePrincipal) Live() bool { return p.DeletedDateTime == nil }

// New makes the tables, empty, in the store.
func New(s *replica.Store, t Tenant) *Directory {
	type keys[T any] = map[string]func(T) []string
	one := func(k string) []string { return []string{k} }
	fold := func(k string) []string { return []string{strings.ToLower(k)} }
	binned := func(live bool) []string {
		if live {
			return nil
		}
		return one("true")
	}
	return &Directory{
		Tenant: t,
		Store:  s,
		Users: replica.NewTable(s, "users", keys[User]{
			"upn":        func(u User) []string { return fold(u.UserPrincipalName) },
			"namePrefix": func(u User) []string { return prefixKeys(u.DisplayName) },
			"agent":      func(u User) []string { return agentKeys(u.Agent) },
			"parent":     func(u User) []string { return keyed(u.IdentityParentID) },
		}),
		DeletedUsers: replica.NewTable(s, "deletedUsers", keys[DeletedUser]{
			"upn": func(u DeletedUser) []string { return fold(u.User.UserPrincipalName) },
		}),
		Groups: replica.NewTable(s, "groups", keys[Group]{
			"displayName": func(g Group) []string { return fold(g.DisplayName) },
			"namePrefix":  func(g Group) []string { return prefixKeys(g.DisplayName) },
			"member":      func(g Group) []string { return g.Members },
		}),
		Applications: replica.NewTable(s, "applications", keys[Application]{
			"appId":       func(a Application) []string { return one(a.AppID) },
			"displayName": func(a Application) []string { return fold(a.DisplayName) },
			"namePrefix":  func(a Application) []string { return prefixKeys(a.DisplayName) },
			"deleted":     func(a Application) []string { return binned(a.Live()) },
			"agent":       func(a Application) []string { return agentKeys(a.Agent) },
			"createdBy": func(a Application) []string {
				if a.CreatedByAppID == "" {
					return nil
				}
				return one(a.CreatedByAppID)
			},
			"owner":         func(a Application) []string { return a.Owners },
			"identifierUri": func(a Application) []string { return a.IdentifierURIs },
			"uniqueName": func(a Application) []string {
				if a.UniqueName == nil {
					return nil
				}
				return one(*a.UniqueName)
			},
		}),
		ServicePrincipals: replica.NewTable(s, "servicePrincipals", keys[ServicePrincipal]{
			"appId":                func(p ServicePrincipal) []string { return one(p.AppID) },
			"displayName":          func(p ServicePrincipal) []string { return fold(p.DisplayName) },
			"namePrefix":           func(p ServicePrincipal) []string { return prefixKeys(p.DisplayName) },
			"deleted":              func(p ServicePrincipal) []string { return binned(p.Live()) },
			"agent":                func(p ServicePrincipal) []string { return agentKeys(p.Agent) },
			"blueprint":            func(p ServicePrincipal) []string { return keyed(p.BlueprintID) },
			"servicePrincipalName": func(p ServicePrincipal) []string { return p.ServicePrincipalNames },
			"owner":                func(p ServicePrincipal) []string { return p.Owners },
		}),
		FederatedCredentials: replica.NewTable(s, "federatedIdentityCredentials", keys[FederatedCredential]{
			"parent": func(c FederatedCredential) []string { return one(c.ParentID) },
		}),
		AppRoleAssignments: replica.NewTable(s, "appRoleAssignments", keys[AppRoleAssignment]{
			"principal": func(a AppRoleAssignment) []string { return one(a.PrincipalID) },
			"resource":  func(a AppRoleAssignment) []string { return one(a.ResourceID) },
		}),
		PermissionGrants: replica.NewTable(s, "oauth2PermissionGrants", keys[PermissionGrant]{
			"client":   func(g PermissionGrant) []string { return one(g.ClientID) },
			"resource": func(g PermissionGrant) []string { return one(g.ResourceID) },
		}),
		RoleMembers: replica.NewTable(s, "directoryRoleMembers", keys[RoleMember]{
			"principal": func(m RoleMember) []string { return one(m.PrincipalID) },
			"template":  func(m RoleMember) []string { return one(m.Template) },
		}),
		Policies: replica.NewTable(s, "policies", keys[Policy]{}),
	}
}

// prefixKeys are the beginnings of a name whose length is a power of two, lower case: few enough to be kept for every object, and enough
// to find those of any beginning without looking at the rest.
func prefixKeys(name string) []string {
	name = strings.ToLower(name)
	var keys []string
	for n := 1; n <= len(name) && n <= maxPrefix; n *= 2 {
		keys = append(keys, name[:n])
	}
	return keys
}

const maxPrefix = 64

// PrefixKey is the key of the index namePrefix under which every object is whose name begins with prefix, and others. An empty prefix
// has none.
func PrefixKey(prefix string) (key string, ok bool) {
	prefix = strings.ToLower(prefix)
	if prefix == "" {
		return "", false
	}
	n := 1
	for 2*n <= len(prefix) && 2*n <= maxPrefix {
		n *= 2
	}
	return prefix[:n], true
}

// GroupsOf returns the ids of every group that has the principal as a member, directly or through other groups. Azure's roles reach
// that far; for those of the directory see RolesOf, for those of applications DirectGroupsOf.
func (d *Directory) GroupsOf(v replica.View, principal string) []string {
	seen := map[string]bool{}
	var ids []string
	for queue := []string{principal}; len(queue) > 0; queue = queue[1:] {
		for _, g := range d.Groups.By(v, "member", queue[0]) {
			if !seen[g.ID] {
				seen[g.ID] = true
				ids = append(ids, g.ID)
				queue = append(queue, g.ID)
			}
		}
	}
	return ids
}

// DirectGroupsOf returns the ids of the groups that have the principal as a member themselves. An application role that is assigned to a
// group reaches no further (Microsoft, "Manage users and groups assignment to an application": nested membership is not supported).
func (d *Directory) DirectGroupsOf(v replica.View, principal string) []string {
	var ids []string
	for _, g := range d.Groups.By(v, "member", principal) {
		ids = append(ids, g.ID)
	}
	return ids
}

// RolesOf returns the template ids of the directory roles that the principal holds, itself or as a direct member of a group to which
// roles can be assigned (Microsoft, "Use Microsoft Entra groups to manage role assignments": such groups cannot be nested).
func (d *Directory) RolesOf(v replica.View, principal string) []string {
	holders := []string{principal}
	for _, g := range d.Groups.By(v, "member", principal) {
		if g.IsAssignableToRole {
			holders = append(holders, g.ID)
		}
	}
	var roles []string
	for _, id := range holders {
		for _, m := range d.RoleMembers.By(v, "principal", id) {
			if !slices.Contains(roles, m.Template) {
				roles = append(roles, m.Template)
			}
		}
	}
	return roles
}

// PrincipalType is User, Group or ServicePrincipal, and "" if no live object has the id.
func (d *Directory) PrincipalType(v replica.View, id string) string {
	if p, ok := d.ServicePrincipals.Get(v, id); ok && p.Live() {
		return "ServicePrincipal"
	}
	if _, ok := d.Users.Get(v, id); ok {
		return "User"
	}
	if _, ok := d.Groups.Get(v, id); ok {
		return "Group"
	}
	return ""
}
