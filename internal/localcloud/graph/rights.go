package graph

import (
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// need says who may do an operation. A field lists alternatives, separated by spaces.
//
// An application (a token without a user) needs one of app, or one of owned when it owns the object, or a directory role of its own.
// A user needs one of scopes in the token and, besides, a role of roles, or what member, creator or owner say: a delegated permission
// never adds to what the user may do (Microsoft, "Overview of Microsoft Graph permissions").
type need struct {
	app     string // application permissions
	owned   string // application permissions that count on objects the application owns
	scopes  string // delegated permissions
	roles   string // directory roles, by template id
	member  bool   // every user of the tenant
	creator bool   // every user, if the authorization policy lets users create applications
	owner   bool   // a user who owns the object
	self    bool   // the application (or service principal) itself, with no permission at all
	agents  bool   // a write of Agent ID, about which some permissions of a client leave it no say: see ignored
}

// operation names a row of the table.
type operation string

const (
	readApps      = "Application.Read.All Application.ReadWrite.All Application.ReadWrite.OwnedBy Directory.Read.All Directory.ReadWrite.All"
	readAppScopes = "Application.Read.All Application.ReadWrite.All Directory.Read.All Directory.ReadWrite.All Directory.AccessAsUser.All"
	writeApps     = "Application.ReadWrite.All Directory.ReadWrite.All"
	writeScopes   = "Application.ReadWrite.All Directory.ReadWrite.All Directory.AccessAsUser.All"
	readDirectory = "Directory.Read.All Directory.ReadWrite.All"
	asUser        = "Directory.Read.All Directory.ReadWrite.All Directory.AccessAsUser.All"

	admin    = directory.GlobalAdministrator
	roleKeep = directory.GlobalAdministrator + " " + directory.PrivilegedRoleAdministrator
	appKeep  = directory.GlobalAdministrator + " " + directory.ApplicationAdministrator + " " + directory.CloudAppAdministrator
	readers  = directory.GlobalReader + " " + directory.DirectoryReaders

	agentKeep = directory.GlobalAdministrator + " " + directory.AgentIDAdministrator
	agentMake = agentKeep + " " + directory.AgentIDDeveloper // and then owns what was made

	blueprints = "AgentIdentityBlueprint.ReadWrite.All"
	bpp        = "AgentIdentityBlueprintPrincipal."
)

// rights is the one table of who may do what. Sources: the "Permissions" section of each operation's page in the Microsoft Graph
// reference; "Microsoft Graph permissions reference" for Application.ReadWrite.OwnedBy, which lists all applications and service
// principals and writes its own; "Microsoft Entra built-in roles"; "application: addKey", which needs no permission for an
// application's own keys. An application without a permission may not even read itself (observed 2026-08).
var rights = map[operation]need{
	"application.read":   {app: readApps, scopes: readAppScopes, roles: appKeep + " " + readers, member: true},
	"application.create": {app: writeApps + " Application.ReadWrite.OwnedBy", scopes: writeScopes, roles: appKeep, creator: true},
	"application.write":  {app: writeApps, owned: "Application.ReadWrite.OwnedBy", scopes: writeScopes, roles: appKeep, owner: true},
	"application.key":    {app: writeApps, owned: "Application.ReadWrite.OwnedBy", scopes: writeScopes, roles: appKeep, owner: true, self: true},
	"application.policy": {app: "Policy.ReadWrite.ApplicationConfiguration", scopes: "Policy.ReadWrite.ApplicationConfiguration Directory.AccessAsUser.All", roles: appKeep},

	"servicePrincipal.read":   {app: readApps, scopes: readAppScopes, roles: appKeep + " " + readers, member: true},
	"servicePrincipal.create": {app: writeApps, owned: "Application.ReadWrite.OwnedBy", scopes: writeScopes, roles: appKeep, owner: true},
	"servicePrincipal.write":  {app: writeApps, owned: "Application.ReadWrite.OwnedBy", scopes: writeScopes, roles: appKeep, owner: true},
	"servicePrincipal.key":    {app: writeApps, owned: "Application.ReadWrite.OwnedBy", scopes: writeScopes, roles: appKeep, owner: true, self: true},

	"grant.read":           {app: "DelegatedPermissionGrant.Read.All DelegatedPermissionGrant.ReadWrite.All " + readDirectory, scopes: "DelegatedPermissionGrant.Read.All DelegatedPermissionGrant.ReadWrite.All " + asUser, roles: appKeep, member: true},
	"grant.write":          {app: "DelegatedPermissionGrant.ReadWrite.All Directory.ReadWrite.All", scopes: "DelegatedPermissionGrant.ReadWrite.All Directory.ReadWrite.All Directory.AccessAsUser.All", roles: appKeep + " " + directory.PrivilegedRoleAdministrator},
	"assignment.read":      {app: "AppRoleAssignment.ReadWrite.All Application.Read.All Application.ReadWrite.All " + readDirectory, scopes: "AppRoleAssignment.ReadWrite.All " + readAppScopes, roles: appKeep, member: true},
	"assignment.write":     {app: "AppRoleAssignment.ReadWrite.All", scopes: "AppRoleAssignment.ReadWrite.All Directory.AccessAsUser.All", roles: appKeep + " " + directory.PrivilegedRoleAdministrator},
	"assignment.ofGraph":   {app: "AppRoleAssignment.ReadWrite.All", scopes: "AppRoleAssignment.ReadWrite.All Directory.AccessAsUser.All", roles: roleKeep},
	"deletedItem.read":     {app: readApps, scopes: readAppScopes, roles: appKeep + " " + readers, member: true},
	"deletedItem.write":    {app: writeApps, owned: "Application.ReadWrite.OwnedBy", scopes: writeScopes, roles: appKeep, owner: true},
	"directoryObject.read": {app: readApps + " User.Read.All User.ReadWrite.All Group.Read.All Group.ReadWrite.All GroupMember.Read.All", scopes: readAppScopes + " User.Read.All User.ReadWrite.All User.ReadBasic.All Group.Read.All Group.ReadWrite.All", roles: admin, member: true},

	"me.read":    {scopes: "User.Read User.ReadWrite User.Read.All User.ReadWrite.All User.ReadBasic.All " + asUser, member: true},
	"user.read":  {app: "User.Read.All User.ReadWrite.All " + readDirectory, scopes: "User.Read.All User.ReadWrite.All User.ReadBasic.All " + asUser, roles: admin, member: true},
	"group.read": {app: "Group.Read.All Group.ReadWrite.All GroupMember.Read.All GroupMember.ReadWrite.All " + readDirectory, scopes: "Group.Read.All Group.ReadWrite.All GroupMember.Read.All " + asUser, roles: admin, member: true},
	"group.create": {app: "Group.Create Group.ReadWrite.All Directory.ReadWrite.All", scopes: "Group.ReadWrite.All Directory.ReadWrite.All Directory.AccessAsUser.All",
		roles: admin},
	"group.members": {app: "GroupMember.ReadWrite.All Group.ReadWrite.All Directory.ReadWrite.All", scopes: "GroupMember.ReadWrite.All Group.ReadWrite.All Directory.ReadWrite.All Directory.AccessAsUser.All",
		roles: admin},
	"group.delete": {app: "Group.ReadWrite.All", scopes: "Group.ReadWrite.All Directory.AccessAsUser.All", roles: admin},
	"group.roles":  {app: "RoleManagement.ReadWrite.Directory", scopes: "RoleManagement.ReadWrite.Directory Directory.AccessAsUser.All", roles: roleKeep},

	"directoryRole.read":  {app: "RoleManagement.Read.Directory RoleManagement.ReadWrite.Directory " + readDirectory, scopes: "RoleManagement.Read.Directory RoleManagement.ReadWrite.Directory " + asUser, roles: roleKeep, member: true},
	"directoryRole.write": {app: "RoleManagement.ReadWrite.Directory", scopes: "RoleManagement.ReadWrite.Directory Directory.AccessAsUser.All", roles: roleKeep},
	"organization.read":   {app: "Organization.Read.All Organization.ReadWrite.All LicenseAssignment.ReadWrite.All " + readDirectory, scopes: "User.Read Organization.Read.All User.Read.All User.ReadWrite.All " + asUser, roles: admin, member: true},
	"domain.read":         {app: "Domain.Read.All Domain.ReadWrite.All " + readDirectory, scopes: "Domain.Read.All " + asUser, roles: admin, member: true},

	"policy.read":              {app: "Policy.Read.All Policy.ReadWrite.ApplicationConfiguration", scopes: "Policy.Read.All Policy.ReadWrite.ApplicationConfiguration Directory.AccessAsUser.All", roles: appKeep + " " + readers},
	"policy.write":             {app: "Policy.ReadWrite.ApplicationConfiguration", scopes: "Policy.ReadWrite.ApplicationConfiguration Directory.AccessAsUser.All", roles: appKeep},
	"authorizationPolicy.read": {app: "Policy.Read.All Policy.ReadWrite.Authorization", scopes: "Policy.Read.All Policy.ReadWrite.Authorization Directory.AccessAsUser.All", roles: admin, member: true},
	"authorizationPolicy.write": {app: "Policy.ReadWrite.Authorization", scopes: "Policy.ReadWrite.Authorization Directory.AccessAsUser.All",
		roles: roleKeep},

	// Agent ID ("Permissions" of each page of agentIdentityBlueprint, agentIdentityBlueprintPrincipal, agentIdentity and agentUser, v1.0 of
	// 2026). The permissions for applications in general let nobody write these; they do let read them.
	"blueprint.read":        {app: "AgentIdentityBlueprint.Read.All " + blueprints + " " + readApps, scopes: "AgentIdentityBlueprint.Read.All " + blueprints + " " + readAppScopes, roles: agentMake + " " + readers, member: true},
	"blueprint.create":      {app: "AgentIdentityBlueprint.Create " + blueprints, scopes: "AgentIdentityBlueprint.Create " + blueprints, roles: agentMake, agents: true},
	"blueprint.write":       {app: blueprints, scopes: blueprints, roles: agentKeep, owner: true, agents: true},
	"blueprint.branding":    {app: "AgentIdentityBlueprint.UpdateBranding.All " + blueprints, scopes: "AgentIdentityBlueprint.UpdateBranding.All " + blueprints, roles: agentKeep, owner: true, agents: true},
	"blueprint.auth":        {app: "AgentIdentityBlueprint.UpdateAuthProperties.All " + blueprints, scopes: "AgentIdentityBlueprint.UpdateAuthProperties.All " + blueprints, roles: agentKeep, owner: true, agents: true},
	"blueprint.inherit":     {app: "AgentIdentityBlueprint.Create AgentIdentityBlueprint.UpdateAuthProperties.All " + blueprints, scopes: "AgentIdentityBlueprint.Create AgentIdentityBlueprint.UpdateAuthProperties.All " + blueprints, roles: agentKeep, owner: true, agents: true},
	"blueprint.credentials": {app: "AgentIdentityBlueprint.AddRemoveCreds.All " + blueprints, scopes: "AgentIdentityBlueprint.AddRemoveCreds.All " + blueprints, roles: agentKeep, owner: true, agents: true},
	"blueprint.key":         {app: "AgentIdentityBlueprint.AddRemoveCreds.All " + blueprints, scopes: "AgentIdentityBlueprint.AddRemoveCreds.All " + blueprints, roles: agentKeep, owner: true, self: true, agents: true},
	"blueprint.delete":      {app: "AgentIdentityBlueprint.DeleteRestore.All " + blueprints, scopes: "AgentIdentityBlueprint.DeleteRestore.All " + blueprints, roles: agentKeep, owner: true, agents: true},

	"blueprintPrincipal.read":   {app: bpp + "Read.All " + bpp + "ReadWrite.All " + readApps, scopes: bpp + "Read.All " + bpp + "ReadWrite.All " + readAppScopes, roles: agentMake + " " + readers, member: true},
	"blueprintPrincipal.create": {app: bpp + "Create " + bpp + "ReadWrite.All", scopes: bpp + "Create " + bpp + "ReadWrite.All", roles: agentMake, owner: true, agents: true},
	"blueprintPrincipal.write":  {app: bpp + "ReadWrite.All", scopes: bpp + "ReadWrite.All", roles: agentKeep, owner: true, agents: true},
	"blueprintPrincipal.enable": {app: bpp + "EnableDisable.All " + bpp + "ReadWrite.All", scopes: bpp + "EnableDisable.All " + bpp + "ReadWrite.All", roles: agentKeep, owner: true, agents: true},
	"blueprintPrincipal.delete": {app: bpp + "DeleteRestore.All " + bpp + "ReadWrite.All", scopes: bpp + "DeleteRestore.All " + bpp + "ReadWrite.All", roles: agentKeep, owner: true, agents: true},

	"agentIdentity.read":     {app: "AgentIdentity.Read.All AgentIdentity.ReadWrite.All AgentIdentity.CreateAsManager " + readApps, scopes: "AgentIdentity.Read.All AgentIdentity.ReadWrite.All " + readAppScopes, roles: agentMake + " " + readers, member: true},
	"agentIdentity.create":   {app: "AgentIdentity.Create.All", owned: "AgentIdentity.CreateAsManager", scopes: "AgentIdentity.Create.All", roles: agentKeep, owner: true, agents: true},
	"agentIdentity.write":    {app: "AgentIdentity.ReadWrite.All", owned: "AgentIdentity.CreateAsManager", scopes: "AgentIdentity.ReadWrite.All", roles: agentKeep, owner: true, agents: true},
	"agentIdentity.enable":   {app: "AgentIdentity.EnableDisable.All AgentIdentity.ReadWrite.All", owned: "AgentIdentity.CreateAsManager", scopes: "AgentIdentity.EnableDisable.All AgentIdentity.ReadWrite.All", roles: agentKeep, owner: true, agents: true},
	"agentIdentity.delete":   {app: "AgentIdentity.DeleteRestore.All AgentIdentity.ReadWrite.All", owned: "AgentIdentity.CreateAsManager", scopes: "AgentIdentity.DeleteRestore.All AgentIdentity.ReadWrite.All", roles: agentKeep, owner: true, agents: true},
	"agentIdentity.sponsors": {app: "AgentIdentity.ReadWrite.All", agents: true}, // "Delegated: not supported"

	"agentUser.read":   {app: "AgentIdUser.ReadWrite.All AgentIdUser.ReadWrite.IdentityParentedBy User.Read.All User.ReadWrite.All " + readDirectory, scopes: "AgentIdUser.ReadWrite.All AgentIdUser.ReadWrite.IdentityParentedBy User.Read.All User.ReadWrite.All User.ReadBasic.All " + asUser, roles: agentKeep, member: true},
	"agentUser.create": {app: "AgentIdUser.ReadWrite.All User.ReadWrite.All", owned: "AgentIdUser.ReadWrite.IdentityParentedBy", scopes: "AgentIdUser.ReadWrite.All AgentIdUser.ReadWrite.IdentityParentedBy User.ReadWrite.All", roles: agentKeep, agents: true},
	"agentUser.write":  {app: "AgentIdUser.ReadWrite.All User.ReadWrite.All", owned: "AgentIdUser.ReadWrite.IdentityParentedBy", scopes: "AgentIdUser.ReadWrite.All AgentIdUser.ReadWrite.IdentityParentedBy User.ReadWrite.All", roles: agentKeep, agents: true},
	"agentUser.delete": {app: "AgentIdUser.ReadWrite.All User.ReadWrite.All", owned: "AgentIdUser.ReadWrite.IdentityParentedBy", scopes: "AgentIdUser.ReadWrite.All AgentIdUser.ReadWrite.IdentityParentedBy User.ReadWrite.All Directory.AccessAsUser.All", roles: agentKeep},

	"user.create": {}, // of people: nobody, here
	"user.write":  {},

	// Each request of a batch is a request with its own need.
	"batch": {self: true},
}

// verdict is what the table says before the object is known.
type verdict int

const (
	no verdict = iota
	ifOwner
	yes
)

// may looks an operation up for the caller. ifOwner means yes if the caller owns the object.
func (c *call) may(v replica.View, op operation) verdict {
	n := rights[op]
	if n.agents && anyOf(ignored, c.who.permissions) || c.cast != "" && anyOf("Directory.AccessAsUser.All", c.who.permissions) {
		return no // the latter is refused by every API of Agent ID, reads included (observed 2026)
	}
	roles := func() bool { return anyOf(n.roles, c.s.dir.RolesOf(v, c.who.id)) }
	if c.who.app {
		switch {
		case anyOf(n.app, c.who.permissions), roles():
			return yes
		case anyOf(n.owned, c.who.permissions):
			return ifOwner
		}
		return no
	}
	switch {
	case !anyOf(n.scopes, c.who.permissions):
		return no
	case n.member, roles(), n.creator && c.s.usersCreateApps(v):
		return yes
	case n.owner:
		return ifOwner
	}
	return no
}

// subject is the object of an operation, as far as rights care.
type subject struct {
	owners []string
	agent  directory.Agent // its type, if it is of Agent ID
	self   bool            // the caller is the object

	decided bool // by another operation than the route's, and allowed
}

// allow decides an operation on an object.
func (c *call) allow(v replica.View, op operation, on subject) error {
	if rights[op].self && on.self {
		return nil
	}
	switch c.may(v, op) {
	case yes:
		return nil
	case ifOwner:
		if slices.Contains(on.owners, c.who.id) {
			return nil
		}
	}
	return denied()
}

func anyOf(list string, have []string) bool {
	for want := range strings.FieldsSeq(list) {
		if slices.Contains(have, want) {
			return true
		}
	}
	return false
}
