// Package cloudview looks at a local cloud with eyes of its own: plain HTTP and JSON, none of the product's clients, so that a test does
// not believe what the code under test believes.
package cloudview

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Cloud is where a local cloud answers and who looks.
type Cloud struct {
	Login, Graph, ARM      string // base URLs
	Tenant, Subscription   string
	User, Password         string // an administrator
	HTTP                   *http.Client
	graphToken, azureToken string
}

// App is an application with what hangs on it.
type App struct {
	ID, AppID, UniqueName, Audience string
	Certificates                    []Credential
	Passwords                       []Credential
}

// Principal is a service principal.
type Principal struct {
	ID, AppID    string
	Enabled      bool
	Passwords    []Credential
	Certificates []Credential
}

// Credential is a key or password credential.
type Credential struct{ KeyID, Name string }

// Assignment is a role assignment.
type Assignment struct{ Name, RoleID, Scope, Principal string }

// Named is everything of one display name.
type Named struct {
	Apps        []App
	Principals  []Principal
	DeletedApps []string // object ids
	DeletedSPs  []string
}

type credential struct {
	KeyID       string  `json:"keyId"`
	DisplayName *string `json:"displayName"`
}

func credentials(all []credential) []Credential {
	var out []Credential
	for _, c := range all {
		n := ""
		if c.DisplayName != nil {
			n = *c.DisplayName
		}
		out = append(out, Credential{c.KeyID, n})
	}
	return out
}

// token logs the administrator in.
func (c *Cloud) token(ctx context.Context, resource string, kept *string) (string, error) {
	if *kept != "" {
		return *kept, nil
	}
	form := url.Values{"grant_type": {"password"}, "client_id": {"04b07795-8ddb-461a-bbee-02f9e1bf7b46"}, "username": {c.User}, "password": {c.Password}, "scope": {resource + "/.default"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Login+"/"+c.Tenant+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var got struct {
		AccessToken string `json:"access_token"`
	}
	if _, err := c.do(r, &got); err != nil {
		return "", err
	}
	*kept = got.AccessToken
	return *kept, nil
}

// GraphToken and AzureToken are the administrator's tokens, for requests of the test's own.
func (c *Cloud) GraphToken(ctx context.Context) (string, error) {
	return c.token(ctx, c.Graph, &c.graphToken)
}

// AzureToken is the token for Azure Resource Manager.
func (c *Cloud) AzureToken(ctx context.Context) (string, error) {
	return c.token(ctx, c.ARM, &c.azureToken)
}

func (c *Cloud) do(r *http.Request, into any) (int, error) {
	resp, err := c.HTTP.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return resp.StatusCode, err
	}
	if resp.StatusCode >= 300 {
		return resp.StatusCode, fmt.Errorf("%s %s: %d %.300s", r.Method, r.URL, resp.StatusCode, b)
	}
	if into == nil || len(b) == 0 {
		return resp.StatusCode, nil
	}
	return resp.StatusCode, json.Unmarshal(b, into)
}

// Call sends a request to Graph (a path such as /v1.0/…) or ARM (/subscriptions/…), as the administrator.
func (c *Cloud) Call(ctx context.Context, method, path string, body, into any) (int, error) {
	base, get := c.Graph, c.GraphToken
	if strings.HasPrefix(path, "/subscriptions") {
		base, get = c.ARM, c.AzureToken
	}
	token, err := get(ctx)
	if err != nil {
		return 0, err
	}
	return c.send(ctx, method, base+path, token, body, into)
}

// As sends a request to Graph with somebody else's token.
func (c *Cloud) As(ctx context.Context, token, method, path string, body, into any) error {
	_, err := c.send(ctx, method, c.Graph+path, token, body, into)
	return err
}

// vaultAudience is what tokens for every Key Vault of the public cloud are for.
const vaultAudience = "https://vault.azure.net"

// Vault sends a request to a Key Vault, by its URL, as the administrator.
func (c *Cloud) Vault(ctx context.Context, method, url string, body, into any) (int, error) {
	var kept string
	token, err := c.token(ctx, vaultAudience, &kept)
	if err != nil {
		return 0, err
	}
	return c.send(ctx, method, url, token, body, into)
}

func (c *Cloud) send(ctx context.Context, method, url, token string, body, into any) (int, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		in = strings.NewReader(string(b))
	}
	r, err := http.NewRequestWithContext(ctx, method, url, in)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	return c.do(r, into)
}

// Named reads everything of a display name.
func (c *Cloud) Named(ctx context.Context, name string) (Named, error) {
	var n Named
	filter := url.QueryEscape("displayName eq '" + name + "'")
	var apps struct {
		Value []struct {
			ID                  string       `json:"id"`
			AppID               string       `json:"appId"`
			UniqueName          string       `json:"uniqueName"`
			SignInAudience      string       `json:"signInAudience"`
			KeyCredentials      []credential `json:"keyCredentials"`
			PasswordCredentials []credential `json:"passwordCredentials"`
		} `json:"value"`
	}
	if _, err := c.Call(ctx, http.MethodGet, "/v1.0/applications?$filter="+filter, nil, &apps); err != nil {
		return n, err
	}
	for _, a := range apps.Value {
		n.Apps = append(n.Apps, App{a.ID, a.AppID, a.UniqueName, a.SignInAudience, credentials(a.KeyCredentials), credentials(a.PasswordCredentials)})
	}
	var sps struct {
		Value []struct {
			ID                  string       `json:"id"`
			AppID               string       `json:"appId"`
			AccountEnabled      bool         `json:"accountEnabled"`
			KeyCredentials      []credential `json:"keyCredentials"`
			PasswordCredentials []credential `json:"passwordCredentials"`
		} `json:"value"`
	}
	if _, err := c.Call(ctx, http.MethodGet, "/v1.0/servicePrincipals?$filter="+filter, nil, &sps); err != nil {
		return n, err
	}
	for _, s := range sps.Value {
		n.Principals = append(n.Principals, Principal{s.ID, s.AppID, s.AccountEnabled, credentials(s.PasswordCredentials), credentials(s.KeyCredentials)})
	}
	var err error
	if n.DeletedApps, err = c.deleted(ctx, "application", name); err != nil {
		return n, err
	}
	n.DeletedSPs, err = c.deleted(ctx, "servicePrincipal", name)
	return n, err
}

func (c *Cloud) deleted(ctx context.Context, kind, name string) ([]string, error) {
	var got struct {
		Value []struct {
			ID          string `json:"id"`
			DisplayName string `json:"displayName"`
		} `json:"value"`
	}
	if _, err := c.Call(ctx, http.MethodGet, "/v1.0/directory/deletedItems/microsoft.graph."+kind, nil, &got); err != nil {
		return nil, err
	}
	var ids []string
	for _, o := range got.Value {
		if o.DisplayName == name {
			ids = append(ids, o.ID)
		}
	}
	return ids, nil
}

// Assignments lists the role assignments of a principal in the subscription.
func (c *Cloud) Assignments(ctx context.Context, principal string) ([]Assignment, error) {
	var got struct {
		Value []struct {
			Name       string `json:"name"`
			Properties struct {
				RoleDefinitionID string `json:"roleDefinitionId"`
				Scope            string `json:"scope"`
				PrincipalID      string `json:"principalId"`
			} `json:"properties"`
		} `json:"value"`
	}
	path := "/subscriptions/" + c.Subscription + "/providers/Microsoft.Authorization/roleAssignments?api-version=2022-04-01&$filter=" + url.QueryEscape("principalId eq '"+principal+"'")
	if _, err := c.Call(ctx, http.MethodGet, path, nil, &got); err != nil {
		return nil, err
	}
	var out []Assignment
	for _, a := range got.Value {
		out = append(out, Assignment{a.Name, a.Properties.RoleDefinitionID[strings.LastIndex(a.Properties.RoleDefinitionID, "/")+1:], a.Properties.Scope, a.Properties.PrincipalID})
	}
	return out, nil
}
