package graph

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// checkIdentifiers refuses identifier URIs that are no URIs, that are not the application's or the tenant's to give, or that somebody
// has. What the application has already stays (Microsoft, "Restrictions on identifier URIs of Microsoft Entra applications").
func (s *Service) checkIdentifiers(v replica.View, a directory.Application, uris []string) error {
	for _, uri := range uris {
		if slices.Contains(a.IdentifierURIs, uri) {
			continue
		}
		u, err := url.Parse(uri)
		if err != nil || u.Scheme == "" {
			return invalid("identifierUris", "Application")
		}
		if !s.mayIdentify(a, u) {
			return &problem{status: http.StatusBadRequest, code: "HostNameNotOnVerifiedDomain", message: "Values of identifierUris property must use a verified domain of the organization or its subdomain: '" + uri + "'"}
		}
		if s.identified(v, uri, a.AppID) {
			return sameIdentifier()
		}
	}
	return nil
}

func sameIdentifier() *problem {
	return clash(http.StatusBadRequest, "Another object with the same value for property identifierUris already exists.")
}

// mayIdentify tells whether the host of an https URI lies on the tenant's domain, and whether an api URI has the application's id, or
// begins with the tenant's id or domain. Other schemes name no host.
func (s *Service) mayIdentify(a directory.Application, u *url.URL) bool {
	host, domain := strings.ToLower(u.Hostname()), strings.ToLower(s.dir.Tenant.Domain)
	ours := host == domain || strings.HasSuffix(host, "."+domain)
	switch u.Scheme {
	case "http", "https":
		return ours
	case "api":
		return ours || host == s.dir.Tenant.ID || host == a.AppID || slices.Contains(strings.Split(strings.ToLower(u.Path), "/"), a.AppID)
	}
	return true
}

// identified tells whether another application or service principal has the name, with or without a slash at its end, since tokens are
// asked for in either form.
func (s *Service) identified(v replica.View, name, appID string) bool {
	bare := strings.TrimRight(name, "/")
	for _, n := range []string{bare, bare + "/"} {
		if slices.ContainsFunc(s.dir.Applications.By(v, "identifierUri", n), func(o directory.Application) bool { return o.Live() && o.AppID != appID }) {
			return true
		}
		if slices.ContainsFunc(s.dir.ServicePrincipals.By(v, "servicePrincipalName", n), func(o directory.ServicePrincipal) bool { return o.Live() && o.AppID != appID }) {
			return true
		}
	}
	return false
}

// checkNames refuses names of a service principal that are not its application's: it has its app id and may have the identifier URIs of
// the application. One of another tenant's application, which cannot be seen from here, keeps to the names that it has.
func (s *Service) checkNames(v replica.View, p directory.ServicePrincipal, names []string) error {
	allowed := p.ServicePrincipalNames
	for _, a := range s.dir.Applications.By(v, "appId", p.AppID) {
		if a.Live() {
			allowed = a.IdentifierURIs
		}
	}
	own := false
	for _, name := range names {
		switch {
		case strings.EqualFold(name, p.AppID):
			own = true
		case !slices.Contains(allowed, name):
			return invalid("servicePrincipalNames", "ServicePrincipal")
		case s.identified(v, name, p.AppID):
			return clash(http.StatusConflict, "The service principal cannot be created, updated, or restored because the service principal name %s is already in use.", name)
		}
	}
	if !own {
		return invalid("servicePrincipalNames", "ServicePrincipal")
	}
	return nil
}
