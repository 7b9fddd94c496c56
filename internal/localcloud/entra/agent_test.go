package entra

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const (
	bpApp       = "8a22dfd8-f315-4ee1-be84-c5f46a5b0b3c"
	bpSP        = "12d1b58c-d6e1-4b90-a8de-e8a8cecfb46d"
	agentID     = "f3526a0b-788e-4f6c-bb3e-9864b45a3074"
	agentUserID = "956d09a9-5f97-458c-a410-417be7449d04"
	siblingID   = "aaaaaaaa-1111-4000-8000-000000000001"
	otherBP     = "bbbbbbbb-1111-4000-8000-000000000001"
	otherSP     = "bbbbbbbb-1111-4000-8000-000000000002"
	otherAgent  = "bbbbbbbb-1111-4000-8000-000000000003"
	lonelyBP    = "cccccccc-1111-4000-8000-000000000001" // without principal
	agentUPN    = "bot@contoso.onmicrosoft.com"

	exchange   = "api://AzureADTokenExchange/.default"
	graphScope = "https://graph.microsoft.com/.default"
)

// agents adds two blueprints with identities, one of which has a user, and a blueprint without principal.
func (w *world) agents() {
	secretOf := func(a *directory.Application) {
		a.Agent = directory.Blueprint
		a.PasswordCredentials = []directory.PasswordCredential{{KeyID: "p", Secret: secret, StartDateTime: w.now().Add(-time.Hour), EndDateTime: w.now().Add(time.Hour)}}
	}
	w.write(func(tx replica.Tx) {
		for app, sp := range map[string]string{bpApp: bpSP, otherBP: otherSP, lonelyBP: ""} {
			w.app(tx, app, sp, func(a *directory.Application, p *directory.ServicePrincipal) {
				secretOf(a)
				p.Agent, p.ServicePrincipalType = directory.BlueprintPrincipal, "Application"
			})
		}
		for id, parent := range map[string]string{agentID: bpApp, siblingID: bpApp, otherAgent: otherBP} {
			w.dir.ServicePrincipals.Put(tx, id, directory.ServicePrincipal{ID: id, AppID: id, DisplayName: "agent", AccountEnabled: true, Agent: directory.AgentIdentity, BlueprintID: parent,
				ServicePrincipalType: "ServiceIdentity", ServicePrincipalNames: []string{id}})
		}
		w.dir.Users.Put(tx, agentUserID, directory.User{ID: agentUserID, UserPrincipalName: agentUPN, DisplayName: "Bot", AccountEnabled: true, Agent: directory.AgentUser, IdentityParentID: agentID})
		w.dir.AppRoleAssignments.Put(tx, "ag", directory.AppRoleAssignment{ID: "ag", PrincipalID: agentID, ResourceID: w.graphSP, AppRoleID: "role-1"})
		user := agentUserID
		w.dir.PermissionGrants.Put(tx, "gr", directory.PermissionGrant{ID: "gr", ClientID: agentID, ConsentType: "Principal", PrincipalID: &user, ResourceID: w.graphSP, Scope: "User.Read Mail.Send"})
	})
}

func (w *world) blueprint(app, scope string, more ...string) reply {
	f := form("grant_type", "client_credentials", "client_id", app, "client_secret", secret, "scope", scope)
	for i := 0; i < len(more); i += 2 {
		f.Set(more[i], more[i+1])
	}
	return w.post(tokenPath, f)
}

// t1 is a blueprint's token for one of its identities.
func (w *world) t1(app, identity string) string {
	w.t.Helper()
	r := w.blueprint(app, exchange, "fmi_path", identity)
	if r.status != 200 {
		w.t.Fatal(r.raw)
	}
	return r.text("access_token")
}

func agentForm(id, t1, scope string) url.Values {
	return form("grant_type", "client_credentials", "client_id", id, "client_assertion_type", jwtBearer, "client_assertion", t1, "scope", scope)
}

func ficForm(id, t1, t2 string, more ...string) url.Values {
	f := agentForm(id, t1, graphScope)
	f.Set("grant_type", "user_fic")
	f.Set("user_federated_identity_credential", t2)
	f.Set("requested_token_use", "on_behalf_of")
	for i := 0; i < len(more); i += 2 {
		f.Set(more[i], more[i+1])
	}
	return f
}

// The encoding of a GUID, as in a recorded token.
func TestGUIDsInTheSubjectOfAnExchangeToken(t *testing.T) {
	want(t, "tenant", guidBytes("323626f5-1bfe-48cd-8902-ddfdfd44e1ce"), "9SY2Mv4bzUiJAt39_UThzg")
	want(t, "blueprint", guidBytes(bpApp), "2N8iihXz4U6-hMX0alsLPA")
}

func TestTheFlowsOfAgents(t *testing.T) {
	w := newWorld(t)
	w.agents()
	check := func(t *testing.T, claims map[string]any, wanted map[string]string) {
		t.Helper()
		for name, value := range wanted {
			want(t, name, words(claims[name]), value)
		}
	}
	t.Run("a blueprint's token for Graph has its permissions by nature", func(t *testing.T) {
		check(t, w.claims(w.blueprint(bpApp, graphScope), "access_token"), map[string]string{
			"roles": "AgentIdUser.ReadWrite.IdentityParentedBy AgentIdentity.CreateAsManager", "oid": bpSP, "sub": bpSP, "appid": bpApp, "appidacr": "1", "idtyp": "app", "xms_act_fct": "3 9",
		})
	})
	t1 := w.t1(bpApp, agentID)
	t.Run("T1", func(t *testing.T) {
		check(t, w.claims(w.blueprint(bpApp, exchange, "fmi_path", strings.ToUpper(agentID)), "access_token"), map[string]string{
			"aud": directory.ExchangeAppID, "iss": w.ends.Login + "/" + tenantID + "/v2.0", "azp": bpApp, "azpacr": "1", "oid": bpSP, "idtyp": "app", "ver": "2.0",
			"sub": "/eid1/c/pub/t/ERERESIiMzNERFVVVVVVVQ/a/2N8iihXz4U6-hMX0alsLPA/" + agentID, "xms_act_fct": "3 9", "xms_sub_fct": "3 9", "roles": "<nil>",
		})
	})
	t.Run("an agent identity's token for Graph, twice with one T1", func(t *testing.T) {
		for range 2 {
			check(t, w.claims(w.post(tokenPath, agentForm(agentID, t1, graphScope)), "access_token"), map[string]string{
				"appid": agentID, "oid": agentID, "sub": agentID, "appidacr": "2", "idtyp": "app", "roles": "Application.Read.All",
				"xms_act_fct": "3 9 11", "xms_sub_fct": "3 9 11", "xms_par_app_azp": bpApp, "xms_idrel": "7",
			})
		}
	})
	t.Run("its token for a vault", func(t *testing.T) {
		check(t, w.claims(w.post(tokenPath, agentForm(agentID, t1, "https://vault.azure.net/.default")), "access_token"), map[string]string{"aud": "https://vault.azure.net", "oid": agentID, "idtyp": "app"})
	})
	t2 := w.post(tokenPath, agentForm(agentID, t1, exchange))
	t.Run("T2", func(t *testing.T) {
		check(t, w.claims(t2, "access_token"), map[string]string{"aud": directory.ExchangeAppID, "azp": agentID, "oid": agentID, "sub": agentID, "azpacr": "2", "idtyp": "app", "xms_par_app_azp": bpApp})
	})
	t.Run("an agent user's token, by object id and by name", func(t *testing.T) {
		for _, by := range [][]string{{"user_id", agentUserID}, {"username", agentUPN}} {
			check(t, w.claims(w.post(tokenPath, ficForm(agentID, t1, t2.text("access_token"), by...)), "access_token"), map[string]string{
				"oid": agentUserID, "idtyp": "user", "scp": "Mail.Send User.Read", "appid": agentID, "upn": agentUPN, "xms_act_fct": "3 9 11", "xms_sub_fct": "3 13", "xms_par_app_azp": bpApp, "xms_idrel": "1",
			})
		}
	})
	t.Run("what the blueprint was granted and lets inherit", func(t *testing.T) {
		w.write(func(tx replica.Tx) {
			a, _ := w.dir.Applications.Get(tx.View, "obj-"+bpApp)
			a.Inheritable = []directory.Inheritable{{ResourceAppID: directory.GraphAppID, ScopeKind: "enumerated", Scopes: []string{"Chat.Create"}, RoleKind: "allAllowed"}}
			w.dir.Applications.Put(tx, a.ID, a)
			w.dir.PermissionGrants.Put(tx, "inh", directory.PermissionGrant{ID: "inh", ClientID: bpSP, ConsentType: "AllPrincipals", ResourceID: w.graphSP, Scope: "Chat.Create Chat.ReadWrite"})
			w.dir.AppRoleAssignments.Put(tx, "inh", directory.AppRoleAssignment{ID: "inh", PrincipalID: bpSP, ResourceID: w.graphSP, AppRoleID: "role-2"})
		})
		check(t, w.claims(w.post(tokenPath, ficForm(agentID, t1, t2.text("access_token"), "user_id", agentUserID)), "access_token"), map[string]string{"scp": "Chat.Create Mail.Send User.Read"})
		check(t, w.claims(w.post(tokenPath, agentForm(agentID, t1, graphScope)), "access_token"), map[string]string{"roles": "Application.Read.All Not.Given"})
	})
}

func TestOnBehalfOf(t *testing.T) {
	w := newWorld(t)
	w.agents()
	w.write(func(tx replica.Tx) {
		a, _ := w.dir.Applications.Get(tx.View, "obj-"+bpApp)
		a.TokenVersion, a.IdentifierURIs = 2, []string{"api://" + bpApp}
		a.PermissionScopes = []directory.PermissionScope{{ID: "s", Value: "access_agent", Type: "User", IsEnabled: true}}
		w.dir.Applications.Put(tx, a.ID, a)
		w.dir.PermissionGrants.Put(tx, "a", directory.PermissionGrant{ID: "a", ClientID: spA, ConsentType: "AllPrincipals", ResourceID: bpSP, Scope: "access_agent"})
		w.dir.PermissionGrants.Put(tx, "b", directory.PermissionGrant{ID: "b", ClientID: agentID, ConsentType: "AllPrincipals", ResourceID: w.graphSP, Scope: "User.Read"})
	})
	person := func(scope string) string {
		r := w.post(tokenPath, form("grant_type", "password", "client_id", appA, "client_secret", secret, "username", alice, "password", password, "scope", scope))
		if r.status != 200 {
			t.Fatal(r.raw)
		}
		return r.text("access_token")
	}
	tc, t1 := person("api://"+bpApp+"/access_agent"), w.t1(bpApp, agentID)
	ask := func(change ...string) reply {
		f := agentForm(agentID, t1, graphScope+" offline_access")
		f.Set("grant_type", onBehalfGrant)
		f.Set("assertion", tc)
		f.Set("requested_token_use", "on_behalf_of")
		for i := 0; i < len(change); i += 2 {
			f.Set(change[i], change[i+1])
		}
		return w.post(tokenPath, f)
	}
	r := ask()
	claims := w.claims(r, "access_token")
	want(t, "oid", words(claims["oid"]), aliceID)
	want(t, "scp", words(claims["scp"]), "User.Read")
	want(t, "appid", words(claims["appid"]), agentID)
	want(t, "actor", words(claims["xms_act_fct"]), "3 9 11")
	refresh := agentForm(agentID, t1, graphScope)
	refresh.Set("grant_type", "refresh_token")
	refresh.Set("refresh_token", r.text("refresh_token"))
	want(t, "refresh", w.post(tokenPath, refresh).status, 200)

	w.write(func(tx replica.Tx) { // another client may call Graph for Alice, and has a token for it
		w.dir.PermissionGrants.Put(tx, "c", directory.PermissionGrant{ID: "c", ClientID: spA, ConsentType: "AllPrincipals", ResourceID: w.graphSP, Scope: "User.Read"})
	})
	want(t, "a token for Graph is none for the blueprint", ask("assertion", person(graphScope)).code(), 50013)
	want(t, "an app-only token stands for nobody", ask("assertion", t1).code(), 50013)
	want(t, "without T1", ask("client_assertion", "").code(), 7000218)
	want(t, "another agent's T1", ask("client_assertion", w.t1(bpApp, siblingID)).code(), 700213)
	want(t, "requested_token_use is needed", ask("requested_token_use", "").code(), 900144)
}

// An ID token says to a client who signed in. Its audience is the client, so by audience alone it would pass for a token that somebody
// else sent to it.
func TestAnIDTokenIsNoAccessToken(t *testing.T) {
	w := newWorld(t)
	w.write(func(tx replica.Tx) {
		for id, resource := range map[string]string{"a": w.graphSP, "b": spA} {
			w.dir.PermissionGrants.Put(tx, id, directory.PermissionGrant{ID: id, ClientID: spA, ConsentType: "AllPrincipals", ResourceID: resource, Scope: "User.Read"})
		}
	})
	signIn := form("grant_type", "password", "client_id", appA, "client_secret", secret, "username", alice, "password", password)
	onBehalf := func(assertion string) reply {
		return w.post(tokenPath, form("grant_type", onBehalfGrant, "client_id", appA, "client_secret", secret, "assertion", assertion, "requested_token_use", "on_behalf_of", "scope", graphScope))
	}
	for path, scope := range map[string]string{tokenPath: "openid " + graphScope, "/" + tenantID + "/oauth2/token": "openid"} {
		signIn.Set("scope", scope)
		signIn.Del("resource")
		if path != tokenPath {
			signIn.Set("resource", "https://graph.microsoft.com")
		}
		r := w.post(path, signIn)
		id := r.text("id_token")
		if id == "" {
			t.Fatalf("%s: no ID token: %s", path, r.raw)
		}
		want(t, path, onBehalf(id).code(), 240002)
		if _, err := w.env.Auth.Verify("Bearer "+id, appA); !errors.Is(err, authority.ErrKind) {
			t.Errorf("%s: a service that takes the audience: %v", path, err)
		}
	}
	signIn.Set("scope", appA+"/.default")
	signIn.Del("resource")
	want(t, "an access token with the same audience", onBehalf(w.post(tokenPath, signIn).text("access_token")).status, 200)
}

func TestWhatAgentsAreRefused(t *testing.T) {
	ask := func(id, t1, scope string) func(*world) reply {
		return func(w *world) reply { return w.post(tokenPath, agentForm(id, t1, scope)) }
	}
	disable := func(w *world, id string) {
		w.write(func(tx replica.Tx) {
			p, _ := w.dir.ServicePrincipals.Get(tx.View, id)
			p.AccountEnabled = false
			w.dir.ServicePrincipals.Put(tx, id, p)
		})
	}
	remove := func(w *world, id string) {
		w.write(func(tx replica.Tx) {
			p, _ := w.dir.ServicePrincipals.Get(tx.View, id)
			now := w.now()
			p.DeletedDateTime = &now
			w.dir.ServicePrincipals.Put(tx, id, p)
		})
	}
	graph := func(w *world, t1 string) reply { return ask(agentID, t1, graphScope)(w) }
	for _, row := range []struct {
		name string
		do   func(w *world) reply
		code int
	}{
		{"a blueprint asks for ARM itself", func(w *world) reply { return w.blueprint(bpApp, armScope) }, 82001},
		{"a blueprint asks for a vault itself", func(w *world) reply { return w.blueprint(bpApp, "https://vault.azure.net/.default") }, 82001},
		{"a blueprint without principal", func(w *world) reply { return w.blueprint(lonelyBP, exchange, "fmi_path", agentID) }, 7000229},
		{"an empty fmi_path", func(w *world) reply { return w.blueprint(bpApp, exchange, "fmi_path", "") }, 90100},
		{"fmi_path with another scope", func(w *world) reply { return w.blueprint(bpApp, graphScope, "fmi_path", agentID) }, 90100},
		{"fmi_path of an ordinary application", func(w *world) reply { return w.blueprint(appA, exchange, "fmi_path", agentID) }, 90100},
		{"a wrong secret at leg 1", func(w *world) reply { return w.blueprint(bpApp, exchange, "fmi_path", agentID, "client_secret", "x") }, 7000215},
		{"the fmi_path of another blueprint's identity", func(w *world) reply { return graph(w, w.t1(otherBP, agentID)) }, 700213},
		{"T1 of a sibling", func(w *world) reply { return graph(w, w.t1(bpApp, siblingID)) }, 700213},
		{"an exchange token without fmi_path", func(w *world) reply { return graph(w, w.blueprint(bpApp, exchange).text("access_token")) }, 700211},
		{"the blueprint's token for Graph", func(w *world) reply { return graph(w, w.blueprint(bpApp, graphScope).text("access_token")) }, 700211},
		{"a token for another resource in T1's place", func(w *world) reply {
			w.write(func(tx replica.Tx) {
				a, _ := w.dir.Applications.Get(tx.View, "obj-"+bpApp)
				a.TokenVersion, a.IdentifierURIs = 2, []string{"api://" + bpApp}
				w.dir.Applications.Put(tx, a.ID, a)
			})
			return graph(w, w.post(tokenPath, w.assertionForm(w.jwt().sign(), "api://"+bpApp+"/.default")).text("access_token"))
		}, 700212},
		{"T2 in T1's place", func(w *world) reply {
			return graph(w, w.post(tokenPath, agentForm(agentID, w.t1(bpApp, agentID), exchange)).text("access_token"))
		}, 700211},
		{"a forged T1", func(w *world) reply {
			t1 := w.t1(bpApp, agentID)
			return graph(w, t1[:strings.LastIndexByte(t1, '.')+1]+strings.Repeat("A", 342))
		}, 50013},
		{"an expired T1", func(w *world) reply {
			t1 := w.t1(bpApp, agentID)
			w.offset += 2 * time.Hour
			return graph(w, t1)
		}, 700024},
		{"a client secret at leg 2", func(w *world) reply {
			return w.post(tokenPath, form("grant_type", "client_credentials", "client_id", agentID, "client_secret", secret, "scope", graphScope))
		}, 7000215},
		{"nothing at leg 2", func(w *world) reply {
			return w.post(tokenPath, form("grant_type", "client_credentials", "client_id", agentID, "scope", graphScope))
		}, 7000216},
		{"a certificate at leg 2", func(w *world) reply {
			j := w.jwt()
			j.claims["iss"], j.claims["sub"] = agentID, agentID
			return ask(agentID, j.sign(), graphScope)(w)
		}, 700027},
		{"T1 at an ordinary application", func(w *world) reply { return ask(appA, w.t1(bpApp, agentID), graphScope)(w) }, 70025},
		{"a disabled identity", func(w *world) reply { t1 := w.t1(bpApp, agentID); disable(w, agentID); return graph(w, t1) }, 7000112},
		{"a disabled blueprint principal, with a T1 from before", func(w *world) reply { t1 := w.t1(bpApp, agentID); disable(w, bpSP); return graph(w, t1) }, 7000112},
		{"a disabled blueprint principal", func(w *world) reply { disable(w, bpSP); return w.blueprint(bpApp, exchange, "fmi_path", agentID) }, 7000112},
		{"a deleted identity", func(w *world) reply { t1 := w.t1(bpApp, agentID); remove(w, agentID); return graph(w, t1) }, 700016},
		{"an orphan", func(w *world) reply { t1 := w.t1(bpApp, agentID); remove(w, bpSP); return graph(w, t1) }, 7000229},
		{"a scope that is not .default", func(w *world) reply {
			return ask(agentID, w.t1(bpApp, agentID), "https://graph.microsoft.com/User.Read")(w)
		}, 1002012},
		{"the token exchange grant", func(w *world) reply {
			f := agentForm(agentID, w.t1(bpApp, agentID), graphScope)
			f.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
			return w.post(tokenPath, f)
		}, 82001},
		{"an agent user who is another's", func(w *world) reply {
			t1 := w.t1(bpApp, siblingID)
			t2 := w.post(tokenPath, agentForm(siblingID, t1, exchange)).text("access_token")
			return w.post(tokenPath, ficForm(siblingID, t1, t2, "user_id", agentUserID))
		}, 700213},
		{"a person in the agent user's place", func(w *world) reply {
			t1 := w.t1(bpApp, agentID)
			t2 := w.post(tokenPath, agentForm(agentID, t1, exchange)).text("access_token")
			return w.post(tokenPath, ficForm(agentID, t1, t2, "user_id", aliceID))
		}, 700213},
		{"T1 in T2's place", func(w *world) reply {
			t1 := w.t1(bpApp, agentID)
			return w.post(tokenPath, ficForm(agentID, t1, t1, "user_id", agentUserID))
		}, 700213},
		{"a name in user_id", func(w *world) reply {
			t1 := w.t1(bpApp, agentID)
			return w.post(tokenPath, ficForm(agentID, t1, t1, "user_id", agentUPN))
		}, 50000},
		{"an agent user that nothing was granted for", func(w *world) reply {
			w.write(func(tx replica.Tx) { w.dir.PermissionGrants.Delete(tx, "gr") })
			t1 := w.t1(bpApp, agentID)
			t2 := w.post(tokenPath, agentForm(agentID, t1, exchange)).text("access_token")
			return w.post(tokenPath, ficForm(agentID, t1, t2, "user_id", agentUserID))
		}, 65001},
		{"an agent user with a password", func(w *world) reply {
			return w.post(tokenPath, form("grant_type", "password", "client_id", directory.AzureCLIAppID, "username", agentUPN, "password", "x", "scope", armScope))
		}, 50126},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.agents()
			r := row.do(w)
			if r.code() != row.code {
				t.Fatalf("%d, want AADSTS%d: %s", r.status, row.code, r.raw)
			}
		})
	}
}
