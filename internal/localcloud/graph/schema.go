package graph

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/graph/odata"
)

// schemaText lists the types and what a query may do with their properties; what is not in it does not exist, and a query that names it
// is refused, because a typo must never read as an empty list.
//
// A line is a property, its kind and what it can be asked for: the operators of $filter (any is the empty lambda), "search" for $search,
// "orderby" for $orderby, "null" for a comparison with null, "expand" for $expand. A property of a complex one or of the members of a
// collection has its path. A line that begins with "-" lists properties that can be selected only; one with "nav" navigation
// properties that exist and cannot be expanded here.
//
// Kinds: text, guid (written bare) and guidtext (a quoted GUID), bool, date, texts and objects (collections, for lambdas).
//
// Sources: the "Properties" tables of each resource type in the Microsoft Graph v1.0 reference, and Microsoft Graph, "Advanced query
// capabilities on Microsoft Entra ID objects".
const schemaText = `
type application
id                        guidtext eq ne not in
appId                     guidtext eq ne not in
uniqueName                text     eq ne not in null
displayName               text     eq ne not ge le in startswith null search orderby
description               text     eq ne not ge le startswith search
publisherDomain           text     eq ne ge le startswith
signInAudience            text     eq ne not
applicationTemplateId     text     eq ne not null
disabledByMicrosoftStatus text     eq ne not null
createdDateTime           date     eq ne not ge le in null orderby
deletedDateTime           date     eq ne not ge le in null
identifierUris            texts    eq ne not ge le startswith
tags                      texts    eq not ge le startswith
web/homePageUrl           text     eq startswith
web/logoutUrl             text     eq startswith
web/redirectUris          texts    eq startswith
spa/redirectUris          texts    eq startswith
publicClient/redirectUris texts    eq startswith
info/termsOfServiceUrl    text     eq ne not ge le null
requiredResourceAccess    objects
requiredResourceAccess/resourceAppId text eq not ge le
keyCredentials            objects
passwordCredentials       objects
owners                    nav      expand
- addIns api appRoles authenticationBehaviors certification createdByAppId defaultRedirectUri groupMembershipClaims info
- isDeviceOnlyAuthSupported isDisabled isFallbackPublicClient logo managerApplications nativeAuthenticationApisEnabled notes
- oauth2RequirePostResponse optionalClaims parentalControlSettings publicClient requestSignatureVerification samlMetadataUrl
- serviceManagementReference servicePrincipalLockConfiguration spa tokenEncryptionKeyId verifiedPublisher web
nav appManagementPolicies createdOnBehalfOf extensionProperties federatedIdentityCredentials homeRealmDiscoveryPolicies
nav synchronization tokenIssuancePolicies tokenLifetimePolicies

type servicePrincipal
id                        guidtext eq ne not in
appId                     guidtext eq ne not in
displayName               text     eq ne not ge le in startswith null search orderby
appDisplayName            text     eq ne not ge le in startswith null
description               text     eq ne not ge le startswith search
servicePrincipalType      text     eq ne not in
signInAudience            text     eq ne not
applicationTemplateId     text     eq ne not startswith
appOwnerOrganizationId    guid     eq ne not ge le
accountEnabled            bool     eq ne not in
deletedDateTime           date     eq ne not ge le in null
homepage                  text     eq startswith
alternativeNames          texts    eq not ge le startswith
servicePrincipalNames     texts    eq not ge le startswith
tags                      texts    eq not ge le startswith
keyCredentials            objects
passwordCredentials       objects
appRoles                  objects
oauth2PermissionScopes    objects
owners                    nav      expand
- addIns appDescription appRoleAssignmentRequired createdByAppId createdDateTime customSecurityAttributes disabledByMicrosoftStatus info
- loginUrl logoutUrl notes notificationEmailAddresses preferredSingleSignOnMode preferredTokenSigningKeyThumbprint replyUrls
- resourceSpecificApplicationPermissions samlSingleSignOnSettings tokenEncryptionKeyId verifiedPublisher
nav appManagementPolicies appRoleAssignedTo appRoleAssignments claimsMappingPolicies createdObjects delegatedPermissionClassifications
nav endpoints federatedIdentityCredentials homeRealmDiscoveryPolicies memberOf oauth2PermissionGrants ownedObjects
nav remoteDesktopSecurityConfiguration synchronization tokenIssuancePolicies tokenLifetimePolicies transitiveMemberOf

type user
id                text  eq ne not in
userPrincipalName text  eq ne not ge le in startswith endswith search orderby
displayName       text  eq ne not ge le in startswith null search orderby
givenName         text  eq ne not ge le in startswith null search
surname           text  eq ne not ge le in startswith null search
mail              text  eq ne not ge le in startswith endswith null search
mailNickname      text  eq ne not ge le in startswith null
jobTitle          text  eq ne not ge le in startswith null
officeLocation    text  eq ne not ge le in startswith null
mobilePhone       text  eq ne not ge le in startswith null
preferredLanguage text  eq ne not ge le in startswith null
userType          text  eq ne not in null
accountEnabled    bool  eq ne not in
createdDateTime   date  eq ne not ge le in orderby
deletedDateTime   date  eq ne not ge le in null
businessPhones    texts eq not ge le startswith
- usageLocation
nav appRoleAssignments memberOf oauth2PermissionGrants ownedObjects transitiveMemberOf

type group
id                 text  eq ne not in
displayName        text  eq ne not ge le in startswith null search orderby
description        text  eq ne not ge le startswith search
mail               text  eq ne not ge le in startswith null search
mailNickname       text  eq ne not ge le in startswith search
mailEnabled        bool  eq ne not
securityEnabled    bool  eq ne not in
isAssignableToRole bool  eq ne not
createdDateTime    date  eq ne not ge le in
deletedDateTime    date  eq ne not ge le in null
groupTypes         texts eq not
- visibility
nav members owners memberOf transitiveMemberOf appRoleAssignments

type directoryObject
id text eq ne not in
- deletedDateTime

type appRoleAssignment
resourceId           guid eq
principalDisplayName text eq startswith
- id deletedDateTime appRoleId createdDateTime principalId principalType resourceDisplayName

type oAuth2PermissionGrant
clientId    text eq
consentType text eq
principalId text eq null
resourceId  text eq
- id scope startTime expiryTime

type federatedIdentityCredential
name    text eq
subject text eq
- id issuer audiences description claimsMatchingExpression

type directoryRole
id             text eq
displayName    text eq
roleTemplateId text eq
- deletedDateTime description

type unifiedRoleDefinition
id          text eq in
displayName text eq in startswith
isBuiltIn   bool eq in
templateId  text eq
- description isEnabled resourceScopes rolePermissions version
nav inheritsPermissionsFrom

type unifiedRoleAssignment
principalId      text eq in
roleDefinitionId text eq in
directoryScopeId text eq in
- id appScopeId condition
nav principal roleDefinition directoryScope appScope

type organization
- id displayName tenantType countryLetterCode createdDateTime deletedDateTime assignedPlans businessPhones onPremisesSyncEnabled
- provisionedPlans technicalNotificationMails verifiedDomains

type domain
- id authenticationType isAdminManaged isDefault isInitial isRoot isVerified supportedServices availabilityStatus state manufacturer
- model passwordNotificationWindowInDays passwordValidityPeriodInDays

type subscribedSku
- id accountId accountName appliesTo capabilityStatus consumedUnits prepaidUnits servicePlans skuId skuPartNumber subscriptionIds

type appManagementPolicy
displayName text eq
isEnabled   bool eq
- id deletedDateTime description restrictions
nav appliesTo

type tenantAppManagementPolicy
- id deletedDateTime displayName description isEnabled applicationRestrictions servicePrincipalRestrictions

type authorizationPolicy
- id deletedDateTime displayName description allowInvitesFrom allowedToSignUpEmailBasedSubscriptions allowedToUseSSPR
- allowEmailVerifiedUsersToJoinOrganization blockMsolPowerShell defaultUserRolePermissions guestUserRoleId
`

// collections are the types by the last segment of a collection's context.
var collections = map[string]string{
	"applications": "application", "servicePrincipals": "servicePrincipal", "users": "user", "groups": "group", "directoryObjects": "directoryObject",
	"appRoleAssignments": "appRoleAssignment", "oauth2PermissionGrants": "oAuth2PermissionGrant", "federatedIdentityCredentials": "federatedIdentityCredential",
	"directoryRoles": "directoryRole", "roleDefinitions": "unifiedRoleDefinition", "roleAssignments": "unifiedRoleAssignment", "organization": "organization",
	"domains": "domain", "subscribedSkus": "subscribedSku", "appManagementPolicies": "appManagementPolicy",
	"microsoft.graph.agentIdentityBlueprint": "agentIdentityBlueprint", "microsoft.graph.agentIdentityBlueprintPrincipal": "agentIdentityBlueprintPrincipal",
	"microsoft.graph.agentIdentity": "agentIdentity", "microsoft.graph.agentUser": "agentUser", "inheritablePermissions": "inheritablePermission",
	"defaultAppManagementPolicy": "tenantAppManagementPolicy", "authorizationPolicy": "authorizationPolicy",
}

// property is what a query may do with a property.
type property struct {
	name, kind string
	can        []string
}

// schema is a type.
type schema struct {
	name       string
	properties map[string]property // by path, lower case
}

// schemas reads the table. It panics on a broken one, which any test shows.
func schemas() map[string]*schema {
	all := map[string]*schema{}
	var s *schema
	for line := range strings.Lines(schemaText + agentSchemaText) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "type":
			s = &schema{name: f[1], properties: map[string]property{}}
			if len(f) == 4 { // "type T of B" has what B has
				maps.Copy(s.properties, all[f[3]].properties)
			}
			all[s.name] = s
		case f[0] == "-" || f[0] == "nav":
			for _, name := range f[1:] {
				s.properties[strings.ToLower(name)] = property{name: name, kind: f[0]}
			}
		default:
			s.properties[strings.ToLower(f[0])] = property{f[0], f[1], f[2:]}
		}
	}
	// The objects of a relationship are of any type, and their properties can be selected.
	any := all["directoryObject"]
	for _, of := range []string{"application", "servicePrincipal", "user", "group", "directoryRole", "agentIdentity", "agentUser"} {
		for path, p := range all[of].properties {
			if _, has := any.properties[path]; !has {
				any.properties[path] = property{name: p.name, kind: "-"}
			}
		}
	}
	return all
}

// schemaOf is the type of a collection.
func (s *Service) schemaOf(collection string) *schema {
	return s.schemas[collections[collection[strings.LastIndexByte(collection, '/')+1:]]]
}

func (s *schema) resource() string { return strings.ToUpper(s.name[:1]) + s.name[1:] }

func unsupportedQuery(message string) *problem {
	return &problem{status: http.StatusBadRequest, code: "Request_UnsupportedQuery", message: message}
}

func badClause(message string) *problem {
	return &problem{status: http.StatusBadRequest, code: "BadRequest", message: "Invalid filter clause: " + message}
}

// unknown says that the type has no such property, in the words that the part of the query has for it.
func (s *schema) unknown(part, path string) *problem {
	text := "Could not find a property named '" + path + "' on type 'microsoft.graph." + s.name + "'."
	if part == "filter" {
		return badClause(text)
	}
	return &problem{status: http.StatusBadRequest, code: "BadRequest", message: "Parsing OData Select and Expand failed: " + text}
}

// extended tells whether the path is that of a directory extension, which a type may have beside its own properties.
func extended(path string) bool { return strings.HasPrefix(strings.ToLower(path), "extension_") }

// selects checks the names of $select.
func (s *schema) selects(names []string) error {
	for _, name := range names {
		first, _, _ := strings.Cut(strings.ToLower(name), "/")
		if _, known := s.properties[first]; !known && !extended(name) && !s.complex(first) {
			return s.unknown("select", name)
		}
	}
	return nil
}

// complex tells whether properties are listed below the name.
func (s *schema) complex(name string) bool {
	for path := range s.properties {
		if strings.HasPrefix(path, name+"/") {
			return true
		}
	}
	return false
}

// expands checks $expand: one relationship (Microsoft Graph, "Customize Microsoft Graph responses with query parameters", $expand on
// directory objects).
func (s *schema) expands(names []string) error {
	for _, name := range names {
		bare, _, _ := strings.Cut(name, "(")
		p, known := s.properties[strings.ToLower(bare)]
		switch {
		case !known || p.kind != "nav":
			return s.unknown("expand", bare)
		case !slices.Contains(p.can, "expand"):
			return unsupportedQuery("The local cloud does not expand '" + p.name + "'.")
		}
	}
	if len(names) > 1 {
		return unsupportedQuery("Only one relationship can be expanded in a query of directory objects.")
	}
	return nil
}

// check refuses a query that names what the type does not have, or asks for what the service does not answer.
func (s *schema) check(q odata.Query, search string) error {
	if err := s.selects(q.Select); err != nil {
		return err
	}
	if err := s.expands(q.Expand); err != nil {
		return err
	}
	for _, by := range q.OrderBy {
		p, known := s.properties[strings.ToLower(by.Path)]
		switch {
		case !known:
			return s.unknown("orderby", by.Path)
		case !slices.Contains(p.can, "orderby"):
			return unsupportedQuery("Sorting not supported for current query.")
		}
	}
	if search != "" {
		if p := s.properties[strings.ToLower(search)]; !slices.Contains(p.can, "search") {
			return unsupportedQuery("$search is not supported for the property '" + search + "' of resource '" + s.resource() + "'.")
		}
	}
	if q.Filter == nil {
		return nil
	}
	return s.filter(q.Filter, false, nil)
}

// filter checks an expression; of gives the collection that a lambda's variable, lower case, is a member of.
func (s *schema) filter(e odata.Expr, negated bool, of map[string]string) error {
	both := func(a, b odata.Expr) error {
		if err := s.filter(a, negated, of); err != nil {
			return err
		}
		return s.filter(b, negated, of)
	}
	switch e := e.(type) {
	case odata.And:
		return both(e.Left, e.Right)
	case odata.Or:
		return both(e.Left, e.Right)
	case odata.Not:
		return s.filter(e.X, true, of)
	case odata.Compare:
		return s.clause(e.Path, e.Op, negated, of, e.Value)
	case odata.In:
		return s.clause(e.Path, "in", negated, of, e.Values...)
	case odata.Call:
		return s.clause(e.Path, e.Func, negated, of, e.Value)
	case odata.Any:
		path := member(e.Path, of)
		p, known := s.properties[strings.ToLower(path)]
		switch {
		case !known:
			return s.unknown("filter", path)
		case p.kind != "texts" && p.kind != "objects":
			return badClause("Any/All may only be used following a collection.")
		case e.Body == nil:
			return unsupportedQuery("Complex query on property " + p.name + " is not supported.")
		}
		inner := map[string]string{strings.ToLower(e.Var): p.name}
		for v, c := range of {
			if _, hidden := inner[v]; !hidden {
				inner[v] = c
			}
		}
		return s.filter(e.Body, negated, inner)
	}
	return nil
}

// member is the path with a lambda's variable at its front replaced by the collection.
func member(path string, of map[string]string) string {
	first, rest, below := strings.Cut(path, "/")
	collection, is := of[strings.ToLower(first)]
	switch {
	case !is:
		return path
	case below:
		return collection + "/" + rest
	}
	return collection
}

// clause checks one comparison.
func (s *schema) clause(path, op string, negated bool, of map[string]string, values ...odata.Literal) error {
	full := member(path, of)
	p, known := s.properties[strings.ToLower(full)]
	if !known && extended(full) {
		p, known = property{full, "text", []string{"eq", "ne", "not", "ge", "le", "in", "startswith", "null"}}, true
	}
	if !known {
		// A member of a collection that Graph knows and does not look into.
		if up, _, below := strings.Cut(full, "/"); below && s.properties[strings.ToLower(up)].kind == "objects" {
			return unsupportedQuery("Complex query on property " + up + " is not supported.")
		}
		return s.unknown("filter", full)
	}
	if (p.kind == "texts" || p.kind == "objects") && full == path {
		return badClause("A binary operator with incompatible types was detected. Found operand types 'Collection' and 'Edm.String' for operator kind 'Equal'.")
	}
	if !slices.Contains(p.can, op) || negated && !slices.Contains(p.can, "not") {
		return unsupportedQuery("Unsupported or invalid query filter clause specified for property '" + p.name + "' of resource '" + s.resource() + "'.")
	}
	for _, v := range values {
		if err := s.literal(p, v); err != nil {
			return err
		}
	}
	return nil
}

// literal checks that a constant is of the property's kind: a GUID or a truth value in quotes is a string, and no string equals one.
func (s *schema) literal(p property, v odata.Literal) error {
	if !v.Quoted && strings.EqualFold(v.Text, "null") {
		if slices.Contains(p.can, "null") {
			return nil
		}
		return unsupportedQuery("Unsupported or invalid query filter clause specified for property '" + p.name + "' of resource '" + s.resource() + "'.")
	}
	kind, ok := "Edm.String", v.Quoted
	switch p.kind {
	case "guid":
		kind, ok = "Edm.Guid", !v.Quoted && isGUID(v.Text)
	case "bool":
		kind, ok = "Edm.Boolean", !v.Quoted && (strings.EqualFold(v.Text, "true") || strings.EqualFold(v.Text, "false"))
	case "date":
		_, err := time.Parse(time.RFC3339Nano, v.Text)
		kind, ok = "Edm.DateTimeOffset", !v.Quoted && err == nil
	case "guidtext":
		if ok && !isGUID(v.Text) {
			return invalid(p.name, s.resource())
		}
	}
	if ok {
		return nil
	}
	return badClause("A binary operator with incompatible types was detected. Found operand types '" + kind + "' and '" + typeOf(v) + "' for operator kind 'Equal'.")
}

func typeOf(v odata.Literal) string {
	if v.Quoted {
		return "Edm.String"
	}
	if isGUID(v.Text) {
		return "Edm.Guid"
	}
	if _, err := time.Parse(time.RFC3339Nano, v.Text); err == nil {
		return "Edm.DateTimeOffset"
	}
	if _, err := strconv.ParseFloat(v.Text, 64); err == nil {
		return "Edm.Int32"
	}
	return "Edm.Boolean"
}
