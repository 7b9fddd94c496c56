package clients

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/testkit/product"
)

// curl is curl in a shell that has taken over what `leastkey cloud env --for curl` prints.
type curl struct {
	*Suite
	t   *testing.T
	env []string
}

// set puts a variable into the shell's environment.
func (c *curl) set(name, text string) { c.env = append(c.env, name+"="+text) }

// run runs lines of the shell. --fail-with-body makes an error status an error, whose text is the answer.
func (c *curl) run(lines string) (document, error) {
	c.t.Helper()
	r := product.Run(c.t, c.t.TempDir(), c.env, "sh", "-euc", `curl() { command curl --silent --show-error --fail-with-body "$@"; }`+"\n"+lines)
	if r.Code != 0 || r.Stderr != "" {
		return document{}, errors.New(r.Stdout + r.Stderr)
	}
	return parse(r.Stdout)
}

func (c *curl) does(name, shape, lines string) document {
	c.t.Helper()
	var v document
	c.Operation(c.t, name, func() (err error) {
		if v, err = c.run(lines); err != nil {
			return err
		}
		return v.like(shape)
	})
	return v
}

func (c *curl) fails(name, code, lines string) {
	c.t.Helper()
	c.Refused(c.t, name, code, func() error { _, err := c.run(lines); return err })
}

// assertion puts a new client assertion into the environment.
func (c *curl) assertion(cert Certificate, app, audience string) {
	c.t.Helper()
	text, err := cert.Assertion(app, audience)
	must(c.t, err)
	c.set("ASSERTION", text)
}

// Requests as Microsoft's documentation shows them ("OAuth 2.0 client credentials flow", "Get access without a user").
const (
	byAssertion = `curl --data-urlencode "client_id=$CLIENT_ID" --data-urlencode "scope=$SCOPE/.default" \
  --data-urlencode 'client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer' --data-urlencode "client_assertion=$ASSERTION" \
  --data 'grant_type=client_credentials' "$LEASTKEY_LOGIN/$TENANT/oauth2/v2.0/token"`
	bySecret = `curl --data-urlencode "client_id=$CLIENT_ID" --data-urlencode "scope=$SCOPE/.default" --data-urlencode "client_secret=$SECRET" \
  --data 'grant_type=client_credentials' "$LEASTKEY_LOGIN/$TENANT/oauth2/v2.0/token"`
	graphCall  = `curl --get --header "Authorization: Bearer $TOKEN" --data-urlencode "\$filter=appId eq '$CLIENT_ID'" --data '$select=appId' "$LEASTKEY_GRAPH/v1.0/applications"`
	groupsCall = `curl --header "Authorization: Bearer $TOKEN" "$LEASTKEY_ARM/subscriptions/$SUBSCRIPTION/resourcegroups?api-version=2022-09-01"`
)

func TestCurl(t *testing.T) {
	t.Parallel()
	if !present(t, "curl", "--version") {
		return
	}
	c := &curl{Suite: Start(t, "curl"), t: t}
	run := c.Cloud()
	c.env = c.Env(t, "curl")
	c.set("TENANT", run.TenantID)
	c.set("SUBSCRIPTION", run.SubscriptionID)
	audience := run.Endpoints.Login + "/" + run.TenantID + "/oauth2/v2.0/token"

	// An application of its own, made as a user with what Graph's documentation shows.
	admin := c.Operator("admin")
	c.set("ADMIN", admin.UPN)
	c.set("PASSWORD", admin.Password.Reveal())
	user := c.does("a token by password", `{"token_type":"Bearer","access_token":"…","refresh_token":"…"}`, `curl --data 'grant_type=password&client_id=04b07795-8ddb-461a-bbee-02f9e1bf7b46' \
  --data-urlencode "username=$ADMIN" --data-urlencode "password=$PASSWORD" --data-urlencode "scope=$LEASTKEY_GRAPH/.default offline_access" "$LEASTKEY_LOGIN/$TENANT/oauth2/v2.0/token"`)
	c.set("TOKEN", user.at("access_token").text())
	c.set("REFRESH", user.at("refresh_token").text())
	c.does("a token by refresh token", `{"access_token":"…"}`, `curl --data 'grant_type=refresh_token&client_id=04b07795-8ddb-461a-bbee-02f9e1bf7b46' \
  --data-urlencode "refresh_token=$REFRESH" --data-urlencode "scope=$LEASTKEY_ARM/.default" "$LEASTKEY_LOGIN/$TENANT/oauth2/v2.0/token"`)
	c.does("OpenID Connect metadata", `{"issuer":"`+run.Endpoints.Login+`/`+run.TenantID+`/v2.0","token_endpoint":"`+audience+`"}`, `curl "$LEASTKEY_LOGIN/$TENANT/v2.0/.well-known/openid-configuration"`)
	c.does("signing keys", `{}`, `curl "$LEASTKEY_LOGIN/$TENANT/discovery/v2.0/keys"`)
	c.does("who am I", `{"userPrincipalName":"`+admin.UPN+`"}`, `curl --header "Authorization: Bearer $TOKEN" "$LEASTKEY_GRAPH/v1.0/me"`)

	short, good := c.Certificate("short", 15*time.Second), c.Certificate("good", time.Hour)
	body, err := json.Marshal(map[string]any{"displayName": "curls", "keyCredentials": []any{short.keyCredential(), good.keyCredential()}})
	must(t, err)
	file := t.TempDir() + "/application.json"
	must(t, os.WriteFile(file, body, 0o600))
	c.set("BODY", file)
	app := c.does("make an application with certificates", `{"appId":"…","keyCredentials":[{"type":"AsymmetricX509Cert"},{"type":"AsymmetricX509Cert"}]}`,
		`curl --header "Authorization: Bearer $TOKEN" --json @"$BODY" "$LEASTKEY_GRAPH/v1.0/applications"`)
	id := app.at("appId").text()
	c.set("CLIENT_ID", id)
	c.set("OBJECT", app.at("id").text())
	c.does("make its service principal", `{"appId":"`+id+`"}`, `curl --header "Authorization: Bearer $TOKEN" --json '{"appId":"'$CLIENT_ID'"}' "$LEASTKEY_GRAPH/v1.0/servicePrincipals"`)
	secret := c.does("add a secret", `{"secretText":"…"}`, `curl --header "Authorization: Bearer $TOKEN" --json '{"passwordCredential":{"displayName":"curl"}}' "$LEASTKEY_GRAPH/v1.0/applications/$OBJECT/addPassword"`)
	c.set("SECRET", secret.at("secretText").text())
	administrator := user.at("access_token").text()

	c.set("SCOPE", run.Endpoints.Graph)
	c.assertion(good, id, audience)
	c.does("a token by client assertion", `{"token_type":"Bearer","access_token":"…"}`, byAssertion)
	c.fails("the same assertion again", "AADSTS50013", byAssertion)
	graph := c.does("a token by secret", `{"token_type":"Bearer","access_token":"…"}`, bySecret).at("access_token").text()
	c.set("TOKEN", graph)
	c.fails("a Graph permission that is missing", "Authorization_RequestDenied", graphCall)
	c.fails("a token for Graph at ARM", "InvalidAuthenticationTokenAudience", groupsCall)
	c.set("SCOPE", run.Endpoints.ARM)
	c.set("TOKEN", c.does("a token for ARM", `{"access_token":"…"}`, bySecret).at("access_token").text())
	c.does("what it may not see is not there", `{"value":[]}`, `curl --header "Authorization: Bearer $TOKEN" "$LEASTKEY_ARM/subscriptions?api-version=2022-12-01"`)
	c.fails("a role that is missing", "AuthorizationFailed", groupsCall)
	c.fails("no token at all", "InvalidAuthenticationToken", `curl "$LEASTKEY_GRAPH/v1.0/me"`)

	c.assertion(c.Certificate("stranger", time.Hour), id, audience)
	c.fails("a key that is registered nowhere", "AADSTS700027", byAssertion)
	c.assertion(good, id, "https://login.contoso.example/token")
	c.fails("an assertion for another audience", "AADSTS700023", byAssertion)
	c.assertion(good, "0defaced-0000-4000-8000-00000000000a", audience)
	c.fails("an assertion of another application", "AADSTS700021", byAssertion)
	c.fails("a wrong secret", "AADSTS7000215", `SECRET=wrong; `+bySecret)
	c.fails("an application that there is not", "AADSTS700016", `CLIENT_ID=0defaced-0000-4000-8000-00000000000a; `+bySecret)
	c.fails("another tenant", "AADSTS90002", `TENANT=0defaced-0000-4000-8000-00000000000b; `+bySecret)
	c.Refused(t, "Entra is busy", "AADSTS90055", func() error {
		return c.Throttled(func() error { _, err := c.run(bySecret); return err })
	})
	c.Refused(t, "ARM is busy", "SubscriptionRequestsThrottled", func() error {
		return c.Throttled(func() error { _, err := c.run(groupsCall); return err })
	})

	must(t, short.Expired(t.Context()))
	c.assertion(short, id, audience)
	c.fails("an expired certificate", "The key used is expired.", byAssertion)
	c.set("TOKEN", administrator)
	c.does("take its certificates away", "", `curl --request PATCH --header "Authorization: Bearer $TOKEN" --json '{"keyCredentials":[]}' "$LEASTKEY_GRAPH/v1.0/applications/$OBJECT"`)
	c.assertion(good, id, audience)
	c.fails("a certificate of a deleted credential", "AADSTS700027", byAssertion)
	c.does("delete the application", "", `curl --request DELETE --header "Authorization: Bearer $TOKEN" "$LEASTKEY_GRAPH/v1.0/applications/$OBJECT"`)
	c.fails("an application that was deleted", "AADSTS700016", bySecret)
	c.fails("an object that was deleted", "Request_ResourceNotFound", `curl --header "Authorization: Bearer $TOKEN" "$LEASTKEY_GRAPH/v1.0/applications/$OBJECT"`)
	if v := product.Run(t, t.TempDir(), c.env, "curl", "--version"); v.Code == 0 {
		words := strings.Fields(v.Stdout)
		c.Note(fmt.Sprintf("%s %s", words[0], words[1]))
	}
}
