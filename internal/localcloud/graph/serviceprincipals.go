package graph

import (
	"encoding/json"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/graph/odata"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Properties of a service principal (Microsoft Graph metadata, August 2026).
const (
	principalWritable = "accountEnabled displayName tags alternativeNames servicePrincipalNames appRoleAssignmentRequired keyCredentials passwordCredentials " +
		"addIns appDescription customSecurityAttributes description homepage info loginUrl logoutUrl notes notificationEmailAddresses preferredSingleSignOnMode " +
		"preferredTokenSigningKeyThumbprint replyUrls samlSingleSignOnSettings tokenEncryptionKeyId"
	principalReadOnly = "id appId appDisplayName appOwnerOrganizationId applicationTemplateId appRoles createdByAppId createdDateTime deletedDateTime " +
		"disabledByMicrosoftStatus oauth2PermissionScopes resourceSpecificApplicationPermissions servicePrincipalType signInAudience verifiedPublisher"
)

func servicePrincipalRoutes() []route {
	return []route{
		{method: "GET", segments: path("servicePrincipals"), op: "servicePrincipal.read", look: (*call).listServicePrincipals},
		{method: "GET", segments: path("servicePrincipals/$count"), op: "servicePrincipal.read", look: (*call).countServicePrincipals},
		{method: "POST", segments: path("servicePrincipals"), op: "servicePrincipal.create", subject: (*call).backingApplication, do: (*call).createServicePrincipal},
		{method: "GET", segments: path("servicePrincipals/{id}"), op: "servicePrincipal.read", look: (*call).getServicePrincipal},
		{method: "PATCH", segments: path("servicePrincipals/{id}"), op: "servicePrincipal.write", do: (*call).updateServicePrincipal},
		{method: "DELETE", segments: path("servicePrincipals/{id}"), op: "servicePrincipal.write", do: (*call).deleteServicePrincipal},
	}
}

// targetServicePrincipal finds the service principal of the path, by object id or appId.
func (c *call) targetServicePrincipal(v replica.View) (subject, error) {
	p, err := c.findServicePrincipal(v, c.arg["id"], c.key["id"])
	if err != nil {
		return subject{}, err
	}
	c.sp = p
	owners := p.Owners
	if p.Agent == directory.AgentIdentity {
		owners = c.childOf(owners, p.BlueprintID)
	}
	return subject{owners: owners, agent: p.Agent, self: c.who.app && c.who.id == p.ID}, c.fits(p.Agent, c.arg["id"])
}

func (c *call) findServicePrincipal(v replica.View, id, key string) (directory.ServicePrincipal, error) {
	switch key {
	case "", "id":
		if p, ok := c.s.dir.ServicePrincipals.Get(v, strings.ToLower(id)); ok && p.Live() {
			return p, nil
		}
	case "appid":
		if !isGUID(id) {
			return directory.ServicePrincipal{}, invalid("appId", "ServicePrincipal")
		}
		if p, ok := c.s.principalOf(v, strings.ToLower(id)); ok {
			return p, nil
		}
	default:
		return directory.ServicePrincipal{}, badRequest("The key '%s' is not an alternate key of the type 'microsoft.graph.servicePrincipal'.", key)
	}
	return directory.ServicePrincipal{}, notFound(id)
}

// principalOf is the live service principal of an app id.
func (s *Service) principalOf(v replica.View, appID string) (directory.ServicePrincipal, bool) {
	for _, p := range s.dir.ServicePrincipals.By(v, "appId", appID) {
		if p.Live() {
			return p, true
		}
	}
	return directory.ServicePrincipal{}, false
}

// principals are the service principals that can satisfy the filter.
func (c *call) principals(v replica.View) iter.Seq[row] {
	encode := func(p directory.ServicePrincipal) object {
		o := c.s.encodeServicePrincipal(p, false)
		c.expand(v, o, p.Owners, p.Sponsors)
		return o
	}
	id := func(p directory.ServicePrincipal) string { return p.ID }
	alive := func(p directory.ServicePrincipal) bool { return p.Live() && (c.cast == "" || c.cast == p.Agent) }
	table := c.s.dir.ServicePrincipals
	if values, ok := odata.Keys(c.query.Filter, "servicePrincipalNames/any"); ok {
		for _, value := range values { // app ids are stored in lower case, URIs as they came
			values = append(values, strings.ToLower(value))
		}
		return rows(slices.Values(indexed(v, table, "servicePrincipalName", values, false, id, alive)), id, encode)
	}
	by := []index{{"appId", "appId", true}, {"displayName", "displayName", true}}
	if c.cast != "" {
		return rows(ofType(c, v, table, id, alive, append(by, index{"agentIdentityBlueprintId", "blueprint", true})), id, encode)
	}
	return rows(lookup(v, c.query.Filter, table, id, alive, by), id, encode)
}

func (c *call) listServicePrincipals(v replica.View) error {
	return c.list(c.collection("servicePrincipals"), c.principals(v))
}

func (c *call) countServicePrincipals(v replica.View) error {
	return c.count(c.collection("servicePrincipals"), c.principals(v))
}

func (c *call) getServicePrincipal(v replica.View) error {
	o := c.s.encodeServicePrincipal(c.sp, c.query.Selects("keyCredentials"))
	c.expand(v, o, c.sp.Owners, c.sp.Sponsors)
	return c.one(c.collection("servicePrincipals"), o)
}

// backingApplication finds the application that a new service principal is for, on the request's replica. A replica that does not have
// it yet refuses, in one of two ways (both are what az ad sp create-for-rbac retries on, azure-cli 2.45).
func (c *call) backingApplication(v replica.View) (subject, error) {
	var in struct {
		AppID *string `json:"appId"`
	}
	if err := c.decode(&in); err != nil {
		return subject{}, err
	}
	kind, err := c.made()
	if err != nil {
		return subject{}, err
	}
	if kind == directory.AgentIdentity {
		return c.newIdentity(v)
	}
	if in.AppID == nil {
		return subject{}, missing("appId", "ServicePrincipal")
	}
	if !isGUID(*in.AppID) {
		return subject{}, invalid("appId", "ServicePrincipal")
	}
	a, err := c.findApplication(v, *in.AppID, "appid")
	if err == nil {
		c.app = a
		if a.Agent == directory.Blueprint {
			c.agent = directory.BlueprintPrincipal
		} else if kind == directory.BlueprintPrincipal {
			return subject{}, &problem{status: http.StatusBadRequest, code: "AgentBlueprintPrincipal_RequireAgentBlueprint", message: "Agent identity blueprint principals can only be created for Agent Blueprints."}
		}
		return subject{owners: a.Owners, agent: c.agent}, c.mayOwnMore(v)
	}
	if _, taken := c.s.principalOf(v, strings.ToLower(*in.AppID)); taken {
		return subject{owners: []string{c.who.id}}, principalTaken(*in.AppID)
	}
	if c.who.app && c.may(v, "servicePrincipal.create") == ifOwner {
		p := denied()
		p.message = "When using this permission, the backing application of the service principal being created must in the local tenant"
		return subject{}, p
	}
	return subject{}, noBackingApplication(*in.AppID)
}

func principalTaken(appID string) *problem {
	return clash(http.StatusConflict, "The service principal cannot be created, updated, or restored because the service principal name %s is already in use.", appID)
}

func noBackingApplication(appID string) *problem {
	text := "The appId '" + appID + "' of the service principal does not reference a valid application object."
	p := badRequest("%s", text)
	p.details = []detail{{Code: "NoBackingApplicationObject", Message: text, Target: "appId"}}
	return p
}

// principalInput is the body of a POST or PATCH of a service principal.
type principalInput struct {
	members             map[string]json.RawMessage
	owners, sponsors    []string // of a new object of Agent ID
	enabled, assignment *bool
	name                *string
	tags, alternatives  *[]string
	names               *[]string
	keys                *[]keyInput
	passwords           *[]passwordInput
	rest                map[string]any
}

var typedPrincipal = []string{"accountEnabled", "displayName", "tags", "alternativeNames", "servicePrincipalNames", "appRoleAssignmentRequired", "keyCredentials", "passwordCredentials", "appId", "servicePrincipalType", "owners@odata.bind", "sponsors@odata.bind", "agentIdentityBlueprintId", "agentAppId"}

func (c *call) principalInput(create bool) (*principalInput, error) {
	const kind = "ServicePrincipal"
	writable, readOnly := principalWritable, principalReadOnly
	if create {
		writable += " appId servicePrincipalType"
		if c.agent != "" {
			writable += " sponsors@odata.bind"
		}
		if c.agent == directory.AgentIdentity {
			writable += " agentIdentityBlueprintId agentAppId"
		}
	}
	members, err := c.members(kind, writable, readOnly)
	if err != nil {
		return nil, err
	}
	in := &principalInput{members: members, rest: map[string]any{}}
	for _, err := range []error{
		field(members, "accountEnabled", kind, &in.enabled), field(members, "displayName", kind, &in.name), field(members, "tags", kind, &in.tags),
		field(members, "alternativeNames", kind, &in.alternatives), field(members, "servicePrincipalNames", kind, &in.names),
		field(members, "appRoleAssignmentRequired", kind, &in.assignment), field(members, "keyCredentials", kind, &in.keys),
		field(members, "passwordCredentials", kind, &in.passwords), field(members, "owners@odata.bind", kind, &in.owners),
		field(members, "sponsors@odata.bind", kind, &in.sponsors),
	} {
		if err != nil {
			return nil, err
		}
	}
	for _, ids := range [][]string{in.owners, in.sponsors} {
		for i := range ids {
			ids[i] = reference(ids[i])
		}
	}
	if c.agent == directory.AgentIdentity {
		if err := checkIdentity(in); err != nil {
			return nil, err
		}
	}
	if in.keys != nil {
		if err := prepareKeys(*in.keys); err != nil {
			return nil, err
		}
	}
	for name, raw := range members {
		if !slices.Contains(typedPrincipal, name) {
			var value any
			if json.Unmarshal(raw, &value) != nil {
				return nil, malformed()
			}
			in.rest[name] = value
		}
	}
	return in, nil
}

func (s *Service) applyServicePrincipal(v replica.View, p *directory.ServicePrincipal, in *principalInput) error {
	if in.enabled != nil {
		p.AccountEnabled = *in.enabled
	}
	if in.assignment != nil {
		p.AppRoleAssignmentReq = *in.assignment
	}
	if in.name != nil {
		p.DisplayName = *in.name
	}
	if in.tags != nil {
		p.Tags = *in.tags
	}
	if in.alternatives != nil {
		p.AlternativeNames = *in.alternatives
	}
	if in.names != nil {
		if err := s.checkNames(v, *p, *in.names); err != nil {
			return err
		}
		p.ServicePrincipalNames = *in.names
	}
	rest := maps.Clone(p.Rest)
	if rest == nil {
		rest = map[string]any{}
	}
	for name, value := range in.rest {
		rest[name] = merge(rest[name], value)
	}
	p.Rest = rest
	return s.applyCredentials(v, holderOfPrincipal(p), in.keys, in.passwords)
}

// createServicePrincipal makes the service principal of an application of this tenant; its owner is the caller.
func (c *call) createServicePrincipal() error {
	in, err := c.principalInput(true)
	if err != nil {
		return err
	}
	var made directory.ServicePrincipal
	err = c.write(func(tx replica.Tx) error {
		a, ok := c.s.dir.Applications.Get(tx.View, c.app.ID)
		if !ok || !a.Live() {
			return noBackingApplication(c.app.AppID)
		}
		if _, taken := c.s.principalOf(tx.View, a.AppID); taken {
			return principalTaken(a.AppID)
		}
		p := directory.ServicePrincipal{
			ID: c.s.env.NewID(), AppID: a.AppID, DisplayName: a.DisplayName, ServicePrincipalType: "Application", AccountEnabled: true,
			CreatedDateTime: tx.Now().UTC().Truncate(time.Second), AppOwnerOrganizationID: c.s.dir.Tenant.ID,
			ServicePrincipalNames: append([]string{a.AppID}, a.IdentifierURIs...), AppRoles: a.AppRoles, PermissionScopes: a.PermissionScopes,
			Owners: []string{c.who.id}, Rest: map[string]any{}, Agent: c.agent,
		}
		if p.Agent != "" {
			p.CreatedByAppID = c.who.client
			if p.Sponsors, err = c.s.withSponsors(tx.View, nil, in.sponsors); err != nil {
				return err
			}
		}
		c.s.inherit(p.Rest, a)
		if err := c.s.applyServicePrincipal(tx.View, &p, in); err != nil {
			return err
		}
		c.s.dir.ServicePrincipals.Put(tx, p.ID, p)
		made = p
		return nil
	})
	if err != nil {
		return err
	}
	c.created("servicePrincipals/"+made.ID, c.s.encodeServicePrincipal(made, false), "servicePrincipals/$entity")
	return nil
}

func (c *call) updateServicePrincipal() error {
	in, err := c.principalInput(false)
	if err != nil {
		return err
	}
	err = c.write(func(tx replica.Tx) error {
		p, ok := c.s.dir.ServicePrincipals.Get(tx.View, c.sp.ID)
		if !ok || !p.Live() {
			return notFound(c.sp.ID)
		}
		if err := c.s.applyServicePrincipal(tx.View, &p, in); err != nil {
			return err
		}
		c.s.dir.ServicePrincipals.Put(tx, p.ID, p)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}

func (c *call) deleteServicePrincipal() error {
	err := c.write(func(tx replica.Tx) error {
		p, ok := c.s.dir.ServicePrincipals.Get(tx.View, c.sp.ID)
		if !ok || !p.Live() {
			return notFound(c.sp.ID)
		}
		if p.ServicePrincipalType == "ManagedIdentity" { // goes with its Azure resource
			return denied()
		}
		c.s.binServicePrincipal(tx, p, tx.Now().UTC().Truncate(time.Second))
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}

// binServicePrincipal puts a service principal into the recycle bin. The permissions it was granted, and those granted on it, are
// dropped; a restored one does not have them.
func (s *Service) binServicePrincipal(tx replica.Tx, p directory.ServicePrincipal, now time.Time) {
	p.DeletedDateTime = &now
	s.dir.ServicePrincipals.Put(tx, p.ID, p)
	s.cascade(tx, p, now)
	for _, index := range []string{"principal", "resource"} {
		for _, a := range s.dir.AppRoleAssignments.By(tx.View, index, p.ID) {
			s.dir.AppRoleAssignments.Delete(tx, a.ID)
		}
	}
	for _, index := range []string{"client", "resource"} {
		for _, g := range s.dir.PermissionGrants.By(tx.View, index, p.ID) {
			s.dir.PermissionGrants.Delete(tx, g.ID)
		}
	}
}
