package vault

import (
	"crypto/x509/pkix"
	"reflect"
	"strings"
	"testing"
)

func TestDistinguishedNames(t *testing.T) {
	for text, want := range map[string]string{
		"CN=agent":                   `CN="agent"`,
		"cn = two words , O=Contoso": `CN="two words", O="Contoso"`,
		`CN="a, ""b""", OU=x\,y`:     `CN="a, ""b""", OU="x,y"`,
		"CN=x;C=DE":                  `CN="x", C="DE"`,
		"DC=com, E=a@b.c, ST=Bern, S=Jura, CN=http": `DC="com", E="a@b.c", S="Bern", S="Jura", CN="http"`,
		"": "",
	} {
		name, err := parseName(text)
		if err != nil || printName(name) != want {
			t.Errorf("%s: got %s, %v", text, printName(name), err)
		}
	}
	for _, text := range []string{"agent", "CN=", "X=y", `CN="a`, `CN=""`, "CN=a,", "CN=a,,O=b", "=a", `CN=a\`, `CN="a"b`, "CN=a+O=b", "CN=a=b"} {
		if name, err := parseName(text); err == nil {
			t.Errorf("%s: got %s", text, printName(name))
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add(`CN="a, ""b""", OU=x\,y`)
	f.Add("cn = two words , O=Contoso")
	f.Fuzz(func(t *testing.T, text string) {
		name, err := parseName(text)
		if err != nil {
			return
		}
		back, err := parseName(printName(name))
		if err != nil || !reflect.DeepEqual(back, name) {
			t.Fatalf("%q: %q reads as %v, %v", text, printName(name), back, err)
		}
	})
}

// printName writes what parseName reads.
func printName(name pkix.RDNSequence) string {
	var parts []string
	for _, set := range name {
		for _, a := range set {
			for _, n := range []string{"CN", "SERIALNUMBER", "C", "L", "S", "STREET", "O", "OU", "T", "G", "SN", "DC", "E"} {
				if text, isText := a.Value.(string); isText && nameTypes(n).Equal(a.Type) {
					parts = append(parts, n+`="`+strings.NewReplacer(`"`, `""`, `\`, `\\`).Replace(text)+`"`)
				}
			}
		}
	}
	return strings.Join(parts, ", ")
}
