package vault

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// backups is what the backups of the collection are good for: the subscription and the geography of the vault (Microsoft, "Azure Key
// Vault backup and restore"), and the collection, so that a key does not come back as a secret, which could be read.
func (k *collection[V, P]) backups(c *call) string {
	subscription, _, _ := strings.Cut(strings.TrimPrefix(strings.ToLower(c.vault.ID), "/subscriptions/"), "/")
	return strings.Join([]string{"backup", k.plural, subscription, geographyOf(c.vault.Location())}, "\n")
}

// backup gives every version of an entry, sealed.
func (k *collection[V, P]) backup(v replica.View, c *call) reply {
	name := c.path[1]
	if r := k.s.may(v, c, k.rights.backup, name); r != nil {
		return *r
	}
	e, found := k.live(v, c.vault, name)
	switch {
	case !found:
		return k.notFound(name)
	case e.Managed:
		return k.managed("backup")
	}
	plain, err := json.Marshal(e)
	if err != nil {
		return fail(http.StatusInternalServerError, "InternalError", "", "The backup could not be made.")
	}
	return ok(object{"value": k.s.seal(plain, k.backups(c))})
}

// restore brings a backup back, if nothing has its name.
func (k *collection[V, P]) restore(v replica.View, c *call) (reply, effect) {
	if r := k.s.may(v, c, k.rights.restore, ""); r != nil {
		return *r, nil
	}
	var body struct{ Value string }
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	e, opened := k.open(body.Value, c)
	if !opened {
		return badParameter("Backup blob contains invalid or corrupted data."), nil
	}
	return reply{}, func(tx replica.Tx) reply {
		if old, found := k.find(tx.View, c.vault, e.Name); found && old.Deleted != nil {
			return k.inBin(e.Name)
		} else if found {
			return fail(http.StatusConflict, "Conflict", "", "%s %s already exists.", k.one, e.Name)
		}
		e.Vault = incarnationOf(c.vault)
		k.put(tx, e)
		return ok(k.bundle(c, e, k.latest(e)))
	}
}

func (k *collection[V, P]) open(blob string, c *call) (entry[V], bool) {
	var e entry[V]
	plain, opened := k.s.unseal(blob, k.backups(c))
	if !opened || json.Unmarshal(plain, &e) != nil || len(e.Versions) == 0 {
		return e, false
	}
	return e, true
}
