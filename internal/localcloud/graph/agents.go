package graph

import (
	"encoding/json"
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/graph/odata"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Entra Agent ID in Graph: blueprints are applications, their principals and agent identities are service principals, agent users are
// users. So the routes of those collections serve them, and a cast in the path says which type is meant: clients write it behind the
// collection or behind the key, in any case and with either namespace (observed 2026-07).
//
// Sources: "Microsoft Entra Agent ID APIs in Microsoft Graph" and the pages of the four resource types (v1.0, February to April 2026);
// "Microsoft agent identity platform error codes" for codes. Their messages are that page's descriptions, since no answer was recorded.

// agentTypes are the types of Agent ID by the collection that holds them, in lower case as paths are compared.
var agentTypes = map[string][]directory.Agent{
	"applications":      {directory.Blueprint},
	"serviceprincipals": {directory.BlueprintPrincipal, directory.AgentIdentity},
	"users":             {directory.AgentUser},
	"directory":         {directory.Blueprint, directory.BlueprintPrincipal, directory.AgentIdentity, directory.AgentUser},
}

// agentType reads the name of a type: "microsoft.graph.agentIdentity", "#Microsoft.Graph.AgentIdentity", "graph.agentIdentity".
func agentType(name string) (directory.Agent, bool) {
	name = strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(name), "#"), "microsoft.")
	for _, all := range agentTypes {
		for _, a := range all {
			if name == "graph."+strings.ToLower(string(a)) {
				return a, true
			}
		}
	}
	return "", false
}

// uncast takes a cast to one of the collection's agent types out of the path.
func uncast(steps []step) ([]step, directory.Agent) {
	for i := 1; i < len(steps) && i < 3; i++ {
		if steps[i].keyed || steps[i].key != "" {
			continue
		}
		if a, ok := agentType(steps[i].text); ok && slices.Contains(agentTypes[strings.ToLower(steps[0].text)], a) && steps[0].text != "directory" {
			return append(slices.Clone(steps[:i]), steps[i+1:]...), a
		}
	}
	return steps, ""
}

// odataType is the agent type that the body says its object has, "" for none.
func (c *call) odataType() (directory.Agent, error) {
	var in struct {
		Type string `json:"@odata.type"`
	}
	if err := c.decode(&in); err != nil {
		return "", err
	}
	a, _ := agentType(in.Type)
	return a, nil
}

// made is the type of the object that a POST makes: by the cast of its path, or by the body. The header "OData-Version: 4.0", which
// Microsoft's samples send with the latter, is not asked for: Microsoft's own module does without it.
func (c *call) made() (directory.Agent, error) {
	if c.cast != "" {
		return c.cast, nil
	}
	return c.odataType()
}

// fits refuses an object of another type than the path casts to, as if it were not there.
func (c *call) fits(a directory.Agent, id string) error {
	if c.cast != "" && c.cast != a {
		return notFound(id)
	}
	c.agent = a
	return nil
}

// collection is the name of a collection, with the cast of the path.
func (c *call) collection(name string) string {
	if c.cast == "" {
		return name
	}
	return name + "/microsoft.graph." + string(c.cast)
}

// ofType lends the objects of the path's type that can satisfy the filter: what an index gives, or all of the type and none besides.
// alive says which are live and of the type.
func ofType[T any](c *call, v replica.View, t *replica.Table[T], id func(T) string, alive func(T) bool, by []index) iter.Seq[T] {
	for _, i := range by {
		if values, ok := odata.Keys(c.query.Filter, i.property); ok {
			return slices.Values(indexed(v, t, i.name, values, i.fold, id, alive))
		}
	}
	if values, ok := odata.Keys(c.query.Filter, "id"); ok {
		return slices.Values(fetch(v, t, values, alive))
	}
	return only(slices.Values(t.By(v, "agent", string(c.cast))), alive)
}

// annotate writes the type into an object of Agent ID, as Graph does where a collection holds several.
func annotate(a directory.Agent, o object) {
	if a != "" {
		o["@odata.type"] = "#microsoft.graph." + string(a)
	}
}

// incompatible refuses a member that the type has from its base type and does not support. Null sets nothing.
func incompatible(code string, members map[string]json.RawMessage, names string) error {
	for name := range strings.FieldsSeq(names) {
		raw, ok := members[name]
		if !ok || string(raw) == "null" {
			continue
		}
		return &problem{status: http.StatusBadRequest, code: code, message: "The property '" + name + "' is incompatible with this type of object and can't be set.",
			details: []detail{{Code: "PropertyNotCompatible", Message: "The property is incompatible with this type of object.", Target: name}}}
	}
	return nil
}

// agentCredentials refuses credentials of an agent identity. The code is the documented one; clients also know the one of 2025, which is
// in the details.
func agentCredentials() *problem {
	const text = "Credentials are not supported for agent identities. All credentials must be added to the agent identity blueprint."
	return &problem{status: http.StatusBadRequest, code: "AgentIdentity_CredentialsNotSupported", message: text, details: []detail{{Code: "PropertyNotCompatibleWithAgentIdentity", Message: text}}}
}

func blueprintPrincipalCredentials() *problem {
	return &problem{status: http.StatusBadRequest, code: "AgentBlueprintPrincipal_IncompatibleProperty", message: "A property specified in the request is incompatible with agent identity blueprint principals and can't be set."}
}

// agentTarget finds an object of Agent ID, for what only those have.
func (c *call) agentTarget(v replica.View) (subject, error) {
	find := (*call).targetServicePrincipal
	if c.under == "applications" {
		find = (*call).targetApplication
	}
	on, err := find(c, v)
	if err == nil && on.agent == "" {
		err = &problem{status: http.StatusBadRequest, code: "BadRequest", message: "The type of the object has no such relationship; types of Microsoft Entra Agent ID do."}
	}
	return on, err
}
