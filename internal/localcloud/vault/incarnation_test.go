package vault

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// A vault never shows the secrets of another that had its name before.
func TestSecretsStayInTheVaultTheyWerePutInto(t *testing.T) {
	f := rbacVault(t)
	err := f.store.Write(func(tx replica.Tx) error { // a deleted vault is in no group
		_, err := f.arm.Assign(tx, "/subscriptions/"+subID, "Owner", owner, "User")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	manage := func(method, path, body string) {
		t.Helper()
		r := httptest.NewRequest(method, "https://arm.test"+path+"?api-version=2024-11-01", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+f.token(owner, func(c *authority.Claims) { c.Audience = "https://management.azure.com" }))
		w := httptest.NewRecorder()
		f.arm.ServeHTTP(w, r)
		if w.Code >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
	stored := func() (n int) {
		f.store.Primary(func(v replica.View) { n = len(f.secrets.table.All(v)) })
		return n
	}
	create := func(mode string) {
		t.Helper()
		manage("PUT", vaultID, `{"location":"eastus","properties":{"tenantId":"`+tenantID+`","sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true,"createMode":"`+mode+`"}}`)
		err := f.store.Write(func(tx replica.Tx) error {
			_, err := f.arm.Assign(tx, vaultID, "Key Vault Secrets Officer", officer, "User")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	f.as(officer, "PUT", "/secrets/old", object{"value": "canary"}).want(t, 200, "", "")
	manage("DELETE", vaultID, "")
	f.as(officer, "GET", "/secrets/old", nil).want(t, 404, "VaultNotFound", "")
	create("recover")
	if got := f.as(officer, "GET", "/secrets/old", nil).want(t, 200, "", ""); got.text("value") != "canary" {
		t.Error(got.Body)
	}
	manage("DELETE", vaultID, "")
	manage("POST", "/subscriptions/"+subID+"/providers/Microsoft.KeyVault/locations/eastus/deletedVaults/kv-one/purge", "")
	if n := stored(); n != 0 {
		t.Errorf("%d secrets outlive the purge of their vault", n)
	}
	create("default")
	f.as(officer, "GET", "/secrets/old", nil).want(t, 404, "SecretNotFound", "")
	f.as(officer, "PUT", "/secrets/new", object{"value": "x"}).want(t, 200, "", "")
	if err := f.store.Write(func(tx replica.Tx) error { f.Plant(tx, "kv-one", "planted", "y"); return nil }); err != nil {
		t.Fatal(err)
	}
	if items := f.as(officer, "GET", "/secrets", nil).want(t, 200, "", "").items(); len(items) != 2 {
		t.Error(items)
	}
	f.as(officer, "DELETE", "/secrets/new", nil).want(t, 200, "", "")
	f.as(officer, "DELETE", "/deletedsecrets/new", nil).want(t, 204, "", "")
	if n := stored(); n != 1 {
		t.Errorf("%d secrets are left", n)
	}
}
