package vault

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

var objectName = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)

// at tells whether the request has the method and its path the form; * stands for any segment.
func (c *call) at(method string, form ...string) bool {
	if c.method != method || len(c.path) != len(form) {
		return false
	}
	for i, want := range form {
		if want != "*" && !strings.EqualFold(c.path[i], want) {
			return false
		}
	}
	return true
}

// route decides what the path means.
func (s *Service) route(v replica.View, c *call) (reply, effect) {
	vault, found := s.arm.Vault(v, c.name)
	if !found {
		return fail(http.StatusNotFound, "VaultNotFound", "", "The vault %s does not exist.", c.name), nil
	}
	c.vault = vault
	if access, _ := vault.Properties()["publicNetworkAccess"].(string); strings.EqualFold(access, "Disabled") {
		return fail(http.StatusForbidden, "Forbidden", "ForbiddenByConnection", "Public network access is disabled and request is not from a trusted service nor via an approved private link."), nil
	}
	switch {
	case c.at(http.MethodPost, "secrets", "restore"):
		return s.secrets.restore(v, c)
	case c.at(http.MethodPost, "keys", "restore"):
		return s.keys.restore(v, c)
	}
	if len(c.path) > 1 && !objectName.MatchString(c.path[1]) {
		return badParameter("The request URI contains an invalid name: %s", c.path[1]), nil
	}
	if len(c.path) == 0 {
		return s.unknown(c), nil
	}
	switch strings.ToLower(strings.TrimPrefix(strings.ToLower(c.path[0]), "deleted")) {
	case "secrets":
		return s.routeSecret(v, c)
	case "keys":
		return s.routeKey(v, c)
	case "certificates":
		return s.routeCert(v, c)
	}
	return s.unknown(c), nil
}

func (s *Service) unknown(c *call) reply {
	return fail(http.StatusNotFound, "NotFound", "", "The local cloud's vault does not serve %s of this path.", c.method)
}

// versionOf is the version that a path of a collection, name and perhaps version names; "" is the latest.
func (c *call) versionOf() string {
	if len(c.path) < 3 {
		return ""
	}
	return c.path[2]
}

func (s *Service) routeSecret(v replica.View, c *call) (reply, effect) {
	if rep, do, served := s.secrets.life(v, c); served {
		return rep, do
	}
	switch {
	case c.at(http.MethodPut, "secrets", "*"):
		return s.set(v, c)
	case c.at(http.MethodGet, "secrets", "*"), c.at(http.MethodGet, "secrets", "*", "*"):
		return s.getSecret(v, c, c.versionOf()), nil
	case c.at(http.MethodPatch, "secrets", "*"), c.at(http.MethodPatch, "secrets", "*", "*"):
		return s.updateSecret(v, c, c.versionOf())
	case c.at(http.MethodPost, "secrets", "*", "backup"):
		return s.secrets.backup(v, c), nil
	}
	return s.unknown(c), nil
}

func (s *Service) routeKey(v replica.View, c *call) (reply, effect) {
	if rep, do, served := s.keys.life(v, c); served {
		return rep, do
	}
	switch {
	case len(c.path) == 3 && strings.EqualFold(c.path[2], "rotationpolicy"):
		return s.unknown(c), nil // and no version
	case c.at(http.MethodPost, "keys", "*", "create"):
		return s.createKey(v, c)
	case c.at(http.MethodPut, "keys", "*"), c.at(http.MethodPut, "keys", "*", "*"):
		return s.importKey(v, c)
	case c.at(http.MethodGet, "keys", "*"), c.at(http.MethodGet, "keys", "*", "*"):
		return s.getKey(v, c, c.versionOf()), nil
	case c.at(http.MethodPatch, "keys", "*"), c.at(http.MethodPatch, "keys", "*", "*"):
		return s.updateKey(v, c, c.versionOf())
	case c.at(http.MethodPost, "keys", "*", "backup"):
		return s.keys.backup(v, c), nil
	case c.at(http.MethodPost, "keys", "*", "rotate"):
		return s.rotateKey(v, c)
	case c.at(http.MethodPost, "keys", "*", "*"):
		return s.useKey(v, c, c.path[2], ""), nil
	case c.at(http.MethodPost, "keys", "*", "*", "*"):
		return s.useKey(v, c, c.path[3], c.path[2]), nil
	}
	return s.unknown(c), nil
}

func (s *Service) routeCert(v replica.View, c *call) (reply, effect) {
	if rep, do, served := s.certs.life(v, c); served {
		return rep, do
	}
	switch {
	case c.at(http.MethodPost, "certificates", "*", "create"):
		return s.createCert(v, c)
	case c.at(http.MethodPost, "certificates", "*", "import"):
		return s.importCert(v, c)
	case c.at(http.MethodGet, "certificates", "*", "policy"):
		return s.getPolicy(v, c), nil
	case c.at(http.MethodPatch, "certificates", "*", "policy"):
		return s.updatePolicy(v, c)
	case c.at(http.MethodGet, "certificates", "*", "pending"):
		return s.getPending(v, c), nil
	case c.at(http.MethodPatch, "certificates", "*", "pending"):
		return s.cancelPending(v, c)
	case c.at(http.MethodDelete, "certificates", "*", "pending"):
		return s.deletePending(v, c)
	case c.at(http.MethodPost, "certificates", "*", "pending", "merge"):
		return s.mergePending(v, c)
	case c.at(http.MethodGet, "certificates", "*"), c.at(http.MethodGet, "certificates", "*", "*"):
		return s.getCert(v, c, c.versionOf()), nil
	case c.at(http.MethodPatch, "certificates", "*"), c.at(http.MethodPatch, "certificates", "*", "*"):
		return s.updateCert(v, c, c.versionOf())
	}
	return s.unknown(c), nil
}

// protected tells whether the vault refuses purges.
func (c *call) protected() bool {
	p, _ := c.vault.Properties()["enablePurgeProtection"].(bool)
	return p
}

// retention is for how many days the vault keeps what is deleted.
func (c *call) retention() int {
	switch d := c.vault.Properties()["softDeleteRetentionInDays"].(type) {
	case int:
		return d
	case float64:
		return int(d)
	}
	return 90
}

// premium tells whether the vault has keys of the types ending in -HSM.
func (c *call) premium() bool {
	sku, _ := c.vault.Properties()["sku"].(object)
	name, _ := sku["name"].(string)
	return strings.EqualFold(name, "premium")
}
