package state

import (
	"database/sql"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(filepath.Join(t.TempDir(), "x.db"))+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	s, err := New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), db); err != nil {
		t.Fatalf("a second New: %v", err)
	}
	return s
}

func example() agent.Record {
	return agent.Record{
		Agent: "polyclaw-runtime", Kind: agent.ServicePrincipal, UniqueName: "leastkey-0a", ApplicationID: "obj", AppID: "app", PrincipalID: "sp",
		Generations: []agent.Generation{{ID: "g1", Ref: secret.Ref{Backend: "age", Store: "/k e/y", Name: "t/a#g1"}, DER: []byte{0x30, 0}, SHA256: "ab",
			NotBefore: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), NotAfter: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), Active: true}},
		Assignments: []agent.Assigned{{Grant: role.Grant{Role: "Reader", RoleID: "r", Scope: "/subscriptions/s"}, Name: "n", Ours: true}},
	}
}

func TestRecordsAreKeptWhole(t *testing.T) {
	s := newStore(t)
	ctx := t.Context()
	if got, err := s.Agent(ctx, "nobody"); err != nil || !reflect.DeepEqual(got, agent.Record{Agent: "nobody"}) {
		t.Fatalf("%+v %v", got, err)
	}
	want := example()
	if err := s.Save(ctx, want); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(ctx, agent.Record{Agent: "a"}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Agent(ctx, want.Agent); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v %v", got, err)
	}
	if err := s.Update(ctx, want.Agent, func(r *agent.Record) error { r.EnvFile = "/x/.env"; return nil }); err != nil {
		t.Fatal(err)
	}
	want.EnvFile = "/x/.env"
	if all, err := s.Agents(ctx); err != nil || !reflect.DeepEqual(all, []agent.Record{{Agent: "a"}, want}) {
		t.Fatalf("%+v %v", all, err)
	}
	for range 2 {
		if err := s.Delete(ctx, want.Agent); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := s.Agents(ctx); err != nil || len(all) != 1 {
		t.Fatalf("%+v %v", all, err)
	}
}

func TestUpdateThatFailsWritesNothing(t *testing.T) {
	s := newStore(t)
	if err := s.Save(t.Context(), example()); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	for name, change := range map[string]func(*agent.Record) error{
		"its own error":  func(r *agent.Record) error { r.AppID = "other"; return boom },
		"another's name": func(r *agent.Record) error { r.AppID, r.Agent = "other", "x"; return nil },
	} {
		err := s.Update(t.Context(), example().Agent, change)
		if err == nil || (name == "its own error" && err != boom) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := s.Agent(t.Context(), example().Agent); err != nil || got.AppID != "app" {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	if err := s.Save(t.Context(), agent.Record{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a record without a name: %v", err)
	}
}

func TestRecordThatDoesNotReadIsNeverOverwritten(t *testing.T) {
	for name, text := range map[string]string{
		"cut off":                        `{"agent":"polyclaw-runtime","kin`,
		"of a later version":             `{"agent":"polyclaw-runtime","new_field":1}`,
		"of another agent":               `{"agent":"other"}`,
		"followed by something":          `{"agent":"polyclaw-runtime"}{}`,
		"with a reference of other kind": `{"agent":"polyclaw-runtime","generations":[{"ref":"https://pin@x?y"}]}`,
		"empty":                          ``,
	} {
		t.Run(name, func(t *testing.T) {
			s, ctx := newStore(t), t.Context()
			if _, err := s.db.ExecContext(ctx, `INSERT INTO agents (name, record, updated) VALUES ($1, $2, 'now')`, "polyclaw-runtime", text); err != nil {
				t.Fatal(err)
			}
			_, byName := s.Agent(ctx, "polyclaw-runtime")
			_, listed := s.Agents(ctx)
			for what, err := range map[string]error{
				"Agent": byName, "Agents": listed, "Save": s.Save(ctx, example()), "Delete": s.Delete(ctx, "polyclaw-runtime"),
				"Update": s.Update(ctx, "polyclaw-runtime", func(*agent.Record) error { t.Error("it was shown"); return nil }),
			} {
				if !fault.Is(err, fault.Corrupt) || !strings.Contains(err.Error(), "polyclaw-runtime") {
					t.Errorf("%s: %v", what, err)
				}
			}
			var now string
			if err := s.db.QueryRowContext(ctx, `SELECT record FROM agents`).Scan(&now); err != nil || now != text {
				t.Errorf("it is now %q (%v)", now, err)
			}
		})
	}
}

func TestMeta(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	if _, ok, err := s.Meta(ctx, "instance"); ok || err != nil {
		t.Fatal(ok, err)
	}
	for _, v := range []string{"one", ""} {
		if err := s.SetMeta(ctx, "instance", v); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := s.Meta(ctx, "instance"); got != v || !ok || err != nil {
			t.Fatal(got, ok, err)
		}
	}
}

func TestClosedDatabaseIsNotAnAbsentRecord(t *testing.T) {
	s := newStore(t)
	_ = s.db.Close()
	if _, err := s.Agent(t.Context(), "x"); err == nil {
		t.Fatal("an absent record")
	}
	if _, _, err := s.Meta(t.Context(), "x"); err == nil {
		t.Fatal("an absent value")
	}
}
