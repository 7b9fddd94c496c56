package observe_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/work/observe"
)

const resource = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/bot-mi"

func newManaged(t *testing.T) *world {
	w := newWorld(t)
	w.spec.Agents["bot"].Kind = agent.ManagedIdentity
	w.rec = agent.Record{Agent: "bot", Kind: agent.ManagedIdentity, ResourceID: resource, AppID: "appid", PrincipalID: "sp"}
	w.mi = &agent.UserAssignedIdentity{ID: resource, ClientID: "appid", PrincipalID: "sp"}
	return w
}

func TestAManagedIdentityIsReadSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newManaged(t)
		w.at["/subscriptions/"+sub] = []agent.Assignment{{ID: "1"}}
		began := time.Now()
		o, err := w.look()
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 2*time.Second { // the federated credentials come after the identity
			t.Errorf("it took %v", took)
		}
		if o.Identity == nil || len(o.Identity.Federated) != 1 || o.Principal == nil || len(o.Assignments) != 1 || o.Application != nil || w.count["namesakes"]+w.count["application"] > 0 {
			t.Errorf("%+v, asked %v", o, w.count)
		}
	})
}

// One that is there and not recorded is read whole, for whoever decides about it; one that is not there is believed at once.
func TestAManagedIdentityThatIsNotRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newManaged(t)
		w.rec = agent.Record{Agent: "bot"}
		w.at["/subscriptions/"+sub] = []agent.Assignment{{ID: "1"}}
		if o, err := w.look(); err != nil || o.Identity == nil || len(o.Identity.Federated) != 1 || len(o.Assignments) != 1 || w.count["identity bot-mi"] != 1 {
			t.Errorf("%+v, asked %v: %v", o, w.count, err)
		}
		w.mi = nil
		began := time.Now()
		if o, err := w.look(); err != nil || o.Identity != nil || o.Principal != nil || len(o.Assignments) != 0 || time.Since(began) > 2*time.Second {
			t.Errorf("%+v after %v: %v", o, time.Since(began), err)
		}
	})
}

func TestAManagedIdentityThatWasMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newManaged(t)
		w.mi.PrincipalID = "another"
		if o, err := w.look(); err != nil || o.Identity.PrincipalID != "another" || w.count["assignments /subscriptions/"+sub] != 2 {
			t.Errorf("%+v, asked %v: %v", o, w.count, err)
		}
	})
}

func TestWhatIsUnknownOfAManagedIdentityIsAnError(t *testing.T) {
	for _, op := range []string{"identity bot-mi", "identity federated", "principal", "assignments /subscriptions/" + sub} {
		for _, c := range []fault.Code{fault.Unknown, fault.Forbidden, fault.Unauthenticated, fault.Unavailable, fault.Invalid} {
			synctest.Test(t, func(t *testing.T) {
				w := newManaged(t)
				w.hook[op] = always(fault.Newf(c, "the reason"))
				if c == fault.Forbidden && strings.HasPrefix(op, "assignments") {
					w.hook["assignments "+group] = w.hook[op]
				}
				if o, err := w.look(); err == nil {
					t.Errorf("%s %s: %+v", op, c, o)
				}
			})
		}
	}
}

func TestAbsenceOfARecordedManagedIdentityMustLast(t *testing.T) {
	for name, c := range map[string]struct {
		hook  func(int) error
		there bool
	}{
		"a replica has not heard of it":           {firstly(5, notFound()), true},
		"a replica knows it and another does not": {nil, true},
		"it is gone": {always(notFound()), false},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newManaged(t)
			w.hook["identity bot-mi"] = c.hook
			if c.hook == nil {
				w.hook["identity federated"] = firstly(3, notFound())
			}
			began := time.Now()
			o, err := w.look()
			if err != nil || (o.Identity != nil) != c.there || (!c.there && time.Since(began) < settle) {
				t.Errorf("%s: %+v after %v: %v", name, o.Identity, time.Since(began), err)
			}
		})
	}
}

// What a revocation rests on does not fail because Azure may not be read everywhere.
func TestARevocationReadsTheRecordedManagedIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newManaged(t)
		w.hook["assignments /subscriptions/"+sub] = always(fault.Newf(fault.Forbidden, "x"))
		w.hook["assignments "+group] = always(fault.Newf(fault.Forbidden, "x"))
		w.spec.Agents["bot"].Kind = agent.ServicePrincipal // the record says what it is
		look := &observe.Observer{Graph: w, ARM: w, Keys: w, Roles: role.Builtin(), Settle: settle}
		o, err := look.Identity(w.Context(), w.spec, w.spec.Agents["bot"], w.rec)
		if err != nil || o.Identity == nil || len(o.Unread) == 0 || w.count["application"] > 0 {
			t.Errorf("%+v: %v", o, err)
		}
	})
}
