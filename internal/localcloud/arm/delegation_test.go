package arm

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const (
	rbacAdmin  = "Role Based Access Control Administrator"
	writeOp    = "microsoft.authorization/roleassignments/write"
	deleteOp   = "microsoft.authorization/roleassignments/delete"
	ofGrant    = "Microsoft.Authorization/roleAssignments:"
	onlyReader = "((!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR (@Request[" + ofGrant + "RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {" + readerRole + "} AND " +
		"@Request[" + ofGrant + "PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {'ServicePrincipal'})) AND " +
		"((!(ActionMatches{'Microsoft.Authorization/roleAssignments/delete'})) OR (@Resource[" + ofGrant + "RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {" + readerRole + "}))"
	notOwner = "((!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR (@Request[" + ofGrant + "RoleDefinitionId] ForAnyOfAllValues:GuidNotEquals {" + ownerRole + ", " + contributorRole + "})) AND " +
		"((!(ActionMatches{'Microsoft.Authorization/roleAssignments/delete'})) OR (@Resource[" + ofGrant + "RoleDefinitionId] ForAnyOfAllValues:GuidNotEquals {" + ownerRole + ", " + contributorRole + "}))"
)

func TestConditionsOfDelegation(t *testing.T) {
	of := func(role, principal, kind string) *delegated { return &delegated{role, principal, kind} }
	write := func(d *delegated) question { return question{operation: writeOp, request: d} }
	remove := func(d *delegated) question { return question{operation: deleteOp, resource: d} }
	role := func(op string) string { return "@Request[" + ofGrant + "RoleDefinitionId] " + op }
	for _, row := range []struct {
		sentence, condition string
		q                   question
		holds               bool
	}{
		{"no condition holds", "", write(nil), true},
		{"another operation is let through", onlyReader, question{operation: "microsoft.keyvault/vaults/read"}, true},
		{"the role that may be given is let through", onlyReader, write(of(readerRole, agent, "ServicePrincipal")), true},
		{"a GUID in capitals is the same", onlyReader, write(of("ACDD72A7-3385-48EF-BD42-F606FBA81AE7", agent, "serviceprincipal")), true},
		{"to a principal of another type it is not", onlyReader, write(of(readerRole, owner, "User")), false},
		{"another role is not", onlyReader, write(of(ownerRole, agent, "ServicePrincipal")), false},
		{"an assignment of the role may be removed", onlyReader, remove(of(readerRole, owner, "User")), true},
		{"an assignment of another may not", onlyReader, remove(of(ownerRole, owner, "User")), false},
		{"a request without a role is not let through", onlyReader, write(nil), false},
		{"an assignment that is not there is not let through", onlyReader, remove(nil), false},
		{"all roles but some: any other", notOwner, write(of(readerRole, agent, "ServicePrincipal")), true},
		{"all roles but some: not the first", notOwner, write(of(ownerRole, agent, "ServicePrincipal")), false},
		{"all roles but some: not the second", notOwner, write(of(contributorRole, agent, "ServicePrincipal")), false},
		{"all roles but some: removal too", notOwner, remove(of(contributorRole, agent, "ServicePrincipal")), false},
		{"one value needs no quantifier", role("GuidEquals " + readerRole), write(of(readerRole, "", "")), true},
		{"a principal", "@Request[" + ofGrant + "PrincipalId] ForAnyOfAnyValues:GuidEquals {" + agent + ", " + owner + "}", write(of("", owner, "")), true},
		{"another principal", "@Request[" + ofGrant + "PrincipalId] ForAnyOfAnyValues:GuidEquals {" + agent + "}", write(of("", owner, "")), false},
		{"a type whose case matters", "@Request[" + ofGrant + "PrincipalType] StringEquals 'serviceprincipal'", write(of("", "", "ServicePrincipal")), false},
		{"all values equal is none of two", role("ForAnyOfAllValues:GuidEquals {" + readerRole + ", " + ownerRole + "}"), write(of(readerRole, "", "")), false},
		{"AND binds tighter than OR", role("GuidEquals "+readerRole) + " OR " + role("GuidEquals "+ownerRole) + " AND " + role("GuidEquals "+contributorRole), write(of(readerRole, "", "")), true},
		{"what is missing is not made true by its negation", "!(" + role("GuidEquals "+ownerRole) + ")", write(nil), false},
		// Microsoft: an operation that the condition does not target is allowed ("How a condition is evaluated").
		{"another operation is let through whatever follows", "(!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR Exists @Resource[Microsoft.Storage/storageAccounts:x]", question{operation: "microsoft.keyvault/vaults/read"}, true},
		{"another service's attribute opens nothing", "@Resource[Microsoft.Storage/storageAccounts:name] StringEquals 'x'", remove(of(readerRole, "", "")), false},
		{"nor does that it is not there", "NOT Exists @Resource[Microsoft.Storage/storageAccounts:name]", remove(of(readerRole, "", "")), false},
		{"nor an attribute of the principal", "!(@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Team_Name] StringEquals 'x')", write(of(readerRole, "", "")), false},
		{"the time of day opens nothing to who does not know it", "@Environment[utcNow] DateTimeGreaterThan '2020-01-01T00:00:00Z'", write(of(readerRole, "", "")), false},
		{"a missing attribute on the other side opens nothing", role("GuidEquals @Resource[" + ofGrant + "RoleDefinitionId]"), write(of(readerRole, "", "")), false},
		{"an operator of another kind opens nothing", role("StringEquals '" + readerRole + "'"), write(of(readerRole, "", "")), false},
		{"a set without a quantifier opens nothing", role("GuidEquals {" + readerRole + "," + ownerRole + "}"), write(of(readerRole, "", "")), false},
		{"what does not parse opens nothing", role("GuidEquals"), write(of(readerRole, "", "")), false},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			if got := holds(row.condition, row.q); got != row.holds {
				t.Errorf("%v, want %v", got, row.holds)
			}
		})
	}
}

func TestAConstrainedAdministrator(t *testing.T) {
	f := newFixture(t)
	var ofOwner Assignment
	f.write(func(tx replica.Tx) {
		a := f.assign(tx, rg, rbacAdmin, nobody, "User")
		a.Condition, a.ConditionVersion = onlyReader, "2.0"
		f.assignments.Put(tx, a.Name, a)
		ofOwner = f.assign(tx, rg, "Contributor", owner, "User")
	})
	at := func(scope string, n int) string {
		return fmt.Sprintf("%s/providers/Microsoft.Authorization/roleAssignments/00000000-0000-4000-8000-%012d", scope, n)
	}
	body := func(role, principal, kind string) object {
		return object{"properties": object{"roleDefinitionId": sub + "/providers/Microsoft.Authorization/roleDefinitions/" + role, "principalId": principal, "principalType": kind}}
	}
	f.as(nobody, "PUT", at(rg, 1), body(readerRole, agent, "ServicePrincipal")).want(t, 201, "")
	f.as(nobody, "PUT", at(botID, 2), body(readerRole, agent, "ServicePrincipal")).want(t, 201, "")
	a := f.as(nobody, "PUT", at(rg, 3), body(ownerRole, nobody, "User")).want(t, 403, "AuthorizationFailed")
	if want := "does not have authorization or an ABAC condition not fulfilled to perform action 'Microsoft.Authorization/roleAssignments/write'"; !strings.Contains(a.message(), want) {
		t.Error(a.message())
	}
	f.as(nobody, "PUT", at(rg, 3), body(readerRole, owner, "User")).want(t, 403, "AuthorizationFailed")
	f.as(nobody, "PUT", at(sub, 3), body(readerRole, agent, "ServicePrincipal")).want(t, 403, "AuthorizationFailed")
	f.as(nobody, "PUT", at(rg, 3), "{").want(t, 403, "AuthorizationFailed")
	f.as(nobody, "DELETE", rg+"/providers/Microsoft.Authorization/roleAssignments/"+ofOwner.Name, nil).want(t, 403, "AuthorizationFailed")
	f.as(nobody, "DELETE", at(rg, 1), nil).want(t, 200, "")
	f.as(nobody, "GET", rg+"/providers/Microsoft.Authorization/roleAssignments", nil).want(t, 200, "")
}

// A new assignment must not cost what the subscription's others would.
func TestANewAssignmentDoesNotLookAtTheOthers(t *testing.T) {
	f := newFixture(t)
	f.write(func(tx replica.Tx) {
		for i := range maxAssignments - 100 {
			name := fmt.Sprintf("00000000-0000-4000-8000-%012d", i)
			f.assignments.Put(tx, name, Assignment{Name: name, Scope: rg, RoleID: readerRole, PrincipalID: name})
		}
	})
	var before, after runtime.MemStats
	f.write(func(tx replica.Tx) {
		runtime.ReadMemStats(&before)
		if r := f.writeAssignment(tx, Assignment{Name: absent, Scope: botID, RoleID: readerRole, PrincipalID: agent}); r.status != 201 {
			t.Error(r)
		}
		runtime.ReadMemStats(&after)
	})
	if used := after.TotalAlloc - before.TotalAlloc; used > 200_000 {
		t.Errorf("one assignment took %d bytes", used)
	}
	f.write(func(tx replica.Tx) {
		for i := range 200 {
			name := fmt.Sprintf("00000000-0000-4000-9000-%012d", i)
			if r := f.writeAssignment(tx, Assignment{Name: name, Scope: rg, RoleID: readerRole, PrincipalID: name}); r.status == 400 {
				return
			}
		}
		t.Error("the limit is not kept")
	})
}
