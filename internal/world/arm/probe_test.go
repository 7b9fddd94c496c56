package arm

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

const (
	identities = "Microsoft.ManagedIdentity/userAssignedIdentities"
	vaults     = "Microsoft.KeyVault/vaults"
)

func TestTheDeleteProbeNamesWhatNobodyHas(t *testing.T) {
	refused := problem(403, "AuthorizationFailed", "no")
	c, m := serve(t, refused, refused, refused, refused)
	seen := map[string]bool{}
	for i, kind := range []string{identities, identities, vaults, vaults} {
		target, status, err := c.ProbeDelete(t.Context(), group, kind)
		if status != 403 || !fault.Is(err, fault.Forbidden) || fault.Service(err) != "AuthorizationFailed" {
			t.Errorf("%d, %v", status, err)
		}
		name := target[strings.LastIndexByte(target, '/')+1:]
		// Azure takes both, so that a caller who has the right is not refused for the name: identities 3 to 128 characters, vaults 3 to 24.
		form := regexp.MustCompile(`^leastkey-probe-[a-z2-7]{26}$`)
		if kind == vaults {
			form = regexp.MustCompile(`^lk[a-z2-7]{22}$`)
		}
		if !form.MatchString(name) || seen[name] || !strings.HasPrefix(target, group+"/providers/"+kind+"/") {
			t.Errorf("target %s", target)
		}
		seen[name] = true
		if line := m.asked[i].line; !strings.HasPrefix(line, "DELETE "+base+target+"?api-version=2") {
			t.Errorf("%s", line)
		}
	}
}

func TestTheDeleteProbeTellsTheAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		reply  reply
		status int
		code   fault.Code // "" is no error
	}{
		"204 is the answer to whoever may":        {reply{status: 204}, 204, ""},
		"200":                                     {ok(`{}`), 200, ""},
		"202, and nothing asks how it goes":       {reply{status: 202, header: http.Header{"Location": {base + "/operation"}}}, 202, ""},
		"202 that does not say where to ask":      {reply{status: 202, header: http.Header{"Location": {"nonsense"}}}, 202, ""},
		"404 of the resource":                     {problem(404, "ResourceNotFound", "no"), 404, fault.NotFound},
		"a lock":                                  {problem(409, "ScopeLocked", "no"), 409, fault.Conflict},
		"too many requests":                       {problem(429, "TooManyRequests", "no"), 429, fault.Throttled},
		"a proxy's 404 is no answer of ARM":       {reply{status: 404, body: "<html>"}, 404, fault.Unknown},
		"a proxy's 403 is no answer of ARM":       {reply{status: 403, body: "<html>"}, 403, fault.Unknown},
		"a connection that was cut tells nothing": {reply{err: http.ErrServerClosed}, 0, fault.Unavailable},
	} {
		client, m := serve(t, c.reply)
		_, status, err := client.ProbeDelete(t.Context(), group, identities)
		if status != c.status || fault.CodeOf(err) != c.code {
			t.Errorf("%s: %d, %v (%s)", name, status, err, fault.CodeOf(err))
		}
		if len(m.asked) != 1 {
			t.Errorf("%s: %d requests", name, len(m.asked))
		}
	}
}

func TestTheDeleteProbeIsNotSentUnderANameThatCouldBeSomebodys(t *testing.T) {
	client, m := serve(t)
	for _, drawn := range []string{"", "short", strings.Repeat("a", 26), strings.Repeat("abcdefg", 4), "kv-polyclaw-kv-polyclaw-kv", "../../../vaults/kv-polyclaw", "abcdefghijklmnopqrstuvwxy"} {
		for _, kind := range []string{identities, vaults} {
			if target, _, err := client.probeDelete(t.Context(), group, kind, func() string { return drawn }); target != "" || !fault.Is(err, fault.Refused) {
				t.Errorf("%q: %s, %v", drawn, target, err)
			}
		}
	}
	for _, c := range []struct{ scope, kind string }{{group, "Microsoft.Storage/storageAccounts"}, {group, "../x"}, {group, ""}, {vault, vaults}, {"/subscriptions/" + subscription, vaults}, {"/subscriptions/x/resourceGroups/g", vaults}} {
		if _, _, err := client.ProbeDelete(t.Context(), c.scope, c.kind); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	m.expect(t)
}
