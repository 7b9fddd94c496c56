package clients

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAProgramsLinesAreOperations speaks the protocol with a program that is a shell and curl.
func TestAProgramsLinesAreOperations(t *testing.T) {
	issuer := NewIssuer(t)
	s := Start(t, "protocol")
	defer seen.forget("protocol") // it is no client
	s.Program(t, Program{Env: "js", Args: []string{"sh", "-euc", `
		say() { printf '%s\n' "$1"; IFS= read -r answer; }
		curl -sS --fail --cacert "$NODE_EXTRA_CA_CERTS" "$LEASTKEY_LOGIN/$AZURE_TENANT_ID/v2.0/.well-known/openid-configuration" >/dev/null
		say '{"op":"discovery","ok":true,"text":""}'
		[ "$answer" = '{}' ]
		say '{"do":"GET /health"}'
		case $answer in *'"status":200'*) ;; *) echo "health: $answer" >&2; exit 1 ;; esac
		say '{"do":"certificate","name":"x","seconds":60}'
		case $answer in *'"sha256":"'*) ;; *) exit 1 ;; esac
		say '{"do":"issuer.token","issuer":"main","subject":"s","audience":"a"}'
		case $answer in *'"token":"ey'*) ;; *) exit 1 ;; esac
		text=$(curl -sS --cacert "$NODE_EXTRA_CA_CERTS" "$LEASTKEY_LOGIN/nowhere.example/v2.0/.well-known/openid-configuration" | tr -d '"\\\r\n')
		say '{"op":"another tenant","negative":true,"code":"AADSTS90002","text":"'"$text"'"}'
	`}, Issuers: map[string]*Issuer{"main": issuer}})
	got := s.record.entries
	if len(got) != 2 || got[0].Name != "discovery" || got[0].Failed || got[1].Code != "AADSTS90002" || got[1].Failed {
		t.Fatalf("the record is %+v", got)
	}
	if want := "GET login /{id}/v2.0/.well-known/openid-configuration → 200"; len(got[0].Requests) != 1 || got[0].Requests[0] != want {
		t.Errorf("discovery asked for %q, want %q", got[0].Requests, want)
	}
}

// TestWhatIsWrongIsSeen: a suite whose cases prove nothing would be worse than none.
func TestWhatIsWrongIsSeen(t *testing.T) {
	s := Start(t, "protocol")
	defer seen.forget("protocol")
	for name, f := range map[string]func() error{
		"a negative case that succeeds":       func() error { return nil },
		"a negative case with another's code": func() error { return errors.New("AADSTS700016") },
	} {
		if err := s.watch(t, entry{Name: name, Code: "AADSTS700027"}, refusal("AADSTS700027", f)); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	if err := s.watch(t, entry{Name: "an operation that fails"}, func() error { return errors.New("no") }); err == nil {
		t.Error("an operation that fails passes")
	}
	if n := (history{entries: s.record.entries}).tally(); n != (tally{1, 2, 3}) {
		t.Errorf("the tally is %v", n)
	}
	if err := s.watch(t, entry{Name: "an operation that panics"}, func() error { panic("a nil pointer") }); err == nil || !strings.Contains(err.Error(), "a nil pointer") {
		t.Errorf("an operation that panics: %v", err)
	}
	for name, m := range map[string]message{
		"a failed operation of a program":     {Op: "x", Text: "no"},
		"a program's case that succeeds":      {Op: "x", Negative: true, Code: "A"},
		"a program's case with another code":  {Op: "x", Negative: true, Code: "A", Text: "B"},
		"a program's operation without name":  {OK: true},
		"a program's case without its code":   {Op: "x", Negative: true, Text: "B"},
		"a program's case with code and text": {Op: "x", Negative: true, Code: "A", Text: "A: no"},
	} {
		wrong, err := m.wrong()
		if (err == nil && wrong == "") != strings.HasSuffix(name, "code and text") {
			t.Errorf("%s: %q, %v", name, wrong, err)
		}
	}
	c := s.Certificate("expired", -time.Minute)
	if !time.Now().After(c.NotAfter) || filepath.Base(c.Both) != "expired.both.pem" {
		t.Errorf("the certificate is %+v", c)
	}
}
