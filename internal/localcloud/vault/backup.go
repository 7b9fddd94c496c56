package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// sealer is the cipher of backups. Its key comes from the cloud's signing key, so that a backup opens in this cloud and in no other,
// as a real one opens in its own subscription and geography only.
func (s *Service) sealer() (cipher.AEAD, error) {
	key := sha256.Sum256(append([]byte("leastkey local cloud vault backup "), x509.MarshalPKCS1PrivateKey(s.env.Auth.Key())...))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// backup gives every version of an entry, sealed as one of its collection: a key does not come back as a secret, which could be read.
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
	aead, err := k.s.sealer()
	if err != nil {
		return fail(http.StatusInternalServerError, "InternalError", "", "The backup could not be sealed.")
	}
	plain, err := json.Marshal(e)
	if err != nil {
		return fail(http.StatusInternalServerError, "InternalError", "", "The backup could not be made.")
	}
	nonce := k.s.env.Random(aead.NonceSize())
	return ok(object{"value": base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, plain, []byte(k.plural)))})
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
	e, opened := k.open(body.Value)
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

func (k *collection[V, P]) open(blob string) (entry[V], bool) {
	var e entry[V]
	sealed, err := base64.RawURLEncoding.DecodeString(blob)
	if err != nil {
		return e, false
	}
	aead, err := k.s.sealer()
	if err != nil || len(sealed) < aead.NonceSize() {
		return e, false
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(k.plural))
	if err != nil || json.Unmarshal(plain, &e) != nil || len(e.Versions) == 0 {
		return e, false
	}
	return e, true
}
