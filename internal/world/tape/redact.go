package tape

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	longest  = 400 // of an excerpt, in bytes
	longText = 160 // of one text inside of it
	gone     = "(redacted)"
)

// kind is what an answer may hold.
type kind int

const (
	open   kind = iota
	tokens      // tokens and codes under names that we know, among others that are of interest
	values      // vault data: only ids, names and what an error says are none of somebody's own words
	sealed      // nothing of it is shown
)

// secrecy tells by method and path what the answer may hold. The paths are those of the token endpoints (RFC 6749; IMDS; App Service), of
// Key Vault's data plane, and of the operations by which Azure Resource Manager gives keys away.
func secrecy(r *http.Request) kind {
	path := strings.ToLower(r.URL.Path)
	last := path[strings.LastIndex(path, "/")+1:]
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch {
	case strings.Contains(path, "/oauth2/"), strings.HasSuffix(path, "/token"), strings.HasSuffix(path, "/devicecode"), strings.HasSuffix(path, "/authorize"):
		return tokens
	case slices.Contains([]string{"secrets", "keys", "certificates", "deletedsecrets", "deletedkeys", "deletedcertificates", "storage", "rng"}, first):
		return values
	case r.Method == http.MethodPost && (strings.HasPrefix(last, "list") || strings.HasPrefix(last, "regenerate") || strings.HasPrefix(last, "get") && strings.Contains(last, "credential")):
		return sealed
	case r.Method == http.MethodPost && strings.HasSuffix(last, "password"):
		return sealed
	}
	return open
}

// address is the URL without what may be a secret in it.
func address(u *url.URL) string {
	c := *u
	c.User, c.Fragment, c.RawFragment = nil, "", ""
	if c.RawQuery == "" {
		return c.String()
	}
	pairs := strings.Split(c.RawQuery, "&")
	for i, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		if plain, err := url.QueryUnescape(name); err != nil || value != "" && (hidden(plain) || slices.Contains([]string{"sig", "code"}, strings.ToLower(plain))) {
			pairs[i] = name + "=" + gone
			continue
		}
		if plain, err := url.QueryUnescape(p); err == nil {
			pairs[i] = strings.ReplaceAll(plain, "\n", " ") // for people: $filter=displayName eq 'x'
		}
	}
	c.RawQuery = ""
	return clean(c.String() + "?" + strings.Join(pairs, "&"))
}

// hidden tells whether what stands under the name is a secret: by the names that Microsoft's services, OAuth (RFC 6749) and JSON Web Keys
// (RFC 7517) use, and by the endings that such names have elsewhere.
func hidden(name string) bool {
	n := strings.ToLower(strings.NewReplacer("_", "", "-", "", "$", "").Replace(name))
	if n == "tokentype" || n == "skiptoken" || n == "deltatoken" {
		return false
	}
	if slices.Contains([]string{"d", "p", "q", "dp", "dq", "qi", "k", "hint", "usercode", "devicecode", "clientassertion", "assertion", "ticket", "pwd", "pfx", "cookie", "proof"}, n) {
		return true
	}
	for _, end := range []string{"token", "tokens", "secret", "secrettext", "secretvalue", "password", "passphrase", "privatekey", "accountkey", "accesskey", "sharedkey", "primarykey", "secondarykey", "apikey", "masterkey", "connectionstring", "connectionstrings"} {
		if strings.HasSuffix(n, end) {
			return true
		}
	}
	return false
}

// inText are secrets inside of texts: a JSON Web Token, what a connection string has, a signature of a shared link, a key in PEM, a client
// secret of Entra (three characters, a digit Q and a tilde).
var inText = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*\.?[A-Za-z0-9_-]*|(?i:\b(?:AccountKey|SharedAccessKey|SharedAccessSignature|AccessKey|Password|Pwd|sig)=)[^;&\s"]+|-----BEGIN [A-Z ]*PRIVATE KEY-----[^"]*|\b[A-Za-z0-9_.~-]{3}\dQ~[A-Za-z0-9_.~-]{31,34}`)

func clean(s string) string { return inText.ReplaceAllString(s, gone) }

// excerpt is the beginning of an answer: JSON without blanks, its secrets replaced. What is not JSON is not shown, because nothing would
// tell what is secret in it.
func excerpt(b []byte, what kind) string {
	b = bytes.TrimPrefix(bytes.TrimSpace(b), []byte("\ufeff"))
	if len(b) == 0 {
		return ""
	}
	if what == sealed {
		return "(not shown: the answer is a secret)"
	}
	if b[0] != '{' && b[0] != '[' {
		return fmt.Sprintf("(%d bytes that are no JSON)", len(b))
	}
	p := printer{in: json.NewDecoder(bytes.NewReader(b)), what: what}
	p.in.UseNumber()
	p.value("", false)
	out := p.out.String()
	if len(out) > longest || p.broken {
		out = cut(out, longest-len("…")) + "…"
	}
	return out
}

// cut shortens a text to at most n bytes, at a rune.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// printer writes a JSON text as it comes, token by token: the text may end anywhere.
type printer struct {
	in     *json.Decoder
	out    strings.Builder
	what   kind
	broken bool // the text ended, or is none
}

func (p *printer) next() (json.Token, bool) {
	if p.broken || p.out.Len() > longest {
		return nil, false
	}
	t, err := p.in.Token()
	if err != nil {
		p.broken = err != io.EOF || p.out.Len() > 0
		return nil, false
	}
	return t, true
}

// value writes one value, whose name says whether it is secret.
func (p *printer) value(name string, secret bool) bool {
	t, ok := p.next()
	if !ok {
		return false
	}
	secret = secret || hidden(name) || p.what == values && strings.EqualFold(name, "tags")
	switch t := t.(type) {
	case json.Delim:
		return p.inside(name, t, secret)
	case nil:
		p.out.WriteString("null") // that there is none is no secret
	default:
		p.scalar(t, secret || p.what == values && !ofVault(name))
	}
	return true
}

// ofVault tells whether what a vault says under the name is the vault's own: ids, times, switches and errors (Key Vault REST API 7.4,
// SecretItem and SecretAttributes). contentType, tags and value are whatever somebody has put there.
func ofVault(name string) bool {
	return slices.Contains([]string{"id", "kid", "sid", "nextlink", "recoveryid", "attributes", "enabled", "created", "updated", "exp", "nbf", "recoverylevel", "recoverabledays", "managed", "scheduledpurgedate", "deleteddate",
		"code", "message", "status", "access_denied"}, strings.ToLower(name))
}

func (p *printer) scalar(t any, secret bool) {
	s, text := t.(string)
	switch {
	case secret:
		t = gone
	case text && len(s) > longText:
		t = fmt.Sprintf("(%d characters)", len(s))
	case text:
		t = clean(s)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(t) != nil {
		p.broken = true
		return
	}
	p.out.WriteString(strings.TrimSuffix(b.String(), "\n"))
}

func (p *printer) inside(name string, begin json.Delim, secret bool) bool {
	p.out.WriteString(begin.String())
	for first := true; p.in.More(); first = false {
		if !first {
			p.out.WriteByte(',')
		}
		of := name // the elements of a list are what the list is
		if begin == '{' {
			t, ok := p.next()
			if !ok {
				return false
			}
			of, _ = t.(string)
			p.scalar(of, secret && p.what == values) // a tag's name is as free as its value
			p.out.WriteByte(':')
		}
		if !p.value(of, secret) {
			return false
		}
	}
	t, ok := p.next()
	if !ok {
		return false
	}
	if d, is := t.(json.Delim); is {
		p.out.WriteString(d.String())
	}
	return true
}
