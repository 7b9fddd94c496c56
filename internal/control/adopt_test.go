package control_test

import (
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// existing makes an application past the product, with a password, and gives its ids.
func (w *world) existing(name string, principal bool) (object, id string) {
	var app struct {
		ID    string `json:"id"`
		AppID string `json:"appId"`
	}
	w.call(http.MethodPost, "/v1.0/applications", map[string]any{"displayName": name}, &app)
	w.call(http.MethodPost, "/v1.0/applications/"+app.ID+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "old"}}, nil)
	if principal {
		w.call(http.MethodPost, "/v1.0/servicePrincipals", map[string]any{"appId": app.AppID}, nil)
	}
	return app.ID, app.AppID
}

func yes(agent.Application) (bool, error) { return true, nil }

func TestAdopt(t *testing.T) {
	for _, principal := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			object, id := w.existing(bot, principal)
			if _, err := w.apply(api.ApplyRequest{}); !fault.Is(err, fault.Refused) {
				t.Fatalf("a namesake is taken over: %v", err)
			}
			since := len(w.cloud.Requests())
			var shown agent.Application
			if _, err := w.door().Adopt(t.Context(), api.AdoptRequest{AppID: id, Approve: func(a agent.Application) (bool, error) { shown = a; return true, nil }}, nil); err != nil {
				t.Fatal(err)
			}
			if shown.ID != object || len(shown.Passwords) != 1 || len(shown.Owners) == 0 || w.writes(since) > 0 {
				t.Errorf("shown %+v; %d writes", shown, w.writes(since))
			}
			rec := w.record()
			if rec.ApplicationID != object || rec.AppID != id || !rec.Adopted || (rec.PrincipalID != "") != principal {
				t.Errorf("recorded %+v", rec)
			}
			r, err := w.apply(api.ApplyRequest{})
			if err != nil || r.Proof.PasswordCredentials != 1 {
				t.Fatalf("the password is not counted: %+v %v", r.Proof, err)
			}
			key := shown.Passwords[0].KeyID
			r, err = w.apply(api.ApplyRequest{PlanRequest: api.PlanRequest{RemoveForeign: []string{key}}})
			if err != nil || r.Proof.PasswordCredentials != 0 {
				t.Errorf("the password is still there: %+v %v", r.Proof, err)
			}
			if p := w.plan(); !p.Plan.Empty() || len(p.Plan.Findings) > 0 {
				t.Errorf("steps %+v, findings %+v", p.Plan.Steps, p.Plan.Findings)
			}
		})
	}
}

func TestWhatIsNotAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, id := w.existing("somebody's", true)
		for name, c := range map[string]struct {
			request api.AdoptRequest
			code    fault.Code
		}{
			"nobody is there to approve":     {api.AdoptRequest{AppID: id}, fault.Refused},
			"it is not approved":             {api.AdoptRequest{AppID: id, Approve: func(agent.Application) (bool, error) { return false, nil }}, fault.Refused},
			"a display name":                 {api.AdoptRequest{AppID: "somebody's", Approve: yes}, fault.Invalid},
			"an application that is not":     {api.AdoptRequest{AppID: appID, Approve: yes}, fault.NotFound},
			"an agent that the spec has not": {api.AdoptRequest{Agent: "x", AppID: id, Approve: yes}, fault.Usage},
		} {
			if _, err := w.door().Adopt(t.Context(), c.request, nil); !fault.Is(err, c.code) || w.record().Provisioned() {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.provision()
		if _, err := w.door().Adopt(t.Context(), api.AdoptRequest{AppID: id, Approve: yes}, nil); !fault.Is(err, fault.Conflict) {
			t.Errorf("an agent that has an application: %v", err)
		}
		own := w.record().AppID
		w.spec.Agents["second"] = &agent.Agent{}
		w.spec.Defaults()
		if _, err := w.door().Adopt(t.Context(), api.AdoptRequest{Agent: "second", AppID: own, Approve: yes}, nil); !fault.Is(err, fault.Conflict) {
			t.Errorf("another agent's application: %v", err)
		}
	})
}

// Somebody has deleted the service principal and made another: roles go to neither until a person has looked, and then what was ours
// stays ours.
func TestAServicePrincipalThatWasMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provision()
		before := w.record()
		w.call(http.MethodDelete, "/v1.0/servicePrincipals/"+before.PrincipalID, nil, nil)
		w.call(http.MethodPost, "/v1.0/servicePrincipals", map[string]any{"appId": before.AppID}, nil)
		since := len(w.cloud.Requests())
		if _, err := w.apply(api.ApplyRequest{}); !fault.Is(err, fault.Refused) || w.writes(since) > 0 {
			t.Fatalf("%d writes: %v", w.writes(since), err)
		}
		if _, err := w.door().Adopt(t.Context(), api.AdoptRequest{AppID: before.AppID, Approve: yes}, nil); err != nil {
			t.Fatal(err)
		}
		w.provision()
		rec := w.record()
		if rec.PrincipalID == before.PrincipalID || len(rec.Assignments) < 5 {
			t.Errorf("recorded %+v", rec)
		}
		if r, err := w.revoke(api.ApplyRequest{PlanRequest: api.PlanRequest{Purge: true}}); err != nil || !r.Revoked {
			t.Fatal(err)
		}
		for _, id := range []string{before.PrincipalID, rec.PrincipalID} {
			if left, err := w.view.Assignments(t.Context(), id); err != nil || len(left) > 0 {
				t.Errorf("assignments of %s are left: %v %v", id, left, err)
			}
		}
	})
}
