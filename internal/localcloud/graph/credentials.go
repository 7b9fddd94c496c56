package graph

import (
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// holder is what applications and service principals have in common: credentials, and the policies about them.
type holder struct {
	id        string
	app       bool
	none      *problem // why it can have no credentials of its own, nil if it can
	created   time.Time
	policies  []string
	keys      *[]directory.KeyCredential
	passwords *[]directory.PasswordCredential
}

func holderOf(a *directory.Application) holder {
	return holder{id: a.ID, app: true, created: a.CreatedDateTime, policies: a.PolicyIDs, keys: &a.KeyCredentials, passwords: &a.PasswordCredentials}
}

func holderOfPrincipal(p *directory.ServicePrincipal) holder {
	h := holder{id: p.ID, created: p.CreatedDateTime, keys: &p.KeyCredentials, passwords: &p.PasswordCredentials}
	switch {
	case p.ServicePrincipalType == "ManagedIdentity": // whose credentials are Azure's
		h.none = managedCredentials()
	case p.Agent == directory.AgentIdentity:
		h.none = agentCredentials()
	case p.Agent == directory.BlueprintPrincipal:
		h.none = blueprintPrincipalCredentials()
	}
	return h
}

// onHolder changes the application or service principal of the path, as the primary has it.
func (c *call) onHolder(change func(v replica.View, h holder) error) error {
	return c.write(func(tx replica.Tx) error {
		if c.app.ID != "" {
			a, ok := c.s.dir.Applications.Get(tx.View, c.app.ID)
			if !ok || !a.Live() {
				return notFound(c.app.ID)
			}
			if err := change(tx.View, holderOf(&a)); err != nil {
				return err
			}
			c.s.dir.Applications.Put(tx, a.ID, a)
			return nil
		}
		p, ok := c.s.dir.ServicePrincipals.Get(tx.View, c.sp.ID)
		if !ok || !p.Live() {
			return notFound(c.sp.ID)
		}
		if err := change(tx.View, holderOfPrincipal(&p)); err != nil {
			return err
		}
		c.s.dir.ServicePrincipals.Put(tx, p.ID, p)
		return nil
	})
}

// shown is the holder as the request's replica shows it.
func (c *call) shown() holder {
	if c.app.ID != "" {
		return holderOf(&c.app)
	}
	return holderOfPrincipal(&c.sp)
}

func managedCredentials() *problem {
	return badRequest("Credentials of a service principal of type 'ManagedIdentity' cannot be changed.")
}

// applyCredentials replaces the credentials that the body names; nil leaves them.
func (s *Service) applyCredentials(v replica.View, h holder, keys *[]keyInput, passwords *[]passwordInput) error {
	if h.none != nil && (keys != nil || passwords != nil) {
		return h.none
	}
	if passwords != nil {
		kept, err := keepPasswords(*h.passwords, *passwords)
		if err != nil {
			return err
		}
		*h.passwords = kept
	}
	if keys == nil {
		return nil
	}
	replaced, err := s.replaceKeys(v, h, *keys)
	if err != nil {
		return err
	}
	*h.keys = replaced
	return nil
}

// passwordInput is a client secret in a body.
type passwordInput struct {
	KeyID         string  `json:"keyId"`
	DisplayName   *string `json:"displayName"`
	StartDateTime *string `json:"startDateTime"`
	EndDateTime   *string `json:"endDateTime"`
	SecretText    *string `json:"secretText"`
}

// keepPasswords removes the secrets that the body leaves out. None can be added or changed this way (observed 2026-05).
func keepPasswords(have []directory.PasswordCredential, want []passwordInput) ([]directory.PasswordCredential, error) {
	var kept []directory.PasswordCredential
	for _, w := range want {
		i := slices.IndexFunc(have, func(h directory.PasswordCredential) bool { return strings.EqualFold(h.KeyID, w.KeyID) })
		if i < 0 || w.SecretText != nil {
			return nil, badRequest("New password credentials must be generated using service actions.")
		}
		kept = append(kept, have[i])
	}
	return kept, nil
}

func credentialRoutes() []route {
	var all []route
	for _, kind := range []string{"application", "servicePrincipal"} {
		at := func(action string) []string { return path(kind + "s/{id}/" + action) }
		write, key := operation(kind+".write"), operation(kind+".key")
		all = append(all,
			route{method: "POST", segments: at("addPassword"), op: write, do: (*call).addPassword},
			route{method: "POST", segments: at("removePassword"), op: write, do: (*call).removePassword},
			route{method: "POST", segments: at("addKey"), op: key, do: (*call).addKey},
			route{method: "POST", segments: at("removeKey"), op: key, do: (*call).removeKey},
		)
	}
	return all
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// newSecret makes a client secret of the form that Entra gives: 40 characters, "8Q~" behind the first three.
func (s *Service) newSecret() string {
	text := []byte{}
	for _, b := range s.env.Random(37) {
		text = append(text, alphabet[int(b)%len(alphabet)])
	}
	return string(text[:3]) + "8Q~" + string(text[3:])
}

// addPassword makes a client secret; its value is in this answer and nowhere else.
func (c *call) addPassword() error {
	var in struct {
		PasswordCredential *passwordInput `json:"passwordCredential"`
	}
	if err := c.decode(&in); err != nil {
		return err
	}
	if in.PasswordCredential == nil {
		in.PasswordCredential = &passwordInput{}
	}
	p := directory.PasswordCredential{KeyID: c.s.env.NewID(), DisplayName: in.PasswordCredential.DisplayName, Secret: c.s.newSecret()}
	p.Hint = p.Secret[:3]
	p.StartDateTime = c.s.env.Now().UTC()
	var ok bool
	if t := in.PasswordCredential.StartDateTime; t != nil {
		if p.StartDateTime, ok = moment(*t); !ok {
			return invalid("startDateTime", "PasswordCredential")
		}
	}
	p.EndDateTime = p.StartDateTime.AddDate(2, 0, 0)
	if t := in.PasswordCredential.EndDateTime; t != nil {
		if p.EndDateTime, ok = moment(*t); !ok {
			return invalid("endDateTime", "PasswordCredential")
		}
	}
	if !p.EndDateTime.After(p.StartDateTime) {
		return badRequest("The value for the property \"endDateTime\" in one of your credentials is invalid.")
	}
	err := c.onHolder(func(v replica.View, h holder) error {
		if h.none != nil {
			return h.none
		}
		if err := c.s.policyFor(v, h).password(h, p.StartDateTime, p.EndDateTime); err != nil {
			return err
		}
		*h.passwords = append(slices.Clone(*h.passwords), p)
		return nil
	})
	if err != nil {
		return err
	}
	o := encodePassword(p)
	o["secretText"] = p.Secret
	c.ok(o, "microsoft.graph.passwordCredential")
	return nil
}

func (c *call) removePassword() error {
	var in struct {
		KeyID string `json:"keyId"`
	}
	if err := c.decode(&in); err != nil {
		return err
	}
	err := c.onHolder(func(_ replica.View, h holder) error {
		i := slices.IndexFunc(*h.passwords, func(p directory.PasswordCredential) bool { return strings.EqualFold(p.KeyID, in.KeyID) })
		if i < 0 {
			return noCredential("password", in.KeyID)
		}
		*h.passwords = slices.Delete(slices.Clone(*h.passwords), i, i+1)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}
