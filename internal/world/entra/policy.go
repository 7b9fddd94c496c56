package entra

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"sync"
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
		tenant managementPolicy
		own    []managementPolicy
		ownErr error
		both   sync.WaitGroup
	)
	both.Go(func() {
		k := call{op: "read the app management policies of application " + objectID, need: policyReading(), method: http.MethodGet, path: path + "/appManagementPolicies"}
		ownErr = pages(ctx, c, k, func(p managementPolicy) error { own = append(own, p); return nil })
	})
	op := "read the tenant's app management policy"
	_, err = c.do(ctx, call{op: op, need: policyReading(), method: http.MethodGet, path: "/policies/defaultAppManagementPolicy", out: &tenant})
	if both.Wait(); err != nil {
		return agent.CredentialPolicy{}, err
	}
	if ownErr != nil {
		return agent.CredentialPolicy{}, ownErr
	}
	if tenant.Enabled == nil {
		return agent.CredentialPolicy{}, fault.New(fault.Unknown, op+": the answer is not a policy", "check --cloud and the proxy")
	}
	for _, p := range own {
		if p.Enabled != nil && *p.Enabled {
			return c.demands(ctx, p.Name, p.Restrictions, path)
		}
	}
	if !*tenant.Enabled {
		return agent.CredentialPolicy{}, nil
	}
	return c.demands(ctx, tenant.Name, tenant.Applications, path)
}

// demands is what the restrictions ask of the application. When it was made is read only where they spare older ones.
func (c *Client) demands(ctx context.Context, name string, r restrictions, path string) (agent.CredentialPolicy, error) {
	var made struct {
		At time.Time `json:"createdDateTime"`
	}
	if r.spareOlder() {
		k := call{op: "read when the application was made", need: reading(), method: http.MethodGet, path: path, query: url.Values{"$select": {"createdDateTime"}}, out: &made}
		if _, err := c.do(ctx, k); err != nil {
			return agent.CredentialPolicy{}, err
		}
	}
	p := agent.CredentialPolicy{Policies: []string{name}}
	for _, x := range r.Passwords {
		p.NoPasswords = p.NoPasswords || x.binds("passwordAddition", made.At)
	}
	for _, x := range r.Keys {
		if !x.binds("asymmetricKeyLifetime", made.At) || x.Max == nil {
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

func (r restrictions) spareOlder() bool {
	after := func(x restriction) bool { return x.After != nil }
	return slices.ContainsFunc(r.Passwords, after) || slices.ContainsFunc(r.Keys, after)
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
