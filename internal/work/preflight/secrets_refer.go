package preflight

import (
	"slices"
	"strings"
)

// referred is the answer of a check on one kind of secret that the agent needs: in clear it fails, a reference to the vault passes, and
// without it there is nothing to keep.
func (e agentEnv) referred(check, nothing string, keys ...string) Verdict {
	if v, bad := e.inClear(check); bad {
		return v
	}
	var by []string
	slices.Sort(keys)
	for _, key := range keys {
		if e.refers(key) {
			by = append(by, key)
		}
	}
	if len(by) == 0 {
		return skip("%s", nothing)
	}
	return pass("%s: by reference to the vault", strings.Join(by, ", "))
}

const toVault = "az keyvault secret set puts it into the agent's vault; write @kv:NAME in the file instead, and make a new value: the old one has been on a disk"
