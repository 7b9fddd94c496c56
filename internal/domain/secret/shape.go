package secret

import (
	"bytes"
	"regexp"
	"strings"
)

// VaultPrefix begins a value that names a secret of the agent's vault instead of being one ("@kv:bot-app-password"), as Polyclaw writes it.
const VaultPrefix = "@kv:"

// Reference is the name of the vault's secret that a value of an environment file stands for; false if it is no reference.
func Reference(v Value) (name string, ok bool) {
	_ = v.Use(func(b []byte) error { // the function returns nil
		rest, found := bytes.CutPrefix(b, []byte(VaultPrefix))
		if ok = found && vaultName.Match(rest); ok {
			name = string(rest)
		}
		return nil
	})
	return name, ok
}

// vaultName is what Key Vault takes for the name of a secret.
var vaultName = regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`)

// Assignment tells in a few words what kind of secret a key of an environment file, or of a state file, is given; "" if it looks like none.
// The words hold nothing of the value. A reference to a vault is no secret. A value is told by its shape, where its maker gives it one,
// and otherwise by what its key says: somebody who calls a thing a password means one.
func Assignment(key string, v Value) (kind string) {
	if _, is := Reference(v); is || v.Empty() {
		return ""
	}
	_ = v.Use(func(b []byte) error { // the function returns nil
		kind = shape(b)
		if kind == "" && !harmless(b) {
			kind = called(key)
		}
		return nil
	})
	return kind
}

// Line is the first line, from 1, of a text that holds something of a secret's shape, whatever it is assigned to, and what it is; 0 if
// there is none.
func Line(text []byte) (line int, kind string) {
	for each := range bytes.Lines(text) {
		line++
		if kind = shape(each); kind != "" {
			return line, kind
		}
	}
	return 0, ""
}

// Marked is what a text of any kind, a database's pages among them, holds of a secret that its maker has given an unmistakable mark; "" if
// it holds none. It is quick where there is none.
func Marked(b []byte) string {
	for _, s := range knownShapes {
		if s.mark != "" && bytes.Contains(b, []byte(s.mark)) && s.is.Match(b) {
			return s.kind
		}
	}
	return ""
}

// knownShapes are how the makers of secrets mark them, so that they can be found. Sources: GitHub, "Behind GitHub's new authentication token
// formats"; Microsoft Security, "Credential scanning: client secrets" (Q~ in the fourth to sixth place, since 2021); Microsoft, "Configure
// Azure Storage connection strings" and "Azure Communication Services: connection strings"; age, "The age file encryption format"; RFC 7519.
var knownShapes = [...]struct {
	kind string
	mark string // is in every match; "" where case does not matter
	is   *regexp.Regexp
}{
	{"a private key", "PRIVATE KEY-----", regexp.MustCompile(`-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----`)},
	{"an age identity", "AGE-SECRET-KEY-", regexp.MustCompile(`AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{20}`)},
	{"a GitHub token", "", regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50})`)},
	{"an account key", "", regexp.MustCompile(`(?i)(?:AccountKey|SharedAccessKey|SharedSecretValue)=[A-Za-z0-9+/]{20}`)},
	{"a connection string with its key", "", regexp.MustCompile(`(?i)endpoint=https?://[^;\s]+;.*access_?key=[^;\s]{8}`)},
	{"a shared access signature", "", regexp.MustCompile(`(?i)[?&;]sig=[A-Za-z0-9%+/=]{20}`)},
	{"a client secret of Entra ID", "Q~", regexp.MustCompile(`(?:^|[^A-Za-z0-9_~.-])[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}(?:$|[^A-Za-z0-9_~.-])`)},
	{"a token", "eyJ", regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*`)},
	{"an address with its password", "", regexp.MustCompile(`[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s:@]{3,}@`)},
	{"an API key", "", regexp.MustCompile(`\b(?:sk-[A-Za-z0-9_-]{20}|xox[abprs]-[A-Za-z0-9-]{10}|AIza[0-9A-Za-z_-]{35})`)},
}

func shape(b []byte) string {
	for _, s := range knownShapes {
		if s.is.Match(b) {
			return s.kind
		}
	}
	return ""
}

// plain is what a key that says token or secret may be given without its being one: a number, a switch, a path, a word that a person reads.
var plain = regexp.MustCompile(`^(?:[0-9.,]{1,12}|(?i:true|false|yes|no|on|off|none|null|disabled|enabled|required|optional)|/[\w./-]+|\./[\w./-]+|\$\{?[A-Za-z_]\w*\}?|<[^>]*>|\*+|\[secret\])$`)

func harmless(b []byte) bool { return plain.Match(b) }

// calls are the last words of the names that secrets are given.
func calls() []struct{ end, kind string } {
	return []struct{ end, kind string }{
		{"CONNECTION_STRING", "a connection string"}, {"CONN_STRING", "a connection string"}, {"CONNECTIONSTRING", "a connection string"},
		{"PASSWORD", "a password"}, {"PASSWD", "a password"}, {"PASSPHRASE", "a passphrase"}, {"PWD", "a password"},
		{"SECRET", "a secret"}, {"SECRET_VALUE", "a secret"}, {"CLIENT_SECRET", "a client secret"},
		{"TOKEN", "a token"}, {"PAT", "a token"}, {"BEARER", "a token"},
		{"API_KEY", "an API key"}, {"APIKEY", "an API key"}, {"ACCESS_KEY", "an access key"}, {"ACCOUNT_KEY", "an access key"},
		{"SECRET_KEY", "a secret key"}, {"PRIVATE_KEY", "a private key"}, {"SHARED_KEY", "a shared key"}, {"SAS", "a shared access signature"},
		{"CREDENTIAL", "a credential"}, {"CREDENTIALS", "a credential"},
	}
}

// called is what the key says of its value: its last words, as AWS_SECRET_ACCESS_KEY, botAppPassword and admin-token are read. PWD alone
// is where a shell stands.
func called(key string) string {
	name := words(key)
	if name == "PWD" || name == "OLDPWD" {
		return ""
	}
	for _, c := range calls() {
		if name == c.end || strings.HasSuffix(name, "_"+c.end) {
			return c.kind
		}
	}
	return ""
}

// words is the key in capitals with underscores between its words.
func words(key string) string {
	var b strings.Builder
	for i, r := range key {
		switch {
		case r == '-' || r == '.' || r == ' ':
			r = '_'
		case 'A' <= r && r <= 'Z' && i > 0 && 'a' <= key[i-1] && key[i-1] <= 'z':
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}
