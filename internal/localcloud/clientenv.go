package localcloud

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Clients are the names that [Run.EnvFor] knows.
func Clients() []string { return []string{"az", "curl", "go", "js", "python"} }

// EnvFor is what a client needs to use the cloud, as lines for a POSIX shell. It names files and addresses, and no secret.
func (r Run) EnvFor(client string) (string, error) {
	if r.CAFile == "" {
		return "", fmt.Errorf("this local cloud has no run folder, so no client can find its certificate authority")
	}
	switch client {
	case "az":
		return r.envAz()
	case "curl":
		return r.vars("CURL_CA_BUNDLE") + r.endpoints() +
			"# curl \"$LEASTKEY_LOGIN/" + r.TenantID + "/v2.0/.well-known/openid-configuration\"\n", nil
	case "go":
		return r.vars("SSL_CERT_FILE", "AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID") + r.endpoints() + goHint, nil
	case "js":
		return r.vars("NODE_EXTRA_CA_CERTS", "AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID") + r.endpoints() + jsHint, nil
	case "python":
		return r.vars("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID") + r.endpoints() + pythonHint, nil
	}
	names := Clients()
	slices.Sort(names)
	return "", fmt.Errorf("unknown client %q; one of %s", client, strings.Join(names, ", "))
}

const goHint = `# azidentity and the ARM SDK: give them this cloud, and DisableInstanceDiscovery: true.
#   cloud.Configuration{
#     ActiveDirectoryAuthorityHost: os.Getenv("AZURE_AUTHORITY_HOST"),
#     Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
#       cloud.ResourceManager: {Endpoint: os.Getenv("LEASTKEY_ARM"), Audience: os.Getenv("LEASTKEY_ARM")},
#     },
#   }
# SSL_CERT_FILE works on Linux; elsewhere give the SDK a Transport whose RootCAs holds that file.
`

const jsHint = `# @azure/identity: {disableInstanceDiscovery: true}; ARM clients: {endpoint: process.env.LEASTKEY_ARM, credentialScopes: process.env.LEASTKEY_ARM + "/.default"}
`

const pythonHint = `# azure.identity: disable_instance_discovery=True; ARM clients: base_url=os.environ["LEASTKEY_ARM"], credential_scopes=[os.environ["LEASTKEY_ARM"] + "/.default"]
`

// vars exports the standard variables of the SDKs.
func (r Run) vars(names ...string) string {
	var b strings.Builder
	for _, n := range names {
		value := r.CAFile
		switch n {
		case "AZURE_AUTHORITY_HOST":
			value = r.Endpoints.Login
		case "AZURE_TENANT_ID":
			value = r.TenantID
		case "AZURE_SUBSCRIPTION_ID":
			value = r.SubscriptionID
		}
		fmt.Fprintf(&b, "export %s=%s\n", n, quote(value))
	}
	return b.String()
}

// endpoints exports the addresses, which no SDK has a variable for.
func (r Run) endpoints() string {
	var b strings.Builder
	fmt.Fprintf(&b, "export LEASTKEY_LOGIN=%s\nexport LEASTKEY_GRAPH=%s\nexport LEASTKEY_ARM=%s\n",
		quote(r.Endpoints.Login), quote(r.Endpoints.Graph), quote(r.Endpoints.ARM))
	for _, v := range vaultNames() {
		fmt.Fprintf(&b, "export LEASTKEY_VAULT_%s=%s\n", strings.ToUpper(strings.ReplaceAll(v, "-", "_")), quote(r.Endpoints.Vault[v]))
	}
	return b.String()
}

// AzCloud is the document that `az cloud register --cloud-config` takes. The authority ends in /adfs, because az of any version then
// asks no public endpoint whether it may trust it; the tenant is "adfs" to az in return.
func (r Run) AzCloud() ([]byte, error) {
	e := r.Endpoints
	arm, graph := e.ARM+"/", e.Graph+"/"
	return json.MarshalIndent(map[string]any{
		"name": cloudName, "profile": "latest",
		"endpoints": map[string]string{
			"activeDirectory": e.Login + "/adfs", "activeDirectoryResourceId": arm, "activeDirectoryGraphResourceId": graph,
			"microsoftGraphResourceId": graph, "resourceManager": arm, "management": arm, "gallery": arm, "sqlManagement": arm,
		},
		"suffixes": map[string]string{"keyvaultDns": vaultDNS(e)},
	}, "", "  ")
}

// envAz keeps az's own folder apart, so that a session on this cloud and one on a real one never meet.
func (r Run) envAz() (string, error) {
	doc, err := r.AzCloud()
	if err != nil {
		return "", err
	}
	return r.vars("REQUESTS_CA_BUNDLE") +
		"export AZURE_CONFIG_DIR=" + quote(filepath.Join(filepath.Dir(r.CAFile), "az")) + "\n" +
		"export AZURE_CORE_COLLECT_TELEMETRY=no\n" +
		"mkdir -p -m 700 \"$AZURE_CONFIG_DIR\"\n" +
		"cat >\"$AZURE_CONFIG_DIR/leastkey-cloud.json\" <<'JSON'\n" + string(doc) + "\nJSON\n" +
		"az cloud register --name " + cloudName + " --cloud-config \"@$AZURE_CONFIG_DIR/leastkey-cloud.json\" --only-show-errors 2>/dev/null ||\n" +
		"  az cloud update --name " + cloudName + " --cloud-config \"@$AZURE_CONFIG_DIR/leastkey-cloud.json\" --only-show-errors\n" +
		"az cloud set --name " + cloudName + " --only-show-errors\n" +
		"# as an application: az login --service-principal -u APP_ID -p " + quote(filepath.Join(filepath.Dir(r.CAFile), operatorPEMFile)) + " --tenant adfs\n" +
		"# as a user:         az login --use-device-code --tenant adfs, with the code and an operator's password at " + r.Endpoints.Login + "/devicelogin\n" +
		"# operators and their rights: " + quote(r.OperatorsFile) + "\n", nil
}

// quote makes one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
