package arm

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// primary is a view that outlives its loan, for assertions in tests without writers.
func primary(f *fixture) (view replica.View) {
	f.store.Primary(func(v replica.View) { view = v })
	return view
}

const assignments = "/providers/Microsoft.Authorization/roleAssignments"

func assignment(role, principal, kind string) object {
	p := object{"roleDefinitionId": sub + "/providers/Microsoft.Authorization/roleDefinitions/" + role, "principalId": principal}
	if kind != "" {
		p["principalType"] = kind
	}
	return object{"properties": p}
}

func TestPutRoleAssignmentRefusals(t *testing.T) {
	f := newFixture(t)
	const name, other = "bbbbbbbb-0000-0000-0000-000000000001", "bbbbbbbb-0000-0000-0000-000000000002"
	f.as(owner, "PUT", rg+assignments+"/"+name, assignment(botRole, agent, "ServicePrincipal")).want(t, 201, "")
	with := func(b object, key string, value any) object {
		b["properties"].(object)[key] = value
		return b
	}
	for _, row := range []struct {
		name, who, path string
		body            any
		status          int
		code, says      string
	}{
		{"a reader may not assign", reader, rg + assignments + "/" + other, assignment(readerRole, agent, ""), 403, "AuthorizationFailed", "Microsoft.Authorization/roleAssignments/write' over scope '" + rg + assignments + "/" + other},
		{"a name that is no GUID", owner, rg + assignments + "/mine", assignment(readerRole, agent, ""), 400, "InvalidRoleAssignmentId", "mine"},
		{"a group that is not there", owner, sub + "/resourceGroups/none" + assignments + "/" + other, assignment(readerRole, agent, ""), 404, "ResourceGroupNotFound", "none"},
		{"a resource that is not there", owner, rg + "/providers/Microsoft.App/sessionPools/none" + assignments + "/" + other, assignment(readerRole, agent, ""), 404, "ResourceNotFound", "none"},
		{"a body that is no JSON", owner, rg + assignments + "/" + other, "{", 400, "InvalidRequestContent", ""},
		{"a body without properties", owner, rg + assignments + "/" + other, object{}, 400, "InvalidCreateRoleAssignmentRequest", ""},
		{"a role that is not there", owner, rg + assignments + "/" + other, assignment(absent, agent, ""), 400, "RoleDefinitionDoesNotExist", strings.ReplaceAll(absent, "-", "")},
		{"a role by its name", owner, rg + assignments + "/" + other, with(assignment("", agent, ""), "roleDefinitionId", "Reader"), 400, "InvalidRoleDefinitionId", "Reader"},
		{"a principal that is no GUID", owner, rg + assignments + "/" + other, assignment(readerRole, "ann", ""), 400, "InvalidPrincipalId", ""},
		{"a principal that is not there", owner, rg + assignments + "/" + other, assignment(readerRole, absent, ""), 400, "PrincipalNotFound", "Principal " + strings.ReplaceAll(absent, "-", "") + " does not exist in the directory " + tenantID},
		{"a principal of another type", owner, rg + assignments + "/" + other, assignment(readerRole, agent, "User"), 400, "UnmatchedPrincipalType", "has type 'ServicePrincipal' , which is different from specified PrinciaplType 'User'"},
		{"a type of principal that does not exist", owner, rg + assignments + "/" + other, assignment(readerRole, agent, "Robot"), 400, "InvalidPrincipalType", "Robot"},
		{"the same triple under another name", owner, strings.ToUpper(rg) + assignments + "/" + other, assignment(botRole, strings.ToUpper(agent), ""), 409, "RoleAssignmentExists", "The ID of the existing role assignment is " + strings.ReplaceAll(name, "-", "")},
		{"the same name for another role", owner, rg + assignments + "/" + name, assignment(readerRole, agent, ""), 400, "RoleAssignmentUpdateNotPermitted", "are not allowed to be updated"},
		{"the same name at another scope", owner, sub + assignments + "/" + name, assignment(botRole, agent, ""), 400, "RoleAssignmentUpdateNotPermitted", ""},
		{"a condition that is none", owner, rg + assignments + "/" + other, with(with(assignment(readerRole, agent, ""), "condition", "please"), "conditionVersion", "2.0"), 400, "InvalidRoleAssignmentCondition", "The given role assignment condition is invalid."},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := f.as(row.who, "PUT", row.path, row.body).want(t, row.status, row.code).message(); !strings.Contains(got, row.says) {
				t.Errorf("the message does not say %q: %s", row.says, got)
			}
		})
	}
}

func TestARoleAssignmentFromPutToDelete(t *testing.T) {
	f := newFixture(t)
	const name = "bbbbbbbb-0000-0000-0000-000000000001"
	at := rg + assignments + "/" + name
	f.as(owner, "GET", at, nil).want(t, 404, "RoleAssignmentNotFound")
	body := assignment(botRole, absent, "ServicePrincipal") // with principalType nobody looks whether the principal exists
	made := f.as(owner, "PUT", at, body).want(t, 201, "")
	p := made.properties()
	for k, want := range map[string]any{
		"roleDefinitionId": sub + "/providers/Microsoft.Authorization/roleDefinitions/" + botRole, "principalId": absent, "principalType": "ServicePrincipal",
		"scope": rg, "condition": nil, "createdBy": owner, "updatedBy": owner, "description": nil,
	} {
		if p[k] != want {
			t.Errorf("%s is %v, want %v", k, p[k], want)
		}
	}
	if made.body["id"] != at || made.body["name"] != name {
		t.Errorf("got %s", made.raw)
	}
	body["properties"].(object)["description"] = "why"
	if p := f.as(owner, "PUT", at, body).want(t, 200, "").properties(); p["description"] != "why" {
		t.Errorf("the description did not change: %v", p)
	}
	f.as(owner, "GET", at, nil).want(t, 200, "")
	f.as(owner, "GET", vaultID+assignments+"/"+name, nil).want(t, 404, "RoleAssignmentNotFound")
	f.as(reader, "DELETE", at, nil).want(t, 403, "AuthorizationFailed")
	f.as(owner, "DELETE", sub+assignments+"/"+name, nil).want(t, 204, "")
	if a := f.as(owner, "DELETE", at, nil).want(t, 200, ""); a.body["name"] != name {
		t.Errorf("DELETE does not show what it removed: %s", a.raw)
	}
	f.as(owner, "DELETE", at, nil).want(t, 204, "")
}

func TestTheLastOwnerStays(t *testing.T) {
	f := newFixture(t)
	mine := f.assignments.By(primary(f), "principal", owner)[0]
	f.as(owner, "DELETE", sub+assignments+"/"+mine.Name, nil).want(t, 403, "LastRoleAssignmentDeletionNotAllowed")
	f.write(func(tx replica.Tx) { f.assign(tx, sub, "Owner", agent, "ServicePrincipal") })
	f.as(owner, "DELETE", sub+assignments+"/"+mine.Name, nil).want(t, 200, "")
}

func TestAnOrphanStaysListedWithItsType(t *testing.T) {
	f := newFixture(t)
	f.write(func(tx replica.Tx) {
		f.assign(tx, rg, "Reader", agent, "ServicePrincipal")
		f.env.Dir.ServicePrincipals.Delete(tx, agent)
	})
	items := f.as(owner, "GET", rg+assignments+"?$filter=principalId eq '"+agent+"'", nil).want(t, 200, "").items()
	if len(items) != 1 || items[0]["properties"].(object)["principalType"] != "ServicePrincipal" {
		t.Errorf("got %v", items)
	}
}

func TestListRoleAssignments(t *testing.T) {
	f := newFixture(t)
	f.write(func(tx replica.Tx) {
		f.assign(tx, vaultID, "Key Vault Secrets User", team, "Group")                 // below rg
		f.assign(tx, sub+"/resourceGroups/rg-other", "Reader", team, "Group")          // beside rg
		f.assign(tx, "/", "Reader", agent, "ServicePrincipal")                         // above all
		f.assign(tx, "/subscriptions/"+otherSub, "Reader", agent, "ServicePrincipal")  // elsewhere
		f.assign(tx, vaultID+"/secrets/one", "Key Vault Secrets User", reader, "User") // deep below
	})
	for _, row := range []struct {
		name, scope, filter string
		want                int
		code                string
	}{
		{"without a filter: above, at and below", rg, "", 5, ""},
		{"atScope(): above and at", rg, "atScope()", 3, ""},
		{"without a filter, at the subscription", sub, "", 6, ""},
		{"principalId: that principal, not its groups", rg, "principalId eq '" + reader + "'", 2, ""},
		{"principalId of a group", rg, "principalId eq '" + team + "'", 1, ""},
		{"assignedTo: also through nested groups", rg, "assignedTo('" + reader + "')", 3, ""},
		{"assignedTo and atScope: not below", rg, "atScope() and assignedTo('" + reader + "')", 1, ""},
		{"upper case ids and words are the same", rg, "ATSCOPE() AND ASSIGNEDTO('" + strings.ToUpper(reader) + "')", 1, ""},
		{"principalId and atScope cannot be joined", rg, "atScope() and principalId eq '" + reader + "'", 0, "UnsupportedQuery"},
		{"a filter that is none", rg, "atScope", 0, "InvalidFilterInQueryString"},
		{"a principal that is no GUID", rg, "principalId eq 'ann'", 0, "InvalidFilterInQueryString"},
		{"at one resource", vaultID, "atScope()", 4, ""},
		{"at one secret", vaultID + "/secrets/one", "atScope()", 5, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			path, status := row.scope+assignments, 200
			if row.filter != "" {
				path += "?$filter=" + row.filter
			}
			if row.code != "" {
				status = 400
			}
			a := f.as(owner, "GET", path, nil).want(t, status, row.code)
			if len(a.items()) != row.want {
				t.Errorf("got %d, want %d: %s", len(a.items()), row.want, a.raw)
			}
		})
	}
}

func TestALongListComesInPages(t *testing.T) {
	f := newFixture(t)
	f.write(func(tx replica.Tx) {
		for range 2*assignmentPage + 7 {
			f.assign(tx, rg, "Reader", uuid.NewString(), "User")
		}
	})
	seen := map[any]bool{}
	bearer := "Bearer " + f.token(owner, nil)
	next, pages := "https://arm.test"+rg+assignments+"?%24filter=atScope%28%29&"+version(rg+assignments), 0
	for ; next != ""; pages++ {
		a := f.send("GET", strings.TrimPrefix(next, "https://arm.test"), nil, bearer, false).want(t, 200, "")
		for _, i := range a.items() {
			seen[i["name"]] = true
		}
		next, _ = a.body["nextLink"].(string)
	}
	if pages != 3 || len(seen) != 2*assignmentPage+9 {
		t.Errorf("got %d assignments in %d pages", len(seen), pages)
	}
	f.as(owner, "GET", rg+assignments+"?$skipToken=%%%", nil).want(t, 400, "InvalidSkipToken")
}

func TestASubscriptionHoldsSoManyAssignments(t *testing.T) {
	f := newFixture(t)
	f.write(func(tx replica.Tx) {
		for i := range maxAssignments - 2 { // two are there already
			f.assign(tx, fmt.Sprintf("%s/resourceGroups/g%d", sub, i%50), "Reader", uuid.NewString(), "User")
		}
	})
	f.as(owner, "PUT", rg+assignments+"/"+absent, assignment(readerRole, agent, "")).want(t, 400, "RoleAssignmentLimitExceeded")
}

func TestReplicasShowAnAssignmentLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.store.SetLag(replica.ARM, time.Minute)
		const newcomer, name = "cccccccc-0000-0000-0000-000000000001", "bbbbbbbb-0000-0000-0000-000000000001"
		f.write(func(tx replica.Tx) {
			f.env.Dir.ServicePrincipals.Put(tx, newcomer, directory.ServicePrincipal{ID: newcomer, AppID: newcomer, AccountEnabled: true})
		})
		codes := map[string]int{}
		for range 30 { // without principalType ARM asks a replica of the directory; other names keep the triple from mattering
			a := f.as(owner, "PUT", vaultID+assignments+"/"+uuid.NewString(), assignment(readerRole, newcomer, ""))
			codes[a.code()]++
		}
		if codes["PrincipalNotFound"] == 0 {
			t.Errorf("no replica missed the new principal: %v", codes)
		}
		f.as(owner, "PUT", rg+assignments+"/"+name, assignment(readerRole, newcomer, "ServicePrincipal")).want(t, 201, "")
		f.as(owner, "PUT", rg+assignments+"/"+uuid.NewString(), assignment(readerRole, newcomer, "ServicePrincipal")).want(t, 409, "RoleAssignmentExists")
		refused, listed := 0, 0
		for range 30 {
			if f.as(newcomer, "GET", rg, nil).status == 403 {
				refused++
			}
			listed += len(f.as(owner, "GET", rg+assignments+"?$filter=atScope() and assignedTo('"+newcomer+"')", nil).items())
		}
		if refused == 0 || listed == 30 {
			t.Errorf("right after the PUT %d of 30 calls were refused and %d of 30 lists showed it", refused, listed)
		}
		time.Sleep(61 * time.Second)
		for range 30 {
			f.as(newcomer, "GET", rg, nil).want(t, 200, "")
		}
	})
}
