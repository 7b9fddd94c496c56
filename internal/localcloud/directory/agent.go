package directory

import (
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Template ids of the directory roles for Entra Agent ID (Microsoft Entra built-in roles, 2026).
const (
	AgentIDAdministrator = "db506228-d27e-4b7d-95e5-295956d6615f"
	AgentIDDeveloper     = "adb2368d-a9be-41b5-8667-d96778e081b0"
)

// Agent is the type of an object of Entra Agent ID, as Graph spells it; "" for every other object.
type Agent string

// The types of Entra Agent ID (Microsoft Graph v1.0 metadata, August 2026).
const (
	Blueprint          Agent = "agentIdentityBlueprint"          // an application: the template of identities, with the credentials of them all
	BlueprintPrincipal Agent = "agentIdentityBlueprintPrincipal" // a service principal: the blueprint's presence in the tenant
	AgentIdentity      Agent = "agentIdentity"                   // a service principal without application, whose id is its app id too
	AgentUser          Agent = "agentUser"                       // a user without credentials, one to one with its agent identity
)

// Inheritable says what identities of a blueprint get of the permissions that its principal has on a resource. ScopeKind is allAllowed,
// enumerated or none, RoleKind allAllowed or none; "" is none.
type Inheritable struct {
	ResourceAppID string   `json:"resourceAppId"`
	ScopeKind     string   `json:"scopeKind,omitempty"`
	Scopes        []string `json:"scopes,omitempty"`
	RoleKind      string   `json:"roleKind,omitempty"`
}

// DeletedUser is a user in the recycle bin, which has a table of its own so that every other table's users are live.
type DeletedUser struct {
	ID              string    `json:"id"`
	User            User      `json:"user"`
	DeletedDateTime time.Time `json:"deletedDateTime"`
}

// agentKeys is an index key by type, none for what is not of Agent ID.
func agentKeys(a Agent) []string {
	if a == "" {
		return nil
	}
	return []string{string(a)}
}

// keyed is an index key, none for "".
func keyed(id string) []string {
	if id == "" {
		return nil
	}
	return []string{id}
}

// Parent is what a replica shows of the blueprint of an agent identity: nil for what is not there, or is in the recycle bin.
func (d *Directory) Parent(v replica.View, p ServicePrincipal) (blueprint *Application, principal *ServicePrincipal) {
	if p.BlueprintID == "" {
		return nil, nil
	}
	for _, a := range d.Applications.By(v, "appId", p.BlueprintID) {
		if a.Live() && a.Agent == Blueprint {
			blueprint = &a
		}
	}
	for _, sp := range d.ServicePrincipals.By(v, "appId", p.BlueprintID) {
		if sp.Live() && sp.Agent == BlueprintPrincipal {
			principal = &sp
		}
	}
	return blueprint, principal
}
