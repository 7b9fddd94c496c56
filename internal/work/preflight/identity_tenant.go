package preflight

import (
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// singleTenant: an agent has no users that sign in, so there is nothing that other tenants, redirect addresses or the implicit grant could
// be good for, and each is a way for somebody to obtain tokens in its name (RFC 9700, section 2.1.2).
func singleTenant() Check {
	return Check{
		ID: "identity_single_tenant", Name: "Single Tenant", Severity: finding.High, Required: true,
		Question: "does the application admit its own tenant only, without redirect addresses, without the implicit grant and without logins as a public client?",
		Remedy:   "leastkey apply makes it single-tenant; remove the rest: az ad app update --id APPID --web-redirect-uris --enable-access-token-issuance false --enable-id-token-issuance false --is-fallback-public-client false",
		Moot:     notManaged,
		Decide: func(ctx context.Context, a *Ask) Verdict {
			app, err := a.application()
			if err != nil {
				return failed(err)
			}
			var wrong []string
			if app.SignInAudience != "AzureADMyOrg" {
				wrong = append(wrong, "its audience is "+app.SignInAudience)
			}
			if len(app.RedirectURIs) > 0 {
				wrong = append(wrong, "it redirects to "+strings.Join(app.RedirectURIs, ", "))
			}
			if app.Implicit {
				wrong = append(wrong, "the implicit grant is on")
			}
			if app.Public {
				wrong = append(wrong, "it is a public client (isFallbackPublicClient): whoever knows its client id can begin a login in its name, with a device code or a person's password, and needs no credential of it")
			}
			if len(wrong) > 0 {
				return fail("%s", strings.Join(wrong, "; "))
			}
			return pass("its own tenant only, no redirect address, no implicit grant, no public client")
		},
	}
}
