package vault

import (
	"net/http"

	"github.com/leastkey/leastkey/internal/localcloud/arm"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// secretVersion is one value of a secret.
type secretVersion struct {
	attributes
	Value       string  `json:"value"`
	ContentType *string `json:"contentType,omitempty"`
	KeyVersion  bool    `json:"keyVersion,omitempty"` // it has a key of its name and version: that of its certificate
}

// maxValue is the longest value (Microsoft, "About Azure Key Vault secrets": 25 KB).
const maxValue = 25 << 10

// values is what a request may set on a secret.
type values struct {
	Value       *string `json:"value"`
	ContentType *string `json:"contentType"`
	patch
}

func showSecret(c *call, e entry[secretVersion], v secretVersion, o object) {
	if v.ContentType != nil {
		o["contentType"] = *v.ContentType
	}
	if v.KeyVersion {
		o["kid"] = c.base + "/keys/" + e.Name + "/" + v.ID
	}
}

// set makes a secret or a new version of it.
func (s *Service) set(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, setSecret, name); r != nil {
		return *r, nil
	}
	var body values
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	switch {
	case body.Value == nil:
		return badParameter("Property value has invalid value: it is required."), nil
	case len(*body.Value) > maxValue:
		return badParameter("Property value has invalid value: it is longer than %d bytes.", maxValue), nil
	}
	return reply{}, func(tx replica.Tx) reply {
		version := secretVersion{attributes: s.fresh(body.patch), Value: *body.Value, ContentType: body.ContentType}
		e, no := s.secrets.add(tx, c, name, "set", version)
		if no != nil {
			return *no
		}
		return ok(s.withValue(c, e, version))
	}
}

func (s *Service) withValue(c *call, e entry[secretVersion], v secretVersion) object {
	o := s.secrets.bundle(c, e, v)
	o["value"] = v.Value
	return o
}

// Plant puts a secret into the vault with the name, whoever may.
func (s *Service) Plant(tx replica.Tx, vault, name, value string) {
	in, found := s.arm.Vault(tx.View, vault)
	if !found {
		in = arm.Resource{Name: vault}
	}
	e, found := s.secrets.live(tx.View, in, name)
	if !found {
		e = entry[secretVersion]{Vault: incarnationOf(in), Name: name}
	}
	s.secrets.put(tx, s.secrets.with(e, secretVersion{attributes: s.fresh(patch{}), Value: value}))
}

// getSecret shows a value. nbf and exp do not keep anybody from reading it (Microsoft, "About Azure Key Vault secrets", date-time
// controlled operations); being disabled does.
func (s *Service) getSecret(v replica.View, c *call, id string) reply {
	name := c.path[1]
	if r := s.may(v, c, getSecret, name); r != nil {
		return *r
	}
	e, found := s.secrets.live(v, c.vault, name)
	if !found {
		return s.secrets.notFound(name)
	}
	version, found := s.secrets.version(e, id)
	switch {
	case !found:
		return s.secrets.notFound(name + "/" + id)
	case !version.Enabled:
		return fail(http.StatusForbidden, "Forbidden", "SecretDisabled", "Operation get is not allowed on a disabled secret.")
	}
	return ok(s.withValue(c, e, version))
}

// updateSecret changes what is not the value.
func (s *Service) updateSecret(v replica.View, c *call, id string) (reply, effect) {
	if r := s.may(v, c, secretRights.update, c.path[1]); r != nil {
		return *r, nil
	}
	var body values
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	return reply{}, s.secrets.update(c, id, func(v *secretVersion) {
		body.apply(&v.attributes, s.env.Now())
		if body.ContentType != nil {
			v.ContentType = body.ContentType
		}
	})
}
