package authority

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// An ID token has the client for its audience and the same signature: only its kind tells that no service may take it.
func TestAnIDTokenIsNoAccessToken(t *testing.T) {
	now := time.Now()
	a, err := New(func() time.Time { return now }, func(v string) string { return "https://login.test/" + v }, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, x5t := range []bool{true, false} {
		token, err := a.MintID(map[string]any{"aud": "app", "iss": "https://login.test/2.0", "exp": now.Unix() + 60, "oid": "user"}, x5t)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Verify("Bearer "+token, "app"); !errors.Is(err, ErrKind) {
			t.Errorf("got %v", err)
		}
	}
}

func TestVerify(t *testing.T) {
	now := time.Now()
	iss := func(v string) string { return "https://login.test/" + v }
	a, err := New(func() time.Time { return now }, iss, nil)
	if err != nil {
		t.Fatal(err)
	}
	good := Claims{Audience: "https://arm.test", Expires: now.Unix() + 60, NotBefore: now.Unix()}
	late, early, foreign := good, good, good
	late.Expires, early.NotBefore, foreign.Issuer = now.Unix()-1, now.Unix()+600, "https://elsewhere.test"
	for _, row := range []struct {
		name     string
		claims   Claims
		damage   func(string) string
		audience string
		want     error
	}{
		{"a good token passes, whatever the trailing slash", good, nil, "https://ARM.test/", nil},
		{"an expired token is refused", late, nil, "https://arm.test", ErrExpired},
		{"a token of the future is refused", early, nil, "https://arm.test", ErrNotYet},
		{"a token for another service is refused", good, nil, "https://graph.test", ErrAudience},
		{"a token of another issuer is refused", foreign, nil, "https://arm.test", ErrIssuer},
		{"a changed payload is refused", good, func(s string) string { return strings.Replace(s, ".e", ".f", 1) }, "https://arm.test", ErrMalformed},
		{"no token is told apart", good, func(string) string { return "" }, "https://arm.test", ErrMissing},
	} {
		t.Run(row.name, func(t *testing.T) {
			token, err := a.Mint(row.claims)
			if err != nil {
				t.Fatal(err)
			}
			header := "Bearer " + token
			if row.damage != nil {
				header = row.damage(header)
			}
			if _, err := a.Verify(header, row.audience); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}
