package arm

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resourcegraph/armresourcegraph"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const graphPath = "/providers/Microsoft.ResourceGraph/resources"

// bulk is the query with which programs read all role assignments.
const bulk = `authorizationresources | where type =~ 'microsoft.authorization/roleassignments' | extend principalId=tolower(tostring(properties.principalId)), roleId=tolower(tostring(properties.roleDefinitionId)), scope=tolower(tostring(properties.scope)), principalType=tostring(properties.principalType) | project id,name,principalId,roleId,scope,principalType`

func (f *fixture) query(oid, query string, more object) answer {
	f.t.Helper()
	body := object{"subscriptions": []string{subID}, "query": query}
	for k, v := range more {
		body[k] = v
	}
	return f.as(oid, "POST", graphPath, body)
}

// data is the values of a column of an answer, with blanks between them.
func (a answer) data(column string) string {
	var all []string
	rows, _ := a.body["data"].([]any)
	for _, r := range rows {
		all = append(all, fmt.Sprint(r.(object)[column]))
	}
	return strings.Join(all, " ")
}

func TestResourceGraphShowsWhatTheCallerMayRead(t *testing.T) {
	f := hierarchy(t)
	tenant := object{"subscriptions": []string{}}
	group := object{"subscriptions": []string{}, "managementGroups": []string{"platform"}}
	filter := func(word string) object { return object{"options": object{"authorizationScopeFilter": word}} }
	const roles = "authorizationresources | where type =~ 'microsoft.authorization/roleassignments' "
	for _, row := range []struct {
		sentence, who, query string
		more                 object
		column, want         string
	}{
		{"an owner reads every assignment of the subscription", owner, bulk + " | order by scope asc", nil, "principalId", owner + " " + reader},
		{"a reader of a group reads that of the group", reader, bulk, nil, "principalId", reader},
		{"types and ids can be compared as the samples do", reader, bulk, nil, "roleId", "/providers/microsoft.authorization/roledefinitions/" + readerRole},
		{"a principal's own", owner, roles + "and properties.principalId == '" + reader + "' | project s = tostring(properties.scope)", nil, "s", rg},
		{"a principal that has none", owner, roles + "and properties.principalId == '" + agent + "'", nil, "id", ""},
		{"a principal's own with those of the groups above", owner, roles + "and properties.principalId == '" + owner + "' | project s = tostring(properties.scope) | order by s asc", filter("AtScopeAboveAndBelow"), "s", groupsPath + "bots " + groupsPath + "platform " + sub},
		{"what is above the subscription is not below it", owner, roles + "| count", nil, "Count", "2"},
		{"with what is above", owner, roles + "| count", filter("AtScopeAndAbove"), "Count", "3"},
		{"above and below", owner, roles + "| count", filter("AtScopeAboveAndBelow"), "Count", "4"},
		{"exactly there", owner, roles + "| count", filter("AtScopeExact"), "Count", "1"},
		{"a management group and all below it", owner, roles + "| count", group, "Count", "4"},
		{"the tenant", owner, roles + "| count", tenant, "Count", "4"},
		{"the tenant, of somebody with one group", reader, roles + "| count", tenant, "Count", "1"},
		{"role definitions", owner, "authorizationresources | where type == 'microsoft.authorization/roledefinitions' | where properties.roleName == 'Reader' | project id, t = tostring(properties.type)", nil, "id", "/providers/Microsoft.Authorization/RoleDefinitions/" + readerRole},
		{"both", owner, "AuthorizationResources | summarize n = count() by type | where n == 2", nil, "type", "microsoft.authorization/roleassignments"},
		{"resources", owner, "Resources | project name | order by name asc", nil, "name", "bot kv-bots"},
		{"the table may be left out", owner, "where type =~ 'Microsoft.KeyVault/vaults' | project name", nil, "name", "kv-bots"},
		{"types are in lower case", owner, "resources | where type == 'Microsoft.KeyVault/vaults'", nil, "name", ""},
		{"resources of a group", reader, "resources | where resourceGroup == 'rg-bots' | where properties.enableRbacAuthorization == true | project name", nil, "name", "kv-bots"},
		{"of a group that does not exist", owner, "resources | where resourceGroup == 'none'", nil, "name", ""},
		{"of two types", owner, "resources | where type in~ ('Microsoft.KeyVault/vaults', 'microsoft.botservice/botservices') | summarize count() by type | order by type asc", nil, "type", "microsoft.botservice/botservices microsoft.keyvault/vaults"},
		{"groups", owner, "resourcecontainers | where type == 'microsoft.resources/subscriptions/resourcegroups' | project name | order by name asc", nil, "name", "rg-bots rg-other"},
		{"groups that the caller may read", reader, "resourcecontainers | where type == 'microsoft.resources/subscriptions/resourcegroups' | project name", nil, "name", "rg-bots"},
		{"the subscription with the groups above it", owner, "ResourceContainers | where type == 'microsoft.resources/subscriptions' | project n = tostring(properties.managementGroupAncestorsChain[0].name)", nil, "n", "bots"},
		{"management groups", owner, "resourcecontainers | where type == 'microsoft.management/managementgroups' | project name | order by name asc", group, "name", "bots platform"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			a := f.query(row.who, row.query, row.more).want(t, 200, "")
			if got := a.data(row.column); got != row.want {
				t.Errorf("got %q, want %q: %s", got, row.want, a.raw)
			}
		})
	}
}

func TestResourceGraphRefuses(t *testing.T) {
	f := newFixture(t)
	for _, row := range []struct {
		sentence, who, query string
		more                 object
		detail               string
		status               int
	}{
		{"what is no query", owner, "resources | where", nil, "InvalidQuery ParserFailure", 400},
		{"an operator that is not served", owner, "resources | join kind=inner (x) on id", nil, "InvalidQuery InvalidQueryLanguage", 400},
		{"a column that does not exist", owner, "resources | project colour", nil, "InvalidQuery SemanticError", 400},
		{"a table that is not served", owner, "securityresources | count", nil, "DisallowedLogicalTableName", 400},
		{"a subscription that the caller does not see", nobody, "resources", nil, "NoValidSubscriptionsInQueryRequest", 400},
		{"a subscription that does not exist", owner, "resources", object{"subscriptions": []string{absent}}, "NoValidSubscriptionsInQueryRequest", 400},
		{"a management group that the caller does not see", owner, "resources", object{"subscriptions": nil, "managementGroups": []string{"none"}}, "NoValidSubscriptionsInQueryRequest", 400},
		{"a caller who sees nothing", nobody, "resources", object{"subscriptions": nil}, "", 403},
		{"facets", owner, "resources", object{"facets": []object{{"expression": "type"}}}, "FacetsNotSupported", 400},
		{"too large a page", owner, "resources", object{"options": object{"$top": 1001}}, "InvalidTop", 400},
		{"a format of its own", owner, "resources", object{"options": object{"resultFormat": "csv"}}, "InvalidResultFormat", 400},
		{"a filter of its own", owner, "resources", object{"options": object{"authorizationScopeFilter": "Beside"}}, "InvalidAuthorizationScopeFilter", 400},
		{"a forged token", owner, "resources", object{"options": object{"$skipToken": "eyJuIjowfQ"}}, "InvalidSkipToken", 400},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			a := f.query(row.who, row.query, row.more)
			e, _ := a.body["error"].(object)
			details, _ := e["details"].([]any)
			var codes []string
			for _, d := range details {
				codes = append(codes, d.(object)["code"].(string))
			}
			if a.status != row.status || strings.Join(codes, " ") != row.detail {
				t.Errorf("got %d %v, want %d %s: %s", a.status, codes, row.status, row.detail, a.raw)
			}
		})
	}
	parser := f.query(owner, "resources\n| where name = 'x'", nil).body["error"].(object)["details"].([]any)[1].(object)
	if parser["line"] != 2.0 || parser["characterPositionInLine"] != 13.0 || parser["token"] != "=" {
		t.Errorf("got %v", parser)
	}
}

func TestResourceGraphPagesAndFormats(t *testing.T) {
	f := newFixture(t)
	f.write(func(tx replica.Tx) {
		for i := range 5 {
			f.assign(tx, vaultID, "Reader", fmt.Sprintf("bbbbbbbb-0000-0000-0000-%012d", i), "User")
		}
	})
	options := func(o object) object { return object{"options": o} }
	first := f.query(owner, bulk, options(object{"$top": 3})).want(t, 200, "")
	token, _ := first.body["$skipToken"].(string)
	if first.body["totalRecords"] != 7.0 || first.body["count"] != 3.0 || first.body["resultTruncated"] != "false" || token == "" {
		t.Fatalf("got %s", first.raw)
	}
	if first.header.Get("x-ms-user-quota-remaining") == "" || first.header.Get("x-ms-user-quota-resets-after") != "00:00:05" {
		t.Errorf("got %v", first.header)
	}
	seen := strings.Fields(first.data("id"))
	second := f.query(owner, bulk, options(object{"$skipToken": token})).want(t, 200, "")
	seen = append(seen, strings.Fields(second.data("id"))...)
	last := f.query(owner, bulk, options(object{"$skipToken": second.body["$skipToken"]})).want(t, 200, "")
	if seen = append(seen, strings.Fields(last.data("id"))...); len(seen) != 7 || last.body["count"] != 1.0 || last.body["$skipToken"] != nil {
		t.Errorf("got %d records, the last of them %s", len(seen), last.raw)
	}
	f.query(owner, bulk+" | where name != ''", options(object{"$skipToken": token})).want(t, 400, "BadRequest")
	f.query(reader, bulk, options(object{"$skipToken": token})).want(t, 400, "BadRequest")

	for query, truncated := range map[string]string{bulk + " | project name": "true", bulk + " | take 5": "true", bulk + " | take 3": "false"} {
		if a := f.query(owner, query, options(object{"$top": 3})).want(t, 200, ""); a.body["resultTruncated"] != truncated || a.body["$skipToken"] != nil {
			t.Errorf("%s: got %s", query, a.raw)
		}
	}
	if a := f.query(owner, bulk, options(object{"$skip": 6})).want(t, 200, ""); a.body["count"] != 1.0 {
		t.Errorf("got %s", a.raw)
	}
	if a := f.query(owner, bulk+" | take 2", options(object{"$skip": 1})).want(t, 200, ""); a.body["count"] != 2.0 {
		t.Errorf("where the query takes some, none are skipped: %s", a.raw)
	}
	table := f.query(owner, "resources | where name == 'bot' | project name, tags, n = strlen(name), b = name == 'bot'", options(object{"resultFormat": "table"})).want(t, 200, "")
	const want = `"data":{"columns":[{"name":"name","type":"string"},{"name":"tags","type":"object"},{"name":"n","type":"integer"},{"name":"b","type":"boolean"}],"rows":[["bot",null,3,true]]}`
	if !strings.Contains(table.raw, want) {
		t.Errorf("got %s", table.raw)
	}
	old := f.send("POST", graphPath+"?api-version=2019-04-01", object{"subscriptions": []string{subID}, "query": "resources | take 1 | project name"}, "Bearer "+f.token(owner, nil), false).want(t, 200, "")
	if !strings.Contains(old.raw, `"columns"`) {
		t.Errorf("the first versions answered with tables: %s", old.raw)
	}
}

// What is not on the replica is not in the answer: the lag is that of the ARM plane.
func TestResourceGraphLags(t *testing.T) {
	f := newFixture(t)
	f.store.SetLag(replica.ARM, 1<<40)
	f.write(func(tx replica.Tx) { f.assign(tx, vaultID, "Reader", agent, "ServicePrincipal") })
	missed := 0
	for range 20 {
		if f.query(owner, bulk+" | where principalId == '"+agent+"'", nil).want(t, 200, "").body["count"] == 0.0 {
			missed++
		}
	}
	if missed == 0 {
		t.Error("every replica knew at once")
	}
}

func TestTheSDKQueriesResourceGraph(t *testing.T) {
	f := newFixture(t)
	c := must[*armresourcegraph.Client](t)(armresourcegraph.NewClient(credential{f, owner}, f.serve(t)))
	a := must[armresourcegraph.ClientResourcesResponse](t)(c.Resources(t.Context(), armresourcegraph.QueryRequest{
		Subscriptions: []*string{to.Ptr(subID)}, Query: to.Ptr(bulk),
		Options: &armresourcegraph.QueryRequestOptions{ResultFormat: to.Ptr(armresourcegraph.ResultFormatObjectArray), Top: to.Ptr[int32](1)},
	}, nil))
	if rows, _ := a.Data.([]any); *a.TotalRecords != 2 || *a.Count != 1 || len(rows) != 1 || a.SkipToken == nil || *a.ResultTruncated != armresourcegraph.ResultTruncatedFalse {
		t.Errorf("got %+v", a)
	}
	_, err := c.Resources(t.Context(), armresourcegraph.QueryRequest{Query: to.Ptr("resources | where")}, nil)
	if code(err) != "BadRequest" || !strings.Contains(err.Error(), "ParserFailure") {
		t.Errorf("got %v", err)
	}
	f.send(http.MethodGet, graphPath, nil, "Bearer "+f.token(owner, nil), true).want(t, 404, "NotFound")
}
