package graph

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func TestPasswords(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	id, _, sp := u.makeApp("bot")
	for _, at := range []string{"applications/" + id, "servicePrincipals/" + sp} {
		a := u.post(at+"/addPassword", nil).is(200)
		secret := a.str("secretText")
		if len(secret) != 40 || secret[3:6] != "8Q~" || a.str("hint") != secret[:3] || a.body["displayName"] != nil {
			t.Error(a.text)
		}
		start, _ := time.Parse(time.RFC3339, a.str("startDateTime"))
		end, _ := time.Parse(time.RFC3339, a.str("endDateTime"))
		if !end.Equal(start.AddDate(2, 0, 0)) {
			t.Error(start, end)
		}
		got := u.get(at).is(200)
		if list := got.list("passwordCredentials"); len(list) != 1 || list[0]["secretText"] != nil || strings.Contains(got.text, secret) {
			t.Error(got.text)
		}
		keyID := a.str("keyId")
		u.post(at+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "p", "endDateTime": "2020-01-01T00:00:00Z"}}).is(400)
		u.post(at+"/addPassword", map[string]any{"passwordCredential": map[string]any{"endDateTime": "tomorrow"}}).is(400)
		u.patch(at, map[string]any{"passwordCredentials": []any{map[string]any{"displayName": "new"}}}).is(400, "Request_BadRequest: New password credentials must be generated using service actions.")
		u.post(at+"/removePassword", map[string]any{"keyId": "none"}).is(400, "Request_BadRequest: No password credential found with keyId")
		u.post(at+"/removePassword", map[string]any{"keyId": keyID}).is(204)
		if list := u.get(at).is(200).list("passwordCredentials"); len(list) != 0 {
			t.Error(list)
		}
		u.post(at+"/addPassword", nil).is(200)
		u.patch(at, map[string]any{"passwordCredentials": []any{}}).is(204)
		if list := u.get(at).is(200).list("passwordCredentials"); len(list) != 0 {
			t.Error("an empty list removes them:", list)
		}
	}
}

func TestReplaceKeys(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	id, _, sp := u.makeApp("bot")
	one, two := fresh(t, 0), fresh(t, 1)
	for _, at := range []string{"applications/" + id, "servicePrincipals/" + sp} {
		patch := func(keys ...map[string]any) answer {
			return u.patch(at, map[string]any{"keyCredentials": append([]map[string]any{}, keys...)})
		}
		patch(keyBody(one)).is(204)
		read := func() []map[string]any { return u.get(at).is(200).list("keyCredentials") }
		keys := read()
		sum := sha1.Sum(one.der)
		if len(keys) != 1 || keys[0]["key"] != nil || keys[0]["customKeyIdentifier"] != base64.StdEncoding.EncodeToString(sum[:]) || keys[0]["keyId"] == nil {
			t.Fatal(keys)
		}
		if with := u.get(at + "?$select=keyCredentials").is(200).list("keyCredentials"); with[0]["key"] != one.b64() {
			t.Error("the key is given when selected:", with)
		}
		if listed := u.get(strings.SplitN(at, "/", 2)[0] + "?$select=id,keyCredentials").is(200); strings.Contains(listed.text, one.b64()) {
			t.Error("the key is in a list")
		}

		second := keyBody(two)
		second["keyId"] = "ABCDEF00-0000-4000-8000-000000000001" // the client chooses, as Azure CLI does
		patch(keys[0], second).is(204)
		both := read()
		if len(both) != 2 || both[1]["keyId"] != "abcdef00-0000-4000-8000-000000000001" {
			t.Fatal(both)
		}
		rows := []struct {
			sentence string
			change   map[string]any
			status   int
			problem  string
		}{
			{"an entry may be sent back as read", nil, 204, ""},
			{"the key of an entry may be sent back", map[string]any{"key": one.b64()}, 204, ""},
			{"another key under the same id is refused", map[string]any{"key": two.b64()}, 400, "Request_BadRequest: Update to existing credential with KeyId '"},
			{"another end under the same id is refused", map[string]any{"endDateTime": "2027-01-01T00:00:00Z"}, 400, "Request_BadRequest: Update to existing credential with KeyId '"},
			{"another name under the same id is refused", map[string]any{"displayName": "x"}, 400, "Request_BadRequest: Update to existing credential with KeyId '"},
			{"no usage is refused, even of an entry that exists", map[string]any{"usage": nil}, 400, `Request_BadRequest: The value for the property "usage" in one of your credentials is invalid. Acceptable values are Sign, Verify.`},
			{"an id that is no GUID is refused", map[string]any{"keyId": "x"}, 400, `Request_BadRequest: The value for the property "keyId"`},
			{"a new entry without a key is refused", map[string]any{"keyId": "11111111-0000-4000-8000-000000000000"}, 400, `Request_BadRequest: The value for the property "key"`},
			{"an id given twice is refused", map[string]any{"keyId": both[1]["keyId"]}, 400, `Request_BadRequest: The value for the property "keyId"`},
		}
		for _, r := range rows {
			t.Run(r.sentence, func(t *testing.T) {
				first := map[string]any{}
				for k, v := range both[0] {
					first[k] = v
				}
				for k, v := range r.change {
					first[k] = v
				}
				patch(first, both[1]).is(r.status, r.problem)
			})
		}
		patch(both[1]).is(204) // what is left out is gone, whoever added it
		if left := read(); len(left) != 1 || left[0]["keyId"] != both[1]["keyId"] {
			t.Error(left)
		}
		patch().is(204)
		if left := read(); len(left) != 0 {
			t.Error(left)
		}
	}
}

func TestNewKey(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	now := time.Now()
	good := fresh(t, 0)
	old := makeCert(t, 1, now.AddDate(-2, 0, 0), now.AddDate(-1, 0, 0))
	lines := good.b64()[:64] + "\n" + good.b64()[64:128] + "\r\n" + good.b64()[128:]
	inPEM := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good.der}))
	private := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	rows := []struct {
		sentence string
		change   map[string]any
		status   int
		problem  string
	}{
		{"a certificate is taken", nil, 201, ""},
		{"base64 with line breaks is taken", map[string]any{"key": lines}, 201, ""},
		{"base64 of PEM is taken", map[string]any{"key": inPEM}, 201, ""},
		{"times inside the certificate's are taken", map[string]any{"startDateTime": at(now), "endDateTime": at(now.AddDate(0, 1, 0))}, 201, ""},
		{"an identifier in hex is kept", map[string]any{"customKeyIdentifier": strings.Repeat("AB", 20)}, 201, ""},
		{"a later end than the certificate's is refused", map[string]any{"endDateTime": at(now.AddDate(2, 0, 0))}, 400, "KeyCredentialsInvalidEndDate: Key credential end date is invalid."},
		{"an earlier start than the certificate's is refused", map[string]any{"startDateTime": at(now.AddDate(-1, 0, 0))}, 400, "KeyCredentialsInvalidStartDate: Key credential start date is invalid."},
		{"an end before the start is refused", map[string]any{"startDateTime": at(now.AddDate(0, 2, 0)), "endDateTime": at(now.AddDate(0, 1, 0))}, 400, "KeyCredentialsInvalidEndDate"},
		{"a certificate that has expired is refused", map[string]any{"key": old.b64()}, 400, "KeyCredentialsInvalidEndDate"},
		{"a time that is none is refused", map[string]any{"endDateTime": "soon"}, 400, `Request_BadRequest: The value for the property "endDateTime"`},
		{"text that is no certificate is refused", map[string]any{"key": "aGVsbG8="}, 400, `Request_BadRequest: The value for the property "key"`},
		{"text that is no base64 is refused", map[string]any{"key": "***"}, 400, `Request_BadRequest: The value for the property "key"`},
		{"a private key is refused", map[string]any{"key": private}, 400, `Request_BadRequest: The value for the property "key"`},
		{"a certificate with a private key is refused", map[string]any{"type": "X509CertAndPassword"}, 400, `Request_BadRequest: The value for the property "type" in one of your credentials is invalid.`},
		{"no type is refused", map[string]any{"type": nil}, 400, `Request_BadRequest: The value for the property "type"`},
		{"another usage is refused", map[string]any{"usage": "Encrypt"}, 400, `Request_BadRequest: The value for the property "usage"`},
		{"a long identifier is refused", map[string]any{"customKeyIdentifier": strings.Repeat("AAAA", 20)}, 400, `Request_BadRequest: The value for the property "customKeyIdentifier"`},
	}
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) {
			key := keyBody(good)
			for k, v := range r.change {
				key[k] = v
			}
			u.post("applications", map[string]any{"displayName": "bot", "keyCredentials": []any{key}}).is(r.status, r.problem)
		})
	}
}

// jwt signs a proof; change edits header and claims before.
func jwt(t testing.TB, by cert, issuer string, change func(header, claims map[string]any)) string {
	t.Helper()
	sum := sha1.Sum(by.der)
	now := time.Now().Unix()
	header := map[string]any{"alg": "RS256", "typ": "JWT", "x5t": base64.RawURLEncoding.EncodeToString(sum[:])}
	claims := map[string]any{"aud": directory.AADGraphAppID, "iss": issuer, "nbf": now, "exp": now + 600}
	if change != nil {
		change(header, claims)
	}
	h, _ := json.Marshal(header)
	p, _ := json.Marshal(claims)
	input := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(p)
	digest := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, by.key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestRollKeys(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	id, appID, sp := u.makeApp("bot")
	now := time.Now()
	mine, next, foreign := fresh(t, 0), fresh(t, 1), fresh(t, 2)
	twin := makeCert(t, 0, now.Add(-2*time.Hour), now.AddDate(1, 0, 0)) // another certificate of the same key
	u.patch("applications/"+id, map[string]any{"keyCredentials": []any{keyBody(mine)}}).is(204)
	u.patch("servicePrincipals/"+sp, map[string]any{"keyCredentials": []any{keyBody(mine)}}).is(204)
	self := c.as(sp, appID)
	self.get("applications/"+id).is(403, "Authorization_RequestDenied")
	self.patch("applications/"+id, map[string]any{"keyCredentials": []any{}}).is(403, "Authorization_RequestDenied")

	edit := func(k string, v any) func(_, claims map[string]any) {
		return func(_, claims map[string]any) { claims[k] = v }
	}
	head := func(k string, v any) func(header, _ map[string]any) {
		return func(header, _ map[string]any) { header[k] = v }
	}
	good := jwt(t, mine, id, nil)
	rows := []struct {
		sentence, proof string
		problem         string
	}{
		{"padding is malformed", good + "=", "Authentication_MissingOrMalformed"},
		{"two parts are malformed", "a.b", "Authentication_MissingOrMalformed"},
		{"no proof is malformed", "", "Authentication_MissingOrMalformed"},
		{"no thumbprint is malformed", jwt(t, mine, id, head("x5t", "")), "Authentication_MissingOrMalformed"},
		{"another audience is refused", jwt(t, mine, id, edit("aud", "https://graph.microsoft.com")), "Authentication_Unauthorized: The proof of possession is not valid: its audience"},
		{"the app id as issuer is refused", jwt(t, mine, appID, nil), "Authentication_Unauthorized: The proof of possession is not valid: its issuer"},
		{"a longer life than ten minutes is refused", jwt(t, mine, id, edit("exp", now.Unix()+660)), "Authentication_Unauthorized: The proof of possession is not valid: it is valid for more"},
		{"an expired proof is refused", jwt(t, mine, id, func(_, c map[string]any) { c["nbf"], c["exp"] = now.Unix()-700, now.Unix()-100 }), "Authentication_ExpiredToken"},
		{"a proof of tomorrow is refused", jwt(t, mine, id, func(_, c map[string]any) { c["nbf"], c["exp"] = now.Unix()+86400, now.Unix()+87000 }), "Authentication_Unauthorized: The proof of possession is not valid: it is not valid yet"},
		{"a foreign certificate is refused", jwt(t, foreign, id, nil), "Authentication_Unauthorized: The proof of possession is not valid: no valid certificate"},
		{"the certificate to be added does not prove itself", jwt(t, next, id, nil), "Authentication_Unauthorized"},
		{"another certificate of the same key is refused", jwt(t, twin, id, nil), "Authentication_Unauthorized"},
		{"another algorithm is refused", jwt(t, mine, id, head("alg", "PS256")), "Authentication_Unauthorized: The proof of possession is not valid: its algorithm"},
		{"another algorithm of none is refused", jwt(t, mine, id, head("alg", "none")), "Authentication_Unauthorized"},
		{"a changed claim is refused", strings.Replace(good, strings.Split(good, ".")[1], strings.Split(jwt(t, mine, id, edit("exp", now.Unix()+1)), ".")[1], 1), "Authentication_Unauthorized"},
	}
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) {
			body := map[string]any{"keyCredential": keyBody(next), "passwordCredential": nil, "proof": r.proof}
			self.post("applications/"+id+"/addKey", body).is(401, r.problem)
			u.post("applications/"+id+"/addKey", body).is(401, r.problem) // an administrator needs the proof too
			self.post("applications/"+id+"/removeKey", map[string]any{"keyId": "x", "proof": r.proof}).is(401, r.problem)
		})
	}
	t.Run("an unknown key to remove is refused", func(t *testing.T) {
		self.post("applications/"+id+"/removeKey", map[string]any{"keyId": "none", "proof": good}).is(400, "Request_BadRequest: No key credential found with keyId 'none'.")
	})
	t.Run("another application may not use the proof", func(t *testing.T) {
		c.app().post("applications/"+id+"/addKey", map[string]any{"keyCredential": keyBody(next), "proof": good}).is(403, "Authorization_RequestDenied")
	})
	for _, at := range []struct{ path, id string }{{"applications/" + id, id}, {"servicePrincipals/" + sp, sp}} {
		t.Run("an identity rolls its own key at "+strings.SplitN(at.path, "/", 2)[0], func(t *testing.T) {
			first := u.get(at.path).is(200).list("keyCredentials")[0]["keyId"]
			added := self.post(at.path+"/addKey", map[string]any{"keyCredential": keyBody(next), "proof": jwt(t, mine, at.id, nil)}).is(200)
			if added.body["key"] != nil || added.str("@odata.type") != "#microsoft.graph.keyCredential" {
				t.Error(added.text)
			}
			s256 := sha256.Sum256(next.der)
			byNew := jwt(t, next, at.id, func(h, _ map[string]any) {
				delete(h, "x5t")
				h["x5t#S256"] = base64.StdEncoding.EncodeToString(s256[:])
			})
			self.post(at.path+"/removeKey", map[string]any{"keyId": first, "proof": byNew}).is(204)
			if left := u.get(at.path).is(200).list("keyCredentials"); len(left) != 1 || left[0]["keyId"] != added.str("keyId") {
				t.Error(left)
			}
			self.post(at.path+"/addKey", map[string]any{"keyCredential": keyBody(next), "proof": jwt(t, mine, at.id, nil)}).is(401, "Authentication_Unauthorized")
		})
	}
}

// TestProofUnderLag shows that a proof by a key just added is refused where the key is not known yet.
func TestProofUnderLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloud(t)
		u := c.app("Application.ReadWrite.All")
		id, appID, sp := u.makeApp("bot")
		mine, next := fresh(t, 0), fresh(t, 1)
		u.patch("applications/"+id, map[string]any{"keyCredentials": []any{keyBody(mine)}}).is(204)
		self := c.as(sp, appID)
		c.dir.Store.SetLag(replica.Graph, time.Minute)
		self.post("applications/"+id+"/addKey", map[string]any{"keyCredential": keyBody(next), "proof": jwt(t, mine, id, nil)}).is(200)
		early := 0
		for range 20 {
			if a := self.post("applications/"+id+"/removeKey", map[string]any{"keyId": "none", "proof": jwt(t, next, id, nil)}); a.status == 401 {
				early++
			}
		}
		if early == 0 {
			t.Error("no replica lagged")
		}
		time.Sleep(time.Minute)
		for range 20 {
			self.post("applications/"+id+"/removeKey", map[string]any{"keyId": "none", "proof": jwt(t, next, id, nil)}).is(400)
		}
		time.Sleep(370 * 24 * time.Hour) // both certificates have expired
		self = c.as(sp, appID)
		self.post("applications/"+id+"/addKey", map[string]any{"keyCredential": keyBody(next), "proof": jwt(t, next, id, nil)}).is(401, "Authentication_Unauthorized: The proof of possession is not valid: no valid certificate")
	})
}

func TestPolicies(t *testing.T) {
	c := newCloud(t)
	u, keeper := c.app("Application.ReadWrite.All"), c.app("Policy.ReadWrite.ApplicationConfiguration")
	id, _, sp := u.makeApp("bot")
	later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	year := map[string]any{"keyCredentials": []any{keyBody(fresh(t, 0))}}

	u.post("applications/"+id+"/addPassword", nil).is(200)
	restrict := func(list ...map[string]any) map[string]any {
		return map[string]any{"isEnabled": true, "applicationRestrictions": map[string]any{"passwordCredentials": list, "keyCredentials": list}}
	}
	keeper.patch("policies/defaultAppManagementPolicy", restrict(map[string]any{"restrictionType": "passwordAddition", "state": "enabled"}, map[string]any{"restrictionType": "asymmetricKeyLifetime", "maxLifetime": "P90D", "state": "enabled"})).is(204)
	u.post("applications/"+id+"/addPassword", nil).is(400, "CredentialTypeNotAllowedAsPerAppPolicy: Credential type not allowed as per assigned policy '"+defaultPolicyID+"'.")
	long := u.patch("applications/"+id, year).is(400, "CredentialInvalidLifetimeAsPerAppPolicy: Credential lifetime exceeds the max value allowed as per assigned policy '"+defaultPolicyID+"'.")
	if d := long.body["error"].(map[string]any)["details"].([]any)[0].(map[string]any); d["code"] != "InvalidKeyEndDate" || d["target"] != "EndDate" {
		t.Error(d)
	}
	short := keyBody(fresh(t, 0))
	short["endDateTime"] = time.Now().AddDate(0, 1, 0).UTC().Format(time.RFC3339)
	u.patch("applications/"+id, map[string]any{"keyCredentials": []any{short}}).is(204)
	u.post("servicePrincipals/"+sp+"/addPassword", nil).is(200) // has restrictions of its own
	if kept := u.get("applications/" + id).is(200).list("passwordCredentials"); len(kept) != 1 {
		t.Error("existing credentials stay:", kept)
	}

	p := keeper.post("policies/appManagementPolicies", map[string]any{"displayName": "loose", "isEnabled": true, "restrictions": map[string]any{"passwordCredentials": []any{
		map[string]any{"restrictionType": "passwordLifetime", "maxLifetime": "P4DT12H30M5S", "state": "enabled"},
		map[string]any{"restrictionType": "passwordAddition", "state": "enabled", "restrictForAppsCreatedAfterDateTime": later}}}}).is(201).str("id")
	ref := map[string]any{"@odata.id": host + "/v1.0/policies/appManagementPolicies/" + p}
	keeper.post("applications/"+id+"/appManagementPolicies/$ref", ref).is(204)
	keeper.post("applications/"+id+"/appManagementPolicies/$ref", ref).is(400, "Request_BadRequest: One or more added object references already exist")
	if list := keeper.get("applications/" + id + "/appManagementPolicies").is(200).value(); len(list) != 1 || list[0]["id"] != p {
		t.Error(list)
	}
	u.patch("applications/"+id, map[string]any{"keyCredentials": []any{keyBody(fresh(t, 0))}}).is(204) // the default is overridden
	u.post("applications/"+id+"/addPassword", nil).is(400, "CredentialInvalidLifetimeAsPerAppPolicy: Credential lifetime exceeds the max value allowed as per assigned policy '"+p+"'.")
	u.post("applications/"+id+"/addPassword", map[string]any{"passwordCredential": map[string]any{"endDateTime": time.Now().AddDate(0, 0, 4).UTC().Format(time.RFC3339)}}).is(200)
	keeper.patch("policies/appManagementPolicies/"+p, map[string]any{"isEnabled": false}).is(204)
	u.post("applications/"+id+"/addPassword", nil).is(400, "CredentialTypeNotAllowedAsPerAppPolicy")
	keeper.del("applications/" + id + "/appManagementPolicies/" + p + "/$ref").is(204)
	keeper.del("applications/" + id + "/appManagementPolicies/" + p + "/$ref").is(400)
	keeper.get("policies/appManagementPolicies/" + p).is(200)
	if list := keeper.get("policies/appManagementPolicies").is(200).value(); len(list) != 1 {
		t.Error(list)
	}
	keeper.del("policies/appManagementPolicies/" + p).is(204)
	keeper.get("policies/appManagementPolicies/" + p).is(404)
	keeper.post("policies/appManagementPolicies", map[string]any{"displayName": "x", "restrictions": map[string]any{"keyCredentials": []any{map[string]any{"restrictionType": "asymmetricKeyLifetime", "maxLifetime": "90 days"}}}}).is(400, "Request_BadRequest: Invalid value specified for property 'maxLifetime'")
	if got := keeper.get("policies/defaultAppManagementPolicy").is(200); got.str("id") != defaultPolicyID || got.body["isEnabled"] != true {
		t.Error(got.text)
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"P90D": 90 * 24 * time.Hour, "PT1H": time.Hour, "P4DT12H30M5S": 108*time.Hour + 30*time.Minute + 5*time.Second, "P": -1, "PT": -1, "P1Y": -1, "90D": -1, "P1DT": -1, "": -1} {
		if got, ok := duration(text); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q is %v %v", text, got, ok)
		}
	}
}

func FuzzProof(f *testing.F) {
	mine := fresh(f, 0)
	f.Add(jwt(f, mine, "11111111-1111-4111-8111-111111111111", nil))
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJuYmYiOjEsImV4cCI6MmU5fQ.")
	keys := []directory.KeyCredential{{Type: certificate, Usage: "Verify", StartDateTime: time.Now().Add(-time.Hour), EndDateTime: time.Now().Add(time.Hour), Key: fresh(f, 1).der}}
	f.Fuzz(func(t *testing.T, token string) {
		p, err := parseProof(token)
		if err != nil {
			return
		}
		if p.check(p.issuer, keys, time.Now()) == nil {
			t.Fatalf("%q was signed by nobody and is taken", token)
		}
	})
}

func FuzzKeyCredential(f *testing.F) {
	good := fresh(f, 0)
	body, _ := json.Marshal(keyBody(good))
	f.Add(string(body))
	f.Add(`{"usage":"Verify","type":"Symmetric","key":"LS0tLS1CRUdJTiB4LS0tLS0="}`)
	c := newCloud(f)
	f.Fuzz(func(t *testing.T, text string) {
		var in keyInput
		if json.Unmarshal([]byte(text), &in) != nil || in.prepare() != nil {
			return
		}
		a := directory.Application{}
		c.dir.Store.Primary(func(v replica.View) {
			keys, err := c.s.replaceKeys(v, holderOf(&a), []keyInput{in})
			if err != nil {
				return
			}
			// What was stored and shown can be sent back unchanged.
			shown, _ := json.Marshal(encodeKey(keys[0], true))
			var again keyInput
			if err := json.Unmarshal(shown, &again); err != nil {
				t.Fatal(err)
			}
			a.KeyCredentials = keys
			if err := again.prepare(); err != nil {
				t.Fatalf("%s: %v", shown, err)
			}
			if _, err := c.s.replaceKeys(v, holderOf(&a), []keyInput{again}); err != nil {
				t.Fatalf("%s: %v", shown, err)
			}
		})
	})
}
