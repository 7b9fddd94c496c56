package graph

import (
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// inheritRoutes are the inheritable permissions of a blueprint, by the app id of the resource.
func inheritRoutes() []route {
	const all, one = "applications/{id}/inheritablePermissions", "applications/{id}/inheritablePermissions/{resource}"
	find := (*call).agentTarget
	return []route{
		{method: "GET", segments: path(all), op: "application.read", subject: find, look: (*call).listInheritable},
		{method: "POST", segments: path(all), op: "application.write", subject: find, do: (*call).createInheritable},
		{method: "GET", segments: path(one), op: "application.read", subject: find, look: (*call).getInheritable},
		{method: "PATCH", segments: path(one), op: "application.write", subject: find, look: (*call).lookInheritable, do: (*call).updateInheritable},
		{method: "DELETE", segments: path(one), op: "application.write", subject: find, look: (*call).lookInheritable, do: (*call).deleteInheritable},
	}
}

// scopePatterns and rolePatterns are the types of the two properties, with the kind that each shows. The one of roles is not in the
// metadata of August 2026; Microsoft's own module sends it (observed 2026-07).
var (
	scopePatterns = map[string]string{"allallowedscopes": "allAllowed", "enumeratedscopes": "enumerated", "noscopes": "none"}
	rolePatterns  = map[string]string{"allallowedroles": "allAllowed", "noroles": "none"}
)

func encodeInheritable(i directory.Inheritable) object {
	o := object{"@odata.type": "#microsoft.graph.inheritablePermission", "resourceAppId": i.ResourceAppID}
	scopes := object{"@odata.type": "#microsoft.graph.noScopes", "kind": "none"}
	switch i.ScopeKind {
	case "allAllowed":
		scopes = object{"@odata.type": "#microsoft.graph.allAllowedScopes", "kind": "allAllowed"}
	case "enumerated":
		scopes = object{"@odata.type": "#microsoft.graph.enumeratedScopes", "kind": "enumerated", "scopes": texts(i.Scopes)}
	}
	o["inheritableScopes"] = scopes
	switch i.RoleKind {
	case "allAllowed":
		o["inheritableRoles"] = object{"@odata.type": "#microsoft.graph.allAllowedRoles", "kind": "allAllowed"}
	case "none":
		o["inheritableRoles"] = object{"@odata.type": "#microsoft.graph.noRoles", "kind": "none"}
	}
	return o
}

func (c *call) inheritable() string {
	return "applications('" + c.app.ID + "')/inheritablePermissions"
}

func (c *call) listInheritable(replica.View) error {
	id := func(i directory.Inheritable) string { return i.ResourceAppID }
	return c.list(c.inheritable(), rows(slices.Values(c.app.Inheritable), id, encodeInheritable))
}

// findInheritable is the place of the path's resource in the list, -1 if it has none.
func (c *call) findInheritable(list []directory.Inheritable) int {
	return slices.IndexFunc(list, func(i directory.Inheritable) bool { return strings.EqualFold(i.ResourceAppID, c.arg["resource"]) })
}

func (c *call) getInheritable(replica.View) error {
	i := c.findInheritable(c.app.Inheritable)
	if i < 0 {
		return notFound(c.arg["resource"])
	}
	return c.one(c.inheritable(), encodeInheritable(c.app.Inheritable[i]))
}

func (c *call) lookInheritable(replica.View) error {
	if c.findInheritable(c.app.Inheritable) < 0 {
		return notFound(c.arg["resource"])
	}
	return nil
}

// pattern is what a property of a body says: by its type, or by its kind.
type pattern struct {
	Type   string   `json:"@odata.type"`
	Kind   string   `json:"kind"`
	Scopes []string `json:"scopes"`
}

// read gives the kind of the pattern, one of those that known lists.
func (p pattern) read(property string, known map[string]string) (string, error) {
	name := strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(p.Type), "#"), "microsoft.graph.")
	if kind, ok := known[name]; ok {
		return kind, nil
	}
	for _, kind := range known {
		if p.Type == "" && strings.EqualFold(kind, p.Kind) {
			return kind, nil
		}
	}
	return "", invalid(property, "InheritablePermission")
}

type inheritableInput struct {
	ResourceAppID *string  `json:"resourceAppId"`
	Scopes        *pattern `json:"inheritableScopes"`
	Roles         *pattern `json:"inheritableRoles"`
}

func (in inheritableInput) apply(to *directory.Inheritable) error {
	if in.Scopes != nil {
		kind, err := in.Scopes.read("inheritableScopes", scopePatterns)
		if err != nil {
			return err
		}
		// "must be present and non-empty" for enumerated scopes, and nothing for the others.
		if (kind == "enumerated") != (len(in.Scopes.Scopes) > 0) {
			return invalid("scopes", "EnumeratedScopes")
		}
		to.ScopeKind, to.Scopes = kind, in.Scopes.Scopes
	}
	if in.Roles != nil {
		kind, err := in.Roles.read("inheritableRoles", rolePatterns)
		if err != nil {
			return err
		}
		to.RoleKind = kind
	}
	return nil
}

func (c *call) createInheritable() error {
	var in inheritableInput
	if err := c.decode(&in); err != nil {
		return err
	}
	switch {
	case in.ResourceAppID == nil:
		return missing("resourceAppId", "InheritablePermission")
	case !isGUID(*in.ResourceAppID):
		return invalid("resourceAppId", "InheritablePermission")
	case in.Scopes == nil && in.Roles == nil:
		return missing("inheritableScopes", "InheritablePermission")
	}
	made := directory.Inheritable{ResourceAppID: strings.ToLower(*in.ResourceAppID)}
	if err := in.apply(&made); err != nil {
		return err
	}
	err := c.changeInheritable(func(list []directory.Inheritable) ([]directory.Inheritable, error) {
		if slices.ContainsFunc(list, func(i directory.Inheritable) bool { return i.ResourceAppID == made.ResourceAppID }) {
			return nil, clash(http.StatusConflict, "Another object with the same value for property resourceAppId already exists.")
		}
		return append(slices.Clone(list), made), nil
	})
	if err == nil {
		c.created("applications/"+c.app.ID+"/inheritablePermissions/"+made.ResourceAppID, encodeInheritable(made), c.inheritable()+"/$entity")
	}
	return err
}

func (c *call) updateInheritable() error {
	var in inheritableInput
	if err := c.decode(&in); err != nil {
		return err
	}
	if in.ResourceAppID != nil && !strings.EqualFold(*in.ResourceAppID, c.arg["resource"]) {
		return badRequest("Property 'resourceAppId' is read-only and cannot be set.")
	}
	err := c.changeInheritable(func(list []directory.Inheritable) ([]directory.Inheritable, error) {
		i := c.findInheritable(list)
		if i < 0 {
			return nil, notFound(c.arg["resource"])
		}
		list = slices.Clone(list)
		return list, in.apply(&list[i])
	})
	if err == nil {
		c.done()
	}
	return err
}

func (c *call) deleteInheritable() error {
	err := c.changeInheritable(func(list []directory.Inheritable) ([]directory.Inheritable, error) {
		i := c.findInheritable(list)
		if i < 0 {
			return nil, notFound(c.arg["resource"])
		}
		return slices.Delete(slices.Clone(list), i, i+1), nil
	})
	if err == nil {
		c.done()
	}
	return err
}

func (c *call) changeInheritable(change func([]directory.Inheritable) ([]directory.Inheritable, error)) error {
	return c.write(func(tx replica.Tx) error {
		a, err := get(tx, c.s.dir.Applications, c.app.ID, directory.Application.Live)
		if err != nil {
			return err
		}
		if a.Inheritable, err = change(a.Inheritable); err == nil {
			c.s.dir.Applications.Put(tx, a.ID, a)
		}
		return err
	})
}
