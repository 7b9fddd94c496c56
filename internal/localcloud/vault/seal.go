package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
)

// sealer is the cipher of what a client keeps for the vault: backups, and how far it has read a list. Its key comes from the cloud's
// signing key, so that nothing of it opens in another cloud.
func (s *Service) sealer() cipher.AEAD {
	key := sha256.Sum256(append([]byte("leastkey local cloud vault backup "), x509.MarshalPKCS1PrivateKey(s.env.Auth.Key())...))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("vault: " + err.Error()) // the key is of 32 bytes
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("vault: " + err.Error())
	}
	return gcm
}

// seal makes text that opens for the same purpose alone.
func (s *Service) seal(plain []byte, purpose string) string {
	gcm := s.sealer()
	nonce := s.env.Random(gcm.NonceSize())
	return base64.RawURLEncoding.EncodeToString(gcm.Seal(nonce, nonce, plain, []byte(purpose)))
}

func (s *Service) unseal(text, purpose string) ([]byte, bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	gcm := s.sealer()
	if err != nil || len(sealed) < gcm.NonceSize() {
		return nil, false
	}
	plain, err := gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], []byte(purpose))
	return plain, err == nil
}
