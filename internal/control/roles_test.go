package control_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

const (
	readerID      = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	contributorID = "b24988ac-6180-42a0-ab88-20f7382dd24c"
)

func (w *world) roles() api.RolesAnswer {
	w.Helper()
	r, err := w.door().Roles(w.Context(), "")
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *world) fix(r api.FixRequest) (api.Report, error) {
	return w.door().FixRoles(w.Context(), r, nil)
}

// wanted is the row of the role that the answer has.
func wanted(t *testing.T, r api.RolesAnswer, roleID string) api.RequiredRole {
	t.Helper()
	i := slices.IndexFunc(r.Required, func(x api.RequiredRole) bool { return x.RoleID == roleID })
	if i < 0 {
		t.Fatalf("role %s is not required: %+v", roleID, r.Required)
	}
	return r.Required[i]
}

// unassign removes the identity's assignment of the role, as the administrator.
func (w *world) unassign(roleID string) {
	w.Helper()
	for _, a := range w.record().Assignments {
		if strings.EqualFold(a.RoleID, roleID) {
			w.call(http.MethodDelete, a.Scope+"/providers/Microsoft.Authorization/roleAssignments/"+a.Name+"?api-version=2022-04-01", nil, nil)
			return
		}
	}
	w.Fatalf("no assignment of %s is recorded", roleID)
}

// give assigns a role, as the administrator; the id of the assignment comes back.
func (w *world) give(principal, kind, roleID, scope string) string {
	w.Helper()
	id := scope + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString()
	w.call(http.MethodPut, id+"?api-version=2022-04-01", map[string]any{"properties": map[string]any{
		"roleDefinitionId": "/subscriptions/" + w.spec.Subscription + "/providers/Microsoft.Authorization/roleDefinitions/" + roleID, "principalId": principal, "principalType": kind}}, nil)
	return id
}

// grouped makes a group with one member.
func (w *world) grouped(name, member string) string {
	w.Helper()
	var g struct {
		ID string `json:"id"`
	}
	w.call(http.MethodPost, "/v1.0/groups", map[string]any{"displayName": name, "mailEnabled": false, "mailNickname": name, "securityEnabled": true,
		"members@odata.bind": []string{w.cloud.Endpoints().Graph + "/v1.0/directoryObjects/" + member}}, &g)
	return g.ID
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestARoleThatSomebodyRemovedIsMissingAndFixed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provision()
		before := w.roles()
		for _, r := range before.Required {
			if r.Presence != api.Assigned || r.By == "" || r.Feature == "" {
				t.Errorf("%+v", r)
			}
		}
		if before.Digest != "" || len(before.Pending) > 0 || len(before.Held) != len(before.Required) {
			t.Errorf("%+v", before)
		}
		w.unassign(readerID)
		r := w.roles()
		if got := wanted(t, r, readerID); got.Presence != api.Missing || len(r.Pending) != 1 || r.Digest == "" {
			t.Errorf("%+v: %v", got, r.Pending)
		}
		if _, err := w.fix(api.FixRequest{Digest: strings.Repeat("0", 64)}); !fault.Is(err, fault.Conflict) {
			t.Errorf("another plan than the pinned one: %v", err)
		}
		fixed, err := w.fix(api.FixRequest{Digest: r.Digest})
		if err != nil || !fixed.Changed || len(fixed.Steps) != 1 || len(fixed.Findings) > 0 {
			t.Fatalf("%+v %v", fixed, err)
		}
		if after := w.roles(); wanted(t, after, readerID).Presence != api.Assigned || after.Digest != "" {
			t.Errorf("%+v", after)
		}
		w.inOrder(0)
		// Nothing is left to do, and nothing is done.
		since := len(w.cloud.Requests())
		again, err := w.fix(api.FixRequest{})
		if err != nil || again.Changed || w.writes(since) > 0 {
			t.Errorf("%+v %v", again, err)
		}
		if l := w.ledger(1)[0]; l.Action != "fix-roles" || !l.Allowed {
			t.Errorf("%+v", l)
		}
	})
}

func TestAnInheritedRoleIsThereAndSaysWhereFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		rep := w.provision()
		sub := "/subscriptions/" + w.spec.Subscription
		w.unassign(readerID)
		id := w.give(rep.PrincipalID, "ServicePrincipal", readerID, sub)
		r := w.roles()
		if got := wanted(t, r, readerID); got.Presence != api.Assigned || !strings.EqualFold(got.By, id) || !strings.Contains(got.Detail, "inherited from subscription") {
			t.Errorf("%+v", got)
		}
		i := slices.IndexFunc(r.Held, func(h api.HeldRole) bool { return strings.EqualFold(h.ID, id) })
		if i < 0 || r.Held[i].Ours || !r.Held[i].Inherited || r.Held[i].Required {
			t.Errorf("%+v", r.Held)
		}
		// It satisfies, so nothing is assigned beside it; it is not ours, so it stays and is named.
		fixed, err := w.fix(api.FixRequest{})
		if err != nil || fixed.Changed || !slices.ContainsFunc(fixed.Findings, func(f finding.Finding) bool { return f.ID == "assignment-left" }) {
			t.Errorf("%+v %v", fixed, err)
		}
	})
}

func TestARoleThroughAGroupIsThereAndNamesTheGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		rep := w.provision()
		w.unassign(readerID)
		group := w.grouped("bots", rep.PrincipalID)
		w.give(group, "Group", readerID, w.spec.Group())
		r := w.roles()
		if got := wanted(t, r, readerID); got.Presence != api.Assigned || !strings.Contains(got.Detail, group) {
			t.Errorf("%+v", got)
		}
		if !slices.ContainsFunc(r.Held, func(h api.HeldRole) bool { return h.Through == "bots ("+group+")" && h.PrincipalID == group }) {
			t.Errorf("%+v", r.Held)
		}
	})
}

func TestARoleAtTheWrongScopeIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		rep := w.provision()
		w.unassign(readerID)
		vault := w.spec.VaultID(w.spec.Agents[bot])
		w.give(rep.PrincipalID, "ServicePrincipal", readerID, vault)
		got := wanted(t, w.roles(), readerID)
		if got.Presence != api.Missing || !strings.Contains(got.Detail, role.Short(vault)) {
			t.Errorf("%+v", got)
		}
	})
}

func TestWhatIsOursAndStaleGoesAndWhatIsNotStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		rep := w.provision()
		foreign := w.give(rep.PrincipalID, "ServicePrincipal", contributorID, w.spec.Group())
		w.spec.Agents[bot].SessionPool = "" // its role is ours, and not asked for any more
		r := w.roles()
		if len(r.Pending) != 1 || !strings.HasPrefix(r.Pending[0], "remove ") {
			t.Errorf("%v", r.Pending)
		}
		elevated := slices.IndexFunc(r.Held, func(h api.HeldRole) bool { return h.RoleID == contributorID })
		if elevated < 0 || len(r.Held[elevated].Elevated) == 0 || r.Held[elevated].Ours || r.Held[elevated].Required {
			t.Errorf("%+v", r.Held)
		}
		asked := 0
		fixed, err := w.fix(api.FixRequest{Approve: func(a api.PlanAnswer) (bool, error) {
			asked++
			return a.Consent() == api.YesConsent && a.Plan.Verb == agent.FixRoles, nil
		}})
		if err != nil || asked != 1 || len(fixed.Steps) != 1 {
			t.Fatalf("asked %d times: %+v %v", asked, fixed, err)
		}
		after := w.roles()
		if len(after.Pending) != 0 || !slices.ContainsFunc(after.Held, func(h api.HeldRole) bool { return strings.EqualFold(h.ID, foreign) }) {
			t.Errorf("%+v", after)
		}
		for _, h := range after.Held {
			if strings.Contains(h.Scope, "sessionPools") {
				t.Errorf("%+v is still there", h)
			}
		}
	})
}

func TestWhereNobodyMayReadARoleIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provision()
		w.operator = "local:nobody"
		r := w.roles()
		for _, x := range r.Required {
			if x.Presence != api.PresenceUnknown {
				t.Errorf("%+v", x)
			}
		}
		if len(r.Unread) == 0 || len(r.Readable) > 0 || r.Digest != "" {
			t.Errorf("%+v", r)
		}
		since := len(w.cloud.Requests())
		if _, err := w.fix(api.FixRequest{}); !fault.Is(err, fault.Forbidden) || w.writes(since) > 0 {
			t.Errorf("%v", err)
		}
	})
}

func TestWithoutAnIdentityThereIsNobodyToAssignTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.roles()
		if r.PrincipalID != "" || len(r.Required) == 0 || len(r.Held) > 0 || r.Digest != "" {
			t.Errorf("%+v", r)
		}
		for _, x := range r.Required {
			if x.Presence != api.Missing || !strings.Contains(x.Detail, "no identity") {
				t.Errorf("%+v", x)
			}
		}
		if _, err := w.fix(api.FixRequest{}); !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "leastkey apply") {
			t.Errorf("%v", err)
		}
		id, err := w.door().Identity(t.Context(), "")
		if err != nil || id.Configured || id.Found || id.Agent != bot || id.Kind != agent.ServicePrincipal {
			t.Errorf("%+v %v", id, err)
		}
	})
}

// A repair that stopped between the assignment and its end in the journal is finished by the same command, and makes no second one.
func TestARepairThatStoppedIsContinued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provision()
		w.unassign(readerID)
		stop := errors.New("the plug was pulled")
		w.stopAt("role:reader@"+w.spec.ResourceGroup, stop)
		if _, err := w.fix(api.FixRequest{}); !fault.Is(err, fault.Stopped) && !errors.Is(err, stop) {
			t.Fatal(err)
		}
		w.goOn()
		id, err := w.door().Identity(t.Context(), "")
		if err != nil || id.Open == nil || id.Open.Command() != "leastkey roles fix "+bot {
			t.Errorf("%+v %v", id, err)
		}
		fixed, err := w.fix(api.FixRequest{})
		if err != nil || len(fixed.Steps) == 0 {
			t.Fatalf("%+v %v", fixed, err)
		}
		w.inOrder(0)
		if id, err := w.door().Identity(t.Context(), ""); err != nil || id.Open != nil {
			t.Errorf("%+v %v", id, err)
		}
	})
}

// What another command left open is that command's to finish: a repair of roles would know too little of it.
func TestARepairTakesNothingOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stopAt("verify", errors.New("the plug was pulled"))
		if _, err := w.apply(api.ApplyRequest{}); err == nil {
			t.Fatal("the apply did not stop")
		}
		w.goOn()
		if _, err := w.fix(api.FixRequest{}); !fault.Is(err, fault.Stopped) || !strings.Contains(fault.Hint(err), "leastkey apply") {
			t.Errorf("%v", err)
		}
		w.provision()
		w.inOrder(0)
	})
}

func TestAnIdentityIsToldAsRecordedAndAsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		rep := w.provision()
		id, err := w.door().Identity(t.Context(), "")
		if err != nil || !id.Configured || !id.Found || !id.Enabled || id.Unread != "" || id.AppID != rep.ApplicationID || id.PrincipalID != rep.PrincipalID ||
			id.PrincipalType != "ServicePrincipal" || id.DisplayName != bot || id.Expires.IsZero() || id.Renewal.IsZero() || id.Key == "" || id.LegacySecret {
			t.Errorf("%+v %v", id, err)
		}
		// Nobody who could look: what is recorded is told, and no more is claimed.
		w.hooks.Transport = func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				if strings.Contains(r.URL.Path, "/applications/") {
					return nil, errors.New("the line is cut")
				}
				return next.RoundTrip(r)
			})
		}
		id, err = w.door().Identity(t.Context(), bot)
		if err != nil || id.Found || id.Unread == "" || !id.Configured || id.AppID != rep.ApplicationID {
			t.Errorf("%+v %v", id, err)
		}
		w.hooks.Transport = nil
		w.call(http.MethodPatch, "/v1.0/servicePrincipals/"+rep.PrincipalID, map[string]any{"accountEnabled": false}, nil)
		if id, err = w.door().Identity(t.Context(), bot); err != nil || !id.Found || id.Enabled {
			t.Errorf("%+v %v", id, err)
		}
		w.call(http.MethodDelete, "/v1.0/applications/"+rep.ObjectID, nil, nil)
		if id, err = w.door().Identity(t.Context(), bot); err != nil || id.Found || id.Unread != "" {
			t.Errorf("%+v %v", id, err)
		}
		if _, err := w.door().Identity(t.Context(), "somebody"); !fault.Is(err, fault.Usage) {
			t.Errorf("%v", err)
		}
	})
}
