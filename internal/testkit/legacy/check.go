package legacy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/testkit/cloudview"
)

// Certificate is a key credential as Graph has it.
type Certificate struct{ KeyID, SHA256 string }

func certificatesOf(ctx context.Context, v *cloudview.Cloud, objectID string) ([]Certificate, error) {
	var app struct {
		KeyCredentials []struct {
			KeyID string `json:"keyId"`
			Key   string `json:"key"`
		} `json:"keyCredentials"`
	}
	_, err := v.Call(ctx, http.MethodGet, "/v1.0/applications/"+objectID+"?"+url.Values{"$select": {"keyCredentials"}}.Encode(), nil, &app)
	var all []Certificate
	for _, c := range app.KeyCredentials {
		der, e := base64.StdEncoding.DecodeString(c.Key)
		if e != nil {
			return nil, e
		}
		sum := sha256.Sum256(der)
		all = append(all, Certificate{c.KeyID, hex.EncodeToString(sum[:])})
	}
	return all, err
}

// Provisioner is the application as Graph has it now.
type Provisioner struct {
	Passwords, PrincipalPasswords int
	Certificates                  []Certificate
}

// Look reads the application and the service principal.
func (in Installed) Look(ctx context.Context, v *cloudview.Cloud) (Provisioner, []string, error) {
	var p Provisioner
	type object struct {
		AppID       string `json:"appId"`
		DisplayName string `json:"displayName"`
		Passwords   []any  `json:"passwordCredentials"`
		Resources   []struct {
			Access []any `json:"resourceAccess"`
		} `json:"requiredResourceAccess"`
	}
	var app, sp object
	if _, err := v.Call(ctx, http.MethodGet, "/v1.0/applications/"+in.ObjectID, nil, &app); err != nil {
		return p, nil, err
	}
	if _, err := v.Call(ctx, http.MethodGet, "/v1.0/servicePrincipals/"+in.PrincipalID, nil, &sp); err != nil {
		return p, nil, err
	}
	var granted struct {
		Value []any `json:"value"`
	}
	if _, err := v.Call(ctx, http.MethodGet, "/v1.0/servicePrincipals/"+in.PrincipalID+"/appRoleAssignments", nil, &granted); err != nil {
		return p, nil, err
	}
	all, err := certificatesOf(ctx, v, in.ObjectID)
	if err != nil {
		return p, nil, err
	}
	p = Provisioner{len(app.Passwords), len(sp.Passwords), all}
	bad := in.kept(all)
	if app.AppID != in.AppID || app.DisplayName != DisplayName || sp.DisplayName != DisplayName {
		bad = append(bad, fmt.Sprintf("the application is %s %q now", app.AppID, app.DisplayName))
	}
	if len(app.Resources) != 1 || len(app.Resources[0].Access) != len(in.Roles) || len(granted.Value) != len(in.Roles) {
		bad = append(bad, fmt.Sprintf("its permissions have changed: %d are consented, there were %d", len(granted.Value), len(in.Roles)))
	}
	blueprint, err := certificatesOf(ctx, v, in.BlueprintID)
	if err == nil && (len(blueprint) != 1 || blueprint[0].SHA256 != in.BlueprintSHA256) {
		bad = append(bad, "the Blueprint's certificate was touched")
	}
	return p, bad, err
}

// kept complains where the other machine's certificate is not there as it was.
func (in Installed) kept(all []Certificate) []string {
	if !slices.Contains(all, Certificate{in.OtherKeyID, in.OtherSHA256}) {
		return []string{"the other machine's certificate is gone"}
	}
	return nil
}

// Untouched gives every way in which the install is not as [Install] has left it: what a migration that could not be ends with.
func (in Installed) Untouched(ctx context.Context, v *cloudview.Cloud) ([]string, error) {
	p, bad, err := in.Look(ctx, v)
	if err != nil {
		return nil, err
	}
	if p.Passwords != 2 || p.PrincipalPasswords != 1 || len(p.Certificates) != 1 {
		bad = append(bad, fmt.Sprintf("%d and %d passwords, %d certificates; there were 2 and 1, and 1", p.Passwords, p.PrincipalPasswords, len(p.Certificates)))
	}
	for i, s := range in.Secrets {
		if _, err := Token(ctx, v, in.AppID, s); err != nil {
			bad = append(bad, fmt.Sprintf("secret %d does not log in any more: %v", i, err))
		}
	}
	state, err := os.ReadFile(in.StateFile)
	if err != nil {
		return nil, err
	}
	copied, err := os.ReadFile(in.BackUp)
	if err == nil && !bytes.Equal(state, copied) {
		bad = append(bad, "the state file has changed")
	}
	return bad, err
}

// Migrated gives every way in which the install is not as it must be after a migration: no password on either object, every secret dead,
// the secret in no file of the folder, one more certificate and the other one still there, and everything else as it was.
func (in Installed) Migrated(ctx context.Context, v *cloudview.Cloud) ([]string, error) {
	p, bad, err := in.Look(ctx, v)
	if err != nil {
		return nil, err
	}
	if p.Passwords != 0 || p.PrincipalPasswords != 0 || len(p.Certificates) != 2 {
		bad = append(bad, fmt.Sprintf("%d and %d passwords, %d certificates; wanted are 0 and 0, and 2", p.Passwords, p.PrincipalPasswords, len(p.Certificates)))
	}
	for i, s := range in.Secrets {
		if _, err := Token(ctx, v, in.AppID, s); err == nil {
			bad = append(bad, fmt.Sprintf("secret %d still logs in", i))
		}
	}
	left, err := in.Holding()
	for _, path := range left {
		bad = append(bad, path+" still holds the secret")
	}
	if err != nil {
		return nil, err
	}
	more, err := in.keys()
	return append(bad, more...), err
}

// Holding are the files of the folder that hold a secret.
func (in Installed) Holding() ([]string, error) {
	entries, err := os.ReadDir(in.Dir)
	var all []string
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		b, err := os.ReadFile(in.Dir + "/" + e.Name())
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(in.Secrets, func(s string) bool { return bytes.Contains(b, []byte(s)) }) {
			all = append(all, e.Name())
		}
	}
	return all, err
}

// keys complains where the state or the environment file has lost anything but the secret.
func (in Installed) keys() ([]string, error) {
	b, err := os.ReadFile(in.StateFile)
	if err != nil {
		return nil, err
	}
	var now map[string]json.RawMessage
	if err := json.Unmarshal(b, &now); err != nil {
		return nil, err
	}
	var bad []string
	for key, was := range in.Unknown {
		if !bytes.Equal(now[key], was) {
			bad = append(bad, fmt.Sprintf("%s is %s in the state file, and was %s", key, now[key], was))
		}
	}
	if _, there := now["PROVISIONER_CLIENT_SECRET"]; there {
		bad = append(bad, "the state file has the key of the secret")
	}
	if now["PROVISIONER_CERT_THUMBPRINT"] == nil {
		bad = append(bad, "the state file has no thumbprint")
	}
	info, err := os.Stat(in.StateFile)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm() != 0o600 {
		bad = append(bad, "the state file has mode "+info.Mode().String())
	}
	env, err := os.ReadFile(in.EnvFile)
	if want := "# written by hand\nAZURE_LOCATION=westeurope\nLOG_LEVEL='info' # of the agent\n"; err == nil && !strings.Contains(string(env), want) {
		bad = append(bad, "the environment file has lost something else than the secret")
	}
	return bad, err
}
