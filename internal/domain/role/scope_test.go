package role_test

import (
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/role"
)

const sub = "/subscriptions/00000000-0000-0000-0000-000000000001"

func TestParseScope(t *testing.T) {
	const id = "00000000-0000-0000-0000-000000000001"
	for text, want := range map[string]role.Scope{
		"/": {},
		"/providers/Microsoft.Management/managementGroups/mg": {Level: role.ManagementGroup, Management: "mg"},
		sub:                             {Level: role.Subscription, SubscriptionID: id},
		sub + "/":                       {Level: role.Subscription, SubscriptionID: id},
		strings.ToUpper(sub):            {Level: role.Subscription, SubscriptionID: id},
		sub + "/resourceGroups/rg":      {Level: role.ResourceGroup, SubscriptionID: id, Group: "rg"},
		sub + "/RESOURCEGROUPS/Rg.(1)_": {Level: role.ResourceGroup, SubscriptionID: id, Group: "Rg.(1)_"},
		sub + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv":             {Level: role.Resource, SubscriptionID: id, Group: "rg", Provider: "Microsoft.KeyVault", Type: "vaults", Name: "kv"},
		sub + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv/secrets/s":   {Level: role.Resource, SubscriptionID: id, Group: "rg", Provider: "Microsoft.KeyVault", Type: "vaults/secrets", Name: "kv/s"},
		sub + "/providers/Microsoft.Compute/locations/eastus":                         {Level: role.Resource, SubscriptionID: id, Provider: "Microsoft.Compute", Type: "locations", Name: "eastus"},
		sub + "/resourceGroups/rg/providers/A.B/c/d/providers/Microsoft.Insights/e/f": {Level: role.Resource, SubscriptionID: id, Group: "rg", Provider: "A.B", Type: "c/providers/e", Name: "d/Microsoft.Insights/f"},
		sub + "/resourceGroups/rg/Providers/microsoft.keyvault/VAULTS/kv///":          {Level: role.Resource, SubscriptionID: id, Group: "rg", Provider: "microsoft.keyvault", Type: "VAULTS", Name: "kv"},
		"/Providers/microsoft.management/MANAGEMENTGROUPS/Tenant Root Group":          {Level: -1},
		sub + "/resourceGroups/rg?x=y":                                                {Level: -1},
		sub + "/resourceGroups/r%67":                                                  {Level: -1},
		sub + "/resourceGroups/rg#x":                                                  {Level: -1},
		sub + "/resourceGroups/r\ng":                                                  {Level: -1},
		sub + "//resourceGroups/rg":                                                   {Level: -1},
		sub + "/resourceGroups":                                                       {Level: -1},
		sub + "/resourceGroups/rg/vaults/kv":                                          {Level: -1},
		sub + "/resourceGroups/rg/providers/Microsoft.KeyVault":                       {Level: -1},
		sub + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults":                {Level: -1},
		sub + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv/secrets":     {Level: -1},
		"/subscriptions":     {Level: -1},
		"/subscriptions/":    {Level: -1},
		"/resourceGroups/rg": {Level: -1},
		"subscriptions/x":    {Level: -1},
		"":                   {Level: -1},
		"//":                 {Level: -1},
		"///":                {Level: -1},
		"https://management.azure.com/subscriptions/x":                               {Level: -1},
		"/providers/Microsoft.Management/managementGroups":                           {Level: -1},
		"/providers/Microsoft.Management/managementGroups/mg/subscriptions/x":        {Level: -1},
		"/providers/Microsoft.KeyVault/vaults/kv":                                    {Level: -1},
		"/subscriptions/x/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/../": {Level: -1},
	} {
		got, err := role.ParseScope(text)
		if want.Level == -1 {
			if err == nil {
				t.Errorf("ParseScope(%q) = %+v, want an error", text, got)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("ParseScope(%q) = %+v %v, want %+v", text, got, err, want)
		}
	}
}

func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"/", "//", sub, sub + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv", "/providers/Microsoft.Management/managementGroups/mg", sub + "/providers/A/b/c/d/e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := role.ParseScope(text)
		if err != nil {
			return
		}
		again, err := role.ParseScope(s.String())
		if err != nil || again != s {
			t.Fatalf("%q is %+v, printed %q, which is %+v %v", text, s, s.String(), again, err)
		}
		if !role.Contains(text, s.String()) || !role.Contains(s.String(), text) {
			if text != "/" {
				t.Errorf("%q and %q do not contain each other", text, s.String())
			}
		}
		_ = role.Short(text)
	})
}

func TestContains(t *testing.T) {
	const rg = sub + "/resourceGroups/rg"
	for name, c := range map[string]struct {
		outer, inner string
		want         bool
	}{
		"the same":                         {rg, rg, true},
		"the same in other case":           {strings.ToUpper(rg), rg, true},
		"the same with a slash":            {rg + "/", rg, true},
		"a group in its subscription":      {sub, rg, true},
		"a subscription in its group":      {rg, sub, false},
		"a resource in its group":          {rg, rg + "/providers/A.B/c/d", true},
		"a group whose name begins alike":  {rg, rg + "2", false},
		"the root contains everything":     {"/", rg, true},
		"the root is in nothing but root":  {rg, "/", false},
		"the root in the root":             {"/", "/", true},
		"a management group, not looked":   {"/providers/Microsoft.Management/managementGroups/mg", rg, false},
		"no scope contains nothing":        {"", rg, false},
		"no scope lies in nothing":         {"/", "", false},
		"what is no scope contains itself": {"rg", "rg", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := role.Contains(c.outer, c.inner); got != c.want {
				t.Errorf("Contains(%q, %q) = %v", c.outer, c.inner, got)
			}
		})
	}
}

func TestResourceScope(t *testing.T) {
	const id = "/subscriptions/s/resourceGroups/other/providers/Microsoft.KeyVault/vaults/kv"
	if got := role.ResourceScope("s", "rg", "Microsoft.KeyVault", "vaults", "kv"); got != "/subscriptions/s/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv" {
		t.Errorf("a name becomes %q", got)
	}
	if got := role.ResourceScope("s", "rg", "Microsoft.KeyVault", "vaults", id+"/"); got != id {
		t.Errorf("an id becomes %q", got)
	}
}

func TestShort(t *testing.T) {
	for text, want := range map[string]string{
		"/":                        "the whole tenant",
		sub:                        "subscription 00000000-0000-0000-0000-000000000001",
		sub + "/resourceGroups/rg": "group rg",
		sub + "/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv": "vaults kv",
		"/providers/Microsoft.Management/managementGroups/mg":             "management group mg",
		"no scope": "no scope",
	} {
		if got := role.Short(text); got != want {
			t.Errorf("Short(%q) = %q, want %q", text, got, want)
		}
	}
}
