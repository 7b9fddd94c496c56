package importrule

import (
	"strconv"
	"strings"
)

// Rule says what the packages of a folder may import of ours.
type Rule struct {
	Folder string   // "control", with all below it; or "world/*": each folder of world, with all below it, is a room of its own
	May    []string // folders, with all below them; a room may always import from itself; "*" is everything but testkit and cmd
	Reason string
}

// Rules is the table of DESIGN, top to bottom.
func Rules() []Rule {
	return []Rule{
		{"cmd/*", []string{"app"}, "a command is two lines; everything else can be tested without a process"},
		{"app", []string{"*"}, "wiring lives once"},
		{"domain/*", []string{"domain"}, "the words outlive every SDK"},
		{"world/*", []string{"domain"}, "systems do not know each other; token meets keystore as crypto.Signer"},
		{"record/*", []string{"domain", "record/sqlite"}, "memory knows the words and nothing of the world; record/sqlite is the one way to open the database"},
		{"work/*", []string{"domain", "work/job", "work/observe"}, "never world or record: a verb states the interface, app plugs it in"},
		{"control", []string{"domain", "work", "record"}, "the door sees who asks and what is remembered, never a wire"},
		{"front/*", []string{"domain"}, "a face decides nothing and declares the slice of control that it uses"},
		{"localcloud", nil, "client and cloud meet only over HTTP, so they cannot share a mistake"},
	}
}

// Home says where a library may be used.
type Home struct {
	Library string   // a module, or several by their common beginning
	May     []string // folders, with all below them; none means tests only
	Reason  string
}

// Homes lists every library that the product imports. One that is not listed is refused: a dependency earns its paragraph in
// docs/design first.
func Homes() []Home {
	return []Home{
		{"github.com/danielgtaylor/huma", []string{"front/httpapi"}, "one face speaks HTTP"},
		{"github.com/prometheus/client_golang", []string{"front/httpapi"}, "metrics are the server's"},
		{"go.opentelemetry.io/otel", []string{"app", "front/httpapi"}, "outside calls are traced where they are plugged in"},
		{"filippo.io/age", []string{"app", "record/statefile", "world/keystore/agefile"}, "one package encrypts keys, one backups; app gives the second its identity"},
		{"github.com/Azure/azure-sdk-for-go", []string{"world"}, "wire types and SDK errors stop in world"},
		{"github.com/AzureAD/microsoft-authentication-library-for-go", []string{"world/token"}, "one package asks for tokens"},
		{"github.com/godbus/dbus", []string{"world/keystore/keychain"}, "one package talks to the session bus"},
		{"github.com/gofrs/flock", []string{"app", "control", "record", "world/keystore", "localcloud"}, "locks guard files, and files are theirs"},
		{"github.com/golang-jwt/jwt", []string{"world", "localcloud"}, "tokens are words of the wire"},
		{"github.com/google/uuid", []string{"app", "control", "record", "work", "world", "localcloud"}, "the words are pure: ids are given to them"},
		{"github.com/rogpeppe/go-internal", nil, "it runs the stories"},
		{"github.com/spf13/", []string{"front/cli"}, "one face reads command lines"},
		{"github.com/zalando/go-keyring", []string{"world/keystore/keychain"}, "one package talks to keychains"},
		{"go.uber.org/goleak", nil, "it watches tests"},
		{"go.yaml.in/yaml", []string{"record/specfile"}, "one package reads leastkey.yaml"},
		{"golang.org/x/sys", []string{"app", "record", "world", "front", "localcloud"}, "system calls that the standard library lacks"},
		{"golang.org/x/term", []string{"app", "front"}, "faces talk to terminals"},
		{"modernc.org/sqlite", []string{"record/sqlite"}, "one package opens the database"},
		{"pgregory.net/rapid", nil, "it makes values for tests"},
	}
}

// Imports checks every import of the product. Tests may import what they like; only they may import testkit.
func (t Tree) Imports(rules []Rule, homes []Home) []Violation {
	var all []Violation
	for _, f := range t.Go {
		if forTests(f.Path) {
			continue
		}
		rule, room, ok := ruleOf(rules, f.folder())
		if !ok {
			all = append(all, Violation{f.Path, f.line(f.Syntax.Name), "is in a folder without a rule", "every folder has a line in the table of importrule"})
			continue
		}
		for _, spec := range f.Syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue // the parser has refused it
			}
			if why := t.forbidden(rule, room, homes, f.folder(), imported); why != "" {
				all = append(all, Violation{f.Path, f.line(spec), "imports " + strings.TrimPrefix(imported, t.Module+"/"), why})
			}
		}
	}
	return all
}

// forbidden is the reason why a folder may not import a package, "" if it may.
func (t Tree) forbidden(rule Rule, room string, homes []Home, folder, imported string) string {
	if ours, ok := strings.CutPrefix(imported, t.Module+"/"); ok {
		return rule.forbids(room, strings.TrimPrefix(ours, "internal/"))
	}
	if imported == t.Module {
		return "the root of the module is no package"
	}
	first, _, _ := strings.Cut(imported, "/")
	if imported == "C" {
		return "the binary is static"
	}
	if !strings.Contains(first, ".") {
		return "" // the standard library
	}
	for _, h := range homes {
		if library(h.Library, imported) {
			return h.forbids(folder)
		}
	}
	return "the library is not listed in importrule.Homes"
}

func (r Rule) forbids(room, imported string) string {
	switch {
	case testFolder(imported):
		return "only tests import it"
	case within(imported, room):
		return ""
	}
	for _, may := range r.May {
		if within(imported, may) || (may == "*" && !within(imported, "cmd")) {
			return ""
		}
	}
	if len(r.May) == 0 {
		return r.Folder + " may import nothing of ours: " + r.Reason
	}
	return r.Folder + " may import " + strings.Join(r.May, ", ") + ": " + r.Reason
}

func (h Home) forbids(folder string) string {
	for _, may := range h.May {
		if within(folder, may) {
			return ""
		}
	}
	if len(h.May) == 0 {
		return h.Library + " is for tests: " + h.Reason
	}
	return h.Library + " is for " + strings.Join(h.May, ", ") + ": " + h.Reason
}

func library(prefix, imported string) bool {
	return strings.HasSuffix(prefix, "/") && strings.HasPrefix(imported, prefix) || within(imported, prefix)
}

// ruleOf is the rule of a folder and the room that it belongs to.
func ruleOf(rules []Rule, folder string) (Rule, string, bool) {
	for _, r := range rules {
		house, rooms := strings.CutSuffix(r.Folder, "/*")
		if !rooms && within(folder, house) {
			return r, house, true
		}
		if below, ok := strings.CutPrefix(folder, house+"/"); rooms && ok {
			room, _, _ := strings.Cut(below, "/")
			return r, house + "/" + room, true
		}
	}
	return Rule{}, "", false
}
