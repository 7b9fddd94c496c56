package arm

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func TestParseCondition(t *testing.T) {
	const write, request = "!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})", "@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId]"
	for _, row := range []struct {
		name, text string
		good       bool
	}{
		{"the portal's delegation condition", "((" + write + ") OR (" + request + " ForAnyOfAllValues:GuidNotEquals {8e3af657-a8ff-443c-a75c-2fe8c4bcb635, b24988ac-6180-42a0-ab88-20f7382dd24c}))", true},
		{"a tag of a blob", "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags:Project<$key_case_sensitive$>] StringEquals 'Cascade'", true},
		{"an attribute that exists", "Exists @Request[a:b] && NOT (@Request[a:b] NumericLessThan 5)", true},
		{"a comparison with another attribute", "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:A_b] StringEquals @Resource[a:b]", true},
		{"a parenthesis is missing", "((" + write + ")", false},
		{"a list is empty", request + " ForAnyOfAnyValues:GuidEquals {}", false},
		{"an operator is unknown", request + " Equalish 'x'", false},
		{"there are words only", "please allow", false},
		{"something follows", write + " x", false},
		{"words in small letters", "@Resource[a:b] stringEquals 'foo' and not actionmatches{'x'}", true},
		{"a set on the left, as in Microsoft's examples", "{'red', 'blue'} ForAnyOfAnyValues:StringEquals {'blue', 'green'}", true},
		{"a constant on the left", "'red' StringEquals 'red'", false},
		{"a set that is not told over which", request + " GuidEquals {" + readerRole + ", " + ownerRole + "}", false},
		{"a set of one", request + " GuidEquals {" + readerRole + "}", true},
		{"a quantifier that does not exist", request + " ForSomeValues:GuidEquals {" + readerRole + "}", false},
		{"an operator that is not for sets", "@Request[a:b] ForAnyOfAnyValues:DateTimeEquals {'2022-06-01T00:00:00.0Z'}", false},
		{"a GUID that is none", request + " GuidEquals 'reader'", false},
		{"a number with a fraction", "@Request[a:b] NumericEquals 1.5", false},
		{"a time without its zone", "@Environment[UtcNow] DateTimeLessThan '2026-01-01'", false},
		{"a string without quotes", "@Request[a:b] StringEquals true", false},
		{"a string that does not end", "@Request[a:b] StringEquals 'x", false},
		{"a Boolean that is none", "@Environment[isPrivateLink] BoolEquals 1", false},
		{"the key of a tag whose dollars the shell ate", "@Resource[Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags:Project<$>] StringEquals 'x'", false},
		{"a pattern without quotes", "ActionMatches{true}", false},
		{"an attribute of nothing", "@Subject[a:b] StringEquals 'x'", false},
		{"nothing", " ", false},
		{"8 KB", "@Request[a:b] StringEquals '" + strings.Repeat("x", maxCondition-29) + "'", true},
		{"8 KB and a byte", "@Request[a:b] StringEquals '" + strings.Repeat("x", maxCondition-28) + "'", false},
		{"a hill of parentheses", strings.Repeat("(", 4000) + "Exists @Request[a:b]" + strings.Repeat(")", 4000), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := parseCondition(row.text); (err == nil) != row.good {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWhatAConditionSays(t *testing.T) {
	at := time.Date(2026, 8, 1, 12, 0, 0, 5000, time.UTC)
	read := question{operation: "microsoft.keyvault/vaults/secrets/getsecret/action", now: at}
	write := question{operation: writeOp, request: &delegated{readerRole, agent, "ServicePrincipal"}, now: at}
	remove := question{operation: deleteOp, resource: &delegated{readerRole, agent, "ServicePrincipal"}, now: at}
	both := question{operation: writeOp, request: write.request, resource: remove.resource, now: at}
	kind := "@Request[" + ofGrant + "PrincipalType] "
	for _, row := range []struct {
		sentence, condition string
		q                   question
		want                truth
	}{
		// Microsoft's own examples.
		{"any of any: one is in both", "{'red', 'blue'} ForAnyOfAnyValues:StringEquals {'blue', 'green'}", read, yes},
		{"any of any: none is in both", "{'red', 'blue'} ForAnyOfAnyValues:StringEquals {'orange', 'green'}", read, no},
		{"all of any: each is among the others", "{'red', 'blue'} ForAllOfAnyValues:StringEquals {'orange', 'red', 'blue'}", read, yes},
		{"all of any: one is not", "{'red', 'blue'} ForAllOfAnyValues:StringEquals {'red', 'green'}", read, no},
		{"any of all: one is less than each", "{10, 20} ForAnyOfAllValues:NumericLessThan {15, 18}", read, yes},
		{"all of all: neither is less than each", "{10, 20} ForAllOfAllValues:NumericLessThan {5, 15, 18}", read, no},
		{"all of all: both are", "{10, 20} ForAllOfAllValues:NumericLessThan {25, 30}", read, yes},
		{"all of all: one is not", "{10, 20} ForAllOfAllValues:NumericLessThan {15, 25, 30}", read, no},
		{"wildcards", "{'abcd'} StringLike 'a*c?'", read, yes},
		{"wildcards in capitals", "{'abcd'} StringLike 'A*C?'", read, no},
		{"wildcards that do not reach the end", "{'abcd'} StringLike 'a*c'", read, no},
		{"a pattern of actions", "ActionMatches{'Microsoft.Authorization/roleAssignments/*'}", write, yes},
		{"a pattern of other actions", "ActionMatches{'Microsoft.Authorization/roleDefinitions/*'}", write, no},

		{"wildcards in any case", "{'abcd'} StringLikeIgnoreCase 'A*C?'", read, yes},
		{"wildcards and not", "{'abcd'} StringNotLikeIgnoreCase 'A*C?'", read, no},
		{"a star that is meant", `{'a*'} StringLike 'a\*'`, read, yes},
		{"a star that is meant is no other", `{'ab'} StringLike 'a\*'`, read, no},
		{"two stars share a text", "{'readonly/x/y'} StringLike 'read*/*/y'", read, yes},
		{"a question mark is one letter, also a long one", "{'ä'} StringLike '?'", read, yes},
		{"a beginning", "{'readonly/x'} StringStartsWith 'readonly/'", read, yes},
		{"a beginning in any case, negated", "{'readonly/x'} StringNotStartsWithIgnoreCase 'READ'", read, no},
		{"a quote in a string", `{'it\'s'} StringEquals 'it\'s'`, read, yes},
		{"numbers are no strings", "{10} NumericGreaterThan {9}", read, yes},
		{"at least", "{10} NumericGreaterThanEquals 10", read, yes},
		{"not equal", "{-1} NumericNotEquals -1", read, no},

		{"the attribute of the request", kind + "StringEquals 'ServicePrincipal'", write, yes},
		{"its case", kind + "StringEquals 'servicePrincipal'", write, no},
		{"its case does not matter", kind + "StringEqualsIgnoreCase 'servicePrincipal'", write, yes},
		{"an attribute on both sides", "@Request[" + ofGrant + "RoleDefinitionId] GuidEquals @Resource[" + ofGrant + "RoleDefinitionId]", both, yes},
		{"an operator of another type tells nothing", "@Request[" + ofGrant + "RoleDefinitionId] StringNotEquals 'x'", write, unknown},
		{"an attribute that there is", "Exists @Request[" + ofGrant + "RoleDefinitionId]", write, yes},
		{"an attribute that there is not", "Exists @Request[" + ofGrant + "RoleDefinitionId]", remove, no},
		{"one that there is not, negated", "NOT Exists @Request[" + ofGrant + "RoleDefinitionId]", remove, yes},
		{"one of which nothing is known", "Exists @Request[a:b]", write, unknown},
		{"one of which nothing is known, negated", "!Exists @Request[a:b]", write, unknown},

		{"after that time", "@Environment[UtcNow] DateTimeGreaterThan '2026-08-01T12:00:00.0Z'", read, yes},
		{"before that time", "@Environment[utcnow] DateTimeLessThanEquals '2026-08-01T12:00:00.0Z'", read, no},
		{"to the tick", "@Environment[UtcNow] DateTimeEquals '2026-08-01T12:00:00.0000050Z'", read, yes},
		{"nobody comes by a private link", "@Environment[isPrivateLink] BoolEquals true", read, no},
		{"nobody comes by a private link, negated", "@Environment[isPrivateLink] BoolNotEquals true", read, yes},
		{"nobody comes from a subnet", "Exists @Environment[Microsoft.Network/virtualNetworks/subnets]", read, no},
		{"no subnet equals none", "!(@Environment[Microsoft.Network/virtualNetworks/subnets] StringEquals 'x')", read, unknown},

		{"no operation has suboperations", "ActionMatches{'*'} AND NOT SubOperationMatches{'Blob.List'}", read, yes},
		{"the older form of that", "Exists @Request[subOperation]", read, no},
		{"yes or unknown", "Exists @Request[a:b] || ActionMatches{'*'}", read, yes},
		{"no and unknown", "Exists @Request[a:b] && ActionMatches{'x'}", read, no},
		{"yes and unknown", "Exists @Request[a:b] AND ActionMatches{'*'}", read, unknown},
		{"no or unknown", "ActionMatches{'x'} OR Exists @Request[a:b]", read, unknown},
		{"parentheses go first", "ActionMatches{'x'} AND (ActionMatches{'x'} OR ActionMatches{'*'})", read, no},
		{"AND binds tighter", "ActionMatches{'*'} OR ActionMatches{'*'} AND ActionMatches{'x'}", read, yes},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			e, err := parseCondition(row.condition)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.ask(row.q); got != row.want {
				t.Errorf("%d, want %d", got, row.want)
			}
		})
	}
}

func TestAConditionThatIsRefused(t *testing.T) {
	f := newFixture(t)
	put := func(condition, version any) answer {
		return f.as(owner, "PUT", rg+"/providers/Microsoft.Authorization/roleAssignments/"+absent, object{"properties": object{
			"roleDefinitionId": sub + "/providers/Microsoft.Authorization/roleDefinitions/" + readerRole, "principalId": agent, "principalType": "ServicePrincipal", "condition": condition, "conditionVersion": version}})
	}
	const good = "Exists @Request[a:b]"
	for name, c := range map[string][2]any{
		"another version":           {good, "1.0"},
		"another version of none":   {nil, "1.0"},
		"words":                     {"please", "2.0"},
		"an order that is not told": {good + " AND " + good + " OR " + good, "2.0"},
		"8 KB and a byte":           {"@Request[a:b] StringEquals '" + strings.Repeat("x", maxCondition-28) + "'", "2.0"},
		"only space":                {" ", nil},
	} {
		if got := put(c[0], c[1]).want(t, 400, "InvalidRoleAssignmentCondition").message(); got != "The given role assignment condition is invalid." {
			t.Errorf("%s: %s", name, got)
		}
	}
	if p := put(good+" AND ("+good+" OR "+good+")", nil).want(t, 201, "").properties(); p["conditionVersion"] != "2.0" {
		t.Error(p)
	}
	if p := put(nil, nil).want(t, 200, "").properties(); p["condition"] != nil || p["conditionVersion"] != nil {
		t.Error(p)
	}
}

// Key Vault has no attributes of its own: which operation it is, and when, decides.
func TestAConditionOnDataActions(t *testing.T) {
	f := newFixture(t)
	f.write(func(tx replica.Tx) {
		a := f.assign(tx, vaultID, "Key Vault Secrets Officer", agent, "ServicePrincipal")
		a.Condition, a.ConditionVersion = "!(ActionMatches{'Microsoft.KeyVault/vaults/secrets/setSecret/action'}) OR (@Environment[UtcNow] DateTimeLessThan '2020-01-01T00:00:00.0Z')", "2.0"
		f.assignments.Put(tx, a.Name, a)
	})
	f.store.Primary(func(v replica.View) {
		for operation, want := range map[string]bool{"getSecret": true, "setSecret": false} {
			if got := f.Allowed(v, agent, vaultID+"/secrets/x", "Microsoft.KeyVault/vaults/secrets/"+operation+"/action", true); got != want {
				t.Errorf("%s: %v", operation, got)
			}
		}
	})
}

func FuzzParseCondition(f *testing.F) {
	for _, s := range []string{
		"((!(ActionMatches{'a'})) OR (@Request[a:b] ForAnyOfAllValues:GuidNotEquals {8e3af657-a8ff-443c-a75c-2fe8c4bcb635}))", onlyReader, notOwner,
		"!!!!((((", "{1,-2}forallofanyvalues:numericequals{3}&&not{'a'}stringlike'\\*'||exists@environment[utcnow]", "@Principal[a] StringEquals @Resource[b:c<$key$>]",
		"SubOperationMatches{'Blob.List'}or@Environment[UtcNow]DateTimeEquals'2022-06-01T00:00:00.0Z'",
	} {
		f.Add(s)
	}
	q := question{operation: writeOp, request: &delegated{readerRole, agent, "User"}, now: time.Unix(0, 0)}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := parseCondition(s)
		if err != nil {
			return
		}
		again, _, err := readCondition(e.String()) // which may be longer than a condition can be
		if err != nil || !reflect.DeepEqual(again, e) || again.ask(q) != e.ask(q) {
			t.Errorf("%q is %s, printed and read again %v (%v)", s, e, again, err)
		}
	})
}
