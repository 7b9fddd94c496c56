package clients

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/google/uuid"
)

// TestGoSDKKeys drives the keys of a vault that is made for it, so that its data plane is proved to come with it.
func TestGoSDKKeys(t *testing.T) {
	t.Parallel()
	g := startGo(t)
	vault := g.freshVault(t, "kv-go-keys")
	officer := g.app(t, "go-crypto-officer", time.Hour)
	must(t, g.assign(t.Context(), *vault.ID, cryptoOfficerRole, officer.principal))
	c, err := g.keysIn(vault, officer.cred)
	must(t, err)
	t.Run("RSA", func(t *testing.T) { g.rsaKeys(t, c) })
	t.Run("elliptic curves", func(t *testing.T) { g.curveKeys(t, c) })
	t.Run("life", func(t *testing.T) { g.keyLife(t, c) })
	t.Run("refusals", func(t *testing.T) { g.refusedKeys(t, c, vault) })
	t.Run("login", func(t *testing.T) { g.loginWithVaultKey(t, c) })
}

// freshVault makes a vault. It is not recorded.
func (g *goSDK) freshVault(t *testing.T, name string) armkeyvault.Vault {
	t.Helper()
	c, err := armkeyvault.NewVaultsClient(g.env["AZURE_SUBSCRIPTION_ID"], g.operator, g.arm())
	must(t, err)
	p, err := c.BeginCreateOrUpdate(t.Context(), "polyclaw-rg", name, armkeyvault.VaultCreateOrUpdateParameters{Location: to.Ptr("eastus"), Properties: &armkeyvault.VaultProperties{
		TenantID: to.Ptr(g.tenant()), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
		AccessPolicies: []*armkeyvault.AccessPolicyEntry{}, EnableRbacAuthorization: to.Ptr(true),
	}}, nil)
	must(t, err)
	r, err := p.PollUntilDone(t.Context(), quickly)
	must(t, err)
	return r.Vault
}

func (g *goSDK) keysIn(vault armkeyvault.Vault, cred azcore.TokenCredential) (*azkeys.Client, error) {
	return azkeys.NewClient(*vault.Properties.VaultURI, cred, &azkeys.ClientOptions{ClientOptions: g.options(), DisableChallengeResourceVerification: true})
}

// publicRSA is an RSA key as the standard library has it.
func publicRSA(k *azkeys.JSONWebKey) *rsa.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).SetBytes(k.N), E: int(new(big.Int).SetBytes(k.E).Int64())}
}

func (g *goSDK) rsaKeys(t *testing.T, c *azkeys.Client) {
	ctx := t.Context()
	digest := sha256.Sum256([]byte("what is signed"))
	made := result(t, g, "azkeys.Client.CreateKey, RSA", func() (azkeys.CreateKeyResponse, error) {
		r, err := c.CreateKey(ctx, "rsa", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr[int32](2048)}, nil)
		if err == nil {
			err = is(publicRSA(r.Key).N.BitLen() == 2048 && r.Key.D == nil && *r.Attributes.Enabled, "it is %+v", r.Attributes)
		}
		return r, err
	})
	public := publicRSA(made.Key)
	for _, alg := range []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmRS256, azkeys.SignatureAlgorithmPS256} {
		g.Operation(t, "azkeys.Client.Sign with "+string(alg)+", verified without the vault", func() error {
			r, err := c.Sign(ctx, "rsa", "", azkeys.SignParameters{Algorithm: &alg, Value: digest[:]}, nil)
			if err != nil {
				return err
			}
			if *r.KID != *made.Key.KID {
				return errors.New("another key has signed")
			}
			if alg == azkeys.SignatureAlgorithmRS256 {
				return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], r.Result)
			}
			return rsa.VerifyPSS(public, crypto.SHA256, digest[:], r.Result, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		})
	}
	g.Operation(t, "azkeys.Client.Verify of a right signature and of a wrong one", func() error {
		alg := to.Ptr(azkeys.SignatureAlgorithmPS256)
		signed, err := c.Sign(ctx, "rsa", made.Key.KID.Version(), azkeys.SignParameters{Algorithm: alg, Value: digest[:]}, nil)
		if err != nil {
			return err
		}
		right, err := c.Verify(ctx, "rsa", made.Key.KID.Version(), azkeys.VerifyParameters{Algorithm: alg, Digest: digest[:], Signature: signed.Result}, nil)
		if err != nil {
			return err
		}
		other := sha256.Sum256([]byte("something else"))
		wrong, err := c.Verify(ctx, "rsa", made.Key.KID.Version(), azkeys.VerifyParameters{Algorithm: alg, Digest: other[:], Signature: signed.Result}, nil)
		if err != nil {
			return err
		}
		return is(*right.Value && !*wrong.Value, "right: %v, wrong: %v", *right.Value, *wrong.Value)
	})
	g.Operation(t, "azkeys.Client.Encrypt and Decrypt", func() error {
		alg := to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256)
		sealed, err := c.Encrypt(ctx, "rsa", "", azkeys.KeyOperationParameters{Algorithm: alg, Value: []byte("text")}, nil)
		if err != nil {
			return err
		}
		open, err := c.Decrypt(ctx, "rsa", "", azkeys.KeyOperationParameters{Algorithm: alg, Value: sealed.Result}, nil)
		if err != nil {
			return err
		}
		return is(string(open.Result) == "text", "it is %q", open.Result)
	})
	g.Operation(t, "azkeys.Client.Decrypt of what was encrypted without the vault", func() error {
		sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, []byte("text"), nil)
		if err != nil {
			return err
		}
		open, err := c.Decrypt(ctx, "rsa", "", azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: sealed}, nil)
		if err != nil {
			return err
		}
		return is(string(open.Result) == "text", "it is %q", open.Result)
	})
	g.Operation(t, "azkeys.Client.WrapKey and UnwrapKey", func() error {
		secret := []byte("0123456789abcdef0123456789abcdef")
		alg := to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256)
		wrapped, err := c.WrapKey(ctx, "rsa", "", azkeys.KeyOperationParameters{Algorithm: alg, Value: secret}, nil)
		if err != nil {
			return err
		}
		r, err := c.UnwrapKey(ctx, "rsa", "", azkeys.KeyOperationParameters{Algorithm: alg, Value: wrapped.Result}, nil)
		if err != nil {
			return err
		}
		return is(bytes.Equal(r.Result, secret), "it is another secret")
	})
	g.Operation(t, "azkeys.Client.ImportKey, RSA", func() error {
		own, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return err
		}
		own.Precompute()
		r, err := c.ImportKey(ctx, "imported", azkeys.ImportKeyParameters{Key: &azkeys.JSONWebKey{
			Kty: to.Ptr(azkeys.KeyTypeRSA), N: own.N.Bytes(), E: big.NewInt(int64(own.E)).Bytes(), D: own.D.Bytes(), P: own.Primes[0].Bytes(), Q: own.Primes[1].Bytes(),
			DP: own.Precomputed.Dp.Bytes(), DQ: own.Precomputed.Dq.Bytes(), QI: own.Precomputed.Qinv.Bytes(),
		}}, nil)
		if err != nil {
			return err
		}
		if r.Key.D != nil {
			return errors.New("the answer has the private key")
		}
		signed, err := c.Sign(ctx, "imported", "", azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmRS256), Value: digest[:]}, nil)
		if err != nil {
			return err
		}
		return rsa.VerifyPKCS1v15(&own.PublicKey, crypto.SHA256, digest[:], signed.Result)
	})
}

func (g *goSDK) curveKeys(t *testing.T, c *azkeys.Client) {
	ctx := t.Context()
	for _, row := range []struct {
		curve azkeys.CurveName
		alg   azkeys.SignatureAlgorithm
		hash  crypto.Hash
		of    elliptic.Curve
	}{
		{azkeys.CurveNameP256, azkeys.SignatureAlgorithmES256, crypto.SHA256, elliptic.P256()},
		{azkeys.CurveNameP384, azkeys.SignatureAlgorithmES384, crypto.SHA384, elliptic.P384()},
	} {
		name := "ec-" + string(row.curve)
		g.Operation(t, "azkeys.Client.CreateKey, "+string(row.curve)+", and Sign with "+string(row.alg), func() error {
			made, err := c.CreateKey(ctx, name, azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeEC), Curve: &row.curve}, nil)
			if err != nil {
				return err
			}
			h := row.hash.New()
			h.Write([]byte("what is signed"))
			digest := h.Sum(nil)
			signed, err := c.Sign(ctx, name, "", azkeys.SignParameters{Algorithm: &row.alg, Value: digest}, nil)
			if err != nil {
				return err
			}
			public, err := ecdsa.ParseUncompressedPublicKey(row.of, slices.Concat([]byte{4}, made.Key.X, made.Key.Y)) // SEC 1, section 2.3.3
			if err != nil {
				return err
			}
			half := len(signed.Result) / 2 // r and s, one after the other (RFC 7518 section 3.4)
			valid := ecdsa.Verify(public, digest, new(big.Int).SetBytes(signed.Result[:half]), new(big.Int).SetBytes(signed.Result[half:]))
			return is(valid, "the signature is not valid")
		})
	}
}

// keyLife is what happens to a key between its making and its purge.
func (g *goSDK) keyLife(t *testing.T, c *azkeys.Client) {
	ctx := t.Context()
	first, err := c.CreateKey(ctx, "life", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr[int32](2048), Tags: map[string]*string{"made": to.Ptr("by Go")}}, nil)
	must(t, err)
	second := result(t, g, "azkeys.Client.RotateKey", func() (azkeys.RotateKeyResponse, error) {
		r, err := c.RotateKey(ctx, "life", nil)
		if err == nil {
			err = is(*r.Key.KID != *first.Key.KID && !bytes.Equal(r.Key.N, first.Key.N), "it is the same key")
		}
		return r, err
	})
	g.Operation(t, "azkeys.Client.GetKey of the newest version and of the first", func() error {
		newest, err := c.GetKey(ctx, "life", "", nil)
		if err != nil {
			return err
		}
		old, err := c.GetKey(ctx, "life", first.Key.KID.Version(), nil)
		if err != nil {
			return err
		}
		return is(*newest.Key.KID == *second.Key.KID && bytes.Equal(old.Key.N, first.Key.N), "they are %s and %s", *newest.Key.KID, *old.Key.KID)
	})
	g.Operation(t, "azkeys.Client.NewListKeyPropertiesVersionsPager", func() error {
		all, err := pages(ctx, c.NewListKeyPropertiesVersionsPager("life", nil))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) == 2, "it lists %d", len(all[0].Value))
	})
	g.Operation(t, "azkeys.Client.NewListKeyPropertiesPager", func() error {
		all, err := pages(ctx, c.NewListKeyPropertiesPager(nil))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) == 5, "it lists %d", len(all[0].Value))
	})
	g.Operation(t, "azkeys.Client.UpdateKey disables a version", func() error {
		r, err := c.UpdateKey(ctx, "life", first.Key.KID.Version(), azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(false)}}, nil)
		if err != nil {
			return err
		}
		return is(!*r.Attributes.Enabled, "it is %+v", r.Attributes)
	})
	g.Refused(t, "azkeys.Client.Sign with a disabled version", "KeyDisabled", func() error {
		_, err := c.Sign(ctx, "life", first.Key.KID.Version(), azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmRS256), Value: make([]byte, 32)}, nil)
		return err
	})
	backup := result(t, g, "azkeys.Client.BackupKey", func() (azkeys.BackupKeyResponse, error) { return c.BackupKey(ctx, "life", nil) })
	g.Operation(t, "azkeys.Client.DeleteKey, GetDeletedKey and the list of the deleted", func() error {
		if _, err := c.DeleteKey(ctx, "life", nil); err != nil {
			return err
		}
		r, err := c.GetDeletedKey(ctx, "life", nil)
		if err != nil {
			return err
		}
		all, err := pages(ctx, c.NewListDeletedKeyPropertiesPager(nil))
		if err != nil {
			return err
		}
		return is(r.RecoveryID != nil && len(all[0].Value) == 1, "it is %+v", r.DeletedKey)
	})
	g.Refused(t, "azkeys.Client.CreateKey under the name of a deleted one", "ObjectIsDeletedButRecoverable", func() error {
		_, err := c.CreateKey(ctx, "life", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)}, nil)
		return err
	})
	g.Operation(t, "azkeys.Client.RecoverDeletedKey", func() error {
		r, err := c.RecoverDeletedKey(ctx, "life", nil)
		if err != nil {
			return err
		}
		return is(*r.Key.KID == *second.Key.KID, "it is %s", *r.Key.KID)
	})
	g.Operation(t, "azkeys.Client.PurgeDeletedKey and RestoreKey", func() error {
		if _, err := c.DeleteKey(ctx, "life", nil); err != nil {
			return err
		}
		if _, err := c.PurgeDeletedKey(ctx, "life", nil); err != nil {
			return err
		}
		r, err := c.RestoreKey(ctx, azkeys.RestoreKeyParameters{KeyBackup: backup.Value}, nil)
		if err != nil {
			return err
		}
		return is(bytes.Equal(r.Key.N, second.Key.N), "it is another key")
	})
}

func (g *goSDK) refusedKeys(t *testing.T, c *azkeys.Client, vault armkeyvault.Vault) {
	ctx := t.Context()
	user, nobody := g.app(t, "go-crypto-user", time.Hour), g.app(t, "go-crypto-nobody", time.Hour)
	must(t, g.assign(ctx, *vault.ID+"/keys/rsa", cryptoUserRole, user.principal))
	sign := func(cred azcore.TokenCredential, name string) error {
		theirs, err := g.keysIn(vault, cred)
		if err != nil {
			return err
		}
		_, err = theirs.Sign(ctx, name, "", azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmRS256), Value: make([]byte, 32)}, nil)
		return err
	}
	g.Operation(t, "azkeys.Client.Sign by a role on this one key", func() error { return sign(user.cred, "rsa") })
	g.Refused(t, "azkeys.Client.Sign with another key than the role is for", "ForbiddenByRbac", func() error { return sign(user.cred, "imported") })
	g.Refused(t, "azkeys.Client.Sign without a role", "ForbiddenByRbac", func() error { return sign(nobody.cred, "rsa") })
	g.Refused(t, "azkeys.Client.CreateKey by somebody who may use keys", "ForbiddenByRbac", func() error {
		theirs, err := g.keysIn(vault, user.cred)
		if err != nil {
			return err
		}
		_, err = theirs.CreateKey(ctx, "theirs", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA)}, nil)
		return err
	})
	g.Refused(t, "azkeys.Client.GetKey of one that is not there", "KeyNotFound", func() error {
		_, err := c.GetKey(ctx, "nothing", "", nil)
		return err
	})
	g.Refused(t, "azkeys.Client.Sign of what is no digest", "BadParameter", func() error {
		_, err := c.Sign(ctx, "rsa", "", azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmRS256), Value: []byte("too short")}, nil)
		return err
	})
	g.Refused(t, "azkeys.Client.Sign with the algorithm of another kind of key", "BadParameter", func() error {
		_, err := c.Sign(ctx, "rsa", "", azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmES256), Value: make([]byte, 32)}, nil)
		return err
	})
	for _, row := range []struct {
		name, code string
		from, to   *time.Time
	}{
		{"expired", "KeyExpired", nil, to.Ptr(time.Now().Add(-time.Hour))},
		{"not yet valid", "KeyNotYetValid", to.Ptr(time.Now().Add(time.Hour)), nil},
	} {
		name := strings.ReplaceAll(row.name, " ", "-")
		g.Operation(t, "azkeys.Client.CreateKey, "+row.name, func() error {
			r, err := c.CreateKey(ctx, name, azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(true), NotBefore: row.from, Expires: row.to}}, nil)
			if err != nil {
				return err
			}
			return is((r.Attributes.NotBefore != nil) == (row.from != nil) && (r.Attributes.Expires != nil) == (row.to != nil), "it is %+v", r.Attributes)
		})
		g.Refused(t, "azkeys.Client.Sign with a key that is "+row.name, row.code, func() error {
			_, err := c.Sign(ctx, name, "", azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmRS256), Value: make([]byte, 32)}, nil)
			return err
		})
	}
	g.Refused(t, "azkeys.Client.Sign with a key that may only decrypt", "KeyOperationForbidden", func() error {
		if _, err := c.CreateKey(ctx, "decrypts", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeyOps: []*azkeys.KeyOperation{to.Ptr(azkeys.KeyOperationDecrypt)}}, nil); err != nil {
			return err
		}
		_, err := c.Sign(ctx, "decrypts", "", azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmRS256), Value: make([]byte, 32)}, nil)
		return err
	})
}

// vaultSigner is a key that never leaves its vault.
type vaultSigner struct {
	ctx    context.Context
	keys   *azkeys.Client
	id     azkeys.ID
	public *rsa.PublicKey
}

// Public implements [crypto.Signer].
func (s vaultSigner) Public() crypto.PublicKey { return s.public }

// Sign implements [crypto.Signer].
func (s vaultSigner) Sign(_ io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	alg := azkeys.SignatureAlgorithmRS256
	if _, pss := o.(*rsa.PSSOptions); pss {
		alg = azkeys.SignatureAlgorithmPS256
	}
	r, err := s.keys.Sign(s.ctx, s.id.Name(), s.id.Version(), azkeys.SignParameters{Algorithm: &alg, Value: digest}, nil)
	return r.Result, err
}

// loginWithVaultKey is an application whose certificate has its key in a vault: the vault signs the certificate, and each assertion.
func (g *goSDK) loginWithVaultKey(t *testing.T, c *azkeys.Client) {
	ctx := t.Context()
	a := g.app(t, "go-vault-key", 0)
	made, err := c.CreateKey(ctx, "login", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr[int32](2048)}, nil)
	must(t, err)
	signer := vaultSigner{ctx, c, *made.Key.KID, publicRSA(made.Key)}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: a.name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der := result(t, g, "azkeys.Client.Sign of a certificate for the key", func() ([]byte, error) {
		return x509.CreateCertificate(rand.Reader, template, template, signer.public, signer)
	})
	must(t, g.graph(g.operator).call(ctx, "PATCH", "/v1.0/applications/"+a.object, object{"keyCredentials": []any{keyCredential(Certificate{DER: der})}}, nil))
	for _, alg := range []string{"PS256", "RS256"} {
		g.Operation(t, "azidentity.ClientAssertionCredential with an assertion that a vault key has signed with "+alg, func() error {
			cred, err := g.withAssertion(a.id, func(ctx context.Context) (string, error) {
				sum := sha256.Sum256(der)
				signer.ctx = ctx
				return signJWT(signer, map[string]any{"alg": alg, "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])},
					map[string]any{"iss": a.id, "sub": a.id, "aud": g.tokenEndpoint(), "jti": uuid.NewString(), "nbf": time.Now().Unix(), "exp": time.Now().Add(10 * time.Minute).Unix()})
			})
			if err != nil {
				return err
			}
			return signsIn(ctx, cred, g.armScope(), claims{"appid": a.id, "oid": a.principal, "appidacr": "2"})
		})
	}
	g.Refused(t, "azidentity.ClientAssertionCredential whose vault key is disabled", "KeyDisabled", func() error {
		if _, err := c.UpdateKey(ctx, "login", made.Key.KID.Version(), azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: to.Ptr(false)}}, nil); err != nil {
			return err
		}
		cred, err := g.withAssertion(a.id, func(context.Context) (string, error) {
			return signJWT(signer, map[string]any{"alg": "PS256"}, map[string]any{"iss": a.id})
		})
		if err != nil {
			return err
		}
		return signsIn(ctx, cred, g.armScope(), nil)
	})
}
