package web

import (
	"testing"
)

func TestSmoke(t *testing.T) {
	b := visitor(t, good())
	for _, p := range []string{"/login", "/", "/agents/" + bot, "/agents/" + bot + "/plan/apply", "/agents/" + bot + "/plan/revoke", "/agents/" + bot + "/fix", "/agents/" + bot + "/preflight", "/ledger?verify=yes", "/jobs", "/setup", "/setup/group", "/setup/agent", "/setup/options", "/setup/file", "/setup/infrastructure", "/setup/verify"} {
		t.Run(p, func(t *testing.T) {
			w := b.get(p)
			if w.Code != 200 {
				t.Error(w.Code, w.Body)
			}
		})
	}
}
