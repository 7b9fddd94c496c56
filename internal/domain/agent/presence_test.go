package agent_test

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/role"
)

const (
	readerRole  = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	officerRole = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
	botRole     = "9fc6112f-f48e-4e27-8b09-72a5c94e4ae9"
)

func TestPresence(t *testing.T) {
	const (
		people     = "99999999-0000-0000-0000-000000000009"
		otherSub   = "/subscriptions/22222222-0000-0000-0000-0000000000ff"
		management = "/providers/Microsoft.Management/managementGroups/platform"
	)
	at := func(id, scope string) agent.Assignment {
		return agent.Assignment{ID: scope + "/a/" + id, Name: id, RoleID: id, Scope: scope, PrincipalID: principal}
	}
	by := func(a agent.Assignment, who string) agent.Assignment { a.PrincipalID = who; return a }
	when := func(a agent.Assignment, condition string) agent.Assignment { a.Condition = condition; return a }
	whole := []string{"/subscriptions/" + sub}
	reader := role.Grant{Role: "Reader", RoleID: readerRole, Scope: group}
	officer := role.Grant{Role: "Key Vault Secrets Officer", RoleID: officerRole, Scope: vault}

	for _, c := range []struct {
		name      string
		want      role.Grant
		held      []agent.Assignment
		read      []string
		standing  agent.Standing
		by        string // scope
		inherited bool
		group     string
		detail    string
	}{
		{"the role at the very scope is there", reader, []agent.Assignment{at(readerRole, group)}, whole, agent.Held, group, false, "", "assigned on group polyclaw-rg"},
		{"case of scope and id does not count", reader, []agent.Assignment{at(strings.ToUpper(readerRole), strings.ToUpper(group))}, whole, agent.Held, strings.ToUpper(group), false, "", "assigned on"},
		{"the group above the vault reaches the vault", officer, []agent.Assignment{at(officerRole, group)}, whole, agent.Held, group, true, "", "inherited from group polyclaw-rg"},
		{"the subscription reaches the group", reader, []agent.Assignment{at(readerRole, whole[0])}, whole, agent.Held, whole[0], true, "", "inherited from subscription"},
		{"the whole tenant reaches the group", reader, []agent.Assignment{at(readerRole, "/")}, whole, agent.Held, "/", true, "", "inherited from the whole tenant"},
		{"a management group above the only subscription that was read reaches it", reader, []agent.Assignment{at(readerRole, management)}, whole, agent.Held, management, true, "", "inherited from management group platform"},
		{"a management group may not lie above one of two subscriptions", reader, []agent.Assignment{at(readerRole, management)}, []string{whole[0], otherSub}, agent.NotSeen, "", false, "", "which subscriptions lie below"},
		{"a group that the identity is in brings the role", reader, []agent.Assignment{by(at(readerRole, group), people)}, whole, agent.Held, group, false, people, "through group " + people},
		{"its own assignment is told before a group's", reader, []agent.Assignment{by(at(readerRole, group), people), at(readerRole, whole[0])}, whole, agent.Held, whole[0], true, "", "inherited"},
		{"the very scope is told before the one above", reader, []agent.Assignment{at(readerRole, whole[0]), at(readerRole, group)}, whole, agent.Held, group, false, "", "assigned on group"},
		{"the role on the vault does not reach the group", reader, []agent.Assignment{at(readerRole, vault)}, whole, agent.Missing, "", false, "", "assigned on vaults kv, which does not reach that far"},
		{"a group whose name begins alike is another group", reader, []agent.Assignment{at(readerRole, group+"2")}, whole, agent.Missing, "", false, "", "does not reach that far"},
		{"another role of a similar name is not the role", officer, []agent.Assignment{{RoleID: botRole, Role: "Key Vault Secrets Officer", Scope: vault, PrincipalID: principal}}, whole, agent.Missing, "", false, "", "not among the 1 role"},
		{"a condition may narrow it, so it is missing", reader, []agent.Assignment{when(at(readerRole, group), "(1 == 2)")}, whole, agent.Missing, "", false, "", "only under a condition: (1 == 2)"},
		{"beside one under a condition a plain one counts", reader, []agent.Assignment{when(at(readerRole, group), "(1 == 2)"), at(readerRole, whole[0])}, whole, agent.Held, whole[0], true, "", "inherited"},
		{"nothing at all is missing", reader, nil, whole, agent.Missing, "", false, "", "not among the 0 role"},
		{"where nobody could look nothing is missing", reader, nil, nil, agent.NotSeen, "", false, "", "nobody could read"},
		{"a list of another subscription says nothing", reader, nil, []string{otherSub}, agent.NotSeen, "", false, "", "nobody could read"},
		{"a list of the vault shows what lies above it", reader, nil, []string{vault}, agent.Missing, "", false, "", "not among"},
		{"a list of another resource says nothing of the vault", officer, nil, []string{group + "/providers/Microsoft.App/sessionPools/p"}, agent.NotSeen, "", false, "", "nobody could read"},
		{"what was seen counts wherever it was read", reader, []agent.Assignment{at(readerRole, group)}, nil, agent.Held, group, false, "", "assigned on"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := agent.Presence(agent.Holdings{PrincipalID: principal, Assignments: c.held, Readable: c.read}, c.want)
			if p.Standing != c.standing || p.By.Scope != c.by || p.Inherited != c.inherited || p.Group != c.group {
				t.Errorf("%+v", p)
			}
			if !strings.Contains(p.Detail, c.detail) {
				t.Errorf("detail %q, want %q in it", p.Detail, c.detail)
			}
		})
	}
}
