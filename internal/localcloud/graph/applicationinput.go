package graph

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Properties of an application (Microsoft Graph metadata, August 2026).
const (
	applicationWritable = "displayName signInAudience identifierUris tags keyCredentials passwordCredentials appRoles api isFallbackPublicClient isDisabled " +
		"addIns authenticationBehaviors certification defaultRedirectUri description groupMembershipClaims info isDeviceOnlyAuthSupported " +
		"logo managerApplications nativeAuthenticationApisEnabled notes oauth2RequirePostResponse optionalClaims parentalControlSettings publicClient " +
		"requestSignatureVerification requiredResourceAccess samlMetadataUrl serviceManagementReference servicePrincipalLockConfiguration spa " +
		"tokenEncryptionKeyId verifiedPublisher web"
	applicationReadOnly = "id appId uniqueName createdDateTime createdByAppId deletedDateTime publisherDomain applicationTemplateId disabledByMicrosoftStatus"
)

// applicationInput is the body of a POST or PATCH of an application, checked as far as it can be without the application.
type applicationInput struct {
	members    map[string]json.RawMessage
	name       *string
	audience   *string
	uris, tags *[]string
	fallback   *bool
	disabled   *bool
	roles      *[]directory.AppRole
	api        *struct {
		Version *int                         `json:"requestedAccessTokenVersion"`
		Scopes  *[]directory.PermissionScope `json:"oauth2PermissionScopes"`
	}
	keys      *[]keyInput
	passwords *[]passwordInput
	owners    []string
	sponsors  []string // of a blueprint
	rest      map[string]any
}

// typed are the properties that the local cloud looks at; the others are kept as they came.
var typed = []string{"displayName", "signInAudience", "identifierUris", "tags", "keyCredentials", "passwordCredentials", "isDisabled", "owners@odata.bind", "sponsors@odata.bind"}

func (c *call) applicationInput(create bool) (*applicationInput, error) {
	writable := applicationWritable
	if c.agent == directory.Blueprint && create {
		writable += " sponsors@odata.bind"
	}
	members, err := c.members("Application", writable, applicationReadOnly)
	if err != nil {
		return nil, err
	}
	in := &applicationInput{members: members, rest: map[string]any{}}
	const kind = "Application"
	var owners, sponsors []string
	for _, err := range []error{
		field(members, "displayName", kind, &in.name), field(members, "signInAudience", kind, &in.audience), field(members, "identifierUris", kind, &in.uris),
		field(members, "tags", kind, &in.tags), field(members, "isFallbackPublicClient", kind, &in.fallback), field(members, "isDisabled", kind, &in.disabled),
		field(members, "appRoles", kind, &in.roles), field(members, "api", kind, &in.api), field(members, "keyCredentials", kind, &in.keys),
		field(members, "passwordCredentials", kind, &in.passwords), field(members, "owners@odata.bind", kind, &owners), field(members, "sponsors@odata.bind", kind, &sponsors),
	} {
		if err != nil {
			return nil, err
		}
	}
	if create && in.name == nil {
		return nil, missing("displayName", kind)
	}
	if _, named := members["displayName"]; named && (in.name == nil || *in.name == "" || len(*in.name) > 256) {
		return nil, invalid("displayName", kind)
	}
	if in.audience != nil && !slices.Contains([]string{"AzureADMyOrg", "AzureADMultipleOrgs", "AzureADandPersonalMicrosoftAccount", "PersonalMicrosoftAccount"}, *in.audience) {
		return nil, invalid("signInAudience", kind)
	}
	if len(owners) > 20 || !create && len(owners) > 0 {
		return nil, badRequest("The request binds too many references: at most 20 owners, and only when the application is created.")
	}
	for _, owner := range owners {
		in.owners = append(in.owners, reference(owner))
	}
	for _, sponsor := range sponsors {
		in.sponsors = append(in.sponsors, reference(sponsor))
	}
	if in.keys != nil {
		if err := prepareKeys(*in.keys); err != nil {
			return nil, err
		}
	}
	if c.agent == directory.Blueprint {
		if err := c.checkBlueprint(in, create); err != nil {
			return nil, err
		}
	}
	for name, raw := range members {
		if !slices.Contains(typed, name) {
			var value any
			if json.Unmarshal(raw, &value) != nil {
				return nil, malformed()
			}
			in.rest[name] = value
		}
	}
	return in, nil
}

// applyApplication lays the input over the application, on the primary. It writes nothing.
func (s *Service) applyApplication(tx replica.Tx, a *directory.Application, in *applicationInput) error {
	if in.name != nil {
		a.DisplayName = *in.name
	}
	if in.audience != nil {
		a.SignInAudience = *in.audience
	}
	if in.tags != nil {
		a.Tags = *in.tags
	}
	if in.disabled != nil {
		a.IsDisabled = *in.disabled
	}
	if in.uris != nil {
		if err := s.checkIdentifiers(tx.View, *a, *in.uris); err != nil {
			return err
		}
		a.IdentifierURIs = *in.uris
	}
	if _, named := in.members["isFallbackPublicClient"]; named {
		a.PublicClient = in.fallback != nil && *in.fallback
	}
	if in.roles != nil {
		if !keepsEnabled(a.AppRoles, *in.roles, func(r directory.AppRole) (string, string, bool) { return r.ID, r.Value, r.IsEnabled }) {
			return stillEnabled()
		}
		a.AppRoles = *in.roles
	}
	if in.api != nil && in.api.Scopes != nil {
		if !keepsEnabled(a.PermissionScopes, *in.api.Scopes, func(p directory.PermissionScope) (string, string, bool) { return p.ID, p.Value, p.IsEnabled }) {
			return stillEnabled()
		}
		a.PermissionScopes = *in.api.Scopes
	}
	if in.api != nil && in.api.Version != nil {
		a.TokenVersion = *in.api.Version
	}
	rest := maps.Clone(a.Rest)
	if rest == nil {
		rest = map[string]any{}
	}
	for name, value := range in.rest {
		rest[name] = merge(rest[name], value)
	}
	a.Rest = rest
	return s.applyCredentials(tx.View, holderOf(a), in.keys, in.passwords)
}

// keepsEnabled tells whether no enabled role or scope is removed or gets another value.
func keepsEnabled[T any](have, want []T, parts func(T) (id, value string, enabled bool)) bool {
	for _, h := range have {
		id, value, enabled := parts(h)
		if !enabled {
			continue
		}
		if !slices.ContainsFunc(want, func(w T) bool {
			i, v, still := parts(w)
			return i == id && (v == value || !still)
		}) {
			return false
		}
	}
	return true
}

func stillEnabled() *problem {
	return &problem{status: http.StatusBadRequest, code: "CannotDeleteOrUpdateEnabledEntitlement", message: "Permission (scope or role) cannot be deleted or updated unless disabled first."}
}
