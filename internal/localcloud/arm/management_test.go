package arm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/managementgroups/armmanagementgroups"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const (
	groupsPath = "/providers/Microsoft.Management/managementGroups/"
	rootPath   = groupsPath + tenantID
)

// under is the body of a PUT of a management group.
func under(parent string) object {
	return object{"properties": object{"displayName": "Named", "details": object{"parent": object{"id": groupsPath + parent}}}}
}

// hierarchy makes root → platform → bots, and puts the subscription into bots. Owner owns platform and bots as their founder.
func hierarchy(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.as(owner, "PUT", groupsPath+"platform", object{"properties": object{"displayName": "Platform"}}).want(t, 202, "")
	f.as(owner, "PUT", groupsPath+"bots", under("platform")).want(t, 202, "")
	f.as(owner, "PUT", groupsPath+"bots/subscriptions/"+subID, nil).want(t, 200, "")
	return f
}

func TestAManagementGroupFromPutToDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		made := f.as(owner, "PUT", groupsPath+"bots", object{"properties": object{"displayName": "Bots"}}).want(t, 202, "")
		if made.body["status"] != "NotStarted" || made.header.Get("Location") == "" || made.header.Get("Azure-AsyncOperation") == "" {
			t.Errorf("got %s, %v", made.raw, made.header)
		}
		poll := strings.TrimPrefix(strings.TrimSuffix(made.header.Get("Location"), "?api-version=2024-02-01-preview"), "https://arm.test")
		if a := f.as(owner, "GET", poll, nil).want(t, 202, ""); a.body["status"] != "InProgress" {
			t.Errorf("got %s", a.raw)
		}
		f.as(reader, "GET", poll, nil).want(t, 404, "OperationNotFound")
		time.Sleep(settling)
		if a := f.as(owner, "GET", poll, nil).want(t, 200, ""); a.body["status"] != "Succeeded" {
			t.Errorf("got %s", a.raw)
		}
		shown := f.as(owner, "GET", groupsPath+"BOTS", nil).want(t, 200, "")
		details := shown.properties()["details"].(object)
		if shown.body["name"] != "bots" || details["parent"].(object)["id"] != rootPath || details["version"] != 1.0 {
			t.Errorf("got %s", shown.raw)
		}
		if own := f.as(owner, "GET", groupsPath+"bots"+assignments, nil).want(t, 200, "").items(); len(own) != 1 || own[0]["properties"].(object)["principalId"] != owner {
			t.Errorf("who founds a group owns it; got %v", own)
		}
		if again := f.as(owner, "PUT", groupsPath+"bots", object{"properties": object{"displayName": "Robots"}}).want(t, 200, ""); again.properties()["displayName"] != "Robots" || again.properties()["details"].(object)["version"] != 2.0 {
			t.Errorf("got %s", again.raw)
		}
		f.as(owner, "PUT", groupsPath+"bots/subscriptions/"+subID, nil).want(t, 200, "")
		f.as(owner, "DELETE", groupsPath+"bots", nil).want(t, 400, "BadRequest")
		f.as(owner, "DELETE", groupsPath+"bots/subscriptions/"+subID, nil).want(t, 200, "")
		f.as(owner, "DELETE", groupsPath+"bots/subscriptions/"+subID, nil).want(t, 204, "")
		f.as(owner, "DELETE", groupsPath+"bots", nil).want(t, 202, "")
		if n := len(f.assignments.By(primary(f), "principal", owner)); n != 1 {
			t.Errorf("%d role assignments are left; the group's own should have gone", n)
		}
	})
}

func TestWhoMayDoWhatWithManagementGroups(t *testing.T) {
	f := hierarchy(t)
	f.write(func(tx replica.Tx) { f.assign(tx, groupsPath+"platform", "Reader", nobody, "User") })
	for _, row := range []struct {
		sentence, who, method, path string
		body                        any
		status                      int
		code                        string
	}{
		{"every user may make a group under the root", reader, "PUT", groupsPath + "mine", object{}, 202, ""},
		{"a service principal may not", agent, "PUT", groupsPath + "its", object{}, 403, "AuthorizationFailed"},
		{"nobody may make one under a group of somebody else", reader, "PUT", groupsPath + "theirs", under("platform"), 403, "AuthorizationFailed"},
		{"a parent that does not exist is not found", owner, "PUT", groupsPath + "x", under("none"), 404, "NotFound"},
		{"a parent that is no group", owner, "PUT", groupsPath + "x", object{"properties": object{"details": object{"parent": object{"id": sub}}}}, 400, "BadRequest"},
		{"a name that ends with a period", owner, "PUT", groupsPath + "x.", object{}, 400, "BadRequest"},
		{"no body", owner, "PUT", groupsPath + "x", nil, 400, "InvalidRequestContent"},
		{"a reader reads below what it was given", nobody, "GET", groupsPath + "bots", nil, 200, ""},
		{"a reader does not write", nobody, "PUT", groupsPath + "bots", object{}, 403, "AuthorizationFailed"},
		{"a reader does not rename", nobody, "PATCH", groupsPath + "bots", object{"displayName": "x"}, 403, "AuthorizationFailed"},
		{"a reader does not delete", nobody, "DELETE", groupsPath + "bots", nil, 403, "AuthorizationFailed"},
		{"a reader does not move a subscription", nobody, "PUT", groupsPath + "platform/subscriptions/" + subID, nil, 403, "AuthorizationFailed"},
		{"rights come before existence", nobody, "GET", groupsPath + "none", nil, 403, "AuthorizationFailed"},
		{"an owner moves a group to where it has rights", owner, "PATCH", groupsPath + "bots", object{"parentGroupId": rootPath}, 200, ""},
		{"a group does not stand under itself", owner, "PATCH", groupsPath + "platform", object{"parentGroupId": groupsPath + "platform"}, 400, "BadRequest"},
		{"an expansion that there is not", owner, "GET", groupsPath + "bots?$expand=cousins", nil, 400, "BadRequest"},
		{"a filter that there is not", owner, "GET", groupsPath + "bots?$filter=name eq 'x'", nil, 400, "InvalidFilterInQueryString"},
		{"settings are not served", owner, "GET", groupsPath + "bots/settings", nil, 404, "NotFound"},
		{"a subscription that does not exist", owner, "PUT", groupsPath + "bots/subscriptions/" + absent, nil, 404, "SubscriptionNotFound"},
		{"a subscription of another group", owner, "GET", groupsPath + "bots/subscriptions/" + otherSub, nil, 404, "NotFound"},
		{"the subscription of the group", owner, "GET", groupsPath + "bots/subscriptions/" + subID, nil, 200, ""},
	} {
		t.Run(row.sentence, func(t *testing.T) { f.as(row.who, row.method, row.path, row.body).want(t, row.status, row.code) })
	}
	f.write(func(tx replica.Tx) { f.assign(tx, "/", "Owner", squad, "Group") })
	t.Run("the root is not deleted", func(t *testing.T) { f.as(reader, "DELETE", rootPath, nil).want(t, 400, "BadRequest") })
	t.Run("the root is not moved", func(t *testing.T) {
		f.as(reader, "PATCH", rootPath, object{"parentGroupId": groupsPath + "bots"}).want(t, 400, "BadRequest")
	})
	t.Run("the root may be renamed", func(t *testing.T) {
		f.as(reader, "PATCH", rootPath, object{"displayName": "Contoso"}).want(t, 200, "")
		if a := f.as(reader, "GET", rootPath, nil); a.properties()["displayName"] != "Contoso" || a.body["name"] != tenantID {
			t.Errorf("got %s", a.raw)
		}
	})
	t.Run("a group that does not exist is not found", func(t *testing.T) { f.as(reader, "GET", groupsPath+"none", nil).want(t, 404, "NotFound") })
	t.Run("one is deleted once", func(t *testing.T) { f.as(reader, "DELETE", groupsPath+"none", nil).want(t, 204, "") })
}

func TestRolesReachDownTheHierarchy(t *testing.T) {
	f := hierarchy(t)
	f.as(nobody, "GET", rg, nil).want(t, 403, "AuthorizationFailed")
	body := assignment(readerRole, nobody, "User")
	f.as(owner, "PUT", groupsPath+"platform"+assignments+"/"+absent, body).want(t, 201, "")
	f.as(owner, "PUT", groupsPath+"platform"+assignments+"/"+agent, body).want(t, 409, "RoleAssignmentExists")
	f.as(nobody, "GET", rg, nil).want(t, 200, "")
	f.as(nobody, "GET", "/subscriptions/"+otherSub, nil).want(t, 403, "AuthorizationFailed")
	for filter, want := range map[string]int{
		"?$filter=atScope()": 1, "?$filter=principalId eq '" + nobody + "'": 1, "?$filter=assignedTo('" + nobody + "')": 1, "?$filter=atScope() and assignedTo('" + nobody + "')": 1, "": 1,
	} {
		found := 0
		for _, a := range f.as(nobody, "GET", rg+assignments+filter, nil).want(t, 200, "").items() {
			if p := a["properties"].(object); p["principalId"] == nobody && p["scope"] == groupsPath+"platform" {
				found++
			}
		}
		if found != want {
			t.Errorf("%q shows the inherited assignment %d times", filter, found)
		}
	}
	if n := len(f.as(owner, "GET", groupsPath+"platform"+assignments, nil).items()); n != 5 {
		t.Errorf("at the group and below it are %d assignments: its two, one of bots, two in the subscription", n)
	}
	if n := len(f.as(owner, "GET", groupsPath+"platform"+assignments+"?$filter=atScope()", nil).items()); n != 2 {
		t.Errorf("at the group are %d assignments", n)
	}
	f.as(owner, "DELETE", groupsPath+"bots/subscriptions/"+subID, nil).want(t, 200, "")
	f.as(nobody, "GET", rg, nil).want(t, 403, "AuthorizationFailed")

	custom := object{"properties": object{"roleName": "Bot reader", "permissions": []object{{"actions": []string{"Microsoft.BotService/*/read"}}}, "assignableScopes": []string{groupsPath + "platform"}}}
	f.as(owner, "PUT", groupsPath+"platform"+definitions+"/"+absent, custom).want(t, 201, "")
	f.as(owner, "PUT", groupsPath+"bots"+assignments+"/"+agent, assignment(absent, agent, "ServicePrincipal")).want(t, 201, "")
	f.as(owner, "PUT", rg+assignments+"/"+agent, assignment(absent, agent, "ServicePrincipal")).want(t, 400, "RoleDefinitionDoesNotExist")
	if n := len(f.as(owner, "GET", groupsPath+"bots"+definitions+"?$filter=type eq 'CustomRole'", nil).items()); n != 1 {
		t.Errorf("the group below has %d custom roles", n)
	}
}

func TestTheHierarchyIsShown(t *testing.T) {
	f := hierarchy(t)
	children := func(query string) string {
		var names func(list any) []string
		names = func(list any) []string {
			var all []string
			items, _ := list.([]any)
			for _, i := range items {
				o := i.(object)
				all = append(all, o["name"].(string))
				all = append(all, names(o["children"])...)
			}
			return all
		}
		return strings.Join(names(f.as(owner, "GET", groupsPath+"platform"+query, nil).want(t, 200, "").properties()["children"]), " ")
	}
	if got := children("?$expand=children"); got != "bots" {
		t.Errorf("children are %q", got)
	}
	deep := f.send("GET", groupsPath+"platform?api-version=2021-04-01&$expand=children&$recurse=true", nil, "Bearer "+f.token(owner, nil), false).want(t, 200, "")
	if !strings.Contains(deep.raw, `"/subscriptions/`+subID+`"`) {
		t.Errorf("got %s", deep.raw)
	}
	shallow := f.send("GET", groupsPath+"platform?api-version=2021-04-01&$expand=children&$recurse=true&$filter=children.childType%20ne%20Subscription", nil, "Bearer "+f.token(owner, nil), false).want(t, 200, "")
	if strings.Contains(shallow.raw, subID) {
		t.Errorf("got %s", shallow.raw)
	}
	if a := f.as(owner, "GET", groupsPath+"bots?$expand=path", nil).properties()["details"].(object); fmt.Sprint(a["path"]) != "[map[displayName:Tenant Root Group name:"+tenantID+"] map[displayName:Platform name:platform]]" {
		t.Errorf("got %v", a["path"])
	}
	if a := f.as(owner, "GET", groupsPath+"bots?$expand=ancestors", nil).properties()["details"].(object); fmt.Sprint(a["managementGroupAncestors"]) != "[platform "+tenantID+"]" {
		t.Errorf("got %v", a)
	}
	if items := f.as(owner, "GET", groupsPath+"platform/descendants", nil).want(t, 200, "").items(); len(items) != 2 || items[1]["name"] != subID || items[1]["type"] != "Microsoft.Management/managementGroups/subscriptions" {
		t.Errorf("got %v", items)
	}
	page := f.as(owner, "GET", groupsPath+"platform/descendants?$top=1", nil).want(t, 200, "")
	if len(page.items()) != 1 || page.body["nextLink"] == nil {
		t.Errorf("got %s", page.raw)
	}
	for who, want := range map[string]int{owner: 2, reader: 0, agent: 0} {
		if n := len(f.as(who, "GET", strings.TrimSuffix(groupsPath, "/"), nil).want(t, 200, "").items()); n != want {
			t.Errorf("%s lists %d groups, want %d", who, n, want)
		}
	}
	for who, want := range map[string]int{owner: 3, reader: 1, agent: 0} {
		if a := f.as(who, "POST", "/providers/Microsoft.Management/getEntities", nil).want(t, 200, ""); len(a.items()) != want || a.body["count"] != float64(want) {
			t.Errorf("%s has %d entities, want %d: %s", who, len(a.items()), want, a.raw)
		}
	}
	entities := f.as(owner, "POST", "/providers/Microsoft.Management/getEntities", nil).items()
	i := slices.IndexFunc(entities, func(o object) bool { return o["name"] == "bots" })
	if p := entities[i]["properties"].(object); p["permissions"] != "delete" || p["numberOfDescendants"] != 1.0 || fmt.Sprint(p["parentDisplayNameChain"]) != "[Tenant Root Group Platform]" {
		t.Errorf("got %v", p)
	}
	free := func(name string) any {
		return f.as(owner, "POST", "/providers/Microsoft.Management/checkNameAvailability", object{"name": name, "type": managementType}).want(t, 200, "").body["nameAvailable"]
	}
	if free("BOTS") != false || free("bad.") != false || free("new") != true {
		t.Error("a name is free that is not, or is not that is")
	}
}

func TestAHierarchyHasSixLevels(t *testing.T) {
	f := newFixture(t)
	parent := tenantID
	for i := range maxLevels {
		name := fmt.Sprint("level", i+1)
		f.as(owner, "PUT", groupsPath+name, under(parent)).want(t, 202, "")
		parent = name
	}
	f.as(owner, "PUT", groupsPath+"level7", under(parent)).want(t, 400, "BadRequest")
	f.as(owner, "PUT", groupsPath+"other", object{}).want(t, 202, "")
	f.as(owner, "PATCH", groupsPath+"level1", object{"parentGroupId": groupsPath + "other"}).want(t, 400, "BadRequest")
	f.as(owner, "PATCH", groupsPath+"level1", object{"parentGroupId": groupsPath + "level6"}).want(t, 400, "BadRequest")
}

// Two moves, of which a replica has heard in the wrong order, may show a ring there.
func TestARingOnAReplicaEnds(t *testing.T) {
	f := newFixture(t)
	f.write(func(tx replica.Tx) {
		f.management.Put(tx, "a", ManagementGroup{Name: "a", Parent: "b"})
		f.management.Put(tx, "b", ManagementGroup{Name: "b", Parent: "a"})
	})
	if up := f.chain(primary(f), ID{ManagementGroup: "a"}); len(up) != 4 || up[3] != "/" {
		t.Errorf("got %q", up)
	}
	if groups, _ := f.family(primary(f), "a"); len(groups) != 2 {
		t.Errorf("got %v", groups)
	}
}

func TestTheSDKWorksWithManagementGroups(t *testing.T) {
	f := newFixture(t)
	o := f.serve(t)
	ctx := t.Context()
	c := must[*armmanagementgroups.Client](t)(armmanagementgroups.NewClient(credential{f, owner}, o))
	put := must[*runtime.Poller[armmanagementgroups.ClientCreateOrUpdateResponse]](t)(c.BeginCreateOrUpdate(ctx, "bots", armmanagementgroups.CreateManagementGroupRequest{Properties: &armmanagementgroups.CreateManagementGroupProperties{DisplayName: to.Ptr("Bots")}}, nil))
	made := must[armmanagementgroups.ClientCreateOrUpdateResponse](t)(put.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second}))
	if *made.Name != "bots" || *made.Properties.DisplayName != "Bots" || *made.Properties.Details.Parent.Name != tenantID {
		t.Errorf("got %+v", made)
	}
	subs := must[*armmanagementgroups.ManagementGroupSubscriptionsClient](t)(armmanagementgroups.NewManagementGroupSubscriptionsClient(credential{f, owner}, o))
	must[armmanagementgroups.ManagementGroupSubscriptionsClientCreateResponse](t)(subs.Create(ctx, "bots", subID, nil))
	if p := all(t, subs.NewGetSubscriptionsUnderManagementGroupPager("bots", nil)); len(p[0].Value) != 1 {
		t.Errorf("got %+v", p)
	}
	got := must[armmanagementgroups.ClientGetResponse](t)(c.Get(ctx, "bots", &armmanagementgroups.ClientGetOptions{Expand: to.Ptr(armmanagementgroups.ManagementGroupExpandTypeChildren), Recurse: to.Ptr(true)}))
	if len(got.Properties.Children) != 1 || *got.Properties.Children[0].Type != armmanagementgroups.ManagementGroupChildTypeSubscriptions {
		t.Errorf("got %+v", got.Properties)
	}
	if p := all(t, c.NewListPager(nil)); len(p[0].Value) != 1 {
		t.Errorf("got %+v", p)
	}
	if p := all(t, c.NewGetDescendantsPager("bots", nil)); len(p[0].Value) != 1 {
		t.Errorf("got %+v", p)
	}
	e := must[*armmanagementgroups.EntitiesClient](t)(armmanagementgroups.NewEntitiesClient(credential{f, owner}, o))
	if p := all(t, e.NewListPager(nil)); len(p[0].Value) != 2 {
		t.Errorf("got %+v", p)
	}
	must[armmanagementgroups.ManagementGroupSubscriptionsClientDeleteResponse](t)(subs.Delete(ctx, "bots", subID, nil))
	gone := must[*runtime.Poller[armmanagementgroups.ClientDeleteResponse]](t)(c.BeginDelete(ctx, "bots", nil))
	must[armmanagementgroups.ClientDeleteResponse](t)(gone.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: time.Second}))
	if _, err := c.Get(ctx, "bots", nil); code(err) != "AuthorizationFailed" {
		t.Errorf("got %v", err)
	}
}
