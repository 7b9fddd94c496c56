package vault

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// credential gives tokens of a principal, and keeps what the challenge told the client to ask for.
type credential struct {
	f     *fixture
	oid   string
	asked *policy.TokenRequestOptions
}

func (c credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	*c.asked = o
	return azcore.AccessToken{Token: c.f.token(c.oid, nil), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestTheSDKKeepsSecrets(t *testing.T) {
	f := rbacVault(t)
	srv := httptest.NewUnstartedServer(f.Of("kv-one"))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	var asked policy.TokenRequestOptions
	client := func(oid string) *azsecrets.Client {
		c, err := azsecrets.NewClient(srv.URL, credential{f, oid, &asked}, &azsecrets.ClientOptions{
			ClientOptions: policy.ClientOptions{Transport: srv.Client(), Retry: policy.RetryOptions{MaxRetries: -1}}, DisableChallengeResourceVerification: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ctx, c := t.Context(), client(officer)
	set, err := c.SetSecret(ctx, "sdk", azsecrets.SetSecretParameters{Value: to.Ptr("v1"), ContentType: to.Ptr("text/plain")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if asked.TenantID != tenantID || len(asked.Scopes) != 1 || asked.Scopes[0] != Resource+"/.default" {
		t.Errorf("the challenge was read as %+v", asked)
	}
	if set.ID.Name() != "sdk" || len(set.ID.Version()) != 32 || !strings.HasPrefix(string(*set.ID), srv.URL+"/secrets/sdk/") {
		t.Errorf("got %s", *set.ID)
	}
	if _, err := c.SetSecret(ctx, "sdk", azsecrets.SetSecretParameters{Value: to.Ptr("v2")}, nil); err != nil {
		t.Fatal(err)
	}
	latest, err := c.GetSecret(ctx, "sdk", "", nil)
	if err != nil || *latest.Value != "v2" || !*latest.Attributes.Enabled || *latest.Attributes.RecoverableDays != 90 {
		t.Errorf("got %v, %v", latest.Value, err)
	}
	if one, err := c.GetSecret(ctx, "sdk", set.ID.Version(), nil); err != nil || *one.Value != "v1" {
		t.Errorf("got %v, %v", one.Value, err)
	}
	if _, err := c.UpdateSecretProperties(ctx, "sdk", set.ID.Version(), azsecrets.UpdateSecretPropertiesParameters{Tags: map[string]*string{"a": to.Ptr("b")}}, nil); err != nil {
		t.Error(err)
	}
	n := 0
	for p := c.NewListSecretPropertiesVersionsPager("sdk", nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Value)
	}
	if n != 2 {
		t.Errorf("got %d versions", n)
	}
	if p, err := c.NewListSecretPropertiesPager(nil).NextPage(ctx); err != nil || len(p.Value) != 1 {
		t.Errorf("got %v, %v", p, err)
	}
	if _, err := client(user).GetSecret(ctx, "sdk", "", nil); code(err) != "Forbidden" {
		t.Errorf("got %v", err)
	}
	if d, err := c.DeleteSecret(ctx, "sdk", nil); err != nil || d.RecoveryID == nil || d.ScheduledPurgeDate.Before(time.Now()) {
		t.Errorf("got %+v, %v", d, err)
	}
	if _, err := c.SetSecret(ctx, "sdk", azsecrets.SetSecretParameters{Value: to.Ptr("v3")}, nil); code(err) != "Conflict" {
		t.Errorf("got %v", err)
	}
	if _, err := c.RecoverDeletedSecret(ctx, "sdk", nil); err != nil {
		t.Error(err)
	}
	b, err := c.BackupSecret(ctx, "sdk", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteSecret(ctx, "sdk", nil); err != nil {
		t.Error(err)
	}
	if _, err := c.PurgeDeletedSecret(ctx, "sdk", nil); err != nil {
		t.Error(err)
	}
	if _, err := c.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: b.Value}, nil); err != nil {
		t.Error(err)
	}
}

func TestTheSDKUsesKeys(t *testing.T) {
	f := keyVault(t)
	srv := httptest.NewUnstartedServer(f.Of("kv-one"))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	var asked policy.TokenRequestOptions
	client := func(oid string) *azkeys.Client {
		c, err := azkeys.NewClient(srv.URL, credential{f, oid, &asked}, &azkeys.ClientOptions{
			ClientOptions: policy.ClientOptions{Transport: srv.Client(), Retry: policy.RetryOptions{MaxRetries: -1}}, DisableChallengeResourceVerification: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ctx, c, u := t.Context(), client(admin), client(crypter)
	made, err := c.CreateKey(ctx, "sdk", azkeys.CreateKeyParameters{Kty: to.Ptr(azkeys.KeyTypeRSA), KeySize: to.Ptr(int32(3072)), KeyAttributes: &azkeys.KeyAttributes{Expires: to.Ptr(time.Now().Add(time.Hour))}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if made.Key.KID.Name() != "sdk" || len(made.Key.KID.Version()) != 32 || len(made.Key.N) != 384 || made.Key.D != nil || len(made.Key.KeyOps) != 6 || !*made.Attributes.Enabled {
		t.Errorf("made %+v", made.Key)
	}
	digest := sha256.Sum256([]byte("a message"))
	public := &rsa.PublicKey{N: number(made.Key.N), E: int(number(made.Key.E).Int64())}
	for alg, check := range map[azkeys.SignatureAlgorithm]func(signature []byte) error{
		azkeys.SignatureAlgorithmRS256: func(s []byte) error { return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], s) },
		azkeys.SignatureAlgorithmPS256: func(s []byte) error { return rsa.VerifyPSS(public, crypto.SHA256, digest[:], s, nil) },
	} {
		signed, err := u.Sign(ctx, "sdk", "", azkeys.SignParameters{Algorithm: &alg, Value: digest[:]}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(signed.Result); err != nil || *signed.KID != *made.Key.KID {
			t.Errorf("%s: %v", alg, err)
		}
		if ok, err := u.Verify(ctx, "sdk", made.Key.KID.Version(), azkeys.VerifyParameters{Algorithm: &alg, Digest: digest[:], Signature: signed.Result}, nil); err != nil || !*ok.Value {
			t.Errorf("%s: %v", alg, err)
		}
	}
	if _, err := u.Sign(ctx, "sdk", "", azkeys.SignParameters{Algorithm: to.Ptr(azkeys.SignatureAlgorithmRS256), Value: []byte("a message")}, nil); code(err) != "BadParameter" {
		t.Errorf("got %v", err)
	}
	wrap := azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: []byte("a key")}
	wrapped, err := u.WrapKey(ctx, "sdk", "", wrap, nil)
	if err != nil {
		t.Fatal(err)
	}
	wrap.Value = wrapped.Result
	if opened, err := u.UnwrapKey(ctx, "sdk", "", wrap, nil); err != nil || string(opened.Result) != "a key" {
		t.Errorf("%v", err)
	}
	if _, err := u.DeleteKey(ctx, "sdk", nil); code(err) != "Forbidden" {
		t.Errorf("got %v", err)
	}
	if updated, err := c.UpdateKey(ctx, "sdk", "", azkeys.UpdateKeyParameters{KeyOps: []*azkeys.KeyOperation{to.Ptr(azkeys.KeyOperationSign)}}, nil); err != nil || len(updated.Key.KeyOps) != 1 {
		t.Errorf("%v", err)
	}
	if rotated, err := c.RotateKey(ctx, "sdk", nil); err != nil || rotated.Key.KID.Version() == made.Key.KID.Version() || len(rotated.Key.N) != 384 {
		t.Errorf("%v", err)
	}
	n := 0
	for p := c.NewListKeyPropertiesVersionsPager("sdk", nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Value)
	}
	if n != 2 {
		t.Errorf("%d versions", n)
	}
	imported, err := c.ImportKey(ctx, "brought", azkeys.ImportKeyParameters{Key: ecJWK(t)}, nil)
	if err != nil || *imported.Key.Kty != azkeys.KeyTypeEC || imported.Key.D != nil {
		t.Errorf("%v", err)
	}
	backup, err := c.BackupKey(ctx, "brought", nil)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := c.DeleteKey(ctx, "brought", nil); err != nil || d.RecoveryID == nil || d.ScheduledPurgeDate.Before(time.Now()) {
		t.Errorf("%v", err)
	}
	if p, err := c.NewListDeletedKeyPropertiesPager(nil).NextPage(ctx); err != nil || len(p.Value) != 1 {
		t.Errorf("%v", err)
	}
	if _, err := c.RecoverDeletedKey(ctx, "brought", nil); err != nil {
		t.Error(err)
	}
	if _, err := c.DeleteKey(ctx, "brought", nil); err != nil {
		t.Error(err)
	}
	if _, err := c.PurgeDeletedKey(ctx, "brought", nil); err != nil {
		t.Error(err)
	}
	if _, err := c.RestoreKey(ctx, azkeys.RestoreKeyParameters{KeyBackup: backup.Value}, nil); err != nil {
		t.Error(err)
	}
}

// ecJWK is a fresh private key.
func ecJWK(t *testing.T) *azkeys.JSONWebKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	public, err := publicJWK(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &azkeys.JSONWebKey{Kty: to.Ptr(azkeys.KeyTypeEC), Crv: to.Ptr(azkeys.CurveNameP384), X: public.X, Y: public.Y, D: d}
}

func code(err error) string {
	if e, is := errors.AsType[*azcore.ResponseError](err); is {
		return e.ErrorCode
	}
	return ""
}
