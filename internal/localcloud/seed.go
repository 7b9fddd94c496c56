package localcloud

import (
	"fmt"
	"strconv"

	"github.com/leastkey/leastkey/internal/localcloud/graph"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// vaultNames are the vaults of the seed, which have an endpoint whether they are there or not. Those that somebody makes beside them have
// one while they are.
func vaultNames() []string { return []string{DefaultVault, LegacyVault} }

// seed fills an empty world: the tenant with Microsoft's own applications, the operators, and a subscription of the shape that an
// agent's deployment has.
func (c *Cloud) seed(w *world) error {
	return w.store.Write(func(tx replica.Tx) error {
		graph.SeedTenant(tx, w.dir, w.env.NewID)
		grants := c.seedOperators(w, tx)
		for i, id := range c.Subscriptions() {
			name := "Contoso Development"
			if i > 0 {
				name += " " + strconv.Itoa(i+1)
			}
			w.rbac.AddSubscription(tx, id, name)
		}
		if !c.cfg.Empty {
			if err := c.seedResources(w, tx); err != nil {
				return err
			}
		}
		return c.seedRoles(w, tx, grants)
	})
}

// Subscriptions are the ids of the subscriptions that the cloud begins with, SubscriptionID first.
func (c *Cloud) Subscriptions() []string {
	all := []string{c.cfg.SubscriptionID}
	for i := range c.cfg.Further {
		all = append(all, fmt.Sprintf("1ea57ce1-0000-4000-8001-%012d", i+1))
	}
	return all
}

func (c *Cloud) seedRoles(w *world, tx replica.Tx, grants []granted) error {
	for _, to := range grants {
		for _, g := range to.roles {
			var scopes []string
			switch {
			case !g.atGroup:
				for _, id := range c.Subscriptions() {
					scopes = append(scopes, "/subscriptions/"+id)
				}
			case !c.cfg.Empty:
				scopes = []string{"/subscriptions/" + c.cfg.SubscriptionID + "/resourceGroups/" + DefaultGroup}
			}
			for _, scope := range scopes {
				if _, err := w.rbac.Assign(tx, scope, g.role, to.principal, to.kind); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// resource is a resource of the seed, in the form that its provider answers with.
type resource struct {
	group, kind, name string
	body              map[string]any
}

func (c *Cloud) seedResources(w *world, tx replica.Tx) error {
	sub := "/subscriptions/" + c.cfg.SubscriptionID
	w.rbac.AddGroup(tx, c.cfg.SubscriptionID, DefaultGroup, DefaultLocation)
	w.rbac.AddGroup(tx, c.cfg.SubscriptionID, LegacyGroup, DefaultLocation)
	for _, r := range c.resources(sub) {
		if r.body["location"] == nil {
			r.body["location"] = DefaultLocation
		}
		if _, err := w.rbac.AddResource(tx, sub+"/resourceGroups/"+r.group+"/providers/"+r.kind+"/"+r.name, r.body); err != nil {
			return err
		}
	}
	return nil
}

// resources is what the seed's agent runs on (Microsoft's REST references of each provider, versions of 2024 and 2025).
func (c *Cloud) resources(sub string) []resource {
	type object = map[string]any
	environment := sub + "/resourceGroups/" + DefaultGroup + "/providers/Microsoft.App/managedEnvironments/polyclaw-env"
	return []resource{
		{DefaultGroup, "Microsoft.KeyVault/vaults", DefaultVault, c.vaultBody(true)},
		{LegacyGroup, "Microsoft.KeyVault/vaults", LegacyVault, c.vaultBody(false)},
		{DefaultGroup, "Microsoft.App/managedEnvironments", "polyclaw-env", object{
			"properties": object{"provisioningState": "Succeeded", "defaultDomain": "polyclaw-env.eastus.azurecontainerapps.io", "zoneRedundant": false},
		}},
		{DefaultGroup, "Microsoft.App/sessionPools", "polyclaw-pool", object{
			"properties": object{
				"provisioningState": "Succeeded", "environmentId": environment, "containerType": "PythonLTS", "poolManagementType": "Dynamic",
				"scaleConfiguration":          object{"maxConcurrentSessions": 20, "readySessionInstances": 0},
				"dynamicPoolConfiguration":    object{"lifecycleConfiguration": object{"lifecycleType": "Timed", "cooldownPeriodInSeconds": 300}},
				"sessionNetworkConfiguration": object{"status": "EgressDisabled"},
				"poolManagementEndpoint":      "https://eastus.dynamicsessions.io" + sub + "/resourceGroups/" + DefaultGroup + "/sessionPools/polyclaw-pool",
			},
		}},
		{DefaultGroup, "Microsoft.CognitiveServices/accounts", "polyclaw-safety", object{
			"kind": "ContentSafety", "sku": object{"name": "S0"},
			"properties": object{
				"provisioningState": "Succeeded", "endpoint": "https://polyclaw-safety.cognitiveservices.azure.com/",
				"customSubDomainName": "polyclaw-safety", "disableLocalAuth": true, "publicNetworkAccess": "Enabled",
			},
		}},
		{DefaultGroup, "Microsoft.BotService/botServices", "polyclaw-bot", object{
			"location": "global", "kind": "azurebot", "sku": object{"name": "F0"},
			"properties": object{
				"displayName": "Polyclaw", "msaAppType": "SingleTenant", "msaAppTenantId": c.cfg.TenantID, "provisioningState": "Succeeded",
				"endpoint": "https://polyclaw.example/api/messages", "disableLocalAuth": true,
			},
		}},
		{DefaultGroup, "Microsoft.ContainerRegistry/registries", "polyclawacr", object{
			"sku":        object{"name": "Basic", "tier": "Basic"},
			"properties": object{"loginServer": "polyclawacr.azurecr.io", "provisioningState": "Succeeded", "adminUserEnabled": false},
		}},
	}
}

// vaultBody is a vault that trusts roles, or its own access policies.
func (c *Cloud) vaultBody(rbac bool) map[string]any {
	return map[string]any{"properties": map[string]any{
		"tenantId": c.cfg.TenantID, "sku": map[string]any{"family": "A", "name": "standard"}, "accessPolicies": []any{},
		"enableRbacAuthorization": rbac, "enableSoftDelete": true, "softDeleteRetentionInDays": 90,
		"publicNetworkAccess": "Enabled", "provisioningState": "Succeeded",
	}}
}
