// Package role knows Azure roles: what each allows, whether it is elevated, and where a scope lies.
//
// A role definition's effective permission is its actions less its notActions, where * matches any run of characters, slashes
// included, and case does not count (Microsoft, "Understand Azure role definitions"). A whole segment /*/ may also stand for nothing:
// Microsoft's own roles count on it (see [Match]).
package role

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Definition is a role. ID is the GUID in lower case; it is the same in every tenant for a built-in role.
type Definition struct {
	Name           string   `json:"name"`
	ID             string   `json:"id"`
	Description    string   `json:"description"`
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
	Privileged     bool     `json:"privileged"` // Microsoft lists it among the privileged administrator roles
}

// Catalogue is the roles a spec may name.
type Catalogue []Definition

//go:embed roles.json
var builtin []byte

// Builtin reads the catalogue of built-in roles that comes with the binary (definitions of August 2026).
func Builtin() Catalogue {
	var c Catalogue
	if err := json.Unmarshal(builtin, &c); err != nil {
		panic("role: the catalogue inside the binary does not read: " + err.Error()) // a build fault, caught by every test
	}
	return c
}

// Find returns the role of that name (case does not count) or GUID.
func (c Catalogue) Find(nameOrID string) (Definition, bool) {
	for _, d := range c {
		if strings.EqualFold(d.Name, nameOrID) || strings.EqualFold(d.ID, nameOrID) {
			return d, true
		}
	}
	return Definition{}, false
}

// Name is the display name of a role GUID, or the GUID itself where the catalogue lacks it.
func (c Catalogue) Name(id string) string {
	if d, ok := c.Find(id); ok {
		return d.Name
	}
	return id
}

// Nearest is the role name closest to what somebody wrote, "" if nothing is close.
func (c Catalogue) Nearest(name string) string {
	names := make([]string, len(c))
	for i, d := range c {
		names[i] = d.Name
	}
	return Nearest(name, names)
}

// Nearest is the candidate with the smallest edit distance to the word, "" if none is within a third of its length.
func Nearest(word string, candidates []string) string {
	best, least := "", len(word)/3+2
	for _, c := range candidates {
		if max(len(word)-len(c), len(c)-len(word)) >= least {
			continue // the distance is at least this: a word of any length costs nothing
		}
		if d := distance(strings.ToLower(word), strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is Levenshtein's, over bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Allows tells whether the role allows a control-plane operation such as Microsoft.KeyVault/vaults/write.
func (d Definition) Allows(operation string) bool {
	return allows(d.Actions, d.NotActions, operation)
}

// AllowsData is Allows for a data-plane operation.
func (d Definition) AllowsData(operation string) bool {
	return allows(d.DataActions, d.NotDataActions, operation)
}

// allows reads what is granted widely and what is excluded narrowly: that /*/ may stand for nothing is seen in Microsoft's actions and
// documented for neither list, and a custom role must not pass for harmless because we read its exclusion wider than ARM does.
func allows(granted, excluded []string, operation string) bool {
	return slices.ContainsFunc(granted, func(p string) bool { return Match(p, operation) }) &&
		!slices.ContainsFunc(excluded, func(p string) bool { return match(p, operation, false) })
}

// Match tells whether a pattern of a role definition covers an operation. X/*/write covers X/write too: Managed Identity Operator has
// only userAssignedIdentities/*/assign/action for the operation userAssignedIdentities/assign/action, and Key Vault Reader only
// vaults/*/read for vaults/read; neither would do what it is for otherwise (Microsoft, "Azure built-in roles").
func Match(pattern, operation string) bool { return match(pattern, operation, true) }

// match walks all readings of the pattern side by side, so that no pattern from outside costs more than its length times the
// operation's. optional lets a segment /*/ stand for a single slash.
func match(pattern, operation string, optional bool) bool {
	pattern, operation = strings.ToLower(pattern), strings.ToLower(operation)
	at, next := make([]bool, len(pattern)+1), make([]bool, len(pattern)+1) // places in the pattern
	var reach func(set []bool, i int)
	reach = func(set []bool, i int) {
		for ; !set[i]; i++ {
			set[i] = true
			if optional && strings.HasPrefix(pattern[i:], "/*/") {
				reach(set, i+len("/*"))
			}
			if i == len(pattern) || pattern[i] != '*' {
				return
			}
		}
	}
	reach(at, 0)
	for o := range len(operation) {
		clear(next)
		for i := range len(pattern) {
			switch {
			case !at[i]:
			case pattern[i] == '*':
				reach(next, i)
			case pattern[i] == operation[o]:
				reach(next, i+1)
			}
		}
		at, next = next, at
	}
	return at[len(pattern)]
}

// escalations are operations that let their holder gain rights it was not given: granting, redefining or borrowing an identity, or
// opening a vault.
func escalations() []string {
	return []string{
		"Microsoft.Authorization/roleAssignments/write",
		"Microsoft.Authorization/roleAssignments/delete",
		"Microsoft.Authorization/roleDefinitions/write",
		"Microsoft.Authorization/elevateAccess/action",
		"Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
		// Role definitions spell it with the identity's name in between: userAssignedIdentities/*/assign/action.
		"Microsoft.ManagedIdentity/userAssignedIdentities/any/assign/action",
		"Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write",
		"Microsoft.KeyVault/vaults/write",
		"Microsoft.KeyVault/vaults/accessPolicies/write",
		"Microsoft.Compute/virtualMachines/runCommand/action",
		"Microsoft.Resources/deploymentScripts/write",
	}
}

// Elevated gives the reasons for which the role is elevated; none means that it is not. The verdict rests on what the role does, so
// a custom role with * is elevated whatever its name.
func (d Definition) Elevated() []string {
	var reasons []string
	for _, a := range d.Actions {
		switch strings.ToLower(a) {
		case "*", "*/write", "*/delete", "*/action":
			reasons = append(reasons, "its actions include "+a)
		}
	}
	if slices.Contains(d.DataActions, "*") {
		reasons = append(reasons, "its data actions include *")
	}
	for _, op := range escalations() {
		if d.Allows(op) {
			reasons = append(reasons, "it allows "+op)
		}
	}
	return reasons
}

// ReadsSecrets gives the control-plane operations through which the role can read keys of resources, past their own access control: a
// label that warns and advises to disable local authentication, not a refusal. A vault's secrets are data, guarded by its own roles.
func (d Definition) ReadsSecrets() []string {
	var found []string
	for _, a := range d.Actions {
		low := strings.ToLower(a)
		if !strings.HasSuffix(low, "/action") && !strings.HasSuffix(low, "*") {
			continue
		}
		for _, word := range []string{"listkeys", "listwithsecrets", "listsecrets", "listcredentials", "listclusteradmincredential", "listclusterusercredential", "listaccountsas", "listservicesas", "listconnectionstrings", "listadminkeys"} {
			if strings.Contains(low, word) && d.Allows(strings.ReplaceAll(a, "*", "any")) {
				found = append(found, a)
				break
			}
		}
	}
	for _, op := range []string{
		"Microsoft.BotService/botServices/channels/listChannelWithKeys/action",
		"Microsoft.CognitiveServices/accounts/listKeys/action",
		"Microsoft.Storage/storageAccounts/listKeys/action",
		"Microsoft.ContainerRegistry/registries/listCredentials/action",
	} {
		if d.Allows(op) && !slices.ContainsFunc(found, func(f string) bool { return strings.EqualFold(f, op) }) {
			found = append(found, op)
		}
	}
	return found
}

// Grant is one role at one scope, for one principal.
type Grant struct {
	Role   string `json:"role"`    // display name
	RoleID string `json:"role_id"` // GUID
	Scope  string `json:"scope"`   // ARM id
}

// Key identifies the grant whatever the case of its scope.
func (g Grant) Key() string { return strings.ToLower(strings.TrimRight(g.Scope, "/") + "|" + g.RoleID) }

// namespace is the UUIDv5 namespace of our role assignment names; it never changes, or assignments would be made twice.
const namespace = "5f0c1f0e-6c1e-4c53-9a0b-7d5a0b9f8f21"

// AssignmentName is the name (a GUID) under which we assign the grant to the principal: the same inputs give the same name, so that
// a retry cannot make a second assignment. RFC 9562, section 5.5.
func AssignmentName(g Grant, principalID string) string {
	ns, err := hex.DecodeString(strings.ReplaceAll(namespace, "-", ""))
	if err != nil {
		panic(err) // a constant
	}
	h := sha1.New()
	h.Write(ns)
	fmt.Fprintf(h, "%s|%s", g.Key(), strings.ToLower(principalID))
	id := h.Sum(nil)[:16]
	id[6] = id[6]&0x0f | 0x50
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
