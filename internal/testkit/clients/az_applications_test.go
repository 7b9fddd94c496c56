package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Ids that are Microsoft's, the same in every tenant ("Microsoft Graph permissions reference").
const (
	microsoftGraph   = "00000003-0000-0000-c000-000000000000"
	userReadScope    = "e1fe6dd8-ba31-4d61-89e7-88639da4683d"
	groupReadAllRole = "5b567255-7703-4780-807c-7be8301ae99b"
)

func TestAzLogins(t *testing.T) {
	t.Parallel()
	issuer := NewIssuer(t)
	a, ok := openAz(t, "--issuer-ca", issuer.CAFile)
	if !ok {
		return
	}
	run, op := a.Cloud(), a.Operator("sp-operator")
	a.does(`[{"name":"LeastkeyLocal","isActive":true}]`, "cloud list --query", "[?isActive]")

	subscription := `"id":"` + run.SubscriptionID + `","tenantId":"` + run.TenantID + `","state":"Enabled"`
	account := `[{"cloudName":"LeastkeyLocal",` + subscription + `,"user":{"name":"` + op.AppID + `","type":"servicePrincipal"}}]`
	a.named("az login --service-principal, with a certificate", account, a.login(op.AppID, op.CertificateFile)...)
	a.does(`{`+subscription+`}`, "account show")
	a.does(`[{`+subscription+`}]`, "account list --refresh")
	a.bearer(run.Endpoints.ARM, op.ObjectID, "account get-access-token")
	a.bearer(run.Endpoints.Graph, op.ObjectID, "account get-access-token --resource", run.Endpoints.Graph)
	a.bearer(run.Endpoints.Graph, op.ObjectID, "account get-access-token --resource-type ms-graph")
	a.bearer(run.Endpoints.ARM, op.ObjectID, "account get-access-token --scope", run.Endpoints.ARM+"/.default")

	// An application that logs in with a secret, and by federation.
	app := a.does(`{"displayName":"logs-in"}`, "ad app create --display-name logs-in").at("appId").text()
	sp := a.does(`{"appId":"`+app+`"}`, "ad sp create --id", app).at("id").text()
	secret := a.does(`{"appId":"`+app+`","password":"…","tenant":"`+run.TenantID+`"}`, "ad app credential reset --id", app).at("password").text()
	b := a.elsewhere()
	b.does("", "account clear")
	b.named("az login --service-principal --allow-no-subscriptions, with a secret", `[{"id":"`+run.TenantID+`","name":"N/A(tenant level account)"}]`,
		append(b.login(app, secret), "--allow-no-subscriptions")...)
	b.bearer(run.Endpoints.Graph, sp, "account get-access-token --resource", run.Endpoints.Graph)
	b.does("", "logout")

	const subject = "repo:contoso/app:ref:refs/heads/main"
	a.does(`{"name":"workload","subject":"`+subject+`"}`, "ad app federated-credential create --id", app, "--parameters",
		federated("workload", issuer.URL, subject))
	token, err := issuer.Token(subject, "api://AzureADTokenExchange")
	must(t, err)
	b.named("az login --service-principal --federated-token", `[{"id":"`+run.TenantID+`"}]`,
		words("login --service-principal --allow-no-subscriptions --tenant", run.TenantID, "-u", app, "--federated-token", token)...)
	b.bearer(run.Endpoints.Graph, sp, "account get-access-token --resource", run.Endpoints.Graph)

	admin := a.Operator("admin")
	c := a.elsewhere()
	c.Operation(t, "az login --use-device-code", func() error {
		since, err := c.last(t.Context())
		if err != nil {
			return err
		}
		all, err := c.DeviceLogin(t, run.TenantID, func(_, code string) {
			must(t, c.asked(t.Context(), since, "POST login /adfs/oauth2/token → 400")) // it polls in every run
			must(t, c.Management("POST", "/devicecode/approve", map[string]string{"user_code": code, "upn": admin.UPN}, nil))
		})
		if err != nil {
			return err
		}
		b, err := json.Marshal(all)
		if err != nil {
			return err
		}
		v, err := parse(string(b))
		if err != nil {
			return err
		}
		return v.like(`[{` + subscription + `,"user":{"name":"` + admin.UPN + `","type":"user"}}]`)
	})
	c.bearer(run.Endpoints.ARM, admin.ObjectID, "account get-access-token")
	c.bearer(run.Endpoints.Graph, admin.ObjectID, "account get-access-token --resource", run.Endpoints.Graph)
}

// bearer gets a token, which has to be of that audience and principal.
func (a az) bearer(audience, object string, command ...string) {
	a.t.Helper()
	a.Operation(a.t, title(words(command...)), func() error {
		v, err := a.answer(words(command...))
		if err != nil {
			return err
		}
		claims, err := claimsOf(v.at("accessToken").text())
		if err != nil {
			return err
		}
		if s := claims.at("aud").text(); strings.TrimSuffix(s, "/") != audience {
			return claims.like(`{"aud":"` + audience + `"}`)
		}
		return claims.like(`{"oid":"` + object + `","tid":"` + a.Cloud().TenantID + `"}`)
	})
}

// federated is a federated credential as az and Graph take it.
func federated(name, issuer, subject string) string {
	b, err := json.Marshal(map[string]any{"name": name, "issuer": issuer, "subject": subject, "audiences": []string{"api://AzureADTokenExchange"}})
	if err != nil {
		panic(err) // texts can be written
	}
	return string(b)
}

func TestAzApplications(t *testing.T) {
	t.Parallel()
	a, ok := loggedIn(t)
	if !ok {
		return
	}
	version := a.does(`{"azure-cli":"…"}`, "version").at("azure-cli").text()
	a.Note("azure-cli " + version + ", Debian's package")
	op, admin := a.Operator("sp-operator"), a.Operator("admin")
	made := a.does(`{"appId":"…","id":"…","displayName":"demo","signInAudience":"AzureADMyOrg","passwordCredentials":[],"keyCredentials":[]}`,
		"ad app create --display-name demo --sign-in-audience AzureADMyOrg")
	id := made.at("appId").text()
	a.does(`{"appId":"`+id+`","displayName":"demo"}`, "ad app show --id", id)
	a.does("", "ad app update --id", id, "--display-name", "renamed", "--web-redirect-uris", "https://app.contoso.example/callback", "--enable-id-token-issuance", "true")
	a.does(`{"displayName":"renamed","web":{"redirectUris":["https://app.contoso.example/callback"],"implicitGrantSettings":{"enableIdTokenIssuance":true}}}`, "ad app show --id", made.at("id").text())
	a.does("", "ad app update --id", id, "--set", `tags=["leastkey"]`)
	a.does(`["`+id+`"]`, "ad app list --display-name renamed --query", "[].appId")
	a.does(`["`+id+`"]`, "ad app list --app-id", id, "--query", "[].appId")
	a.does(`[["leastkey"]]`, "ad app list --filter", "displayName eq 'renamed'", "--query", "[].tags")
	a.does(`[]`, "ad app list --identifier-uri", "api://none")

	a.does(`{"appId":"`+id+`","password":"…"}`, "ad app credential reset --display-name first --id", id)
	a.does(`{"appId":"`+id+`","password":"…"}`, "ad app credential reset --append --years 1 --display-name second --id", id)
	secrets := a.does(`[{"displayName":"first"},{"displayName":"second","keyId":"…","hint":"…","secretText":null}]`, "ad app credential list --query", "sort_by(@,&displayName)", "--id", id)
	a.does("", "ad app credential delete --id", id, "--key-id", secrets.at("1.keyId").text())
	a.does(`["first"]`, "ad app credential list --query [].displayName --id", id)
	own := a.Certificate("own", time.Hour)
	public, err := os.ReadFile(own.Cert)
	must(t, err)
	a.does(`{"appId":"`+id+`"}`, "ad app credential reset --append --display-name uploaded --id", id, "--cert", string(public))
	made2 := a.does(`{"appId":"`+id+`","fileWithCertAndPrivateKey":"…"}`, "ad app credential reset --create-cert --append --display-name created --id", id)
	keys := a.does(`[{"displayName":"created","type":"AsymmetricX509Cert","usage":"Verify","customKeyIdentifier":"…"},{"displayName":"uploaded"}]`,
		"ad app credential list --cert --query", "sort_by(@,&displayName)", "--id", id)
	a.does("", "ad app credential delete --cert --id", id, "--key-id", keys.at("1.keyId").text())
	a.does(`["created"]`, "ad app credential list --cert --query [].displayName --id", id)
	a.does(`{"password":"…"}`, "ad app credential reset --id", id) // without --append it replaces the secrets
	a.does(`1`, "ad app credential list --query length(@) --id", id)

	sp := a.does(`{"appId":"`+id+`","id":"…","servicePrincipalType":"Application","accountEnabled":true}`, "ad sp create --id", id).at("id").text()
	created := a.elsewhere()
	created.named("az login --service-principal, with the certificate that az has made", `[{"user":{"name":"`+id+`"}}]`,
		append(created.login(id, made2.at("fileWithCertAndPrivateKey").text()), "--allow-no-subscriptions")...)

	a.does("", "ad app owner add --id", id, "--owner-object-id", admin.ObjectID)
	owners := []string{op.ObjectID, admin.ObjectID}
	slices.Sort(owners) // Graph promises no order
	a.does(`["`+strings.Join(owners, `","`)+`"]`, "ad app owner list --query sort([].id) --id", id)
	a.does("", "ad app owner remove --id", id, "--owner-object-id", admin.ObjectID)
	a.does(`["`+op.ObjectID+`"]`, "ad app owner list --query [].id --id", id)

	const branch = "repo:contoso/app:ref:refs/heads/main"
	parameters := filepath.Join(t.TempDir(), "credential.json")
	must(t, os.WriteFile(parameters, []byte(federated("github", "https://token.actions.githubusercontent.com", branch)), 0o600))
	a.does(`{"name":"github","subject":"`+branch+`","audiences":["api://AzureADTokenExchange"]}`, "ad app federated-credential create --id", id, "--parameters", parameters)
	a.does(`["github"]`, "ad app federated-credential list --query [].name --id", id)
	a.does(`{"subject":"`+branch+`"}`, "ad app federated-credential show --federated-credential-id github --id", id)
	a.does("", "ad app federated-credential update --federated-credential-id github --id", id, "--parameters", federated("github", "https://token.actions.githubusercontent.com", "repo:contoso/app:environment:production"))
	a.does(`"repo:contoso/app:environment:production"`, "ad app federated-credential show --federated-credential-id github --query subject --id", id)
	a.does("", "ad app federated-credential delete --federated-credential-id github --id", id)
	a.does(`[]`, "ad app federated-credential list --id", id)

	a.does("", "ad app permission add --id", id, "--api", microsoftGraph, "--api-permissions", userReadScope+"=Scope", groupReadAllRole+"=Role")
	a.does(`[{"resourceAppId":"`+microsoftGraph+`","resourceAccess":[{"id":"`+userReadScope+`","type":"Scope"},{"id":"`+groupReadAllRole+`","type":"Role"}]}]`, "ad app permission list --id", id)
	a.does(`{"clientId":"`+sp+`","consentType":"AllPrincipals","scope":"User.Read"}`, "ad app permission grant --scope User.Read --id", id, "--api", microsoftGraph)
	a.does(`[{"clientId":"`+sp+`","scope":"User.Read"}]`, "ad app permission list-grants --id", id)
	a.does("", "ad app permission delete --id", id, "--api", microsoftGraph, "--api-permissions", groupReadAllRole)
	a.does(`["`+userReadScope+`"]`, "ad app permission list --query [].resourceAccess[].id --id", id)
	a.Note("`az ad app permission admin-consent` refuses every cloud that is not Azure's public one before it sends anything; `permission grant` and `az rest` consent instead.")

	a.does(`["`+sp+`"]`, "ad sp list --display-name renamed --query [].id")
	a.does(`{"id":"`+sp+`"}`, "ad sp show --id", id)
	a.does("", "ad sp update --id", sp, "--set", "accountEnabled=false")
	a.does(`false`, "ad sp show --query accountEnabled --id", sp)
	a.does(`["`+op.ObjectID+`"]`, "ad sp owner list --query [].id --id", sp)
	a.does(`{"appId":"`+id+`","password":"…"}`, "ad sp credential reset --display-name ours --id", sp)
	key := a.does(`[{"displayName":"ours"}]`, "ad sp credential list --id", sp).at("0.keyId").text()
	a.does("", "ad sp credential delete --id", sp, "--key-id", key)
	a.does("", "ad sp delete --id", sp)
	a.does(`[]`, "ad sp list --display-name renamed")

	rbac := a.does(`{"appId":"…","displayName":"automation","fileWithCertAndPrivateKey":"…","password":null,"tenant":"`+a.Cloud().TenantID+`"}`, "ad sp create-for-rbac --create-cert --name automation")
	a.crashes("ad sp create-for-rbac --create-cert --name with-role --role Reader --scopes "+strings.TrimPrefix(a.arm(""), a.Cloud().Endpoints.ARM),
		"'RoleAssignmentsOperations' object has no attribute 'config'", "it has made the application and the service principal by then; the role is assigned by `az rest`")
	principal := a.does(`{"appId":"`+rbac.at("appId").text()+`"}`, "ad sp show --id", rbac.at("appId").text()).at("id").text()
	a.named("az rest: assign a role to the application of create-for-rbac", `{"properties":{"principalId":"`+principal+`"}}`, a.assign("", roleReader, principal)...)
	created = a.elsewhere()
	created.does("", "account clear")
	created.named("az login --service-principal, with the certificate of create-for-rbac", `[{"id":"`+a.Cloud().SubscriptionID+`"}]`,
		created.login(rbac.at("appId").text(), rbac.at("fileWithCertAndPrivateKey").text())...)
	created.does(`["legacy-rg","polyclaw-rg"]`, "group list --query", "sort([].name)")

	a.does("", "ad app delete --id", id)
	a.does(`[]`, "ad app list --display-name renamed")
	a.named("az rest: the recycle bin", `{"value":[{"appId":"`+id+`"}]}`, a.rest("get", a.graph("/directory/deletedItems/microsoft.graph.application?$filter=displayName eq 'renamed'"), "")...)
	a.named("az rest: restore an application", `{"appId":"`+id+`"}`, a.rest("post", a.graph("/directory/deletedItems/"+made.at("id").text()+"/restore"), "")...)
	a.does(`["`+id+`"]`, "ad app list --display-name renamed --query [].appId")
}
