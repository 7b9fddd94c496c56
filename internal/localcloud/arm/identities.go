package arm

import (
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// maxFederated is the limit of federated credentials on one identity (Microsoft, "Federated identity credentials considerations").
const maxFederated = 20

// boundIdentities is the user-assigned identities that a resource's identity block names.
func boundIdentities(body object) []ID {
	block, _ := body["identity"].(object)
	bound, _ := block["userAssignedIdentities"].(object)
	var ids []ID
	for text, v := range bound {
		if id, err := ParseID(text); err == nil && v != nil {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b ID) int { return strings.Compare(a.Key(), b.Key()) })
	return ids
}

// bind gives the resource the service principals of its identities: a user-assigned identity is one, a resource with a system-assigned
// identity has one, and a resource with user-assigned ones shows theirs.
func (s *Service) bind(tx replica.Tx, r *Resource, old Resource) *reply {
	if r.Type == identityType {
		sp := s.principal(tx, *r, old, "True")
		r.Body["properties"] = object{"tenantId": s.env.Dir.Tenant.ID, "principalId": sp.ID, "clientId": sp.AppID, "isolationScope": "None"}
		return nil
	}
	block, has := r.Body["identity"].(object)
	if !has {
		s.unbind(tx, old)
		return nil
	}
	kind, _ := block["type"].(string)
	folded := strings.ToLower(kind)
	if strings.Contains(folded, "systemassigned") {
		sp := s.principal(tx, *r, old, "False")
		block["principalId"], block["tenantId"] = sp.ID, s.env.Dir.Tenant.ID
	} else {
		s.unbind(tx, old)
		delete(block, "principalId")
		delete(block, "tenantId")
	}
	if !strings.Contains(folded, "userassigned") {
		delete(block, "userAssignedIdentities")
		return nil
	}
	shown := object{}
	for _, id := range boundIdentities(r.Body) {
		mi, found := s.resources.Get(tx.View, id.Key())
		if !found {
			bad := fail(http.StatusBadRequest, "FailedIdentityOperation", "Identity operation for resource '%s' failed with error 'Failed to perform resource identity operation. The identity '%s' was not found.'.", r.ID, id)
			return &bad
		}
		shown[mi.ID] = object{"principalId": mi.Properties()["principalId"], "clientId": mi.Properties()["clientId"]}
	}
	block["userAssignedIdentities"] = shown
	return nil
}

// principal is the service principal of a resource's identity, made if there is none yet.
func (s *Service) principal(tx replica.Tx, r, old Resource, explicit string) directory.ServicePrincipal {
	if sp, found := s.env.Dir.ServicePrincipals.Get(tx.View, principalOf(old)); found {
		return sp
	}
	sp := directory.ServicePrincipal{
		ID: s.env.NewID(), AppID: s.env.NewID(), DisplayName: r.Name, ServicePrincipalType: "ManagedIdentity", AccountEnabled: true, CreatedDateTime: s.env.Now(),
		// As Entra shows them: isExplicit tells user-assigned from system-assigned (Microsoft Graph, servicePrincipal alternativeNames).
		AlternativeNames: []string{"isExplicit=" + explicit, r.ID},
	}
	sp.ServicePrincipalNames = []string{sp.AppID}
	s.env.Dir.ServicePrincipals.Put(tx, sp.ID, sp)
	return sp
}

// principalOf is the object id of the resource's own identity, or "".
func principalOf(r Resource) string {
	block, _ := r.Body["identity"].(object)
	if r.Type == identityType {
		block = r.Properties()
	}
	id, _ := block["principalId"].(string)
	return id
}

// unbind removes the service principal of the resource's own identity, at once and for good: a managed identity has no recycle bin of
// its own. Its role assignments stay, as orphans.
func (s *Service) unbind(tx replica.Tx, r Resource) {
	if id := principalOf(r); id != "" {
		for _, f := range s.env.Dir.FederatedCredentials.By(tx.View, "parent", id) {
			s.env.Dir.FederatedCredentials.Delete(tx, f.ID)
		}
		s.env.Dir.ServicePrincipals.Delete(tx, id)
	}
}

// systemIdentity answers {scope}/providers/Microsoft.ManagedIdentity/identities/default.
func (s *Service) systemIdentity(v replica.View, c *call, scope ID, name string) reply {
	if c.method != http.MethodGet || !strings.EqualFold(name, "default") {
		return c.unknown()
	}
	if r := s.may(v, c, scope, "Microsoft.ManagedIdentity/identities/read", c.id.String()); r != nil {
		return *r
	}
	at, missing := s.find(v, scope)
	if missing != nil {
		return *missing
	}
	r, _ := s.resources.Get(v, at.Key())
	sp, found := s.env.Dir.ServicePrincipals.Get(v, principalOf(r))
	if !found {
		return resourceNotFound(c.id)
	}
	return ok(object{"id": at.String() + "/providers/Microsoft.ManagedIdentity/identities/default", "name": "default", "type": "Microsoft.ManagedIdentity/identities", "location": r.Location(),
		"properties": object{"tenantId": s.env.Dir.Tenant.ID, "principalId": sp.ID, "clientId": sp.AppID}})
}

// parentIdentity is the identity whose federated credentials the path names, or the answer if there is none.
func (s *Service) parentIdentity(v replica.View, id ID) (Resource, *reply) {
	r, found := s.resources.Get(v, id.Key())
	if !found {
		no := fail(http.StatusNotFound, "ParentResourceNotFound", "Failed to perform operation on nested resource. The parent resource '%s' could not be found.", id)
		return r, &no
	}
	return r, nil
}

func federationJSON(parent Resource, f directory.FederatedCredential) object {
	return object{"id": parent.ID + "/federatedIdentityCredentials/" + f.Name, "name": f.Name, "type": federationType, "properties": object{"issuer": f.Issuer, "subject": f.Subject, "audiences": f.Audiences}}
}

func (s *Service) listFederation(v replica.View, c *call) reply {
	if r := s.may(v, c, c.id, federationType+"/read", ""); r != nil {
		return *r
	}
	parent, missing := s.parentIdentity(v, c.id)
	if missing != nil {
		return *missing
	}
	size, bad := c.top(listPage)
	if bad != nil {
		return *bad
	}
	items := s.env.Dir.FederatedCredentials.By(v, "parent", principalOf(parent))
	return paged(s, c, items, size, func(f directory.FederatedCredential) string { return f.ID }, func(f directory.FederatedCredential) object { return federationJSON(parent, f) })
}

// federation answers for one federated credential of a user-assigned identity.
func (s *Service) federation(v replica.View, c *call) (reply, effect) {
	parent, missing := s.parentIdentity(v, c.id.Parent())
	if missing != nil {
		return *missing, nil
	}
	switch c.method {
	case http.MethodGet:
		if f, found := s.federated(v, parent, c.id.Name()); found {
			return ok(federationJSON(parent, f)), nil
		}
		return resourceNotFound(c.id), nil
	case http.MethodPut:
		return s.putFederation(v, c, parent)
	case http.MethodDelete:
		if r := s.lockedDelete(v, c.id.Parent(), false); r != nil {
			return *r, nil
		}
		return reply{}, func(tx replica.Tx) reply {
			f, found := s.federated(tx.View, parent, c.id.Name())
			if !found {
				return reply{status: http.StatusNoContent}
			}
			s.env.Dir.FederatedCredentials.Delete(tx, f.ID)
			return reply{status: http.StatusOK}
		}
	}
	return c.unknown(), nil
}

func (s *Service) federated(v replica.View, parent Resource, name string) (directory.FederatedCredential, bool) {
	all := s.env.Dir.FederatedCredentials.By(v, "parent", principalOf(parent))
	if i := slices.IndexFunc(all, func(f directory.FederatedCredential) bool { return strings.EqualFold(f.Name, name) }); i >= 0 {
		return all[i], true
	}
	return directory.FederatedCredential{}, false
}

func (s *Service) putFederation(v replica.View, c *call, parent Resource) (reply, effect) {
	var body struct {
		Properties struct {
			Issuer, Subject string
			Audiences       []string
		}
	}
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	p := body.Properties
	k, _ := kindOf(federationType)
	switch {
	case !k.Name.MatchString(c.id.Name()):
		return fail(http.StatusBadRequest, "BadRequest", "The federated identity credential name '%s' is not valid.", c.id.Name()), nil
	case p.Issuer == "" || p.Subject == "" || len(p.Audiences) != 1:
		return fail(http.StatusBadRequest, "BadRequest", "A federated identity credential needs an issuer, a subject and one audience."), nil
	}
	if r := s.lockedWrite(v, c.id.Parent()); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		if _, missing := s.parentIdentity(tx.View, c.id.Parent()); missing != nil {
			return *missing
		}
		f, found := s.federated(tx.View, parent, c.id.Name())
		all := s.env.Dir.FederatedCredentials.By(tx.View, "parent", principalOf(parent))
		if slices.ContainsFunc(all, func(o directory.FederatedCredential) bool {
			return o.ID != f.ID && o.Issuer == p.Issuer && o.Subject == p.Subject
		}) {
			return fail(http.StatusConflict, "Conflict", "A federated identity credential with the same issuer and subject already exists.")
		}
		status := http.StatusOK
		if !found {
			if len(all) >= maxFederated {
				return fail(http.StatusBadRequest, "BadRequest", "Too many federated identity credentials: at most %d are allowed on one identity.", maxFederated)
			}
			f = directory.FederatedCredential{ID: s.env.NewID(), ParentID: principalOf(parent), Name: c.id.Name()}
			status = http.StatusCreated
		}
		f.Issuer, f.Subject, f.Audiences = p.Issuer, p.Subject, p.Audiences
		s.env.Dir.FederatedCredentials.Put(tx, f.ID, f)
		return reply{status: status, body: federationJSON(parent, f)}
	}
}
