package arm

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func TestMatches(t *testing.T) {
	for _, row := range []struct {
		name, pattern, operation string
		want                     bool
	}{
		{"an operation is itself", "a/b/read", "a/b/read", true},
		{"an operation is not its beginning", "a/b", "a/b/read", false},
		{"a star is everything", "*", "a/b/read", true},
		{"a star spans slashes", "*/read", "a/b/c/read", true},
		{"a star in front needs the end", "*/read", "a/b/write", false},
		{"a star in the middle spans slashes", "a/*/read", "a/b/c/read", true},
		{"a star between slashes may be nothing at all", "a/*/read", "a/read", true},
		{"a star between slashes is no part of a word", "a/*/read", "ab/read", false},
		{"a star at the end needs its slash", "a/*", "a", false},
		{"two stars take turns", "a/*/b/*", "a/x/b/y", true},
		{"text is not used twice", "ab*ba", "aba", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := matches(row.pattern, row.operation); got != row.want {
				t.Errorf("matches(%q, %q) = %v", row.pattern, row.operation, got)
			}
		})
	}
}

func TestAllowed(t *testing.T) {
	f := newFixture(t)
	f.write(func(tx replica.Tx) {
		f.assign(tx, "/", "Tag Contributor", agent, "ServicePrincipal")
		f.assign(tx, vaultID, "Key Vault Secrets User", team, "Group")
		f.assign(tx, "/providers/Microsoft.Management/managementGroups/"+tenantID, "AcrPull", agent, "ServicePrincipal")
		f.assign(tx, sub, "Contributor", agent, "ServicePrincipal")
		a := f.assign(tx, rg, "Owner", nobody, "User")
		a.Condition, a.ConditionVersion = "Exists @Request[a:b]", "2.0"
		f.assignments.Put(tx, strings.ToLower(a.Name), a)
	})
	for _, row := range []struct {
		name, who, scope, operation string
		data, want                  bool
	}{
		{"an owner of the subscription acts on a resource in it", owner, botID, "Microsoft.BotService/botServices/write", false, true},
		{"case does not matter", owner, strings.ToUpper(botID), "MICROSOFT.BOTSERVICE/BOTSERVICES/WRITE", false, true},
		{"an owner has no data actions", owner, vaultID + "/secrets/x", "Microsoft.KeyVault/vaults/secrets/getSecret/action", true, false},
		{"a role on one group says nothing of another whose name begins alike", reader, rg + "-2", "Microsoft.Resources/subscriptions/resourceGroups/read", false, false},
		{"a role does not reach upward", reader, sub, "Microsoft.Resources/subscriptions/read", false, false},
		{"a role reaches through nested groups", reader, vaultID + "/secrets/x", "Microsoft.KeyVault/vaults/secrets/getSecret/action", true, true},
		{"who is in neither group has nothing of it", nobody, vaultID, "Microsoft.KeyVault/vaults/secrets/getSecret/action", true, false},
		{"a role on the vault does not reach its neighbour", reader, botID, "Microsoft.KeyVault/vaults/secrets/getSecret/action", true, false},
		{"notActions take away", agent, rg, "Microsoft.Authorization/roleAssignments/write", false, false},
		{"what notActions do not name stays", agent, rg, "Microsoft.KeyVault/vaults/write", false, true},
		{"a role at the root reaches everywhere", agent, "/subscriptions/" + otherSub, "Microsoft.Resources/tags/write", false, true},
		{"a role at the management group reaches its subscriptions", agent, "/subscriptions/" + otherSub, "Microsoft.ContainerRegistry/registries/pull/read", false, true},
		{"a role at the management group does not reach the root", agent, "/", "Microsoft.ContainerRegistry/registries/pull/read", false, false},
		{"a conditional assignment grants nothing", nobody, rg, "Microsoft.Resources/subscriptions/resourceGroups/read", false, false},
		{"what is no scope is refused", owner, "rg-bots", "Microsoft.Resources/subscriptions/resourceGroups/read", false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			f.store.Primary(func(v replica.View) {
				if got := f.Allowed(v, row.who, row.scope, row.operation, row.data); got != row.want {
					t.Errorf("got %v", got)
				}
			})
		})
	}
}
