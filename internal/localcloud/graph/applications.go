package graph

import (
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

// reserved is how long a deleted object can be restored, and its uniqueName is kept.
const reserved = 30 * 24 * time.Hour

// restorable tells whether an object deleted at the time is still in the recycle bin.
func restorable(deleted *time.Time, now time.Time) bool {
	return deleted != nil && now.Sub(*deleted) < reserved
}

func applicationRoutes() []route {
	return []route{
		{method: "GET", segments: path("applications"), op: "application.read", look: (*call).listApplications},
		{method: "GET", segments: path("applications/$count"), op: "application.read", look: (*call).countApplications},
		{method: "POST", segments: path("applications"), op: "application.create", subject: (*call).newApplication, look: (*call).mayOwnMore, do: (*call).createApplication},
		{method: "GET", segments: path("applications/{id}"), op: "application.read", look: (*call).getApplication},
		{method: "PATCH", segments: path("applications/{id}"), op: "application.write", subject: (*call).upsertTarget, do: (*call).updateApplication},
		{method: "DELETE", segments: path("applications/{id}"), op: "application.write", do: (*call).deleteApplication},
	}
}

// targetApplication finds the application of the path: by object id, appId or uniqueName.
func (c *call) targetApplication(v replica.View) (subject, error) {
	a, err := c.findApplication(v, c.arg["id"], c.key["id"])
	if err != nil {
		return subject{}, err
	}
	c.app = a
	return subject{owners: a.Owners, agent: a.Agent, self: c.who.app && c.who.client == a.AppID}, c.fits(a.Agent, c.arg["id"])
}

func (c *call) findApplication(v replica.View, id, key string) (directory.Application, error) {
	var found []directory.Application
	switch key {
	case "", "id":
		if a, ok := c.s.dir.Applications.Get(v, strings.ToLower(id)); ok {
			found = append(found, a)
		}
	case "appid":
		if !isGUID(id) {
			return directory.Application{}, invalid("appId", "Application")
		}
		found = c.s.dir.Applications.By(v, "appId", strings.ToLower(id))
	case "uniquename":
		found = c.s.dir.Applications.By(v, "uniqueName", id)
	default:
		return directory.Application{}, badRequest("The key '%s' is not an alternate key of the type 'microsoft.graph.application'.", key)
	}
	for _, a := range found {
		if a.Live() {
			return a, nil
		}
	}
	return directory.Application{}, notFound(id)
}

// candidates are the applications that can satisfy the filter.
func (c *call) candidates(v replica.View) iter.Seq[row] {
	encode := func(a directory.Application) object {
		o := c.s.encodeApplication(a, false)
		c.expand(v, o, a.Owners, a.Sponsors)
		return o
	}
	id := func(a directory.Application) string { return a.ID }
	by := []index{{"appId", "appId", true}, {"uniqueName", "uniqueName", false}, {"displayName", "displayName", true}, {"identifierUris/any", "identifierUri", false}}
	if c.cast != "" {
		return rows(ofType(c, v, c.s.dir.Applications, id, func(a directory.Application) bool { return a.Live() && a.Agent == c.cast }, by), id, encode)
	}
	return rows(lookup(v, c.query.Filter, c.s.dir.Applications, id, directory.Application.Live, by), id, encode)
}

func (c *call) listApplications(v replica.View) error {
	return c.list(c.collection("applications"), c.candidates(v))
}

func (c *call) countApplications(v replica.View) error {
	return c.count(c.collection("applications"), c.candidates(v))
}

// expand adds the relationships of an application or service principal that the query asks for.
func (c *call) expand(v replica.View, o object, owners, sponsors []string) {
	if c.query.Expands("owners") {
		o["owners"] = c.s.expanded(v, owners)
	}
	if c.query.Expands("sponsors") {
		o["sponsors"] = c.s.expanded(v, sponsors)
	}
}

func (c *call) getApplication(v replica.View) error {
	o := c.s.encodeApplication(c.app, c.query.Selects("keyCredentials"))
	c.expand(v, o, c.app.Owners, c.app.Sponsors)
	return c.one(c.collection("applications"), o)
}

// mayOwnMore refuses a user without an administrator's role who has made 250 objects already, deleted ones counted (Microsoft Entra
// service limits). Applications that create through the API are not limited (Microsoft, "Recover deleted applications FAQs").
func (c *call) mayOwnMore(v replica.View) error {
	if c.who.app || anyOf(appKeep, c.s.dir.RolesOf(v, c.who.id)) {
		return nil
	}
	if len(c.s.dir.Applications.By(v, "owner", c.who.id))+len(c.s.dir.ServicePrincipals.By(v, "owner", c.who.id)) >= 250 {
		return quota()
	}
	return nil
}

// createApplication makes an application whose owner is the caller.
func (c *call) createApplication() error {
	input, err := c.applicationInput(true)
	if err != nil {
		return err
	}
	return c.insertApplication(input, nil)
}

func (c *call) insertApplication(input *applicationInput, uniqueName *string) error {
	var made directory.Application
	err := c.write(func(tx replica.Tx) error {
		if uniqueName != nil && c.s.reservedName(tx.View, *uniqueName) {
			return clash(http.StatusBadRequest, "Another object with the same value for property uniqueName already exists.")
		}
		a := directory.Application{
			ID: c.s.env.NewID(), AppID: c.s.env.NewID(), UniqueName: uniqueName, SignInAudience: "AzureADandPersonalMicrosoftAccount",
			CreatedDateTime: tx.Now().UTC().Truncate(time.Second), Owners: []string{c.who.id},
		}
		if c.who.app {
			a.CreatedByAppID = c.who.client
		}
		if c.agent == directory.Blueprint {
			if err := c.asBlueprint(tx.View, &a, input.sponsors); err != nil {
				return err
			}
		}
		if err := c.s.applyApplication(tx, &a, input); err != nil {
			return err
		}
		owners, err := c.s.withOwners(tx.View, a.Owners, input.owners)
		if err != nil {
			return err
		}
		a.Owners = owners
		c.s.dir.Applications.Put(tx, a.ID, a)
		made = a
		return nil
	})
	if err != nil {
		return err
	}
	c.created("applications/"+made.ID, c.s.encodeApplication(made, false), c.collection("applications")+"/$entity")
	return nil
}

// reservedName tells whether a live application has the uniqueName, or one in the recycle bin keeps it.
func (s *Service) reservedName(v replica.View, name string) bool {
	return slices.ContainsFunc(s.dir.Applications.By(v, "uniqueName", name), func(a directory.Application) bool {
		return a.Live() || restorable(a.DeletedDateTime, v.Now())
	})
}

// upsertTarget is the application of a PATCH. Addressed by uniqueName with "Prefer: create-if-missing", an application that the
// replica does not show is created; uniqueName is compared on the primary, so that a second one cannot come about, and a create that
// lost against a write not yet visible here is refused like any other clash (Microsoft Graph, "Upsert application").
func (c *call) upsertTarget(v replica.View) (subject, error) {
	on, err := c.targetApplication(v)
	if c.app.ID != "" { // of another type than the path casts to, if there is an error
		return on, err
	}
	if p, ok := err.(*problem); !ok || p.status != http.StatusNotFound || c.key["id"] != "uniquename" || !c.prefers("create-if-missing") {
		return on, err
	}
	create := operation("application.create")
	if c.agent = c.cast; c.agent == directory.Blueprint {
		create = "blueprint.create"
	}
	if err := c.allow(v, create, subject{}); err != nil {
		return subject{}, err
	}
	if err := c.mayOwnMore(v); err != nil {
		return subject{}, err
	}
	c.act = (*call).upsertApplication
	return subject{decided: true}, nil
}

func (c *call) prefers(what string) bool {
	for _, header := range c.r.Header.Values("Prefer") {
		for preference := range strings.SplitSeq(header, ",") {
			if strings.EqualFold(strings.TrimSpace(preference), what) {
				return true
			}
		}
	}
	return false
}

func (c *call) upsertApplication() error {
	name := c.arg["id"]
	if name == "" || len(name) > 120 {
		return invalid("uniqueName", "Application")
	}
	input, err := c.applicationInput(true)
	if err != nil {
		return err
	}
	return c.insertApplication(input, &name)
}

// updateApplication changes what the body names and answers 204.
func (c *call) updateApplication() error {
	input, err := c.applicationInput(false)
	if err != nil {
		return err
	}
	err = c.write(func(tx replica.Tx) error {
		a, ok := c.s.dir.Applications.Get(tx.View, c.app.ID)
		if !ok || !a.Live() {
			return notFound(c.app.ID)
		}
		if err := c.s.applyApplication(tx, &a, input); err != nil {
			return err
		}
		c.s.dir.Applications.Put(tx, a.ID, a)
		c.s.followApplication(tx, a)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}

// followApplication carries what an application defines over to its service principal, as Entra does in the home tenant.
func (s *Service) followApplication(tx replica.Tx, a directory.Application) {
	for _, p := range s.dir.ServicePrincipals.By(tx.View, "appId", a.AppID) {
		if !p.Live() || p.AppOwnerOrganizationID != s.dir.Tenant.ID || p.ServicePrincipalType != "Application" {
			continue
		}
		p.DisplayName, p.AppRoles, p.PermissionScopes = a.DisplayName, a.AppRoles, a.PermissionScopes
		p.ServicePrincipalNames = append([]string{a.AppID}, a.IdentifierURIs...)
		p.Rest = maps.Clone(p.Rest)
		if p.Rest == nil {
			p.Rest = map[string]any{}
		}
		s.inherit(p.Rest, a)
		s.dir.ServicePrincipals.Put(tx, p.ID, p)
	}
}

// inherit copies the properties that a service principal shows of its application as they are.
func (s *Service) inherit(rest map[string]any, a directory.Application) {
	o := s.encodeApplication(a, false)
	rest["signInAudience"], rest["appRoles"] = a.SignInAudience, o["appRoles"]
	rest["oauth2PermissionScopes"] = odata.Property(o, "api/oauth2PermissionScopes")
}

// deleteApplication puts the application and its service principal of this tenant into the recycle bin.
func (c *call) deleteApplication() error {
	err := c.write(func(tx replica.Tx) error {
		a, ok := c.s.dir.Applications.Get(tx.View, c.app.ID)
		if !ok || !a.Live() {
			return notFound(c.app.ID)
		}
		now := tx.Now().UTC().Truncate(time.Second)
		a.DeletedDateTime = &now
		c.s.dir.Applications.Put(tx, a.ID, a)
		for _, p := range c.s.dir.ServicePrincipals.By(tx.View, "appId", a.AppID) {
			if p.Live() {
				c.s.binServicePrincipal(tx, p, now)
			}
		}
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}
