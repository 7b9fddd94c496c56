package graph

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// maxFederated is how many federated identity credentials an application has at most (Microsoft Entra service limits).
const maxFederated = 20

func federatedRoutes() []route {
	const all, one = "applications/{id}/federatedIdentityCredentials", "applications/{id}/federatedIdentityCredentials/{fic}"
	return []route{
		{method: "GET", segments: path(all), op: "application.read", look: (*call).listFederated},
		{method: "POST", segments: path(all), op: "application.write", do: (*call).createFederated},
		{method: "GET", segments: path(one), op: "application.read", look: (*call).getFederated},
		{method: "PATCH", segments: path(one), op: "application.write", look: (*call).lookFederated, do: (*call).updateFederated},
		{method: "DELETE", segments: path(one), op: "application.write", look: (*call).lookFederated, do: (*call).deleteFederated},
		{method: "GET", segments: path("servicePrincipals/{id}/federatedIdentityCredentials"), op: "servicePrincipal.read", look: (*call).listFederated},
	}
}

func encodeFederated(f directory.FederatedCredential) object {
	return object{"id": f.ID, "name": f.Name, "issuer": f.Issuer, "subject": f.Subject, "audiences": texts(f.Audiences), "description": pointer(f.Description)}
}

func (c *call) listFederated(v replica.View) error {
	parent := c.app.ID + c.sp.ID // one of them is empty
	id := func(f directory.FederatedCredential) string { return f.ID }
	return c.list(strings.ToLower(c.kind()[:1])+c.kind()[1:]+"s('"+parent+"')/federatedIdentityCredentials", rows(slices.Values(c.s.dir.FederatedCredentials.By(v, "parent", parent)), id, encodeFederated))
}

// findFederated finds the credential of the path, by id or by name: both stand where an id does.
func (c *call) findFederated(v replica.View) (directory.FederatedCredential, bool) {
	for _, f := range c.s.dir.FederatedCredentials.By(v, "parent", c.app.ID) {
		if strings.EqualFold(f.ID, c.arg["fic"]) || f.Name == c.arg["fic"] {
			return f, true
		}
	}
	return directory.FederatedCredential{}, false
}

func (c *call) getFederated(v replica.View) error {
	f, ok := c.findFederated(v)
	if !ok {
		return notFound(c.arg["fic"])
	}
	return c.one("applications('"+c.app.ID+"')/federatedIdentityCredentials", encodeFederated(f))
}

// lookFederated finds the credential on the replica; an upsert by name may go on without.
func (c *call) lookFederated(v replica.View) error {
	if _, ok := c.findFederated(v); ok {
		return nil
	}
	if c.r.Method == http.MethodPatch && c.key["fic"] == "name" && c.prefers("create-if-missing") {
		c.act = (*call).createFederated
		return nil
	}
	return notFound(c.arg["fic"])
}

type federatedInput struct {
	Name        *string   `json:"name"`
	Issuer      *string   `json:"issuer"`
	Subject     *string   `json:"subject"`
	Audiences   *[]string `json:"audiences"`
	Description *string   `json:"description"`
}

var urlSafe = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,120}$`)

func badFederated(property string) *problem {
	return &problem{status: http.StatusBadRequest, code: "InvalidFederatedIdentityCredentialValue", message: "The value of the property '" + property + "' of the federated identity credential is missing, too long or of a form that is not allowed. paramName: FederatedIdentityCredential." + property}
}

// check applies the limits on lengths and forms (Microsoft Graph, "federatedIdentityCredential resource type").
func checkFederated(f directory.FederatedCredential) error {
	fits := func(s string) bool { return s != "" && len(s) <= 600 }
	switch {
	case !urlSafe.MatchString(f.Name):
		return badFederated("Name")
	case !fits(f.Issuer) || !strings.HasPrefix(f.Issuer, "https://"):
		return badFederated("Issuer")
	case !fits(f.Subject):
		return badFederated("Subject")
	case len(f.Audiences) != 1 || !fits(f.Audiences[0]):
		return badFederated("Audiences")
	case f.Description != nil && len(*f.Description) > 600:
		return badFederated("Description")
	}
	return nil
}

// unique applies what must be unique among the application's credentials: the name, and issuer with subject.
func (s *Service) uniqueFederated(v replica.View, f directory.FederatedCredential) error {
	others := s.dir.FederatedCredentials.By(v, "parent", f.ParentID)
	count := 1
	for _, o := range others {
		if o.ID == f.ID {
			continue
		}
		count++
		if o.Name == f.Name {
			return clash(http.StatusConflict, "FederatedIdentityCredential with name %s already exists.", f.Name)
		}
		if o.Issuer == f.Issuer && o.Subject == f.Subject {
			p := badFederated("Subject")
			p.message = "The combination of issuer and subject must be unique for the application. Issuer " + f.Issuer + " and Subject: " + f.Subject + " already exist. paramName: FederatedIdentityCredential.Subject, paramValue: " + f.Subject + ", objectType: Microsoft.Online.DirectoryServices.Application"
			return p
		}
	}
	if count > maxFederated {
		p := quota()
		p.message = "An application can have at most 20 federated identity credentials."
		return p
	}
	return nil
}

func (in federatedInput) apply(f *directory.FederatedCredential) {
	if in.Issuer != nil {
		f.Issuer = *in.Issuer
	}
	if in.Subject != nil {
		f.Subject = *in.Subject
	}
	if in.Audiences != nil {
		f.Audiences = *in.Audiences
	}
	if in.Description != nil {
		f.Description = in.Description
	}
}

func (c *call) createFederated() error {
	var in federatedInput
	if err := c.decode(&in); err != nil {
		return err
	}
	f := directory.FederatedCredential{ID: c.s.env.NewID(), ParentID: c.app.ID}
	if in.apply(&f); in.Name != nil {
		f.Name = *in.Name
	}
	if c.arg["fic"] != "" {
		f.Name = c.arg["fic"]
	}
	if err := checkFederated(f); err != nil {
		return err
	}
	err := c.write(func(tx replica.Tx) error {
		if _, err := get(tx, c.s.dir.Applications, c.app.ID, directory.Application.Live); err != nil {
			return err
		}
		if err := c.s.uniqueFederated(tx.View, f); err != nil {
			return err
		}
		c.s.dir.FederatedCredentials.Put(tx, f.ID, f)
		return nil
	})
	if err != nil {
		return err
	}
	o := encodeFederated(f)
	at := "applications/" + c.app.ID + "/federatedIdentityCredentials"
	o["@odata.id"] = c.base() + "/" + at + "/" + f.ID
	c.created(at+"/"+f.ID, o, "applications('"+c.app.ID+"')/federatedIdentityCredentials/$entity")
	return nil
}

func (c *call) updateFederated() error {
	var in federatedInput
	if err := c.decode(&in); err != nil {
		return err
	}
	err := c.write(func(tx replica.Tx) error {
		f, ok := c.findFederated(tx.View)
		if !ok {
			return notFound(c.arg["fic"])
		}
		if in.Name != nil && *in.Name != f.Name {
			return badRequest("Property 'name' is read-only and cannot be set.")
		}
		in.apply(&f)
		if err := checkFederated(f); err != nil {
			return err
		}
		if err := c.s.uniqueFederated(tx.View, f); err != nil {
			return err
		}
		c.s.dir.FederatedCredentials.Put(tx, f.ID, f)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}

func (c *call) deleteFederated() error {
	err := c.write(func(tx replica.Tx) error {
		f, ok := c.findFederated(tx.View)
		if !ok {
			return notFound(c.arg["fic"])
		}
		c.s.dir.FederatedCredentials.Delete(tx, f.ID)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}
