package keychain

import (
	"context"
	"errors"
	"os/exec"
)

// reachable tells an absent entry from an absent keychain. go-keyring takes every message with "could not be found" for the former, and
// that is also what security says where a session has no default keychain (errSecNoDefaultKeychain), as under launchd or ssh.
func reachable(ctx context.Context) error {
	if err := exec.CommandContext(ctx, "/usr/bin/security", "default-keychain").Run(); err != nil {
		return unreachable(err)
	}
	return nil
}

// classify reads the exit code of security, which is the low byte of the OSStatus (SecBase.h): 36 is errSecInteractionNotAllowed
// (-25308), 51 errSecAuthFailed (-25293), 128 errSecUserCanceled (-128).
func classify(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		switch exit.ExitCode() {
		case 36, 51, 128:
			return locked(err)
		}
	}
	return unreachable(err)
}
