package entra

import (
	"strings"
	"testing"
)

// FuzzAssertion feeds any text to the parser and to everything that reads what it parsed; whatever it accepts must not be believed.
func FuzzAssertion(f *testing.F) {
	w := newWorld(f)
	f.Add(w.jwt().sign())
	f.Add("eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjFlMzA4LCJuYmYiOi0xZTMwOCwiYXVkIjpbXX0.")
	f.Add("..")
	key := &otherKey().PublicKey
	f.Fuzz(func(t *testing.T, raw string) {
		a, bad := parseAssertion(raw)
		if bad != nil {
			return
		}
		_ = a.thumbprint()
		if a.complete() != nil {
			return
		}
		_ = a.timely(w.now())
		if a.signedBy(key) {
			t.Fatalf("a signature by a key that has signed nothing: %q", raw)
		}
	})
}

// FuzzScope parses, prints and parses again: the parts must be those of the first reading.
func FuzzScope(f *testing.F) {
	for _, s := range []string{userScope, "https://localhost:1//.default", "api://x/y z", "User.Read openid", "https://host", "/", "a/b a/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		one, bad := parseScope(s)
		if bad != nil {
			return
		}
		again, bad := parseScope(strings.Join(append(one.asked, one.oidc...), " "))
		if bad != nil {
			t.Fatalf("%q parses, what it printed does not: %v", s, bad)
		}
		if again.resource != one.resource || strings.Join(again.permissions, " ") != strings.Join(one.permissions, " ") {
			t.Fatalf("%q: %+v, then %+v", s, one, again)
		}
		for i, p := range one.permissions {
			if one.resource != "" && one.asked[i] != one.resource+"/"+p {
				t.Fatalf("%q: %q is not %q and %q", s, one.asked[i], one.resource, p)
			}
		}
	})
}
