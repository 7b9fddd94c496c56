package secret

import (
	"regexp"
	"strings"
)

// named is a kind of secret and the ending of the names that it is given.
type named struct {
	end     string
	kind    string
	glued   bool // the ending needs no underscore before it: PGPASSWORD
	excuses func([]byte) bool
}

// names are all, the first that fits counts.
func names() []named {
	return []named{
		{"CONNECTION_STRING", "a connection string", false, nil}, {"CONN_STRING", "a connection string", false, nil}, {"CONN_STR", "a connection string", false, nil},
		{"CONNECTIONSTRING", "a connection string", true, nil},
		{"PASSWORD", "a password", true, nil}, {"PASSWD", "a password", true, nil}, {"PASSPHRASE", "a passphrase", true, nil}, {"PASSCODE", "a password", true, nil},
		{"PWD", "a password", false, nil}, {"PASS", "a password", false, nil},
		{"SECRET", "a secret", true, nil}, {"SECRET_VALUE", "a secret", false, nil},
		{"TOKEN", "a token", true, small}, {"PAT", "a token", false, small}, {"BEARER", "a token", false, small},
		{"SECRET_KEY", "a secret key", false, pointer}, {"PRIVATE_KEY", "a private key", false, pointer}, {"SHARED_KEY", "a shared key", false, pointer},
		{"API_KEY", "an API key", false, pointer}, {"APIKEY", "an API key", true, pointer}, {"OPENAI_KEY", "an API key", false, pointer}, {"AIKEY", "an API key", true, pointer},
		{"ACCESS_KEY", "an access key", false, pointer}, {"ACCESSKEY", "an access key", true, pointer}, {"ACCOUNT_KEY", "an access key", false, pointer}, {"ACCOUNTKEY", "an access key", true, pointer},
		{"STORAGE_KEY", "an access key", false, pointer}, {"ADMIN_KEY", "an access key", false, pointer}, {"QUERY_KEY", "an access key", false, pointer}, {"SUBSCRIPTION_KEY", "an access key", false, pointer},
		{"FUNCTION_KEY", "an access key", false, pointer}, {"SAS_KEY", "an access key", false, pointer}, {"AUTH_KEY", "an access key", false, pointer},
		{"ENCRYPTION_KEY", "a secret key", false, pointer}, {"SIGNING_KEY", "a secret key", false, pointer}, {"MASTER_KEY", "a secret key", false, pointer}, {"SESSION_KEY", "a secret key", false, pointer},
		{"KEY", "a key", false, word},
		{"SAS", "a shared access signature", false, nil}, {"SAS_TOKEN", "a shared access signature", false, nil},
		{"CREDENTIAL", "a credential", false, small}, {"CREDENTIALS", "a credential", true, small},
	}
}

// plain is what a key that says password may be given without its being one: a switch, a variable, a place for a reader to fill in, the
// reference of Azure's App Service to a vault. A number is none of these: there are passwords of digits.
var plain = regexp.MustCompile(`^(?:(?i:true|false|yes|no|on|off|none|null|disabled|enabled|required|optional)|\$\{[A-Za-z_]\w*(?::?\?[^}]*|:?-)?\}|\$[A-Z_][A-Z0-9_]*|<[^>]*>|\*+|\[secret\]|@Microsoft\.KeyVault\([^)]*\))$`)

// pathLike is what may be a path, and a key in base64 as well.
var pathLike = regexp.MustCompile(`^(?:\.{0,2}|~)/[\w./-]+$`)

var (
	fewDigits = regexp.MustCompile(`^[0-9.,]{1,7}$`)
	usualPath = regexp.MustCompile(`^/(?:run|var|etc|opt|home|srv|tmp|usr|mnt|data|app|root|secrets|workspace)/[\w./-]+$`)
	address   = regexp.MustCompile(`^https?://[^\s?@]*$`)
	public    = regexp.MustCompile(`^(?:ssh-[a-z0-9]+ |ecdsa-|-----BEGIN (?:PUBLIC KEY|CERTIFICATE)-----)`)
	guid      = regexp.MustCompile(`^(?i:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)
	oneWord   = regexp.MustCompile(`^[A-Za-z_.:/-]{1,31}$`)
)

// small excuses a limit on tokens, and the file that a token is read from.
func small(b []byte) bool { return fewDigits.Match(b) || usualPath.Match(b) }

// pointer excuses where a key lies, and a key that everybody may know.
func pointer(b []byte) bool { return address.Match(b) || public.Match(b) }

// word excuses what a key that is not called secret may be: the name of a column, a number of one, the id of something (the instrumentation
// key of Application Insights is a GUID and lets nobody read).
func word(b []byte) bool {
	return pointer(b) || guid.Match(b) || oneWord.Match(b) || fewDigits.Match(b)
}

// called is what the key says of its value: its last words, as AWS_SECRET_ACCESS_KEY, botAppPassword and admin-token are read.
func called(key string, b []byte, exists func(path string) bool) string {
	name := Words(key)
	if name == "PWD" || name == "OLDPWD" || plain.Match(b) { // PWD alone is where a shell stands
		return ""
	}
	name = unqualified(name)
	if strings.HasSuffix(name, "KEY") && strings.Contains(name, "PUBLIC") {
		return ""
	}
	for _, n := range names() {
		if name != n.end && !strings.HasSuffix(name, "_"+n.end) && (!n.glued || !strings.HasSuffix(name, n.end)) {
			continue
		}
		if n.excuses != nil && n.excuses(b) || exists != nil && pathLike.Match(b) && exists(string(b)) {
			return ""
		}
		return n.kind
	}
	return ""
}

// unqualified is the name without what tells one secret from its likes: a number, an environment, an age, an encoding.
func unqualified(name string) string {
	for {
		short := strings.TrimRight(strings.TrimRight(name, "0123456789"), "_")
		for _, end := range []string{"_PROD", "_PRODUCTION", "_DEV", "_TEST", "_STAGING", "_OLD", "_NEW", "_CURRENT", "_PREVIOUS", "_PRIMARY", "_SECONDARY", "_BACKUP", "_VALUE", "_BASE", "_B", "_HEX"} {
			short = strings.TrimSuffix(short, end)
		}
		if short == name || short == "" {
			return name
		}
		name = short
	}
}

// Words is a key in capitals with underscores between its words, so that githubToken, github-token and GITHUB_TOKEN are one name.
func Words(key string) string {
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
