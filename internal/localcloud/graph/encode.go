package graph

import (
	"cmp"
	"encoding/base64"
	"maps"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
)

// object is a resource as Graph writes it.
type object = map[string]any

// stamp writes a time as Graph does.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func stampOrNull(t *time.Time) any {
	if t == nil {
		return nil
	}
	return stamp(*t)
}

func textOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// pointer gives nil as null, where a nil *string in an any would not be nil.
func pointer(s *string) any {
	if s == nil {
		return nil
	}
	return *s
}

func texts(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// applicationDefaults are the properties of an application that nobody has set (Microsoft Graph, "application resource type").
func applicationDefaults() object {
	return object{
		"applicationTemplateId": nil, "disabledByMicrosoftStatus": nil, "description": nil, "groupMembershipClaims": nil,
		"isDeviceOnlyAuthSupported": nil, "isFallbackPublicClient": nil, "nativeAuthenticationApisEnabled": nil, "notes": nil,
		"serviceManagementReference": nil, "tokenEncryptionKeyId": nil, "samlMetadataUrl": nil, "defaultRedirectUri": nil,
		"certification": nil, "optionalClaims": nil, "servicePrincipalLockConfiguration": nil, "requestSignatureVerification": nil,
		"authenticationBehaviors": nil, "oauth2RequirePostResponse": false, "addIns": []any{}, "appRoles": []any{}, "requiredResourceAccess": []any{},
		"api":                     object{"acceptMappedClaims": nil, "knownClientApplications": []any{}, "requestedAccessTokenVersion": nil, "oauth2PermissionScopes": []any{}, "preAuthorizedApplications": []any{}},
		"info":                    infoDefaults(),
		"parentalControlSettings": object{"countriesBlockedForMinors": []any{}, "legalAgeGroupRule": "Allow"},
		"publicClient":            object{"redirectUris": []any{}},
		"spa":                     object{"redirectUris": []any{}},
		"verifiedPublisher":       object{"displayName": nil, "verifiedPublisherId": nil, "addedDateTime": nil},
		"web": object{"homePageUrl": nil, "logoutUrl": nil, "redirectUris": []any{}, "redirectUriSettings": []any{},
			"implicitGrantSettings": object{"enableAccessTokenIssuance": false, "enableIdTokenIssuance": false}},
	}
}

func infoDefaults() object {
	return object{"logoUrl": nil, "marketingUrl": nil, "privacyStatementUrl": nil, "supportUrl": nil, "termsOfServiceUrl": nil}
}

// encodeApplication writes an application; keys adds the certificates' bytes, which Graph gives only for $select=keyCredentials on one
// object (Microsoft Graph, "keyCredential resource type").
func (s *Service) encodeApplication(a directory.Application, keys bool) object {
	o := applicationDefaults()
	o["appRoles"] = encodeRoles(a.AppRoles)
	api := o["api"].(object)
	api["oauth2PermissionScopes"] = encodeScopes(a.PermissionScopes)
	if a.TokenVersion != 0 {
		api["requestedAccessTokenVersion"] = a.TokenVersion
	}
	for name, value := range a.Rest { // the full text of roles and scopes too, where a client has set them
		o[name] = merge(o[name], value)
	}
	annotate(a.Agent, o)
	maps.Copy(o, object{
		"id": a.ID, "appId": a.AppID, "displayName": a.DisplayName, "uniqueName": pointer(a.UniqueName), "signInAudience": a.SignInAudience,
		"createdDateTime": stamp(a.CreatedDateTime), "createdByAppId": textOrNull(a.CreatedByAppID), "deletedDateTime": stampOrNull(a.DeletedDateTime),
		"isDisabled": a.IsDisabled, "identifierUris": texts(a.IdentifierURIs), "tags": texts(a.Tags), "publisherDomain": s.dir.Tenant.Domain,
		"keyCredentials": encodeKeys(a.KeyCredentials, keys), "passwordCredentials": encodePasswords(a.PasswordCredentials),
	})
	return o
}

// encodeServicePrincipal writes a service principal.
func (s *Service) encodeServicePrincipal(p directory.ServicePrincipal, keys bool) object {
	o := object{
		"appDescription": nil, "applicationTemplateId": nil, "description": nil, "disabledByMicrosoftStatus": nil, "homepage": nil, "loginUrl": nil,
		"logoutUrl": nil, "notes": nil, "notificationEmailAddresses": []any{}, "preferredSingleSignOnMode": nil,
		"preferredTokenSigningKeyThumbprint": nil, "replyUrls": []any{}, "samlSingleSignOnSettings": nil, "tokenEncryptionKeyId": nil,
		"addIns": []any{}, "info": infoDefaults(), "resourceSpecificApplicationPermissions": []any{}, "createdByAppId": nil,
		"verifiedPublisher": object{"displayName": nil, "verifiedPublisherId": nil, "addedDateTime": nil}, "signInAudience": nil,
		"appRoles": encodeRoles(p.AppRoles), "oauth2PermissionScopes": encodeScopes(p.PermissionScopes),
	}
	maps.Copy(o, p.Rest)
	if annotate(p.Agent, o); p.Agent == directory.AgentIdentity {
		o["agentIdentityBlueprintId"] = p.BlueprintID
	}
	o["createdByAppId"] = textOrNull(p.CreatedByAppID)
	maps.Copy(o, object{
		"id": p.ID, "appId": p.AppID, "displayName": p.DisplayName, "appDisplayName": p.DisplayName, "servicePrincipalType": p.ServicePrincipalType,
		"accountEnabled": p.AccountEnabled, "createdDateTime": stamp(p.CreatedDateTime), "deletedDateTime": stampOrNull(p.DeletedDateTime),
		"appOwnerOrganizationId": textOrNull(p.AppOwnerOrganizationID), "appRoleAssignmentRequired": p.AppRoleAssignmentReq,
		"alternativeNames": texts(p.AlternativeNames), "servicePrincipalNames": texts(p.ServicePrincipalNames), "tags": texts(p.Tags),
		"keyCredentials": encodeKeys(p.KeyCredentials, keys), "passwordCredentials": encodePasswords(p.PasswordCredentials),
	})
	return o
}

func encodeRoles(roles []directory.AppRole) []any {
	list := []any{}
	for _, r := range roles {
		list = append(list, object{"id": r.ID, "value": textOrNull(r.Value), "displayName": r.DisplayName, "description": r.Description, "allowedMemberTypes": texts(r.AllowedMemberTypes), "isEnabled": r.IsEnabled, "origin": "Application"})
	}
	return list
}

func encodeScopes(scopes []directory.PermissionScope) []any {
	list := []any{}
	for _, p := range scopes {
		list = append(list, object{"id": p.ID, "value": p.Value, "type": p.Type, "isEnabled": p.IsEnabled, "adminConsentDisplayName": p.Value, "adminConsentDescription": p.Value, "userConsentDisplayName": nil, "userConsentDescription": nil})
	}
	return list
}

func encodeKeys(keys []directory.KeyCredential, bytes bool) []any {
	list := []any{}
	for _, k := range keys {
		list = append(list, encodeKey(k, bytes))
	}
	return list
}

func encodeKey(k directory.KeyCredential, bytes bool) object {
	o := object{
		"customKeyIdentifier": textOrNull(k.CustomKeyIdentifier), "displayName": pointer(k.DisplayName), "keyId": k.KeyID, "type": k.Type, "usage": k.Usage,
		"startDateTime": stamp(k.StartDateTime), "endDateTime": stamp(k.EndDateTime), "key": nil,
	}
	if bytes {
		o["key"] = base64.StdEncoding.EncodeToString(k.Key)
	}
	return o
}

func encodePasswords(passwords []directory.PasswordCredential) []any {
	list := []any{}
	for _, p := range passwords {
		list = append(list, encodePassword(p))
	}
	return list
}

// encodePassword writes a client secret without its value.
func encodePassword(p directory.PasswordCredential) object {
	return object{
		"customKeyIdentifier": nil, "displayName": pointer(p.DisplayName), "keyId": p.KeyID, "hint": p.Hint, "secretText": nil,
		"startDateTime": stamp(p.StartDateTime), "endDateTime": stamp(p.EndDateTime),
	}
}

func encodeUser(u directory.User) object {
	o := object{
		"id": u.ID, "userPrincipalName": u.UserPrincipalName, "displayName": u.DisplayName, "mail": textOrNull(u.Mail), "businessPhones": []any{},
		"givenName": nil, "surname": nil, "jobTitle": nil, "mobilePhone": nil, "officeLocation": nil, "preferredLanguage": nil,
		"accountEnabled": u.AccountEnabled, "createdDateTime": stamp(u.CreatedDateTime), "userType": "Member", "deletedDateTime": nil,
		"mailNickname": cmp.Or(u.MailNickname, strings.SplitN(u.UserPrincipalName, "@", 2)[0]), "usageLocation": textOrNull(u.UsageLocation),
	}
	if annotate(u.Agent, o); u.Agent == directory.AgentUser {
		o["identityParentId"] = u.IdentityParentID
	}
	return o
}

// onlyOnSelect are the properties of a user that Graph gives only when selected.
var onlyOnSelect = []string{"accountEnabled", "createdDateTime", "userType", "deletedDateTime", "mailNickname", "usageLocation"}

func encodeGroup(g directory.Group) object {
	var assignable any // null, not false, as Graph has it
	if g.IsAssignableToRole {
		assignable = true
	}
	return object{
		"isAssignableToRole": assignable,
		"id":                 g.ID, "displayName": g.DisplayName, "createdDateTime": stamp(g.CreatedDateTime), "securityEnabled": true, "mailEnabled": false,
		"mailNickname": cmp.Or(g.MailNickname, g.ID[:8]), "description": nil, "groupTypes": []any{}, "deletedDateTime": nil, "visibility": nil, "mail": nil,
	}
}

// merge lays new over old: objects member by member, as a PATCH of a complex property does, everything else whole.
func merge(old, new any) any {
	below, ok := old.(object)
	if !ok {
		return new
	}
	above, ok := new.(object)
	if !ok {
		return new
	}
	merged := maps.Clone(below)
	for name, value := range above {
		merged[name] = merge(merged[name], value)
	}
	return merged
}
