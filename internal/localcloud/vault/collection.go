package vault

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/arm"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// attributes is what every version in a vault has. Times are Unix seconds; nil is not set.
type attributes struct {
	ID        string            `json:"id"`
	Tags      map[string]string `json:"tags,omitempty"`
	Enabled   bool              `json:"enabled"`
	NotBefore *int64            `json:"nbf,omitempty"`
	Expires   *int64            `json:"exp,omitempty"`
	Created   int64             `json:"created"`
	Updated   int64             `json:"updated"`
}

func (a *attributes) common() *attributes { return a }

// versioned is a pointer to a version, which begins with attributes.
type versioned[V any] interface {
	*V
	common() *attributes
}

// entry is a secret, key or certificate with its versions, oldest first. There is one at least.
type entry[V any] struct {
	Vault    string    `json:"vault"` // incarnation of the vault that it is in
	Name     string    `json:"name"`
	Managed  bool      `json:"managed,omitempty"` // its life is that of the certificate with its name
	Versions []V       `json:"versions"`
	Deleted  *deletion `json:"deleted,omitempty"`
}

// deletion says since when something is deleted and when it will be purged.
type deletion struct {
	At    time.Time `json:"at"`
	Purge time.Time `json:"purge"`
}

// collection is the secrets, the keys or the certificates of all vaults, and their life: listed, shown, changed, deleted, recovered and
// purged alike.
type collection[V any, P versioned[V]] struct {
	s      *Service
	plural string // as in paths
	one    string // as in messages and codes
	id     string // what an item of a list calls its id
	rights rights
	table  *replica.Table[entry[V]]

	ready     func(V) bool                             // nil: every version can be shown
	summary   func(c *call, e entry[V], v V, o object) // adds what a list shows besides; may be nil
	detail    func(c *call, e entry[V], v V, o object) // makes the item what the answer to a GET is, but for a secret's value
	followers []follower                               // what shares the life of its namesake here
}

// follower is a collection whose managed entries live and die with others.
type follower interface {
	follow(tx replica.Tx, vault, name string, bin *deletion)
	erase(tx replica.Tx, vault, name string)
	clear(tx replica.Tx, vault string)
}

func newCollection[V any, P versioned[V]](s *Service, plural, one string, r rights, index map[string]func(entry[V]) []string) *collection[V, P] {
	all := map[string]func(entry[V]) []string{"vault": func(e entry[V]) []string { return []string{e.Vault} }}
	for name, f := range index {
		all[name] = f
	}
	return &collection[V, P]{s: s, plural: plural, one: one, id: "id", rights: r, table: replica.NewTable(s.env.Dir.Store, "vault."+plural, all)}
}

// key is the id of an entry in its table.
func key(vault, name string) string { return vault + "/" + strings.ToLower(name) }

func (k *collection[V, P]) attributes(v V) attributes { return *P(&v).common() }

// visible are the versions that can be shown: those that are ready or, where none is, all.
func (k *collection[V, P]) visible(e entry[V]) []V {
	if k.ready == nil {
		return e.Versions
	}
	var all []V
	for _, v := range e.Versions {
		if k.ready(v) {
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return e.Versions
	}
	return all
}

func (k *collection[V, P]) latest(e entry[V]) V {
	all := k.visible(e)
	return all[len(all)-1]
}

// version finds a version by id; "" is the latest.
func (k *collection[V, P]) version(e entry[V], id string) (V, bool) {
	if id == "" {
		return k.latest(e), true
	}
	for _, v := range k.visible(e) {
		if strings.EqualFold(k.attributes(v).ID, id) {
			return v, true
		}
	}
	var none V
	return none, false
}

// with returns the entry with the version put in the place of the one with its id, or added; e itself is unchanged.
func (k *collection[V, P]) with(e entry[V], v V) entry[V] {
	e.Versions = slices.Clone(e.Versions)
	i := slices.IndexFunc(e.Versions, func(o V) bool { return k.attributes(o).ID == k.attributes(v).ID })
	if i >= 0 {
		e.Versions[i] = v
	} else {
		e.Versions = append(e.Versions, v)
	}
	return e
}

// find is the entry, deleted or not; one whose time in the recycle bin is over is gone.
func (k *collection[V, P]) find(v replica.View, vault arm.Resource, name string) (entry[V], bool) {
	e, found := k.table.Get(v, key(incarnationOf(vault), name))
	if found && e.Deleted != nil && !k.s.env.Now().Before(e.Deleted.Purge) {
		return entry[V]{}, false
	}
	return e, found
}

// live is the entry if it is not deleted.
func (k *collection[V, P]) live(v replica.View, vault arm.Resource, name string) (entry[V], bool) {
	e, found := k.find(v, vault, name)
	return e, found && e.Deleted == nil
}

func (k *collection[V, P]) put(tx replica.Tx, e entry[V]) { k.table.Put(tx, key(e.Vault, e.Name), e) }

// add gives the name a new version, unless it is in the recycle bin or belongs to a certificate. verb is what the caller would do.
func (k *collection[V, P]) add(tx replica.Tx, c *call, name, verb string, v V) (entry[V], *reply) {
	e, found := k.find(tx.View, c.vault, name)
	switch {
	case found && e.Deleted != nil:
		return e, refused(k.inBin(e.Name))
	case found && e.Managed:
		return e, refused(k.managed(verb))
	case !found:
		e = entry[V]{Vault: incarnationOf(c.vault), Name: name}
	}
	e = k.with(e, v)
	k.put(tx, e)
	return e, nil
}

func (k *collection[V, P]) notFound(name string) reply {
	word := strings.ToLower(k.one)
	return fail(http.StatusNotFound, k.one+"NotFound", "", "A %s with (name/id) %s was not found in this key vault. If you recently deleted this %s you may be able to recover it using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182", word, name, word)
}

// inBin refuses to use a name that is in the recycle bin.
func (k *collection[V, P]) inBin(name string) reply {
	return fail(http.StatusConflict, "Conflict", "ObjectIsDeletedButRecoverable", "%s %s is currently in a deleted but recoverable state, and its name cannot be reused; in this state, the %s can only be recovered or purged.", k.one, name, strings.ToLower(k.one))
}

// managed refuses to change the key or the secret of a certificate beside it (observed in the reports of Terraform's users).
func (k *collection[V, P]) managed(verb string) reply {
	return fail(http.StatusForbidden, "Forbidden", k.one+"ManagedByKeyVault", "Operation %q is not allowed as this object's lifetime is managed by Key Vault.", verb)
}

// item is the version as lists show it; full tells whether its id names the version.
func (k *collection[V, P]) item(c *call, e entry[V], v V, full bool) object {
	a := k.attributes(v)
	level := "Recoverable+Purgeable"
	if c.protected() {
		level = "Recoverable"
	}
	shown := object{"enabled": a.Enabled, "created": a.Created, "updated": a.Updated, "recoveryLevel": level, "recoverableDays": c.retention()}
	if a.NotBefore != nil {
		shown["nbf"] = *a.NotBefore
	}
	if a.Expires != nil {
		shown["exp"] = *a.Expires
	}
	o := object{k.id: c.base + "/" + k.plural + "/" + e.Name, "attributes": shown}
	if full {
		o[k.id] = c.base + "/" + k.plural + "/" + e.Name + "/" + a.ID
	}
	if a.Tags != nil {
		o["tags"] = a.Tags
	}
	if e.Managed {
		o["managed"] = true
	}
	if d := e.Deleted; d != nil {
		o["recoveryId"], o["deletedDate"], o["scheduledPurgeDate"] = c.base+"/deleted"+k.plural+"/"+e.Name, d.At.Unix(), d.Purge.Unix()
	}
	return o
}

func (k *collection[V, P]) listed(c *call, e entry[V], v V, full bool) object {
	o := k.item(c, e, v, full)
	if k.summary != nil {
		k.summary(c, e, v, o)
	}
	return o
}

// bundle is the version as a GET shows it, but for a secret's value.
func (k *collection[V, P]) bundle(c *call, e entry[V], v V) object {
	o := k.item(c, e, v, true)
	k.detail(c, e, v, o)
	return o
}

// list lists what is there, or what is deleted, by name.
func (k *collection[V, P]) list(v replica.View, c *call, deleted bool) reply {
	if r := k.s.may(v, c, k.rights.list, ""); r != nil {
		return *r
	}
	var names []string
	items := map[string]object{}
	for _, e := range k.table.By(v, "vault", incarnationOf(c.vault)) {
		if e, found := k.find(v, c.vault, e.Name); found && (e.Deleted != nil) == deleted {
			name := strings.ToLower(e.Name)
			names, items[name] = append(names, name), k.listed(c, e, k.latest(e), false)
		}
	}
	slices.Sort(names)
	return k.s.page(c, names, items)
}

func (k *collection[V, P]) versions(v replica.View, c *call) reply {
	name := c.path[1]
	if r := k.s.may(v, c, k.rights.list, name); r != nil {
		return *r
	}
	e, found := k.live(v, c.vault, name)
	if !found {
		return k.notFound(name)
	}
	var ids []string
	items := map[string]object{}
	for _, version := range k.visible(e) {
		id := k.attributes(version).ID
		ids, items[id] = append(ids, id), k.listed(c, e, version, true)
	}
	slices.Sort(ids)
	return k.s.page(c, ids, items)
}

// patch is what a request may set on a version of anything.
type patch struct {
	Tags       map[string]string `json:"tags"`
	Attributes struct {
		Enabled   *bool  `json:"enabled"`
		NotBefore *int64 `json:"nbf"`
		Expires   *int64 `json:"exp"`
	} `json:"attributes"`
}

func (p patch) apply(a *attributes, now time.Time) {
	a.Updated = now.Unix()
	if p.Tags != nil {
		a.Tags = p.Tags
	}
	if p.Attributes.Enabled != nil {
		a.Enabled = *p.Attributes.Enabled
	}
	if p.Attributes.NotBefore != nil {
		a.NotBefore = p.Attributes.NotBefore
	}
	if p.Attributes.Expires != nil {
		a.Expires = p.Attributes.Expires
	}
}

// fresh are the attributes of a new version.
func (s *Service) fresh(p patch) attributes {
	now := s.env.Now()
	a := attributes{ID: strings.ReplaceAll(s.env.NewID(), "-", ""), Enabled: true, Created: now.Unix()}
	p.apply(&a, now)
	return a
}

// update changes a version in place, for a caller who may; id "" is the latest.
func (k *collection[V, P]) update(c *call, id string, change func(*V)) effect {
	name := c.path[1]
	return func(tx replica.Tx) reply {
		e, found := k.live(tx.View, c.vault, name)
		if !found {
			return k.notFound(name)
		}
		version, found := k.version(e, id)
		switch {
		case !found:
			return k.notFound(name + "/" + id)
		case e.Managed:
			return k.managed("update")
		}
		change(&version)
		e = k.with(e, version)
		k.put(tx, e)
		return ok(k.bundle(c, e, version))
	}
}

// remove puts the entry into the recycle bin.
func (k *collection[V, P]) remove(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := k.s.may(v, c, k.rights.remove, name); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		e, found := k.live(tx.View, c.vault, name)
		switch {
		case !found:
			return k.notFound(name)
		case e.Managed:
			return k.managed("delete")
		}
		now := k.s.env.Now()
		e.Deleted = &deletion{At: now, Purge: now.AddDate(0, 0, c.retention())}
		k.put(tx, e)
		for _, f := range k.followers {
			f.follow(tx, e.Vault, e.Name, e.Deleted)
		}
		return ok(k.bundle(c, e, k.latest(e)))
	}
}

func (k *collection[V, P]) getDeleted(v replica.View, c *call) reply {
	name := c.path[1]
	if r := k.s.may(v, c, k.rights.get, name); r != nil {
		return *r
	}
	e, found := k.find(v, c.vault, name)
	if !found || e.Deleted == nil {
		return k.notFound(name)
	}
	return ok(k.bundle(c, e, k.latest(e)))
}

func (k *collection[V, P]) purge(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := k.s.may(v, c, k.rights.purge, name); r != nil {
		return *r, nil
	}
	if c.protected() {
		return fail(http.StatusForbidden, "Forbidden", "PurgeProtectionEnabled", "Operation \"purge\" is not allowed because purge protection is enabled for this vault."), nil
	}
	return reply{}, func(tx replica.Tx) reply {
		e, found := k.find(tx.View, c.vault, name)
		switch {
		case !found || e.Deleted == nil:
			return k.notFound(name)
		case e.Managed:
			return k.managed("purge")
		}
		k.table.Delete(tx, key(e.Vault, e.Name))
		for _, f := range k.followers {
			f.erase(tx, e.Vault, e.Name)
		}
		return reply{status: http.StatusNoContent}
	}
}

func (k *collection[V, P]) recover(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := k.s.may(v, c, k.rights.recovery, name); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		e, found := k.find(tx.View, c.vault, name)
		switch {
		case !found || e.Deleted == nil:
			return k.notFound(name)
		case e.Managed:
			return k.managed("recover")
		}
		e.Deleted = nil
		k.put(tx, e)
		for _, f := range k.followers {
			f.follow(tx, e.Vault, e.Name, nil)
		}
		return ok(k.bundle(c, e, k.latest(e)))
	}
}

// follow puts a managed entry into the recycle bin, or takes it out if bin is nil.
func (k *collection[V, P]) follow(tx replica.Tx, vault, name string, bin *deletion) {
	if e, found := k.table.Get(tx.View, key(vault, name)); found && e.Managed {
		e.Deleted = bin
		k.put(tx, e)
	}
}

// erase forgets a managed entry.
func (k *collection[V, P]) erase(tx replica.Tx, vault, name string) {
	if e, found := k.table.Get(tx.View, key(vault, name)); found && e.Managed {
		k.table.Delete(tx, key(vault, name))
	}
}

// clear forgets everything of a vault.
func (k *collection[V, P]) clear(tx replica.Tx, vault string) {
	for _, e := range k.table.By(tx.View, "vault", vault) {
		k.table.Delete(tx, key(vault, e.Name))
	}
}

// life answers the requests that every collection answers alike; served is false for any other.
func (k *collection[V, P]) life(v replica.View, c *call) (rep reply, do effect, served bool) {
	switch {
	case c.at(http.MethodGet, k.plural):
		return k.list(v, c, false), nil, true
	case c.at(http.MethodGet, "deleted"+k.plural):
		return k.list(v, c, true), nil, true
	case c.at(http.MethodGet, k.plural, "*", "versions"):
		return k.versions(v, c), nil, true
	case c.at(http.MethodDelete, k.plural, "*"):
		rep, do = k.remove(v, c)
	case c.at(http.MethodGet, "deleted"+k.plural, "*"):
		return k.getDeleted(v, c), nil, true
	case c.at(http.MethodDelete, "deleted"+k.plural, "*"):
		rep, do = k.purge(v, c)
	case c.at(http.MethodPost, "deleted"+k.plural, "*", "recover"):
		rep, do = k.recover(v, c)
	default:
		return reply{}, nil, false
	}
	return rep, do, true
}
