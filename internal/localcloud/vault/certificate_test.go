package vault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// asked is a policy for a certificate on P-256, with what the row changes.
func asked(issuer string, change object) object {
	p := object{
		"key_props": object{"kty": "EC", "crv": "P-256"}, "secret_props": object{"contentType": typePEM},
		"x509_props": object{"subject": `CN=agent, O="Contoso, Ltd"`, "sans": object{"dns_names": []string{"agent.test"}}, "key_usage": []string{"digitalSignature"}, "ekus": []string{"1.3.6.1.5.5.7.3.2"}, "validity_months": 6},
		"issuer":     object{"name": issuer},
	}
	for k, v := range change {
		p[k] = v
	}
	return object{"policy": p, "tags": object{"a": "b"}}
}

// cer is the certificate of an answer.
func (a answer) cer(t *testing.T) *x509.Certificate {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(a.text("cer"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
	return cert
}

func TestASelfSignedCertificateIsMadeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := keyVault(t)
		do := func(method, path string, body any) answer { return f.as(admin, method, path, body) }
		begun := do("POST", "/certificates/c/create", asked("Self", nil)).want(t, 202, "", "")
		if begun.text("status") != "inProgress" || begun.text("id") != "https://kv-one.vault.test/certificates/c/pending" || len(begun.text("request_id")) != 32 || !strings.Contains(begun.Header().Get("Location"), begun.text("request_id")) {
			t.Errorf("got %s", begun.Body)
		}
		if der, err := base64.StdEncoding.DecodeString(begun.text("csr")); err != nil {
			t.Error(err)
		} else if csr, err := x509.ParseCertificateRequest(der); err != nil || csr.CheckSignature() != nil || csr.Subject.CommonName != "agent" {
			t.Errorf("%v: the request is for %v", err, csr)
		}
		do("POST", "/certificates/c/create", asked("Self", nil)).want(t, 409, "Conflict", "")
		do("GET", "/certificates/c/pending?request_id=other", nil).want(t, 404, "PendingCertificateNotFound", "")
		if a := do("GET", "/certificates/c", nil).want(t, 200, "", ""); a.text("cer") != "" || a.text("kid") != "" {
			t.Errorf("a certificate that is not issued yet is %s", a.Body)
		}
		do("GET", "/keys/c", nil).want(t, 404, "KeyNotFound", "")
		time.Sleep(issuing)
		done := do("GET", "/certificates/c/pending?request_id="+begun.text("request_id"), nil).want(t, 200, "", "")
		if done.text("status") != "completed" || done.text("target") != "https://kv-one.vault.test/certificates/c" {
			t.Errorf("got %s", done.Body)
		}
		got := do("GET", "/certificates/c", nil).want(t, 200, "", "")
		cert := got.cer(t)
		sum := sha1.Sum(cert.Raw)
		version := short(got.text("id"))
		attributes := got.body["attributes"].(object)
		if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
			t.Error(err)
		}
		if cert.Subject.CommonName != "agent" || cert.Subject.Organization[0] != "Contoso, Ltd" || cert.DNSNames[0] != "agent.test" || cert.KeyUsage != x509.KeyUsageDigitalSignature || cert.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
			t.Errorf("the certificate is not as the policy says: %+v", cert)
		}
		if got.text("x5t") != base64.RawURLEncoding.EncodeToString(sum[:]) || got.text("kid") != "https://kv-one.vault.test/keys/c/"+version || got.text("sid") != "https://kv-one.vault.test/secrets/c/"+version ||
			attributes["nbf"] != float64(cert.NotBefore.Unix()) || attributes["exp"] != float64(cert.NotAfter.Unix()) || got.member("tags", "a") != "b" {
			t.Errorf("got %s", got.Body)
		}

		key := do("GET", "/keys/c/"+version, nil).want(t, 200, "", "")
		if key.body["managed"] != true || key.member("key", "kid") != got.text("kid") {
			t.Errorf("its key is %s", key.Body)
		}
		digest := digestFor("ES256")
		signature := unb64u(t, do("POST", "/keys/c/"+version+"/sign", object{"alg": "ES256", "value": b64u(digest)}).want(t, 200, "", "").text("value"))
		if !ecdsa.Verify(cert.PublicKey.(*ecdsa.PublicKey), digest, number(signature[:32]), number(signature[32:])) {
			t.Error("its key does not sign for it")
		}
		secret := do("GET", "/secrets/c", nil).want(t, 200, "", "")
		if secret.text("contentType") != typePEM || secret.body["managed"] != true || secret.text("kid") != got.text("kid") || short(secret.text("id")) != version {
			t.Errorf("its secret is %s", secret.Body)
		}
		private, chain, err := readPEM([]byte(secret.text("value")))
		if err != nil || !samePublic(private.Public(), cert.PublicKey) || !chain[0].Equal(cert) {
			t.Errorf("%v: its secret holds another certificate", err)
		}

		for _, row := range [][3]string{{"PUT", "/secrets/c", "SecretManagedByKeyVault"}, {"DELETE", "/secrets/c", "SecretManagedByKeyVault"}, {"PATCH", "/secrets/c", "SecretManagedByKeyVault"}, {"POST", "/keys/c/rotate", "KeyManagedByKeyVault"}, {"POST", "/keys/c/backup", "KeyManagedByKeyVault"}, {"DELETE", "/keys/c", "KeyManagedByKeyVault"}} {
			do(row[0], row[1], object{"value": "x"}).want(t, 403, "Forbidden", row[2])
		}
		do("POST", "/keys/c/create", object{"kty": "EC"}).want(t, 403, "Forbidden", "KeyManagedByKeyVault")
	})
}

func TestACertificatesLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := keyVault(t)
		do := func(method, path string, body any) answer { return f.as(admin, method, path, body) }
		make := func(change object) answer {
			t.Helper()
			do("POST", "/certificates/c/create", asked("Self", change)).want(t, 202, "", "")
			time.Sleep(issuing)
			return do("GET", "/certificates/c", nil).want(t, 200, "", "")
		}
		first := make(nil)
		do("PATCH", "/certificates/c/policy", object{"x509_props": object{"validity_months": 3}, "key_props": object{"reuse_key": true}}).want(t, 200, "", "")
		policy := do("GET", "/certificates/c/policy", nil).want(t, 200, "", "")
		if policy.body["x509_props"].(object)["validity_months"] != 3.0 || policy.member("x509_props", "subject") == "" || policy.member("issuer", "name") != "Self" {
			t.Errorf("got %s", policy.Body)
		}
		do("PATCH", "/certificates/c/policy", object{"x509_props": object{"validity_months": 0}}).want(t, 400, "BadParameter", "")
		do("POST", "/certificates/c/create", object{}).want(t, 202, "", "") // by the policy that it has
		if a := do("GET", "/certificates/c", nil).want(t, 200, "", ""); a.text("id") != first.text("id") {
			t.Errorf("while another is made it is %s", a.text("id"))
		}
		time.Sleep(issuing)
		second := do("GET", "/certificates/c", nil).want(t, 200, "", "")
		if second.text("id") == first.text("id") || !samePublic(first.cer(t).PublicKey, second.cer(t).PublicKey) || second.cer(t).NotAfter.After(time.Now().AddDate(0, 4, 0)) {
			t.Errorf("the key is kept and the time is three months; got %s", second.Body)
		}
		if a := do("GET", "/certificates/c/versions", nil); len(a.items()) != 2 {
			t.Errorf("got %s", a.Body)
		}
		if a := do("GET", "/certificates", nil); len(a.items()) != 1 || a.items()[0].(object)["x5t"] != second.text("x5t") {
			t.Errorf("got %s", a.Body)
		}
		one := "/certificates/c/" + short(first.text("id"))
		do("PATCH", one, object{"attributes": object{"enabled": false, "exp": 5}}).want(t, 200, "", "")
		if a := do("GET", one, nil).want(t, 200, "", ""); a.body["attributes"].(object)["exp"] == 5.0 {
			t.Error("the times of a certificate are its own")
		}
		do("GET", "/secrets/c/"+short(first.text("id")), nil).want(t, 403, "Forbidden", "SecretDisabled")
		do("POST", "/keys/c/"+short(first.text("id"))+"/sign", object{"alg": "ES256", "value": b64u(digestFor("ES256"))}).want(t, 403, "Forbidden", "KeyDisabled")

		gone := do("DELETE", "/certificates/c", nil).want(t, 200, "", "")
		if gone.text("recoveryId") != "https://kv-one.vault.test/deletedcertificates/c" || gone.text("cer") == "" {
			t.Errorf("got %s", gone.Body)
		}
		for _, path := range []string{"/certificates/c", "/keys/c", "/secrets/c", "/certificates/c/pending", "/certificates/c/policy"} {
			do("GET", path, nil).want(t, 404, do("GET", path, nil).error("code"), "")
		}
		do("POST", "/deletedkeys/c/recover", nil).want(t, 403, "Forbidden", "KeyManagedByKeyVault")
		do("DELETE", "/deletedsecrets/c", nil).want(t, 403, "Forbidden", "SecretManagedByKeyVault")
		do("POST", "/certificates/c/create", asked("Self", nil)).want(t, 409, "Conflict", "ObjectIsDeletedButRecoverable")
		do("PUT", "/secrets/c", object{"value": "v"}).want(t, 409, "Conflict", "ObjectIsDeletedButRecoverable")
		do("GET", "/deletedcertificates/c", nil).want(t, 200, "", "")
		do("POST", "/deletedcertificates/c/recover", nil).want(t, 200, "", "")
		for _, path := range []string{"/certificates/c", "/keys/c", "/secrets/c"} {
			do("GET", path, nil).want(t, 200, "", "")
		}
		do("DELETE", "/certificates/c", nil).want(t, 200, "", "")
		do("DELETE", "/deletedcertificates/c", nil).want(t, 204, "", "")
		for _, path := range []string{"/deletedcertificates/c", "/deletedkeys/c", "/deletedsecrets/c"} {
			if a := do("GET", path, nil); a.Code != 404 {
				t.Errorf("%s: got %d %s", path, a.Code, a.Body)
			}
		}
		do("PUT", "/secrets/c", object{"value": "v"}).want(t, 200, "", "")
		do("POST", "/certificates/c/create", asked("Self", nil)).want(t, 409, "Conflict", "") // nor is that secret overwritten
		if a := do("GET", "/secrets/c", nil); a.text("value") != "v" {
			t.Errorf("got %s", a.Body)
		}
	})
}

func TestAKeyThatCannotBeExportedStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := keyVault(t)
		for name, contentType := range map[string]string{"pem": typePEM, "pfx": typePFX} {
			f.as(admin, "POST", "/certificates/"+name+"/create", asked("Self", object{"key_props": object{"kty": "EC", "exportable": false}, "secret_props": object{"contentType": contentType}})).want(t, 202, "", "")
			time.Sleep(issuing)
			secret := f.as(admin, "GET", "/secrets/"+name, nil).want(t, 200, "", "")
			key, _, bad := readCert(contentType, secret.text("value"), "")
			if bad == nil || key != nil || secret.text("contentType") != contentType {
				t.Errorf("%s: the secret holds the key", name)
			}
			f.as(admin, "POST", "/keys/"+name+"/sign", object{"alg": "ES256", "value": b64u(digestFor("ES256"))}).want(t, 200, "", "")
		}
	})
}

// What was made not to be exported stays so: not in a new version that keeps the key, nor by a policy that changes while a request waits.
func TestAReusedKeyIsNotLoosened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := keyVault(t)
		do := func(method, path string, body any) answer { return f.as(admin, method, path, body) }
		props := func(exportable bool) object {
			return object{"key_props": object{"kty": "EC", "exportable": exportable, "reuse_key": true}}
		}
		held := func() bool {
			t.Helper()
			return strings.Contains(do("GET", "/secrets/c", nil).want(t, 200, "", "").text("value"), "PRIVATE KEY")
		}
		do("POST", "/certificates/c/create", asked("Self", props(false))).want(t, 202, "", "")
		time.Sleep(issuing)
		do("POST", "/certificates/c/create", asked("Self", props(true))).want(t, 400, "BadParameter", "")
		do("POST", "/certificates/c/create", asked("Unknown", props(true))).want(t, 400, "BadParameter", "")
		do("PATCH", "/certificates/c/policy", props(true)).want(t, 200, "", "")
		do("POST", "/certificates/c/create", object{}).want(t, 400, "BadParameter", "")
		if held() {
			t.Error("the key has left by a refused request")
		}

		request := do("POST", "/certificates/c/create", asked("Unknown", props(false))).want(t, 202, "", "")
		do("PATCH", "/certificates/c/policy", props(true)).want(t, 200, "", "")
		do("POST", "/certificates/c/pending/merge", object{"x5c": signedFor(t, request)}).want(t, 201, "", "")
		if held() {
			t.Error("the key has left because the policy changed while the request waited")
		}

		do("POST", "/certificates/c/create", asked("Self", object{"key_props": object{"kty": "EC", "exportable": true}})).want(t, 202, "", "")
		time.Sleep(issuing)
		if !held() {
			t.Error("a new key may be exportable")
		}
		do("POST", "/certificates/c/create", asked("Self", props(true))).want(t, 202, "", "")
		time.Sleep(issuing)
		if !held() {
			t.Error("an exportable key may be kept as one")
		}
	})
}

// signedFor is the chain of one certificate for the request of an operation, by an authority of nobody's.
func signedFor(t *testing.T, begun answer) [][]byte {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(begun.text("csr"))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), RawSubject: csr.RawSubject, NotBefore: time.Now(), NotAfter: time.Now().AddDate(0, 1, 0)}
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "test CA"}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, csr.PublicKey, ca)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{leafDER}
}

func TestARequestIsMergedWithWhatAnAuthoritySigned(t *testing.T) {
	f := keyVault(t)
	do := func(method, path string, body any) answer { return f.as(certer, method, path, body) }
	begun := do("POST", "/certificates/c/create", asked("Unknown", nil)).want(t, 202, "", "")
	if begun.text("status_details") != detailsMerge {
		t.Errorf("got %s", begun.Body)
	}
	der, err := base64.StdEncoding.DecodeString(begun.text("csr"))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now(), NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
	issueFor := func(public any) [][]byte {
		t.Helper()
		rootDER, err := x509.CreateCertificate(rand.Reader, root, root, ca.Public(), ca)
		if err != nil {
			t.Fatal(err)
		}
		leaf := &x509.Certificate{SerialNumber: big.NewInt(2), RawSubject: csr.RawSubject, NotBefore: time.Now(), NotAfter: time.Now().AddDate(0, 1, 0), KeyUsage: x509.KeyUsageDigitalSignature}
		leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, public, ca)
		if err != nil {
			t.Fatal(err)
		}
		return [][]byte{leafDER, rootDER}
	}
	do("POST", "/certificates/c/pending/merge", object{"x5c": issueFor(ca.Public())}).want(t, 400, "BadParameter", "")
	do("POST", "/certificates/c/pending/merge", object{"x5c": [][]byte{{1}}}).want(t, 400, "BadParameter", "")
	chain := issueFor(csr.PublicKey)
	merged := do("POST", "/certificates/c/pending/merge", object{"x5c": chain}).want(t, 201, "", "")
	if cert := merged.cer(t); cert.Issuer.CommonName != "test CA" || string(cert.Raw) != string(chain[0]) {
		t.Errorf("got %s", merged.Body)
	}
	do("POST", "/certificates/c/pending/merge", object{"x5c": chain}).want(t, 400, "BadParameter", "")
	if a := do("GET", "/certificates/c/pending", nil); a.text("status") != "completed" {
		t.Errorf("got %s", a.Body)
	}
	if _, certs, err := readPEM([]byte(f.as(admin, "GET", "/secrets/c", nil).text("value"))); err != nil || len(certs) != 2 {
		t.Errorf("%v: the secret has %d certificates of the chain", err, len(certs))
	}
	do("POST", "/certificates/s/create", asked("Self", nil)).want(t, 202, "", "")
	do("POST", "/certificates/s/pending/merge", object{"x5c": chain}).want(t, 403, "Forbidden", "")
}

func TestARequestIsCancelledOrForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := keyVault(t)
		do := func(method, path string, body any) answer { return f.as(admin, method, path, body) }
		yes := object{"cancellation_requested": true}
		do("POST", "/certificates/c/create", asked("Self", nil)).want(t, 202, "", "")
		if a := do("PATCH", "/certificates/c/pending", yes).want(t, 200, "", ""); a.body["cancellation_requested"] != true || a.text("status") != "inProgress" {
			t.Errorf("got %s", a.Body)
		}
		time.Sleep(issuing)
		if a := do("GET", "/certificates/c/pending", nil).want(t, 200, "RequestCancelled", ""); a.text("status") != "cancelled" {
			t.Errorf("got %s", a.Body)
		}
		do("PATCH", "/certificates/c/pending", yes).want(t, 400, "BadParameter", "")
		do("GET", "/keys/c", nil).want(t, 404, "KeyNotFound", "")
		do("DELETE", "/certificates/c/pending", nil).want(t, 200, "RequestCancelled", "")
		do("GET", "/certificates/c/pending", nil).want(t, 404, "PendingCertificateNotFound", "")
		do("POST", "/certificates/c/create", asked("Unknown", nil)).want(t, 202, "", "")
		do("DELETE", "/certificates/c/pending", nil).want(t, 200, "", "")
		do("POST", "/certificates/c/create", asked("Self", nil)).want(t, 202, "", "") // a forgotten request is in nobody's way
		time.Sleep(issuing)
		if a := do("GET", "/certificates/c", nil); a.text("cer") == "" {
			t.Errorf("got %s", a.Body)
		}
		do("DELETE", "/certificates/c/pending", nil).want(t, 200, "", "")
		if a := do("GET", "/certificates/c", nil); a.text("cer") == "" {
			t.Errorf("a certificate is gone with the request that made it: %s", a.Body)
		}
	})
}

func TestImportingACertificate(t *testing.T) {
	f := keyVault(t)
	do := func(method, path string, body any) answer { return f.as(certer, method, path, body) }
	key, err := testKey()
	if err != nil {
		t.Fatal(err)
	}
	template, err := f.template(certPolicy{X509: x509Props{Subject: "CN=imported", Months: 1, KeyUsage: []string{"keyEncipherment"}}})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := selfSigned(template, key)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := encodePEM(key, []*x509.Certificate{cert})
	if err != nil {
		t.Fatal(err)
	}
	file, err := encodePFX(f.env.Random, key, []*x509.Certificate{cert})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"pem": bundle, "pfx": base64.StdEncoding.EncodeToString(file)} {
		a := do("POST", "/certificates/"+name+"/import", object{"value": value, "pwd": ""}).want(t, 200, "", "")
		if !a.cer(t).Equal(cert) || a.member("policy", "issuer", "name") != "Unknown" || a.member("policy", "x509_props", "subject") != "CN=imported" || a.body["policy"].(object)["key_props"].(object)["key_size"] != 2048.0 {
			t.Errorf("got %s", a.Body)
		}
		sealed := f.as(crypter, "POST", "/keys/"+name+"/wrapkey", object{"alg": "RSA-OAEP", "value": b64u([]byte("x"))}).want(t, 200, "", "")
		if opened, err := rsa.DecryptOAEP(sha1.New(), nil, key, unb64u(t, sealed.text("value")), nil); err != nil || string(opened) != "x" {
			t.Error(err)
		}
		f.as(crypter, "POST", "/keys/"+name+"/sign", object{"alg": "RS256", "value": b64u(digestFor("RS256"))}).want(t, 403, "Forbidden", "KeyOperationForbidden") // its key usage is another
	}
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	only, _ := encodePEM(nil, []*x509.Certificate{cert})
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strange, _ := encodePEM(other, []*x509.Certificate{cert})
	for name, value := range map[string]string{"a PKCS #1 key": pkcs1 + only, "no key": only, "another's key": strange, "nothing": "", "no base64": "%%%", "no PFX": "AAAA"} {
		if a := do("POST", "/certificates/bad/import", object{"value": value}); a.Code != 400 || a.error("code") != "BadParameter" {
			t.Errorf("%s: got %d %s", name, a.Code, a.Body)
		}
	}
	do("GET", "/certificates/bad", nil).want(t, 404, "CertificateNotFound", "")
}

func TestPoliciesThatAreRefused(t *testing.T) {
	f := keyVault(t)
	for name, change := range map[string]object{
		"an issuer that is not there":   {"issuer": object{"name": "DigiCert"}},
		"a subject without a type":      {"x509_props": object{"subject": "agent"}},
		"neither subject nor names":     {"x509_props": object{"subject": ""}},
		"a content type of another era": {"secret_props": object{"contentType": "text/plain"}},
		"an unknown key usage":          {"x509_props": object{"subject": "CN=x", "key_usage": []string{"sign"}}},
		"a usage that is no identifier": {"x509_props": object{"subject": "CN=x", "ekus": []string{"clientAuth"}}},
		"a short key":                   {"key_props": object{"kty": "RSA", "key_size": 512}},
		"a negative time":               {"x509_props": object{"subject": "CN=x", "validity_months": -1}},
		"two triggers":                  {"lifetime_actions": []object{{"trigger": object{"lifetime_percentage": 1, "days_before_expiry": 1}, "action": object{"action_type": "AutoRenew"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			f.as(certer, "POST", "/certificates/c/create", asked("Self", change)).want(t, 400, "BadParameter", f.as(certer, "POST", "/certificates/c/create", asked("Self", change)).error("inner"))
		})
	}
	f.as(certer, "GET", "/certificates/c/policy", nil).want(t, 404, "CertificateNotFound", "")
}

// What waits to be issued when the certificate is deleted is not issued beside it.
func TestADeletedCertificateIsNotIssued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := keyVault(t)
		f.as(admin, "POST", "/certificates/c/create", asked("Self", nil)).want(t, 202, "", "")
		f.as(admin, "DELETE", "/certificates/c", nil).want(t, 200, "", "")
		time.Sleep(issuing)
		f.as(admin, "GET", "/keys/c", nil).want(t, 404, "KeyNotFound", "")
		f.as(admin, "POST", "/deletedcertificates/c/recover", nil).want(t, 200, "", "")
		f.as(admin, "GET", "/keys/c", nil).want(t, 200, "", "")
	})
}

func TestAVaultTakesItsKeysAndCertificatesWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := keyVault(t)
		f.as(admin, "POST", "/certificates/c/create", asked("Self", nil)).want(t, 202, "", "")
		time.Sleep(issuing)
		f.as(admin, "GET", "/keys/c", nil).want(t, 200, "", "")
		if err := f.store.Write(func(tx replica.Tx) error {
			vault, _ := f.arm.Vault(tx.View, "kv-one")
			for _, k := range []follower{f.secrets, f.keys, f.certs} {
				k.clear(tx, incarnationOf(vault))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/certificates", "/keys", "/secrets"} {
			if a := f.as(admin, "GET", path, nil).want(t, 200, "", ""); len(a.items()) != 0 {
				t.Errorf("got %s", a.Body)
			}
		}
	})
}
