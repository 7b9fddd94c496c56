package keychain

import (
	"context"
	"errors"

	"golang.org/x/sys/windows"
)

// reachable has nothing to ask: CredRead answers ERROR_NOT_FOUND for an absent entry only.
func reachable(context.Context) error { return nil }

// classify: ERROR_NO_SUCH_LOGON_SESSION is what network logons get, which have no credential set
// (https://learn.microsoft.com/windows/win32/api/wincred/nf-wincred-credreadw).
func classify(err error) error {
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return locked(err)
	}
	return unreachable(err)
}
