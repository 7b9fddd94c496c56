package arm

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

const (
	identityID = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/bot-mi"
	version    = "?api-version=2024-11-30"
	bot        = `{"id":"` + identityID + `","name":"bot-mi","location":"eastus","tags":{"team":"theirs","empty":null},"properties":{"tenantId":"t","principalId":"` + principal + `","clientId":"` + other + `"}}`
)

func TestIdentityIsReadMadeAndDeleted(t *testing.T) {
	client, m := serve(t,
		ok(bot), problem(404, "ResourceNotFound", "x"), problem(404, "SubscriptionNotFound", "x"), ok(`{"id":"`+identityID+`","properties":{"principalId":"x"}}`),
		reply{status: 201, body: bot}, ok(bot), problem(403, "AuthorizationFailed", "x"),
		reply{status: 200}, reply{status: 204}, problem(404, "ResourceNotFound", "x"), problem(409, "ScopeLocked", "x"),
	)
	ctx := t.Context()
	i, err := client.Identity(ctx, identityID)
	if err != nil || i.ID != identityID || i.ClientID != other || i.PrincipalID != principal || i.Tags["team"] != "theirs" || i.Location != "eastus" {
		t.Errorf("%+v: %v", i, err)
	}
	if i, err := client.Identity(ctx, identityID); i != nil || err != nil {
		t.Errorf("one that is not there: %+v, %v", i, err)
	}
	if _, err := client.Identity(ctx, identityID); !fault.Is(err, fault.NotFound) {
		t.Errorf("nobody looked for it: %v", err)
	}
	if _, err := client.Identity(ctx, identityID); !fault.Is(err, fault.Unknown) {
		t.Errorf("an answer that names no principal: %v", err)
	}
	if i, created, err := client.PutIdentity(ctx, identityID, "eastus", map[string]string{"nonce": "n"}); err != nil || !created || i.PrincipalID != principal {
		t.Errorf("%+v, %v: %v", i, created, err)
	}
	if _, created, err := client.PutIdentity(ctx, identityID, "eastus", nil); err != nil || created {
		t.Errorf("one that was there passes for a new one: %v", err)
	}
	if _, _, err := client.PutIdentity(ctx, identityID, "eastus", nil); !fault.Is(err, fault.Forbidden) {
		t.Error(err)
	}
	for range 3 {
		if err := client.DeleteIdentity(ctx, identityID); err != nil {
			t.Error(err)
		}
	}
	if err := client.DeleteIdentity(ctx, identityID); !fault.Is(err, fault.Conflict) {
		t.Errorf("locked: %v", err)
	}
	if body := m.asked[4].body; body != `{"location":"eastus","tags":{"nonce":"n"}}` {
		t.Error(body)
	}
	for n, method := range []string{"GET", "GET", "GET", "GET", "PUT", "PUT", "PUT", "DELETE", "DELETE", "DELETE", "DELETE"} {
		if want := method + " " + base + identityID + version; m.asked[n].line != want {
			t.Errorf("request %d is %s, want %s", n, m.asked[n].line, want)
		}
	}
}

func TestFederatedCredentialsOfAnIdentity(t *testing.T) {
	const list = base + identityID + "/federatedIdentityCredentials"
	one := agent.FederatedCredential{Name: "leastkey-1", Issuer: "https://i", Subject: "s", Audiences: []string{agent.TokenExchange}}
	client, m := serve(t,
		ok(`{"value":[{"id":"x/f1","name":"f1","properties":{"issuer":"https://i","subject":"s","audiences":["api://AzureADTokenExchange"]}}],"nextLink":"`+list+`?page=2"}`),
		ok(`{"value":[{"id":"x/f2","name":"f2","properties":{"issuer":"https://i","subject":"t","audiences":["a"]}}]}`),
		ok(`{"value":[{"id":"x/f1"}]}`), problem(404, "ParentResourceNotFound", "x"),
		reply{status: 201, body: `{}`}, problem(409, "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity", "Too many Federated Identity Credentials are written concurrently."), problem(409, "Conflict", "same issuer and subject"),
		reply{status: 204}, problem(404, "ParentResourceNotFound", "x"),
	)
	ctx := t.Context()
	all, err := client.IdentityFederated(ctx, identityID)
	if err != nil || len(all) != 2 || !all[0].Stands(one) || all[0].ID != "x/f1" || all[1].Name != "f2" {
		t.Errorf("%+v: %v", all, err)
	}
	if _, err := client.IdentityFederated(ctx, identityID); !fault.Is(err, fault.Unknown) {
		t.Errorf("a list that hides a way in: %v", err)
	}
	if _, err := client.IdentityFederated(ctx, identityID); !fault.Is(err, fault.NotFound) {
		t.Errorf("of one that is not there: %v", err)
	}
	for _, want := range []fault.Code{"", fault.Throttled, fault.Conflict} {
		if err := client.PutIdentityFederated(ctx, identityID, one); fault.CodeOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, want := range []fault.Code{"", fault.NotFound} {
		if err := client.RemoveIdentityFederated(ctx, identityID, one.Name); fault.CodeOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	m.expect(t, "GET "+list+version, "GET "+list+"?page=2", "GET "+list+version, "GET "+list+version,
		"PUT "+list+"/leastkey-1"+version, "PUT "+list+"/leastkey-1"+version, "PUT "+list+"/leastkey-1"+version, "DELETE "+list+"/leastkey-1"+version, "DELETE "+list+"/leastkey-1"+version)
	if body := m.asked[4].body; body != `{"properties":{"audiences":["api://AzureADTokenExchange"],"issuer":"https://i","subject":"s"}}` {
		t.Error(body)
	}
}

// Nothing that is not the id of an identity, or the name of a credential, gets into an address.
func TestOnlyIdentitiesAreAskedFor(t *testing.T) {
	client, m := serve(t)
	ctx := t.Context()
	for _, id := range []string{"", group, vault, identityID + "/federatedIdentityCredentials/x", strings.Replace(identityID, "bot-mi", "..", 1), identityID + "?x"} {
		_, err1 := client.Identity(ctx, id)
		_, _, err2 := client.PutIdentity(ctx, id, "eastus", nil)
		_, err3 := client.IdentityFederated(ctx, id)
		for n, err := range []error{err1, err2, err3, client.DeleteIdentity(ctx, id), client.PutIdentityFederated(ctx, id, agent.FederatedCredential{Name: "leastkey-1"}), client.RemoveIdentityFederated(ctx, id, "leastkey-1")} {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%q, %d: %v", id, n, err)
			}
		}
	}
	for _, name := range []string{"", "a/b", "../x", "x?y", "a.b"} {
		if err := client.RemoveIdentityFederated(ctx, identityID, name); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	m.expect(t)
}
