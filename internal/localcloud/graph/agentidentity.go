package graph

import (
	"net/http"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// identityIncompatible are the properties of a service principal that an agent identity does not have, credentials apart: it has no
// application, no URLs and no sign-in of people.
const identityIncompatible = "addIns alternativeNames appRoleAssignmentRequired homepage loginUrl logoutUrl notificationEmailAddresses preferredSingleSignOnMode " +
	"preferredTokenSigningKeyThumbprint replyUrls samlSingleSignOnSettings servicePrincipalNames servicePrincipalType tokenEncryptionKeyId appId"

// checkIdentity refuses what an agent identity cannot have.
func checkIdentity(in *principalInput) error {
	if in.keys != nil || in.passwords != nil {
		return agentCredentials()
	}
	return incompatible("AgentBlueprintPrincipal_AgentIdentity_IncompatibleProperty", in.members, identityIncompatible)
}

// newIdentity is the subject of a POST that makes an agent identity: its blueprint, as the replica shows it. Who may make one for it is
// told in the error page's words: the blueprint itself, for itself alone; anybody with AgentIdentity.Create.All; no agent identity.
func (c *call) newIdentity(v replica.View) (subject, error) {
	var in struct {
		BlueprintID *string `json:"agentIdentityBlueprintId"`
		Old         *string `json:"agentAppId"` // its name in the first beta
	}
	if err := c.decode(&in); err != nil {
		return subject{}, err
	}
	if in.BlueprintID == nil {
		in.BlueprintID = in.Old
	}
	switch {
	case in.BlueprintID == nil:
		return subject{}, missing("agentIdentityBlueprintId", "AgentIdentity")
	case !isGUID(*in.BlueprintID):
		return subject{}, invalid("agentIdentityBlueprintId", "AgentIdentity")
	}
	c.act, c.agent = (*call).createIdentity, directory.AgentIdentity
	c.blueprint = strings.ToLower(*in.BlueprintID)
	if err := c.mayParent(v); err != nil {
		return subject{}, err
	}
	a, err := c.findApplication(v, c.blueprint, "appid")
	if err == nil && a.Agent != directory.Blueprint || err != nil && c.isObject(v, c.blueprint) {
		return subject{}, &problem{status: http.StatusBadRequest, code: "AgentIdentity_IncompatibleParentType", message: "The specified Application (AppId) isn't an Agent Blueprint. The AgentIdentityBlueprintId must be set to the AppId of a valid agent identity blueprint."}
	}
	principal, ok := c.s.principalOf(v, c.blueprint)
	if err != nil || !ok {
		return subject{}, noBlueprintPrincipal()
	}
	owners := c.childOf(nil, c.blueprint)
	if !c.who.app {
		owners = append(a.Owners, principal.Owners...)
	}
	return subject{owners: owners, agent: directory.AgentIdentity}, nil
}

// isObject tells whether the id is an application's object id, which people take for the app id.
func (c *call) isObject(v replica.View, id string) bool {
	a, ok := c.s.dir.Applications.Get(v, id)
	return ok && a.Live()
}

func noBlueprintPrincipal() *problem {
	return &problem{status: http.StatusBadRequest, code: "AgentIdentity_AgentBlueprintPrincipalDoesNotExist", message: "The Agent Blueprint Principal for the Agent Blueprint does not exist."}
}

// mayParent refuses a caller of Agent ID that makes an identity of another's blueprint, and one whose only permission is for its own.
func (c *call) mayParent(v replica.View) error {
	if !c.who.app || c.may(v, "agentIdentity.create") == no {
		return nil // refused as anybody else is
	}
	refuse := func(code, text string) error {
		return &problem{status: http.StatusForbidden, code: code, message: text}
	}
	self, _ := c.s.dir.ServicePrincipals.Get(v, c.who.id)
	switch {
	case self.Agent == directory.AgentIdentity:
		return refuse("Error_AgentIdentitiesCreatingAgentIdentitiesNotAllowed", "Agent identities can't create other agent identities. To create an agent identity, use the associated agent identity blueprint principal or nonagent blueprint service principal with the required permissions.")
	case c.who.client == c.blueprint:
	case self.Agent == directory.BlueprintPrincipal:
		return refuse("Error_AgentBlueprintCannotCreateAssociatedIdentity", "Agent identity blueprints can't create agent identities that are associated with another agent identity blueprint.")
	case c.may(v, "agentIdentity.create") == ifOwner:
		return refuse("Error_AgentIdentitySelfCreateRequired", "Applications can only create agent identities under themselves. The provided AgentIdentityBlueprintId doesn't match the calling application's AppId.")
	}
	return nil
}

// createIdentity makes an agent identity. Its id is its app id too (observed 2026).
func (c *call) createIdentity() error {
	in, err := c.principalInput(true)
	if err != nil {
		return err
	}
	switch {
	case in.name == nil || *in.name == "" || len(*in.name) > 256:
		return missing("displayName", "AgentIdentity")
	case len(in.sponsors) == 0:
		return missing("sponsors", "AgentIdentity")
	}
	var made directory.ServicePrincipal
	err = c.write(func(tx replica.Tx) error {
		principal, ok := c.s.principalOf(tx.View, c.blueprint)
		if !ok || principal.Agent != directory.BlueprintPrincipal {
			return noBlueprintPrincipal()
		}
		if c.who.app && c.s.dir.ServicePrincipals.Count(tx.View, "blueprint", c.blueprint) >= maxIdentities {
			return &problem{status: http.StatusBadRequest, code: "AgentIdentity_LimitExceeded", message: "You've reached the maximum number of agent identities allowed including active and soft-deleted entries. To add more, you must permanently delete unneeded agent identities."}
		}
		id := c.s.env.NewID()
		p := directory.ServicePrincipal{
			ID: id, AppID: id, Agent: directory.AgentIdentity, BlueprintID: c.blueprint, ServicePrincipalType: "ServiceIdentity", AccountEnabled: true,
			CreatedByAppID: c.who.client, CreatedDateTime: tx.Now().UTC().Truncate(time.Second), AppOwnerOrganizationID: c.s.dir.Tenant.ID,
			ServicePrincipalNames: []string{id},
		}
		if err := c.s.applyServicePrincipal(tx.View, &p, in); err != nil {
			return err
		}
		if p.Owners, err = c.s.withOwners(tx.View, nil, in.owners); err != nil {
			return err
		}
		if p.Sponsors, err = c.s.withSponsors(tx.View, nil, in.sponsors); err != nil {
			return err
		}
		c.s.dir.ServicePrincipals.Put(tx, p.ID, p)
		made = p
		return nil
	})
	if err == nil {
		c.created("servicePrincipals/"+made.ID, c.s.encodeServicePrincipal(made, false), "servicePrincipals/$entity")
	}
	return err
}

// cascade puts the children of what goes into the recycle bin there too: the identities of a blueprint's principal, and the user of an
// identity. Entra does so some time later; here it is done at once, and replicas see it when they do. Restoring the parent brings no
// child back (Microsoft, "Agent identity deletion").
func (s *Service) cascade(tx replica.Tx, p directory.ServicePrincipal, now time.Time) {
	switch p.Agent {
	case directory.BlueprintPrincipal:
		for _, child := range s.dir.ServicePrincipals.By(tx.View, "blueprint", p.AppID) {
			if child.Live() {
				s.binServicePrincipal(tx, child, now)
			}
		}
	case directory.AgentIdentity:
		for _, u := range s.dir.Users.By(tx.View, "parent", p.ID) {
			s.binUser(tx, u, now)
		}
	}
}
