package control_test

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/work/provision"
)

const (
	issuer  = "https://oidc.example/cluster/"
	subject = "system:serviceaccount:bots:bot"
)

func newKeyless(t *testing.T, kind agent.Kind, federated ...agent.Federated) *world {
	w := newWorldOn(t, localcloud.Config{FetchJWKS: func(context.Context, string) (map[string]crypto.PublicKey, error) {
		return map[string]crypto.PublicKey{"k1": &signing().PublicKey}, nil
	}})
	a := w.spec.Agents[bot]
	a.Kind, a.Federated = kind, federated
	w.spec.Defaults()
	return w
}

func cluster() agent.Federated { return agent.Federated{Issuer: issuer, Subject: subject} }

// github is a second credential, so that their order matters.
func github() agent.Federated {
	return agent.Federated{Issuer: "https://token.actions.githubusercontent.com", Subject: "repo:contoso/bot:ref:refs/heads/main"}
}

// keyless checks, with other eyes, that the cloud has exactly what the spec says.
func (w *world) keyless() {
	w.Helper()
	a, rec := w.spec.Agents[bot], w.record()
	var found struct {
		Value []struct {
			Name       string
			Issuer     string
			Subject    string
			Audiences  []string
			Properties struct {
				Issuer, Subject string
				Audiences       []string
			}
		}
	}
	if rec.Managed() {
		var all struct{ Value []struct{ ID string } }
		w.call(http.MethodGet, w.spec.Group()+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities?api-version=2023-01-31", nil, &all)
		if len(all.Value) != 1 || all.Value[0].ID != rec.ResourceID {
			w.Errorf("managed identities %+v, recorded is %s", all, rec.ResourceID)
		}
		w.call(http.MethodGet, rec.ResourceID+"/federatedIdentityCredentials?api-version=2023-01-31", nil, &found)
	} else {
		var app struct{ KeyCredentials, PasswordCredentials []any }
		w.call(http.MethodGet, "/v1.0/applications/"+rec.ApplicationID, nil, &app)
		if len(app.KeyCredentials)+len(app.PasswordCredentials) > 0 {
			w.Errorf("an identity without a key has %+v", app)
		}
		w.call(http.MethodGet, "/v1.0/applications/"+rec.ApplicationID+"/federatedIdentityCredentials", nil, &found)
	}
	var got, want, names []string
	for _, f := range found.Value {
		got = append(got, fmt.Sprint(f.Issuer+f.Properties.Issuer, f.Subject+f.Properties.Subject, append(f.Audiences, f.Properties.Audiences...)))
		names = append(names, f.Name)
	}
	for _, f := range a.Federated {
		want = append(want, fmt.Sprint(f.Issuer, f.Subject, []string{f.Audience}))
	}
	slices.Sort(got)
	slices.Sort(want)
	slices.Sort(names)
	slices.Sort(rec.Federated)
	if !slices.Equal(got, want) || !slices.Equal(names, rec.Federated) {
		w.Errorf("federated credentials %v of names %v, want %v; recorded are %v", got, names, want, rec.Federated)
	}
	held, err := w.view.Assignments(w.Context(), rec.PrincipalID)
	if err != nil {
		w.Fatal(err)
	}
	var roles, planned []string
	for _, h := range held {
		roles = append(roles, strings.ToLower(h.Scope+"|"+h.RoleID))
	}
	for _, g := range w.spec.Grants(a, role.Builtin()) {
		planned = append(planned, g.Key())
	}
	slices.Sort(roles)
	slices.Sort(planned)
	if !slices.Equal(roles, planned) {
		w.Errorf("roles %v, want %v", roles, planned)
	}
	if keys, err := w.keys.List(w.Context()); err != nil || len(keys) > 0 {
		w.Errorf("the keystore holds %v (%v)", keys, err)
	}
}

// nothingLeft checks that neither identity nor assignment nor record is left.
func (w *world) nothingLeft(principal string) {
	w.Helper()
	var all struct{ Value []any }
	w.call(http.MethodGet, w.spec.Group()+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities?api-version=2023-01-31", nil, &all)
	bad, err := w.view.Revoked(w.Context(), bot, principal, false)
	if err != nil {
		w.Fatal(err)
	}
	if rec := w.record(); len(all.Value) > 0 || len(bad) > 0 || !rec.Blank() {
		w.Errorf("%d managed identities are left, %v, record %+v", len(all.Value), bad, rec)
	}
}

// token asks for a token of the agent with the workload's own, as its SDK does, and gives whose it is.
func (w *world) token(appID, subject, audience string) (objectID string, err error) {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"iss": issuer, "sub": subject, "aud": audience, "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()})
	t.Header["kid"] = "k1"
	assertion, err := t.SignedString(signing())
	if err != nil {
		w.Fatal(err)
	}
	resp, err := (&http.Client{Transport: w.cloud.Transport()}).PostForm(w.cloud.Endpoints().Login+"/"+w.cloud.TenantID()+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {appID}, "scope": {"https://management.azure.com/.default"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion}})
	if err != nil {
		w.Fatal(err)
	}
	return w.whose(resp)
}

func (w *world) whose(resp *http.Response) (string, error) {
	defer resp.Body.Close()
	var body struct {
		Token string `json:"access_token"`
		Why   string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		w.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(body.Why)
	}
	var claims struct {
		jwt.RegisteredClaims
		ObjectID string `json:"oid"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(body.Token, &claims); err != nil {
		w.Fatal(err)
	}
	return claims.ObjectID, nil
}

// What the reports claim is true: nobody here can log in, and the workload that the spec names, and no other, can.
func TestTheWorkloadLogsIn(t *testing.T) {
	for _, kind := range []agent.Kind{agent.ServicePrincipal, agent.ManagedIdentity} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newKeyless(t, kind, cluster(), github())
				r := w.provision()
				if r.Proof.Logins != 0 || !r.Proof.ReadBack || !r.Key.Zero() || !strings.Contains(r.LogsIn, subject) || api.FindingsExit(r.Findings) != api.ExitDone {
					t.Errorf("report %+v", r)
				}
				w.keyless()
				rec := w.record()
				if who, err := w.token(rec.AppID, subject, agent.TokenExchange); err != nil || who != rec.PrincipalID {
					t.Errorf("the workload is %s: %v", who, err)
				}
				if _, err := w.token(rec.AppID, "system:serviceaccount:bots:other", agent.TokenExchange); err == nil {
					t.Error("another workload of the issuer logs in")
				}
				// A new audience takes effect in place, and the old one ends.
				w.spec.Agents[bot].Federated[0].Audience = "api://other"
				w.provision()
				w.keyless()
				if _, err := w.token(rec.AppID, subject, agent.TokenExchange); err == nil {
					t.Error("the old audience still opens it")
				}
				if _, err := w.token(rec.AppID, subject, "api://other"); err != nil {
					t.Error(err)
				}
				// What the spec drops goes, from the cloud and from the record.
				w.spec.Agents[bot].Federated = w.spec.Agents[bot].Federated[:1]
				w.provision()
				w.keyless()
				if _, err := w.revoke(api.ApplyRequest{}); err != nil {
					t.Fatal(err)
				}
				w.nothingLeft(rec.PrincipalID)
				if _, err := w.token(rec.AppID, subject, "api://other"); err == nil {
					t.Error("it opens after the revoke")
				}
			})
		})
	}
}

func TestCodeOnAResourceLogsInAsTheManagedIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyless(t, agent.ManagedIdentity)
		w.provision()
		w.keyless()
		rec := w.record()
		app := w.spec.Group() + "/providers/Microsoft.App/containerApps/bot"
		w.call(http.MethodPut, app+"?api-version=2024-03-01", map[string]any{"location": "eastus", "properties": map[string]any{},
			"identity": map[string]any{"type": "UserAssigned", "userAssignedIdentities": map[string]any{rec.ResourceID: map[string]any{}}}}, nil)
		at, err := w.cloud.Identity(app)
		if err != nil {
			t.Fatal(err)
		}
		q := url.Values{"api-version": {"2019-08-01"}, "resource": {"https://management.azure.com"}, "client_id": {rec.AppID}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.Endpoint+"?"+q.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-IDENTITY-HEADER", at.Header.Reveal())
		resp, err := w.cloud.Transport().RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if who, err := w.whose(resp); err != nil || who != rec.PrincipalID {
			t.Errorf("it is %s: %v", who, err)
		}
	})
}

// Stopped at any step, it goes on; stopped at any step and given up, nothing is left.
func TestAKeylessIdentityResumesAnywhere(t *testing.T) {
	down := errors.New("the disk is full")
	for _, kind := range []agent.Kind{agent.ServicePrincipal, agent.ManagedIdentity} {
		synctest.Test(t, func(t *testing.T) {
			w := newKeyless(t, kind, cluster(), github())
			for _, step := range w.plan().Plan.Steps {
				w.stopAt(step.ID, down)
				if _, err := w.apply(api.ApplyRequest{}); err == nil {
					t.Fatalf("%s does not stop", step.ID)
				}
				w.goOn()
				if step.ID == "application" || step.ID == "identity" || strings.HasPrefix(step.ID, "federated:") {
					// Given up right there, an identity that only the journal knows goes as well.
					if _, err := w.revoke(api.ApplyRequest{}); err != nil {
						t.Fatalf("revoke after %s: %v", step.ID, err)
					}
					w.nothingLeft("00000000-0000-4000-8000-000000000000")
					w.stopAt(step.ID, down)
					if _, err := w.apply(api.ApplyRequest{}); err == nil {
						t.Fatalf("%s does not stop", step.ID)
					}
					w.goOn()
				}
				w.provision()
				w.keyless()
				if p := w.plan(); !p.Plan.Empty() {
					t.Errorf("after %s there is still something to do: %+v", step.ID, p.Plan.Steps)
				}
				principal := w.record().PrincipalID
				if _, err := w.revoke(api.ApplyRequest{}); err != nil {
					t.Fatal(err)
				}
				w.nothingLeft(principal)
			}
			w.provision()
			revoke, err := w.door().Plan(w.Context(), api.PlanRequest{Verb: agent.Revoke})
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range revoke.Plan.Steps {
				principal := w.record().PrincipalID
				w.stopAt(step.ID, down)
				if _, err := w.revoke(api.ApplyRequest{}); err == nil {
					t.Fatalf("%s does not stop", step.ID)
				}
				w.goOn()
				if _, err := w.revoke(api.ApplyRequest{}); err != nil {
					t.Fatalf("%s: %v", step.ID, err)
				}
				w.nothingLeft(principal)
				w.provision()
				w.keyless()
			}
		})
	}
}

// Lag of minutes, throttling and lost answers: the end is as if nothing had happened.
func TestAKeylessIdentityOnAHostileCloud(t *testing.T) {
	for _, kind := range []agent.Kind{agent.ServicePrincipal, agent.ManagedIdentity} {
		for seed := range uint64(4) {
			t.Run(fmt.Sprint(kind, " seed ", seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newKeyless(t, kind, cluster(), github())
					calm := w.cloud.Knobs()
					again := func(do func(api.ApplyRequest) (api.Report, error)) {
						t.Helper()
						if err := w.cloud.SetKnobs(localcloud.Hostile(seed + 1)); err != nil {
							t.Fatal(err)
						}
						var err error
						for range 6 {
							if _, err = do(api.ApplyRequest{}); err == nil || !fault.Is(err, fault.Stopped, fault.Unavailable, fault.Throttled, fault.NotYet) {
								break
							}
						}
						if err != nil && !fault.Is(err, fault.NotFound) { // a revoke whose end was lost has nothing left to do
							t.Fatal(err)
						}
						if err := w.cloud.SetKnobs(calm); err != nil {
							t.Fatal(err)
						}
						time.Sleep(5 * time.Minute) // virtual: every replica has arrived
					}
					again(w.apply)
					w.keyless()
					principal := w.record().PrincipalID
					again(w.revoke)
					w.nothingLeft(principal)
				})
			})
		}
	}
}

// A managed identity that appears between the plan and its first step is not taken over.
func TestAManagedIdentityThatAppearsMeanwhileStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyless(t, agent.ManagedIdentity)
		id := w.spec.IdentityID(w.spec.Agents[bot])
		_, err := w.apply(api.ApplyRequest{Approve: func(api.PlanAnswer) (bool, error) {
			w.call(http.MethodPut, id+"?api-version=2023-01-31", map[string]any{"location": "eastus", "tags": map[string]any{"team": "theirs"}}, nil)
			return true, nil
		}})
		if !fault.Is(err, fault.Conflict) {
			t.Errorf("got %v", err)
		}
		var found struct{ Tags map[string]string }
		w.call(http.MethodGet, id+"?api-version=2023-01-31", nil, &found)
		if rec := w.record(); rec.Provisioned() || len(found.Tags) != 1 || found.Tags[provision.NonceTag] != "" {
			t.Errorf("it was taken: tags %v, record %+v", found.Tags, rec)
		}
	})
}

// A run that stopped before it made the identity is no claim on one that somebody else makes meanwhile, and stands in nobody's way.
func TestAnIdentityThatIsMadeWhileARunIsOpenIsNotOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyless(t, agent.ManagedIdentity)
		id := w.spec.IdentityID(w.spec.Agents[bot])
		w.hooks.Transport = func(next http.RoundTripper) http.RoundTripper { return withoutPut{next, "/userAssignedIdentities/"} }
		if _, err := w.apply(api.ApplyRequest{}); err == nil {
			t.Fatal("it was made without a request")
		}
		w.hooks.Transport = nil
		w.call(http.MethodPut, id+"?api-version=2023-01-31", map[string]any{"location": "eastus"}, nil)
		if _, err := w.apply(api.ApplyRequest{}); !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "adopt --resource-id") {
			t.Fatalf("%v, hint %s", err, fault.Hint(err))
		}
		yes := func(agent.UserAssignedIdentity, []agent.Assignment) (bool, error) { return true, nil }
		if _, err := w.door().Adopt(w.Context(), api.AdoptRequest{ResourceID: id, ApproveIdentity: yes}, nil); err != nil {
			t.Fatal(err)
		}
		w.provision()
		w.keyless()
	})
}

// Somebody has deleted the identity and made it anew: its roles went with the earlier principal, and adopting it gives it none. The report
// says so, and what the adoption took.
func TestAnAdoptionTellsOnlyWhatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyless(t, agent.ManagedIdentity)
		w.provision()
		id, before := w.record().ResourceID, w.record().PrincipalID
		w.call(http.MethodDelete, id+"?api-version=2023-01-31", nil, nil)
		w.call(http.MethodPut, id+"?api-version=2023-01-31", map[string]any{"location": "eastus"}, nil)
		yes := func(agent.UserAssignedIdentity, []agent.Assignment) (bool, error) { return true, nil }
		r, err := w.door().Adopt(w.Context(), api.AdoptRequest{ResourceID: id, ApproveIdentity: yes}, nil)
		if err != nil || !r.Changed || r.PrincipalID == before {
			t.Fatalf("%+v, %v", r, err)
		}
		if len(r.Roles) > 0 {
			t.Errorf("roles that nobody holds: %+v", r.Roles)
		}
		if r.WallMS > time.Minute.Milliseconds() || r.Requests < 1 {
			t.Errorf("%d requests in %d ms", r.Requests, r.WallMS)
		}
		if r := w.provision(); len(r.Roles) == 0 {
			t.Errorf("the next apply assigns none: %+v", r)
		}
	})
}

// withoutPut loses every PUT to a path before it has any effect.
type withoutPut struct {
	http.RoundTripper
	path string
}

func (l withoutPut) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPut && strings.Contains(r.URL.Path, l.path) {
		return nil, errors.New("connection reset")
	}
	return l.RoundTripper.RoundTrip(r)
}

// A pinned plan of a managed identity can be applied, and only while the world is as it was; its Azure half can be done alone.
func TestPlansOfAManagedIdentityAreLikeAnyOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyless(t, agent.ManagedIdentity, cluster())
		if _, err := w.apply(api.ApplyRequest{Only: agent.Graph}); !fault.Is(err, fault.Refused) {
			t.Errorf("there is a Graph half: %v", err)
		}
		p := w.plan().Plan
		if _, err := w.apply(api.ApplyRequest{Plan: &p}); err != nil {
			t.Fatal(err)
		}
		w.keyless()
		if _, err := w.apply(api.ApplyRequest{Plan: &p}); !fault.Is(err, fault.Conflict) {
			t.Errorf("the same plan twice: %v", err)
		}
		if _, err := w.revoke(api.ApplyRequest{}); err != nil {
			t.Fatal(err)
		}
		r, err := w.apply(api.ApplyRequest{Only: agent.ARM})
		if err != nil || r.Rest != nil {
			t.Errorf("the Azure half: %+v, %v", r.Rest, err)
		}
		w.keyless()
		if r := w.provision(); !r.Proof.ReadBack || r.EnvFile == "" {
			t.Errorf("report %+v", r)
		}
	})
}

// Where Azure may not be read at all, a managed identity cannot be planned: it lives there.
func TestNothingOfAManagedIdentityIsGuessed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newKeyless(t, agent.ManagedIdentity)
		w.provision()
		w.operator = "local:nobody"
		if r, err := w.apply(api.ApplyRequest{Only: agent.Graph}); err == nil {
			t.Errorf("done without looking: %+v", r)
		}
		if st, err := w.door().Status(w.Context(), bot); err != nil || api.FindingsExit(st[0].Findings) != api.ExitFindings {
			t.Errorf("status %+v: %v", st, err)
		}
	})
}
