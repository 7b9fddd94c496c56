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

// backup gives every version of a secret, sealed.
func (s *Service) backup(v replica.View, c *call) reply {
	name := c.path[1]
	if r := s.may(v, c, backup, name); r != nil {
		return *r
	}
	x, found := s.live(v, c.vault, name)
	if !found {
		return secretNotFound(name)
	}
	aead, err := s.sealer()
	if err != nil {
		return fail(http.StatusInternalServerError, "InternalError", "", "The backup could not be sealed.")
	}
	plain, err := json.Marshal(x)
	if err != nil {
		return fail(http.StatusInternalServerError, "InternalError", "", "The backup could not be made.")
	}
	nonce := s.env.Random(aead.NonceSize())
	return ok(object{"value": base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, plain, nil))})
}

// restore brings a backup back, if no secret has its name.
func (s *Service) restore(v replica.View, c *call) (reply, effect) {
	if r := s.may(v, c, restore, ""); r != nil {
		return *r, nil
	}
	var body struct{ Value string }
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	x, opened := s.open(body.Value)
	if !opened {
		return badParameter("Backup blob contains invalid or corrupted data."), nil
	}
	return reply{}, func(tx replica.Tx) reply {
		if old, found := s.find(tx.View, c.vault, x.Name); found && old.Deleted != nil {
			return inBin(x.Name)
		} else if found {
			return fail(http.StatusConflict, "Conflict", "", "Secret %s already exists.", x.Name)
		}
		x.Vault = c.vault.Incarnation
		s.put(tx, x)
		return ok(c.item(x, x.latest(), true))
	}
}

func (s *Service) open(blob string) (Secret, bool) {
	var x Secret
	sealed, err := base64.RawURLEncoding.DecodeString(blob)
	if err != nil {
		return x, false
	}
	aead, err := s.sealer()
	if err != nil || len(sealed) < aead.NonceSize() {
		return x, false
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], nil)
	if err != nil || json.Unmarshal(plain, &x) != nil || len(x.Versions) == 0 {
		return x, false
	}
	return x, true
}
