package clients

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/google/uuid"
)

// proofAudience is Azure AD Graph, which a proof of possession is for (Microsoft Graph, "Generate proof-of-possession tokens for rolling
// keys").
const proofAudience = "00000002-0000-0000-c000-000000000000"

// TestGoSDKGraph drives Microsoft Graph with azcore's pipeline and azidentity's tokens, as programs without Graph's own SDK do.
func TestGoSDKGraph(t *testing.T) {
	t.Parallel()
	g := startGo(t)
	t.Run("applications", g.applications)
	t.Run("key credentials", g.keyCredentials)
	t.Run("own keys", g.ownKeys)
	t.Run("federated credentials", g.federatedCredentials)
	t.Run("batch", g.batch)
	t.Run("permissions", g.permissions)
}

type object = map[string]any

// value is a list of Graph.
type value struct {
	Value    []object
	NextLink string `json:"@odata.nextLink"`
}

func (g *goSDK) applications(t *testing.T) {
	ctx, c := t.Context(), g.graph(g.operator)
	var made struct{ ID, AppID, UniqueName string }
	upsert := []string{"Prefer", "create-if-missing"}
	g.Operation(t, "Microsoft Graph: an application by upsert", func() error {
		if err := c.call(ctx, "PATCH", "/v1.0/applications(uniqueName='go-graph')", object{"displayName": "go graph"}, &made, upsert...); err != nil {
			return err
		}
		if err := is(made.UniqueName == "go-graph" && made.AppID != made.ID, "it is %+v", made); err != nil {
			return err
		}
		return c.call(ctx, "PATCH", "/v1.0/applications(uniqueName='go-graph')", object{"displayName": "go graph again"}, nil, upsert...) // 204
	})
	var sp struct{ ID string }
	g.Operation(t, "Microsoft Graph: a service principal", func() error {
		return c.call(ctx, "POST", "/v1.0/servicePrincipals", object{"appId": made.AppID}, &sp)
	})
	g.Refused(t, "Microsoft Graph: a second service principal of one application", "Request_MultipleObjectsWithSameKeyValue", func() error {
		return c.call(ctx, "POST", "/v1.0/servicePrincipals", object{"appId": made.AppID}, nil)
	})
	g.Refused(t, "Microsoft Graph: a service principal of no application", "does not reference a valid application object", func() error {
		return c.call(ctx, "POST", "/v1.0/servicePrincipals", object{"appId": uuid.NewString()}, nil)
	})
	g.Operation(t, "Microsoft Graph: applications with a filter and a selection", func() error {
		var found value
		if err := c.call(ctx, "GET", "/v1.0/applications?$filter=appId%20eq%20'"+made.AppID+"'&$select=id,displayName", nil, &found); err != nil {
			return err
		}
		return is(len(found.Value) == 1 && found.Value[0]["displayName"] == "go graph again" && found.Value[0]["appId"] == nil, "it lists %v", found.Value)
	})
	for i := range 5 {
		must(t, c.call(ctx, "POST", "/v1.0/applications", object{"displayName": fmt.Sprintf("go page %d", i)}, nil))
	}
	g.Operation(t, "Microsoft Graph: applications page by page", func() error {
		n, sheets := 0, 0
		for at := "/v1.0/applications?$top=2&$filter=startswith(displayName,'go%20page')"; at != ""; sheets++ {
			var page value
			if err := c.call(ctx, "GET", at, nil, &page); err != nil {
				return err
			}
			n += len(page.Value)
			at = strings.TrimPrefix(page.NextLink, c.base)
		}
		return is(n == 5 && sheets == 3, "%d applications on %d pages", n, sheets)
	})
	admin := g.Operator("admin").ObjectID
	g.Operation(t, "Microsoft Graph: an owner", func() error {
		ref := object{"@odata.id": c.base + "/v1.0/directoryObjects/" + admin}
		if err := c.call(ctx, "POST", "/v1.0/applications/"+made.ID+"/owners/$ref", ref, nil); err != nil {
			return err
		}
		var owners value
		if err := c.call(ctx, "GET", "/v1.0/applications/"+made.ID+"/owners", nil, &owners); err != nil {
			return err
		}
		has := slices.ContainsFunc(owners.Value, func(o object) bool { return o["id"] == admin })
		return errors.Join(is(has, "the owners are %v", owners.Value), c.call(ctx, "DELETE", "/v1.0/applications/"+made.ID+"/owners/"+admin+"/$ref", nil, nil))
	})
	g.Operation(t, "Microsoft Graph: an application into the recycle bin and back", func() error {
		if err := c.call(ctx, "DELETE", "/v1.0/applications/"+made.ID, nil, nil); err != nil {
			return err
		}
		var bin value
		if err := c.call(ctx, "GET", "/v1.0/directory/deletedItems/microsoft.graph.application", nil, &bin); err != nil {
			return err
		}
		if !slices.ContainsFunc(bin.Value, func(o object) bool { return o["id"] == made.ID }) {
			return errors.New("it is not in the recycle bin")
		}
		return c.call(ctx, "POST", "/v1.0/directory/deletedItems/"+made.ID+"/restore", nil, nil)
	})
	g.Operation(t, "Microsoft Graph: an application deleted for good", func() error {
		if err := c.call(ctx, "DELETE", "/v1.0/applications/"+made.ID, nil, nil); err != nil {
			return err
		}
		return c.call(ctx, "DELETE", "/v1.0/directory/deletedItems/"+made.ID, nil, nil)
	})
	g.Refused(t, "Microsoft Graph: an application that is not there", "Request_ResourceNotFound", func() error {
		return c.call(ctx, "GET", "/v1.0/applications/"+made.ID, nil, nil)
	})
}

// key is a key credential as Graph shows it.
type key struct {
	KeyID, CustomKeyIdentifier string
	Key                        []byte
	EndDateTime                time.Time
}

func (g *goSDK) keysOf(ctx context.Context, a *app) ([]key, error) {
	var is struct{ KeyCredentials []key }
	return is.KeyCredentials, g.graph(g.operator).call(ctx, "GET", "/v1.0/applications/"+a.object+"?$select=keyCredentials", nil, &is)
}

func (g *goSDK) keyCredentials(t *testing.T) {
	ctx, c := t.Context(), g.graph(g.operator)
	a, next := g.app(t, "go-keys", time.Hour), g.Certificate("go-keys-next", time.Hour)
	at := "/v1.0/applications/" + a.object
	g.Operation(t, "Microsoft Graph: a key credential beside the one that is there", func() error {
		have, err := g.keysOf(ctx, a)
		if err != nil {
			return err
		}
		if len(have) != 1 || !bytes.Equal(have[0].Key, a.cert.DER) {
			return fmt.Errorf("there are %d keys", len(have))
		}
		old := object{"keyId": have[0].KeyID, "type": "AsymmetricX509Cert", "usage": "Verify", "key": nil}
		if err := c.call(ctx, "PATCH", at, object{"keyCredentials": []object{old, keyCredential(next)}}, nil); err != nil {
			return err
		}
		if have, err = g.keysOf(ctx, a); err != nil {
			return err
		}
		sum := sha1.Sum(next.DER)
		return is(len(have) == 2 && have[1].CustomKeyIdentifier == base64.StdEncoding.EncodeToString(sum[:]) && have[1].EndDateTime.Equal(next.NotAfter), "the keys are %+v", have)
	})
	g.Operation(t, "Microsoft Graph: keys are shown to nobody who does not select them", func() error {
		var got struct{ KeyCredentials []key }
		if err := c.call(ctx, "GET", at, nil, &got); err != nil {
			return err
		}
		return is(len(got.KeyCredentials) == 2 && got.KeyCredentials[0].Key == nil, "the keys are %+v", got.KeyCredentials)
	})
	for _, row := range []struct {
		name, code string
		change     object
	}{
		{"that is no certificate", "Request_BadRequest", object{"key": "bm90IGEgY2VydGlmaWNhdGU="}},
		{"for something unknown", "Acceptable values are Sign, Verify", object{"usage": "Encrypt"}},
		{"that ends after its certificate", "KeyCredentialsInvalidEndDate", object{"endDateTime": "2100-01-01T00:00:00Z"}},
	} {
		g.Refused(t, "Microsoft Graph: a key credential "+row.name, row.code, func() error {
			wish := keyCredential(next)
			for name, v := range row.change {
				wish[name] = v
			}
			return c.call(ctx, "PATCH", at, object{"keyCredentials": []object{wish}}, nil)
		})
	}
	g.Refused(t, "Microsoft Graph: a certificate that has expired", "KeyCredentialsInvalidEndDate", func() error {
		return c.call(ctx, "PATCH", at, object{"keyCredentials": []any{keyCredential(g.Certificate("go-keys-old", -time.Minute))}}, nil)
	})
	g.Operation(t, "Microsoft Graph: a password, and its removal", func() error {
		var made struct{ KeyID, SecretText string }
		if err := c.call(ctx, "POST", at+"/addPassword", object{"passwordCredential": object{"displayName": "go"}}, &made); err != nil {
			return err
		}
		var got struct{ PasswordCredentials []object }
		if err := c.call(ctx, "GET", at+"?$select=passwordCredentials", nil, &got); err != nil {
			return err
		}
		if len(got.PasswordCredentials) != 1 || got.PasswordCredentials[0]["secretText"] != nil || len(made.SecretText) < 16 {
			return errors.New("the password is not there, or is shown a second time")
		}
		return c.call(ctx, "POST", at+"/removePassword", object{"keyId": made.KeyID}, nil)
	})
}

// proof is a proof of possession: a token that the key of a certificate has signed for one object of the directory.
func proof(c Certificate, object string, change func(header, claims map[string]any)) (string, error) {
	sum, now := sha1.Sum(c.DER), time.Now()
	header := map[string]any{"alg": "RS256", "typ": "JWT", "x5t": base64.RawURLEncoding.EncodeToString(sum[:])}
	claims := map[string]any{"aud": proofAudience, "iss": object, "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()}
	if change != nil {
		change(header, claims)
	}
	return signJWT(c.Signer, header, claims)
}

// ownKeys is an application that rolls its key: it needs no permission for that, as its old key vouches for the new one.
func (g *goSDK) ownKeys(t *testing.T) {
	ctx := t.Context()
	a, next := g.app(t, "go-own", time.Hour), g.Certificate("go-own-next", time.Hour)
	c, at := g.graph(a.cred), "/v1.0/applications/"+a.object
	add := func(p string) error {
		return c.call(ctx, "POST", at+"/addKey", object{"keyCredential": keyCredential(next), "passwordCredential": nil, "proof": p}, nil)
	}
	signed := func(by Certificate, change func(header, claims map[string]any)) string {
		p, err := proof(by, a.object, change)
		must(t, err)
		return p
	}
	for _, row := range []struct{ name, code, proof string }{
		{"without a proof", "Authentication_MissingOrMalformed", ""},
		{"with padding in the proof", "Authentication_MissingOrMalformed", signed(a.cert, nil) + "="},
		{"proved with the new key itself", "Authentication_Unauthorized", signed(next, nil)},
		{"proved for the application's id instead of its object's", "Authentication_Unauthorized", signed(a.cert, func(_, c map[string]any) { c["iss"] = a.id })},
		{"proved for another service", "Authentication_Unauthorized", signed(a.cert, func(_, c map[string]any) { c["aud"] = "https://graph.microsoft.com" })},
		{"proved for an hour", "Authentication_Unauthorized", signed(a.cert, func(_, c map[string]any) { c["exp"] = time.Now().Add(time.Hour).Unix() })},
		{"proved long ago", "Authentication_ExpiredToken", signed(a.cert, func(_, c map[string]any) {
			c["nbf"], c["exp"] = time.Now().Add(-time.Hour).Unix(), time.Now().Add(-50*time.Minute).Unix()
		})},
	} {
		g.Refused(t, "Microsoft Graph: addKey "+row.name, row.code, func() error { return add(row.proof) })
	}
	g.Operation(t, "Microsoft Graph: addKey by the application itself, with proof of possession", func() error { return add(signed(a.cert, nil)) })
	cred, err := g.withCertificate(a.id, next.Both, nil)
	must(t, err)
	g.Operation(t, "azidentity.ClientCertificateCredential with the key that the application has added", func() error {
		return signsIn(ctx, cred, g.armScope(), claims{"appid": a.id})
	})
	have, err := g.keysOf(ctx, a)
	must(t, err)
	old := slices.IndexFunc(have, func(k key) bool { return bytes.Equal(k.Key, a.cert.DER) })
	c = g.graph(cred)
	g.Operation(t, "Microsoft Graph: removeKey by the application itself, with proof by the new key", func() error {
		return c.call(ctx, "POST", at+"/removeKey", object{"keyId": have[old].KeyID, "proof": signed(next, nil)}, nil)
	})
	again, err := g.withCertificate(a.id, a.cert.Both, nil)
	must(t, err)
	g.refusedToken(t, "azidentity.ClientCertificateCredential with the key that the application has removed", "AADSTS700027", again, g.armScope())
	g.Refused(t, "Microsoft Graph: an application reads itself without a permission", "Authorization_RequestDenied", func() error {
		return c.call(ctx, "GET", at, nil, nil)
	})
}

func (g *goSDK) federatedCredentials(t *testing.T) {
	ctx, c, a := t.Context(), g.graph(g.operator), g.app(t, "go-federated", 0)
	at := "/v1.0/applications/" + a.object + "/federatedIdentityCredentials"
	body := object{"name": "main", "issuer": "https://token.actions.githubusercontent.com", "subject": "repo:contoso/agent:ref:refs/heads/main", "audiences": []string{exchange}}
	var made struct{ ID, Name string }
	g.Operation(t, "Microsoft Graph: a federated credential", func() error { return c.call(ctx, "POST", at, body, &made) })
	g.Operation(t, "Microsoft Graph: a federated credential by upsert", func() error {
		return c.call(ctx, "PATCH", at+"(name='release')", object{"issuer": body["issuer"], "subject": "repo:contoso/agent:ref:refs/tags/v1", "audiences": []string{exchange}}, nil, "Prefer", "create-if-missing")
	})
	g.Operation(t, "Microsoft Graph: federated credentials", func() error {
		var all value
		if err := c.call(ctx, "GET", at, nil, &all); err != nil {
			return err
		}
		return is(len(all.Value) == 2, "it lists %v", all.Value)
	})
	g.Operation(t, "Microsoft Graph: a federated credential by its name, changed", func() error {
		if err := c.call(ctx, "PATCH", at+"/main", object{"description": "changed"}, nil); err != nil {
			return err
		}
		var got object
		if err := c.call(ctx, "GET", at+"/"+made.ID, nil, &got); err != nil {
			return err
		}
		return is(got["description"] == "changed", "it is %v", got)
	})
	g.Refused(t, "Microsoft Graph: a federated credential for the same subject", "InvalidFederatedIdentityCredentialValue", func() error {
		second := object{"name": "second", "issuer": body["issuer"], "subject": body["subject"], "audiences": body["audiences"]}
		return c.call(ctx, "POST", at, second, nil)
	})
	g.Operation(t, "Microsoft Graph: a federated credential deleted", func() error { return c.call(ctx, "DELETE", at+"/"+made.ID, nil, nil) })
	g.Refused(t, "Microsoft Graph: a federated credential that was deleted", "Request_ResourceNotFound", func() error { return c.call(ctx, "GET", at+"/"+made.ID, nil, nil) })
}

func (g *goSDK) batch(t *testing.T) {
	ctx, c := t.Context(), g.graph(g.operator)
	headers := object{"Content-Type": "application/json"}
	var said struct {
		Responses []struct {
			ID     string
			Status int
			Body   object
		}
	}
	statuses := func() map[string]int {
		all := map[string]int{}
		for _, r := range said.Responses {
			all[r.ID] = r.Status
		}
		return all
	}
	g.Operation(t, "Microsoft Graph: $batch", func() error {
		err := c.call(ctx, "POST", "/v1.0/$batch", object{"requests": []object{
			{"id": "1", "method": "PATCH", "url": "/applications(uniqueName='go-batch')", "headers": object{"Content-Type": "application/json", "Prefer": "create-if-missing"}, "body": object{"displayName": "go batch"}},
			{"id": "2", "method": "GET", "url": "/applications(uniqueName='go-batch')", "dependsOn": []string{"1"}},
			{"id": "3", "method": "GET", "url": "/applications/" + uuid.NewString()},
			{"id": "4", "method": "POST", "url": "/applications", "headers": headers, "body": object{"displayName": "never"}, "dependsOn": []string{"3"}},
		}}, &said)
		if err != nil {
			return err
		}
		got := statuses()
		return is(got["1"] == 201 && got["2"] == 200 && got["3"] == 404 && got["4"] == 424, "the statuses are %v", got)
	})
	g.Refused(t, "Microsoft Graph: $batch of more than twenty", "400", func() error {
		var many []object
		for i := range 21 {
			many = append(many, object{"id": fmt.Sprint(i), "method": "GET", "url": "/applications"})
		}
		return c.call(ctx, "POST", "/v1.0/$batch", object{"requests": many}, nil)
	})
}

func (g *goSDK) permissions(t *testing.T) {
	ctx := t.Context()
	a := g.app(t, "go-permitted", time.Hour)
	read := func(cred azcore.TokenCredential) error {
		return g.graph(cred).call(ctx, "GET", "/v1.0/applications", nil, nil)
	}
	g.Refused(t, "Microsoft Graph: applications without a permission", "Authorization_RequestDenied", func() error { return read(a.cred) })
	g.Operation(t, "Microsoft Graph: a user grants an application permission", func() error {
		return g.permit(ctx, t, a, "Application.Read.All")
	})
	cred, err := g.withCertificate(a.id, a.cert.Both, nil) // the token in memory is from before
	must(t, err)
	g.Operation(t, "Microsoft Graph: applications with the permission", func() error { return read(cred) })
	g.Refused(t, "Microsoft Graph: an application made with the permission to read", "Authorization_RequestDenied", func() error {
		return g.graph(cred).call(ctx, "POST", "/v1.0/applications", object{"displayName": "never"}, nil)
	})
	g.Refused(t, "Microsoft Graph: an application administrator may not grant permissions of Microsoft Graph", "Authorization_RequestDenied", func() error {
		return g.grant(ctx, g.operator, a.principal, "Application.ReadWrite.All")
	})
	g.Refused(t, "Microsoft Graph: a token for Azure Resource Manager", "InvalidAuthenticationToken", func() error {
		return g.graphWith(cred, g.armScope()).call(ctx, "GET", "/v1.0/applications", nil, nil)
	})
	g.Refused(t, "Microsoft Graph: throttled, without retries", "TooManyRequests", func() error {
		return g.Throttled(func() error { return read(cred) })
	})
}

// permit has the tenant's administrator grant an application permissions of Microsoft Graph.
func (g *goSDK) permit(ctx context.Context, t *testing.T, a *app, permissions ...string) error {
	t.Helper()
	return g.grant(ctx, g.user(t, "admin"), a.principal, permissions...)
}

// grant assigns app roles of Microsoft Graph.
func (g *goSDK) grant(ctx context.Context, by azcore.TokenCredential, principal string, permissions ...string) error {
	c := g.graph(by)
	var sp struct {
		ID       string
		AppRoles []struct{ ID, Value string }
	}
	if err := c.call(ctx, "GET", "/v1.0/servicePrincipals(appId='00000003-0000-0000-c000-000000000000')?$select=id,appRoles", nil, &sp); err != nil {
		return err
	}
	for _, p := range permissions {
		i := slices.IndexFunc(sp.AppRoles, func(r struct{ ID, Value string }) bool { return r.Value == p })
		if i < 0 {
			return fmt.Errorf("Microsoft Graph has no permission %s", p)
		}
		if err := c.call(ctx, "POST", "/v1.0/servicePrincipals/"+principal+"/appRoleAssignments", object{"principalId": principal, "resourceId": sp.ID, "appRoleId": sp.AppRoles[i].ID}, nil); err != nil {
			return err
		}
	}
	return nil
}
