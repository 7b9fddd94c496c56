package arm

import (
	"path/filepath"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func TestEverythingIsThereAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cloud.jsonl")
	f := newFixture(t)
	f.as(owner, "PUT", identity, object{"location": place}).want(t, 201, "")
	f.as(owner, "PUT", rg+assignments+"/"+absent, assignment(botRole, agent, "")).want(t, 201, "")
	before := f.as(owner, "GET", vaultID, nil).raw
	if err := f.store.Persist(path); err != nil {
		t.Fatal(err)
	}
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}

	f.store = replica.New(replica.Options{})
	f.env.Dir = directory.New(f.store, f.env.Dir.Tenant)
	f.Service = New(f.env)
	if err := f.store.Persist(path); err != nil {
		t.Fatal(err)
	}
	defer f.store.Close()
	if after := f.as(owner, "GET", vaultID, nil).want(t, 200, "").raw; after != before {
		t.Errorf("the vault was %s and is %s", before, after)
	}
	f.as(owner, "GET", identity, nil).want(t, 200, "")
	f.as(owner, "PUT", rg+assignments+"/"+nobody, assignment(botRole, agent, "")).want(t, 409, "RoleAssignmentExists")
	f.as(reader, "GET", rg, nil).want(t, 200, "")
}
