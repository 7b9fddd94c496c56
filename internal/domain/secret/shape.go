package secret

import (
	"bytes"
	"regexp"
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
// and otherwise by what its key says: somebody who calls a thing a password means one. A base64 key may begin with a slash, so what looks
// like a path is one only where exists says so; nil means that nothing does.
func Assignment(key string, v Value, exists func(path string) bool) (kind string) {
	if _, is := Reference(v); is || v.Empty() {
		return ""
	}
	_ = v.Use(func(b []byte) error { // the function returns nil
		if kind = shape(b); kind == "" {
			kind = called(key, b, exists)
		}
		return nil
	})
	return kind
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
	{"a private key", "", regexp.MustCompile(`\b(?:MII[A-Za-z0-9+/]{3}IBA[zDA]|MIACAQMw|MIG[A-Za-z0-9+/]AgEAM|MHcCAQEE|MC[4-9]CAQAw|LS0tLS1CRUdJTi(?:BQUklWQVRF|BSU0Eg|BFQyB|BFTkNS|BPUEVO))[A-Za-z0-9+/]`)},
	{"an address with its password", "", regexp.MustCompile(`(?i)\b[a-z][a-z0-9+.-]*://[^/\s:@]*:(?:[^/\s@]+|[^/\s@]*[^/\s@0-9][^\s@]*/[^\s@]*)@`)},
	{"an address with its password", "", regexp.MustCompile(`(?i)://\S*[?&;](?:password|passwd|pwd|pass|secret|client_?secret)=[^&\s]`)},
	{"an address with its key", "", regexp.MustCompile(`(?i)://\S*[?&;](?:api_?-?key|subscription-key|access_?token|token|key|code)=[^&\s$<]{16}`)},
	{"a connection string with its password", "", regexp.MustCompile(`(?i)(?:;[ \t]*(?:password|pwd)[ \t]*=[ \t]*[^;\s]|^(?:password|pwd)=[^;\s]+;[^=]+=)`)},
	{"an API key", "", regexp.MustCompile(`\b(?:sk-[A-Za-z0-9_-]{20}|xox[abprs]-[A-Za-z0-9-]{10}|AIza[0-9A-Za-z_-]{35})`)},
}

func shape(b []byte) string {
	b = held.ReplaceAll(b, nil)
	for _, s := range knownShapes {
		if s.is.Match(b) {
			return s.kind
		}
	}
	return ""
}

// held is where a text leaves the place of its password to a variable or a reader: "postgres://u:${DB_PASSWORD}@h".
var held = regexp.MustCompile(`\$\{[A-Za-z_]\w*\}|\$[A-Z_][A-Z0-9_]*|<[^>\s]*>|\*{3,}`)
