package arm

import (
	"net/http"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const (
	authorization = "Microsoft.Authorization"
	identityNS    = "Microsoft.ManagedIdentity"
)

// route is the reading half of every call: it decides what the path means, whether the caller may, and what is to be done.
func (s *Service) route(v replica.View, c *call) (reply, effect) {
	if c.id.Subscription != "" {
		if _, found := s.subscription(v, c.id.Subscription); !found {
			return subscriptionNotFound(c.id.Subscription), nil
		}
	}
	if id, kind, polled := c.polled(); polled {
		return s.poll(v, c, id, kind)
	}
	if scope, kind, name, ext := c.extension(authorization); ext {
		return s.authorization(v, c, scope, kind, name)
	}
	if scope, kind, name, ext := c.extension(identityNS); ext && strings.EqualFold(kind, "identities") {
		return s.systemIdentity(v, c, scope, name), nil
	}
	switch {
	case c.id.Subscription != "" && c.id.Group == "" && len(c.id.Parts) == 1 && strings.EqualFold(c.id.Last().Type(), binType):
		return s.deletedVaults(v, c)
	case len(c.id.Parts) > 0:
		return s.resource(v, c)
	case c.id.ManagementGroup != "":
		return s.managementGroups(v, c)
	case len(c.rest) == 0:
		return s.scope(v, c)
	default:
		return s.collection(v, c)
	}
}

// extension tells whether the path names an object or a collection of a provider whose objects hang on any scope.
func (c *call) extension(namespace string) (scope ID, kind, name string, ok bool) {
	if p := c.id.Last(); len(c.rest) == 0 && strings.EqualFold(p.Namespace, namespace) && len(p.Types) == 1 {
		return c.id.below(), p.Types[0], p.Names[0], true
	}
	if len(c.rest) == 3 && words(c.rest, "providers", namespace) {
		return c.id, c.rest[2], "", true
	}
	return ID{}, "", "", false
}

// scope answers for the root, a subscription or a resource group itself.
func (s *Service) scope(v replica.View, c *call) (reply, effect) {
	switch {
	case c.id.Group != "":
		return s.group(v, c)
	case c.id.Subscription != "" && c.method == http.MethodGet:
		return s.getSubscription(v, c), nil
	}
	return c.unknown(), nil
}

// collection answers for what follows the root, a subscription or a resource group.
func (s *Service) collection(v replica.View, c *call) (reply, effect) {
	n, get, post := len(c.rest), c.method == http.MethodGet, c.method == http.MethodPost
	in := func(w ...string) bool { return n == len(w) && words(c.rest, w...) }
	switch {
	case c.id.Root() && get && in("subscriptions"):
		return s.listSubscriptions(v, c), nil
	case c.id.Root() && get && in("tenants"):
		return s.listTenants(), nil
	case c.id.Root() && get && (in("providers") || in("providers", "*")):
		return s.providers(v, c), nil
	case c.id.Root() && post && in("providers", graphNS, "resources"):
		return s.query(v, c), nil
	case c.id.Root() && get && in("providers", managementNS, "managementGroups"):
		return s.listManagementGroups(v, c), nil
	case c.id.Root() && post && in("providers", managementNS, "getEntities"):
		return s.getEntities(v, c), nil
	case c.id.Root() && post && in("providers", managementNS, "checkNameAvailability"):
		return s.checkGroupName(v, c), nil
	case c.id.Subscription == "":
		return c.unknown(), nil
	case c.id.Group == "" && get && in("resourceGroups"):
		return s.listGroups(v, c), nil
	case c.id.Group == "" && get && in("locations"):
		return s.locations(v, c), nil
	case c.id.Group == "" && (get && (in("providers") || in("providers", "*")) || post && in("providers", "*", "register")):
		return s.providers(v, c), nil
	case get && in("resources"):
		return s.listResources(v, c, "")
	case c.id.Group == "" && get && in("providers", "Microsoft.KeyVault", "deletedVaults"):
		return s.listBin(v, c), nil
	case get && in("providers", "Microsoft.KeyVault", "managedHSMs"), c.id.Group == "" && get && in("providers", "Microsoft.KeyVault", "deletedManagedHSMs"):
		return s.noHSMs(v, c), nil
	case get && in("providers", "*", "*"):
		return s.listResources(v, c, c.rest[1]+"/"+c.rest[2])
	case in("providers", "*", "*") && post && strings.EqualFold(c.rest[2], "checkNameAvailability"):
		return s.checkName(v, c), nil
	}
	return c.unknown(), nil
}

// unknown is the answer to a path or method that is no part of the service.
func (c *call) unknown() reply {
	switch c.method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodPost, http.MethodDelete:
		return fail(http.StatusNotFound, "NotFound", "The requested path '%s' with method %s is not served by the local cloud.", c.path, c.method)
	}
	return fail(http.StatusMethodNotAllowed, "HttpMethodNotSupported", "The http method '%s' is not supported.", c.method)
}

func subscriptionNotFound(id string) reply {
	return fail(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", id)
}

func groupNotFound(name string) reply {
	return fail(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", name)
}

func resourceNotFound(id ID) reply {
	p := id.Last()
	return fail(http.StatusNotFound, "ResourceNotFound", "The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", p.Type(), strings.Join(p.Names, "/"), id.Group)
}

// find tells the canonical spelling of a scope that exists, or the answer to one that does not. Objects of a vault's data plane
// (secrets, keys, certificates) are scopes that ARM takes without looking (Microsoft, "Azure role-based access control for Key Vault").
func (s *Service) find(v replica.View, id ID) (ID, *reply) {
	missing := func(r reply) (ID, *reply) { return id, &r }
	if id.ManagementGroup != "" {
		g, found := s.managementGroup(v, id.ManagementGroup)
		if !found {
			return missing(managementNotFound(id.ManagementGroup))
		}
		id.ManagementGroup = g.Name
	}
	if id.Subscription != "" {
		sub, found := s.subscription(v, id.Subscription)
		if !found {
			return missing(subscriptionNotFound(id.Subscription))
		}
		id.Subscription = sub.ID
	}
	if id.Group != "" {
		g, found := s.groups.Get(v, ID{Subscription: id.Subscription, Group: id.Group}.Key())
		if !found {
			return missing(groupNotFound(id.Group))
		}
		id.Group = g.Name
	}
	if len(id.Parts) == 0 {
		return id, nil
	}
	if p := id.Last(); len(p.Types) == 2 && vaultObject(p) {
		up, r := s.find(v, id.Parent())
		if r != nil {
			return id, r
		}
		over := up.Last()
		up.Parts = append(up.below().Parts, Part{over.Namespace, []string{over.Types[0], strings.ToLower(p.Types[1])}, []string{over.Names[0], p.Names[1]}})
		return up, nil
	}
	res, found := s.resources.Get(v, id.Key())
	if !found {
		if r := unsupported(id.Last()); r != nil {
			return id, r
		}
		return missing(resourceNotFound(id))
	}
	canonical, err := ParseID(res.ID)
	if err != nil {
		return missing(resourceNotFound(id))
	}
	return canonical, nil
}

func vaultObject(p Part) bool {
	if !strings.EqualFold(p.Namespace+"/"+p.Types[0], vaultType) {
		return false
	}
	switch strings.ToLower(p.Types[1]) {
	case "secrets", "keys", "certificates":
		return true
	}
	return false
}
