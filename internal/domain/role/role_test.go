package role_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/role"
)

// verdicts is every role of the catalogue, and whether it lets its holder gain rights that it was not given. A role that is added to the
// catalogue without a line here fails: somebody has to judge it.
func verdicts() map[string]bool {
	const narrow, elevated = false, true
	return map[string]bool{
		"Owner":                     elevated,
		"Contributor":               elevated,
		"User Access Administrator": elevated,
		"Role Based Access Control Administrator": elevated,
		"Access Review Operator Service Role":     elevated, // takes assignments away
		"Azure File Sync Administrator":           elevated, // assigns roles, restricted by a condition that we do not evaluate
		"Reservations Administrator":              elevated,
		"Service Group Contributor":               elevated,
		"Key Vault Contributor":                   elevated, // gives itself an access policy
		"Managed Identity Operator":               elevated, // borrows an identity
		"Managed Identity Contributor":            elevated, // federates one with an issuer of its choice
		"Virtual Machine Contributor":             elevated, // runs commands as the machine's identity

		"Reader":                                         narrow,
		"Azure Bot Service Contributor Role":             narrow,
		"Key Vault Administrator":                        narrow,
		"Key Vault Secrets Officer":                      narrow,
		"Key Vault Secrets User":                         narrow,
		"Key Vault Reader":                               narrow,
		"Key Vault Crypto Officer":                       narrow,
		"Key Vault Crypto User":                          narrow,
		"Key Vault Certificates Officer":                 narrow,
		"Key Vault Certificate User":                     narrow,
		"Azure ContainerApps Session Executor":           narrow,
		"Container Apps SessionPools Reader":             narrow,
		"Container Apps SessionPools Contributor":        narrow,
		"ContainerApp Reader":                            narrow,
		"Container Apps Contributor":                     narrow,
		"Container Apps ManagedEnvironments Contributor": narrow,
		"Cognitive Services User":                        narrow,
		"Cognitive Services Contributor":                 narrow,
		"Cognitive Services OpenAI User":                 narrow,
		"Cognitive Services OpenAI Contributor":          narrow,
		"Azure AI Developer":                             narrow,
		"Foundry User":                                   narrow,
		"Search Index Data Contributor":                  narrow,
		"Search Index Data Reader":                       narrow,
		"Search Service Contributor":                     narrow,
		"AcrPull":                                        narrow,
		"AcrPush":                                        narrow,
		"Storage Account Contributor":                    narrow,
		"Storage Blob Data Contributor":                  narrow,
		"Storage Blob Data Reader":                       narrow,
		"Storage Blob Data Owner":                        narrow,
		"Website Contributor":                            narrow,
		"Log Analytics Contributor":                      narrow,
		"Log Analytics Reader":                           narrow,
		"Monitoring Reader":                              narrow,
		"Monitoring Contributor":                         narrow,
		"Monitoring Metrics Publisher":                   narrow,
		"Resource Policy Contributor":                    narrow,
		"Tag Contributor":                                narrow,
		"Security Admin":                                 narrow,
		"Security Reader":                                narrow,
		"Blueprint Operator":                             narrow,
		"Automation Contributor":                         narrow,
		"Logic App Contributor":                          narrow,
		"Azure Kubernetes Service Contributor Role":      narrow,
		"Azure Kubernetes Service Cluster Admin Role":    narrow,
		"Azure Kubernetes Service Cluster User Role":     narrow,
		"Azure Kubernetes Service RBAC Admin":            narrow,
		"Azure Kubernetes Service RBAC Cluster Admin":    narrow,
		"Azure Event Hubs Data Sender":                   narrow,
		"Azure Event Hubs Data Receiver":                 narrow,
		"Azure Service Bus Data Sender":                  narrow,
		"Azure Service Bus Data Receiver":                narrow,
		"Network Contributor":                            narrow,
		"SQL DB Contributor":                             narrow,
		"Cosmos DB Account Reader Role":                  narrow,
	}
}

func TestElevatedBuiltIn(t *testing.T) {
	want := verdicts()
	for _, d := range role.Builtin() {
		t.Run(d.Name, func(t *testing.T) {
			elevated, listed := want[d.Name]
			if !listed {
				t.Fatal("the role has no verdict here")
			}
			if why := d.Elevated(); (len(why) > 0) != elevated {
				t.Errorf("elevated %v, want %v: %q", len(why) > 0, elevated, why)
			}
		})
		delete(want, d.Name)
	}
	for name := range want {
		t.Errorf("the catalogue lacks %s, or has it twice", name)
	}
}

func TestElevatedCustom(t *testing.T) {
	list := func(s ...string) []string { return s }
	for name, c := range map[string]struct {
		role role.Definition
		want bool
	}{
		"everything":                       {role.Definition{Actions: list("*")}, true},
		"everything, whatever is excluded": {role.Definition{Actions: list("*"), NotActions: list("Microsoft.Authorization/*", "Microsoft.ManagedIdentity/*", "Microsoft.KeyVault/*", "Microsoft.Compute/*", "Microsoft.Resources/*")}, true},
		"every write":                      {role.Definition{Actions: list("*/Write")}, true},
		"every deletion":                   {role.Definition{Actions: list("*/delete")}, true},
		"every action":                     {role.Definition{Actions: list("*/action")}, true},
		"every read":                       {role.Definition{Actions: list("*/read")}, false},
		"all data":                         {role.Definition{DataActions: list("*")}, true},
		"all data of one provider":         {role.Definition{DataActions: list("Microsoft.KeyVault/*")}, false},
		"one narrow write":                 {role.Definition{Actions: list("Microsoft.BotService/botServices/write")}, false},
		"assigning roles":                  {role.Definition{Actions: list("Microsoft.Authorization/roleAssignments/write")}, true},
		"assigning roles, in other case":   {role.Definition{Actions: list("MICROSOFT.AUTHORIZATION/ROLEASSIGNMENTS/WRITE")}, true},
		"assigning roles, by a star across slashes":        {role.Definition{Actions: list("Microsoft.Auth*/write")}, true},
		"assigning roles, by a star at the end":            {role.Definition{Actions: list("Microsoft.Authorization/role*")}, true},
		"assigning roles, taken away again":                {role.Definition{Actions: list("Microsoft.Authorization/roleAssignments/*"), NotActions: list("Microsoft.Authorization/*/write", "microsoft.authorization/*/Delete")}, false},
		"taking roles away is left":                        {role.Definition{Actions: list("Microsoft.Authorization/roleAssignments/*"), NotActions: list("Microsoft.Authorization/roleAssignments/write")}, true},
		"locks, which are authorization too":               {role.Definition{Actions: list("Microsoft.Authorization/locks/*")}, false},
		"defining roles":                                   {role.Definition{Actions: list("Microsoft.Authorization/roleDefinitions/write")}, true},
		"elevating itself":                                 {role.Definition{Actions: list("Microsoft.Authorization/elevateAccess/action")}, true},
		"borrowing an identity, as Microsoft writes it":    {role.Definition{Actions: list("Microsoft.ManagedIdentity/userAssignedIdentities/*/assign/action")}, true},
		"borrowing an identity, as ARM checks it":          {role.Definition{Actions: list("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action")}, true},
		"federating an identity":                           {role.Definition{Actions: list("Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write")}, true},
		"opening a vault":                                  {role.Definition{Actions: list("Microsoft.KeyVault/vaults/write")}, true},
		"opening a vault, by a segment that is not there":  {role.Definition{Actions: list("Microsoft.KeyVault/vaults/*/write")}, true},
		"a vault's policies":                               {role.Definition{Actions: list("Microsoft.KeyVault/vaults/accessPolicies/*")}, true},
		"a vault, of which only a segment is excluded":     {role.Definition{Actions: list("Microsoft.KeyVault/vaults/write"), NotActions: list("Microsoft.KeyVault/vaults/*/write")}, true},
		"running commands on machines":                     {role.Definition{Actions: list("Microsoft.Compute/virtualMachines/*")}, true},
		"running commands, taken away":                     {role.Definition{Actions: list("Microsoft.Compute/virtualMachines/*"), NotActions: list("Microsoft.Compute/virtualMachines/runCommand/*")}, false},
		"deployment scripts":                               {role.Definition{Actions: list("Microsoft.Resources/deploymentScripts/write")}, true},
		"a data action that is spelled like an escalation": {role.Definition{DataActions: list("Microsoft.Authorization/roleAssignments/write")}, false},
		"nothing": {role.Definition{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c.role.Name = "Reader" // a name proves nothing
			if why := c.role.Elevated(); (len(why) > 0) != c.want {
				t.Errorf("elevated %v, want %v: %q", len(why) > 0, c.want, why)
			}
		})
	}
}

func TestMatch(t *testing.T) {
	for name, c := range map[string]struct {
		pattern, operation string
		want               bool
	}{
		"itself":                                   {"a/b/read", "a/b/read", true},
		"itself in other case":                     {"A/b/Read", "a/B/reaD", true},
		"something longer":                         {"a/b", "a/b/read", false},
		"a star spans slashes":                     {"*/read", "a/b/c/read", true},
		"a star may be empty within a segment":     {"a/b*/read", "a/b/read", true},
		"a star in the middle":                     {"a/*/read", "a/b/c/read", true},
		"a segment that is not there":              {"a/*/read", "a/read", true},
		"two segments, the first not there":        {"a/*/b/*/read", "a/b/c/read", true},
		"two segments, the second not there":       {"a/*/b/*/read", "a/c/b/read", true},
		"two segments, neither there":              {"a/*/b/*/read", "a/b/read", true},
		"two stars in a row":                       {"a/*/*/read", "a/read", true},
		"what stands around a segment must match":  {"a/*/read", "b/read", false},
		"a star at the end does not reach above":   {"a/*", "a", false},
		"a star at the begin does not eat a slash": {"*/read", "read", false},
		"parts must not overlap":                   {"ab*ba", "aba", false},
		"the last part is matched from the end":    {"a*/x", "a/x/x", true},
		"an empty pattern covers nothing":          {"", "a", false},
		"many segments cost nothing":               {"a" + strings.Repeat("/*", 500) + "/b", "a" + strings.Repeat("/c", 500), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := role.Match(c.pattern, c.operation); got != c.want {
				t.Errorf("Match(%q, %q) = %v", c.pattern, c.operation, got)
			}
		})
	}
}

// FuzzMatch checks what must hold of every pattern: case does not count, * covers everything, and a pattern covers itself.
func FuzzMatch(f *testing.F) {
	f.Add("a/*/read", "a/b/read")
	f.Add("*/write", "Microsoft.KeyVault/vaults/write")
	f.Fuzz(func(t *testing.T, pattern, operation string) {
		if len(pattern)+len(operation) > 2000 {
			return // its time is their product
		}
		if role.Match(pattern, operation) != role.Match(strings.ToLower(pattern), strings.ToLower(operation)) {
			t.Error("case counts")
		}
		if !role.Match("*", operation) || !role.Match(pattern, pattern) {
			t.Error("* does not cover everything, or a pattern not itself")
		}
	})
}

func TestAllowsData(t *testing.T) {
	d := role.Definition{DataActions: []string{"Microsoft.KeyVault/vaults/secrets/*"}, NotDataActions: []string{"*/delete"}}
	if !d.AllowsData("Microsoft.KeyVault/vaults/secrets/getSecret/action") || d.AllowsData("microsoft.keyvault/vaults/secrets/delete") || d.Allows("Microsoft.KeyVault/vaults/secrets/getSecret/action") {
		t.Error("data actions are not told from actions, or notDataActions do not count")
	}
}

func TestReadsSecrets(t *testing.T) {
	c := role.Builtin()
	for name, want := range map[string]bool{
		"Azure Bot Service Contributor Role": true, "Cognitive Services User": true, "Storage Account Contributor": true, "Contributor": true,
		"Reader": false, "Key Vault Secrets Officer": false, "Azure ContainerApps Session Executor": false, "AcrPull": false,
	} {
		d, ok := c.Find(name)
		if !ok {
			t.Fatalf("no role %s", name)
		}
		if got := d.ReadsSecrets(); (len(got) > 0) != want {
			t.Errorf("%s reads %q, want any: %v", name, got, want)
		}
	}
	excluded := role.Definition{Actions: []string{"Microsoft.Storage/storageAccounts/*"}, NotActions: []string{"*/listKeys/action"}}
	if got := excluded.ReadsSecrets(); len(got) > 0 {
		t.Errorf("an excluded operation is counted: %q", got)
	}
}

func TestFind(t *testing.T) {
	c := role.Builtin()
	for _, word := range []string{"Key Vault Secrets Officer", "key vault secrets officer", "b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "B86A8FE4-44CE-4948-AEE5-ECCB2C155CD7"} {
		if d, ok := c.Find(word); !ok || d.Name != "Key Vault Secrets Officer" || d.ID != "b86a8fe4-44ce-4948-aee5-eccb2c155cd7" {
			t.Errorf("Find(%q) = %q %v", word, d.Name, ok)
		}
	}
	if _, ok := c.Find(""); ok {
		t.Error("the empty name finds a role")
	}
	if got := c.Name("00000000-0000-0000-0000-000000000000"); got != "00000000-0000-0000-0000-000000000000" {
		t.Errorf("an unknown role is called %q", got)
	}
	var ids []string
	for _, d := range c {
		if d.ID != strings.ToLower(d.ID) || slices.Contains(ids, d.ID) {
			t.Errorf("%s: GUID %s is not in lower case, or there twice", d.Name, d.ID)
		}
		ids = append(ids, d.ID)
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"Key Vault Secret Officer":    "Key Vault Secrets Officer",
		"reeder":                      "Reader",
		"READER":                      "Reader",
		"":                            "",
		"nothing like it":             "",
		strings.Repeat("x", 1<<20):    "",
		"Cognitiv Servces User":       "Cognitive Services User",
		"Azure Bot Contributor Role ": "Azure Bot Service Contributor Role",
	} {
		if got := role.Builtin().Nearest(word); got != want {
			t.Errorf("Nearest(%.40q) = %q, want %q", word, got, want)
		}
	}
}

// The name of an assignment never changes, or a retry by a later version would make a second one. The golden value was computed with
// another implementation of RFC 9562: python3 -c "import uuid; print(uuid.uuid5(uuid.UUID(namespace), name))".
func TestAssignmentName(t *testing.T) {
	const (
		scope     = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/polyclaw-rg"
		reader    = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
		principal = "0000000a-0000-0000-0000-00000000000b"
		want      = "8d2cb64e-4751-55dd-95ed-bb37b1521542"
	)
	same := []role.Grant{
		{Role: "Reader", RoleID: reader, Scope: scope},
		{Role: "whatever it is called", RoleID: strings.ToUpper(reader), Scope: strings.ToUpper(scope)},
		{RoleID: reader, Scope: scope + "/"},
	}
	for _, g := range same {
		if got := role.AssignmentName(g, strings.ToUpper(principal)); got != want {
			t.Errorf("AssignmentName(%+v) = %s, want %s", g, got, want)
		}
	}
	seen := map[string]bool{want: true}
	for _, other := range []string{
		role.AssignmentName(role.Grant{RoleID: reader, Scope: scope + "2"}, principal),
		role.AssignmentName(role.Grant{RoleID: strings.Replace(reader, "a", "b", 1), Scope: scope}, principal),
		role.AssignmentName(same[0], strings.Replace(principal, "a", "b", 1)),
	} {
		if seen[other] {
			t.Errorf("another role, scope or principal has the same name %s", other)
		}
		seen[other] = true
	}
}
