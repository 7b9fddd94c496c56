package graph

import (
	"crypto/sha256"
	"encoding/base64"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// defaultAccess is the app role id that means "assigned, with no role in particular".
const defaultAccess = "00000000-0000-0000-0000-000000000000"

// maxAssignments is how many app role assignments a principal has at most (Microsoft Entra service limits).
const maxAssignments = 1500

func assignmentRoutes() []route {
	const to, on = "servicePrincipals/{id}/appRoleAssignments", "servicePrincipals/{id}/appRoleAssignedTo"
	var all []route
	for _, at := range []string{to, on} {
		all = append(all,
			route{method: "GET", segments: path(at), op: "assignment.read", look: (*call).listAssignments},
			route{method: "POST", segments: path(at), op: "assignment.write", subject: (*call).assignmentAsked, do: (*call).createAssignment},
			route{method: "GET", segments: path(at + "/{assignment}"), op: "assignment.read", look: (*call).getAssignment},
			route{method: "DELETE", segments: path(at + "/{assignment}"), op: "assignment.write", subject: (*call).assignmentNamed, do: (*call).deleteAssignment},
		)
	}
	return append(all, route{method: "GET", segments: path("users/{id}/appRoleAssignments"), op: "user.read", look: (*call).listUserAssignments})
}

// bySide is the index that the last segments of the path ask for.
func (c *call) bySide() string {
	if strings.Contains(strings.ToLower(c.r.URL.Path), "approleassignedto") {
		return "resource"
	}
	return "principal"
}

func (s *Service) encodeAssignment(v replica.View, a directory.AppRoleAssignment) object {
	o := object{
		"id": a.ID, "deletedDateTime": nil, "appRoleId": a.AppRoleID, "createdDateTime": stamp(a.CreatedDateTime), "principalId": a.PrincipalID,
		"principalType": a.PrincipalType, "resourceId": a.ResourceID, "principalDisplayName": nil, "resourceDisplayName": nil,
	}
	if p, ok := s.directoryObject(v, a.PrincipalID); ok {
		o["principalDisplayName"] = p["displayName"]
	}
	if p, ok := s.dir.ServicePrincipals.Get(v, a.ResourceID); ok {
		o["resourceDisplayName"] = p.DisplayName
	}
	return o
}

func (c *call) assignmentRows(v replica.View, all []directory.AppRoleAssignment) iter.Seq[row] {
	return rows(slices.Values(all), func(a directory.AppRoleAssignment) string { return a.ID }, func(a directory.AppRoleAssignment) object { return c.s.encodeAssignment(v, a) })
}

func (c *call) listAssignments(v replica.View) error {
	return c.list("appRoleAssignments", c.assignmentRows(v, c.s.dir.AppRoleAssignments.By(v, c.bySide(), c.sp.ID)))
}

// listUserAssignments lists the user's own and those of the groups that have the user as a direct member; an assignment to a group
// reaches no further (Microsoft Graph, "List appRoleAssignments granted to a user").
func (c *call) listUserAssignments(v replica.View) error {
	u, err := c.findUser(v, c.arg["id"])
	if err != nil {
		return err
	}
	var all []directory.AppRoleAssignment
	for _, id := range append([]string{u.ID}, c.s.dir.DirectGroupsOf(v, u.ID)...) {
		all = append(all, c.s.dir.AppRoleAssignments.By(v, "principal", id)...)
	}
	return c.list("appRoleAssignments", c.assignmentRows(v, all))
}

func (c *call) findAssignment(v replica.View) (directory.AppRoleAssignment, error) {
	a, ok := c.s.dir.AppRoleAssignments.Get(v, c.arg["assignment"])
	if side := c.bySide(); ok && (side == "principal" && a.PrincipalID == c.sp.ID || side == "resource" && a.ResourceID == c.sp.ID) {
		return a, nil
	}
	return directory.AppRoleAssignment{}, notFound(c.arg["assignment"])
}

func (c *call) getAssignment(v replica.View) error {
	a, err := c.findAssignment(v)
	if err != nil {
		return err
	}
	return c.one("appRoleAssignments", c.s.encodeAssignment(v, a))
}

type assignmentInput struct {
	PrincipalID string `json:"principalId"`
	ResourceID  string `json:"resourceId"`
	AppRoleID   string `json:"appRoleId"`
}

// assignmentAsked finds the resource of a new assignment: roles of Microsoft Graph itself need the Privileged Role Administrator.
func (c *call) assignmentAsked(v replica.View) (subject, error) {
	if _, err := c.targetServicePrincipal(v); err != nil {
		return subject{}, err
	}
	var in assignmentInput
	if err := c.decode(&in); err != nil {
		return subject{}, err
	}
	for _, id := range []struct{ name, value string }{{"principalId", in.PrincipalID}, {"resourceId", in.ResourceID}, {"appRoleId", in.AppRoleID}} {
		if !isGUID(id.value) {
			return subject{}, invalid(id.name, "AppRoleAssignment")
		}
	}
	return subject{}, c.assignable(v, strings.ToLower(in.ResourceID))
}

func (c *call) assignmentNamed(v replica.View) (subject, error) {
	if _, err := c.targetServicePrincipal(v); err != nil {
		return subject{}, err
	}
	a, err := c.findAssignment(v)
	if err != nil {
		return subject{}, err
	}
	return subject{}, c.assignable(v, a.ResourceID)
}

func (c *call) assignable(v replica.View, resource string) error {
	if p, ok := c.s.dir.ServicePrincipals.Get(v, resource); ok && p.AppID == directory.GraphAppID {
		return c.allow(v, "assignment.ofGraph", subject{})
	}
	return nil
}

// createAssignment grants an app role; principal or resource is the object of the path, depending on the path.
func (c *call) createAssignment() error {
	var in assignmentInput
	if err := c.decode(&in); err != nil {
		return err
	}
	a := directory.AppRoleAssignment{PrincipalID: strings.ToLower(in.PrincipalID), ResourceID: strings.ToLower(in.ResourceID), AppRoleID: strings.ToLower(in.AppRoleID)}
	if side := c.bySide(); side == "principal" && a.PrincipalID != c.sp.ID || side == "resource" && a.ResourceID != c.sp.ID {
		return badRequest("The id of the object in the path and the one in the body are not the same.")
	}
	// The id is opaque, base64url and not a GUID; made of the triple, so that it is the same again after a removal.
	sum := sha256.Sum256([]byte(a.PrincipalID + "/" + a.ResourceID + "/" + a.AppRoleID))
	a.ID = base64.RawURLEncoding.EncodeToString(sum[:])
	var answer object
	err := c.write(func(tx replica.Tx) error {
		resource, err := get(tx, c.s.dir.ServicePrincipals, a.ResourceID, directory.ServicePrincipal.Live)
		if err != nil {
			return err
		}
		if a.PrincipalType = c.s.dir.PrincipalType(tx.View, a.PrincipalID); a.PrincipalType == "" {
			return notFound(a.PrincipalID)
		}
		if !assignableRole(resource, a) {
			return badRequest("Permission being assigned was not found on application '%s'.", resource.AppID)
		}
		if c.s.isAgent(tx.View, a.PrincipalID) && resource.AppID == directory.GraphAppID && blockedForAgents(roleValue(resource, a.AppRoleID), "a") {
			return notForAgents()
		}
		if _, have := c.s.dir.AppRoleAssignments.Get(tx.View, a.ID); have {
			return badRequest("Permission being assigned already exists on the object")
		}
		if c.s.dir.AppRoleAssignments.Count(tx.View, "principal", a.PrincipalID) >= maxAssignments {
			return quota()
		}
		a.CreatedDateTime = tx.Now().UTC().Truncate(time.Second)
		c.s.dir.AppRoleAssignments.Put(tx, a.ID, a)
		answer = c.s.encodeAssignment(tx.View, a)
		return nil
	})
	if err != nil {
		return err
	}
	c.created("servicePrincipals/"+c.sp.ID+"/appRoleAssignments/"+a.ID, answer, "appRoleAssignments/$entity")
	return nil
}

// assignableRole tells whether the resource defines the role, enabled, for this kind of principal.
func assignableRole(resource directory.ServicePrincipal, a directory.AppRoleAssignment) bool {
	if a.AppRoleID == defaultAccess {
		return len(resource.AppRoles) == 0 || a.PrincipalType != "ServicePrincipal"
	}
	member := "User"
	if a.PrincipalType == "ServicePrincipal" {
		member = "Application"
	}
	return slices.ContainsFunc(resource.AppRoles, func(r directory.AppRole) bool {
		return strings.EqualFold(r.ID, a.AppRoleID) && r.IsEnabled && slices.Contains(r.AllowedMemberTypes, member)
	})
}

func (c *call) deleteAssignment() error {
	err := c.write(func(tx replica.Tx) error {
		a, err := c.findAssignment(tx.View)
		if err == nil {
			c.s.dir.AppRoleAssignments.Delete(tx, a.ID)
		}
		return err
	})
	if err == nil {
		c.done()
	}
	return err
}
