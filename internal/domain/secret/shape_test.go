package secret

import (
	"strings"
	"testing"
)

func TestASecretIsToldByItsShapeOrItsName(t *testing.T) {
	// The values are made up, and put together here so that no scanner takes this file for a leak.
	entra := "abc8" + "Q~" + strings.Repeat("x", 34)
	github := "gh" + "p_" + strings.Repeat("a", 36)
	for _, c := range []struct{ key, value, want string }{
		{"RUNTIME_SP_PASSWORD", "whatever", "a password"},
		{"RUNTIME_SP_PASSWORD", "", ""},
		{"BOT_APP_PASSWORD", "@kv:bot-app-password", ""},
		{"BOT_APP_PASSWORD", "@kv:", "a password"},
		{"BOT_APP_PASSWORD", "@kv:x; and the rest", "a password"},
		{"botAppPassword", "whatever", "a password"},
		{"AZURE_CLIENT_SECRET", "whatever", "a secret"},
		{"AWS_SECRET_ACCESS_KEY", "whatever", "an access key"},
		{"ACS_CONNECTION_STRING", "endpoint=https://acs.example/", "a connection string"},
		{"SOMETHING", "endpoint=https://acs.example/;access" + "key=c2VjcmV0c2VjcmV0", "a connection string with its key"},
		{"STORAGE", "DefaultEndpointsProtocol=https;AccountName=a;Account" + "Key=" + strings.Repeat("k", 44), "an account key"},
		{"NOTE", "the secret is " + entra, "a client secret of Entra ID"},
		{"NOTE", "x" + entra + "yyyy", ""},
		{"NOTE", github, "a GitHub token"},
		{"URL", "https://user:" + "hunter22@example.org/", "an address with its password"},
		{"URL", "https://a.blob.example/c?sv=1&sig=" + strings.Repeat("s", 30), "a shared access signature"},
		{"KEY", "-----BEGIN PRIVATE KEY-----", "a private key"},
		{"KEY", "-----BEGIN RSA PRIVATE KEY-----", "a private key"},
		{"CERT", "-----BEGIN CERTIFICATE-----", ""},
		{"ID", "AGE-SECRET-" + "KEY-1QQQQQQQQQQQQQQQQQQQQQ", "an age identity"},
		{"X", "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln", "a token"},
		{"MAX_TOKEN", "4096", ""},
		{"TOKEN_LIFETIME", "one hour", ""},
		{"MAX_TOKENS", "whatever", ""},
		{"IDENTITY_TOKEN", "/run/secrets/token", ""},
		{"ADMIN_SECRET", "${OTHER}", ""},
		{"PWD", "/home/agent", ""},
		{"PWD", "hunter22", ""},
		{"AZURE_CLIENT_ID", "11111111-0000-4000-8000-000000000001", ""},
		{"AZURE_OPENAI_ENDPOINT", "https://aoai.example/", ""},
		{"ACS_CALLBACK_TOKEN", "whatever", "a token"},
		{"AZURE_OPENAI_KEY", strings.Repeat("0a", 16), "an API key"},
		{"AZURE_SEARCH_ADMIN_KEY", strings.Repeat("aB", 26), "an access key"},
		{"STORAGE_KEY", strings.Repeat("k", 86) + "==", "an access key"},
		{"STORAGE_KEY_2", strings.Repeat("k", 86) + "==", "an access key"},
		{"SOME_KEY", "/k3yAbcd/EFGH0123", "a key"},
		{"SOME_KEY", "11111111-0000-4000-8000-000000000001", ""},
		{"SORT_KEY", "user.name", ""},
		{"CMK_KEY", "https://kv.vault.example/keys/cmk", ""},
		{"SSH_PUBLIC_KEY", "AAAAC3NzaC1lZDI1NTE5AAAAI", ""},
		{"SSH_KEY", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI", ""},
		{"KEY_VAULT_NAME", "kv-bot-01", ""},
		{"KEY_VAULT_URL", "https://kv-bot.vault.example/", ""},
		{"AWS_ACCESS_KEY_ID", "AKIA0123456789012345", ""},
		{"SIGNING_KEY_ID", "0123456789abcdef", ""},
		{"DB_PASS", "whatever", "a password"},
		{"COMPASS", "whatever", ""},
		{"PGPASSWORD", "whatever", "a password"},
		{"DB_PASSWORD_PROD", "whatever", "a password"},
		{"DB_PASSWORD", "123456789012", "a password"},
		{"DB_PASSWORD", "/k3yAbcd/EFGH0123", "a password"},
		{"DB_PASSWORD", "/srv/bot/there", ""},
		{"DB_PASSWORD", "$DB_PASS", ""},
		{"DB_PASSWORD", "${DB_PASS:-hunter22}", "a password"},
		{"DB_PASSWORD", "$ecret1", "a password"},
		{"ARM_ACCESS_KEY", "/abcdEFGH0123", "an access key"},
		{"APP_SECRET", "@Microsoft.KeyVault(SecretUri=https://kv.vault.example/secrets/x)", ""},
		{"DATABASE_URL", "postgres://u@h/db?pass" + "word=whatever", "an address with its password"},
		{"DATABASE_URL", "postgres://u:a/b@h/db", "an address with its password"},
		{"REDIS_URL", "rediss://:" + "p4@h:6380/0", "an address with its password"},
		{"DATABASE_URL", "postgres://u:${DB_PASS}@h/db", ""},
		{"DATABASE_URL", "postgres://u@h:5432/db", ""},
		{"LINK", "https://h:8443/a@b", ""},
		{"SQL", "Server=tcp:h,1433;User ID=u;Pass" + "word=whatever;Encrypt=true", "a connection string with its password"},
		{"FUNCTION_URL", "https://f.example/api/x?code=" + strings.Repeat("c", 20), "an address with its key"},
		{"AZURE_CLIENT_CERTIFICATE", "MIIJqQ" + "IBAzCC", "a private key"},
		{"CERT", "MIIEvQ" + "IBADANBgkqhki", "a private key"},
		{"CERT", "MIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ", ""},
	} {
		if got := Assignment(c.key, New([]byte(c.value)), func(path string) bool { return path == "/srv/bot/there" }); got != c.want {
			t.Errorf("%s=%s is %q, want %q", c.key, c.value, got, c.want)
		}
	}
}

func TestAReferenceNamesASecretOfAVault(t *testing.T) {
	for value, want := range map[string]string{"@kv:admin-secret": "admin-secret", "@kv:": "", "kv:x": "", "@kv:a/b": "", "@kv:a b": "", "": "", "x@kv:a": ""} {
		if got, ok := Reference(New([]byte(value))); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", value, got, ok)
		}
	}
}

// Whatever a line gives to a key in any spelling is found; each value here is planted.
func TestEveryLineIsScanned(t *testing.T) {
	const p = "hunter22hunter22"
	for line, want := range map[string]string{
		"DB_PASSWORD=" + p: "DB_PASSWORD (a password)", "# DB_PASSWORD=" + p: "DB_PASSWORD (a password)", "  ; old: DB_PASSWORD='" + p + "' # x": "DB_PASSWORD (a password)",
		"set DB_PASSWORD=" + p: "DB_PASSWORD (a password)", "DB_PASSWORD+=" + p: "DB_PASSWORD (a password)", "DB_PASSWORD: " + p: "DB_PASSWORD (a password)", "db_password : \"" + p + "\"": "db_password (a password)",
		"$env:DB_PASSWORD = \"" + p + "\"": "DB_PASSWORD (a password)", "setx DB_PASSWORD " + p: "DB_PASSWORD (a password)", "setenv DB_PASSWORD '" + p + "'": "DB_PASSWORD (a password)",
		`NOTE={"client_secret":"` + p + `"}`: "client_secret (a secret)", "A_TOKEN=" + p + " B_SECRET=" + p: "A_TOKEN (a token), B_SECRET (a secret)", "# export DB_PASSWORD=" + p: "DB_PASSWORD (a password)",
		"# -----BEGIN EC PRIVATE KEY-----": "line 1 (a private key)", "# see postgres://u:" + p + "@h": "line 1 (an address with its password)",
		"X='" + p: "", "# the password: ask the one who knows": "", "# DB_PASSWORD=<yours>": "", "# DB_PASSWORD=changeme": "", "# DB_PASSWORD=": "", "# token: see the vault": "",
		"GITHUB_TOKEN=@kv:github": "GITHUB_TOKEN", "# GITHUB_TOKEN=@kv:github": "", "URL=https://h/": "", "KEY_VAULT_NAME: kv-bot": "",
	} {
		var got []string
		for _, f := range Scan([]byte(line+"\n"), nil) {
			if f.Line != 1 {
				t.Errorf("%s: line %d", line, f.Line)
			}
			got = append(got, f.String())
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s: %q, want %q", line, s, want)
		}
	}
}

func TestAMarkedSecretIsFoundAmongAnything(t *testing.T) {
	for text, want := range map[string]string{
		"\x00\xff-----BEGIN PRIVATE KEY-----\x00": "a private key", "abc\x008" + "Q~": "", "{\"password\": \"hunter22\"}": "", "eyJub3Q": "",
	} {
		if got := Marked([]byte(text)); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}
