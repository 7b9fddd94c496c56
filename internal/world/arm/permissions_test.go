package arm

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

func TestPermissionsAreTheCallersOwn(t *testing.T) {
	const nested = group + "/providers/Microsoft.CognitiveServices/accounts/safety/projects/p"
	c, m := serve(t,
		reply{status: 200, body: `{"value":[{"actions":["*/read"],"notActions":[]}],"nextLink":"` + base + `/next?page=2"}`},
		ok(`{"value":[{"actions":["*"],"notActions":["Microsoft.Authorization/*/Write"],"dataActions":["d"],"notDataActions":["n"]}]}`),
		ok(`{"value":[]}`),
		ok(`{"value":[]}`),
	)
	got, err := c.Permissions(t.Context(), group)
	if err != nil || len(got) != 2 || got[0].Actions[0] != "*/read" || got[1].NotActions[0] != "Microsoft.Authorization/*/Write" || got[1].DataActions[0] != "d" || got[1].NotDataActions[0] != "n" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, scope := range []string{vault, nested} {
		if got, err := c.Permissions(t.Context(), scope); len(got) != 0 || err != nil {
			t.Errorf("%s: %+v, %v", scope, got, err)
		}
	}
	const list = "/providers/Microsoft.Authorization/permissions?api-version=2022-04-01"
	in := base + strings.Replace(group, "resourceGroups", "resourcegroups", 1)
	m.expect(t, "GET "+in+list, "GET "+base+"/next?page=2",
		"GET "+in+"/providers/Microsoft.KeyVault/vaults/kv-polyclaw"+list,
		"GET "+in+"/providers/Microsoft.CognitiveServices/accounts/safety/projects/p"+list)
}

func TestPermissionsThatCannotBeToldAreNotNone(t *testing.T) {
	for name, c := range map[string]struct {
		reply reply
		code  fault.Code
	}{
		"refused":            {problem(403, "AuthorizationFailed", "does not have authorization to perform action 'Microsoft.Authorization/permissions/read' over scope '"+group+"'"), fault.Forbidden},
		"not there":          {problem(404, "ResourceGroupNotFound", "gone"), fault.NotFound},
		"a proxy's page":     {reply{status: 404, body: "<html>"}, fault.Unknown},
		"an empty entry":     {ok(`{"value":[null]}`), fault.Unknown},
		"an answer of noise": {ok(`<html>`), fault.Unknown},
	} {
		client, _ := serve(t, c.reply)
		if got, err := client.Permissions(t.Context(), group); got != nil || !fault.Is(err, c.code) {
			t.Errorf("%s: %v, %v (%s)", name, got, err, fault.CodeOf(err))
		}
	}
	client, m := serve(t)
	for _, scope := range []string{"", "/", "/subscriptions/" + subscription, group + "/../other", "/providers/Microsoft.Management/managementGroups/m"} {
		if _, err := client.Permissions(t.Context(), scope); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", scope, err)
		}
	}
	m.expect(t)
}
