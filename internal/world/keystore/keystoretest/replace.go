package keystoretest

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// ReplacingStore is a store with the power to change what an entry holds.
type ReplacingStore interface {
	keystore.Store
	keystore.Replacer
}

// RunReplacer checks that the stores which open returns keep the contract of keystore.Replacer. open is called once for each row and
// returns an empty store.
func RunReplacer(t *testing.T, open func(t *testing.T) ReplacingStore) {
	keys := suite{small: generate(t, 2048), other: generate(t, 2048), large: generate(t, 3072)}
	for _, row := range []struct {
		name string
		test func(*testing.T, ReplacingStore)
	}{
		{"a replaced key opens as the new one, again and again", keys.replaces},
		{"what was not there is made", keys.makes},
		{"neighbours stay, and what was replaced is deleted once", keys.neighbours},
		{"whoever reads meanwhile finds the old key or the new one", keys.neverNone},
		{"of concurrent replacements one wins, whole", keys.crossing},
		{"a replacement and a creation of one name leave one of both", keys.creating},
		{"names and keys that do not fit are refused, and the old key stays", keys.badReplacements},
		{"a cancelled context stops it, and the old key stays", keys.cancelledReplacement},
		{"beside a key alone lies no certificate", keys.alone},
	} {
		t.Run(row.name, func(t *testing.T) { row.test(t, open(t)) })
	}
}

// slot is what the Provisioner's active entry is called: its tenant.
const slot = "11111111-2222-3333-4444-555555555555"

func replace(t *testing.T, s ReplacingStore, key crypto.Signer) {
	t.Helper()
	if err := s.Replace(t.Context(), slot, key); err != nil {
		t.Fatalf("replace: %v (hint: %s)", err, fault.Hint(err))
	}
}

func (k suite) replaces(t *testing.T, s ReplacingStore) {
	ref := create(t, s, slot, k.small)
	for _, key := range []*keystore.Key{k.other, k.large, k.large, k.small} {
		replace(t, s, key)
		opensAs(t, s, ref, key)
	}
	listed(t, s, slot)
}

func (k suite) makes(t *testing.T, s ReplacingStore) {
	replace(t, s, k.small)
	opensAs(t, s, s.Ref(slot), k.small)
	_, err := s.Create(t.Context(), slot, k.other)
	wantCode(t, "create what a replacement has made", err, fault.Conflict)
	opensAs(t, s, s.Ref(slot), k.small)
}

func (k suite) neighbours(t *testing.T, s ReplacingStore) {
	beside := create(t, s, slot+"#0a1b2c3d", k.other)
	create(t, s, slot, k.small)
	replace(t, s, k.large)
	opensAs(t, s, beside, k.other)
	if err := s.Delete(t.Context(), s.Ref(slot)); err != nil {
		t.Fatal(err)
	}
	absent(t, s, s.Ref(slot)) // and not the key from before
	opensAs(t, s, beside, k.other)
}

func (k suite) neverNone(t *testing.T, s ReplacingStore) {
	ref := create(t, s, slot, k.small)
	old, new := k.small.Public().(*rsa.PublicKey), k.other.Public().(*rsa.PublicKey)
	done := make(chan struct{})
	var readers, reading sync.WaitGroup
	for range 3 {
		reading.Add(1)
		readers.Go(func() {
			for n := 0; ; n++ {
				got, err := s.Open(t.Context(), ref)
				switch {
				case fault.Is(err, fault.Unavailable, fault.Busy): // it could not be asked, which is no answer
				case err != nil:
					t.Errorf("a reader finds none: %v", err)
				case !old.Equal(got.Public()) && !new.Equal(got.Public()):
					t.Error("a reader finds another key")
				}
				if n == 0 {
					reading.Done()
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	reading.Wait()
	for n := range 20 {
		key := []*keystore.Key{k.other, k.small}[n%2]
		err := s.Replace(t.Context(), slot, key)
		for try := 0; try < 5 && fault.Is(err, fault.Unavailable); try++ { // gnome-keyring has been seen to forget its methods for an instant under load (2026-11)
			err = s.Replace(t.Context(), slot, key)
		}
		if err != nil {
			t.Errorf("replace: %v (hint: %s)", err, fault.Hint(err))
		}
	}
	close(done)
	readers.Wait()
	opensAs(t, s, ref, k.small)
}

func (k suite) crossing(t *testing.T, s ReplacingStore) {
	create(t, s, slot, k.large)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			// One that another has overtaken may see that at its reading back; it must not see anything else.
			if err := s.Replace(t.Context(), slot, []*keystore.Key{k.small, k.other}[i%2]); err != nil && !fault.Is(err, fault.Corrupt, fault.Conflict, fault.Unavailable) {
				t.Errorf("replace: %v", err)
			}
		})
	}
	wg.Wait()
	got, err := s.Open(t.Context(), s.Ref(slot))
	if err != nil {
		t.Fatal(err)
	}
	if public := got.Public().(*rsa.PublicKey); !public.Equal(k.small.Public()) && !public.Equal(k.other.Public()) {
		t.Error("neither of both won")
	}
	listed(t, s, slot)
}

func (k suite) creating(t *testing.T, s ReplacingStore) {
	var wg sync.WaitGroup
	var replaced, created error
	wg.Go(func() { replaced = s.Replace(t.Context(), slot, k.small) })
	wg.Go(func() { _, created = s.Create(t.Context(), slot, k.other) })
	wg.Wait()
	if replaced != nil {
		t.Errorf("replace: %v", replaced)
	}
	if created != nil {
		wantCode(t, "create", created, fault.Conflict, fault.Corrupt, fault.Unavailable)
	}
	opensAs(t, s, s.Ref(slot), k.small) // a creation never overwrites, a replacement always does
}

func (k suite) badReplacements(t *testing.T, s ReplacingStore) {
	ref := create(t, s, slot, k.small)
	for what, bad := range map[string]struct {
		name string
		key  crypto.Signer
	}{
		"no name": {"", k.other}, "a line end": {"a\nb", k.other}, "a long name": {strings.Repeat("n", 257), k.other}, "a secret's name": {"secret:x", k.other}, "no key": {slot, nil}, "an empty key": {slot, new(rsa.PrivateKey)},
	} {
		wantCode(t, what, s.Replace(t.Context(), bad.name, bad.key), fault.Invalid)
	}
	_, err := s.Certificate(t.Context(), s.Ref(""))
	wantCode(t, "certificate of no name", err, fault.Invalid)
	opensAs(t, s, ref, k.small)
	listed(t, s, slot)
}

func (k suite) cancelledReplacement(t *testing.T, s ReplacingStore) {
	ref := create(t, s, slot, k.small)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancel()
	for what, ctx := range map[string]context.Context{"cancelled": ended, "past its deadline": late} {
		_, read := s.Certificate(ctx, ref)
		for call, err := range map[string]error{"replace": s.Replace(ctx, slot, k.other), "certificate": read} {
			wantCode(t, fmt.Sprint(call, " ", what), err, fault.Unavailable, fault.Busy)
			if !errors.Is(err, ctx.Err()) {
				t.Errorf("%s %s: %v does not wrap %v", call, what, err, ctx.Err())
			}
		}
	}
	opensAs(t, s, ref, k.small)
}

func (k suite) alone(t *testing.T, s ReplacingStore) {
	create(t, s, slot, k.small)
	for _, name := range []string{slot, slot + "-none"} {
		if der, err := s.Certificate(t.Context(), s.Ref(name)); der != nil || !fault.Is(err, fault.NotFound) {
			t.Errorf("beside %s lies %d bytes, %v", name, len(der), err)
		}
	}
}
