package secret_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/secret"
)

func TestParseRef(t *testing.T) {
	for text, want := range map[string]secret.Ref{
		"keychain:leastkey-agent/tid/polyclaw-runtime#0123": {Backend: "keychain", Store: "leastkey-agent", Name: "tid/polyclaw-runtime#0123"},
		"keychain:a%2Fb/c":              {Backend: "keychain", Store: "a/b", Name: "c"},
		"keychain:a%40b/c@d":            {Backend: "keychain", Store: "a@b", Name: "c@d"},
		"age:/home/x/keys#tid/agent#01": {Backend: "age", Store: "/home/x/keys", Name: "tid/agent#01"},
		"age:/home/me@corp/keys#n":      {Backend: "age", Store: "/home/me@corp/keys", Name: "n"},
		"age:C:\\keys#n":                {Backend: "age", Store: "C:\\keys", Name: "n"},
		"age:%2F/odd#n":                 {Backend: "age", Store: "//odd", Name: "n"},
		"age:a%23b#c":                   {Backend: "age", Store: "a#b", Name: "c"},
		"memory:x":                      {Backend: "memory", Name: "x"},
		"memory:100%25":                 {Backend: "memory", Name: "100%"},
		"memory:ü/#1":                   {Backend: "memory", Name: "ü/#1"},
	} {
		got, err := secret.ParseRef(text)
		if err != nil || got != want {
			t.Errorf("ParseRef(%q) = %+v %v, want %+v", text, got, err, want)
		}
		if got.String() != text {
			t.Errorf("%q is printed as %q", text, got)
		}
	}
}

func TestRefsThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                      "",
		"no backend":                   "name",
		"an unknown backend":           "pkcs11:token=x;object=y",
		"a backend in other case":      "Memory:x",
		"a backend alone":              "memory:",
		"a keychain without account":   "keychain:service",
		"a keychain, empty account":    "keychain:service/",
		"a keychain, empty service":    "keychain:/account",
		"a file without name":          "age:/keys",
		"a file, empty name":           "age:/keys#",
		"a file, empty path":           "age:#name",
		"a query, where PINs are put":  "keychain:service/account?pin=1234",
		"a query of a file":            "age:/keys?pass=1234#name",
		"user info of an authority":    "age://user:pin@host/keys#name",
		"user info without authority":  "keychain:user:pin@service/account",
		"an authority without user":    "memory://host/name",
		"a NUL":                        "memory:a\x00b",
		"a NUL, encoded":               "memory:a%00b",
		"a line end":                   "memory:a\nb",
		"a line end, encoded":          "memory:a%0Ab",
		"what drives a terminal":       "memory:%1b[31m",
		"another that drives one":      "memory:\u009b31m",
		"an encoding cut short":        "memory:a%2",
		"an encoding that is none":     "memory:a%zz",
		"bytes that are no text":       "memory:%ff",
		"bytes that are no text, bare": "memory:\xff",
	} {
		t.Run(name, func(t *testing.T) {
			ref, err := secret.ParseRef(text)
			if err == nil || !ref.Zero() || !errors.Is(err, secret.ErrRef) {
				t.Fatalf("ParseRef(%q) = %+v %v", text, ref, err)
			}
			if strings.Contains(err.Error(), "1234") || strings.Contains(err.Error(), "user:pin") {
				t.Errorf("the error echoes what may be a secret: %v", err)
			}
		})
	}
}

func TestRefInJSON(t *testing.T) {
	type record struct {
		Key secret.Ref `json:"key"`
	}
	for _, text := range []string{`{"key":""}`, `{"key":"memory:x"}`, `{"key":"age:/k#a/b#c"}`} {
		var r record
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		if b, err := json.Marshal(r); err != nil || string(b) != text {
			t.Errorf("%s becomes %s %v", text, b, err)
		}
	}
	r := record{Key: secret.Ref{Backend: "memory", Name: "kept"}}
	if err := json.Unmarshal([]byte(`{"key":"x:y"}`), &r); err == nil || r.Key.Name != "kept" {
		t.Errorf("a broken reference is read: %+v %v", r, err)
	}
}

func FuzzRef(f *testing.F) {
	for _, s := range []string{"keychain:a/b#c", "age:/k#n", "memory:x", "memory:%2F%2f", "age:%2F/x#y", "keychain:%40/%3F"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := secret.ParseRef(text)
		if err != nil {
			return
		}
		again, err := secret.ParseRef(ref.String())
		if err != nil || again != ref {
			t.Fatalf("%q is %+v, printed %q, which is %+v %v", text, ref, ref, again, err)
		}
		b, err := json.Marshal(ref)
		if err != nil {
			t.Fatal(err)
		}
		var back secret.Ref
		if err := json.Unmarshal(b, &back); err != nil || back != ref {
			t.Fatalf("%+v becomes %s becomes %+v %v", ref, b, back, err)
		}
	})
}
