package entra

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/service"
)

// knownTenant checks the tenant segment of a path: the GUID or the domain of the one tenant. shared also accepts the names that stand
// for "whoever signs in".
func (s *Service) knownTenant(ep endpoint, shared bool) *failure {
	t := s.env.Dir.Tenant
	switch name := ep.tenant; {
	case ep.style == adfs, name == strings.ToLower(t.ID), name == strings.ToLower(t.Domain):
		return nil
	case name == "common" || name == "organizations":
		if shared {
			return nil
		}
		// An application alone does not say which tenant it means.
		return badRequest(50059, "No tenant-identifying information found in either the request or implied by any provided credentials.")
	case name == "consumers":
		return badRequest(9002346, "The application is configured for use by Microsoft Entra users only. Please do not use the /consumers endpoint to serve this request.")
	case isGUID(name) || strings.Contains(name, "."):
		return badRequest(90002, "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.", name)
	default:
		return badRequest(900023, "Specified tenant identifier '%s' is neither a valid DNS name, nor a valid external domain.", name)
	}
}

// base is the URL under which an endpoint's tenant lives; a domain becomes the GUID, as in Entra's own documents.
func (s *Service) base(ep endpoint) string {
	switch {
	case ep.style == adfs:
		return s.login() + "/adfs"
	case ep.tenant == "common" || ep.tenant == "organizations":
		return s.login() + "/" + ep.tenant
	}
	return s.login() + "/" + s.env.Dir.Tenant.ID
}

// tokenURL is the token endpoint of an endpoint's tenant and style.
func (s *Service) tokenURL(ep endpoint) string {
	if ep.style == v2 {
		return s.base(ep) + "/oauth2/v2.0/token"
	}
	return s.base(ep) + "/oauth2/token"
}

// configuration is the OpenID Connect discovery document with the members that Entra gives (seen live in July 2026; it has no
// code_challenge_methods_supported and no registration_endpoint).
type configuration struct {
	TokenEndpoint        string            `json:"token_endpoint"`
	AuthMethods          []string          `json:"token_endpoint_auth_methods_supported"`
	JWKS                 string            `json:"jwks_uri"`
	ResponseModes        []string          `json:"response_modes_supported"`
	SubjectTypes         []string          `json:"subject_types_supported"`
	SigningAlgorithms    []string          `json:"id_token_signing_alg_values_supported"`
	ResponseTypes        []string          `json:"response_types_supported"`
	Scopes               []string          `json:"scopes_supported"`
	Issuer               string            `json:"issuer"`
	RequestURIParameter  bool              `json:"request_uri_parameter_supported"`
	UserInfo             string            `json:"userinfo_endpoint"`
	Authorization        string            `json:"authorization_endpoint"`
	DeviceAuthorization  string            `json:"device_authorization_endpoint"`
	HTTPLogout           bool              `json:"http_logout_supported"`
	FrontchannelLogout   bool              `json:"frontchannel_logout_supported"`
	EndSession           string            `json:"end_session_endpoint"`
	Claims               []string          `json:"claims_supported"`
	Kerberos             string            `json:"kerberos_endpoint,omitempty"`
	MTLSAliases          map[string]string `json:"mtls_endpoint_aliases,omitempty"`
	CertificateBound     bool              `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	TenantRegion         string            `json:"tenant_region_scope,omitempty"`
	CloudInstance        string            `json:"cloud_instance_name,omitempty"`
	CloudGraphHost       string            `json:"cloud_graph_host_name,omitempty"`
	MSGraphHost          string            `json:"msgraph_host,omitempty"`
	RBACURL              string            `json:"rbac_url,omitempty"`
	AccessTokenIssuerURL string            `json:"access_token_issuer,omitempty"` // AD FS only
}

func (s *Service) openID(w http.ResponseWriter, r *http.Request, ep endpoint) {
	if f := s.knownTenant(ep, true); f != nil {
		f.kind = "invalid_tenant" // of this document; the token endpoint says invalid_request
		s.refuse(w, r, f)
		return
	}
	base, part := s.base(ep), "/oauth2"
	if ep.style == v2 {
		part = "/oauth2/v2.0"
	}
	doc := configuration{
		TokenEndpoint:       base + part + "/token",
		AuthMethods:         []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		JWKS:                base + "/discovery/keys",
		ResponseModes:       []string{"query", "fragment", "form_post"},
		SubjectTypes:        []string{"pairwise"},
		SigningAlgorithms:   []string{"RS256"},
		ResponseTypes:       []string{"code", "id_token", "code id_token", "id_token token"},
		Scopes:              []string{"openid", "profile", "email", "offline_access"},
		UserInfo:            s.env.Endpoints().Graph + "/oidc/userinfo",
		Authorization:       base + part + "/authorize",
		DeviceAuthorization: base + part + "/devicecode",
		HTTPLogout:          true,
		FrontchannelLogout:  true,
		EndSession:          base + part + "/logout",
		Claims:              []string{"sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name", "msgraph_host", "aud", "exp", "iat", "auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email"},
	}
	switch ep.style {
	case adfs:
		doc.Issuer, doc.AccessTokenIssuerURL = base, s.env.Auth.Issuer("1.0")
	case v1:
		doc.Issuer = s.env.Auth.Issuer("1.0")
	default:
		doc.Issuer, doc.JWKS = s.env.Auth.Issuer("2.0"), base+"/discovery/v2.0/keys"
	}
	if ep.style != adfs {
		doc.Kerberos = base + "/kerberos"
		doc.TenantRegion = "NA"
		doc.CloudInstance = host(s.login())
		doc.CloudGraphHost = "graph.windows.net"
		doc.MSGraphHost = host(s.env.Endpoints().Graph)
		doc.RBACURL = "https://pas.windows.net"
		if ep.tenant == "common" || ep.tenant == "organizations" {
			// A shared authority leaves the tenant to be filled in.
			doc.Issuer = strings.ReplaceAll(doc.Issuer, s.env.Dir.Tenant.ID, "{tenantid}")
			doc.TenantRegion = ""
		}
	}
	w.Header().Set("Cache-Control", "max-age=86400, private")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	service.JSON(w, http.StatusOK, doc)
}

func host(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return u.Host
}

// instance is instance discovery: whether an authority's host is known, and what other names it has. A host that is not this cloud is
// refused as Entra refuses it (AADSTS50049). What the request calls us proves nothing: a client trusts the names in the answer.
func (s *Service) instance(w http.ResponseWriter, r *http.Request) {
	asked, err := url.Parse(r.URL.Query().Get("authorization_endpoint"))
	if err != nil || asked.Scheme != "https" || !strings.EqualFold(asked.Host, host(s.login())) {
		s.refuse(w, r, fail(http.StatusBadRequest, "invalid_instance", 50049, "Unknown or invalid instance."))
		return
	}
	tenant, _, _ := strings.Cut(strings.Trim(asked.Path, "/"), "/")
	name := strings.ToLower(asked.Host)
	service.JSON(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": "https://" + name + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata": []any{map[string]any{
			"preferred_network": name, "preferred_cache": name, "aliases": []string{name},
		}},
	})
}

// userRealm says that a user signs in here and not at a federated server; MSAL asks before it sends a password.
func (s *Service) userRealm(w http.ResponseWriter, r *http.Request, user string) {
	if user == "" {
		user = r.URL.Query().Get("user")
	}
	_, domain, _ := strings.Cut(user, "@")
	realm := map[string]any{"ver": "1.0", "account_type": "Unknown", "cloud_instance_name": host(s.login()), "cloud_audience_urn": "urn:federation:MicrosoftOnline"}
	if strings.EqualFold(domain, s.env.Dir.Tenant.Domain) {
		realm["account_type"], realm["domain_name"] = "Managed", s.env.Dir.Tenant.Domain
	}
	service.JSON(w, http.StatusOK, realm)
}
