package cloudview

import (
	"context"
	"fmt"
	"strings"
)

// Want is what must be true of an agent that is provisioned.
type Want struct {
	Agent  string
	Grants map[string]bool // lower(scope|role GUID)
	Others int             // other applications of the display name that were there before
}

// Provisioned gives every way in which the cloud is not as it must be after a provision: exactly one application of ours, one service
// principal, no password, one certificate, and the planned assignments once each.
func (c *Cloud) Provisioned(ctx context.Context, w Want) ([]string, error) {
	n, err := c.Named(ctx, w.Agent)
	if err != nil {
		return nil, err
	}
	var bad []string
	complain := func(format string, a ...any) { bad = append(bad, fmt.Sprintf(format, a...)) }
	if len(n.Apps) != 1+w.Others {
		complain("%d applications, want %d", len(n.Apps), 1+w.Others)
	}
	if len(n.Principals) < 1 {
		complain("no service principal")
		return bad, nil
	}
	if len(n.DeletedApps)+len(n.DeletedSPs) > 0 {
		complain("%d applications and %d service principals in the recycle bin", len(n.DeletedApps), len(n.DeletedSPs))
	}
	ours := 0
	for _, a := range n.Apps {
		if !strings.HasPrefix(a.UniqueName, "leastkey-") {
			continue
		}
		ours++
		if len(a.Passwords) != 0 || len(a.Certificates) != 1 || a.Audience != "AzureADMyOrg" {
			complain("application has %d passwords, %d certificates, audience %s", len(a.Passwords), len(a.Certificates), a.Audience)
		}
		for _, p := range n.Principals {
			if p.AppID != a.AppID {
				continue
			}
			if !p.Enabled || len(p.Passwords)+len(p.Certificates) > 0 {
				complain("service principal enabled %v, %d passwords, %d certificates", p.Enabled, len(p.Passwords), len(p.Certificates))
			}
			more, err := c.assigned(ctx, p.ID, w.Grants)
			if err != nil {
				return nil, err
			}
			bad = append(bad, more...)
		}
	}
	if ours != 1 {
		complain("%d applications with our unique name, want 1", ours)
	}
	return bad, nil
}

func (c *Cloud) assigned(ctx context.Context, principal string, want map[string]bool) ([]string, error) {
	all, err := c.Assignments(ctx, principal)
	if err != nil {
		return nil, err
	}
	var bad []string
	count := map[string]int{}
	for _, a := range all {
		count[strings.ToLower(a.Scope+"|"+a.RoleID)]++
	}
	for k := range want {
		if count[k] != 1 {
			bad = append(bad, fmt.Sprintf("assignment %s is there %d times", k, count[k]))
		}
	}
	for k := range count {
		if !want[k] {
			bad = append(bad, "assignment "+k+" was not planned")
		}
	}
	return bad, nil
}

// Revoked gives every way in which something of the agent is left after a revoke. principal is its former id.
func (c *Cloud) Revoked(ctx context.Context, agent, principal string, purged bool) ([]string, error) {
	n, err := c.Named(ctx, agent)
	if err != nil {
		return nil, err
	}
	var bad []string
	if len(n.Apps)+len(n.Principals) > 0 {
		bad = append(bad, fmt.Sprintf("%d applications and %d service principals are left", len(n.Apps), len(n.Principals)))
	}
	if purged && len(n.DeletedApps)+len(n.DeletedSPs) > 0 {
		bad = append(bad, fmt.Sprintf("%d applications and %d service principals are left in the recycle bin", len(n.DeletedApps), len(n.DeletedSPs)))
	}
	all, err := c.Assignments(ctx, principal)
	if err != nil {
		return nil, err
	}
	if len(all) > 0 {
		bad = append(bad, fmt.Sprintf("%d role assignments are left", len(all)))
	}
	return bad, nil
}
