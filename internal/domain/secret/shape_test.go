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
	} {
		if got := Assignment(c.key, New([]byte(c.value))); got != c.want {
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

func TestTheLineOfASecretIsTold(t *testing.T) {
	if line, kind := Line([]byte("a: b\n\n-----BEGIN EC PRIVATE KEY-----\n")); line != 3 || kind != "a private key" {
		t.Errorf("line %d, %q", line, kind)
	}
	if line, kind := Line([]byte("PASSWORD=whatever\n")); line != 0 || kind != "" {
		t.Errorf("line %d, %q: a text has no keys", line, kind)
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
