package arm

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// graphPage is an answer of Azure Resource Graph.
func graphPage(data, more string) reply {
	return ok(`{"totalRecords":1,"count":1,"resultTruncated":"` + map[bool]string{true: "true", false: "false"}[more == "cut"] + `","facets":[],"data":` + data + further(more) + `}`)
}

func further(token string) string {
	if token == "" || token == "cut" {
		return ""
	}
	return `,"$skipToken":"` + token + `"`
}

func shown(scope, to string) string {
	return `{"id":"` + scope + `/providers/Microsoft.Authorization/roleAssignments/` + name + `","name":"` + name + `","role":"/providers/Microsoft.Authorization/RoleDefinitions/` + strings.ToUpper(reader) + `","scope":"` + scope + `","principal":"` + to + `","condition":""}`
}

func TestAssignmentsAnywhereAreReadToTheEnd(t *testing.T) {
	const sibling = "/providers/Microsoft.Management/managementGroups/sibling"
	c, m := serve(t, graphPage("["+shown(group, principal)+"]", "next"), graphPage("["+shown(sibling, other)+"]", ""))
	all, err := c.AssignedAnywhere(t.Context(), []string{principal, other})
	if err != nil || len(all) != 2 || all[0].RoleID != reader || all[1].Scope != sibling || all[1].PrincipalID != other {
		t.Fatalf("%+v: %v", all, err)
	}
	for _, part := range []string{"authorizationresources", "'" + principal + "','" + other + "'", `"AtScopeAboveAndBelow"`, `"objectArray"`} {
		if !strings.Contains(m.asked[0].body, part) {
			t.Errorf("asked %s, want %s in it", m.asked[0].body, part)
		}
	}
	if strings.Contains(m.asked[0].body, "subscriptions") || !strings.Contains(m.asked[1].body, `"$skipToken":"next"`) {
		t.Errorf("asked %+v", m.asked)
	}
}

func TestAGraphThatDoesNotShowAllIsNoAnswer(t *testing.T) {
	for _, r := range []reply{
		graphPage("[]", "cut"), graphPage(`{"rows":[]}`, ""), graphPage(`["x"]`, ""), graphPage(`[{"id":"x"}]`, ""),
		problem(403, "AccessDenied", "x"), problem(400, "BadRequest", "x"), problem(503, "ServerBusy", "x"),
	} {
		c, _ := serve(t, r)
		if all, err := c.AssignedAnywhere(t.Context(), []string{principal}); err == nil || all != nil {
			t.Errorf("%s: %v, %v", r.body, all, err)
		}
	}
	c, _ := serve(t)
	if _, err := c.AssignedAnywhere(t.Context(), []string{"x') or ('1' == '1"}); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
	if _, err := c.AttachedTo(t.Context(), "/x' or '"); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

func TestWhatTheGraphShowsIsTold(t *testing.T) {
	c, m := serve(t,
		graphPage(`[{"id":"/subscriptions/s","type":"microsoft.resources/subscriptions","subscriptionId":"s","name":"Sub"},{"id":"/g","type":"microsoft.management/managementgroups","name":"platform"}]`, ""),
		graphPage(`[{"id":"`+vault+`"}]`, ""), problem(403, "AccessDenied", "x"))
	subs, groups, err := c.Visible(t.Context())
	if err != nil || len(subs) != 1 || subs[0] != "s" || len(groups) != 1 || groups[0] != "platform" {
		t.Errorf("%v %v %v", subs, groups, err)
	}
	if ids, err := c.AttachedTo(t.Context(), vault); err != nil || len(ids) != 1 || ids[0] != vault {
		t.Errorf("%v %v", ids, err)
	}
	if !strings.Contains(m.asked[1].body, `userAssignedIdentities`) {
		t.Errorf("asked %s", m.asked[1].body)
	}
	if _, _, err := c.Visible(t.Context()); !fault.Is(err, fault.Forbidden) {
		t.Error(err)
	}
}

func TestAssignmentsAtAScopeAreEverybodys(t *testing.T) {
	c, m := serve(t, ok(`{"value":[{"id":"/x","name":"`+name+`","properties":{"roleDefinitionId":"/y/`+reader+`","principalId":"`+other+`","scope":"`+vault+`"}}]}`))
	all, err := c.AssignmentsAt(t.Context(), vault)
	if err != nil || len(all) != 1 || all[0].PrincipalID != other {
		t.Errorf("%+v %v", all, err)
	}
	if !strings.Contains(m.asked[0].line, "$filter=atScope%28%29") && !strings.Contains(m.asked[0].line, "%24filter=atScope%28%29") {
		t.Errorf("asked %s", m.asked[0].line)
	}
}
