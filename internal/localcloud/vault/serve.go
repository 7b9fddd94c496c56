package vault

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// values is what a request may set on a version.
type values struct {
	Value       *string           `json:"value"`
	ContentType *string           `json:"contentType"`
	Tags        map[string]string `json:"tags"`
	Attributes  struct {
		Enabled   *bool  `json:"enabled"`
		NotBefore *int64 `json:"nbf"`
		Expires   *int64 `json:"exp"`
	} `json:"attributes"`
}

func (b values) apply(v *Version, now time.Time) {
	v.Updated = now.Unix()
	if b.ContentType != nil {
		v.ContentType = b.ContentType
	}
	if b.Tags != nil {
		v.Tags = b.Tags
	}
	if b.Attributes.Enabled != nil {
		v.Enabled = *b.Attributes.Enabled
	}
	if b.Attributes.NotBefore != nil {
		v.NotBefore = b.Attributes.NotBefore
	}
	if b.Attributes.Expires != nil {
		v.Expires = b.Attributes.Expires
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
		x, found := s.find(tx.View, c.vault, name)
		if found && x.Deleted != nil {
			return inBin(x.Name)
		}
		if !found {
			x = Secret{Vault: c.vault.Incarnation, Name: name}
		}
		now := s.env.Now()
		version := Version{ID: s.newVersion(), Value: *body.Value, Enabled: true, Created: now.Unix()}
		body.apply(&version, now)
		x = x.with(version)
		s.put(tx, x)
		return ok(withValue(c.item(x, version, true), version))
	}
}

func (s *Service) newVersion() string { return strings.ReplaceAll(s.env.NewID(), "-", "") }

func withValue(o object, v Version) object {
	o["value"] = v.Value
	return o
}

// Plant puts a secret into the vault, whoever may.
func (s *Service) Plant(tx replica.Tx, name, value string) {
	now := s.env.Now().Unix()
	vault, _ := s.arm.Vault(tx.View, s.name)
	x, found := s.live(tx.View, vault, name)
	if !found {
		x = Secret{Vault: vault.Incarnation, Name: name}
	}
	s.put(tx, x.with(Version{ID: s.newVersion(), Value: value, Enabled: true, Created: now, Updated: now}))
}

// get shows a value. nbf and exp do not keep anybody from reading it (Microsoft, "About Azure Key Vault secrets", date-time controlled
// operations); being disabled does.
func (s *Service) get(v replica.View, c *call, id string) reply {
	name := c.path[1]
	if r := s.may(v, c, getSecret, name); r != nil {
		return *r
	}
	x, found := s.live(v, c.vault, name)
	if !found {
		return secretNotFound(name)
	}
	version, found := x.version(id)
	switch {
	case !found:
		return secretNotFound(name + "/" + id)
	case !version.Enabled:
		return fail(http.StatusForbidden, "Forbidden", "SecretDisabled", "Operation get is not allowed on a disabled secret.")
	}
	return ok(withValue(c.item(x, version, true), version))
}

// update changes what is not the value.
func (s *Service) update(v replica.View, c *call, id string) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, update, name); r != nil {
		return *r, nil
	}
	var body values
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		x, found := s.live(tx.View, c.vault, name)
		if !found {
			return secretNotFound(name)
		}
		version, found := x.version(id)
		if !found {
			return secretNotFound(name + "/" + id)
		}
		body.apply(&version, s.env.Now())
		x = x.with(version)
		s.put(tx, x)
		return ok(c.item(x, version, true))
	}
}

// remove puts the secret into the recycle bin.
func (s *Service) remove(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, remove, name); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		x, found := s.live(tx.View, c.vault, name)
		if !found {
			return secretNotFound(name)
		}
		now := s.env.Now()
		x.Deleted = &Deletion{At: now, Purge: now.AddDate(0, 0, c.retention())}
		s.put(tx, x)
		return ok(c.item(x, x.latest(), true))
	}
}

func (s *Service) getDeleted(v replica.View, c *call) reply {
	name := c.path[1]
	if r := s.may(v, c, getMeta, name); r != nil {
		return *r
	}
	x, found := s.find(v, c.vault, name)
	if !found || x.Deleted == nil {
		return secretNotFound(name)
	}
	return ok(c.item(x, x.latest(), true))
}

func (s *Service) purge(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, purge, name); r != nil {
		return *r, nil
	}
	if c.protected() {
		return fail(http.StatusForbidden, "Forbidden", "PurgeProtectionEnabled", "Operation \"purge\" is not allowed because purge protection is enabled for this vault."), nil
	}
	return reply{}, func(tx replica.Tx) reply {
		x, found := s.find(tx.View, c.vault, name)
		if !found || x.Deleted == nil {
			return secretNotFound(name)
		}
		s.secrets.Delete(tx, key(x.Vault, x.Name))
		return reply{status: http.StatusNoContent}
	}
}

func (s *Service) recover(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, recovery, name); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		x, found := s.find(tx.View, c.vault, name)
		if !found || x.Deleted == nil {
			return secretNotFound(name)
		}
		x.Deleted = nil
		s.put(tx, x)
		return ok(c.item(x, x.latest(), true))
	}
}

// list lists the secrets, or the deleted ones, by name and without values.
func (s *Service) list(v replica.View, c *call, deleted bool) reply {
	if r := s.may(v, c, readMeta, ""); r != nil {
		return *r
	}
	var names []string
	items := map[string]object{}
	for _, x := range s.secrets.By(v, "vault", c.vault.Incarnation) {
		if x, found := s.find(v, c.vault, x.Name); found && (x.Deleted != nil) == deleted {
			key := strings.ToLower(x.Name)
			names, items[key] = append(names, key), c.item(x, x.latest(), false)
		}
	}
	slices.Sort(names)
	return c.page(names, items)
}

func (s *Service) versions(v replica.View, c *call) reply {
	name := c.path[1]
	if r := s.may(v, c, readMeta, name); r != nil {
		return *r
	}
	x, found := s.live(v, c.vault, name)
	if !found {
		return secretNotFound(name)
	}
	all := slices.SortedFunc(slices.Values(x.Versions), func(a, b Version) int { return cmp.Compare(a.ID, b.ID) })
	var ids []string
	items := map[string]object{}
	for _, version := range all {
		ids, items[version.ID] = append(ids, version.ID), c.item(x, version, true)
	}
	return c.page(ids, items)
}

// pageLimit is the largest page, and the default (Microsoft, Get Secrets: maxresults 1 to 25).
const pageLimit = 25

// page answers with the items after $skiptoken, which is the last key shown. keys are in order.
func (c *call) page(keys []string, items map[string]object) reply {
	limit := pageLimit
	if text := c.query.Get("maxresults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > pageLimit {
			return badParameter("The request URI contains an invalid maxresults: it must be between 1 and %d.", pageLimit)
		}
		limit = n
	}
	if token := c.query.Get("$skiptoken"); token != "" {
		last, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return badParameter("The request URI contains an invalid $skiptoken.")
		}
		i, exact := slices.BinarySearch(keys, string(last))
		if exact {
			i++
		}
		keys = keys[i:]
	}
	body := object{"nextLink": nil}
	if len(keys) > limit {
		keys = keys[:limit]
		next := url.Values{"api-version": {c.query.Get("api-version")}, "$skiptoken": {base64.RawURLEncoding.EncodeToString([]byte(keys[limit-1]))}, "maxresults": {strconv.Itoa(limit)}}
		body["nextLink"] = c.base + "/" + strings.Join(c.path, "/") + "?" + next.Encode()
	}
	page := make([]object, len(keys))
	for i, k := range keys {
		page[i] = items[k]
	}
	body["value"] = page
	return ok(body)
}
