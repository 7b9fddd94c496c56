package vault

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
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

func code(err error) string {
	if e, is := errors.AsType[*azcore.ResponseError](err); is {
		return e.ErrorCode
	}
	return ""
}
