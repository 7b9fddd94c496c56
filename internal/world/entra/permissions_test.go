package entra

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
)

const (
	graphSP = "66666666-0000-4000-8000-000000000006"
	roleID  = "77777777-0000-4000-8000-000000000007"
	me      = "88888888-0000-4000-8000-000000000008"
)

func TestWhatAResourceOffersIsLookedUp(t *testing.T) {
	client, g := serve(t,
		ok(`{"id":"`+graphSP+`","appRoles":[{"id":"r1","value":"A.All","isEnabled":true,"allowedMemberTypes":["User","Application"]},{"id":"r2","value":"B.All","isEnabled":false,"allowedMemberTypes":["Application"]},
{"id":"r3","value":"Only.Users","isEnabled":true,"allowedMemberTypes":["User"]},{"id":"r4","value":null,"isEnabled":true,"allowedMemberTypes":["Application"]}]}`),
		ok(`{"value":[]}`), problem(404, "Request_ResourceNotFound", "x"))
	id, roles, err := client.AppRoles(t.Context(), provisioner.Graph)
	if err != nil || id != graphSP || len(roles) != 2 || roles[0] != (provisioner.AppRole{ID: "r1", Value: "A.All", Enabled: true}) || roles[1].Enabled {
		t.Error(id, roles, err)
	}
	g.expect(t, "GET "+base+"/servicePrincipals(appId='"+provisioner.Graph+"')?%24select=id%2CappRoles")
	if _, _, err := client.AppRoles(t.Context(), provisioner.Graph); !fault.Is(err, fault.Unknown) {
		t.Errorf("a stranger's answer: %v", err)
	}
	if _, _, err := client.AppRoles(t.Context(), provisioner.Graph); !fault.Is(err, fault.NotFound) {
		t.Errorf("no such resource: %v", err)
	}
}

const declared = `{"requiredResourceAccess":[{"resourceAppId":"other","resourceAccess":[{"id":"o1","type":"Scope"},{"id":"o2","type":"Role"}]},{"resourceAppId":"` + provisioner.Graph + `","resourceAccess":[{"id":"s1","type":"Scope"},{"id":"R1","type":"Role"}]}]}`

func TestADeclarationKeepsEverythingElse(t *testing.T) {
	read, write := "GET "+base+"/applications/"+appObject+"?%24select=requiredResourceAccess", "PATCH "+base+"/applications/"+appObject
	client, g := serve(t, ok(declared), ok(declared), nothing(), ok(`{"requiredResourceAccess":[]}`), nothing())
	if ids, err := client.Declared(t.Context(), appObject, strings.ToUpper(provisioner.Graph)); err != nil || strings.Join(ids, " ") != "R1" {
		t.Error(ids, err)
	}
	for range 2 {
		if err := client.Declare(t.Context(), appObject, provisioner.Graph, []string{"r1", "s1", "r2"}); err != nil {
			t.Error(err)
		}
	}
	g.expect(t, read, read, write, read, write)
	want := strings.Replace(declared, `{"id":"R1","type":"Role"}`, `{"id":"R1","type":"Role"},{"id":"s1","type":"Role"},{"id":"r2","type":"Role"}`, 1)
	if g.asked[2].body != want {
		t.Errorf("sent\n%s\nwant\n%s", g.asked[2].body, want)
	}
	if want := `{"requiredResourceAccess":[{"resourceAppId":"` + provisioner.Graph + `","resourceAccess":[{"id":"r1","type":"Role"},{"id":"s1","type":"Role"},{"id":"r2","type":"Role"}]}]}`; g.asked[4].body != want {
		t.Errorf("sent\n%s\nwant\n%s", g.asked[4].body, want)
	}
	client, g = serve(t, ok(`{"requiredResourceAccess":[{"resourceAppId":"other","resourceAccess":[{"id":"o1","type":"Scope"}]}]}`), nothing())
	if err := client.Declare(t.Context(), appObject, provisioner.Graph, []string{"r1"}); err != nil {
		t.Error(err)
	}
	if want := `{"requiredResourceAccess":[{"resourceAppId":"other","resourceAccess":[{"id":"o1","type":"Scope"}]},{"resourceAppId":"` + provisioner.Graph + `","resourceAccess":[{"id":"r1","type":"Role"}]}]}`; g.asked[1].body != want {
		t.Errorf("sent\n%s\nwant\n%s", g.asked[1].body, want)
	}
	client, g = serve(t, ok(`{"id":"x"}`), ok(`{"requiredResourceAccess":null}`), problem(403, "Authorization_RequestDenied", "x"))
	for range 2 {
		if err := client.Declare(t.Context(), appObject, provisioner.Graph, []string{"r1"}); !fault.Is(err, fault.Unknown) {
			t.Errorf("an answer that hides what is declared: %v", err)
		}
	}
	if err := client.Declare(t.Context(), appObject, provisioner.Graph, []string{"r1"}); !fault.Is(err, fault.Forbidden) {
		t.Error(err)
	}
	g.expect(t, read, read, read) // nothing was written
}

func grantJSON(id, role, resource string) string {
	return `{"id":"` + id + `","appRoleId":"` + role + `","principalId":"` + spObject + `","resourceId":"` + resource + `"}`
}

func TestGrantsAreReadToTheEnd(t *testing.T) {
	const list = base + "/servicePrincipals/" + spObject + "/appRoleAssignments?%24top=100"
	client, g := serve(t, ok(`{"value":[`+grantJSON("g1", "r1", graphSP)+`,`+grantJSON("g2", "r1", "elsewhere")+`],"@odata.nextLink":"`+list+`&x"}`), ok(`{"value":[`+grantJSON("g3", "r3", strings.ToUpper(graphSP))+`]}`),
		ok(`{"value":[{"id":"g","appRoleId":"r"}]}`), ok(`{"value":[`+grantJSON("g1", "r1", graphSP)+`],"@odata.nextLink":"https://evil.test/x"}`))
	all, err := client.Granted(t.Context(), spObject, graphSP)
	if err != nil || len(all) != 2 || all[0] != (provisioner.Grant{ID: "g1", RoleID: "r1"}) || all[1].ID != "g3" {
		t.Error(all, err)
	}
	if _, err := client.Granted(t.Context(), spObject, graphSP); !fault.Is(err, fault.Unknown) {
		t.Errorf("one that does not read: %v", err)
	}
	if _, err := client.Granted(t.Context(), spObject, graphSP); !fault.Is(err, fault.Refused) {
		t.Errorf("a page elsewhere: %v", err)
	}
	g.expect(t, "GET "+list, "GET "+list+"&x", "GET "+list, "GET "+list)
}

func TestAGrantThatIsThereIsASuccessOnceItIsSeen(t *testing.T) {
	taken := []reply{problem(400, "Request_BadRequest", "Permission being assigned already exists on the object"), problem(409, "Request_MultipleObjectsWithSameKeyValue", "Permission entry already exists.")}
	for i, refusal := range taken {
		client, g := serve(t, refusal, ok(`{"value":[`+grantJSON("g1", strings.ToUpper(roleID), graphSP)+`]}`), refusal, ok(`{"value":[]}`), refusal, problem(403, "Authorization_RequestDenied", "x"))
		if err := client.GrantRole(t.Context(), spObject, graphSP, roleID); err != nil {
			t.Error(i, err)
		}
		if err := client.GrantRole(t.Context(), spObject, graphSP, roleID); !fault.Is(err, fault.NotFound) {
			t.Errorf("%d: on a replica that lags: %v", i, err)
		}
		if err := client.GrantRole(t.Context(), spObject, graphSP, roleID); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%d: unreadable: %v", i, err)
		}
		post, get := "POST "+base+"/servicePrincipals/"+spObject+"/appRoleAssignments", "GET "+base+"/servicePrincipals/"+spObject+"/appRoleAssignments?%24top=100"
		g.expect(t, post, get, post, get, post, get)
		if g.asked[0].body != `{"principalId":"`+spObject+`","resourceId":"`+graphSP+`","appRoleId":"`+roleID+`"}` {
			t.Errorf("sent %s", g.asked[0].body)
		}
	}
	client, _ := serve(t, reply{status: 201, body: grantJSON("g", roleID, graphSP)}, problem(403, "Authorization_RequestDenied", "Insufficient privileges"), problem(404, "Request_ResourceNotFound", "x"), problem(400, "Request_BadRequest", "Not a valid reference update."))
	if err := client.GrantRole(t.Context(), spObject, graphSP, roleID); err != nil {
		t.Error(err)
	}
	if err := client.GrantRole(t.Context(), spObject, graphSP, roleID); !fault.Is(err, fault.Forbidden) || !strings.Contains(fault.Hint(err), "Privileged Role Administrator") {
		t.Errorf("%v, hint %q", err, fault.Hint(err))
	}
	for _, code := range []fault.Code{fault.NotFound, fault.Invalid} {
		if err := client.GrantRole(t.Context(), spObject, graphSP, roleID); !fault.Is(err, code) {
			t.Errorf("%v, want %s", err, code)
		}
	}
}

func TestRights(t *testing.T) {
	who := ok(`{"id":"` + me + `"}`)
	role := func(ids ...string) reply {
		var all []string
		for _, id := range ids {
			all = append(all, `{"@odata.type":"#microsoft.graph.directoryRole","roleTemplateId":"`+id+`","displayName":"x"}`)
		}
		return ok(`{"value":[` + strings.Join(all, ",") + `]}`)
	}
	group := ok(`{"value":[{"@odata.type":"#microsoft.graph.group","id":"g"}]}`)
	for _, c := range []struct {
		name    string
		owners  []agent.Owner
		replies []reply
		want    provisioner.Rights // without the detail
		says    string
		fails   fault.Code
	}{
		{"a Global Administrator may", nil, []reply{who, role(strings.ToUpper(globalAdministrator))}, provisioner.Rights{Known: true, Enough: true}, "Global Administrator", ""},
		{"an Application Administrator may", nil, []reply{who, role("x", applicationAdministrator)}, provisioner.Rights{Known: true, Enough: true}, "role Application Administrator", ""},
		{"a Cloud Application Administrator may", nil, []reply{who, role(cloudApplicationAdministrator)}, provisioner.Rights{Known: true, Enough: true}, "Cloud", ""},
		{"a role on the second page counts", nil, []reply{who, ok(`{"value":[],"@odata.nextLink":"` + base + `/me/memberOf?y"}`), role(globalAdministrator)}, provisioner.Rights{Known: true, Enough: true}, "", ""},
		{"an owner may, without any role", []agent.Owner{{ID: strings.ToUpper(me)}}, []reply{who}, provisioner.Rights{Known: true, Enough: true}, "owns", ""},
		{"who has no role and is in no group may not", []agent.Owner{{ID: "another"}}, []reply{who, ok(`{"value":[]}`)}, provisioner.Rights{Known: true}, "no directory role", ""},
		{"with another role it is not known: it may be a custom one", nil, []reply{who, role("custom")}, provisioner.Rights{}, "none of", ""},
		{"in a group it is not known: the group may hold a role", nil, []reply{who, group}, provisioner.Rights{}, "none of", ""},
		{"who may not read it learns nothing", nil, []reply{who, problem(403, "Authorization_RequestDenied", "x")}, provisioner.Rights{}, "403", ""},
		{"an application is nobody", nil, []reply{problem(400, "BadRequest", "/me request is only valid with delegated authentication flow.")}, provisioner.Rights{}, "no person", ""},
		{"a throttled question is asked again", nil, []reply{problem(429, "TooManyRequests", "x")}, provisioner.Rights{}, "", fault.Throttled},
		{"and so is the second", nil, []reply{who, {err: io.ErrUnexpectedEOF}}, provisioner.Rights{}, "", fault.Unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, g := serve(t, c.replies...)
			got, err := client.Rights(t.Context(), agent.Application{ID: appObject, Owners: c.owners})
			if fault.CodeOf(err) != c.fails || got.Known != c.want.Known || got.Enough != c.want.Enough || !strings.Contains(got.Detail, c.says) {
				t.Errorf("%+v, %v", got, err)
			}
			if len(g.replies) > 0 {
				t.Errorf("%d answers were not asked for", len(g.replies))
			}
		})
	}
	client, _ := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Rights(ctx, agent.Application{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAKeyIsRolledWithProof(t *testing.T) {
	add, remove := "POST "+base+"/applications/"+appObject+"/addKey", "POST "+base+"/applications/"+appObject+"/removeKey"
	client, g := serve(t, ok(`{"keyId":"`+keyID+`"}`), nothing())
	if id, err := client.AddKey(t.Context(), appObject, "a.b.c", der(), "leastkey x"); err != nil || id != keyID {
		t.Error(id, err)
	}
	if err := client.RemoveKey(t.Context(), appObject, keyID, "a.b.c"); err != nil {
		t.Error(err)
	}
	g.expect(t, add, remove)
	var sent map[string]any
	if err := json.Unmarshal([]byte(g.asked[0].body), &sent); err != nil {
		t.Fatal(err)
	}
	key := sent["keyCredential"].(map[string]any)
	if sent["proof"] != "a.b.c" || sent["passwordCredential"] != nil || len(sent) != 3 || key["key"] != base64.StdEncoding.EncodeToString(der()) || key["type"] != "AsymmetricX509Cert" || key["usage"] != "Verify" {
		t.Errorf("sent %s", g.asked[0].body)
	}
	if g.asked[1].body != `{"keyId":"`+keyID+`","proof":"a.b.c"}` {
		t.Errorf("sent %s", g.asked[1].body)
	}
	client, g = serve(t, problem(401, "Authentication_Unauthorized", "Access Token missing or malformed."), ok(`{}`), problem(400, "Request_BadRequest", "No key credential found with keyId"), reply{err: io.ErrUnexpectedEOF})
	_, err := client.AddKey(t.Context(), appObject, "a.b.c", der(), "x")
	if !fault.Is(err, fault.Unauthenticated) || !strings.Contains(fault.Hint(err), "proof of possession") {
		t.Errorf("%v, hint %q", err, fault.Hint(err))
	}
	if _, err := client.AddKey(t.Context(), appObject, "a.b.c", der(), "x"); err == nil {
		t.Error("an answer without a key id")
	}
	if err := client.RemoveKey(t.Context(), appObject, keyID, "a.b.c"); !fault.Is(err, fault.NotFound) {
		t.Errorf("one that is not there: %v", err)
	}
	if _, err := client.AddKey(t.Context(), appObject, "a.b.c", der(), "x"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a lost answer: %v", err)
	}
	if len(g.asked) != 4 {
		t.Errorf("%d requests: nothing is retried here", len(g.asked))
	}
	client, g = serve(t)
	for name, bytes := range map[string][]byte{"nothing": nil, "a private key": []byte("-----BEGIN PRIVATE KEY-----"), "a certificate and more": append(append([]byte(nil), der()...), 1)} {
		if _, err := client.AddKey(t.Context(), appObject, "p", bytes, "x"); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, id := range []string{"", "x/../y"} {
		if _, err := client.AddKey(t.Context(), id, "p", der(), "x"); !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
		if err := client.RemoveKey(t.Context(), id, keyID, "p"); !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
	}
	g.expect(t)
}
