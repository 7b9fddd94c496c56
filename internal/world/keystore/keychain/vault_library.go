//go:build darwin || windows

package keychain

import (
	"context"
	"errors"

	"github.com/zalando/go-keyring"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// libraryVault goes through go-keyring: /usr/bin/security on macOS (the key is handed over on its standard input, never in argv) and the
// credential functions of advapi32 on Windows. Its calls know no context; await makes up for that.
type libraryVault struct{}

func systemVault() vault { return libraryVault{} }

func (libraryVault) get(ctx context.Context, service, account string) ([]byte, error) {
	text, err := keyring.Get(service, account)
	if errors.Is(err, keyring.ErrNotFound) {
		if err := reachable(ctx); err != nil {
			return nil, err
		}
		return nil, fault.New(fault.NotFound, "no such entry in the keychain", "")
	}
	if err != nil {
		return nil, classify(err)
	}
	return []byte(text), nil
}

func (libraryVault) add(_ context.Context, service, account string, content secret.Value) error {
	return content.Use(func(b []byte) error {
		err := keyring.Set(service, account, string(b))
		if errors.Is(err, keyring.ErrSetDataTooBig) {
			return fault.New(fault.Refused, "the entry does not fit into this keychain", tooBigHint(account))
		}
		if err != nil {
			return classify(err)
		}
		return nil
	})
}

// put is add: go-keyring's Set replaces what is there in place, with "add-generic-password -U" on macOS and CredWrite on Windows.
func (v libraryVault) put(ctx context.Context, service, account string, content secret.Value) error {
	return v.add(ctx, service, account, content)
}

func tooBigHint(account string) string {
	if _, ok := keystore.SecretName(account); ok {
		return noKeychainHint
	}
	return "use an RSA key of 2048 bits, or --keystore age:FOLDER"
}

func (libraryVault) remove(_ context.Context, service, account string) error {
	err := keyring.Delete(service, account)
	if err == nil || errors.Is(err, keyring.ErrNotFound) {
		return nil // Delete of Store looks again, with get
	}
	return classify(err)
}

func locked(err error) error {
	return &fault.Error{Code: fault.Unauthenticated, Op: "the keychain is locked or refused this program", Err: err,
		Hint: "log in on the desktop and unlock the keychain, or " + noKeychainHint}
}

func unreachable(err error) error {
	return &fault.Error{Code: fault.Unavailable, Op: "the keychain cannot be used from here", Err: err, Hint: noKeychainHint}
}
