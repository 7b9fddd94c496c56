package specfile

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
)

func TestWhatWriteWritesLoads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leastkey.yaml")
	s := agent.Spec{Cloud: agent.Public, Tenant: sub, Subscription: sub, ResourceGroup: "0x10", Location: "on", Operator: "device-code",
		Agents: map[string]*agent.Agent{
			"bare": nil,
			"full": {
				Certificate:  agent.CertificatePolicy{Days: 90, Overlap: 36 * time.Hour, RenewAt: 0.5},
				Certificates: []string{strings.Repeat("1", 63) + "e"}, Owners: []string{sub}, EnvFile: "a: b # c", KeyVault: "kv",
				Roles:   agent.Roles{List: []agent.RoleAt{{Role: "Reader", Scope: "/subscriptions/" + sub + "/resourceGroups/rg"}}},
				Broker:  agent.Broker{Audiences: []string{"https://vault.azure.net"}, Rate: "50/s"},
				Runtime: agent.Runtime{UID: 10002, Env: []string{"true", "-", "a\nb"}}, Image: "~",
			},
			"none": {Roles: agent.Roles{List: []agent.RoleAt{}}, EnvFile: "none.env"},
		}}
	if err := Write(path, s); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Load(path, role.Builtin())
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	s.Defaults()
	if !reflect.DeepEqual(got, s) {
		t.Fatalf("%+v\n%+v\n%s", got, s, text)
	}
	if n := strings.Count(string(text), "#"); n < 8 {
		t.Errorf("%d comments:\n%s", n, text)
	}
	t.Logf("\n%s", text)
	if err := Write(path, s); !fault.Is(err, fault.Conflict) || fault.Hint(err) == "" {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(path); err != nil || string(again) != string(text) {
		t.Fatal("it was overwritten")
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
}

func TestWriteDoesNotReplaceALinkToNowhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leastkey.yaml")
	if err := os.Symlink("nowhere", path); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, agent.Spec{}); !fault.Is(err, fault.Conflict) {
		t.Fatal(err)
	}
}
