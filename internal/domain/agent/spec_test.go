package agent_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/role"
)

func TestDefaults(t *testing.T) {
	s := agent.Spec{Agents: map[string]*agent.Agent{"bare": nil, "said": {Kind: agent.ManagedIdentity, EnvFile: "x.env", Certificate: agent.CertificatePolicy{Days: 30, RenewAt: 0.5}, Roles: agent.Roles{List: []agent.RoleAt{}}}}}
	s.Defaults()
	if s.Cloud != agent.Local || s.ResourceGroup != "polyclaw-rg" || s.Location != "eastus" || s.Provisioner != (agent.Provisioner{DisplayName: "EntraClaw Agent ID Provisioner", Keystore: "auto", StateFile: ".entraclaw-state.json", Permissions: "seed"}) {
		t.Errorf("the spec's defaults: %+v", s)
	}
	bare := s.Agents["bare"]
	if bare == nil || bare.Name != "bare" || bare.Kind != agent.ServicePrincipal || bare.Certificate.Days != 365 || bare.Certificate.RenewAt != 0.66 || bare.Certificate.Overlap != 0 || bare.EnvFile != ".env" || bare.Roles.Set != "polyclaw" {
		t.Errorf("an agent's defaults: %+v", bare)
	}
	said := s.Agents["said"]
	if said.Kind != agent.ManagedIdentity || said.EnvFile != "x.env" || said.Certificate.Days != 30 || said.Certificate.RenewAt != 0.5 || said.Roles.Set != "" {
		t.Errorf("what was said is overwritten: %+v", said)
	}
	before := fmt.Sprintf("%+v %+v", s, *bare)
	if s.Defaults(); before != fmt.Sprintf("%+v %+v", s, *bare) {
		t.Error("defaults of defaults differ")
	}
}

func TestGrants(t *testing.T) {
	const elsewhere = "/subscriptions/" + sub + "/resourceGroups/other/providers/Microsoft.KeyVault/vaults/kv"
	for name, c := range map[string]struct {
		agent agent.Agent
		want  []string
	}{
		"the set, with nothing configured": {agent.Agent{}, []string{"Azure Bot Service Contributor Role@" + group, "Reader@" + group}},
		"the set, with everything": {agent.Agent{KeyVault: "kv", SessionPool: "p", ContentSafety: "c"}, []string{
			"Azure Bot Service Contributor Role@" + group, "Reader@" + group, "Key Vault Secrets Officer@" + vault,
			"Azure ContainerApps Session Executor@" + group + "/providers/Microsoft.App/sessionPools/p", "Cognitive Services User@" + group + "/providers/Microsoft.CognitiveServices/accounts/c",
		}},
		"a vault of another group":        {agent.Agent{KeyVault: elsewhere}, []string{"Azure Bot Service Contributor Role@" + group, "Reader@" + group, "Key Vault Secrets Officer@" + elsewhere}},
		"a list alone":                    {agent.Agent{Roles: agent.Roles{List: []agent.RoleAt{{Role: "reader", Scope: group}}}}, []string{"Reader@" + group}},
		"an empty list is none":           {agent.Agent{Roles: agent.Roles{List: []agent.RoleAt{}}}, nil},
		"a list and a vault":              {agent.Agent{KeyVault: "kv", Roles: agent.Roles{List: []agent.RoleAt{{Role: "Reader", Scope: group}}}}, []string{"Reader@" + group, "Key Vault Secrets Officer@" + vault}},
		"the same twice is once":          {agent.Agent{Roles: agent.Roles{List: []agent.RoleAt{{Role: "Reader", Scope: group}, {Role: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Scope: strings.ToUpper(group) + "/"}}}}, []string{"Reader@" + group}},
		"what is unknown is not granted":  {agent.Agent{Roles: agent.Roles{List: []agent.RoleAt{{Role: "Emperor", Scope: group}}}}, nil},
		"what has no scope is no grant":   {agent.Agent{Roles: agent.Roles{List: []agent.RoleAt{{Role: "Reader"}}}}, nil},
		"the order is that of the list":   {agent.Agent{Roles: agent.Roles{List: []agent.RoleAt{{Role: "Reader", Scope: vault}, {Role: "Reader", Scope: group}}}}, []string{"Reader@" + vault, "Reader@" + group}},
		"a vault listed as well is once":  {agent.Agent{KeyVault: "kv", Roles: agent.Roles{List: []agent.RoleAt{{Role: "Key Vault Secrets Officer", Scope: vault}}}}, []string{"Key Vault Secrets Officer@" + vault}},
		"a role by GUID is named by name": {agent.Agent{Roles: agent.Roles{List: []agent.RoleAt{{Role: "ACDD72A7-3385-48EF-BD42-F606FBA81AE7", Scope: group}}}}, []string{"Reader@" + group}},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.agent
			s := agent.Spec{Subscription: sub, Agents: map[string]*agent.Agent{"bot": &a}}
			s.Defaults()
			var got []string
			for _, g := range s.Grants(&a, role.Builtin()) {
				got = append(got, g.Role+"@"+g.Scope)
				if d, ok := role.Builtin().Find(g.RoleID); !ok || d.Name != g.Role {
					t.Errorf("%s has GUID %s", g.Role, g.RoleID)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestWhy(t *testing.T) {
	s := wanted()
	a := s.Agents["bot"]
	for _, g := range s.Grants(a, role.Builtin()) {
		if s.Why(a, g) == "" {
			t.Errorf("nobody knows why %s", g.Role)
		}
	}
	a.Roles = agent.Roles{List: []agent.RoleAt{{Role: "Reader", Scope: group}}}
	for _, g := range s.Grants(a, role.Builtin()) {
		if why := s.Why(a, g); (why == "") != (g.Role == "Reader") {
			t.Errorf("%s: %q; a role that the spec lists itself has no reason of ours, the vault's has", g.Role, why)
		}
	}
}

// withFile is another agent like this one, whose environment file is elsewhere.
func withFile(a *agent.Agent, file string) *agent.Agent {
	b := *a
	b.EnvFile = file
	return &b
}

func TestValidate(t *testing.T) {
	if p := wanted().Validate(role.Builtin()); p != nil {
		t.Fatalf("a good spec: %+v", p)
	}
	list := func(r ...agent.RoleAt) agent.Roles { return agent.Roles{List: r} }
	const bot = "agents.bot"
	for name, c := range map[string]struct {
		change func(*agent.Spec, *agent.Agent)
		want   string // fields, joined by blanks
		says   string // of the first message or hint
	}{
		"a cloud that is none":                  {func(s *agent.Spec, _ *agent.Agent) { s.Cloud = "publik" }, "cloud", "did you mean public?"},
		"no tenant":                             {func(s *agent.Spec, _ *agent.Agent) { s.Tenant = "" }, "tenant", "not a tenant"},
		"a tenant of one word":                  {func(s *agent.Spec, _ *agent.Agent) { s.Tenant = "contoso" }, "tenant", "not a tenant"},
		"a tenant with a path":                  {func(s *agent.Spec, _ *agent.Agent) { s.Tenant = "contoso.com/x" }, "tenant", "not a tenant"},
		"a tenant by its domain":                {func(s *agent.Spec, _ *agent.Agent) { s.Tenant = "Contoso.onMicrosoft.com" }, "", ""},
		"a subscription by its name":            {func(s *agent.Spec, _ *agent.Agent) { s.Subscription = "Pay-As-You-Go" }, "subscription", "GUID"},
		"a GUID in braces":                      {func(s *agent.Spec, _ *agent.Agent) { s.Subscription = "{" + sub + "}" }, "subscription", "GUID"},
		"a group that ends in a dot":            {func(s *agent.Spec, _ *agent.Agent) { s.ResourceGroup = "rg." }, "resource_group", ""},
		"a group with a slash":                  {func(s *agent.Spec, _ *agent.Agent) { s.ResourceGroup = "rg/x" }, "resource_group", ""},
		"a group in another script":             {func(s *agent.Spec, _ *agent.Agent) { s.ResourceGroup = "größe-组" }, "", ""},
		"an operator that is none":              {func(s *agent.Spec, _ *agent.Agent) { s.Operator = "device_code" }, "operator", "did you mean device-code?"},
		"a test user on the local cloud":        {func(s *agent.Spec, _ *agent.Agent) { s.Operator = "local:admin" }, "", ""},
		"a test user on a real cloud":           {func(s *agent.Spec, _ *agent.Agent) { s.Cloud, s.Operator = agent.Public, "local:admin" }, "operator", "is not one of"},
		"permissions that are none":             {func(s *agent.Spec, _ *agent.Agent) { s.Provisioner.Permissions = "all" }, "provisioner.permissions", "is not one of"},
		"permissions, beside a test user":       {func(s *agent.Spec, _ *agent.Agent) { s.Operator, s.Provisioner.Permissions = "local", "all" }, "provisioner.permissions", "is not one of"},
		"no agent":                              {func(s *agent.Spec, _ *agent.Agent) { s.Agents = nil }, "agents", "no agent is named"},
		"an agent of which nothing is said":     {func(s *agent.Spec, _ *agent.Agent) { s.Agents["x"] = nil }, "agents.x", "nothing is said"},
		"an agent named like a path":            {func(s *agent.Spec, a *agent.Agent) { s.Agents["../x"] = withFile(a, "x.env") }, "agents.../x", "begins with a letter"},
		"an agent whose name is too long":       {func(s *agent.Spec, a *agent.Agent) { s.Agents[strings.Repeat("x", 65)] = withFile(a, "x.env") }, "agents." + strings.Repeat("x", 65), "64"},
		"a managed identity":                    {func(_ *agent.Spec, a *agent.Agent) { a.Kind = agent.ManagedIdentity }, "", ""},
		"a kind of a later version":             {func(_ *agent.Spec, a *agent.Agent) { a.Kind = agent.AgentIdentity }, bot + ".kind", "version 0.5"},
		"a kind that is none":                   {func(_ *agent.Spec, a *agent.Agent) { a.Kind = "service-principle" }, bot + ".kind", "did you mean service-principal?"},
		"a certificate of no day":               {func(_ *agent.Spec, a *agent.Agent) { a.Certificate.Days = -1 }, bot + ".certificate.days", "1 to 730"},
		"a certificate of three years":          {func(_ *agent.Spec, a *agent.Agent) { a.Certificate.Days = 1095 }, bot + ".certificate.days", "1 to 730"},
		"renewal at the end":                    {func(_ *agent.Spec, a *agent.Agent) { a.Certificate.RenewAt = 1 }, bot + ".certificate.renew_at", "between 0 and 1"},
		"renewal at birth":                      {func(_ *agent.Spec, a *agent.Agent) { a.Certificate.RenewAt = 1e-5 }, bot + ".certificate.renew_at", "within the first hour"},
		"renewal after a bit less than an hour": {func(_ *agent.Spec, a *agent.Agent) { a.Certificate = agent.CertificatePolicy{Days: 1, RenewAt: 0.0416} }, bot + ".certificate.renew_at", "within the first hour"},
		"renewal after a bit more than an hour": {func(_ *agent.Spec, a *agent.Agent) { a.Certificate = agent.CertificatePolicy{Days: 1, RenewAt: 0.0417} }, "", ""},
		"an overlap into the past":              {func(_ *agent.Spec, a *agent.Agent) { a.Certificate.Overlap = -1 }, bot + ".certificate.overlap", ""},
		"a known certificate that is none":      {func(_ *agent.Spec, a *agent.Agent) { a.Certificates = []string{sum1, "abc"} }, bot + ".certificates[1]", "64 hex digits"},
		"an owner by name":                      {func(_ *agent.Spec, a *agent.Agent) { a.Owners = []string{"me@contoso.com"} }, bot + ".owners[0]", "object id"},
		"a vault's URL":                         {func(_ *agent.Spec, a *agent.Agent) { a.KeyVault = "https://kv.vault.azure.net" }, bot + ".key_vault", "Microsoft.KeyVault/vaults"},
		"the id of another type":                {func(_ *agent.Spec, a *agent.Agent) { a.SessionPool = vault }, bot + ".session_pool", "Microsoft.App/sessionPools"},
		"the id of a secret in a vault":         {func(_ *agent.Spec, a *agent.Agent) { a.KeyVault = vault + "/secrets/x" }, bot + ".key_vault", "Microsoft.KeyVault/vaults"},
		"a set of roles that is none":           {func(_ *agent.Spec, a *agent.Agent) { a.Roles.Set = "policlaw" }, bot + ".roles", "did you mean polyclaw?"},
		"an unknown role":                       {func(_ *agent.Spec, a *agent.Agent) { a.Roles = list(agent.RoleAt{"Reeder", group}) }, bot + ".roles[0].role", `did you mean "Reader"?`},
		"an elevated role by name":              {func(_ *agent.Spec, a *agent.Agent) { a.Roles = list(agent.RoleAt{"Owner", group}) }, bot + ".roles[0].role", "elevated"},
		"an elevated role by GUID": {func(_ *agent.Spec, a *agent.Agent) {
			a.Roles = list(agent.RoleAt{"8E3AF657-a8ff-443c-a75c-2fe8c4bcb635", group})
		}, bot + ".roles[0].role", "Owner is an elevated role"},
		"a role on a subscription": {func(_ *agent.Spec, a *agent.Agent) { a.Roles = list(agent.RoleAt{"Reader", "/subscriptions/" + sub}) }, bot + ".roles[0].scope", "wider than a resource group"},
		"a role on a management group": {func(_ *agent.Spec, a *agent.Agent) {
			a.Roles = list(agent.RoleAt{"Reader", "/providers/Microsoft.Management/managementGroups/mg"})
		}, bot + ".roles[0].scope", "wider than a resource group"},
		"a role on everything": {func(_ *agent.Spec, a *agent.Agent) { a.Roles = list(agent.RoleAt{"Reader", "/"}) }, bot + ".roles[0].scope", "wider than a resource group"},
		"a role on a resource outside of groups": {func(_ *agent.Spec, a *agent.Agent) {
			a.Roles = list(agent.RoleAt{"Reader", "/subscriptions/" + sub + "/providers/A.B/c/d"})
		}, bot + ".roles[0].scope", "wider than a resource group"},
		"a role without scope": {func(_ *agent.Spec, a *agent.Agent) { a.Roles = list(agent.RoleAt{"Reader", ""}) }, bot + ".roles[0].scope", "not an ARM scope"},
		"a role at a subscription by name": {func(_ *agent.Spec, a *agent.Agent) {
			a.Roles = list(agent.RoleAt{"Reader", "/subscriptions/prod/resourceGroups/rg"})
		}, bot + ".roles[0].scope", "not an ARM scope"},
		"a role that climbs out of its group": {func(_ *agent.Spec, a *agent.Agent) {
			a.Roles = list(agent.RoleAt{"Reader", group + "/providers/A.B/c/.."})
		}, bot + ".roles[0].scope", "not an ARM scope"},
		"a role on a resource":   {func(_ *agent.Spec, a *agent.Agent) { a.Roles = list(agent.RoleAt{"Reader", vault}) }, "", ""},
		"a federated credential": {func(_ *agent.Spec, a *agent.Agent) { a.Federated = []agent.Federated{jobA, jobB} }, "", ""},
		"a federated credential without a word": {func(_ *agent.Spec, a *agent.Agent) { a.Federated = []agent.Federated{{}} },
			bot + ".federated[0].issuer " + bot + ".federated[0].subject " + bot + ".federated[0].audience", "https address"},
		"an issuer without https": {func(_ *agent.Spec, a *agent.Agent) {
			a.Federated = []agent.Federated{{Issuer: "http://x", Subject: "s", Audience: "a"}, {Issuer: "https://x?y", Subject: "s", Audience: "a"}, {Issuer: "https://u@x", Subject: "s", Audience: "a"}, {Issuer: "https://x#y", Subject: "s", Audience: "a"}}
		}, bot + ".federated[0].issuer " + bot + ".federated[1].issuer " + bot + ".federated[2].issuer " + bot + ".federated[3].issuer", "https address"},
		"a subject with a star": {func(_ *agent.Spec, a *agent.Agent) {
			a.Federated = []agent.Federated{{Issuer: "https://x", Subject: "repo:o/*", Audience: "a"}}
		}, bot + ".federated[0].subject", "stands for nothing"},
		"a subject that is too long": {func(_ *agent.Spec, a *agent.Agent) {
			a.Federated = []agent.Federated{{Issuer: "https://x", Subject: strings.Repeat("x", 601), Audience: "a"}}
		}, bot + ".federated[0].subject", "600"},
		"a pair twice": {func(_ *agent.Spec, a *agent.Agent) {
			a.Federated = []agent.Federated{jobA, {Issuer: jobA.Issuer, Subject: jobA.Subject, Audience: "other"}}
		}, bot + ".federated[1]", "takes each pair once"},
		"too many of them": {func(_ *agent.Spec, a *agent.Agent) {
			for i := range 21 {
				a.Federated = append(a.Federated, agent.Federated{Issuer: "https://x", Subject: strings.Repeat("s", i+1), Audience: "a"})
			}
		}, bot + ".federated", "at most 20"},
		"an access of the vault":                           {func(_ *agent.Spec, a *agent.Agent) { a.KeyVaultAccess = "user" }, "", ""},
		"an access that is none":                           {func(_ *agent.Spec, a *agent.Agent) { a.KeyVaultAccess = "officier" }, bot + ".key_vault_access", "did you mean officer?"},
		"an access without a vault":                        {func(_ *agent.Spec, a *agent.Agent) { a.KeyVaultAccess, a.KeyVault = "user", "" }, bot + ".key_vault_access", "no key_vault"},
		"a managed identity and who may hold a role on it": {func(_ *agent.Spec, a *agent.Agent) { a.Kind, a.Owners = agent.ManagedIdentity, []string{other} }, "", ""},
		"a managed identity with a certificate": {func(_ *agent.Spec, a *agent.Agent) {
			a.Kind, a.Certificates = agent.ManagedIdentity, []string{sum1}
		}, bot + ".certificates", "no certificate"},
		"a managed identity with a dot": {func(s *agent.Spec, a *agent.Agent) {
			s.Agents = map[string]*agent.Agent{"a.b": {Kind: agent.ManagedIdentity}}
			s.Defaults()
		}, "agents.a.b", "letters, digits, dashes"},
		"two agents of one environment file": {func(s *agent.Spec, a *agent.Agent) { s.Agents["second"] = withFile(a, a.EnvFile) },
			"agents.second.env_file", "agent bot's environment file too give each agent its own, such as env_file: second.env"},
		"two paths to one environment file": {func(s *agent.Spec, a *agent.Agent) { s.Agents["second"] = withFile(a, "./x/../.env") }, "agents.second.env_file", "agent bot's"},
		"two environment files":             {func(s *agent.Spec, a *agent.Agent) { s.Agents["second"] = withFile(a, "second/.env") }, "", ""},
		"everything that is wrong, at once": {func(s *agent.Spec, a *agent.Agent) {
			s.Tenant, s.Subscription, a.Certificate.Days = "", "", 0
			a.Roles = list(agent.RoleAt{"Emperor of Everything", "x"}, agent.RoleAt{"Reader", group}, agent.RoleAt{"Owner", "/"})
		}, "tenant subscription " + bot + ".certificate.days " + bot + ".roles[0].role " + bot + ".roles[0].scope " + bot + ".roles[2].role " + bot + ".roles[2].scope", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := wanted()
			c.change(&s, s.Agents["bot"])
			problems := s.Validate(role.Builtin())
			var fields []string
			for _, p := range problems {
				fields = append(fields, p.Field)
				if p.Message == "" {
					t.Errorf("%s has no message", p.Field)
				}
			}
			if got := strings.Join(fields, " "); got != c.want {
				t.Fatalf("got %q, want %q: %+v", got, c.want, problems)
			}
			if c.says != "" && !strings.Contains(problems[0].Message+" "+problems[0].Hint, c.says) {
				t.Errorf("it says %q, hint %q; want %q", problems[0].Message, problems[0].Hint, c.says)
			}
		})
	}
}

// The role set of the seed is what every spec gets that says nothing: none of it may be elevated, or need a scope wider than a group.
func TestTheSetIsNarrow(t *testing.T) {
	s := wanted()
	a := s.Agents["bot"]
	a.SessionPool, a.ContentSafety = "p", "c"
	grants := s.Grants(a, role.Builtin())
	if len(grants) != 5 {
		t.Fatalf("%d roles, want 5: the catalogue lacks one", len(grants))
	}
	for _, g := range grants {
		d, _ := role.Builtin().Find(g.RoleID)
		sc, err := role.ParseScope(g.Scope)
		if why := d.Elevated(); len(why) > 0 || err != nil || sc.Level < role.ResourceGroup {
			t.Errorf("%s at %s: %q %v", g.Role, g.Scope, why, err)
		}
	}
}
