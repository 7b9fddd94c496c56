package agent

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/role"
)

// Problem is one thing wrong with a spec. Field is a path such as agents.polyclaw-runtime.roles[1].scope, which specfile turns into a
// line.
type Problem struct {
	Field   string
	Message string
	Hint    string
}

var (
	guid      = regexp.MustCompile(`^(?i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$`)
	domain    = regexp.MustCompile(`^(?i:[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+)$`)
	groupName = regexp.MustCompile(`^[\p{L}\p{N}_().-]{0,89}[\p{L}\p{N}_()-]$`) // Azure resource naming rules
	agentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)         // it becomes file and keystore names
	resName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
	sha256Hex = regexp.MustCompile(`^(?i:[0-9a-f]{64})$`)
)

// IsGUID tells whether the text is a GUID with dashes.
func IsGUID(s string) bool { return guid.MatchString(s) }

// Validate lists everything wrong with the spec at once; nil means that it can be planned.
func (s Spec) Validate(c role.Catalogue) []Problem {
	v := &validator{spec: s, roles: c}
	v.top()
	if len(s.Agents) == 0 {
		v.add("agents", "no agent is named", "add one, for instance: agents: {polyclaw-runtime: {}}")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Agents)) {
		if s.Agents[name] == nil { // a plan file, which others can write, has not been through Defaults
			v.add("agents."+name, "nothing is said of the agent", "")
			continue
		}
		v.agent("agents."+name, name, s.Agents[name])
	}
	v.files()
	return v.problems
}

type validator struct {
	spec     Spec
	roles    role.Catalogue
	problems []Problem
}

func (v *validator) add(field, message, hint string) {
	v.problems = append(v.problems, Problem{field, message, hint})
}

func (v *validator) top() {
	s := v.spec
	v.oneOf("cloud", string(s.Cloud), "local", "public", "usgov", "china")
	if !IsGUID(s.Tenant) && !domain.MatchString(s.Tenant) {
		v.add("tenant", "not a tenant: want a GUID or a domain name such as contoso.onmicrosoft.com", "leastkey init writes it from your session")
	}
	if !IsGUID(s.Subscription) {
		v.add("subscription", "not a subscription: want its GUID", "az account show --query id shows yours")
	}
	if !groupName.MatchString(s.ResourceGroup) {
		v.add("resource_group", "not a resource group name", "")
	}
	testUser := s.Cloud == Local && (s.Operator == "local" || strings.HasPrefix(s.Operator, "local:"))
	if s.Operator != "" && !testUser {
		v.oneOf("operator", s.Operator, "az", "azd", "device-code", "workload", "managed-identity")
	}
	v.oneOf("provisioner.permissions", s.Provisioner.Permissions, "seed", "agent-id-only")
}

func (v *validator) oneOf(field, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	hint := ""
	if near := role.Nearest(value, allowed); near != "" {
		hint = "did you mean " + near + "?"
	}
	v.add(field, fmt.Sprintf("%q is not one of %s", value, strings.Join(allowed, ", ")), hint)
}

func (v *validator) agent(field, name string, a *Agent) {
	if !agentName.MatchString(name) {
		v.add(field, "an agent's name is 1 to 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit", "")
	}
	switch a.Kind {
	case ServicePrincipal:
	case ManagedIdentity:
		v.managed(field, name, a)
	case AgentIdentity:
		v.add(field+".kind", "agent-identity is not in this version; version 0.5 brings it", "use kind: service-principal")
	default:
		v.oneOf(field+".kind", string(a.Kind), string(ServicePrincipal), string(ManagedIdentity), string(AgentIdentity))
	}
	v.certificate(field, a)
	v.resources(field, a)
	v.access(field, a)
	v.grants(field, a)
	v.federated(field, a)
}

// files refuses an environment file of two agents: whoever is applied last would be the identity of both. What letter case means is left to
// the file system.
func (v *validator) files() {
	first := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(v.spec.Agents)) {
		a := v.spec.Agents[name]
		if a == nil || a.EnvFile == "" {
			continue
		}
		path := filepath.Clean(a.EnvFile)
		if other, taken := first[path]; taken {
			v.add("agents."+name+".env_file", fmt.Sprintf("%s is agent %s's environment file too", a.EnvFile, other), "give each agent its own, such as env_file: "+name+".env")
			continue
		}
		first[path] = name
	}
}

func (v *validator) certificate(field string, a *Agent) {
	p := a.Certificate
	if p.Days < 1 || p.Days > 730 {
		v.add(field+".certificate.days", "a certificate lives 1 to 730 days", "")
	}
	if p.RenewAt <= 0 || p.RenewAt >= 1 {
		v.add(field+".certificate.renew_at", "renew_at is a part of the certificate's life, between 0 and 1", "0.66 renews after two thirds")
	} else if p.Days >= 1 && float64(p.Days)*p.RenewAt*24 < youngest.Hours() {
		v.add(field+".certificate.renew_at", "a certificate would be renewed within the first hour of its life", "0.66 renews after two thirds")
	}
	if p.Overlap < 0 {
		v.add(field+".certificate.overlap", "overlap is a duration of 0s or more", "")
	}
	for i, sum := range a.Certificates {
		if !sha256Hex.MatchString(sum) {
			v.add(fmt.Sprintf("%s.certificates[%d]", field, i), "not a SHA-256 in 64 hex digits", "")
		}
	}
	for i, id := range a.Owners {
		if !IsGUID(id) {
			v.add(fmt.Sprintf("%s.owners[%d]", field, i), "not an object id (GUID) of a user or service principal", "az ad user show --id NAME --query id shows one")
		}
	}
}

func (v *validator) resources(field string, a *Agent) {
	for _, r := range []struct{ field, value, provider, kind string }{
		{"key_vault", a.KeyVault, vaultProvider, vaultType},
		{"session_pool", a.SessionPool, poolProvider, poolType},
		{"content_safety", a.ContentSafety, safetyProvider, safetyType},
	} {
		if r.value == "" || resName.MatchString(r.value) {
			continue
		}
		sc, err := role.ParseScope(r.value)
		if err != nil || sc.Level != role.Resource || !strings.EqualFold(sc.Provider, r.provider) || !strings.EqualFold(sc.Type, r.kind) {
			v.add(field+"."+r.field, fmt.Sprintf("neither a name nor the id of a %s/%s", r.provider, r.kind), "")
		}
	}
}

// access is of the vault, so without one it would be a wish that nobody grants.
func (v *validator) access(field string, a *Agent) {
	if a.KeyVaultAccess == "" {
		return
	}
	v.oneOf(field+".key_vault_access", string(a.KeyVaultAccess), string(VaultOfficer), string(VaultUser))
	if a.KeyVault == "" {
		v.add(field+".key_vault_access", "there is no key_vault that it could be an access to", "name the vault, or remove the field")
	}
}

func (v *validator) grants(field string, a *Agent) {
	if a.Roles.Set != "" && a.Roles.Set != "polyclaw" {
		v.oneOf(field+".roles", a.Roles.Set, "polyclaw")
	}
	for i, r := range a.Roles.List {
		at := fmt.Sprintf("%s.roles[%d]", field, i)
		v.role(at+".role", r.Role)
		v.scope(at+".scope", r.Scope)
	}
}

func (v *validator) role(field, name string) {
	d, ok := v.roles.Find(name)
	if !ok {
		hint := "leastkey knows the roles of its catalogue by name or GUID"
		if near := v.roles.Nearest(name); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		v.add(field, fmt.Sprintf("unknown role %q", name), hint)
		return
	}
	if why := d.Elevated(); len(why) > 0 {
		v.add(field, fmt.Sprintf("%s is an elevated role: %s", d.Name, why[0]), "name the narrow roles that the agent needs")
	}
}

// scope refuses what is wider than a resource group: the wider an assignment, the more one prompt injection owns.
func (v *validator) scope(field, scope string) {
	sc, err := role.ParseScope(scope)
	switch {
	case err != nil || (sc.Level >= role.Subscription && !IsGUID(sc.SubscriptionID)):
		v.add(field, "not an ARM scope", "want /subscriptions/ID/resourceGroups/NAME or the id of a resource in it")
	case sc.Level < role.ResourceGroup || sc.Group == "":
		v.add(field, role.Short(scope)+" is wider than a resource group", "name the resource group, or better the resource")
	}
}
