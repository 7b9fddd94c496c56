package vault

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/arm"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Secret is a secret with its versions, oldest first.
type Secret struct {
	Vault    string    `json:"vault,omitempty"` // incarnation of the vault that it is in
	Name     string    `json:"name"`
	Versions []Version `json:"versions"`
	Deleted  *Deletion `json:"deleted,omitempty"`
}

// Version is one value. Times are Unix seconds; nil is not set.
type Version struct {
	ID          string            `json:"id"`
	Value       string            `json:"value"`
	ContentType *string           `json:"contentType,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Enabled     bool              `json:"enabled"`
	NotBefore   *int64            `json:"nbf,omitempty"`
	Expires     *int64            `json:"exp,omitempty"`
	Created     int64             `json:"created"`
	Updated     int64             `json:"updated"`
}

// Deletion says since when a secret is deleted and when it will be purged.
type Deletion struct {
	At    time.Time `json:"at"`
	Purge time.Time `json:"purge"`
}

func (s Secret) latest() Version { return s.Versions[len(s.Versions)-1] }

// version finds a version by id; "" is the latest.
func (s Secret) version(id string) (Version, bool) {
	if id == "" {
		return s.latest(), true
	}
	i := slices.IndexFunc(s.Versions, func(v Version) bool { return strings.EqualFold(v.ID, id) })
	if i < 0 {
		return Version{}, false
	}
	return s.Versions[i], true
}

// with returns the secret with the version put in the place of the one with its id, or added; s itself is unchanged.
func (s Secret) with(v Version) Secret {
	s.Versions = slices.Clone(s.Versions)
	if i := slices.IndexFunc(s.Versions, func(o Version) bool { return o.ID == v.ID }); i >= 0 {
		s.Versions[i] = v
	} else {
		s.Versions = append(s.Versions, v)
	}
	return s
}

var secretName = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)

// maxValue is the longest value (Microsoft, "About Azure Key Vault secrets": 25 KB).
const maxValue = 25 << 10

// route decides what the path means.
func (s *Service) route(v replica.View, c *call) (reply, effect) {
	vault, found := s.arm.Vault(v, s.name)
	if !found {
		return fail(http.StatusNotFound, "VaultNotFound", "", "The vault %s does not exist.", s.name), nil
	}
	c.vault = vault
	if access, _ := vault.Properties()["publicNetworkAccess"].(string); strings.EqualFold(access, "Disabled") {
		return fail(http.StatusForbidden, "Forbidden", "ForbiddenByConnection", "Public network access is disabled and request is not from a trusted service nor via an approved private link."), nil
	}
	at := func(method, first string, n int) bool {
		return c.method == method && len(c.path) == n && strings.EqualFold(c.path[0], first)
	}
	if at(http.MethodPost, "secrets", 2) && strings.EqualFold(c.path[1], "restore") {
		return s.restore(v, c)
	}
	if len(c.path) > 1 && !secretName.MatchString(c.path[1]) {
		return badParameter("The request URI contains an invalid name: %s", c.path[1]), nil
	}
	word := func(w string) bool { return strings.EqualFold(c.path[2], w) }
	switch {
	case at(http.MethodGet, "secrets", 1):
		return s.list(v, c, false), nil
	case at(http.MethodGet, "deletedsecrets", 1):
		return s.list(v, c, true), nil
	case at(http.MethodPut, "secrets", 2):
		return s.set(v, c)
	case at(http.MethodGet, "secrets", 2):
		return s.get(v, c, ""), nil
	case at(http.MethodGet, "secrets", 3) && word("versions"):
		return s.versions(v, c), nil
	case at(http.MethodGet, "secrets", 3):
		return s.get(v, c, c.path[2]), nil
	case at(http.MethodPatch, "secrets", 2):
		return s.update(v, c, "")
	case at(http.MethodPatch, "secrets", 3):
		return s.update(v, c, c.path[2])
	case at(http.MethodDelete, "secrets", 2):
		return s.remove(v, c)
	case at(http.MethodPost, "secrets", 3) && word("backup"):
		return s.backup(v, c), nil
	case at(http.MethodGet, "deletedsecrets", 2):
		return s.getDeleted(v, c), nil
	case at(http.MethodDelete, "deletedsecrets", 2):
		return s.purge(v, c)
	case at(http.MethodPost, "deletedsecrets", 3) && word("recover"):
		return s.recover(v, c)
	}
	return fail(http.StatusNotFound, "NotFound", "", "The local cloud's vault does not serve %s of this path.", c.method), nil
}

// find is the secret, deleted or not; one whose time in the recycle bin is over is gone.
func (s *Service) find(v replica.View, vault arm.Resource, name string) (Secret, bool) {
	x, found := s.secrets.Get(v, key(vault.Incarnation, name))
	if found && x.Deleted != nil && !s.env.Now().Before(x.Deleted.Purge) {
		return Secret{}, false
	}
	return x, found
}

// live is the secret if it is not deleted.
func (s *Service) live(v replica.View, vault arm.Resource, name string) (Secret, bool) {
	x, found := s.find(v, vault, name)
	return x, found && x.Deleted == nil
}

func (s *Service) put(tx replica.Tx, x Secret) { s.secrets.Put(tx, key(x.Vault, x.Name), x) }

func secretNotFound(name string) reply {
	return fail(http.StatusNotFound, "SecretNotFound", "", "A secret with (name/id) %s was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182", name)
}

// inBin refuses to use the name of a deleted secret.
func inBin(name string) reply {
	return fail(http.StatusConflict, "Conflict", "ObjectIsDeletedButRecoverable", "Secret %s is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the secret can only be recovered or purged.", name)
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

// item is the version without its value; versioned tells whether its id names the version.
func (c *call) item(x Secret, v Version, versioned bool) object {
	level := "Recoverable+Purgeable"
	if c.protected() {
		level = "Recoverable"
	}
	attributes := object{"enabled": v.Enabled, "created": v.Created, "updated": v.Updated, "recoveryLevel": level, "recoverableDays": c.retention()}
	if v.NotBefore != nil {
		attributes["nbf"] = *v.NotBefore
	}
	if v.Expires != nil {
		attributes["exp"] = *v.Expires
	}
	o := object{"id": c.base + "/secrets/" + x.Name, "attributes": attributes}
	if versioned {
		o["id"] = c.base + "/secrets/" + x.Name + "/" + v.ID
	}
	if v.ContentType != nil {
		o["contentType"] = *v.ContentType
	}
	if v.Tags != nil {
		o["tags"] = v.Tags
	}
	if d := x.Deleted; d != nil {
		o["recoveryId"], o["deletedDate"], o["scheduledPurgeDate"] = c.base+"/deletedsecrets/"+x.Name, d.At.Unix(), d.Purge.Unix()
	}
	return o
}
