package preflight

import (
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

const (
	ownerID       = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	contributorID = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	vaultAdmin    = "00482a5a-887f-4fb3-b363-3b7fe8e74483" // Key Vault Administrator
	vaultRead     = "21090545-7ca7-4776-b22c-e363652d74d2" // Key Vault Reader
	customRole    = "33333333-0000-4000-8000-000000000001"
	peopleID      = "44444444-0000-4000-8000-000000000001"

	wholeSub   = "/subscriptions/" + subscription
	botGroup   = wholeSub + "/resourceGroups/polyclaw-rg"
	otherGroup = wholeSub + "/resourceGroups/other-rg"
	botVault   = botGroup + "/providers/Microsoft.KeyVault/vaults/kv-bot"
	otherSub   = "/subscriptions/22222222-0000-4000-8000-000000000002"
	sibling    = "/providers/Microsoft.Management/managementGroups/sibling"
	platform   = "/providers/Microsoft.Management/managementGroups/platform"
)

func managed() string { return probeTypes()[0] }
func vaults() string  { return probeTypes()[1] }

// lost takes a role of the spec away.
func lost(id string) func(*fake) {
	return func(f *fake) {
		f.held = slices.DeleteFunc(f.held, func(a agent.Assignment) bool { return a.RoleID == id })
	}
}

// holding gives the identity a role itself.
func holding(id, scope string) func(*fake) { return given(id, scope, principalID, "") }

func given(id, scope, to, condition string) func(*fake) {
	return func(f *fake) {
		a := assigned(role.Grant{RoleID: id, Scope: scope}, to)
		a.Condition = condition
		f.held = append(f.held, a)
	}
}

// custom gives the identity a role that the catalogue does not know.
func custom(scope string, d role.Definition) func(*fake) {
	return func(f *fake) {
		d.ID = customRole
		f.custom[customRole] = d
		holding(customRole, scope)(f)
	}
}

// blindAt hides the role assignments at a scope from the operator.
func blindAt(scope string) func(*fake) {
	return func(f *fake) { f.blind[strings.ToLower(scope)] = true }
}

// listing makes the spec ask for these roles, and for nothing that comes with a resource.
func listing(roles ...agent.RoleAt) func(*fake) {
	return func(f *fake) {
		f.subject.Agent.Roles = agent.Roles{List: roles}
		f.subject.Agent.KeyVault, f.subject.Agent.SessionPool, f.subject.Agent.ContentSafety = "", "", ""
	}
}

func forgotten(f *fake) { f.subject.Record.Assignments = nil }
func unheld(f *fake)    { f.held = nil }
func inPeople(f *fake)  { f.memberships.Groups = []agent.Group{{ID: peopleID, Name: "Bot people"}} }

// tenantHolds is an assignment that only Azure Resource Graph shows.
func tenantHolds(id, scope, to string) func(*fake) {
	return func(f *fake) { f.tenant = append(f.tenant, assigned(grantOf(id, scope), to)) }
}

func grantOf(id, scope string) role.Grant { return role.Grant{RoleID: id, Scope: scope} }

func byIdentity(f *fake) {
	f.subject.Agent.Kind = agent.ManagedIdentity
}

// ownAt is what the identity is told of itself at a scope.
func ownAt(scope string, entries ...role.Definition) func(*fake) {
	return func(f *fake) { f.own[strings.ToLower(scope)] = entries }
}

func ownErrorAt(scope string, err error) func(*fake) {
	return func(f *fake) { f.ownError[strings.ToLower(scope)] = err }
}

func deleted(kind string, status int) func(*fake) {
	return func(f *fake) { f.deletes[kind] = status }
}

func deleteAnswers(kind string, err error) func(*fake) {
	return func(f *fake) { f.deleteErr[kind] = err }
}

func everything() role.Definition { return role.Definition{Actions: []string{"*"}} }

func rbacWorlds() []world {
	const (
		list = "rbac_assignments_list"
		none = ""
	)
	elevatedGroup := both(given(ownerID, botGroup, peopleID, ""), func(f *fake) { f.memberships.Groups = []agent.Group{{ID: peopleID, Name: "Bot people"}} })
	rows := []world{
		{list, "four roles and one more are listed with the places that were read", finding.Pass, nil, none, "5 role assignments reach the identity, in all of subscription " + subscription},
		{list, "a role that comes by a group is told with the group", finding.Pass, elevatedGroup, none, "through group Bot people (" + peopleID + ")"},
		{list, "a group that the directory does not name is told by its id", finding.Pass, both(elevatedGroup, without("Memberships")), none, "through group " + peopleID},
		{list, "nothing at all is held, and the spec asks for five", finding.Warn, unheld, none, "asks for 5"},
		{list, "nothing is held and nothing is asked for", finding.Pass, both(unheld, forgotten, listing()), none, "0 role assignments"},
		{list, "the list cannot be read", finding.Unknown, without("Assignments"), none, "you may not"},
		{list, "the subscription cannot be read as a whole, so what lies in other groups is not known", finding.Unknown, blindAt(wholeSub), none, "as a whole"},
		{list, "nothing is provisioned", finding.Skip, func(f *fake) { f.subject.Record = agent.Record{Agent: "bot"} }, "identity_configured", ""},
		{list, "the list is not to be understood", finding.Unknown, failing("Assignments", answer(400, "BadRequest")), none, "400 BadRequest"},
		{list, "an application without a service principal is recorded", finding.Skip, func(f *fake) { f.subject.Record.PrincipalID = "" }, "identity_configured", "no service principal"},
		{list, "a recorded place cannot be read", finding.Unknown, both(blindAt(otherSub), blindAt(otherSub+"/resourceGroups/old"), recorded(readerID, otherSub+"/resourceGroups/old", true)), none, "group old"},

		{"rbac_bot_contributor", "it is assigned at the group", finding.Pass, nil, none, "assigned on group polyclaw-rg"},
		{"rbac_bot_contributor", "it was taken away", finding.Fail, lost(botContributorID), none, "missing on group polyclaw-rg"},
		{"rbac_bot_contributor", "it is assigned at another group", finding.Fail, both(lost(botContributorID), holding(botContributorID, otherGroup)), none, "does not reach that far"},
		{"rbac_bot_contributor", "the list cannot be read", finding.Skip, without("Assignments"), list, ""},
		{"rbac_bot_contributor", "the spec asks for other roles only", finding.Skip, listing(agent.RoleAt{Role: "Reader", Scope: botGroup}), none, "does not ask"},
		{"rbac_bot_contributor", "the subscription cannot be read as a whole, but the group can", finding.Pass, blindAt(wholeSub), none, ""},

		{"rbac_reader", "it is assigned at the group", finding.Pass, nil, none, ""},
		{"rbac_reader", "it comes from the subscription", finding.Pass, both(lost(readerID), holding(readerID, wholeSub)), none, "inherited from subscription"},
		{"rbac_reader", "it comes by a group of people", finding.Pass, both(lost(readerID), given(readerID, botGroup, peopleID, "")), none, "through group"},
		{"rbac_reader", "it was taken away", finding.Fail, lost(readerID), none, ""},
		{"rbac_reader", "it is narrowed by a condition", finding.Fail, both(lost(readerID), given(readerID, botGroup, principalID, "(1 == 2)")), none, "only under a condition"},
		{"rbac_reader", "another role calls itself Reader", finding.Fail, both(lost(readerID), custom(botGroup, role.Definition{Name: "Reader", Actions: []string{"*/read"}})), none, ""},
		{"rbac_reader", "the list cannot be read", finding.Skip, without("Assignments"), list, ""},

		{"rbac_kv_access", "Secrets Officer is assigned at the vault", finding.Pass, nil, none, "assigned on vaults kv-bot"},
		{"rbac_kv_access", "it was taken away", finding.Fail, lost(secretsOfficerID), none, ""},
		{"rbac_kv_access", "Key Vault Administrator has the words in its name and is not it", finding.Fail, both(lost(secretsOfficerID), holding(vaultAdmin, botVault), holding(vaultRead, botVault)), none, ""},
		{"rbac_kv_access", "Secrets User is not Secrets Officer", finding.Fail, both(lost(secretsOfficerID), holding(secretsUserID, botVault)), none, ""},
		{"rbac_kv_access", "Secrets User is what the spec lists", finding.Pass, both(listing(agent.RoleAt{Role: "Key Vault Secrets User", Scope: botVault}), holding(secretsUserID, botVault)), none, "Secrets User"},
		{"rbac_kv_access", "the list cannot be read", finding.Skip, without("Assignments"), list, ""},
		{"rbac_kv_access", "there is no vault", finding.Skip, func(f *fake) { f.subject.Agent.KeyVault = "" }, none, "no role on a key vault"},

		{"rbac_session_pool", "the executor role is assigned at the pool", finding.Pass, nil, none, ""},
		{"rbac_session_pool", "it was taken away", finding.Fail, lost(sessionExecutorID), none, ""},
		{"rbac_session_pool", "another role has the word session in its name", finding.Fail, both(lost(sessionExecutorID), custom(botGroup, role.Definition{Name: "Session reader", Actions: []string{"Microsoft.App/sessionPools/read"}})), none, ""},
		{"rbac_session_pool", "the list cannot be read", finding.Skip, without("Assignments"), list, ""},
		{"rbac_session_pool", "there is no pool", finding.Skip, func(f *fake) { f.subject.Agent.SessionPool = "" }, none, "no session pool"},

		{"rbac_content_safety", "Cognitive Services User is assigned at the account", finding.Pass, nil, none, ""},
		{"rbac_content_safety", "it was taken away", finding.Fail, lost(cognitiveUserID), none, ""},
		{"rbac_content_safety", "the list cannot be read", finding.Skip, without("Assignments"), list, ""},

		{"rbac_aoai_user", "no set asks for it", finding.Skip, nil, none, "does not ask"},
		{"rbac_aoai_user", "the spec lists it and it is there", finding.Pass, both(listing(agent.RoleAt{Role: openAIUserID, Scope: botGroup}), holding(openAIUserID, botGroup)), none, ""},
		{"rbac_aoai_user", "the spec lists it and it is not there", finding.Fail, listing(agent.RoleAt{Role: openAIUserID, Scope: botGroup}), none, ""},
		{"rbac_aoai_user", "the list cannot be read", finding.Skip, both(listing(agent.RoleAt{Role: openAIUserID, Scope: botGroup}), without("Assignments")), list, ""},

		{"rbac_required_roles", "the set has no other role", finding.Skip, nil, none, "no other role"},
		{"rbac_required_roles", "the spec lists a role without a check of its own", finding.Pass, both(listing(agent.RoleAt{Role: vaultRead, Scope: botVault}), holding(vaultRead, botVault)), none, "Key Vault Reader"},
		{"rbac_required_roles", "one of two is missing", finding.Fail, both(listing(agent.RoleAt{Role: vaultRead, Scope: botVault}, agent.RoleAt{Role: "AcrPull", Scope: botGroup}), holding(vaultRead, botVault)), none, "AcrPull"},
		{"rbac_required_roles", "the list cannot be read", finding.Skip, both(listing(agent.RoleAt{Role: vaultRead, Scope: botVault}), without("Assignments")), list, ""},
		{"rbac_required_roles", "a management group brings it to one of two subscriptions that were read", finding.Skip,
			both(listing(agent.RoleAt{Role: vaultRead, Scope: botVault}, agent.RoleAt{Role: "Reader", Scope: otherSub + "/resourceGroups/g"}), holding(vaultRead, platform)), list, "cannot be told"},

		{"rbac_no_elevated", "no role of the set is elevated", finding.Pass, nil, none, "none of 5"},
		{"rbac_no_elevated", "Owner at the group", finding.Fail, holding(ownerID, botGroup), none, "Owner on group polyclaw-rg (" + botGroup + "/providers/Microsoft.Authorization/roleAssignments/"},
		{"rbac_no_elevated", "Owner by a group of people", finding.Fail, elevatedGroup, none, "through group Bot people"},
		{"rbac_no_elevated", "Owner from a management group", finding.Fail, holding(ownerID, platform), none, "management group platform"},
		{"rbac_no_elevated", "a harmless name over *", finding.Fail, custom(botGroup, role.Definition{Name: "Harmless reader", Actions: []string{"*"}}), none, "Harmless reader on group polyclaw-rg"},
		{"rbac_no_elevated", "a custom role that may grant roles", finding.Fail, custom(botGroup, role.Definition{Name: "Helper", Actions: []string{"Microsoft.Authorization/*"}}), none, "roleAssignments/write"},
		{"rbac_no_elevated", "a condition does not excuse it", finding.Fail, given(ownerID, botGroup, principalID, "(1 == 2)"), none, "under a condition"},
		{"rbac_no_elevated", "a custom role that only reads", finding.Pass, custom(botGroup, role.Definition{Name: "Looker", Actions: []string{"*/read"}}), none, "none of 6"},
		{"rbac_no_elevated", "a custom role that cannot be read", finding.Unknown, both(custom(botGroup, everything()), without("RoleDefinition")), none, "role " + customRole},
		{"rbac_no_elevated", "a custom role that Azure says is not there", finding.Unknown, holding(customRole, botGroup), none, "no role " + customRole},
		{"rbac_no_elevated", "Owner beside a custom role that cannot be read", finding.Fail, both(holding(ownerID, botGroup), custom(botGroup, everything()), without("RoleDefinition")), none, "moreover"},
		{"rbac_no_elevated", "the list cannot be read", finding.Skip, without("Assignments"), list, ""},
		{"rbac_no_elevated", "what other groups hold cannot be read", finding.Skip, blindAt(wholeSub), list, ""},
		{"rbac_no_elevated", "Owner, though not everything could be read", finding.Fail, both(holding(ownerID, botGroup), blindAt(wholeSub)), none, "Owner"},

		{"rbac_reads_secrets", "two roles of the set hand out keys", finding.Warn, nil, none, "Cognitive Services User on accounts safety allows Microsoft.CognitiveServices/accounts/listkeys/action"},
		{"rbac_reads_secrets", "Reader alone does not", finding.Pass, both(lost(botContributorID), lost(cognitiveUserID)), none, "none of 3"},
		{"rbac_reads_secrets", "a custom role does", finding.Warn, both(lost(botContributorID), lost(cognitiveUserID), custom(botGroup, role.Definition{Name: "Keys", Actions: []string{"Microsoft.Storage/storageAccounts/listKeys/action"}})), none, "Keys on group"},
		{"rbac_reads_secrets", "a custom role that cannot be read", finding.Skip, both(lost(botContributorID), lost(cognitiveUserID), custom(botGroup, everything()), without("RoleDefinition")), "rbac_no_elevated", ""},
		{"rbac_reads_secrets", "the list cannot be read", finding.Skip, without("Assignments"), list, ""},

		{"rbac_scope_contained", "all lie in the spec's group", finding.Pass, nil, none, "all 5"},
		{"rbac_scope_contained", "Reader on the subscription", finding.Fail, holding(readerID, wholeSub), none, "Reader on subscription"},
		{"rbac_scope_contained", "Reader on a management group", finding.Fail, holding(readerID, platform), none, "management group platform"},
		{"rbac_scope_contained", "Reader on the whole tenant", finding.Fail, holding(readerID, "/"), none, "the whole tenant"},
		{"rbac_scope_contained", "Reader on another group", finding.Fail, holding(readerID, otherGroup), none, "group other-rg"},
		{"rbac_scope_contained", "Reader on a group whose name begins like the spec's", finding.Fail, holding(readerID, botGroup+"2"), none, "polyclaw-rg2"},
		{"rbac_scope_contained", "Reader on the group by people, where the spec has only the vault", finding.Fail, both(listing(agent.RoleAt{Role: "Key Vault Secrets User", Scope: botVault}), unheld, given(readerID, botGroup, peopleID, "")), none, "outside vaults kv-bot"},
		{"rbac_scope_contained", "nothing is held, which is no pass", finding.Skip, unheld, none, "no role assignment"},
		{"rbac_scope_contained", "the list cannot be read", finding.Skip, without("Assignments"), list, ""},
		{"rbac_scope_contained", "other groups cannot be read", finding.Skip, blindAt(wholeSub), list, ""},

		{"rbac_unplanned", "all are the spec's", finding.Pass, nil, none, "all 5"},
		{"rbac_unplanned", "another role on the vault", finding.Fail, holding(vaultRead, botVault), none, "Key Vault Reader on vaults kv-bot"},
		{"rbac_unplanned", "a role of the spec at another scope", finding.Fail, holding(readerID, botVault), none, "Reader on vaults kv-bot"},
		{"rbac_unplanned", "a recorded one is known, whoever made it", finding.Pass, both(holding(vaultRead, botVault), recorded(vaultRead, botVault, false)), none, ""},
		{"rbac_unplanned", "a recorded one is not a group's of the same role and scope", finding.Fail, both(given(vaultRead, botVault, peopleID, ""), recorded(vaultRead, botVault, true)), none, "through group"},
		{"rbac_unplanned", "the list cannot be read", finding.Skip, without("Assignments"), list, ""},
		{"rbac_unplanned", "other groups cannot be read", finding.Skip, blindAt(wholeSub), list, ""},

		{"rbac_stale", "nothing is recorded beyond the spec", finding.Pass, nil, none, ""},
		{"rbac_stale", "ours, which the spec has dropped", finding.Warn, both(holding(vaultRead, otherGroup), recorded(vaultRead, otherGroup, true)), none, "Key Vault Reader on group other-rg"},
		{"rbac_stale", "found there, and not of the spec", finding.Warn, both(holding(vaultRead, otherGroup), recorded(vaultRead, otherGroup, false)), none, "not made by leastkey"},
		{"rbac_stale", "recorded and gone", finding.Pass, recorded(vaultRead, otherGroup, true), none, ""},
		{"rbac_stale", "recorded where nobody can look", finding.Skip, both(blindAt(otherSub), blindAt(otherSub+"/resourceGroups/old"), recorded(readerID, otherSub+"/resourceGroups/old", true)), list, "Reader on group old"},
		{"rbac_stale", "the list cannot be read", finding.Skip, without("Assignments"), list, ""},

		{"rbac_subscription", "nothing reaches the whole subscription", finding.Pass, nil, none, "nothing reaches"},
		{"rbac_subscription", "Reader reaches it, which is no way up", finding.Pass, holding(readerID, wholeSub), none, "Reader on subscription"},
		{"rbac_subscription", "Owner of the subscription", finding.Fail, holding(ownerID, wholeSub), none, "Owner on subscription"},
		{"rbac_subscription", "Owner of a management group, by people", finding.Fail, given(ownerID, platform, peopleID, ""), none, "management group platform"},
		{"rbac_subscription", "Owner of the group alone is not this check's", finding.Pass, holding(ownerID, botGroup), none, "nothing reaches"},
		{"rbac_subscription", "a custom role there that cannot be read", finding.Skip, both(custom(wholeSub, everything()), without("RoleDefinition")), "rbac_no_elevated", ""},
		{"rbac_subscription", "a custom role with * there", finding.Fail, custom(platform, everything()), none, ""},
		{"rbac_subscription", "of one of two subscriptions nothing can be read", finding.Skip, both(blindAt(otherSub), blindAt(otherSub+"/resourceGroups/old"), recorded(readerID, otherSub+"/resourceGroups/old", true)), list, ""},
		{"rbac_subscription", "the subscription cannot be read as a whole, but what reaches its group can", finding.Pass, blindAt(wholeSub), none, ""},
		{"rbac_subscription", "the list cannot be read", finding.Skip, without("Assignments"), list, ""},

		{"rbac_elsewhere", "nothing is held elsewhere", finding.Pass, nil, none, "1 subscriptions and 0 management groups, and not the tenant's root"},
		{"rbac_elsewhere", "the root management group is shown", finding.Pass, func(f *fake) { f.shown = []string{tenantID} }, none, "1 management groups; it shows nothing"},
		{"rbac_elsewhere", "Owner of a management group that holds none of the spec's subscriptions", finding.Fail, tenantHolds(ownerID, sibling, principalID), none, "Owner on management group sibling"},
		{"rbac_elsewhere", "Reader of another subscription", finding.Fail, tenantHolds(readerID, otherSub, principalID), none, "Reader on subscription"},
		{"rbac_elsewhere", "Reader of another subscription by a group", finding.Fail, both(tenantHolds(readerID, otherSub, peopleID), inPeople), none, "through group Bot people"},
		{"rbac_elsewhere", "a group that the identity is not in", finding.Pass, tenantHolds(readerID, otherSub, peopleID), none, ""},
		{"rbac_elsewhere", "one in the subscription that the list does not have is gone", finding.Pass, tenantHolds(ownerID, otherGroup, principalID), none, ""},
		{"rbac_elsewhere", "one in the subscription that could be listed only in parts", finding.Fail, both(tenantHolds(ownerID, otherGroup, principalID), blindAt(wholeSub)), none, "group other-rg"},
		{"rbac_elsewhere", "Owner above the subscription is told by others", finding.Pass, holding(ownerID, platform), none, ""},
		{"rbac_elsewhere", "the groups cannot be read", finding.Skip, without("Memberships"), "identity_directory_roles", ""},
		{"rbac_elsewhere", "the groups cannot be read, and it holds something itself", finding.Fail, both(without("Memberships"), tenantHolds(readerID, otherSub, principalID)), none, ""},
		{"rbac_elsewhere", "it cannot be read", finding.Unknown, without("AssignedAnywhere"), none, "403"},
		{"rbac_elsewhere", "how far it reaches cannot be read", finding.Unknown, without("Visible"), none, "403"},
		{"rbac_elsewhere", "the list cannot be read", finding.Skip, without("Assignments"), list, ""},
		{"rbac_elsewhere", "nobody is signed in", finding.Skip, signedOut, "azure_logged_in", ""},

		{"rbac_vault_mode", "the vault goes by role assignments", finding.Pass, nil, none, ""},
		{"rbac_vault_mode", "the vault goes by access policies", finding.Fail, func(f *fake) { f.vault.RBAC = false }, none, "access policies"},
		{"rbac_vault_mode", "the vault is not there", finding.Fail, func(f *fake) { f.vault = nil }, none, "is not there"},
		{"rbac_vault_mode", "the vault cannot be read", finding.Unknown, without("Vault"), none, ""},
		{"rbac_vault_mode", "there is none", finding.Skip, func(f *fake) { f.subject.Agent.KeyVault = "" }, none, "no key vault"},
	}
	return slices.Concat(rows, ownWorlds())
}

// ownWorlds are those in which the identity is asked itself.
func ownWorlds() []world {
	const (
		inGroup, onResources, probing = "rbac_effective_group", "rbac_effective_resources", "rbac_probe_delete"
		none                          = ""
	)
	refusedAt := func(scope string) func(*fake) { return ownErrorAt(scope, refusal()) }
	return []world{
		{inGroup, "Azure tells of harmless roles", finding.Pass, nil, none, "no way to more rights on group polyclaw-rg"},
		{inGroup, "Azure tells of *, which the operator does not see", finding.Fail, ownAt(botGroup, everything()), none, "actions include *"},
		{inGroup, "one of several entries lets it grant roles", finding.Fail, ownAt(botGroup, role.Definition{Actions: []string{"*/read"}}, role.Definition{Actions: []string{"Microsoft.Authorization/roleAssignments/*"}}), none, "roleAssignments/write"},
		{inGroup, "it may do nothing at all", finding.Pass, ownAt(botGroup), none, ""},
		{inGroup, "Azure refuses to tell although a role allows it", finding.Unknown, refusedAt(botGroup), none, "AuthorizationFailed"},
		{inGroup, "Azure refuses to tell, and no role allows it", finding.Skip, both(refusedAt(botGroup), unheld, holding(secretsUserID, botVault)), none, "judged by the assignments alone"},
		{inGroup, "a role that has not spread yet is waited for", finding.Pass, func(f *fake) { f.spreading = 3 }, none, "no way to more rights"},
		{inGroup, "a policy refuses to tell, and no role allows it", finding.Unknown, both(ownErrorAt(botGroup, answer(403, "RequestDisallowedByPolicy")), unheld, holding(secretsUserID, botVault)), none, "RequestDisallowedByPolicy"},
		{inGroup, "Azure refuses to tell, and what is held is not known", finding.Unknown, both(refusedAt(botGroup), without("Assignments")), none, "AuthorizationFailed"},
		{inGroup, "Azure refuses to tell, and a role cannot be read", finding.Unknown, both(refusedAt(botGroup), unheld, custom(botGroup, everything()), without("RoleDefinition")), none, "AuthorizationFailed"},
		{inGroup, "Azure refuses to tell, and not everything held is known", finding.Unknown, both(refusedAt(botGroup), unheld, blindAt(wholeSub)), none, "AuthorizationFailed"},
		{inGroup, "the group is not there", finding.Unknown, ownErrorAt(botGroup, answer(404, "ResourceGroupNotFound")), none, ""},
		{inGroup, "it cannot be asked", finding.Unknown, without("Permissions"), none, ""},
		{inGroup, "the service is away", finding.Unknown, failing("Permissions", answer(503, "ServerBusy")), none, ""},
		{inGroup, "the identity cannot log in", finding.Skip, without("Login"), "identity_login", ""},
		{inGroup, "a managed identity has no token here", finding.Skip, byIdentity, none, "managed identity"},
		{inGroup, "a federated identity has no key here", finding.Skip, func(f *fake) { f.subject.Agent.Federated = []agent.Federated{{Issuer: "https://issuer.test"}} }, none, "no key here"},

		{onResources, "Azure tells of harmless roles", finding.Pass, nil, none, "vaults kv-bot, sessionPools pool, accounts safety"},
		{onResources, "the vault is its own", finding.Fail, ownAt(botVault, role.Definition{Actions: []string{"Microsoft.KeyVault/vaults/*"}}), none, "on vaults kv-bot an entry says: it allows Microsoft.KeyVault/vaults/write"},
		{onResources, "the vault is its own, and the pool cannot be asked", finding.Fail, both(ownAt(botVault, everything()), ownErrorAt(botGroup+"/providers/Microsoft.App/sessionPools/pool", away())), none, "vaults kv-bot"},
		{onResources, "the pool alone cannot be asked", finding.Unknown, ownErrorAt(botGroup+"/providers/Microsoft.App/sessionPools/pool", away()), none, ""},
		{onResources, "the vault is not there", finding.Unknown, ownErrorAt(botVault, answer(404, "ResourceNotFound")), none, ""},
		{onResources, "one of them does not tell, as it should be", finding.Pass, both(refusedAt(botVault), lost(readerID), lost(botContributorID), lost(secretsOfficerID)), none, "judged by the assignments alone"},
		{onResources, "the identity cannot log in", finding.Skip, without("Login"), "identity_login", ""},
		{onResources, "there is no resource", finding.Skip, listing(agent.RoleAt{Role: "Reader", Scope: botGroup}), none, "names no vault"},

		{probing, "both are refused", finding.Pass, nil, none, "userAssignedIdentities: 403 AuthorizationFailed"},
		{probing, "204 says that the right is there", finding.Fail, deleted(managed(), 204), none, "was answered 204"},
		{probing, "202 says that the right is there", finding.Fail, deleted(vaults(), 202), none, "was answered 202"},
		{probing, "404 of the resource says that the right is there", finding.Fail, deleteAnswers(vaults(), answer(404, "ResourceNotFound")), none, "404 ResourceNotFound"},
		{probing, "404 of the group says that the right is there", finding.Fail, deleteAnswers(managed(), answer(404, "ResourceGroupNotFound")), none, "404 ResourceGroupNotFound"},
		{probing, "404 of the subscription says nothing", finding.Unknown, deleteAnswers(managed(), answer(404, "SubscriptionNotFound")), none, "SubscriptionNotFound"},
		{probing, "403 of a policy says nothing", finding.Unknown, deleteAnswers(managed(), answer(403, "RequestDisallowedByPolicy")), none, ""},
		{probing, "403 of a proxy says nothing", finding.Unknown, deleteAnswers(managed(), answer(403, "")), none, ""},
		{probing, "a lock says nothing", finding.Unknown, deleteAnswers(managed(), answer(409, "ScopeLocked")), none, ""},
		{probing, "too many requests say nothing", finding.Unknown, deleteAnswers(managed(), answer(429, "TooManyRequests")), none, ""},
		{probing, "one is allowed and one is unknown", finding.Fail, both(deleted(vaults(), 204), deleteAnswers(managed(), answer(409, "ScopeLocked"))), none, ""},
		{probing, "it was not sent, for the name could be somebody's", finding.Unknown, failing("ProbeDelete", fault.New(fault.Refused, "the name drawn for it could be somebody's", "")), none, "could be somebody's"},
		{probing, "the identity cannot log in", finding.Skip, without("Login"), "identity_login", ""},
		{probing, "a type that the spec lets it delete is not tried", finding.Pass, both(listing(agent.RoleAt{Role: "Managed Identity Contributor", Scope: botGroup}), deleted(managed(), 204)), none, "vaults: 403"},
		{probing, "a role on one vault does not excuse the right in the whole group", finding.Fail, both(listing(agent.RoleAt{Role: "Key Vault Contributor", Scope: botVault}), deleted(vaults(), 204)), none, "was answered 204"},
		{probing, "the spec lets it delete every type that is tried", finding.Skip, listing(agent.RoleAt{Role: "Managed Identity Contributor", Scope: botGroup}, agent.RoleAt{Role: "Key Vault Contributor", Scope: botGroup}), none, "every type"},
		{probing, "a managed identity has no token here", finding.Skip, byIdentity, none, "managed identity"},
	}
}

// recorded puts an assignment that the spec does not ask for into the record.
func recorded(id, scope string, ours bool) func(*fake) {
	return func(f *fake) {
		g := role.Grant{Role: role.Builtin().Name(id), RoleID: id, Scope: scope}
		f.subject.Record.Assignments = append(f.subject.Record.Assignments, agent.Assigned{Grant: g, Name: role.AssignmentName(g, principalID), Ours: ours})
	}
}
