package vault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const (
	admin   = "aaaaaaaa-0000-0000-0000-000000000011" // Key Vault Administrator of the vault
	crypter = "aaaaaaaa-0000-0000-0000-000000000012" // Key Vault Crypto User of the vault
	certer  = "aaaaaaaa-0000-0000-0000-000000000013" // Key Vault Certificates Officer of the vault
)

// keyVault is a vault in RBAC mode with people for keys and certificates.
func keyVault(t *testing.T) *fixture {
	t.Helper()
	f := rbacVault(t)
	err := f.store.Write(func(tx replica.Tx) error {
		for who, role := range map[string]string{admin: "Key Vault Administrator", crypter: "Key Vault Crypto User", certer: "Key Vault Certificates Officer"} {
			if _, err := f.arm.Assign(tx, vaultID, role, who, "User"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func b64u(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func unb64u(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// member digs a text out of an answer.
func (a answer) member(path ...string) string {
	o := a.body
	for _, p := range path[:len(path)-1] {
		o, _ = o[p].(object)
	}
	s, _ := o[path[len(path)-1]].(string)
	return s
}

// short is the last segment of an id.
func short(id string) string { return id[strings.LastIndex(id, "/")+1:] }

// digestFor is a digest of the length that an algorithm wants.
func digestFor(alg string) []byte {
	a, _ := signings(alg)
	d := make([]byte, a.hash.Size())
	for i := range d {
		d[i] = byte(i)
	}
	return d
}

func TestEveryAlgorithmSignsAndVerifies(t *testing.T) {
	f := keyVault(t)
	for _, row := range []struct {
		name       string
		spec       object
		algorithms string
	}{
		{"rsa", object{"kty": "RSA"}, "RS256 RS384 RS512 PS256 PS384 PS512"},
		{"p256", object{"kty": "EC"}, "ES256"},
		{"p384", object{"kty": "EC", "crv": "P-384"}, "ES384"},
		{"p521", object{"kty": "EC", "crv": "P-521"}, "ES512"},
	} {
		made := f.as(admin, "POST", "/keys/"+row.name+"/create", row.spec).want(t, 200, "", "")
		if strings.Contains(made.Body.String(), `"d"`) || strings.Contains(made.Body.String(), `"p"`) {
			t.Fatalf("the private key leaves: %s", made.Body)
		}
		kid := made.member("key", "kid")
		if !strings.HasPrefix(kid, "https://kv-one.vault.test/keys/"+row.name+"/") || len(short(kid)) != 32 {
			t.Errorf("kid %s", kid)
		}
		for alg := range strings.FieldsSeq(row.algorithms) {
			digest := digestFor(alg)
			signed := f.as(crypter, "POST", "/keys/"+row.name+"/"+short(kid)+"/sign", object{"alg": alg, "value": b64u(digest)}).want(t, 200, "", "")
			if signed.text("kid") != kid {
				t.Errorf("signed by %s, made %s", signed.text("kid"), kid)
			}
			check := func(digest []byte, signature string) any {
				return f.as(crypter, "POST", "/keys/"+row.name+"/verify", object{"alg": alg, "digest": b64u(digest), "value": signature}).want(t, 200, "", "").body["value"]
			}
			if check(digest, signed.text("value")) != true {
				t.Errorf("%s: its own signature does not verify", alg)
			}
			digest[0]++
			if check(digest, signed.text("value")) != false || check(digest, "AAAA") != false {
				t.Errorf("%s: a wrong signature verifies", alg)
			}
			if !verifiesOutside(t, made, alg, digestFor(alg), unb64u(t, signed.text("value"))) {
				t.Errorf("%s: the signature does not verify by the public key", alg)
			}
		}
	}
}

// verifiesOutside checks a signature with what the vault shows of the key alone.
func verifiesOutside(t *testing.T, made answer, alg string, digest, signature []byte) bool {
	t.Helper()
	raw, err := json.Marshal(made.body["key"])
	if err != nil {
		t.Fatal(err)
	}
	var public jwk
	if err := json.Unmarshal(raw, &public); err != nil {
		t.Fatal(err)
	}
	a, _ := signings(alg)
	if public.Type == "EC" {
		point := append(append([]byte{4}, public.X...), public.Y...)
		key, err := ecdsa.ParseUncompressedPublicKey(curveOf(public.Curve), point)
		if err != nil {
			t.Fatal(err)
		}
		half := len(signature) / 2
		return ecdsa.Verify(key, digest, number(signature[:half]), number(signature[half:]))
	}
	key := &rsa.PublicKey{N: number(public.N), E: int(number(public.E).Int64())}
	if a.pss {
		return rsa.VerifyPSS(key, a.hash, digest, signature, &rsa.PSSOptions{SaltLength: a.hash.Size()}) == nil
	}
	return rsa.VerifyPKCS1v15(key, a.hash, digest, signature) == nil
}

func TestWhatIsEncryptedIsDecrypted(t *testing.T) {
	f := keyVault(t)
	f.as(admin, "POST", "/keys/k/create", object{"kty": "RSA"}).want(t, 200, "", "")
	f.as(admin, "POST", "/keys/e/create", object{"kty": "EC"}).want(t, 200, "", "")
	for _, pair := range [][2]string{{"encrypt", "decrypt"}, {"wrapkey", "unwrapkey"}} {
		for _, alg := range []string{"RSA-OAEP", "RSA-OAEP-256", "RSA1_5"} {
			sealed := f.as(crypter, "POST", "/keys/k/"+pair[0], object{"alg": alg, "value": b64u([]byte("hush"))}).want(t, 200, "", "")
			opened := f.as(crypter, "POST", "/keys/k/"+pair[1], object{"alg": alg, "value": sealed.text("value")}).want(t, 200, "", "")
			if string(unb64u(t, opened.text("value"))) != "hush" {
				t.Errorf("%s: got %s", alg, opened.Body)
			}
			f.as(crypter, "POST", "/keys/k/"+pair[1], object{"alg": alg, "value": b64u(make([]byte, 256))}).want(t, 400, "BadParameter", "")
			f.as(crypter, "POST", "/keys/k/"+pair[0], object{"alg": alg, "value": b64u(make([]byte, 250))}).want(t, 400, "BadParameter", "")
		}
	}
	f.as(crypter, "POST", "/keys/e/wrapkey", object{"alg": "RSA-OAEP", "value": "AAAA"}).want(t, 403, "Forbidden", "KeyOperationForbidden")
	f.as(crypter, "POST", "/keys/k/encrypt", object{"alg": "A256GCM", "value": "AAAA"}).want(t, 400, "BadParameter", "")
}

func TestWhatAKeyRefuses(t *testing.T) {
	f := keyVault(t)
	hour := time.Now().Add(time.Hour).Unix()
	for name, body := range map[string]object{
		"k": {"kty": "RSA"}, "e": {"kty": "EC"}, "p384": {"kty": "EC", "crv": "P-384"}, "off": {"kty": "EC", "attributes": object{"enabled": false}}, "early": {"kty": "EC", "attributes": object{"nbf": hour}},
		"late": {"kty": "EC", "attributes": object{"exp": 5}}, "verifies": {"kty": "EC", "key_ops": []string{"verify"}},
	} {
		f.as(admin, "POST", "/keys/"+name+"/create", body).want(t, 200, "", "")
	}
	sign := func(alg string, n int) object { return object{"alg": alg, "value": b64u(make([]byte, n))} }
	verify := object{"alg": "ES256", "digest": b64u(make([]byte, 32)), "value": b64u(make([]byte, 64))}
	for _, row := range []struct {
		name, method, path string
		body               object
		status             int
		code, inner, says  string
	}{
		{"a digest that is too short", "POST", "/keys/k/sign", sign("RS256", 31), 400, "BadParameter", "", "Invalid length of 'value': 31 bytes. RS256 requires 32 bytes, encoded with base64url."},
		{"the message instead of its digest", "POST", "/keys/e/sign", sign("ES256", 44), 400, "BadParameter", "", "Invalid length of 'value': 44 bytes. ES256 requires 32 bytes, encoded with base64url."},
		{"an algorithm of another type", "POST", "/keys/k/sign", sign("ES256", 32), 400, "BadParameter", "", "is of type 'RSA', and algorithm 'ES256'"},
		{"an algorithm of another curve", "POST", "/keys/p384/sign", sign("ES256", 32), 400, "BadParameter", "", "uses curve 'P-384', and algorithm 'ES256' can only be used with curve 'P-256'."},
		{"an unknown algorithm", "POST", "/keys/k/sign", sign("RSNULL", 32), 400, "BadParameter", "", "RSNULL"},
		{"no value", "POST", "/keys/k/sign", object{"alg": "RS256"}, 400, "BadParameter", "", "required"},
		{"a value in base64", "POST", "/keys/k/sign", object{"alg": "RS256", "value": "+/+/"}, 400, "BadParameter", "", "Content of 'value' is not base64url."},
		{"a key that is not there", "POST", "/keys/none/sign", sign("RS256", 32), 404, "KeyNotFound", "", "(name/id) none"},
		{"a version that is not there", "POST", "/keys/k/" + strings.Repeat("0", 32) + "/sign", sign("RS256", 32), 404, "KeyNotFound", "", ""},
		{"a disabled key", "POST", "/keys/off/sign", sign("ES256", 32), 403, "Forbidden", "KeyDisabled", "Operation sign is not allowed on a disabled key."},
		{"a disabled key is not shown", "GET", "/keys/off", nil, 403, "Forbidden", "KeyDisabled", ""},
		{"a key before its time", "POST", "/keys/early/sign", sign("ES256", 32), 403, "Forbidden", "KeyNotYetValid", ""},
		{"a key after its time", "POST", "/keys/late/sign", sign("ES256", 32), 403, "Forbidden", "KeyExpired", ""},
		{"a key after its time still verifies", "POST", "/keys/late/verify", verify, 200, "", "", ""},
		{"an operation that the key is not for", "POST", "/keys/verifies/sign", sign("ES256", 32), 403, "Forbidden", "KeyOperationForbidden", "Operation sign is not permitted on this key."},
		{"a symmetric key", "POST", "/keys/o/create", object{"kty": "oct"}, 400, "BadParameter", "KeyTypeNotSupported", "Invalid kty value: oct"},
		{"a key in hardware in a standard vault", "POST", "/keys/o/create", object{"kty": "RSA-HSM"}, 400, "BadParameter", "KeyTypeNotSupported", "premium"},
		{"a short RSA key", "POST", "/keys/o/create", object{"kty": "RSA", "key_size": 1024}, 400, "BadParameter", "", "key_size"},
		{"an unknown curve", "POST", "/keys/o/create", object{"kty": "EC", "crv": "P-224"}, 400, "BadParameter", "KeyCurveNotSupported", "P-224"},
		{"a curve that the local cloud lacks", "POST", "/keys/o/create", object{"kty": "EC", "crv": "P-256K"}, 400, "BadParameter", "KeyCurveNotSupported", "P-256K"},
		{"an EC key that encrypts", "POST", "/keys/o/create", object{"kty": "EC", "key_ops": []string{"encrypt"}}, 400, "BadParameter", "", "encrypt"},
		{"an EC key that is told to encrypt later", "PATCH", "/keys/e", object{"key_ops": []string{"encrypt"}}, 400, "BadParameter", "", "encrypt"},
		{"a key that can be released", "POST", "/keys/o/create", object{"kty": "RSA", "release_policy": object{}}, 400, "NotSupported", "", ""},
		{"a rotation policy", "GET", "/keys/k/rotationpolicy", nil, 404, "NotFound", "", ""},
		{"an unknown operation", "POST", "/keys/k/smash", object{}, 404, "NotFound", "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := f.as(admin, row.method, row.path, row.body).want(t, row.status, row.code, row.inner)
			if row.says != "" && !strings.Contains(a.error("message"), row.says) {
				t.Errorf("got %s", a.error("message"))
			}
		})
	}
}

func TestWhoMayDoWhatWithKeys(t *testing.T) {
	f := keyVault(t)
	f.as(admin, "POST", "/keys/k/create", object{"kty": "RSA"}).want(t, 200, "", "")
	for _, row := range []struct{ who, method, path, action string }{
		{officer, "GET", "/keys", "keys/read"},
		{officer, "GET", "/keys/k", "keys/read"},
		{officer, "POST", "/keys/k/sign", "keys/sign/action"},
		{officer, "POST", "/keys/k/verify", "keys/verify/action"},
		{officer, "POST", "/keys/k/encrypt", "keys/encrypt/action"},
		{officer, "POST", "/keys/k/decrypt", "keys/decrypt/action"},
		{officer, "POST", "/keys/k/wrapkey", "keys/wrap/action"},
		{officer, "POST", "/keys/k/unwrapkey", "keys/unwrap/action"},
		{crypter, "POST", "/keys/k/create", "keys/create/action"},
		{crypter, "PUT", "/keys/k", "keys/import/action"},
		{crypter, "POST", "/keys/k/rotate", "keys/rotate/action"},
		{crypter, "DELETE", "/keys/k", "keys/delete"},
		{crypter, "POST", "/deletedkeys/k/recover", "keys/recover/action"},
		{crypter, "DELETE", "/deletedkeys/k", "keys/purge/action"},
		{crypter, "POST", "/keys/restore", "keys/restore/action"},
		{certer, "POST", "/keys/k/sign", "keys/sign/action"},
		{crypter, "GET", "/certificates", "certificates/read"},
		{crypter, "POST", "/certificates/c/create", "certificates/create/action"},
		{crypter, "POST", "/certificates/c/import", "certificates/import/action"},
		{crypter, "PATCH", "/certificates/c/policy", "certificates/update/action"},
		{crypter, "DELETE", "/certificates/c", "certificates/delete"},
		{crypter, "POST", "/certificates/c/pending/merge", "certificates/create/action"},
		{crypter, "DELETE", "/deletedcertificates/c", "certificates/purge/action"},
		{certer, "GET", "/secrets/c", "secrets/getSecret/action"},
	} {
		a := f.as(row.who, row.method, row.path, object{}).want(t, 403, "Forbidden", "ForbiddenByRbac")
		if !strings.Contains(a.error("message"), "Action: 'Microsoft.KeyVault/vaults/"+row.action+"'") {
			t.Errorf("%s %s: got %s", row.method, row.path, a.error("message"))
		}
	}
	one := "aaaaaaaa-0000-0000-0000-000000000014" // of one key alone
	if err := f.store.Write(func(tx replica.Tx) error {
		_, err := f.arm.Assign(tx, vaultID+"/keys/k", "Key Vault Crypto User", one, "User")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	f.as(one, "GET", "/keys/k", nil).want(t, 200, "", "")
	f.as(one, "GET", "/keys/other", nil).want(t, 403, "Forbidden", "ForbiddenByRbac")
}

func TestAccessPoliciesOfKeysAndCertificates(t *testing.T) {
	f := newFixture(t, object{"enableRbacAuthorization": false, "accessPolicies": []object{
		{"tenantId": tenantID, "objectId": owner, "permissions": object{"keys": []string{"create", "sign"}, "certificates": []string{"all"}}},
	}})
	f.as(owner, "POST", "/keys/k/create", object{"kty": "EC"}).want(t, 200, "", "")
	f.as(owner, "POST", "/keys/k/sign", object{"alg": "ES256", "value": b64u(make([]byte, 32))}).want(t, 200, "", "")
	a := f.as(owner, "POST", "/keys/k/unwrapkey", object{}).want(t, 403, "Forbidden", "ForbiddenByPolicy")
	if !strings.Contains(a.error("message"), "does not have keys unwrapKey permission on key vault 'kv-one;location=eastus'") {
		t.Errorf("got %s", a.error("message"))
	}
	f.as(owner, "GET", "/certificates", nil).want(t, 200, "", "")
	f.as(owner, "GET", "/secrets", nil).want(t, 403, "Forbidden", "ForbiddenByPolicy")
}

func TestAKeyFromCreationToPurge(t *testing.T) {
	f := keyVault(t)
	do := func(method, path string, body any) answer { return f.as(admin, method, path, body) }
	first := do("POST", "/keys/k/create", object{"kty": "EC", "tags": object{"a": "b"}, "key_ops": []string{"sign"}}).want(t, 200, "", "")
	second := do("POST", "/keys/K/rotate", nil).want(t, 200, "", "")
	if first.member("key", "x") == second.member("key", "x") || second.member("key", "crv") != "P-256" || second.member("tags", "a") != "b" || fmt.Sprint(second.body["key"].(object)["key_ops"]) != "[sign]" {
		t.Errorf("a rotation made %s", second.Body)
	}
	if a := do("GET", "/keys/k", nil).want(t, 200, "", ""); a.member("key", "kid") != second.member("key", "kid") {
		t.Errorf("latest is %s", a.Body)
	}
	old := "/keys/k/" + short(first.member("key", "kid"))
	do("PATCH", old, object{"key_ops": []string{"sign", "verify"}, "tags": object{}}).want(t, 200, "", "")
	if a := do("GET", old, nil).want(t, 200, "", ""); a.member("key", "kid") != first.member("key", "kid") || fmt.Sprint(a.body["key"].(object)["key_ops"]) != "[sign verify]" {
		t.Errorf("got %s", a.Body)
	}
	if a := do("GET", "/keys/k/versions", nil).want(t, 200, "", ""); len(a.items()) != 2 {
		t.Errorf("got %s", a.Body)
	}
	if a := do("GET", "/keys", nil).want(t, 200, "", ""); len(a.items()) != 1 || a.items()[0].(object)["kid"] != "https://kv-one.vault.test/keys/k" {
		t.Errorf("got %s", a.Body)
	}
	blob := do("POST", "/keys/k/backup", nil).want(t, 200, "", "").text("value")
	do("POST", "/secrets/restore", object{"value": blob}).want(t, 400, "BadParameter", "") // as a secret it could be read
	do("POST", "/keys/restore", object{"value": blob}).want(t, 409, "Conflict", "")
	gone := do("DELETE", "/keys/k", nil).want(t, 200, "", "")
	if gone.text("recoveryId") != "https://kv-one.vault.test/deletedkeys/k" || gone.member("key", "kty") != "EC" {
		t.Errorf("got %s", gone.Body)
	}
	do("POST", "/keys/k/create", object{"kty": "EC"}).want(t, 409, "Conflict", "ObjectIsDeletedButRecoverable")
	do("POST", "/keys/k/sign", object{}).want(t, 404, "KeyNotFound", "")
	if a := do("GET", "/deletedkeys", nil).want(t, 200, "", ""); len(a.items()) != 1 {
		t.Errorf("got %s", a.Body)
	}
	do("GET", "/deletedkeys/k", nil).want(t, 200, "", "")
	do("POST", "/deletedkeys/k/recover", nil).want(t, 200, "", "")
	do("DELETE", "/keys/k", nil).want(t, 200, "", "")
	do("DELETE", "/deletedkeys/k", nil).want(t, 204, "", "")
	back := do("POST", "/keys/restore", object{"value": blob}).want(t, 200, "", "")
	if back.member("key", "kid") != second.member("key", "kid") {
		t.Errorf("restored %s", back.Body)
	}
}

func TestImportingAKey(t *testing.T) {
	f := keyVault(t)
	rsaKey, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d, err := ec.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	public, err := publicJWK(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	good := object{"kty": "RSA", "n": b64u(rsaKey.N.Bytes()), "e": "AQAB", "d": b64u(rsaKey.D.Bytes()), "p": b64u(rsaKey.Primes[0].Bytes()), "q": b64u(rsaKey.Primes[1].Bytes())}
	goodEC := object{"kty": "EC", "crv": "P-256", "x": b64u(public.X), "y": b64u(public.Y), "d": b64u(d)}
	but := func(o object, change object) object {
		c := object{}
		for k, v := range o {
			c[k] = v
		}
		for k, v := range change {
			c[k] = v
		}
		return c
	}
	for name, key := range map[string]object{
		"another exponent":      but(good, object{"d": b64u([]byte{1, 2, 3})}),
		"without primes":        but(good, object{"p": "", "q": ""}),
		"a short modulus":       but(good, object{"n": "AQAB"}),
		"another point":         but(goodEC, object{"x": b64u(make([]byte, 32))}),
		"without a private key": but(goodEC, object{"d": ""}),
		"a scalar of zero":      but(goodEC, object{"d": b64u(make([]byte, 32))}),
		"a symmetric key":       {"kty": "oct", "k": "AAAA"},
	} {
		t.Run(name, func(t *testing.T) {
			a := f.as(admin, "PUT", "/keys/bad", object{"key": key})
			if a.Code != 400 || a.error("code") != "BadParameter" {
				t.Errorf("got %d %s", a.Code, a.Body)
			}
		})
	}
	f.as(admin, "PUT", "/keys/r", object{"key": good}).want(t, 200, "", "")
	f.as(admin, "PUT", "/keys/e", object{"key": goodEC}).want(t, 200, "", "")
	digest := sha256.Sum256([]byte("x"))
	signed := f.as(crypter, "POST", "/keys/r/sign", object{"alg": "RS256", "value": b64u(digest[:])}).want(t, 200, "", "")
	if err := rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, digest[:], unb64u(t, signed.text("value"))); err != nil {
		t.Error(err)
	}
	if a := f.as(admin, "GET", "/keys/r", nil); strings.Contains(a.Body.String(), b64u(rsaKey.D.Bytes())) {
		t.Error("the private key leaves")
	}
}

func TestAPremiumVaultHasKeysOfHardwareTypes(t *testing.T) {
	f := newFixture(t, object{"sku": object{"family": "A", "name": "premium"}, "accessPolicies": []object{{"objectId": owner, "permissions": object{"keys": []string{"all"}}}}})
	if a := f.as(owner, "POST", "/keys/k/create", object{"kty": "EC-HSM"}).want(t, 200, "", ""); a.member("key", "kty") != "EC-HSM" {
		t.Errorf("got %s", a.Body)
	}
	f.as(owner, "POST", "/keys/k/sign", object{"alg": "ES256", "value": b64u(make([]byte, 32))}).want(t, 200, "", "")
}

func TestEveryListComesInPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := keyVault(t)
		policy := object{"policy": object{"key_props": object{"kty": "EC"}, "x509_props": object{"subject": "CN=x"}, "issuer": object{"name": "Self"}}}
		for i := range 5 {
			f.as(admin, "POST", fmt.Sprintf("/keys/k%d/create", i), object{"kty": "EC"}).want(t, 200, "", "")
			f.as(admin, "POST", "/keys/same/create", object{"kty": "EC"}).want(t, 200, "", "")
			f.as(admin, "POST", fmt.Sprintf("/certificates/c%d/create", i), policy).want(t, 202, "", "")
			f.as(admin, "POST", "/certificates/same-c/create", policy).want(t, 202, "", "")
			f.as(admin, "PUT", fmt.Sprintf("/secrets/s%d", i), object{"value": "v"}).want(t, 200, "", "")
			time.Sleep(2 * issuing)
		}
		count := func(path, id string) (n, pages int) {
			seen := map[any]bool{}
			for path += "?maxresults=2&api-version=7.4"; path != ""; pages++ {
				a := f.send("GET", path, nil, "Bearer "+f.token(admin, nil)).want(t, 200, "", "")
				for _, i := range a.items() {
					seen[i.(object)[id]] = true
				}
				path = strings.TrimPrefix(a.text("nextLink"), "https://kv-one.vault.test")
			}
			return len(seen), pages
		}
		want := func(path, id string, n, pages int) {
			t.Helper()
			if got, in := count(path, id); got != n || in != pages {
				t.Errorf("%s: %d in %d pages; want %d in %d", path, got, in, n, pages)
			}
		}
		want("/keys", "kid", 12, 6) // those of the certificates too
		want("/keys/same/versions", "kid", 5, 3)
		want("/certificates", "id", 6, 3)
		want("/certificates/same-c/versions", "id", 5, 3)
		want("/secrets", "id", 11, 6)
		for i := range 5 {
			f.as(admin, "DELETE", fmt.Sprintf("/keys/k%d", i), nil).want(t, 200, "", "")
			f.as(admin, "DELETE", fmt.Sprintf("/certificates/c%d", i), nil).want(t, 200, "", "")
		}
		want("/deletedcertificates", "id", 5, 3)
		want("/deletedkeys", "kid", 10, 5)
		want("/deletedsecrets", "id", 5, 3)
	})
}

func TestKeysAndCertificatesOutliveARestart(t *testing.T) {
	f := keyVault(t)
	f.as(admin, "POST", "/keys/k/create", object{"kty": "EC", "tags": object{"a": "b"}}).want(t, 200, "", "")
	f.store.Primary(func(v replica.View) {
		e, _ := f.keys.table.Get(v, "kv-one/k")
		raw, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var back entry[keyVersion]
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(back)
		if err != nil || string(again) != string(raw) {
			t.Errorf("%v: %s\n%s", err, raw, again)
		}
		if _, err := x509.ParsePKCS8PrivateKey(back.Versions[0].Private); err != nil {
			t.Error(err)
		}
	})
}

func number(b []byte) *big.Int { return new(big.Int).SetBytes(b) }
