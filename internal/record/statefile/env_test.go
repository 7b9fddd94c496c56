package statefile

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

func mustParse(t *testing.T, text string) Env {
	t.Helper()
	e, err := ParseEnv([]byte(text))
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return e
}

func TestGetReadsAsDotenvAndTheShellDo(t *testing.T) {
	e := mustParse(t, "\uFEFFFIRST=1\r\n# A=comment\n\nA=1\n export B = 'two words' # note\nC=\"a \\\"b\\\" \\$c \\n\"\nD=x#y # z\nE=\nF= # only a comment\nG=#v\n"+
		"H=\"-----BEGIN\nAZURE_CLIENT_ID=inside\n-----END\"\nA=last\nnot an assignment\nexport J\nK='it\\'\nL=it's")
	for key, want := range map[string]string{"FIRST": "1", "A": "last", "B": "two words", "C": `a "b" $c \n`, "D": "x#y", "E": "", "F": "", "G": "#v",
		"H": "-----BEGIN\nAZURE_CLIENT_ID=inside\n-----END", "K": `it\`, "L": "it's"} {
		if got, ok := e.Get(key); !ok || got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	for _, key := range []string{"AZURE_CLIENT_ID", "J", "", "not"} {
		if got, ok := e.Get(key); ok {
			t.Errorf("%s is %q", key, got)
		}
	}
}

func TestSet(t *testing.T) {
	for _, c := range []struct{ name, before, value, after string }{
		{"a new key goes to the end", "A=1\n", "v", "A=1\nKEY=v\n"},
		{"into an empty file", "", "v", "KEY=v\n"},
		{"after a byte order mark alone", "\uFEFF", "v", "\uFEFFKEY=v\n"},
		{"after a last line without its end", "A=1", "v", "A=1\nKEY=v\n"},
		{"with the line ends of the file", "A=1\r\n", "v", "A=1\r\nKEY=v\r\n"},
		{"in its place", "A=1\nKEY=old\nB=2\n", "v", "A=1\nKEY=v\nB=2\n"},
		{"the same value changes nothing", "KEY='v' # c", "v", "KEY='v' # c"},
		{"keeps export, indentation and comment", "  export KEY=old  # why\r\n", "v", "  export KEY=v  # why\r\n"},
		{"keeps quotes", "KEY=\"old\"\n", "v", "KEY=\"v\"\n"},
		{"keeps single quotes", "KEY='old'\n", "v w", "KEY='v w'\n"},
		{"quotes what needs it", "KEY=\"old\"\n", "a $b c", "KEY='a $b c'\n"},
		{"removes the spaces that the shell refuses", "KEY = v\n", "v", "KEY=v\n"},
		{"takes earlier ones out", "KEY=old\nA=1\nexport KEY=v\n", "v", "A=1\nexport KEY=v\n"},
		{"replaces a value of several lines", "KEY=\"a\nb\" # c\nA=1\n", "v", "KEY=\"v\" # c\nA=1\n"},
		{"does not touch a key inside another's value", "H='\nKEY=inner\n'\n", "v", "H='\nKEY=inner\n'\nKEY=v\n"},
		{"takes out what follows the quote", "KEY=\"v\"w\n", "v", "KEY=\"v\"\n"},
		{"an empty value before a comment", "KEY=old # c\n", "", "KEY=\"\" # c\n"},
		{"a value where a comment was alone", "KEY= # c\n", "v", "KEY=v # c\n"},
		{"a commented assignment is none", "#KEY=old\n", "v", "#KEY=old\nKEY=v\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := mustParse(t, c.before)
			changed, err := e.Set("KEY", c.value)
			if err != nil || string(e.Bytes()) != c.after || changed != (c.before != c.after) {
				t.Fatalf("%v %v\n got %q\nwant %q", changed, err, e.Bytes(), c.after)
			}
			if got, ok := e.Get("KEY"); !ok || got != c.value {
				t.Fatalf("Get is %q", got)
			}
		})
	}
}

func TestSetRefusesWhatReadersReadDifferently(t *testing.T) {
	for _, value := range []string{"a\nb", "a\rb", "a\x00", "\x1b[0m", "it's", `say "x"`, `C:\x`, "a`b`", "${HOME}", "\xff", "\u0085"} {
		e := mustParse(t, "KEY=old\nKEY=older\n")
		if _, err := e.Set("KEY", value); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), value) {
			t.Errorf("%q: %v", value, err)
		}
		if string(e.Bytes()) != "KEY=old\nKEY=older\n" {
			t.Errorf("%q: a refused Set changed the file", value)
		}
	}
	for _, key := range []string{"", "A-B", "1A", "A B", "A=B", "é", "A\n"} {
		e := mustParse(t, "")
		if _, err := e.Set(key, "v"); !fault.Is(err, fault.Invalid) {
			t.Errorf("key %q: %v", key, err)
		}
	}
	for _, text := range []string{"DIR=C:\\x\\\n", "DIR=C:\\x\\\nKEY=old\n"} {
		e := mustParse(t, text)
		if _, err := e.Set("KEY", "v"); !fault.Is(err, fault.Invalid) {
			t.Errorf("after a line that the shell continues: %v", err)
		}
	}
}

func TestParseRefusesWhatReadersReadDifferently(t *testing.T) {
	for text, line := range map[string]string{"A=1\nB=\"hunter2\nC=3\n": "line 2", "A='": "line 1", "A=1\n\nB=\x00": "line 3", "A=1\nB=2\rC=3\n": "line 2", "A=\"x\n\\\"\nB=1": "line 1"} {
		_, err := ParseEnv([]byte(text))
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), line) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestRemoveTakesEveryAssignment(t *testing.T) {
	e := mustParse(t, "A=1\nSECRET=\"a\nb\"\n# SECRET\nexport SECRET=c # d\nB=2\n")
	first, err1 := e.Remove("SECRET")
	again, err2 := e.Remove("SECRET")
	none, err3 := e.Remove("")
	if !first || again || none || errors.Join(err1, err2, err3) != nil {
		t.Fatal("what Remove says")
	}
	if string(e.Bytes()) != "A=1\n# SECRET\nB=2\n" {
		t.Fatalf("%q", e.Bytes())
	}
}

func TestEnvDoesNotPrint(t *testing.T) {
	e := mustParse(t, "TOKEN=hunter2\n")
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "env", e)
	for _, s := range []string{fmt.Sprint(e), fmt.Sprintf("%+v %#v %s %d %x", e, e, e, e, e), fmt.Sprintf("%+v", struct{ E *Env }{&e}), log.String()} {
		if strings.Contains(s, "hunter2") || strings.Contains(s, "68756e746572") {
			t.Error(s)
		}
	}
}

func seedEnv(f *testing.F) {
	for _, s := range []string{"", "A=1\n", "\uFEFFA=1\r\n#c\r\n", "export A = 'x' # y", "A=\"b\nKEY=1\n\"x\nKEY=", "KEY= # c\nKEY=#c\n", "A=\\\nKEY=1", "KEY=\"\\\"\"", "\tKEY\t=\t1\t#\n", "KEY==\n", "K.E-Y=1"} {
		f.Add(s, "KEY", "v")
	}
	f.Add("KEY='a'", "KEY", "b c")
}

func FuzzEnv(f *testing.F) {
	seedEnv(f)
	f.Fuzz(func(t *testing.T, text, key, value string) {
		e, err := ParseEnv([]byte(text))
		if err != nil {
			return
		}
		if string(e.Bytes()) != text {
			t.Fatalf("printed %q", e.Bytes())
		}
		others := map[string]string{}
		for _, k := range e.Keys() {
			if k != key {
				others[k], _ = e.Get(k)
			}
		}
		had, ok := e.Get(key)
		changed, err := e.Set(key, value)
		if err != nil {
			if string(e.Bytes()) != text {
				t.Fatalf("a refused Set changed it to %q", e.Bytes())
			}
			return
		}
		if !changed && (string(e.Bytes()) != text || !ok || had != value) {
			t.Fatalf("Set says unchanged: %q", e.Bytes())
		}
		again, err := ParseEnv(e.Bytes())
		if err != nil {
			t.Fatalf("what Set wrote does not parse: %v\n%q", err, e.Bytes())
		}
		if got, ok := again.Get(key); !ok || got != value {
			t.Fatalf("Get is %q after Set\n%q", got, e.Bytes())
		}
		for k, want := range others {
			if got, ok := again.Get(k); !ok || got != want {
				t.Fatalf("%s was %q and is %q\n%q", k, want, got, e.Bytes())
			}
		}
		if changed, err := again.Set(key, value); err != nil || changed {
			t.Fatalf("a second Set: %v %v\n%q", changed, err, again.Bytes())
		}
		if removed, err := again.Remove(key); err != nil || !removed {
			t.Fatalf("removed %v: %v", removed, err)
		}
		last, err := ParseEnv(again.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := last.Get(key); ok || len(last.Keys()) != len(others) {
			t.Fatalf("after Remove: %q", again.Bytes())
		}
	})
}

// Found by the fuzzer: taking out the first KEY put the second behind the backslash.
func TestNothingIsTakenFromBehindABackslash(t *testing.T) {
	const text = "A=\\\nKEY=old\nKEY=1\nB=2\n"
	for name, change := range map[string]func(*Env) error{
		"set":    func(e *Env) error { _, err := e.Set("KEY", "v"); return err },
		"remove": func(e *Env) error { _, err := e.Remove("KEY"); return err },
	} {
		e, err := ParseEnv([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := change(&e); !fault.Is(err, fault.Invalid) || string(e.Bytes()) != text {
			t.Errorf("%s: %v\n%q", name, err, e.Bytes())
		}
	}
}
