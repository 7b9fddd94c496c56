package legacy_test

import (
	"net/http"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/testkit/legacy"
)

func TestTheInstallIsAsTheOriginalLeavesIt(t *testing.T) {
	ctx := t.Context()
	cloud, err := localcloud.New(localcloud.Config{RunDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	e := cloud.Endpoints()
	v := &cloudview.Cloud{Login: e.Login, Graph: e.Graph, ARM: e.ARM, Tenant: cloud.TenantID(), Subscription: cloud.SubscriptionID(), HTTP: &http.Client{Transport: cloud.Transport()}}
	for _, o := range cloud.Operators() {
		if o.Name == "admin" {
			v.User, v.Password = o.UPN, o.Password.Reveal()
		}
	}
	in, err := legacy.Install(ctx, v, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bad, err := in.Untouched(ctx, v)
	if err != nil || len(bad) > 0 {
		t.Fatal(bad, err)
	}
	held, err := in.Holding()
	if err != nil || len(held) != 3 {
		t.Errorf("the secret is in %v, %v; wanted are the state file, its copy and the environment file", held, err)
	}
	if len(in.Roles) < 12 {
		t.Errorf("only %d permissions are consented: %v", len(in.Roles), in.Roles)
	}
	// What a migration would have to reach is seen to be missing, all of it.
	bad, err = in.Migrated(ctx, v)
	if err != nil || len(bad) != 11 {
		t.Errorf("before a migration %d things are said to be wrong: %q, %v", len(bad), bad, err)
	}
}
