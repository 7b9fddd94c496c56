// Package keystoretest is the contracts of keystore.Store and keystore.Secrets as test suites. Each backend passes itself in.
package keystoretest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// Run checks that the stores which open returns keep the contract. open is called once for each row and returns an empty store.
func Run(t *testing.T, open func(t *testing.T) keystore.Store) {
	keys := suite{small: generate(t, 2048), other: generate(t, 2048), large: generate(t, 3072)}
	for _, row := range []struct {
		name string
		test func(*testing.T, keystore.Store)
	}{
		{"what was created opens and signs", keys.signs},
		{"a key of 3072 bits fits", keys.fits},
		{"a second create of a name is a conflict and changes nothing", keys.conflict},
		{"what was never created is not found", keys.notFound},
		{"what was deleted is not found, and deleting twice is fine", keys.deletes},
		{"a name can be used again after its deletion", keys.reuse},
		{"names keep slashes, number signs, case and letters of the world", keys.names},
		{"names that no store can keep are refused", keys.badNames},
		{"keys that do not fit are refused", keys.badKeys},
		{"references of other stores are refused", keys.badRefs},
		{"of concurrent creates of one name exactly one wins", keys.race},
		{"a cancelled context stops every call and changes nothing", keys.cancelled},
		{"neither errors nor printed keys show key bytes", keys.silent},
	} {
		t.Run(row.name, func(t *testing.T) { row.test(t, open(t)) })
	}
}

type suite struct{ small, other, large *keystore.Key }

func generate(t *testing.T, bits int) *keystore.Key {
	t.Helper()
	k, err := keystore.Generate(bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const name = "11111111-2222-3333-4444-555555555555/polyclaw-runtime#0a1b2c3d"

func create(t *testing.T, s keystore.Store, name string, key crypto.Signer) secret.Ref {
	t.Helper()
	ref, err := s.Create(t.Context(), name, key)
	if err != nil {
		t.Fatalf("create %q: %v (hint: %s)", name, err, fault.Hint(err))
	}
	return ref
}

// opensAs fails the test unless ref opens as the key want and the key signs.
func opensAs(t *testing.T, s keystore.Store, ref secret.Ref, want crypto.Signer) {
	t.Helper()
	got, err := s.Open(t.Context(), ref)
	if err != nil {
		t.Fatalf("open %s: %v (hint: %s)", ref, err, fault.Hint(err))
	}
	public := want.Public().(*rsa.PublicKey)
	if !public.Equal(got.Public()) {
		t.Fatalf("open %s: another key came back", ref)
	}
	digest := sha256.Sum256([]byte(ref.String()))
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	signature, err := got.Sign(rand.Reader, digest[:], pss)
	if err != nil {
		t.Fatalf("sign with %s: %v", ref, err)
	}
	if err := rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, pss); err != nil {
		t.Fatalf("signature of %s: %v", ref, err)
	}
}

func wantCode(t *testing.T, what string, err error, codes ...fault.Code) {
	t.Helper()
	if !fault.Is(err, codes...) {
		t.Errorf("%s: got %q (%v), want %v", what, fault.CodeOf(err), err, codes)
	}
}

func absent(t *testing.T, s keystore.Store, ref secret.Ref) {
	t.Helper()
	_, err := s.Open(t.Context(), ref)
	wantCode(t, "open "+ref.String(), err, fault.NotFound)
}

// listed checks the list of a store that has the power to make one.
func listed(t *testing.T, s keystore.Store, want ...string) {
	t.Helper()
	l, ok := s.(keystore.Lister)
	if !ok {
		return
	}
	got, err := l.List(t.Context())
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("list: got %q, want %q", got, want)
	}
}

func (k suite) signs(t *testing.T, s keystore.Store) {
	ref := create(t, s, name, k.small)
	if ref != s.Ref(name) {
		t.Errorf("created as %s, but Ref says %s", ref, s.Ref(name))
	}
	parsed, err := secret.ParseRef(ref.String())
	if err != nil || parsed != ref {
		t.Errorf("%s parses as %s (%v)", ref, parsed, err)
	}
	opensAs(t, s, parsed, k.small)
	opensAs(t, s, ref, k.small)
	listed(t, s, name)
}

func (k suite) fits(t *testing.T, s keystore.Store) {
	opensAs(t, s, create(t, s, name, k.large), k.large)
}

func (k suite) conflict(t *testing.T, s keystore.Store) {
	ref := create(t, s, name, k.small)
	for _, key := range []crypto.Signer{k.other, k.small} {
		_, err := s.Create(t.Context(), name, key)
		wantCode(t, "second create", err, fault.Conflict)
	}
	opensAs(t, s, ref, k.small)
	listed(t, s, name)
}

func (k suite) notFound(t *testing.T, s keystore.Store) {
	absent(t, s, s.Ref(name))
	listed(t, s)
	create(t, s, name, k.small)
	absent(t, s, s.Ref(name+"0"))
	absent(t, s, s.Ref(strings.TrimSuffix(name, "d")))
}

func (k suite) deletes(t *testing.T, s keystore.Store) {
	if err := s.Delete(t.Context(), s.Ref(name)); err != nil {
		t.Errorf("delete of what never was: %v", err)
	}
	ref, neighbour := create(t, s, name, k.small), create(t, s, name+"0", k.other)
	for range 2 {
		if err := s.Delete(t.Context(), ref); err != nil {
			t.Fatalf("delete: %v", err)
		}
		absent(t, s, ref)
	}
	opensAs(t, s, neighbour, k.other)
	listed(t, s, name+"0")
}

func (k suite) reuse(t *testing.T, s keystore.Store) {
	ref := create(t, s, name, k.small)
	if err := s.Delete(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	opensAs(t, s, create(t, s, name, k.other), k.other)
}

func (k suite) names(t *testing.T, s keystore.Store) {
	names := []string{
		"contoso/agent#1", "contoso/agent", "contoso", "Contoso", "contoso/agent#1#2", "../escape", ".hidden", "a b", "a%20b", "100%?x=y",
		"Größe/Ärger#ß", "代理/キー#鍵", "🦀#1", "it's \"quoted\" $(x) `y` \\z", "trailing.", "x.age", strings.Repeat("a", 200),
	}
	// Two keys take turns, so that a name which opens under its neighbour's is seen.
	turn := []*keystore.Key{k.small, k.other}
	for i, n := range names {
		create(t, s, n, turn[i%2])
	}
	for i, n := range names {
		ref, err := secret.ParseRef(s.Ref(n).String())
		if err != nil {
			t.Errorf("reference of %q: %v", n, err)
			continue
		}
		opensAs(t, s, ref, turn[i%2])
	}
	listed(t, s, slices.Clone(names)...)
	for i, n := range names {
		if err := s.Delete(t.Context(), s.Ref(n)); err != nil {
			t.Errorf("delete %q: %v", n, err)
		}
		absent(t, s, s.Ref(n))
		listed(t, s, slices.Clone(names[i+1:])...)
	}
}

func (k suite) badNames(t *testing.T, s keystore.Store) {
	for _, n := range []string{"", "a\nb", "a\x00b", "\x7f", "\xff\xfe", strings.Repeat("n", 257), "secret:x"} {
		_, err := s.Create(t.Context(), n, k.small)
		wantCode(t, fmt.Sprintf("create %.10q", n), err, fault.Invalid)
		_, err = s.Open(t.Context(), s.Ref(n))
		wantCode(t, fmt.Sprintf("open %.10q", n), err, fault.Invalid)
		wantCode(t, fmt.Sprintf("delete %.10q", n), s.Delete(t.Context(), s.Ref(n)), fault.Invalid)
	}
	listed(t, s)
}

func (k suite) badKeys(t *testing.T, s keystore.Store) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for what, row := range map[string]struct {
		key  crypto.Signer
		code fault.Code
	}{
		"no key":           {nil, fault.Invalid},
		"a nil key":        {(*keystore.Key)(nil), fault.Invalid},
		"an empty key":     {new(rsa.PrivateKey), fault.Invalid},
		"RSA of 1024 bits": {small, fault.Refused},
		"elliptic curve":   {elliptic, fault.Unsupported},
	} {
		_, err := s.Create(t.Context(), name, row.key)
		wantCode(t, "create with "+what, err, row.code)
	}
	absent(t, s, s.Ref(name))
}

func (k suite) badRefs(t *testing.T, s keystore.Store) {
	mine := create(t, s, name, k.small)
	other := mine
	other.Store += "-other"
	for _, ref := range []secret.Ref{{}, {Backend: "nowhere", Name: name}, other} {
		_, err := s.Open(t.Context(), ref)
		wantCode(t, "open", err, fault.Invalid)
		wantCode(t, "delete", s.Delete(t.Context(), ref), fault.Invalid)
	}
	opensAs(t, s, mine, k.small)
}

func (k suite) race(t *testing.T, s keystore.Store) {
	const racers = 8
	errs := make([]error, racers)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range racers {
		wg.Go(func() {
			<-start
			_, errs[i] = s.Create(t.Context(), name, []*keystore.Key{k.small, k.other}[i%2])
		})
	}
	close(start)
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			t.Fatal("two creates of one name succeeded")
		case err == nil:
			winner = i
		default:
			wantCode(t, "losing create", err, fault.Conflict)
		}
	}
	if winner < 0 {
		t.Fatalf("no create succeeded: %v", errors.Join(errs...))
	}
	opensAs(t, s, s.Ref(name), []*keystore.Key{k.small, k.other}[winner%2])
	listed(t, s, name)
}

func (k suite) cancelled(t *testing.T, s keystore.Store) {
	ref := create(t, s, name, k.small)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	for what, ctx := range map[string]context.Context{"cancelled": ended, "past its deadline": late} {
		check := func(call string, err error) {
			t.Helper()
			wantCode(t, call+" "+what, err, fault.Unavailable, fault.Busy)
			if !errors.Is(err, ctx.Err()) {
				t.Errorf("%s %s: %v does not wrap %v", call, what, err, ctx.Err())
			}
		}
		_, err := s.Create(ctx, name+"-new", k.other)
		check("create", err)
		_, err = s.Open(ctx, ref)
		check("open", err)
		check("delete", s.Delete(ctx, ref))
		if l, ok := s.(keystore.Lister); ok {
			_, err = l.List(ctx)
			check("list", err)
		}
	}
	opensAs(t, s, ref, k.small)
	absent(t, s, s.Ref(name+"-new"))
}

// silent prints everything that a careless caller could print and looks for the key in it.
func (k suite) silent(t *testing.T, s keystore.Store) {
	var out strings.Builder
	note := func(v any) { fmt.Fprintf(&out, "%v %+v %#v %s %x\n", v, v, v, v, v) }
	ref := create(t, s, name, k.small)
	got, err := s.Open(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	_, conflict := s.Create(t.Context(), name, k.small)
	_, missing := s.Open(t.Context(), s.Ref("missing"))
	for _, v := range []any{ref, got, k.small, s, conflict, missing, struct{ key crypto.Signer }{got}, []any{got, s}} {
		note(v)
	}
	encoded, err := keystore.EncodeKey(k.small)
	if err != nil {
		t.Fatal(err)
	}
	err = encoded.Use(func(text []byte) error {
		block, _ := pem.Decode(text)
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return err
		}
		private := parsed.(*rsa.PrivateKey)
		for _, n := range []*big.Int{private.D, private.Primes[0], private.Primes[1]} {
			if strings.Contains(out.String(), n.String()) || strings.Contains(out.String(), n.Text(16)) {
				t.Error("printed text shows a number of the private key")
			}
		}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "-----") {
				continue
			}
			der, _ := base64.StdEncoding.DecodeString(line)
			// The first lines hold the modulus, which is public; what repeats from it in the output is no leak.
			if public := fmt.Sprintf("%x", k.small.Public().(*rsa.PublicKey).N); strings.Contains(public, fmt.Sprintf("%x", der)) {
				continue
			}
			for _, form := range []string{line, fmt.Sprintf("%x", der), fmt.Sprintf("%x", line), fmt.Sprint(der)} {
				if len(form) >= 16 && strings.Contains(out.String(), form) {
					t.Error("printed text shows bytes of the private key")
					return nil
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
