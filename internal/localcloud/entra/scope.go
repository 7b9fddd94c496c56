package entra

import (
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// scopes is a scope parameter, taken apart.
type scopes struct {
	oidc        []string // openid, profile, email, offline_access
	asked       []string // the scopes of the resource, as they were written
	resource    string   // as it was written, without the part after its last slash; "" if none was named
	permissions []string // the parts after that slash; ".default" stands for all that is granted
}

// has tells whether an OpenID Connect scope was asked for.
func (s scopes) has(name string) bool { return slices.Contains(s.oidc, name) }

// parseScope takes a scope parameter apart. Resource and permission are divided at the last slash, so that
// "https://management.azure.com//.default" is for "https://management.azure.com/": the audience keeps the slash that the resource was
// named with (Microsoft, "Scopes and permissions: trailing slash and .default"). A permission without a resource is Microsoft
// Graph's.
func parseScope(parameter string) (scopes, *failure) {
	var s scopes
	for _, one := range strings.Fields(parameter) {
		switch one {
		case "openid", "profile", "email", "offline_access":
			s.oidc = append(s.oidc, one)
			continue
		}
		resource, permission := "", one
		if i := strings.LastIndexByte(one, '/'); i >= 0 {
			resource, permission = one[:i], one[i+1:]
			if resource == "" || permission == "" || strings.HasSuffix(resource, ":/") {
				return s, badScope(70011, "The provided value for the input parameter 'scope' is not valid. The scope %s is not valid.", one)
			}
		}
		if len(s.asked) > 0 && resource != s.resource {
			return s, badScope(28000, "Provided value for the input parameter scope is not valid because it contains more than one resource. Scope %s is not valid.", parameter)
		}
		s.resource = resource
		s.asked = append(s.asked, one)
		s.permissions = append(s.permissions, permission)
	}
	if len(s.permissions) > 1 && slices.Contains(s.permissions, ".default") {
		return s, badScope(70011, "The provided value for the input parameter 'scope' is not valid. The scope %s is not valid. .default scope can't be combined with resource-specific scopes.", parameter)
	}
	return s, nil
}

// askedFor reads what a request wants: scope in the v2.0 style, resource in the v1.0 style, either in AD FS's. app says that an
// application asks for itself.
func askedFor(ep endpoint, scope, resource string, app bool) (scopes, *failure) {
	switch {
	case ep.style == v2 && resource != "":
		return scopes{}, badRequest(901002, "The 'resource' request parameter is not supported.")
	case ep.style == v1 && resource == "":
		return scopes{}, missing("resource")
	case ep.style == v1, ep.style == adfs && resource != "":
		// v1.0 answers users with an id token and a refresh token unasked.
		return scopes{oidc: []string{"openid", "profile", "offline_access"}, asked: []string{resource + "/.default"}, resource: resource, permissions: []string{".default"}}, nil
	case strings.TrimSpace(scope) == "":
		return scopes{}, missing("scope")
	}
	s, f := parseScope(scope)
	if f != nil {
		return s, f
	}
	if app && (len(s.permissions) != 1 || s.permissions[0] != ".default" || s.resource == "") {
		return s, badScope(1002012, "The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", scope)
	}
	return s, nil
}

// resource is the service that a token is for, as a replica shows it.
type resource struct {
	sp       directory.ServicePrincipal
	app      *directory.Application // nil if it is registered elsewhere
	audience string                 // the aud claim
	version  string                 // "1.0" or "2.0"
	named    string                 // as the request named it
	appRoles []directory.AppRole
}

// findResource looks up a resource by one of its names: the well-known URIs, this cloud's own base URLs, an application id, or an
// identifier URI. "" is Microsoft Graph.
func (s *Service) findResource(v replica.View, named string) (resource, *failure) {
	r := resource{named: named, audience: named, version: "1.0"}
	if named == "" {
		r.audience = directory.GraphAppID
	}
	appID := s.wellKnown(named)
	if appID == "" && isGUID(named) {
		appID = strings.ToLower(named)
	}
	if appID == "" {
		appID = s.byURI(v, named)
	}
	found := false
	for _, sp := range s.env.Dir.ServicePrincipals.By(v, "appId", appID) {
		if sp.Live() {
			r.sp, found = sp, true
		}
	}
	if !found {
		return r, fail(400, "invalid_resource", 500011, "The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant.", named, s.env.Dir.Tenant.ID)
	}
	if !r.sp.AccountEnabled {
		return r, fail(400, "invalid_resource", 500014, "The service principal for resource '%s' is disabled. This indicate that a subscription within the tenant has lapsed, or that the administrator for this tenant has disabled the application, preventing tokens from being issued for it.", named)
	}
	r.appRoles = r.sp.AppRoles
	for _, app := range s.env.Dir.Applications.By(v, "appId", appID) {
		if !app.Live() {
			continue
		}
		r.app = &app
		if app.TokenVersion == 2 {
			r.version, r.audience = "2.0", appID
		}
		if len(r.appRoles) == 0 {
			r.appRoles = app.AppRoles
		}
	}
	if appID == directory.ExchangeAppID {
		// Seen live: the audience is the GUID however the resource was named.
		r.version, r.audience = "2.0", appID
	}
	return r, nil
}

// byURI finds the application that has registered the identifier URI, with or without a trailing slash.
func (s *Service) byURI(v replica.View, uri string) string {
	for _, name := range []string{uri, strings.TrimRight(uri, "/"), strings.TrimRight(uri, "/") + "/"} {
		for _, sp := range s.env.Dir.ServicePrincipals.By(v, "servicePrincipalName", name) {
			if sp.Live() {
				return sp.AppID
			}
		}
		for _, app := range s.env.Dir.Applications.By(v, "identifierUri", name) {
			if app.Live() {
				return app.AppID
			}
		}
	}
	return ""
}

// wellKnown is the application id behind a name of Microsoft's services or of this cloud's own endpoints, "" if it is none.
func (s *Service) wellKnown(named string) string {
	name := strings.ToLower(strings.TrimRight(named, "/"))
	switch name {
	case "", "https://graph.microsoft.com":
		return directory.GraphAppID
	case "https://graph.windows.net":
		return directory.AADGraphAppID
	case "https://management.azure.com", "https://management.core.windows.net":
		return directory.ARMAppID
	case "https://vault.azure.net":
		return directory.VaultAppID
	case "api://azureadtokenexchange":
		return directory.ExchangeAppID
	case "https://cognitiveservices.azure.com":
		return directory.CognitiveAppID
	case "https://dynamicsessions.io":
		return directory.SessionsAppID
	}
	e := s.env.Endpoints()
	switch name {
	case strings.ToLower(e.Graph):
		return directory.GraphAppID
	case strings.ToLower(e.ARM):
		return directory.ARMAppID
	}
	for _, vault := range e.Vault {
		vault = strings.ToLower(vault)
		if name == vault {
			return directory.VaultAppID
		}
		// The vaults' resource is their host without its first label: https://vault.test:1 for https://kv.vault.test:1.
		scheme, rest, _ := strings.Cut(vault, "://")
		if _, domain, ok := strings.Cut(rest, "."); ok && name == scheme+"://"+domain {
			return directory.VaultAppID
		}
	}
	return ""
}
