package clients

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
)

// TestGoSDKKeyVault drives vaults and the secrets in them.
func TestGoSDKKeyVault(t *testing.T) {
	t.Parallel()
	g := startGo(t)
	t.Run("vaults", g.vaults)
	t.Run("secrets", g.secrets)
	t.Run("challenge", g.challenge)
}

func (g *goSDK) vaults(t *testing.T) {
	ctx, subscription := t.Context(), g.env["AZURE_SUBSCRIPTION_ID"]
	c, err := armkeyvault.NewVaultsClient(subscription, g.operator, g.arm())
	must(t, err)
	wish := armkeyvault.VaultCreateOrUpdateParameters{Location: to.Ptr("eastus"), Properties: &armkeyvault.VaultProperties{
		TenantID: to.Ptr(g.tenant()), SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNameStandard)},
		AccessPolicies: []*armkeyvault.AccessPolicyEntry{}, EnableRbacAuthorization: to.Ptr(true), SoftDeleteRetentionInDays: to.Ptr[int32](7),
	}}
	free := func(want bool) error {
		r, err := c.CheckNameAvailability(ctx, armkeyvault.VaultCheckNameAvailabilityParameters{Name: to.Ptr("kv-go"), Type: to.Ptr("Microsoft.KeyVault/vaults")}, nil)
		if err != nil {
			return err
		}
		return is(*r.NameAvailable == want, "available: %v", *r.NameAvailable)
	}
	create := func() (armkeyvault.Vault, error) {
		p, err := c.BeginCreateOrUpdate(ctx, "polyclaw-rg", "kv-go", wish, nil)
		if err != nil {
			return armkeyvault.Vault{}, err
		}
		r, err := p.PollUntilDone(ctx, quickly)
		return r.Vault, err
	}
	g.Operation(t, "armkeyvault.VaultsClient.CheckNameAvailability of a free name", func() error { return free(true) })
	made := result(t, g, "armkeyvault.VaultsClient.BeginCreateOrUpdate", create)
	g.Operation(t, "armkeyvault.VaultsClient.CheckNameAvailability of a taken name", func() error { return free(false) })
	g.Operation(t, "armkeyvault.VaultsClient.Get", func() error {
		r, err := c.Get(ctx, "polyclaw-rg", "kv-go", nil)
		if err != nil {
			return err
		}
		return is(*r.Properties.EnableRbacAuthorization && *r.Properties.VaultURI == *made.Properties.VaultURI, "it is %+v", r.Properties)
	})
	g.Operation(t, "armkeyvault.VaultsClient.NewListByResourceGroupPager", func() error {
		all, err := pages(ctx, c.NewListByResourceGroupPager("polyclaw-rg", nil))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) == 2, "it lists %d", len(all[0].Value))
	})
	g.Operation(t, "armkeyvault.VaultsClient.Update of the tags", func() error {
		r, err := c.Update(ctx, "polyclaw-rg", "kv-go", armkeyvault.VaultPatchParameters{Tags: map[string]*string{"made": to.Ptr("by Go")}}, nil)
		if err != nil {
			return err
		}
		return is(*r.Tags["made"] == "by Go", "it is %+v", r.Vault)
	})
	g.Operation(t, "armkeyvault.VaultsClient.Delete", func() error {
		_, err := c.Delete(ctx, "polyclaw-rg", "kv-go", nil)
		return err
	})
	g.Operation(t, "armkeyvault.VaultsClient.GetDeleted", func() error {
		r, err := c.GetDeleted(ctx, "kv-go", "eastus", nil)
		if err != nil {
			return err
		}
		return is(*r.Properties.VaultID == *made.ID && r.Properties.ScheduledPurgeDate.After(time.Now()), "it is %+v", r.Properties)
	})
	g.Operation(t, "armkeyvault.VaultsClient.NewListDeletedPager", func() error {
		all, err := pages(ctx, c.NewListDeletedPager(nil))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) == 1 && *all[0].Value[0].Name == "kv-go", "it lists %d", len(all[0].Value))
	})
	g.Refused(t, "armkeyvault.VaultsClient.BeginCreateOrUpdate under the name of a deleted one", "ConflictError", func() error {
		_, err := create()
		return err
	})
	g.Operation(t, "armkeyvault.VaultsClient.BeginPurgeDeleted", func() error {
		p, err := c.BeginPurgeDeleted(ctx, "kv-go", "eastus", nil)
		if err != nil {
			return err
		}
		_, err = p.PollUntilDone(ctx, quickly)
		return err
	})
	g.Refused(t, "armkeyvault.VaultsClient.GetDeleted of a purged one", "DeletedVaultNotFound", func() error {
		_, err := c.GetDeleted(ctx, "kv-go", "eastus", nil)
		return err
	})
	g.Refused(t, "armkeyvault.VaultsClient.Get of one that is not there", "ResourceNotFound", func() error {
		_, err := c.Get(ctx, "polyclaw-rg", "kv-go", nil)
		return err
	})
}

// vaultID is the vault of the seed in role-based mode.
func (g *goSDK) vaultID() string {
	return g.group() + "/providers/Microsoft.KeyVault/vaults/kv-polyclaw"
}

// secretsOf is a client of the seed's vault. The name of a local vault does not end in the challenge's resource, as the SDK wants it.
func (g *goSDK) secretsOf(cred azcore.TokenCredential) (*azsecrets.Client, error) {
	return azsecrets.NewClient(g.env["LEASTKEY_VAULT_KV_POLYCLAW"], cred, &azsecrets.ClientOptions{ClientOptions: g.options(), DisableChallengeResourceVerification: true})
}

func (g *goSDK) secrets(t *testing.T) {
	ctx := t.Context()
	officer, user, nobody := g.app(t, "go-officer", time.Hour), g.app(t, "go-user", time.Hour), g.app(t, "go-nobody", time.Hour)
	must(t, g.assign(ctx, g.vaultID(), secretsOfficerRole, officer.principal))
	must(t, g.assign(ctx, g.vaultID()+"/secrets/go", secretsUserRole, user.principal))
	c, err := g.secretsOf(officer.cred)
	must(t, err)
	first := result(t, g, "azsecrets.Client.SetSecret", func() (azsecrets.SetSecretResponse, error) {
		r, err := c.SetSecret(ctx, "go", azsecrets.SetSecretParameters{Value: to.Ptr("one"), ContentType: to.Ptr("text/plain"), Tags: map[string]*string{"made": to.Ptr("by Go")}}, nil)
		if err == nil {
			err = is(r.ID.Name() == "go" && len(r.ID.Version()) == 32, "its id is %s", *r.ID)
		}
		return r, err
	})
	g.Operation(t, "azsecrets.Client.SetSecret of a second version", func() error {
		r, err := c.SetSecret(ctx, "go", azsecrets.SetSecretParameters{Value: to.Ptr("two")}, nil)
		if err != nil {
			return err
		}
		return is(r.ID.Version() != first.ID.Version(), "it has the first version")
	})
	g.Operation(t, "azsecrets.Client.GetSecret of the newest version", func() error {
		r, err := c.GetSecret(ctx, "go", "", nil)
		if err != nil {
			return err
		}
		return is(*r.Value == "two" && *r.Attributes.Enabled, "it is %s, %+v", *r.ID, r.Attributes)
	})
	g.Operation(t, "azsecrets.Client.GetSecret of a version", func() error {
		r, err := c.GetSecret(ctx, "go", first.ID.Version(), nil)
		if err != nil {
			return err
		}
		return is(*r.Value == "one" && *r.ContentType == "text/plain" && *r.Tags["made"] == "by Go", "it is %s", *r.ID)
	})
	g.Operation(t, "azsecrets.Client.GetSecret by a role on this one secret", func() error {
		c, err := g.secretsOf(user.cred)
		if err != nil {
			return err
		}
		r, err := c.GetSecret(ctx, "go", "", nil)
		if err != nil {
			return err
		}
		return is(*r.Value == "two", "it is %s", *r.ID)
	})
	g.Operation(t, "azsecrets.Client.NewListSecretPropertiesVersionsPager", func() error {
		all, err := pages(ctx, c.NewListSecretPropertiesVersionsPager("go", nil))
		if err != nil {
			return err
		}
		return is(len(all[0].Value) == 2, "it lists %d", len(all[0].Value))
	})
	g.Operation(t, "azsecrets.Client.UpdateSecretProperties disables a version", func() error {
		r, err := c.UpdateSecretProperties(ctx, "go", first.ID.Version(), azsecrets.UpdateSecretPropertiesParameters{SecretAttributes: &azsecrets.SecretAttributes{Enabled: to.Ptr(false)}}, nil)
		if err != nil {
			return err
		}
		return is(!*r.Attributes.Enabled, "it is %+v", r.Attributes)
	})
	g.Refused(t, "azsecrets.Client.GetSecret of a disabled version", "SecretDisabled", func() error {
		_, err := c.GetSecret(ctx, "go", first.ID.Version(), nil)
		return err
	})
	for i := range 30 { // a page of Key Vault holds 25
		_, err := c.SetSecret(ctx, fmt.Sprintf("many-%02d", i), azsecrets.SetSecretParameters{Value: to.Ptr("x")}, nil)
		must(t, err)
	}
	g.Operation(t, "azsecrets.Client.NewListSecretPropertiesPager over two pages", func() error {
		all, err := pages(ctx, c.NewListSecretPropertiesPager(nil))
		n := 0
		for _, p := range all {
			n += len(p.Value)
		}
		if err != nil {
			return err
		}
		return is(n == 31 && len(all) == 2, "it lists %d on %d pages", n, len(all))
	})
	g.deletedSecrets(t, c)
	for _, row := range []struct {
		name, code string
		f          func() error
	}{
		{"GetSecret without a role", "ForbiddenByRbac", func() error {
			theirs, err := g.secretsOf(nobody.cred)
			if err != nil {
				return err
			}
			_, err = theirs.GetSecret(ctx, "go", "", nil)
			return err
		}},
		{"GetSecret of another one than the role is for", "ForbiddenByRbac", func() error {
			theirs, err := g.secretsOf(user.cred)
			if err != nil {
				return err
			}
			_, err = theirs.GetSecret(ctx, "many-01", "", nil)
			return err
		}},
		{"SetSecret by somebody who may read", "ForbiddenByRbac", func() error {
			theirs, err := g.secretsOf(user.cred)
			if err != nil {
				return err
			}
			_, err = theirs.SetSecret(ctx, "go", azsecrets.SetSecretParameters{Value: to.Ptr("x")}, nil)
			return err
		}},
		{"GetSecret of one that is not there", "SecretNotFound", func() error {
			_, err := c.GetSecret(ctx, "nothing", "", nil)
			return err
		}},
		{"SetSecret with a name that is not allowed", "BadParameter", func() error {
			_, err := c.SetSecret(ctx, "under_score", azsecrets.SetSecretParameters{Value: to.Ptr("x")}, nil)
			return err
		}},
		{"GetSecret, throttled, without retries", "Throttled", func() error {
			hasty, err := azsecrets.NewClient(g.env["LEASTKEY_VAULT_KV_POLYCLAW"], officer.cred, &azsecrets.ClientOptions{ClientOptions: g.once(), DisableChallengeResourceVerification: true})
			if err != nil {
				return err
			}
			return g.Throttled(func() error {
				_, err := hasty.GetSecret(ctx, "go", "", nil)
				return err
			})
		}},
	} {
		g.Refused(t, "azsecrets.Client."+row.name, row.code, row.f)
	}
}

// deletedSecrets is the way of a secret out of the vault, and back.
func (g *goSDK) deletedSecrets(t *testing.T, c *azsecrets.Client) {
	ctx := t.Context()
	backup := result(t, g, "azsecrets.Client.BackupSecret", func() (azsecrets.BackupSecretResponse, error) {
		r, err := c.BackupSecret(ctx, "many-00", nil)
		if err == nil {
			err = is(len(r.Value) > 0, "the backup is empty")
		}
		return r, err
	})
	g.Operation(t, "azsecrets.Client.DeleteSecret", func() error {
		r, err := c.DeleteSecret(ctx, "many-00", nil)
		if err != nil {
			return err
		}
		return is(r.RecoveryID != nil && r.ScheduledPurgeDate.After(time.Now()), "it answers %+v", r.DeletedSecret)
	})
	g.Operation(t, "azsecrets.Client.GetDeletedSecret", func() error {
		r, err := c.GetDeletedSecret(ctx, "many-00", nil)
		if err != nil {
			return err
		}
		return is(r.DeletedDate != nil, "it is %+v", r.DeletedSecret)
	})
	g.Operation(t, "azsecrets.Client.NewListDeletedSecretPropertiesPager", func() error {
		all, err := pages(ctx, c.NewListDeletedSecretPropertiesPager(nil))
		if err != nil {
			return err
		}
		has := slices.ContainsFunc(all[0].Value, func(s *azsecrets.DeletedSecretProperties) bool { return s.ID.Name() == "many-00" })
		return is(has, "it is not listed")
	})
	g.Refused(t, "azsecrets.Client.SetSecret under the name of a deleted one", "ObjectIsDeletedButRecoverable", func() error {
		_, err := c.SetSecret(ctx, "many-00", azsecrets.SetSecretParameters{Value: to.Ptr("x")}, nil)
		return err
	})
	g.Operation(t, "azsecrets.Client.RecoverDeletedSecret", func() error {
		if _, err := c.RecoverDeletedSecret(ctx, "many-00", nil); err != nil {
			return err
		}
		r, err := c.GetSecret(ctx, "many-00", "", nil)
		if err != nil {
			return err
		}
		return is(*r.Value == "x", "it is %s", *r.ID)
	})
	g.Operation(t, "azsecrets.Client.PurgeDeletedSecret", func() error {
		if _, err := c.DeleteSecret(ctx, "many-00", nil); err != nil {
			return err
		}
		_, err := c.PurgeDeletedSecret(ctx, "many-00", nil)
		return err
	})
	g.Refused(t, "azsecrets.Client.GetDeletedSecret of a purged one", "SecretNotFound", func() error {
		_, err := c.GetDeletedSecret(ctx, "many-00", nil)
		return err
	})
	g.Operation(t, "azsecrets.Client.RestoreSecret", func() error {
		if _, err := c.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: backup.Value}, nil); err != nil {
			return err
		}
		r, err := c.GetSecret(ctx, "many-00", "", nil)
		if err != nil {
			return err
		}
		return is(*r.Value == "x", "it is %s", *r.ID)
	})
}

// challenge is how the SDK learns whom to ask for a token, and makes sure that it does not give one to a stranger.
func (g *goSDK) challenge(t *testing.T) {
	ctx := t.Context()
	officer := g.app(t, "go-challenged", time.Hour)
	must(t, g.assign(ctx, g.vaultID(), secretsOfficerRole, officer.principal))
	c, err := g.secretsOf(officer.cred)
	must(t, err)
	_, err = c.SetSecret(ctx, "challenged", azsecrets.SetSecretParameters{Value: to.Ptr("yes")}, nil)
	must(t, err)
	g.Refused(t, "azsecrets.Client with the check of the challenge's resource, at a local name", "doesn't match the requested domain", func() error {
		checking, err := azsecrets.NewClient(g.env["LEASTKEY_VAULT_KV_POLYCLAW"], officer.cred, &azsecrets.ClientOptions{ClientOptions: g.options()})
		if err != nil {
			return err
		}
		_, err = checking.GetSecret(ctx, "challenged", "", nil)
		return err
	})
	g.Operation(t, "azsecrets.Client with the check of the challenge's resource, at the name of a real vault", func() error {
		o := g.options()
		o.Transport = g.resolves(t, "kv-polyclaw.vault.azure.net:443", g.env["LEASTKEY_VAULT_KV_POLYCLAW"])
		checking, err := azsecrets.NewClient("https://kv-polyclaw.vault.azure.net", officer.cred, &azsecrets.ClientOptions{ClientOptions: o})
		if err != nil {
			return err
		}
		r, err := checking.GetSecret(ctx, "challenged", "", nil)
		if err != nil {
			return err
		}
		return is(*r.Value == "yes", "it is %s", *r.ID)
	})
	g.Operation(t, "azsecrets.Client without a token at first: one challenge for many requests", func() error {
		fresh, err := g.secretsOf(officer.cred)
		if err != nil {
			return err
		}
		before := g.asked(t)
		for range 3 {
			if _, err := fresh.GetSecret(ctx, "challenged", "", nil); err != nil {
				return err
			}
		}
		return is(g.asked(t)-before <= 5, "%d requests for three secrets", g.asked(t)-before) // the challenge, a token perhaps, and the three
	})
}

// resolves is a client for whom a name leads to a local vault.
func (g *goSDK) resolves(t *testing.T, name, vault string) *http.Client {
	t.Helper()
	at, err := url.Parse(vault)
	must(t, err)
	trust := g.http.Transport.(*http.Transport).TLSClientConfig.Clone()
	trust.ServerName = at.Hostname()
	transport := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != name {
			return nil, fmt.Errorf("%s is not the vault", address)
		}
		var d net.Dialer
		return d.DialContext(ctx, network, at.Host)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
