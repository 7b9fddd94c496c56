package keystoretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// SecretStore is a store with the power to keep secrets.
type SecretStore interface {
	keystore.Store
	keystore.Secrets
}

// RunSecrets checks that the stores which open returns keep the contract of keystore.Secrets, beside that of their keys. open is called
// once for each row and returns an empty store.
func RunSecrets(t *testing.T, open func(t *testing.T) SecretStore) {
	keys := suite{small: generate(t, 2048)}
	for _, row := range []struct {
		name string
		test func(*testing.T, SecretStore)
	}{
		{"a secret that was put comes back byte for byte", secretBytes},
		{"a second put replaces the first", secretReplaced},
		{"what was never put is not found", secretAbsent},
		{"what was deleted is not found, and deleting twice is fine", secretDeleted},
		{"secrets keep slashes, case and letters of the world in their names", secretNames},
		{"names that no store can keep are refused", secretBadNames},
		{"a secret that is empty or too long is refused and the old one stays", secretSizes},
		{"a secret is no key and a key is no secret", keys.secretIsNoKey},
		{"the caller's memory is not the store's", secretCopied},
		{"readers and writers at once see whole secrets, and always one", secretRace},
		{"a cancelled context stops every call and changes nothing", secretCancelled},
		{"errors and printed stores do not show the secret", secretSilent},
	} {
		t.Run(row.name, func(t *testing.T) { row.test(t, open(t)) })
	}
}

const login = "login/11111111-2222-3333-4444-555555555555"

// canary is what no output may show.
const canary = "0.AXkA-canary-refresh-token"

func put(t *testing.T, s keystore.Secrets, name, v string) {
	t.Helper()
	if err := s.PutSecret(t.Context(), name, secret.New([]byte(v))); err != nil {
		t.Fatalf("put %q: %v (hint: %s)", name, err, fault.Hint(err))
	}
}

// holds fails the test unless the secret of that name is want.
func holds(t *testing.T, s keystore.Secrets, name, want string) {
	t.Helper()
	got, err := s.Secret(t.Context(), name)
	if err != nil {
		t.Fatalf("secret %q: %v (hint: %s)", name, err, fault.Hint(err))
	}
	if !got.Equal(secret.New([]byte(want))) {
		t.Errorf("secret %q: another one came back", name)
	}
}

func holdsNone(t *testing.T, s keystore.Secrets, name string) {
	t.Helper()
	v, err := s.Secret(t.Context(), name)
	wantCode(t, "secret "+name, err, fault.NotFound)
	if !v.Empty() {
		t.Errorf("secret %q: a value came with the error", name)
	}
}

func secretBytes(t *testing.T, s SecretStore) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for what, v := range map[string]string{
		"one byte": "x", "a token": canary, "every byte": string(every), "spaces and line ends around": " \n" + canary + "\r\n\n",
		"go-keyring's prefix":   "go-keyring-base64:eA==",
		"hex":                   "c0ffee",
		"as long as everywhere": strings.Repeat("q", 2400),
	} {
		put(t, s, what, v)
		holds(t, s, what, v)
		holds(t, s, what, v)
	}
}

func secretReplaced(t *testing.T, s SecretStore) {
	put(t, s, login+"0", "neighbour")
	for _, v := range []string{"first", "a second one that is longer", "3", strings.Repeat("long ", 480), "3"} {
		put(t, s, login, v)
		holds(t, s, login, v)
	}
	holds(t, s, login+"0", "neighbour")
}

func secretAbsent(t *testing.T, s SecretStore) {
	holdsNone(t, s, login)
	put(t, s, login, canary)
	holdsNone(t, s, login+"0")
	holdsNone(t, s, "login")
	holdsNone(t, s, strings.TrimSuffix(login, "5"))
}

func secretDeleted(t *testing.T, s SecretStore) {
	if err := s.DeleteSecret(t.Context(), login); err != nil {
		t.Errorf("delete of what never was: %v", err)
	}
	put(t, s, login, canary)
	put(t, s, login+"0", "neighbour")
	for range 2 {
		if err := s.DeleteSecret(t.Context(), login); err != nil {
			t.Fatalf("delete: %v", err)
		}
		holdsNone(t, s, login)
	}
	holds(t, s, login+"0", "neighbour")
	put(t, s, login, "again")
	holds(t, s, login, "again")
}

func secretNames(t *testing.T, s SecretStore) {
	names := []string{
		"login/contoso", "login/Contoso", "login", "../escape", ".hidden", "a b", "a%20b", "Größe#ß", "鍵", "it's \"quoted\" $(x)", "x.age",
		"secret:login", strings.Repeat("a", 200),
	}
	for i, n := range names {
		put(t, s, n, fmt.Sprint("secret ", i))
	}
	listed(t, s)
	for i, n := range names {
		holds(t, s, n, fmt.Sprint("secret ", i))
		if err := s.DeleteSecret(t.Context(), n); err != nil {
			t.Errorf("delete %q: %v", n, err)
		}
		holdsNone(t, s, n)
	}
}

func secretBadNames(t *testing.T, s SecretStore) {
	for _, n := range []string{"", "a\nb", "a\x00b", "\x7f", "\xff\xfe", strings.Repeat("n", 257)} {
		wantCode(t, fmt.Sprintf("put %.10q", n), s.PutSecret(t.Context(), n, secret.New([]byte(canary))), fault.Invalid)
		_, err := s.Secret(t.Context(), n)
		wantCode(t, fmt.Sprintf("secret %.10q", n), err, fault.Invalid)
		wantCode(t, fmt.Sprintf("delete %.10q", n), s.DeleteSecret(t.Context(), n), fault.Invalid)
	}
}

func secretSizes(t *testing.T, s SecretStore) {
	put(t, s, login, canary)
	wantCode(t, "put the zero Value", s.PutSecret(t.Context(), login, secret.Value{}), fault.Invalid)
	wantCode(t, "put nothing", s.PutSecret(t.Context(), login, secret.New([]byte{})), fault.Invalid)
	long := secret.New(bytes.Repeat([]byte("x"), keystore.MaxSecret+1))
	wantCode(t, "put too much", s.PutSecret(t.Context(), login, long), fault.Refused)
	holds(t, s, login, canary)
}

func (k suite) secretIsNoKey(t *testing.T, s SecretStore) {
	// A secret that would read as a key, under the names that an entry of one could have as the other.
	encoded, err := keystore.EncodeKey(generate(t, 2048))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutSecret(t.Context(), name, encoded); err != nil {
		t.Fatal(err)
	}
	absent(t, s, s.Ref(name))
	listed(t, s)
	for _, n := range []string{"secret:" + name, "Secret:" + name, "ſecret:x"} {
		ref := s.Ref(n)
		_, err := s.Create(t.Context(), n, k.small)
		wantCode(t, "create "+n, err, fault.Invalid)
		_, err = s.Open(t.Context(), ref)
		wantCode(t, "open "+n, err, fault.Invalid)
		wantCode(t, "delete "+n, s.Delete(t.Context(), ref), fault.Invalid)
	}
	ref := create(t, s, name, k.small)
	put(t, s, name, canary)
	opensAs(t, s, ref, k.small)
	holds(t, s, name, canary)
	listed(t, s, name)
	if err := s.DeleteSecret(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	holdsNone(t, s, name)
	opensAs(t, s, ref, k.small)
	put(t, s, name, canary)
	if err := s.Delete(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	absent(t, s, ref)
	holds(t, s, name, canary)
}

func secretCopied(t *testing.T, s SecretStore) {
	b := []byte(canary)
	if err := s.PutSecret(t.Context(), login, secret.New(b)); err != nil {
		t.Fatal(err)
	}
	clear(b)
	holds(t, s, login, canary)
}

func secretRace(t *testing.T, s SecretStore) {
	const writers, writes, readers, reads = 3, 5, 4, 40
	whole := func(i int) string { return strings.Repeat(fmt.Sprint(i%10), 300+i) }
	valid := make(map[string]bool)
	for i := range writers*writes + 1 {
		valid[whole(i)] = true
	}
	put(t, s, login, whole(0))
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range writes {
				if err := s.PutSecret(t.Context(), login, secret.New([]byte(whole(w*writes+i+1)))); err != nil {
					t.Errorf("put: %v", err)
				}
			}
		})
	}
	check := func() {
		v, err := s.Secret(t.Context(), login)
		if err != nil {
			t.Errorf("secret: %v", err)
			return
		}
		_ = v.Use(func(b []byte) error {
			if !valid[string(b)] {
				t.Errorf("a secret of %d bytes came back that nobody put", len(b))
			}
			return nil
		})
	}
	for range readers {
		wg.Go(func() {
			for range reads {
				check()
			}
		})
	}
	wg.Wait()
	check()
}

func secretCancelled(t *testing.T, s SecretStore) {
	put(t, s, login, canary)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	for what, ctx := range map[string]context.Context{"cancelled": ended, "past its deadline": late} {
		_, read := s.Secret(ctx, login)
		for call, err := range map[string]error{
			"put":         s.PutSecret(ctx, login, secret.New([]byte("new"))),
			"put another": s.PutSecret(ctx, login+"-new", secret.New([]byte("new"))),
			"secret":      read,
			"delete":      s.DeleteSecret(ctx, login),
		} {
			wantCode(t, call+" "+what, err, fault.Unavailable, fault.Busy)
			if !errors.Is(err, ctx.Err()) {
				t.Errorf("%s %s: %v does not wrap %v", call, what, err, ctx.Err())
			}
		}
	}
	holds(t, s, login, canary)
	holdsNone(t, s, login+"-new")
}

func secretSilent(t *testing.T, s SecretStore) {
	put(t, s, login, canary)
	got, err := s.Secret(t.Context(), login)
	if err != nil {
		t.Fatal(err)
	}
	long := secret.New(bytes.Repeat([]byte(canary), 1+keystore.MaxSecret/len(canary)))
	tooLong := s.PutSecret(t.Context(), login, long)
	wantCode(t, "put too much", tooLong, fault.Refused)
	_, missing := s.Secret(t.Context(), "missing")
	_, key := s.Open(t.Context(), s.Ref(login))
	var out strings.Builder
	for _, v := range []any{s, got, tooLong, fault.Hint(tooLong), missing, key, struct{ v secret.Value }{got}} {
		fmt.Fprintf(&out, "%v %+v %#v %s %x\n", v, v, v, v, v)
	}
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprint([]byte(canary))} {
		if strings.Contains(out.String(), form) {
			t.Error("printed text shows the secret")
		}
	}
}
