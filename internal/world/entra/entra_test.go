package entra

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

const (
	base      = "https://graph.leastkey.test/v1.0"
	appObject = "11111111-0000-4000-8000-000000000001"
	appID     = "22222222-0000-4000-8000-000000000002"
	spObject  = "33333333-0000-4000-8000-000000000003"
	keyID     = "44444444-0000-4000-8000-000000000004"
	otherKey  = "55555555-0000-4000-8000-000000000005"
	bearer    = "CANARY-token"
)

// graph answers each request with the next reply and remembers what it was asked.
type graph struct {
	t       *testing.T
	replies []reply
	asked   []asked
}

type reply struct {
	status int
	body   string
	header http.Header
	err    error
}

type asked struct {
	line   string // method and URL
	body   string
	prefer string
}

func (g *graph) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	a := asked{line: r.Method + " " + r.URL.String(), prefer: r.Header.Get("Prefer")}
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		a.body = string(b)
	}
	if r.Header.Get("Authorization") != "Bearer "+bearer {
		g.t.Errorf("%s carries no token", a.line)
	}
	g.asked = append(g.asked, a)
	if len(g.replies) == 0 {
		g.t.Errorf("unexpected %s", a.line)
		return nil, errors.New("unexpected")
	}
	out := g.replies[0]
	g.replies = g.replies[1:]
	if out.err != nil {
		return nil, out.err
	}
	if out.header == nil {
		out.header = http.Header{"Content-Type": {"application/json"}}
	}
	return &http.Response{StatusCode: out.status, Header: out.header, Body: io.NopCloser(strings.NewReader(out.body)), Request: r}, nil
}

func (g *graph) expect(t *testing.T, lines ...string) {
	t.Helper()
	for i, want := range lines {
		if i < len(g.asked) && g.asked[i].line != want {
			t.Errorf("request %d:\n got %s\nwant %s", i+1, g.asked[i].line, want)
		}
	}
	if len(g.asked) != len(lines) {
		t.Errorf("%d requests, want %d", len(g.asked), len(lines))
	}
}

type fixed struct{ err error }

func (f fixed) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || o.Scopes[0] != "https://graph.leastkey.test/.default" {
		return azcore.AccessToken{}, errors.New("wrong scope")
	}
	return azcore.AccessToken{Token: bearer, ExpiresOn: time.Now().Add(time.Hour)}, f.err
}

func serve(t *testing.T, replies ...reply) (*Client, *graph) {
	t.Helper()
	g := &graph{t: t, replies: replies}
	c, err := New(Config{Endpoint: "https://graph.leastkey.test", Credential: fixed{}, HTTP: g})
	if err != nil {
		t.Fatal(err)
	}
	return c, g
}

func ok(body string) reply { return reply{status: 200, body: body} }
func nothing() reply       { return reply{status: 204} }
func problem(status int, code, message string) reply {
	b, _ := json.Marshal(map[string]any{"error": map[string]any{"code": code, "message": message, "innerError": map[string]string{"request-id": "x"}}})
	return reply{status: status, body: string(b)}
}

var der = sync.OnceValue(func() []byte {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2027, 8, 1, 0, 0, 0, 0, time.UTC)}
	b, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return b
})

const selectApplication = "%24select=id%2CappId%2CdisplayName%2CuniqueName%2CcreatedDateTime%2CsignInAudience%2CisFallbackPublicClient%2Cweb%2Cspa%2CpublicClient%2CkeyCredentials%2CpasswordCredentials"

func applicationJSON(key string) string {
	return `{"id":"` + appObject + `","appId":"` + appID + `","displayName":"polyclaw-runtime","uniqueName":null,"createdDateTime":"2026-08-01T10:00:00Z","signInAudience":"AzureADMyOrg",
"web":{"redirectUris":["https://a"]},"spa":{"redirectUris":[]},"publicClient":{"redirectUris":["http://b"]},
"keyCredentials":[{"customKeyIdentifier":"AAAA","displayName":null,"endDateTime":"2027-08-01T00:00:00Z","key":` + key + `,"keyId":"` + keyID + `","startDateTime":"2026-08-01T00:00:00.1234567Z","type":"AsymmetricX509Cert","usage":"Verify"}],
"passwordCredentials":[{"customKeyIdentifier":null,"displayName":"old","endDateTime":"2028-08-01T00:00:00Z","hint":"abc","keyId":"` + otherKey + `","secretText":null,"startDateTime":"2026-08-01T00:00:00Z"}]}`
}

func TestAnApplicationIsReadWithItsCertificates(t *testing.T) {
	sum := sha256.Sum256(der())
	want := hex.EncodeToString(sum[:])
	pemText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der()})
	for name, c := range map[string]struct{ key, sha string }{
		"shown as base64":               {`"` + base64.StdEncoding.EncodeToString(der()) + `"`, want},
		"shown as base64url":            {`"` + base64.RawURLEncoding.EncodeToString(der()) + `"`, want},
		"registered as text":            {`"` + base64.StdEncoding.EncodeToString(pemText) + `"`, want},
		"not shown":                     {`null`, ""},
		"shown as something unreadable": {`"%%%"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, g := serve(t, ok(applicationJSON(c.key)))
			a, err := client.Application(t.Context(), appObject)
			if err != nil {
				t.Fatal(err)
			}
			g.expect(t, "GET "+base+"/applications/"+appObject+"?"+selectApplication)
			if a.ID != appObject || a.AppID != appID || a.SignInAudience != "AzureADMyOrg" || len(a.RedirectURIs) != 2 || a.UniqueName != "" {
				t.Errorf("%+v", a)
			}
			if len(a.Certificates) != 1 || a.Certificates[0].SHA256 != c.sha || a.Certificates[0].Custom != "AAAA" {
				t.Errorf("certificates %+v", a.Certificates)
			}
			if len(a.Passwords) != 1 || a.Passwords[0].KeyID != otherKey || a.Passwords[0].Hint != "abc" {
				t.Errorf("passwords %+v", a.Passwords)
			}
		})
	}
}

func TestAlternateKeysAreQuoted(t *testing.T) {
	client, g := serve(t, ok(applicationJSON("null")), ok(applicationJSON("null")))
	if _, err := client.ApplicationByAppID(t.Context(), appID); err != nil {
		t.Error(err)
	}
	if _, err := client.ApplicationByUniqueName(t.Context(), "o'x/../y"); err != nil {
		t.Error(err)
	}
	g.expect(t, "GET "+base+"/applications(appId='"+appID+"')?"+selectApplication, "GET "+base+"/applications(uniqueName='o%27%27x%2F..%2Fy')?"+selectApplication)
}

func TestNamesakesAreAllRead(t *testing.T) {
	next := base + "/applications?$skiptoken=abc"
	client, g := serve(t,
		ok(`{"value":[`+applicationJSON("null")+`],"@odata.nextLink":"`+next+`"}`),
		ok(`{"value":[`+strings.ReplaceAll(applicationJSON("null"), appObject, spObject)+`]}`),
		ok(`{"value":[{"@odata.type":"#microsoft.graph.user","id":"x","displayName":"Ann"}]}`),
		ok(`{"value":[]}`),
	)
	found, err := client.Namesakes(t.Context(), "it's")
	if err != nil || len(found) != 2 {
		t.Fatal(found, err)
	}
	g.expect(t,
		"GET "+base+"/applications?%24filter=displayName+eq+%27it%27%27s%27&"+selectApplication+"&%24top=100",
		"GET "+next,
		"GET "+base+"/applications/"+appObject+"/owners?%24select=id%2CdisplayName",
		"GET "+base+"/applications/"+spObject+"/owners?%24select=id%2CdisplayName",
	)
	if o := found[0].Owners; len(o) != 1 || o[0] != (agent.Owner{ID: "x", DisplayName: "Ann", Type: "user"}) {
		t.Errorf("owners %+v", o)
	}
	if found[0].Created.IsZero() {
		t.Error("no creation date")
	}
}

func TestFederatedCredentialsAreAllRead(t *testing.T) {
	const list = base + "/applications/" + appObject + "/federatedIdentityCredentials"
	client, g := serve(t,
		ok(`{"value":[{"id":"f1","name":"evil","issuer":"https://i","subject":"s","audiences":["api://AzureADTokenExchange"]}],"@odata.nextLink":"`+list+`?x"}`),
		ok(`{"value":[{"id":"f2","name":"worse"}]}`),
		nothing(), problem(404, "Request_ResourceNotFound", "x"), ok(`{"value":[{"name":"no id"}]}`), problem(404, "Request_ResourceNotFound", "x"),
	)
	all, err := client.Federated(t.Context(), appObject)
	if err != nil || len(all) != 2 || all[0].ID != "f1" || all[0].Name != "evil" ||
		!all[0].Stands(agent.FederatedCredential{Issuer: "https://i", Subject: "s", Audiences: []string{agent.TokenExchange}}) {
		t.Errorf("%+v: %v", all, err)
	}
	if err := client.RemoveFederated(t.Context(), appObject, "f1/../x"); err != nil {
		t.Error(err)
	}
	if err := client.RemoveFederated(t.Context(), appObject, "f1"); !fault.Is(err, fault.NotFound) {
		t.Errorf("one that is gone: %v", err)
	}
	if _, err := client.Federated(t.Context(), appObject); !fault.Is(err, fault.Unknown) { // a list that hides one is no list
		t.Errorf("an unreadable one: %v", err)
	}
	if _, err := client.Federated(t.Context(), appObject); !fault.Is(err, fault.NotFound) {
		t.Errorf("an application that is gone: %v", err)
	}
	g.expect(t, "GET "+list, "GET "+list+"?x", "DELETE "+list+"/f1%2F..%2Fx", "DELETE "+list+"/f1", "GET "+list, "GET "+list)
}

func TestTheRecycleBinIsSearchedForAUniqueName(t *testing.T) {
	const bin = base + "/directory/deletedItems/microsoft.graph.application?%24select=id%2CuniqueName&%24top=100"
	client, g := serve(t,
		ok(`{"value":[{"id":"`+spObject+`","uniqueName":null}],"@odata.nextLink":"`+bin+`&x"}`), ok(`{"value":[{"id":"`+appObject+`","uniqueName":"leastkey-1"}]}`),
		ok(`{"value":[]}`), problem(403, "Authorization_RequestDenied", "x"),
	)
	if id, found, err := client.DeletedByUniqueName(t.Context(), "leastkey-1"); err != nil || !found || id != appObject {
		t.Errorf("%s %v: %v", id, found, err)
	}
	if _, found, err := client.DeletedByUniqueName(t.Context(), "leastkey-1"); err != nil || found {
		t.Errorf("an empty bin: %v: %v", found, err)
	}
	if _, found, err := client.DeletedByUniqueName(t.Context(), "leastkey-1"); !fault.Is(err, fault.Forbidden) || found {
		t.Errorf("a bin that may not be read: %v: %v", found, err)
	}
	g.expect(t, "GET "+bin, "GET "+bin+"&x", "GET "+bin, "GET "+bin)
}

func TestAPageElsewhereIsNotFollowed(t *testing.T) {
	client, g := serve(t, ok(`{"value":[],"@odata.nextLink":"https://evil.test/v1.0/applications?x"}`))
	if _, err := client.Namesakes(t.Context(), "x"); !fault.Is(err, fault.Refused) || len(g.asked) != 1 {
		t.Errorf("%v after %d requests", err, len(g.asked))
	}
}

func TestUpsertNeverMakesASecond(t *testing.T) {
	const name, body = "leastkey-0123", `{"displayName":"polyclaw-runtime","signInAudience":"AzureADMyOrg"}`
	upsert := "PATCH " + base + "/applications(uniqueName='" + name + "')"
	read := "GET " + base + "/applications(uniqueName='" + name + "')?" + selectApplication

	client, g := serve(t, reply{status: 201, body: applicationJSON("null")})
	a, created, err := client.UpsertApplication(t.Context(), name, "polyclaw-runtime")
	if err != nil || !created || a.ID != appObject {
		t.Errorf("%+v, %v, %v", a, created, err)
	}
	g.expect(t, upsert)
	if g.asked[0].prefer != "create-if-missing" || g.asked[0].body != body {
		t.Errorf("sent %+v", g.asked[0])
	}

	client, g = serve(t, nothing(), ok(applicationJSON("null")))
	if a, created, err = client.UpsertApplication(t.Context(), name, "polyclaw-runtime"); err != nil || created || a.ID != appObject {
		t.Errorf("again: %+v, %v, %v", a, created, err)
	}
	g.expect(t, upsert, read)

	client, _ = serve(t, nothing(), problem(404, "Request_ResourceNotFound", "Resource 'x' does not exist or one of its queried reference-property objects are not present."))
	if _, _, err = client.UpsertApplication(t.Context(), name, "polyclaw-runtime"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a lagging replica: %v", err)
	}
	clash := problem(400, "Request_MultipleObjectsWithSameKeyValue", "Request contains property changes that would result in property-uniqueness violation(s).")
	client, g = serve(t, clash, ok(applicationJSON("null")))
	if a, created, err = client.UpsertApplication(t.Context(), name, "polyclaw-runtime"); err != nil || created || a.ID != appObject {
		t.Errorf("a replica that learns of it between: %+v, %v, %v", a, created, err)
	}
	g.expect(t, upsert, read)
	client, _ = serve(t, clash, problem(404, "Request_ResourceNotFound", "Resource 'x' does not exist."))
	if _, _, err = client.UpsertApplication(t.Context(), name, "polyclaw-runtime"); !fault.Is(err, fault.NotFound) || fault.Hint(err) == "" {
		t.Errorf("a name in use that is not shown: %v", err)
	}
}

func TestSetCertificatesKeepsOthersAsTheyWere(t *testing.T) {
	client, g := serve(t, ok(applicationJSON(`"`+base64.StdEncoding.EncodeToString(der())+`"`)), nothing(), nothing())
	a, err := client.Application(t.Context(), appObject)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SetCertificates(t.Context(), appObject, a.Certificates, []agent.Certificate{{KeyID: otherKey, DisplayName: "leastkey 1", DER: der()}}); err != nil {
		t.Fatal(err)
	}
	want := `{"keyCredentials":[` +
		`{"customKeyIdentifier":"AAAA","displayName":null,"endDateTime":"2027-08-01T00:00:00Z","key":null,"keyId":"` + keyID + `","startDateTime":"2026-08-01T00:00:00.1234567Z","type":"AsymmetricX509Cert","usage":"Verify"},` +
		`{"customKeyIdentifier":null,"displayName":"leastkey 1","endDateTime":"2027-08-01T00:00:00Z","key":"` + base64.StdEncoding.EncodeToString(der()) + `","keyId":"` + otherKey + `","startDateTime":"2026-08-01T00:00:00Z","type":"AsymmetricX509Cert","usage":"Verify"}]}`
	if g.asked[1].line != "PATCH "+base+"/applications/"+appObject || g.asked[1].body != want {
		t.Errorf("sent %s\n%s\nwant\n%s", g.asked[1].line, g.asked[1].body, want)
	}
	if err := client.SetCertificates(t.Context(), appObject, nil, nil); err != nil || g.asked[2].body != `{"keyCredentials":[]}` {
		t.Errorf("clear: %v, sent %s", err, g.asked[2].body)
	}
}

func TestOnlyACertificateCanBeRegistered(t *testing.T) {
	client, g := serve(t)
	for name, c := range map[string]agent.Certificate{
		"a private key":          {KeyID: keyID, DER: []byte("-----BEGIN PRIVATE KEY-----")},
		"nothing":                {KeyID: keyID},
		"a certificate and more": {KeyID: keyID, DER: append(bytes.Clone(der()), 1)},
		"no key id":              {DER: der()},
	} {
		if err := client.SetCertificates(t.Context(), appObject, nil, []agent.Certificate{c}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	g.expect(t)
}

const principalJSON = `{"id":"` + spObject + `","appId":"` + appID + `","accountEnabled":false,"keyCredentials":[],"passwordCredentials":[]}`

func TestServicePrincipals(t *testing.T) {
	fields := "?%24select=id%2CappId%2CaccountEnabled%2CkeyCredentials%2CpasswordCredentials"
	client, g := serve(t, reply{status: 201, body: principalJSON}, ok(principalJSON), ok(principalJSON), nothing(), nothing())
	if p, err := client.CreatePrincipal(t.Context(), appID); err != nil || p.ID != spObject || p.Enabled {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := client.Principal(t.Context(), appID); err != nil {
		t.Error(err)
	}
	if _, err := client.PrincipalByID(t.Context(), spObject); err != nil {
		t.Error(err)
	}
	if err := client.SetEnabled(t.Context(), spObject, false); err != nil {
		t.Error(err)
	}
	if err := client.DeletePrincipal(t.Context(), spObject); err != nil {
		t.Error(err)
	}
	g.expect(t,
		"POST "+base+"/servicePrincipals",
		"GET "+base+"/servicePrincipals(appId='"+appID+"')"+fields,
		"GET "+base+"/servicePrincipals/"+spObject+fields,
		"PATCH "+base+"/servicePrincipals/"+spObject,
		"DELETE "+base+"/servicePrincipals/"+spObject,
	)
	if g.asked[0].body != `{"appId":"`+appID+`"}` || g.asked[3].body != `{"accountEnabled":false}` {
		t.Errorf("sent %s and %s", g.asked[0].body, g.asked[3].body)
	}
}

func TestRemovePassword(t *testing.T) {
	gone := problem(400, "Request_BadRequest", "No password credential found with keyId '"+otherKey+"'.")
	t.Run("removes it", func(t *testing.T) {
		client, g := serve(t, nothing())
		if err := client.RemovePassword(t.Context(), "applications", appObject, otherKey); err != nil {
			t.Error(err)
		}
		g.expect(t, "POST "+base+"/applications/"+appObject+"/removePassword")
		if g.asked[0].body != `{"keyId":"`+otherKey+`"}` {
			t.Errorf("sent %s", g.asked[0].body)
		}
	})
	t.Run("is content when a read confirms that it is not there", func(t *testing.T) {
		client, _ := serve(t, gone, ok(principalJSON))
		if err := client.RemovePassword(t.Context(), "servicePrincipals", spObject, otherKey); err != nil {
			t.Error(err)
		}
	})
	t.Run("is not content when a read still shows it", func(t *testing.T) {
		client, _ := serve(t, gone, ok(applicationJSON("null")))
		if err := client.RemovePassword(t.Context(), "applications", appObject, otherKey); !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
	})
	t.Run("is not content when the read fails", func(t *testing.T) {
		client, _ := serve(t, gone, reply{status: 503, body: "busy"})
		if err := client.RemovePassword(t.Context(), "applications", appObject, otherKey); !fault.Is(err, fault.Unavailable) {
			t.Error(err)
		}
	})
	t.Run("knows two collections", func(t *testing.T) {
		client, _ := serve(t)
		if err := client.RemovePassword(t.Context(), "users", appObject, otherKey); !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
	})
}

func TestRecycleBin(t *testing.T) {
	client, g := serve(t, nothing(), ok(`{"@odata.type":"#microsoft.graph.application","id":"`+appObject+`","deletedDateTime":"2026-08-01T10:00:00Z"}`), nothing(),
		problem(404, "Request_ResourceNotFound", "Resource '"+appObject+"' does not exist."))
	if err := client.DeleteApplication(t.Context(), appObject); err != nil {
		t.Error(err)
	}
	if at, err := client.DeletedItem(t.Context(), appObject); err != nil || at.Hour() != 10 {
		t.Error(at, err)
	}
	if err := client.Purge(t.Context(), appObject); err != nil {
		t.Error(err)
	}
	if _, err := client.DeletedItem(t.Context(), appObject); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	bin := base + "/directory/deletedItems/" + appObject
	g.expect(t, "DELETE "+base+"/applications/"+appObject, "GET "+bin, "DELETE "+bin, "GET "+bin)
}

func TestRefusals(t *testing.T) {
	detailed := reply{status: 400, body: `{"error":{"code":"Request_BadRequest","message":"The appId is not valid.","details":[{"code":"NoBackingApplicationObject","target":"appId"}]}}`}
	for name, c := range map[string]struct {
		reply   reply
		code    fault.Code
		service string
		hint    string
	}{
		"a missing right names role and permission":      {problem(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."), fault.Forbidden, "Authorization_RequestDenied", "Application Administrator (a PIM role may need activating), an application the permission Application.ReadWrite.All"},
		"an application not yet seen is not found":       {problem(400, "Request_BadRequest", "The appId 'x' of the service principal does not reference a valid application object."), fault.NotFound, "Request_BadRequest", ""},
		"the same by its detail":                         {detailed, fault.NotFound, "Request_BadRequest", ""},
		"the same under OwnedBy":                         {problem(403, "Authorization_RequestDenied", "When using this permission, the backing application of the service principal being created must in the local tenant"), fault.NotFound, "Authorization_RequestDenied", ""},
		"a missing object is not found":                  {problem(404, "Request_ResourceNotFound", "Resource 'x' does not exist or one of its queried reference-property objects are not present."), fault.NotFound, "Request_ResourceNotFound", ""},
		"a second service principal is a conflict":       {problem(409, "Request_MultipleObjectsWithSameKeyValue", "The service principal cannot be created, updated, or restored because the service principal name x is already in use."), fault.Conflict, "Request_MultipleObjectsWithSameKeyValue", ""},
		"a bad token is unauthenticated":                 {problem(401, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience."), fault.Unauthenticated, "InvalidAuthenticationToken", "sign in again"},
		"a policy is explained":                          {problem(400, "CredentialInvalidLifetimeAsPerAppPolicy", "Credential lifetime exceeds the max value allowed as per assigned policy 'x'."), fault.Invalid, "CredentialInvalidLifetimeAsPerAppPolicy", "certificate.days"},
		"any other 400 is bad input":                     {problem(400, "Request_BadRequest", "Invalid value."), fault.Invalid, "Request_BadRequest", ""},
		"429 is throttled":                               {reply{status: 429, body: `{"error":{"code":"TooManyRequests","message":"x"}}`, header: http.Header{"Retry-After": {"10"}}}, fault.Throttled, "TooManyRequests", ""},
		"503 is unavailable":                             {reply{status: 503, body: "busy"}, fault.Unavailable, "", ""},
		"a cut connection is unavailable":                {reply{err: io.ErrUnexpectedEOF}, fault.Unavailable, "", ""},
		"a stranger's 404 says nothing about the object": {reply{status: 404, body: "<html>"}, fault.Unknown, "", "not Graph's"},
		"a stranger's 201 is no service principal":       {reply{status: 201, body: `{"id":"x"}`}, fault.Unknown, "", ""},
		"a redirect is not followed":                     {reply{status: 302, header: http.Header{"Location": {"https://evil.test/"}}}, fault.Unknown, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, g := serve(t, c.reply)
			_, err := client.CreatePrincipal(t.Context(), appID)
			f, isFault := errors.AsType[*fault.Error](err)
			if !isFault {
				t.Fatalf("%v is no fault", err)
			}
			if f.Code != c.code || fault.Service(err) != c.service || !strings.Contains(fault.Hint(err), c.hint) {
				t.Errorf("%s %q, hint %q", f.Code, fault.Service(err), fault.Hint(err))
			}
			if !strings.HasPrefix(f.Error(), "create service principal of "+appID) || strings.Contains(f.Error(), "CANARY") {
				t.Errorf("%v", f)
			}
			if c.reply.status == 429 && fault.RetryAfter(err) != 10*time.Second {
				t.Errorf("RetryAfter %v", fault.RetryAfter(err))
			}
			if len(g.asked) != 1 {
				t.Errorf("%d requests: nothing is retried here", len(g.asked))
			}
		})
	}
}

func TestATokenThatCannotBeHadIsNoAnswerOfGraph(t *testing.T) {
	for code, want := range map[fault.Code]fault.Code{
		fault.NotFound:  fault.Unauthenticated, // AADSTS700016 must not read as "no such object"
		fault.Throttled: fault.Throttled, fault.Unavailable: fault.Unavailable, fault.Forbidden: fault.Forbidden,
	} {
		c, err := New(Config{Endpoint: "https://graph.leastkey.test", Credential: fixed{fault.New(code, "get token", "do this")}, HTTP: &graph{t: t}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Application(t.Context(), appObject); fault.CodeOf(err) != want || fault.Hint(err) != "do this" {
			t.Errorf("%s became %s: %v", code, fault.CodeOf(err), err)
		}
	}
}

func TestTheEndOfTheCallersContextPassesThrough(t *testing.T) {
	client, _ := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Application(ctx, appObject); err != context.Canceled {
		t.Errorf("%v, want context.Canceled itself", err)
	}
}

func TestIdsCannotLeaveTheirPath(t *testing.T) {
	client, g := serve(t)
	for _, id := range []string{"", "..", "x/../../users", appObject + "/owners"} {
		if _, err := client.Application(t.Context(), id); !fault.Is(err, fault.Invalid) {
			t.Errorf("Application(%q): %v", id, err)
		}
		if err := client.Purge(t.Context(), id); !fault.Is(err, fault.Invalid) {
			t.Errorf("Purge(%q): %v", id, err)
		}
	}
	g.expect(t)
	if _, err := New(Config{Endpoint: "https://graph.leastkey.test"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("no credential: %v", err)
	}
	if _, err := New(Config{Endpoint: "http://graph.leastkey.test", Credential: fixed{}}); !fault.Is(err, fault.Invalid) {
		t.Errorf("no TLS: %v", err)
	}
}

func TestPutFederatedNeverMakesASecondOne(t *testing.T) {
	const at = "PATCH " + base + "/applications/" + appObject + "/federatedIdentityCredentials(name='leastkey-1')"
	client, g := serve(t, reply{status: 201, body: `{}`}, nothing(), problem(404, "Request_ResourceNotFound", "x"), problem(409, "Request_MultipleObjectsWithSameKeyValue", "x"))
	f := agent.FederatedCredential{Name: "leastkey-1", Issuer: "https://i", Subject: "s", Audiences: []string{agent.TokenExchange}}
	for _, want := range []fault.Code{"", "", fault.NotFound, fault.Conflict} {
		if err := client.PutFederated(t.Context(), appObject, f); fault.CodeOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, bad := range []agent.FederatedCredential{{Name: "x"}, {Audiences: []string{"a"}}, {Name: "x", Audiences: []string{"a", "b"}}} {
		if err := client.PutFederated(t.Context(), appObject, bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	g.expect(t, at, at, at, at)
	if g.asked[0].prefer != "create-if-missing" || g.asked[0].body != `{"issuer":"https://i","subject":"s","audiences":["api://AzureADTokenExchange"]}` {
		t.Errorf("%+v", g.asked[0])
	}
}
