package graph

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Ids of the policies that each tenant has one of. The first is the id that Graph shows for the tenant's app management policy.
const (
	defaultPolicyID       = "00000000-0000-0000-0000-000000000000"
	defaultPolicyRow      = "default"
	authorizationPolicyID = "authorizationPolicy"
)

func policyRoutes() []route {
	const tenant, custom, authorization = "policies/defaultAppManagementPolicy", "policies/appManagementPolicies", "policies/authorizationPolicy"
	return []route{
		{method: "GET", segments: path(tenant), op: "policy.read", look: (*call).getDefaultPolicy},
		{method: "PATCH", segments: path(tenant), op: "policy.write", do: (*call).updateDefaultPolicy},
		{method: "GET", segments: path(custom), op: "policy.read", look: (*call).listPolicies},
		{method: "POST", segments: path(custom), op: "policy.write", do: (*call).createPolicy},
		{method: "GET", segments: path(custom + "/{policy}"), op: "policy.read", look: (*call).getPolicy},
		{method: "PATCH", segments: path(custom + "/{policy}"), op: "policy.write", look: (*call).lookPolicy, do: (*call).updatePolicy},
		{method: "DELETE", segments: path(custom + "/{policy}"), op: "policy.write", look: (*call).lookPolicy, do: (*call).deletePolicy},
		{method: "GET", segments: path(authorization), op: "authorizationPolicy.read", look: (*call).getAuthorizationPolicy},
		{method: "PATCH", segments: path(authorization), op: "authorizationPolicy.write", do: (*call).updateAuthorizationPolicy},
		{method: "GET", segments: path("applications/{id}/appManagementPolicies"), op: "policy.read", look: (*call).listAssignedPolicies},
		{method: "POST", segments: path("applications/{id}/appManagementPolicies/$ref"), op: "application.policy", do: (*call).assignPolicy},
		{method: "DELETE", segments: path("applications/{id}/appManagementPolicies/{policy}/$ref"), op: "application.policy", do: (*call).unassignPolicy},
	}
}

// tenantPolicy is a policy of which the tenant has one: its stored body over its defaults.
func (s *Service) tenantPolicy(v replica.View, id string, defaults object) directory.Policy {
	if p, ok := s.dir.Policies.Get(v, id); ok {
		return directory.Policy{ID: id, Body: merge(defaults, object(p.Body)).(object)}
	}
	return directory.Policy{ID: id, Body: defaults}
}

func (s *Service) defaultPolicy(v replica.View) directory.Policy {
	restrictions := func() object { return object{"passwordCredentials": []any{}, "keyCredentials": []any{}} }
	return s.tenantPolicy(v, defaultPolicyRow, object{
		"id": defaultPolicyID, "displayName": "Default app management tenant policy", "isEnabled": false,
		"description":             "Default tenant policy that enforces app management restrictions on applications and service principals. To apply policy to targeted resources, create a new policy under appManagementPolicies collection.",
		"applicationRestrictions": restrictions(), "servicePrincipalRestrictions": restrictions(),
	})
}

// authorizationPolicy is the tenant's. Users may not create applications by default here, as Microsoft recommends; PATCH changes it.
func (s *Service) authorizationPolicy(v replica.View) directory.Policy {
	return s.tenantPolicy(v, authorizationPolicyID, object{
		"id": authorizationPolicyID, "displayName": "Authorization Policy", "description": "Used to manage authorization related settings across the company.",
		"allowInvitesFrom": "everyone", "allowedToSignUpEmailBasedSubscriptions": true, "allowedToUseSSPR": true, "allowEmailVerifiedUsersToJoinOrganization": false,
		"blockMsolPowerShell": true, "guestUserRoleId": "10dae51f-b6af-4016-8d66-8c2a99b929b3",
		"defaultUserRolePermissions": object{"allowedToCreateApps": false, "allowedToCreateSecurityGroups": false, "allowedToCreateTenants": false, "allowedToReadBitlockerKeysForOwnedDevice": true, "allowedToReadOtherUsers": true, "permissionGrantPoliciesAssigned": []any{}},
	})
}

// usersCreateApps is the authorization policy's defaultUserRolePermissions.allowedToCreateApps.
func (s *Service) usersCreateApps(v replica.View) bool {
	permissions, ok := s.authorizationPolicy(v).Body["defaultUserRolePermissions"].(object)
	return ok && permissions["allowedToCreateApps"] == true
}

func (c *call) getDefaultPolicy(v replica.View) error {
	return c.one("policies/defaultAppManagementPolicy", maps.Clone(c.s.defaultPolicy(v).Body))
}

func (c *call) getAuthorizationPolicy(v replica.View) error {
	return c.one("policies/authorizationPolicy", maps.Clone(c.s.authorizationPolicy(v).Body))
}

func (c *call) updateDefaultPolicy() error {
	return c.updateTenantPolicy(defaultPolicyRow, "displayName description isEnabled applicationRestrictions servicePrincipalRestrictions", c.s.defaultPolicy)
}

func (c *call) updateAuthorizationPolicy() error {
	return c.updateTenantPolicy(authorizationPolicyID, "displayName description allowInvitesFrom allowedToSignUpEmailBasedSubscriptions allowedToUseSSPR allowEmailVerifiedUsersToJoinOrganization blockMsolPowerShell defaultUserRolePermissions guestUserRoleId", c.s.authorizationPolicy)
}

func (c *call) updateTenantPolicy(id, writable string, current func(replica.View) directory.Policy) error {
	body, err := c.policyBody(writable)
	if err != nil {
		return err
	}
	err = c.write(func(tx replica.Tx) error {
		c.s.dir.Policies.Put(tx, id, directory.Policy{ID: id, Body: merge(current(tx.View).Body, body).(object)})
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}

// policyBody reads a policy and checks that the parts that are looked at can be read.
func (c *call) policyBody(writable string) (object, error) {
	members, err := c.members("Policy", writable, "id")
	if err != nil {
		return nil, err
	}
	body := object{}
	for name, raw := range members {
		var value any
		if json.Unmarshal(raw, &value) != nil {
			return nil, malformed()
		}
		body[name] = value
	}
	if on, sent := body["isEnabled"]; sent && on != true && on != false {
		return nil, invalid("isEnabled", "Policy")
	}
	for _, name := range []string{"restrictions", "applicationRestrictions", "servicePrincipalRestrictions"} {
		raw, ok := members[name]
		if !ok {
			continue
		}
		var r rules
		if json.Unmarshal(raw, &r) != nil {
			return nil, invalid(name, "Policy")
		}
		for _, one := range slices.Concat(r.Passwords, r.Keys) {
			if one.MaxLifetime != nil {
				if _, ok := duration(*one.MaxLifetime); !ok {
					return nil, invalid("maxLifetime", "Policy")
				}
			}
		}
	}
	return body, nil
}

// custom tells whether a row is a policy that somebody made.
func customPolicy(p directory.Policy) bool {
	return p.ID != defaultPolicyRow && p.ID != authorizationPolicyID
}

func (c *call) listPolicies(v replica.View) error {
	return c.listThese(only(c.s.dir.Policies.Each(v), customPolicy))
}

func (c *call) listThese(policies iter.Seq[directory.Policy]) error {
	return c.list("policies/appManagementPolicies", rows(policies, func(p directory.Policy) string { return p.ID }, func(p directory.Policy) object { return maps.Clone(p.Body) }))
}

func (c *call) listAssignedPolicies(v replica.View) error {
	return c.listThese(slices.Values(fetch(v, c.s.dir.Policies, c.app.PolicyIDs, customPolicy)))
}

func (c *call) findPolicy(v replica.View) (directory.Policy, error) {
	p, ok := c.s.dir.Policies.Get(v, strings.ToLower(c.arg["policy"]))
	if !ok || !customPolicy(p) {
		return p, notFound(c.arg["policy"])
	}
	return p, nil
}

func (c *call) lookPolicy(v replica.View) error {
	_, err := c.findPolicy(v)
	return err
}

func (c *call) getPolicy(v replica.View) error {
	p, err := c.findPolicy(v)
	if err != nil {
		return err
	}
	return c.one("policies/appManagementPolicies", maps.Clone(p.Body))
}

const customWritable = "displayName description isEnabled restrictions"

func (c *call) createPolicy() error {
	body, err := c.policyBody(customWritable)
	if err != nil {
		return err
	}
	if body["displayName"] == nil {
		return missing("displayName", "AppManagementPolicy")
	}
	id := c.s.env.NewID()
	body = merge(object{"id": id, "deletedDateTime": nil, "description": nil, "isEnabled": false, "restrictions": object{"passwordCredentials": []any{}, "keyCredentials": []any{}}}, body).(object)
	if err := c.write(func(tx replica.Tx) error {
		c.s.dir.Policies.Put(tx, id, directory.Policy{ID: id, Body: body})
		return nil
	}); err != nil {
		return err
	}
	c.created("policies/appManagementPolicies/"+id, maps.Clone(body), "policies/appManagementPolicies/$entity")
	return nil
}

func (c *call) updatePolicy() error {
	body, err := c.policyBody(customWritable)
	if err != nil {
		return err
	}
	err = c.write(func(tx replica.Tx) error {
		p, err := c.findPolicy(tx.View)
		if err == nil {
			p.Body = merge(object(p.Body), body).(object)
			c.s.dir.Policies.Put(tx, p.ID, p)
		}
		return err
	})
	if err == nil {
		c.done()
	}
	return err
}

func (c *call) deletePolicy() error {
	err := c.write(func(tx replica.Tx) error {
		p, err := c.findPolicy(tx.View)
		if err == nil {
			c.s.dir.Policies.Delete(tx, p.ID)
		}
		return err
	})
	if err == nil {
		c.done()
	}
	return err
}

// assignPolicy gives the application a policy of its own; it has one at most.
func (c *call) assignPolicy() error {
	id, err := c.referenced()
	if err != nil {
		return err
	}
	err = c.write(func(tx replica.Tx) error {
		if p, ok := c.s.dir.Policies.Get(tx.View, id); !ok || !customPolicy(p) {
			return notFound(id)
		}
		a, err := get(tx, c.s.dir.Applications, c.app.ID, directory.Application.Live)
		if err != nil {
			return err
		}
		if len(a.PolicyIDs) > 0 {
			return badRequest("One or more added object references already exist for the following modified properties: 'appManagementPolicies'.")
		}
		a.PolicyIDs = []string{id}
		c.s.dir.Applications.Put(tx, a.ID, a)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}

func (c *call) unassignPolicy() error {
	err := c.write(func(tx replica.Tx) error {
		a, err := get(tx, c.s.dir.Applications, c.app.ID, directory.Application.Live)
		if err != nil {
			return err
		}
		if !slices.Contains(a.PolicyIDs, strings.ToLower(c.arg["policy"])) {
			return badRequest("One or more removed object references do not exist for the following modified properties: 'appManagementPolicies'.")
		}
		a.PolicyIDs = nil
		c.s.dir.Applications.Put(tx, a.ID, a)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}
