package graph

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const (
	userWritable = "accountEnabled displayName mailNickname userPrincipalName usageLocation"
	userReadOnly = "id identityParentId createdDateTime deletedDateTime mail userType"
)

// userName is the form of a user principal name ("Create agentUser").
var userName = regexp.MustCompile(`^[A-Za-z0-9'._!#^~-]+@([A-Za-z0-9.-]+)$`)

// otherUsers says that this cloud makes and changes no people: they are its operators.
func otherUsers() *problem {
	return badRequest("The local cloud makes and changes agent users only (\"@odata.type\": \"microsoft.graph.agentUser\").")
}

// targetUser finds the user of the path.
func (c *call) targetUser(v replica.View) (subject, error) {
	u, err := c.findUser(v, c.arg["id"])
	if err != nil {
		return subject{}, err
	}
	c.usr = u
	return c.userSubject(v, u), c.fits(u.Agent, c.arg["id"])
}

func (c *call) userSubject(v replica.View, u directory.User) subject {
	p, _ := c.s.dir.ServicePrincipals.Get(v, u.IdentityParentID)
	return subject{agent: u.Agent, owners: c.childOf(nil, p.BlueprintID)}
}

// newUser is the subject of a POST of users: the agent identity that the user is to belong to.
func (c *call) newUser(v replica.View) (subject, error) {
	kind, err := c.made()
	if err != nil {
		return subject{}, err
	}
	if kind != directory.AgentUser {
		return subject{}, otherUsers()
	}
	c.agent = kind
	var in struct {
		Parent *string `json:"identityParentId"`
	}
	if err := c.decode(&in); err != nil {
		return subject{}, err
	}
	if in.Parent == nil {
		return subject{}, missing("identityParentId", "AgentUser")
	}
	p, err := c.findServicePrincipal(v, *in.Parent, "")
	if err != nil {
		return subject{}, err
	}
	if p.Agent != directory.AgentIdentity {
		return subject{}, invalid("identityParentId", "AgentUser")
	}
	c.sp = p
	return subject{agent: kind, owners: c.childOf(nil, p.BlueprintID)}, nil
}

type userInput struct {
	enabled                       *bool
	name, nickname, upn, location *string
}

func (c *call) userInput(create bool) (*userInput, error) {
	const kind = "AgentUser"
	writable := userWritable
	if create {
		writable += " identityParentId"
	}
	members, err := c.members(kind, writable, userReadOnly)
	if err != nil {
		return nil, err
	}
	in := &userInput{}
	for _, err := range []error{
		field(members, "accountEnabled", kind, &in.enabled), field(members, "displayName", kind, &in.name), field(members, "mailNickname", kind, &in.nickname),
		field(members, "userPrincipalName", kind, &in.upn), field(members, "usageLocation", kind, &in.location),
	} {
		if err != nil {
			return nil, err
		}
	}
	return in, in.check(members, create)
}

// check finds what is missing from a new user, and names that are no names.
func (in *userInput) check(members map[string]json.RawMessage, create bool) error {
	for _, name := range strings.Fields("accountEnabled displayName mailNickname userPrincipalName") {
		if raw, ok := members[name]; create && !ok || ok && (string(raw) == "null" || string(raw) == `""`) {
			return missing(name, "AgentUser")
		}
	}
	if in.upn != nil && !userName.MatchString(*in.upn) {
		return invalid("userPrincipalName", "AgentUser")
	}
	return nil
}

// applyUser lays the input over the user, on the primary. The domain of the name must be one of the tenant's.
func (s *Service) applyUser(v replica.View, u *directory.User, in *userInput) error {
	if in.upn != nil {
		if _, domain, _ := strings.Cut(*in.upn, "@"); !strings.EqualFold(domain, s.dir.Tenant.Domain) {
			return badRequest("The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain names in your organization.")
		}
		for _, o := range s.dir.Users.By(v, "upn", strings.ToLower(*in.upn)) {
			if o.ID != u.ID {
				return nameTaken()
			}
		}
		u.UserPrincipalName = *in.upn
	}
	set := func(to *string, from *string) {
		if from != nil {
			*to = *from
		}
	}
	set(&u.DisplayName, in.name)
	set(&u.MailNickname, in.nickname)
	set(&u.UsageLocation, in.location)
	if in.enabled != nil {
		u.AccountEnabled = *in.enabled
	}
	return nil
}

func nameTaken() *problem {
	const text = "Another object with the same value for property userPrincipalName already exists."
	p := badRequest(text)
	p.details = []detail{{Code: "ObjectConflict", Message: text, Target: "userPrincipalName"}}
	return p
}

// createUser makes the agent user of an identity, which has one at most.
func (c *call) createUser() error {
	in, err := c.userInput(true)
	if err != nil {
		return err
	}
	var made directory.User
	err = c.write(func(tx replica.Tx) error {
		p, err := get(tx, c.s.dir.ServicePrincipals, c.sp.ID, directory.ServicePrincipal.Live)
		if err != nil {
			return err
		}
		u := directory.User{ID: c.s.env.NewID(), Agent: directory.AgentUser, IdentityParentID: p.ID, CreatedDateTime: tx.Now().UTC().Truncate(time.Second)}
		if len(c.s.dir.Users.By(tx.View, "parent", p.ID)) > 0 {
			return clash(http.StatusBadRequest, "Another object with the same value for property identityParentId already exists.")
		}
		if err := c.s.applyUser(tx.View, &u, in); err != nil {
			return err
		}
		c.s.dir.Users.Put(tx, u.ID, u)
		made = u
		return nil
	})
	if err == nil {
		c.created("users/"+made.ID, encodeUser(made), "users/$entity")
	}
	return err
}

// changeUser runs change on the agent user of the path, as the primary has it.
func (c *call) changeUser(change func(tx replica.Tx, u directory.User) error) error {
	if c.usr.Agent != directory.AgentUser {
		return otherUsers()
	}
	err := c.write(func(tx replica.Tx) error {
		u, ok := c.s.dir.Users.Get(tx.View, c.usr.ID)
		if !ok {
			return notFound(c.usr.ID)
		}
		return change(tx, u)
	})
	if err == nil {
		c.done()
	}
	return err
}

func (c *call) updateUser() error {
	in, err := c.userInput(false)
	if err != nil {
		return err
	}
	return c.changeUser(func(tx replica.Tx, u directory.User) error {
		if err := c.s.applyUser(tx.View, &u, in); err != nil {
			return err
		}
		c.s.dir.Users.Put(tx, u.ID, u)
		return nil
	})
}

func (c *call) deleteUser() error {
	return c.changeUser(func(tx replica.Tx, u directory.User) error {
		c.s.binUser(tx, u, tx.Now().UTC().Truncate(time.Second))
		return nil
	})
}

// binUser puts a user into the recycle bin. Its assignments and the grants in its name are dropped.
func (s *Service) binUser(tx replica.Tx, u directory.User, now time.Time) {
	s.dir.DeletedUsers.Put(tx, u.ID, directory.DeletedUser{ID: u.ID, User: u, DeletedDateTime: now})
	s.dir.Users.Delete(tx, u.ID)
	for _, a := range s.dir.AppRoleAssignments.By(tx.View, "principal", u.ID) {
		s.dir.AppRoleAssignments.Delete(tx, a.ID)
	}
	for _, g := range s.dir.PermissionGrants.By(tx.View, "client", u.IdentityParentID) {
		if g.PrincipalID != nil && *g.PrincipalID == u.ID {
			s.dir.PermissionGrants.Delete(tx, g.ID)
		}
	}
}

func encodeDeletedUser(d directory.DeletedUser) object {
	o := encodeUser(d.User)
	o["deletedDateTime"] = stamp(d.DeletedDateTime)
	if d.User.Agent == "" {
		o["@odata.type"] = "#microsoft.graph.user"
	}
	return o
}

// deletedUser finds the user of the path in the recycle bin.
func (c *call) deletedUser(v replica.View) (directory.DeletedUser, bool) {
	d, ok := c.s.dir.DeletedUsers.Get(v, strings.ToLower(c.arg["deleted"]))
	return d, ok && restorable(&d.DeletedDateTime, v.Now())
}

// restoreUser takes a user out of the recycle bin, if its identity is there and has no other user by now.
func (c *call) restoreUser() error {
	var answer object
	err := c.write(func(tx replica.Tx) error {
		d, ok := c.deletedUser(tx.View)
		if !ok {
			return notFound(c.arg["deleted"])
		}
		if _, err := get(tx, c.s.dir.ServicePrincipals, d.User.IdentityParentID, directory.ServicePrincipal.Live); err != nil {
			return err
		}
		if len(c.s.dir.Users.By(tx.View, "parent", d.User.IdentityParentID)) > 0 {
			return clash(http.StatusBadRequest, "Another object with the same value for property identityParentId already exists.")
		}
		if len(c.s.dir.Users.By(tx.View, "upn", strings.ToLower(d.User.UserPrincipalName))) > 0 {
			return nameTaken()
		}
		c.s.dir.DeletedUsers.Delete(tx, d.ID)
		c.s.dir.Users.Put(tx, d.ID, d.User)
		answer = encodeUser(d.User)
		return nil
	})
	if err == nil {
		c.ok(answer, "directoryObjects/$entity")
	}
	return err
}

func (c *call) purgeUser() error {
	err := c.write(func(tx replica.Tx) error {
		d, ok := c.deletedUser(tx.View)
		if !ok {
			return notFound(c.arg["deleted"])
		}
		for _, m := range c.s.dir.RoleMembers.By(tx.View, "principal", d.ID) {
			c.s.dir.RoleMembers.Delete(tx, m.ID)
		}
		c.s.dir.DeletedUsers.Delete(tx, d.ID)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}
