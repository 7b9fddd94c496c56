package arm

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// resource answers for one resource, a collection of children, or an action on it. The operation that the caller needs is
// {type}/read, /write or /delete by the method, and {type}/{action}/action for a POST.
func (s *Service) resource(v replica.View, c *call) (reply, effect) {
	typ := c.id.Last().Type()
	if known, found := kindOf(typ); found {
		typ = known.Type
	}
	if len(c.rest) == 1 && c.method == http.MethodGet && strings.EqualFold(typ+"/"+c.rest[0], federationType) {
		return s.listFederation(v, c), nil
	}
	verb := map[string]string{http.MethodGet: "read", http.MethodHead: "read", http.MethodPut: "write", http.MethodPatch: "write", http.MethodDelete: "delete"}[c.method]
	switch {
	case len(c.rest) == 1 && c.method == http.MethodPost:
		verb = c.rest[0] + "/action"
	case len(c.rest) > 0 || verb == "":
		return c.unknown(), nil
	}
	if r := s.may(v, c, c.id, typ+"/"+verb, ""); r != nil {
		return *r, nil
	}
	if c.id.Group != "" {
		if _, found := s.groups.Get(v, ID{Subscription: c.id.Subscription, Group: c.id.Group}.Key()); !found {
			return groupNotFound(c.id.Group), nil
		}
	}
	if r := unsupported(c.id.Last()); r != nil {
		return *r, nil
	}
	if c.id.Group == "" || len(c.id.Parts) > 1 {
		return fail(http.StatusBadRequest, "InvalidResourceScope", "A resource of type '%s' belongs into a resource group.", typ), nil
	}
	if typ == federationType {
		return s.federation(v, c)
	}
	r, found := s.resources.Get(v, c.id.Key())
	switch {
	case c.method == http.MethodPut:
		return s.putResource(v, c)
	case c.method == http.MethodDelete:
		return s.deleteResource(v, c)
	case c.method == http.MethodHead && !found:
		return reply{status: http.StatusNotFound}, nil
	case !found:
		return resourceNotFound(c.id), nil
	case c.method == http.MethodHead:
		return reply{status: http.StatusNoContent}, nil
	case c.method == http.MethodPatch:
		return s.patchResource(v, c, r)
	case c.method == http.MethodPost:
		return c.unknown(), nil
	}
	return ok(s.json(r)), nil
}

// json is the resource as a GET shows it.
func (s *Service) json(r Resource) object {
	o, p := maps.Clone(r.Body), maps.Clone(r.Properties())
	o["properties"] = p
	if r.Type == vaultType {
		p["vaultUri"] = s.vaultURI(r)
	}
	if s.env.Now().Before(r.Ready) {
		p["provisioningState"] = r.State
	}
	if k, _ := kindOf(r.Type); k.ETag {
		o["etag"] = r.etag()
	}
	o["id"], o["name"], o["type"] = r.ID, r.Name, r.Type
	o["systemData"] = object{"createdAt": stamp(r.CreatedOn), "lastModifiedAt": stamp(r.ChangedOn)}
	return o
}

// etag changes whenever the resource does.
func (r Resource) etag() string {
	sum := sha256.Sum256([]byte(r.ID + "|" + stamp(r.ChangedOn)))
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// summary is the resource as the listings of all types show it, without properties.
func (r Resource) summary() object {
	o := object{"id": r.ID, "name": r.Name, "type": r.Type}
	for _, k := range []string{"location", "tags", "kind", "sku", "identity", "managedBy", "plan", "zones"} {
		if v, has := r.Body[k]; has {
			o[k] = v
		}
	}
	return o
}

// listResources lists what the caller may read in a subscription or group: of one type in full, or of all types in short. A caller
// without any role there is refused.
func (s *Service) listResources(v replica.View, c *call, typ string) (reply, effect) {
	at := ID{Subscription: strings.ToLower(c.id.Subscription), Group: c.id.Group}
	op, shown := "Microsoft.Resources/subscriptions/resources/read", at.String()
	if typ != "" {
		if r := unsupported(Part{Namespace: c.rest[1], Types: []string{c.rest[2]}}); r != nil {
			return *r, nil
		}
		op, shown = typ+"/read", at.String()+"/providers/"+c.rest[1]
	}
	if !s.sees(v, c.who.ObjectID, at) {
		return *s.may(v, c, at, op, shown), nil
	}
	if _, missing := s.find(v, at); missing != nil {
		return *missing, nil
	}
	wanted, bad := c.resourceFilter()
	if bad != nil {
		return *bad, nil
	}
	size, bad := c.top(listPage)
	if bad != nil {
		return *bad, nil
	}
	var candidates []Resource
	if of := strings.ToLower(typ + wanted.Type); of != "" {
		candidates = s.resources.By(v, "kind", at.Key()+"|"+of)
	} else {
		candidates = s.resources.By(v, "place", at.Key())
	}
	mine := s.rightsOf(v, c.who.ObjectID)
	candidates = slices.DeleteFunc(candidates, func(r Resource) bool {
		id, err := ParseID(r.ID)
		return err != nil || !wanted.takes(r, id) || !mine.allow(id, r.Type+"/read")
	})
	show := s.json
	if typ == "" {
		show = Resource.summary
	}
	return paged(s, c, candidates, size, func(r Resource) string { return r.ID }, show), nil
}

// resourceFilter is what $filter of a listing of resources may ask; empty fields ask nothing.
type resourceFilter struct{ Type, Name, Group, Location, Tag, TagValue string }

func (c *call) resourceFilter() (f resourceFilter, bad *reply) {
	clauses, bad := c.filter()
	if bad != nil {
		return f, bad
	}
	fields := map[string]*string{"resourcetype": &f.Type, "name": &f.Name, "resourcegroup": &f.Group, "location": &f.Location, "tagname": &f.Tag, "tagvalue": &f.TagValue}
	for _, cl := range clauses {
		field := fields[strings.ToLower(cl.Name)]
		if field == nil || cl.Op != "eq" || *field != "" {
			r := badFilter(printFilter(clauses))
			return f, &r
		}
		*field = cl.Value
	}
	return f, nil
}

func (f resourceFilter) takes(r Resource, id ID) bool {
	same := func(want, is string) bool { return want == "" || strings.EqualFold(want, is) }
	if f.Tag != "" {
		tags, _ := r.Body["tags"].(object)
		value, has := tags[f.Tag]
		if text, _ := value.(string); !has || f.TagValue != "" && text != f.TagValue {
			return false
		}
	}
	return same(f.Type, r.Type) && same(f.Name, r.Name) && same(f.Group, id.Group) && same(plainLocation(f.Location), plainLocation(r.Location()))
}

// putResource makes or replaces a resource.
func (s *Service) putResource(v replica.View, c *call) (reply, effect) {
	k, _ := kindOf(c.id.Last().Type())
	var body object
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	if k.Name != nil && !k.Name.MatchString(c.id.Name()) {
		return fail(http.StatusBadRequest, "InvalidResourceName", "The resource name '%s' is not valid for type '%s'.", c.id.Name(), k.Type), nil
	}
	if loc, _ := body["location"].(string); loc == "" {
		return locationRequired(), nil
	}
	properties, isObject := body["properties"].(object)
	if body["properties"] != nil && !isObject {
		return fail(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: properties must be an object."), nil
	}
	for _, p := range k.Require {
		if properties[p] == nil {
			return fail(http.StatusBadRequest, "BadRequest", "The parameter %s is not specified.", p), nil
		}
	}
	return s.change(v, c, k, body, func(Resource) object { return body })
}

// patchResource merges as JSON Merge Patch does (RFC 7396), except that tags are replaced.
func (s *Service) patchResource(v replica.View, c *call, r Resource) (reply, effect) {
	k, _ := kindOf(r.Type)
	var patch object
	if bad := c.decode(&patch); bad != nil {
		return *bad, nil
	}
	return s.change(v, c, k, patch, func(old Resource) object {
		if _, has := patch["tags"]; has {
			old.Body = maps.Clone(old.Body)
			delete(old.Body, "tags")
		}
		return merge(old.Body, patch)
	})
}

func merge(old, patch object) object {
	merged := maps.Clone(old)
	if merged == nil {
		merged = object{}
	}
	for k, v := range patch {
		sub, isObject := v.(object)
		was, _ := merged[k].(object)
		switch {
		case v == nil:
			delete(merged, k)
		case isObject:
			merged[k] = merge(was, sub)
		default:
			merged[k] = v
		}
	}
	return merged
}

// change writes the resource that next makes from the present one. Who binds a user-assigned identity to a resource needs the right to
// assign it (Microsoft, "Managed identity operator"); those that the resource has and the request does not name are bound already.
func (s *Service) change(v replica.View, c *call, k kind, body object, next func(old Resource) object) (reply, effect) {
	if r := s.lockedWrite(v, c.id); r != nil {
		return *r, nil
	}
	for _, id := range boundIdentities(body) {
		if r := s.mayLinked(v, c, k.Type+"/write", id, identityType+"/assign/action"); r != nil {
			return *r, nil
		}
	}
	group, missing := s.find(v, ID{Subscription: c.id.Subscription, Group: c.id.Group})
	if missing != nil {
		return *missing, nil
	}
	trusted := k.Type == vaultType && s.unrestricted(v, c.who.ObjectID, c.id, "Microsoft.Authorization/roleAssignments/write")
	return reply{}, func(tx replica.Tx) reply {
		old, found := s.resources.Get(tx.View, c.id.Key())
		if !found && c.method == http.MethodPatch {
			return resourceNotFound(c.id)
		}
		r := Resource{Name: c.id.Name(), Type: k.Type, CreatedOn: s.env.Now(), ChangedOn: s.env.Now()}
		if k.Type == vaultType && !found && len(s.resources.By(tx.View, "vault", strings.ToLower(r.Name))) > 0 {
			return fail(http.StatusConflict, "VaultAlreadyExists", "The vault name '%s' is already in use. Vault names are globally unique so it is possible that the name is already taken.", r.Name)
		}
		if found {
			r.Name, r.CreatedOn, r.Incarnation = old.Name, old.CreatedOn, old.Incarnation
		}
		namespace, short, _ := strings.Cut(k.Type, "/")
		r.ID = group.with(namespace, short, r.Name).String()
		r.Body = cloneObject(next(old))
		for _, fixed := range []string{"id", "name", "type", "systemData", "etag"} {
			delete(r.Body, fixed)
		}
		if k.Type == vaultType && !found {
			if bad := s.reuse(tx, &r); bad != nil {
				return *bad
			}
		}
		if found && plainLocation(old.Location()) != plainLocation(r.Location()) {
			return fail(http.StatusConflict, "InvalidResourceLocation", "The resource '%s' already exists in location '%s' in resource group '%s'. A resource with the same name cannot be created in location '%s'.", r.Name, old.Location(), group.Group, r.Location())
		}
		r.Body["location"] = plainLocation(r.Location())
		if r.Body["properties"] == nil {
			r.Body["properties"] = object{}
		}
		if k.Type == vaultType {
			c.chooseModel(&r, old, found)
		}
		if k.Type == vaultType && found && !trusted && trustsRoles(old) != trustsRoles(r) {
			return s.modelFixed(c, r)
		}
		if bad := s.bind(tx, &r, old); bad != nil {
			return *bad
		}
		if k.Fill != nil {
			k.Fill(s, &r)
		}
		if r.State = k.Work.state(c.method, found); r.State != "" {
			r.Ready = tx.Now().Add(settling)
		}
		s.resources.Put(tx, c.id.Key(), r)
		rep := reply{status: http.StatusCreated, body: s.json(r)}
		switch {
		case c.method == http.MethodPatch:
			rep.status = max(k.Work.Patched, http.StatusOK)
		case found:
			rep.status = http.StatusOK
		}
		if k.Work.Watched {
			rep.header = s.watch(c, s.begin(tx, c, c.id.Key(), 0), namespace, r.Location())
		}
		return rep
	}
}

// cloneObject copies deeply, so that no value in a table is shared with another.
func cloneObject(o object) object {
	c := make(object, len(o))
	for k, v := range o {
		c[k] = cloneValue(v)
	}
	return c
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case object:
		return cloneObject(v)
	case []any:
		c := make([]any, len(v))
		for i := range v {
			c[i] = cloneValue(v[i])
		}
		return c
	}
	return v
}

// deleteResource removes a resource with its identity, its role assignments and its locks; none is no error.
func (s *Service) deleteResource(v replica.View, c *call) (reply, effect) {
	if r := s.lockedDelete(v, c.id, true); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		r, found := s.resources.Get(tx.View, c.id.Key())
		if !found {
			return reply{status: http.StatusNoContent}
		}
		s.forget(tx, r)
		s.clear(tx, c.id)
		if k, _ := kindOf(r.Type); k.Work.Watched {
			return reply{status: http.StatusAccepted, header: s.watch(c, s.begin(tx, c, "", http.StatusNoContent), k.namespace(), r.Location())}
		}
		return reply{status: http.StatusOK}
	}
}

// forget removes a resource and the service principal of its identity. A vault goes into the recycle bin.
func (s *Service) forget(tx replica.Tx, r Resource) {
	s.unbind(tx, r)
	if r.Type == vaultType {
		s.bin(tx, r)
	}
	s.resources.Delete(tx, strings.ToLower(r.ID))
}
