package soak

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/localcloud"
)

// ours begins the name of everything that the Go clients make; the second when it was made follows.
const ours = "soak-"

func name() string { return fmt.Sprintf("%s%d-%s", ours, time.Now().Unix(), uuid.NewString()[:8]) }

// program is one made with Microsoft's Go SDKs, with connections of its own.
type program struct {
	*soak
	http *http.Client
	cred azcore.TokenCredential // of sp-operator
}

func (s *soak) program() *program {
	p := &program{soak: s, http: s.connect()}
	op := s.operators["sp-operator"]
	bundle, err := os.ReadFile(op.CertificateFile)
	s.must(err)
	certs, key, err := azidentity.ParseCertificates(bundle, nil)
	s.must(err)
	p.cred, err = p.login(op.AppID, certs, key.(*rsa.PrivateKey))
	s.must(err)
	return p
}

func (p *program) options() azcore.ClientOptions {
	return azcore.ClientOptions{
		Transport: p.http, Retry: policy.RetryOptions{MaxRetries: 6, RetryDelay: 20 * time.Millisecond, MaxRetryDelay: time.Second},
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: p.run.Endpoints.Login, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: p.run.Endpoints.ARM, Audience: p.run.Endpoints.ARM},
		}},
	}
}

// login is a credential without a token yet.
func (p *program) login(appID string, certs []*x509.Certificate, key *rsa.PrivateKey) (*azidentity.ClientCertificateCredential, error) {
	return azidentity.NewClientCertificateCredential(p.run.TenantID, appID, certs, key, &azidentity.ClientCertificateCredentialOptions{ClientOptions: p.options(), DisableInstanceDiscovery: true})
}

// clients are the jobs that run side by side: two programs for each of the Go SDK's, and one that takes turns with the others' programs.
func (s *soak) clients() []*client {
	add := func(name string, turn func(ctx context.Context) error) {
		s.team = append(s.team, &client{s: s, name: name, turn: turn})
	}
	key, cert := s.certificate()
	for range 2 {
		add("azidentity", s.program().logins(key, cert))
		add("Graph by azcore", s.program().applications(cert))
		add("armauthorization", s.program().roles())
		add("azsecrets, azkeys", s.program().vault())
	}
	add("armresources", s.program().groups())
	if *programs {
		s.others(add)
	}
	return s.team
}

// certificate is a fresh one; all applications of the run have it.
func (s *soak) certificate() (*rsa.PrivateKey, *x509.Certificate) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	s.must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "soak"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	s.must(err)
	cert, err := x509.ParseCertificate(der)
	s.must(err)
	return key, cert
}

// prepare gives the operator the vault's data, which an owner does not have.
func (s *soak) prepare() {
	p := s.program()
	c, err := armauthorization.NewRoleAssignmentsClient(p.run.SubscriptionID, p.cred, &arm.ClientOptions{ClientOptions: p.options()})
	s.must(err)
	const administrator = "00482a5a-887f-4fb3-b363-3b7fe8e74483"
	scope := p.group() + "/providers/Microsoft.KeyVault/vaults/" + localcloud.DefaultVault
	_, err = c.Create(s.Context(), scope, uuid.NewString(), p.grant(administrator, s.operators["sp-operator"].ObjectID, "prepared"), nil)
	s.must(err)
	s.inventory()
	s.hangUp()
}

func (p *program) group() string {
	return "/subscriptions/" + p.run.SubscriptionID + "/resourceGroups/" + localcloud.DefaultGroup
}

func (p *program) grant(role, principal, description string) armauthorization.RoleAssignmentCreateParameters {
	return armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{
		RoleDefinitionID: to.Ptr("/subscriptions/" + p.run.SubscriptionID + "/providers/Microsoft.Authorization/roleDefinitions/" + role),
		PrincipalID:      to.Ptr(principal), PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal), Description: to.Ptr(description),
	}}
}

// logins makes an application and logs in as it many times, with a new credential each, so that each is a login.
func (p *program) logins(key *rsa.PrivateKey, cert *x509.Certificate) func(context.Context) error {
	var id string
	return func(ctx context.Context) error {
		if id == "" {
			var made struct{ AppID string }
			if err := p.graph(ctx, "POST", "/v1.0/applications", p.application(name(), cert), &made); err != nil {
				return err
			}
			if err := p.settles(ctx, func() error {
				return p.graph(ctx, "POST", "/v1.0/servicePrincipals", map[string]any{"appId": made.AppID}, nil)
			}); err != nil {
				return err
			}
			id = made.AppID
		}
		for range 10 {
			cred, err := p.login(id, []*x509.Certificate{cert}, key)
			if err != nil {
				return err
			}
			for _, scope := range []string{p.run.Endpoints.ARM, p.run.Endpoints.Graph} {
				if _, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope + "/.default"}}); err != nil {
					if strings.Contains(err.Error(), "AADSTS700016") { // swept away, or never seen
						id = ""
					}
					return err
				}
			}
		}
		return nil
	}
}

// settles does something again until it works: what was written before has not spread, or this day is bad.
func (p *program) settles(ctx context.Context, f func() error) error {
	var err error
	for range 40 {
		if err = f(); err == nil {
			return nil
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			break
		}
	}
	return err
}

func (p *program) application(name string, cert *x509.Certificate) map[string]any {
	return map[string]any{"displayName": name, "signInAudience": "AzureADMyOrg", "keyCredentials": []any{
		map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.StdEncoding.EncodeToString(cert.Raw)}}}
}

// graph asks Microsoft Graph, for which the SDK is azcore.
func (p *program) graph(ctx context.Context, method, path string, body, into any) error {
	return p.ask(ctx, p.run.Endpoints.Graph, method, p.run.Endpoints.Graph+path, body, into)
}

// ask sends a request with a token for the audience. 404 of what is to be deleted is as good as its deletion.
func (p *program) ask(ctx context.Context, audience, method, url string, body, into any) error {
	o := p.options()
	pipeline := runtime.NewPipeline("soak", "v1", runtime.PipelineOptions{PerRetry: []policy.Policy{runtime.NewBearerTokenPolicy(p.cred, []string{audience + "/.default"}, nil)}}, &o)
	req, err := runtime.NewRequest(ctx, method, url)
	if err != nil {
		return err
	}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		if err := req.SetBody(readSeeker{bytes.NewReader(b)}, "application/json"); err != nil {
			return err
		}
	}
	resp, err := pipeline.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case method == http.MethodDelete && resp.StatusCode == http.StatusNotFound:
		return nil
	case resp.StatusCode >= 300:
		return runtime.NewResponseError(resp)
	case into == nil:
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// readSeeker is a body that a retry begins anew.
type readSeeker struct{ *bytes.Reader }

func (readSeeker) Close() error { return nil }

// applications makes an application with its service principal, looks at both, changes one, finds it by its name, and leaves nothing.
func (p *program) applications(cert *x509.Certificate) func(context.Context) error {
	return func(ctx context.Context) error {
		name := name()
		var app, sp struct{ ID, AppID string }
		if err := p.graph(ctx, "POST", "/v1.0/applications", p.application(name, cert), &app); err != nil {
			return err
		}
		path := "/v1.0/applications/" + app.ID
		work := p.settles(ctx, func() error {
			return p.graph(ctx, "POST", "/v1.0/servicePrincipals", map[string]any{"appId": app.AppID}, &sp)
		})
		if work == nil {
			work = errors.Join(
				p.settles(ctx, func() error { return p.graph(ctx, "GET", path, nil, nil) }),
				p.settles(ctx, func() error { return p.graph(ctx, "PATCH", path, map[string]any{"tags": []string{"soak"}}, nil) }),
				p.graph(ctx, "GET", "/v1.0/applications?$filter="+url.QueryEscape("displayName eq '"+name+"'"), nil, nil),
				p.graph(ctx, "GET", "/v1.0/servicePrincipals?$top=5&$filter="+url.QueryEscape("startswith(displayName,'soak-')"), nil, nil),
				p.graph(ctx, "POST", "/v1.0/$batch", map[string]any{"requests": []any{
					map[string]any{"id": "1", "method": "GET", "url": "/applications?$top=1"},
					map[string]any{"id": "2", "method": "GET", "url": "/applications/" + app.ID},
				}}, nil))
		}
		gone := p.settles(ctx, func() error { return p.graph(ctx, "DELETE", path, nil, nil) })
		for _, id := range []string{app.ID, sp.ID} {
			if id != "" && gone == nil {
				gone = p.settles(ctx, func() error {
					return p.graph(ctx, "DELETE", "/v1.0/directory/deletedItems/"+id, nil, nil)
				})
			}
		}
		return errors.Join(work, gone)
	}
}

// roles assigns a role to somebody, looks at it in three ways and takes it back.
func (p *program) roles() func(context.Context) error {
	c, err := armauthorization.NewRoleAssignmentsClient(p.run.SubscriptionID, p.cred, &arm.ClientOptions{ClientOptions: p.options()})
	p.must(err)
	const reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	return func(ctx context.Context) error {
		id, principal := uuid.NewString(), uuid.NewString()
		if _, err := c.Create(ctx, p.group(), id, p.grant(reader, principal, name()), nil); err != nil {
			return err
		}
		work := p.settles(ctx, func() error { _, err := c.Get(ctx, p.group(), id, nil); return err })
		for _, filter := range []string{"principalId eq '" + principal + "'", "atScope()"} {
			for pager := c.NewListForScopePager(p.group(), &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: to.Ptr(filter)}); work == nil && pager.More(); {
				_, work = pager.NextPage(ctx)
			}
		}
		return errors.Join(work, p.settles(ctx, func() error { _, err := c.Delete(ctx, p.group(), id, nil); return err }))
	}
}

// groups makes a resource group and deletes it, which takes as long as it says.
func (p *program) groups() func(context.Context) error {
	c, err := armresources.NewResourceGroupsClient(p.run.SubscriptionID, p.cred, &arm.ClientOptions{ClientOptions: p.options()})
	p.must(err)
	return func(ctx context.Context) error {
		name := name()
		if _, err := c.CreateOrUpdate(ctx, name, armresources.ResourceGroup{Location: to.Ptr("eastus")}, nil); err != nil {
			return err
		}
		work := p.settles(ctx, func() error { _, err := c.Get(ctx, name, nil); return err })
		return errors.Join(work, p.settles(ctx, func() error {
			poller, err := c.BeginDelete(ctx, name, nil)
			if err != nil {
				return err
			}
			_, err = poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second})
			return err
		}))
	}
}

// vault keeps a secret and a key for a moment, and signs with the key.
func (p *program) vault() func(context.Context) error {
	at := p.run.Endpoints.Vault[localcloud.DefaultVault]
	secrets, err := azsecrets.NewClient(at, p.cred, &azsecrets.ClientOptions{ClientOptions: p.options(), DisableChallengeResourceVerification: true})
	p.must(err)
	keys, err := azkeys.NewClient(at, p.cred, &azkeys.ClientOptions{ClientOptions: p.options(), DisableChallengeResourceVerification: true})
	p.must(err)
	return func(ctx context.Context) error {
		return errors.Join(p.secret(ctx, secrets, name()), p.key(ctx, keys, name()))
	}
}

func (p *program) secret(ctx context.Context, c *azsecrets.Client, name string) error {
	if _, err := c.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: to.Ptr("of no use to anybody")}, nil); err != nil {
		return err
	}
	work := p.settles(ctx, func() error { _, err := c.GetSecret(ctx, name, "", nil); return err })
	for pager := c.NewListSecretPropertiesPager(nil); work == nil && pager.More(); {
		_, work = pager.NextPage(ctx)
	}
	gone := p.settles(ctx, func() error { _, err := c.DeleteSecret(ctx, name, nil); return absent(err) })
	if gone == nil {
		gone = p.settles(ctx, func() error { _, err := c.PurgeDeletedSecret(ctx, name, nil); return absent(err) })
	}
	return errors.Join(work, gone)
}

func (p *program) key(ctx context.Context, c *azkeys.Client, name string) error {
	if _, err := c.CreateKey(ctx, name, azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeEC), Curve: to.Ptr(azkeys.CurveNameP256)}, nil); err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(name))
	work := p.settles(ctx, func() error {
		_, err := c.Sign(ctx, name, "", azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmES256), Value: digest[:]}, nil)
		return err
	})
	gone := p.settles(ctx, func() error { _, err := c.DeleteKey(ctx, name, nil); return absent(err) })
	if gone == nil {
		gone = p.settles(ctx, func() error { _, err := c.PurgeDeletedKey(ctx, name, nil); return absent(err) })
	}
	return errors.Join(work, gone)
}

// absent is nil for what is not there, when that is what was wanted: the answer to an earlier try was lost.
func absent(err error) error {
	if e, is := errors.AsType[*azcore.ResponseError](err); is && e.StatusCode == http.StatusNotFound {
		return nil
	}
	return err
}
