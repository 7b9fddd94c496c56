//go:build unix

package helper_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/world/helper"
)

func TestAHelperPrintsATokenAndNothingElse(t *testing.T) {
	const token = "eyJhbGciOi.eyJhdWQiOi.c2lnbmF0dXJl"
	t.Setenv("LK_BY_ACCIDENT", "a secret")
	for _, row := range []struct {
		name, script string
		token, fails bool
	}{
		{"a token", "echo " + token, true, false},
		{"a token, and talk on stderr", "echo hello >&2; echo " + token, true, false},
		{"the state file is named", `test "$LEASTKEY_STATE_FILE" = /folder/state && echo ` + token, true, false},
		{"nothing of ours comes in by accident", `test -z "$LK_BY_ACCIDENT" && echo ` + token, true, false},
		{"no line end", "printf " + token, false, false},
		{"talk before it", "echo fetching; echo " + token, false, false},
		{"an empty line after it", "echo " + token + "; echo", false, false},
		{"two parts", "echo eyJhbGciOi.eyJhdWQiOi", false, false},
		{"nothing", "true", false, false},
		{"without end", "yes " + token + " | head -c 1000000", false, false},
		{"a failure", "echo 'leastkey: error: no key' >&2; exit 1", false, true},
		{"a failure that prints a token", "echo " + token + "; exit 1", true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "helper")
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+row.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			r, err := helper.Run(t.Context(), path, t.TempDir(), "/folder/state")
			if r.Token != row.token || (err != nil) != row.fails {
				t.Errorf("%+v, %v", r, err)
			}
			if strings.Contains(r.Said, token) || (err != nil && strings.Contains(err.Error(), token)) {
				t.Errorf("the token is told: %+v, %v", r, err)
			}
		})
	}
	if _, err := helper.Find("no-such-helper"); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}
