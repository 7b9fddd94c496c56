package cloudview_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
)

const bot = "polyclaw-runtime"

// A check that finds nothing wrong proves nothing until it has found something: each row does one thing that must not be.
func TestTheChecksComplain(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(call func(method, path string, body any), app cloudview.App, sp cloudview.Principal, a cloudview.Assignment)
		want   string // part of a complaint; "" for none
	}{
		"nothing": {func(func(string, string, any), cloudview.App, cloudview.Principal, cloudview.Assignment) {}, ""},
		"a second application": {func(call func(string, string, any), _ cloudview.App, _ cloudview.Principal, _ cloudview.Assignment) {
			call("POST", "/v1.0/applications", map[string]any{"displayName": bot})
		}, "2 applications, want 1"},
		"no certificate": {func(call func(string, string, any), a cloudview.App, _ cloudview.Principal, _ cloudview.Assignment) {
			call("PATCH", "/v1.0/applications/"+a.ID, map[string]any{"keyCredentials": []any{}})
		}, "0 certificates"},
		"a password": {func(call func(string, string, any), a cloudview.App, _ cloudview.Principal, _ cloudview.Assignment) {
			call("POST", "/v1.0/applications/"+a.ID+"/addPassword", map[string]any{})
		}, "1 passwords"},
		"a password of the service principal": {func(call func(string, string, any), _ cloudview.App, p cloudview.Principal, _ cloudview.Assignment) {
			call("POST", "/v1.0/servicePrincipals/"+p.ID+"/addPassword", map[string]any{})
		}, "1 passwords"},
		"another audience": {func(call func(string, string, any), a cloudview.App, _ cloudview.Principal, _ cloudview.Assignment) {
			call("PATCH", "/v1.0/applications/"+a.ID, map[string]any{"signInAudience": "AzureADMultipleOrgs"})
		}, "audience AzureADMultipleOrgs"},
		"a disabled service principal": {func(call func(string, string, any), _ cloudview.App, p cloudview.Principal, _ cloudview.Assignment) {
			call("PATCH", "/v1.0/servicePrincipals/"+p.ID, map[string]any{"accountEnabled": false})
		}, "enabled false"},
		"no service principal": {func(call func(string, string, any), _ cloudview.App, p cloudview.Principal, _ cloudview.Assignment) {
			call("DELETE", "/v1.0/servicePrincipals/"+p.ID, nil)
		}, "no service principal"},
		"an assignment less": {func(call func(string, string, any), _ cloudview.App, _ cloudview.Principal, a cloudview.Assignment) {
			call("DELETE", a.Scope+"/providers/Microsoft.Authorization/roleAssignments/"+a.Name+"?api-version=2022-04-01", nil)
		}, "is there 0 times"},
		"an assignment more": {func(call func(string, string, any), _ cloudview.App, p cloudview.Principal, a cloudview.Assignment) {
			sub := strings.Join(strings.Split(a.Scope, "/")[:3], "/")
			call("PUT", sub+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-00000000abcd?api-version=2022-04-01",
				map[string]any{"properties": map[string]any{"roleDefinitionId": sub + "/providers/Microsoft.Authorization/roleDefinitions/" + a.RoleID, "principalId": p.ID, "principalType": "ServicePrincipal"}})
		}, "was not planned"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				view, want := provisioned(t)
				n, err := view.Named(t.Context(), bot)
				if err != nil || len(n.Apps) != 1 || len(n.Principals) != 1 {
					t.Fatalf("%+v %v", n, err)
				}
				held, err := view.Assignments(t.Context(), n.Principals[0].ID)
				if err != nil || len(held) == 0 {
					t.Fatalf("%v %v", held, err)
				}
				c.meddle(func(method, path string, body any) {
					if _, err := view.Call(t.Context(), method, path, body, nil); err != nil {
						t.Fatal(err)
					}
				}, n.Apps[0], n.Principals[0], held[0])
				bad, err := view.Provisioned(t.Context(), want)
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(bad, "; "); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
					t.Errorf("complaints %q, want %q", got, c.want)
				}
				left, err := view.Revoked(t.Context(), bot, n.Principals[0].ID, true)
				if err != nil || len(left) == 0 {
					t.Errorf("what is there counts as revoked: %v %v", left, err)
				}
			})
		})
	}
}

// provisioned is a cloud on which the product has done its main job.
func provisioned(t *testing.T) (*cloudview.Cloud, cloudview.Want) {
	cloud, err := localcloud.New(localcloud.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	spec := app.LocalSpec(cloud.Domain(), cloud.SubscriptionID())
	a := &app.App{Getenv: func(string) string { return "" }}
	d, err := a.InProcess(t.Context(), cloud, t.TempDir(), spec, "local:admin")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Apply(t.Context(), api.ApplyRequest{}, nil); err != nil {
		t.Fatal(err)
	}
	want := cloudview.Want{Agent: bot, Grants: map[string]bool{}}
	for _, g := range spec.Grants(spec.Agents[bot], role.Builtin()) {
		want.Grants[g.Key()] = true
	}
	e := cloud.Endpoints()
	view := &cloudview.Cloud{Login: e.Login, Graph: e.Graph, ARM: e.ARM, Tenant: cloud.TenantID(), Subscription: cloud.SubscriptionID(), HTTP: &http.Client{Transport: cloud.Transport()}}
	for _, o := range cloud.Operators() {
		if o.Name == "admin" {
			view.User, view.Password = o.UPN, o.Password.Reveal()
		}
	}
	return view, want
}
