package provision_test

import (
	"testing"
	"testing/synctest"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

func TestAdoptRecordsWhatWasApproved(t *testing.T) {
	held := agent.Assignment{ID: group + "/a/1", Name: "1", RoleID: "r", Role: "Reader", Scope: group, PrincipalID: principal}
	for name, c := range map[string]struct {
		change func(*world)
		with   string // the service principal that was approved
		code   fault.Code
		holds  int
	}{
		"as approved":                      {func(*world) {}, principal, "", 1},
		"no service principal yet":         {func(w *world) { w.sp = nil }, "", "", 0},
		"its roles may not be read":        {func(w *world) { w.hook["list assignments"] = always(fault.New(fault.Forbidden, "no", "")) }, principal, "", 0},
		"a replica has not heard of it":    {func(w *world) { w.hook["read principal"] = first(2, notFound()) }, principal, "", 1},
		"its service principal is another": {func(w *world) { w.sp.ID = other }, principal, fault.Conflict, 0},
		"it is another application":        {func(w *world) { w.app.AppID = other }, principal, fault.Conflict, 0},
		"one was made for it meanwhile":    {func(*world) {}, "", fault.Conflict, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.rec, w.assigns = agent.Record{Agent: "bot"}, []agent.Assignment{held}
				c.change(w)
				_, err := w.do(agent.Step{Action: agent.AdoptApplication, With: map[string]string{"application": "$application", "app_id": "$app_id", "principal": c.with}})
				if fault.CodeOf(err) != c.code {
					t.Fatal(err)
				}
				if c.code != "" {
					if w.rec.Provisioned() {
						t.Errorf("recorded %+v", w.rec)
					}
					return
				}
				if !w.rec.Adopted || w.rec.ApplicationID != appObject || w.rec.AppID != appID || w.rec.PrincipalID != c.with || w.rec.CreatedBy != "operator" || len(w.rec.Assignments) != c.holds {
					t.Errorf("recorded %+v", w.rec)
				}
				for _, a := range w.rec.Assignments {
					if a.Ours {
						t.Error("what it held is not ours")
					}
				}
			})
		})
	}
}
