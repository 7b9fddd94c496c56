package localcloud

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// Clients are the names that [Run.EnvFor] knows.
func Clients() []string { return []string{"az", "curl", "go", "js", "python"} }

// EnvFor is what a client needs to use the cloud, as lines for a POSIX shell. It names files and addresses, and no secret. vaults are the
// names of those to tell the client of: the ones that there are, which [Management.Vaults] knows.
func (r Run) EnvFor(client string, vaults ...string) (string, error) {
	if r.CAFile == "" {
		return "", fmt.Errorf("this local cloud has no run folder, so no client can find its certificate authority")
	}
	if strings.ContainsFunc(r.CAFile, unicode.IsControl) { // the lines would not be what they seem
		return "", fmt.Errorf("the name of the run folder has a control character, which lines for a shell cannot carry")
	}
	// One without an address was made after the run file was read, or has a name that no vault can have.
	vaults = slices.DeleteFunc(slices.Clone(vaults), func(v string) bool { return r.Endpoints.Vault[v] == "" })
	switch client {
	case "az":
		return r.envAz(vaults)
	case "curl":
		return r.vars("CURL_CA_BUNDLE") + r.endpoints(vaults) +
			"# curl \"$LEASTKEY_LOGIN/" + r.TenantID + "/v2.0/.well-known/openid-configuration\"\n", nil
	case "go":
		return r.vars("SSL_CERT_FILE", "AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID") + r.endpoints(vaults) + goHint, nil
	case "js":
		return r.vars("NODE_EXTRA_CA_CERTS", "AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID") + r.endpoints(vaults) + jsHint, nil
	case "python":
		return r.vars("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID") + r.endpoints(vaults) + pythonHint, nil
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
# azsecrets and azkeys: DisableChallengeResourceVerification: true, as the name of a local vault does not end in vault.azure.net.
# SSL_CERT_FILE works on Linux; elsewhere give the SDK a Transport whose RootCAs holds that file.
`

const jsHint = `# @azure/identity: {disableInstanceDiscovery: true}; ARM clients: {endpoint: process.env.LEASTKEY_ARM, credentialScopes: process.env.LEASTKEY_ARM + "/.default"}
# @azure/keyvault-secrets and its like: {disableChallengeResourceVerification: true}
`

const pythonHint = `# azure.identity: disable_instance_discovery=True; ARM clients: base_url=os.environ["LEASTKEY_ARM"], credential_scopes=[os.environ["LEASTKEY_ARM"] + "/.default"]
# azure.identity before 1.13 says instance_discovery=False; azure.keyvault: verify_challenge_resource=False
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
func (r Run) endpoints(vaults []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "export LEASTKEY_LOGIN=%s\nexport LEASTKEY_GRAPH=%s\nexport LEASTKEY_ARM=%s\n",
		quote(r.Endpoints.Login), quote(r.Endpoints.Graph), quote(r.Endpoints.ARM))
	for _, v := range vaults {
		fmt.Fprintf(&b, "export LEASTKEY_VAULT_%s=%s\n", strings.ToUpper(strings.ReplaceAll(v, "-", "_")), quote(r.Endpoints.Vault[v]))
	}
	return b.String()
}

// AzCloud is the document that `az cloud register --cloud-config` takes. The authority ends in /adfs, because az of any version then
// asks no public endpoint whether it may trust it. In return az leaves the tenant out of what it sends, so that any name of the tenant
// works, and a tenant that az pins is pinned by nothing but the token's own tid.
func (r Run) AzCloud() ([]byte, error) {
	e := r.Endpoints
	arm, graph := e.ARM+"/", e.Graph+"/"
	return json.Marshal(map[string]any{
		"name": cloudName, "profile": "latest",
		"endpoints": map[string]string{
			"activeDirectory": e.Login + "/adfs", "activeDirectoryResourceId": arm, "activeDirectoryGraphResourceId": graph,
			"microsoftGraphResourceId": graph, "resourceManager": arm, "management": arm, "gallery": arm, "sqlManagement": arm,
		},
		"suffixes": map[string]string{"keyvaultDns": vaultDNS(e)},
	})
}

// envAz keeps az's own folder apart, so that a session on this cloud and one on a real one never meet.
func (r Run) envAz(vaults []string) (string, error) {
	doc, err := r.AzCloud()
	if err != nil {
		return "", err
	}
	asApplication, err := r.azLogin()
	if err != nil {
		return "", err
	}
	file, name := "\"$AZURE_CONFIG_DIR/leastkey-cloud.json\"", cloudName+" --only-show-errors"
	return r.vars("REQUESTS_CA_BUNDLE") +
		"export AZURE_CONFIG_DIR=" + quote(filepath.Join(filepath.Dir(r.CAFile), "az")) + "\n" +
		"export AZURE_CORE_COLLECT_TELEMETRY=no\n" +
		"mkdir -p -m 700 \"$AZURE_CONFIG_DIR\"\n" +
		"printf '%s\\n' " + quote(string(doc)) + " >" + file + "\n" +
		"az cloud register --cloud-config @" + file + " --name " + name + " 2>/dev/null || az cloud update --cloud-config @" + file + " --name " + name + "\n" +
		"az cloud set --name " + name + "\n" +
		asApplication +
		"# as a user:         az login --use-device-code --tenant " + r.TenantID + "\n" +
		"#                    shows a code, which a user of " + quote(r.OperatorsFile) + " enters at " + r.Endpoints.Login + "/devicelogin\n" +
		azHosts(vaults), nil
}

// azHosts is the remark about the names that az makes of a vault's name and the cloud's suffix. glibc resolves no name below localhost by
// itself (RFC 6761 section 6.3 asks for it); systemd-resolved and nss-myhostname do.
func azHosts(vaults []string) string {
	if len(vaults) == 0 {
		return ""
	}
	names := ""
	for _, v := range vaults {
		names += " " + v + namedSuffix
	}
	return "# az reaches a vault under a name below localhost; where such names do not resolve (Debian 12), add a line to /etc/hosts:\n" +
		"#                    127.0.0.1" + names + "\n"
}

// azLogin is the remark that says how sp-operator logs in.
func (r Run) azLogin() (string, error) {
	all, err := ReadOperators(r)
	if err != nil {
		return "", err
	}
	for _, o := range all {
		if o.AppID != "" {
			return "# as an application: az login --service-principal -u " + o.AppID + " -p " + quote(o.CertificateFile) + " --tenant " + r.TenantID + "\n", nil
		}
	}
	return "", nil
}

// quote makes one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
