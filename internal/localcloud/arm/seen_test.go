package arm

import (
	"net/url"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// What one may read is one thing, asked for alone or in a list.
func TestAConditionHoldsInListsAsItDoesAlone(t *testing.T) {
	for condition, visible := range map[string]bool{
		"@Environment[UtcNow] DateTimeLessThan '2100-01-01T00:00:00.0Z'":    true,
		"@Environment[UtcNow] DateTimeGreaterThan '2100-01-01T00:00:00.0Z'": false,
		"NOT Exists @Environment[UtcNow]":                                   false,
		"@Environment[isPrivateLink] BoolEquals false":                      true,
	} {
		t.Run(condition, func(t *testing.T) {
			f := newFixture(t)
			f.write(func(tx replica.Tx) {
				a := f.assign(tx, rg, "Reader", nobody, "User")
				a.Condition, a.ConditionVersion = condition, conditionVersion
				f.assignments.Put(tx, strings.ToLower(a.Name), a)
			})
			shown := func(names string) bool { return strings.Contains(" "+names+" ", " bot ") }
			listed := ""
			for _, i := range f.as(nobody, "GET", rg+"/resources", nil).want(t, 200, "").items() {
				listed += " " + i["name"].(string)
			}
			groups := len(f.as(nobody, "GET", sub+"/resourceGroups", nil).want(t, 200, "").items()) == 1
			for where, got := range map[string]bool{
				"alone": f.as(nobody, "GET", botID, nil).status == 200, "in a list": shown(listed), "as a group": groups,
				"in Resource Graph": shown(f.query(nobody, "resources | project name", nil).want(t, 200, "").data("name")),
			} {
				if got != visible {
					t.Errorf("%s it is shown: %v, want %v", where, got, visible)
				}
			}
		})
	}
}

// A stranger who has some role in the subscription may see that an operation has ended, not what it has made.
func TestTheOutcomeOfAnOperationIsForWhoMayReadIt(t *testing.T) {
	f := newFixture(t)
	f.write(func(tx replica.Tx) { f.assign(tx, sub+"/resourceGroups/rg-other", "Reader", nobody, "User") })
	made := f.as(owner, "PUT", rg+"/providers/Microsoft.App/sessionPools/pool", object{"location": "eastus", "properties": object{"canary": "canary-body"}}).want(t, 201, "")
	f.write(func(tx replica.Tx) {
		for _, op := range f.operations.All(tx.View) {
			op.Ends = op.Began
			f.operations.Put(tx, op.ID, op)
		}
	})
	result := made.header.Get("Location")
	if u, err := url.Parse(result); err != nil || !strings.Contains(u.Path, "operationResults") {
		t.Fatalf("got %q", result)
	}
	if a := f.follow(nobody, result).want(t, 200, ""); strings.Contains(a.raw, "canary-body") || strings.Contains(a.raw, "sessionPools") {
		t.Errorf("a stranger reads %s", a.raw)
	}
	for _, who := range []string{owner, reader} {
		if a := f.follow(who, result).want(t, 200, ""); !strings.Contains(a.raw, "canary-body") {
			t.Errorf("%s, who may read it, reads %s", who, a.raw)
		}
	}
}
