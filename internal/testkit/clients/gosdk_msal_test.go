package clients

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
)

// azureCLI is the public client that every tenant knows.
const azureCLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

// TestGoSDKMSAL uses MSAL without azidentity around it.
func TestGoSDKMSAL(t *testing.T) {
	t.Parallel()
	g := startGo(t)
	t.Run("confidential client", g.confidentialClient)
	t.Run("public client", g.publicClient)
}

func (g *goSDK) authority() string { return g.env["AZURE_AUTHORITY_HOST"] + "/" + g.tenant() }

// confidential is MSAL's client of an application.
func (g *goSDK) confidential(appID string, cred confidential.Credential, o ...confidential.Option) (confidential.Client, error) {
	return confidential.New(g.authority(), appID, cred, append(o, confidential.WithHTTPClient(g.http), confidential.WithInstanceDiscovery(false))...)
}

// msalCertificate is MSAL's credential of a certificate.
func msalCertificate(c Certificate) (confidential.Credential, error) {
	pem, err := os.ReadFile(c.Both)
	if err != nil {
		return confidential.Credential{}, err
	}
	certs, key, err := confidential.CertFromPEM(pem, "")
	if err != nil {
		return confidential.Credential{}, err
	}
	return confidential.NewCredFromCert(certs, key)
}

func (g *goSDK) confidentialClient(t *testing.T) {
	ctx, a := t.Context(), g.app(t, "go-msal", time.Hour)
	cert, err := msalCertificate(a.cert)
	must(t, err)
	c, err := g.confidential(a.id, cert)
	must(t, err)
	g.Operation(t, "MSAL: confidential.Client.AcquireTokenByCredential with a certificate", func() error {
		r, err := c.AcquireTokenByCredential(ctx, []string{g.armScope()})
		if err != nil {
			return err
		}
		if r.Metadata.TokenSource != confidential.TokenSourceIdentityProvider {
			return errors.New("it is from the cache")
		}
		return says(r.AccessToken, claims{"appid": a.id, "oid": a.principal, "appidacr": "2"})
	})
	g.Operation(t, "MSAL: confidential.Client.AcquireTokenByCredential from the cache", func() error {
		before := g.asked(t)
		r, err := c.AcquireTokenByCredential(ctx, []string{g.armScope()})
		if err != nil {
			return err
		}
		return is(r.Metadata.TokenSource == confidential.TokenSourceCache && g.asked(t) == before, "the cloud was asked")
	})
	g.Operation(t, "MSAL: confidential.Client with the chain in the assertion", func() error {
		c, err := g.confidential(a.id, cert, confidential.WithX5C())
		if err != nil {
			return err
		}
		r, err := c.AcquireTokenByCredential(ctx, []string{g.graphScope()})
		if err != nil {
			return err
		}
		return says(r.AccessToken, claims{"appid": a.id})
	})
	g.Operation(t, "MSAL: confidential.Client with a callback that signs", func() error {
		c, err := g.confidential(a.id, confidential.NewCredFromAssertionCallback(func(_ context.Context, o confidential.AssertionRequestOptions) (string, error) {
			if o.ClientID != a.id || o.TokenEndpoint != g.tokenEndpoint() {
				return "", fmt.Errorf("it asks for %+v", o)
			}
			return g.assertion(a, a.cert, "PS256", nil)
		}))
		if err != nil {
			return err
		}
		r, err := c.AcquireTokenByCredential(ctx, []string{g.armScope()})
		if err != nil {
			return err
		}
		return says(r.AccessToken, claims{"appid": a.id})
	})
	g.Operation(t, "MSAL: confidential.WithClaims goes past the cache", func() error {
		before := g.asked(t)
		if _, err := c.AcquireTokenByCredential(ctx, []string{g.armScope()}, confidential.WithClaims(`{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`)); err != nil {
			return err
		}
		return is(g.asked(t) > before, "the cloud was not asked")
	})
	g.Refused(t, "MSAL: confidential.Client with a certificate that is not registered", "AADSTS700027", func() error {
		other, err := msalCertificate(g.Certificate("go-msal-other", time.Hour))
		if err != nil {
			return err
		}
		c, err := g.confidential(a.id, other)
		if err != nil {
			return err
		}
		_, err = c.AcquireTokenByCredential(ctx, []string{g.armScope()})
		return err
	})
}

// public makes a client of Azure CLI's id, as a program that knows a user's password does.
func (g *goSDK) public() (public.Client, error) {
	return public.New(azureCLI, public.WithAuthority(g.authority()), public.WithHTTPClient(g.http), public.WithInstanceDiscovery(false))
}

// byPassword is the resource owner password credentials grant, which Microsoft deprecates and serves.
func byPassword(ctx context.Context, c public.Client, scopes []string, name, password string) (public.AuthResult, error) {
	//lint:ignore SA1019 the cloud serves it to those who use it still
	return c.AcquireTokenByUsernamePassword(ctx, scopes, name, password)
}

func (g *goSDK) publicClient(t *testing.T) {
	ctx, admin := t.Context(), g.Operator("admin")
	c, err := g.public()
	must(t, err)
	signed := result(t, g, "MSAL: public.Client.AcquireTokenByUsernamePassword", func() (public.AuthResult, error) {
		r, err := byPassword(ctx, c, []string{g.armScope()}, admin.UPN, admin.Password.Reveal())
		if err == nil {
			err = says(r.AccessToken, claims{"oid": admin.ObjectID, "upn": admin.UPN})
		}
		return r, err
	})
	g.Operation(t, "MSAL: public.Client.AcquireTokenSilent from the cache", func() error {
		before := g.asked(t)
		r, err := c.AcquireTokenSilent(ctx, []string{g.armScope()}, public.WithSilentAccount(signed.Account))
		if err != nil {
			return err
		}
		return is(g.asked(t) == before && r.Account.PreferredUsername == admin.UPN, "the cloud was asked, or it is %+v", r.Account)
	})
	g.Operation(t, "MSAL: public.Client.AcquireTokenSilent for another service, with the refresh token", func() error {
		r, err := c.AcquireTokenSilent(ctx, []string{g.graphScope()}, public.WithSilentAccount(signed.Account))
		if err != nil {
			return err
		}
		return says(r.AccessToken, claims{"oid": admin.ObjectID})
	})
	g.Operation(t, "MSAL: public.Client.RemoveAccount", func() error {
		if err := c.RemoveAccount(ctx, signed.Account); err != nil {
			return err
		}
		all, err := c.Accounts(ctx)
		return errors.Join(err, is(len(all) == 0, "there are %d accounts", len(all)))
	})
	g.Refused(t, "MSAL: public.Client.AcquireTokenByUsernamePassword with a wrong password", "AADSTS50126", func() error {
		_, err := byPassword(ctx, c, []string{g.armScope()}, admin.UPN, "guess")
		return err
	})
	g.Refused(t, "MSAL: public.Client.AcquireTokenByUsernamePassword of an unknown user", "AADSTS50034", func() error {
		_, err := byPassword(ctx, c, []string{g.armScope()}, "nobody-at-all@"+g.Cloud().Domain, "guess")
		return err
	})
}

// userCredential is an operator who signs in with a password.
type userCredential struct {
	client         public.Client
	name, password string
}

// GetToken implements [azcore.TokenCredential].
func (u userCredential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	r, err := byPassword(ctx, u.client, o.Scopes, u.name, u.password)
	return azcore.AccessToken{Token: r.AccessToken, ExpiresOn: r.ExpiresOn}, err
}

// user is one of the test users.
func (g *goSDK) user(t *testing.T, name string) azcore.TokenCredential {
	t.Helper()
	c, err := g.public()
	must(t, err)
	who := g.Operator(name)
	return userCredential{c, who.UPN, who.Password.Reveal()}
}
