package entra

import (
	"context"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// policyReading is the right to read app management policies.
func policyReading() right { return right{"Global Reader", "Policy.Read.All"} }

// restriction is one rule of an app management policy (Microsoft, "passwordCredentialConfiguration" and "keyCredentialConfiguration").
type restriction struct {
	Type  string     `json:"restrictionType"`
	State string     `json:"state"`
	Max   *string    `json:"maxLifetime"`
	After *time.Time `json:"restrictForAppsCreatedAfterDateTime"`
}

func (r restriction) binds(kind string, created time.Time) bool {
	return r.Type == kind && r.State != "disabled" && (r.After == nil || created.After(*r.After))
}

type restrictions struct {
	Passwords []restriction `json:"passwordCredentials"`
	Keys      []restriction `json:"keyCredentials"`
}

type managementPolicy struct {
	ID           string       `json:"id"`
	Name         string       `json:"displayName"`
	Enabled      *bool        `json:"isEnabled"`
	Restrictions restrictions `json:"restrictions"`            // of a policy for some applications
	Applications restrictions `json:"applicationRestrictions"` // of the tenant's
}

// CredentialPolicy is what the tenant's app management policies demand of one application: the policy that is assigned to it, if there is
// one in force, otherwise the tenant's default (Microsoft, "Microsoft Entra application management policies API overview").
func (c *Client) CredentialPolicy(ctx context.Context, objectID string) (agent.CredentialPolicy, error) {
	path, err := object("applications", objectID)
	if err != nil {
		return agent.CredentialPolicy{}, err
	}
	var (
		tenant  managementPolicy
		created struct {
			At time.Time `json:"createdDateTime"`
		}
	)
	op := "read the tenant's app management policy"
	if _, err := c.do(ctx, call{op: op, need: policyReading(), method: http.MethodGet, path: "/policies/defaultAppManagementPolicy", out: &tenant}); err != nil {
		return agent.CredentialPolicy{}, err
	}
	if tenant.Enabled == nil {
		return agent.CredentialPolicy{}, fault.New(fault.Unknown, op+": the answer is not a policy", "check --cloud and the proxy")
	}
	var own []managementPolicy
	k := call{op: "read the app management policies of application " + objectID, need: policyReading(), method: http.MethodGet, path: path + "/appManagementPolicies"}
	if err := pages(ctx, c, k, func(p managementPolicy) error { own = append(own, p); return nil }); err != nil {
		return agent.CredentialPolicy{}, err
	}
	if _, err := c.do(ctx, call{op: "read when application " + objectID + " was made", need: reading(), method: http.MethodGet, path: path, query: map[string][]string{"$select": {"createdDateTime"}}, out: &created}); err != nil {
		return agent.CredentialPolicy{}, err
	}
	for _, p := range own {
		if p.Enabled != nil && *p.Enabled {
			return demands(p.Name, p.Restrictions, created.At)
		}
	}
	if !*tenant.Enabled {
		return agent.CredentialPolicy{}, nil
	}
	return demands(tenant.Name, tenant.Applications, created.At)
}

func demands(name string, r restrictions, created time.Time) (agent.CredentialPolicy, error) {
	p := agent.CredentialPolicy{Policies: []string{name}}
	for _, x := range r.Passwords {
		p.NoPasswords = p.NoPasswords || x.binds("passwordAddition", created)
	}
	for _, x := range r.Keys {
		if !x.binds("asymmetricKeyLifetime", created) || x.Max == nil {
			continue
		}
		life, ok := lifetime(*x.Max)
		if !ok {
			return agent.CredentialPolicy{}, fault.New(fault.Unknown, "app management policy "+name+": a lifetime does not read", "")
		}
		if p.LongestLife == 0 || life < p.LongestLife {
			p.LongestLife = life
		}
	}
	return p, nil
}

// span is a duration in whole seconds as Graph writes it (OData 4.01, Edm.Duration), such as P365D.
var span = regexp.MustCompile(`^P(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,9})S)?)?$`)

func lifetime(s string) (time.Duration, bool) {
	m := span.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	const longest = 200 * 365 * 24 * time.Hour // of what a Duration can hold
	var d time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.Atoi(m[i+1])
		if err != nil || time.Duration(n) > longest/unit {
			return 0, false
		}
		d += time.Duration(n) * unit
	}
	return d, d > 0
}
