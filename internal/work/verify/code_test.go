package verify

import (
	"slices"
	"strings"
	"testing"
)

func TestWaysToUseASecret(t *testing.T) {
	for _, row := range []struct {
		name, language, code string
		lines                []int
	}{
		{"azure-identity with a secret", "python", "from azure.identity import ClientSecretCredential\nc = ClientSecretCredential(t, i, s)", []int{1, 2}},
		{"with a certificate", "python", "c = CertificateCredential(t, i, path)", nil},
		{"MSAL with a secret", "python", `app = ConfidentialClientApplication(client, client_credential="x")`, []int{1}},
		{"MSAL with a certificate", "python", `app = ConfidentialClientApplication(client, client_credential={"private_key": k})`, nil},
		{"the Go SDK", "c", "cred, err := azidentity.NewClientSecretCredential(t, c, s, nil)", []int{1}},
		{"a read of the variable", "python", `os.environ["PROVISIONER_CLIENT_SECRET"]`, []int{1}},
		{"a read of the state file", "shell", "jq -r .PROVISIONER_CLIENT_SECRET state.json", []int{1}},
		{"a form", "c", `body.set("client_secret", s)`, []int{1}},
		{"az with a secret", "shell", "az login --service-principal -u x --client-secret y", []int{1}},
		{"curl", "shell", "curl -s https://login.example.org/$T/oauth2/v2.0/token -d a=b", []int{1}},
		{"curl over several lines", "shell", "curl -s \\\n  -d a=b \\\n  https://login.example.org/$T/oauth2/v2.0/token", []int{1}},
		{"the endpoint in Python, which a certificate may be sent to", "python", `url = f"{login}/{tenant}/oauth2/v2.0/token"`, nil},
		{"an assertion by hand", "shell", "x=$(printf %s \"$j\" |\n  openssl dgst -sha256 -sign k.pem)", []int{2}},
		{"a digest", "shell", "openssl dgst -sha256 file", nil},
		{"a comment of a shell", "shell", "# PROVISIONER_CLIENT_SECRET is gone\necho x # client_secret\n", nil},
		{"a number sign in a string", "shell", `echo "a # b" "$PROVISIONER_CLIENT_SECRET"`, []int{1}},
		{"a text that says something to people", "python", "def f():\n    \"\"\"No client_secret here.\n\n    ClientSecretCredential neither.\n    \"\"\"\n    return client_secret", []int{6}},
		{"a text of one line", "python", "\"\"\"No client_secret here.\"\"\"\nx = client_secret", []int{2}},
		{"comments of C", "c", "// client_secret\n/* client_secret\n client_secret */ x = clientSecret\ny() // client_secret", []int{3}},
		{"an address is no comment", "c", `fetch("https://x/" + client_secret)`, []int{1}},
		{"allowed on its line", "shell", "unset PROVISIONER_CLIENT_SECRET # leastkey:allow\nread PROVISIONER_CLIENT_SECRET", []int{2}},
		{"allowed above it", "shell", "# leastkey:allow\nunset PROVISIONER_CLIENT_SECRET\nread PROVISIONER_CLIENT_SECRET", []int{3}},
		{"the new way", "shell", "TOKEN=$(provisioner-token)\ncurl --config - https://graph.microsoft.com/v1.0/organization", nil},
		{"a workflow", "config", "env:\n  # client_secret\n  AZURE_CLIENT_SECRET: ${{ secrets.X }}", []int{3}},
		{"nothing", "c", "", nil},
	} {
		var got []int
		for _, h := range scan("f", row.language, []byte(row.code), patterns()) {
			got = append(got, h.line)
		}
		if !slices.Equal(got, row.lines) {
			t.Errorf("%s: lines %v, want %v", row.name, got, row.lines)
		}
	}
}

// The finding names places, and never what stands there.
func TestAHitDoesNotShowTheLine(t *testing.T) {
	const value = "oHk8Q~ab.cd-ef_gh~ij.kl-mn"
	for _, h := range scan("f.sh", "shell", []byte("client_secret="+value), patterns()) {
		if strings.Contains(h.String(), value) {
			t.Error(h)
		}
	}
}
