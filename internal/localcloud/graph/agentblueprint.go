package graph

import (
	"net/http"
	"slices"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// blueprintIncompatible are the properties of an application that a blueprint does not have: those of clients that people sign in to.
const blueprintIncompatible = "addIns defaultRedirectUri isDeviceOnlyAuthSupported isFallbackPublicClient nativeAuthenticationApisEnabled publicClient spa"

// maxBlueprints and maxIdentities bound what clients with application permissions make; deleted ones count until they are purged
// (Microsoft Entra service limits: 250 blueprints of a tenant, 250 identities of a blueprint).
const maxBlueprints, maxIdentities = 250, 250

// newApplication is the subject of a POST of applications: it finds out whether a blueprint is to be made.
func (c *call) newApplication(replica.View) (subject, error) {
	a, err := c.made()
	if err != nil {
		return subject{}, err
	}
	if a == directory.Blueprint {
		c.agent = a
	}
	return subject{agent: c.agent}, nil
}

// checkBlueprint refuses what a blueprint cannot have, and a new one without a sponsor.
func (c *call) checkBlueprint(in *applicationInput, create bool) error {
	if err := incompatible("AgentBlueprint_IncompatibleProperty", in.members, blueprintIncompatible); err != nil {
		return err
	}
	if in.keys != nil && slices.ContainsFunc(*in.keys, func(k keyInput) bool { return k.Type != nil && *k.Type != certificate }) {
		return badCredential("type", certificate)
	}
	if create && len(in.sponsors) == 0 {
		return missing("sponsors", "AgentIdentityBlueprint")
	}
	return nil
}

// asBlueprint makes a new application a blueprint.
func (c *call) asBlueprint(v replica.View, a *directory.Application, sponsors []string) (err error) {
	if c.who.app && c.s.dir.Applications.Count(v, "agent", string(directory.Blueprint)) >= maxBlueprints {
		return &problem{status: http.StatusBadRequest, code: "AgentBlueprint_LimitExceeded", message: "You've reached the maximum number of agent identity blueprints allowed including active and soft-deleted items. To create more, you must permanently delete unneeded blueprints."}
	}
	a.Agent, a.SignInAudience = directory.Blueprint, "AzureADMyOrg"
	a.Sponsors, err = c.s.withSponsors(v, nil, sponsors)
	return err
}
