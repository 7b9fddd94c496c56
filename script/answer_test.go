//go:build unix

package script_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// value follows a path such as roles.0.scope into the JSON document on stdout; len is the length of a list.
func value(ts *testscript.TestScript, path string) string {
	var at any
	text := ts.ReadFile("stdout")
	if err := json.Unmarshal([]byte(text), &at); err != nil {
		ts.Fatalf("stdout is not JSON: %v\n%s", err, text)
	}
	for _, part := range strings.Split(path, ".") {
		switch v := at.(type) {
		case map[string]any:
			at = v[part]
		case []any:
			i, err := strconv.Atoi(part)
			switch {
			case part == "len":
				at = json.Number(strconv.Itoa(len(v)))
			case err != nil || i >= len(v):
				ts.Fatalf("%s: there is no %s in a list of %d", path, part, len(v))
			default:
				at = v[i]
			}
		default:
			ts.Fatalf("%s: nothing lies below %v\n%s", path, at, text)
		}
	}
	switch at := at.(type) {
	case nil:
		return ""
	case string:
		return at
	case float64:
		return strconv.FormatFloat(at, 'f', -1, 64)
	case json.Number, bool:
		return fmt.Sprint(at)
	}
	b, err := json.Marshal(at)
	ts.Check(err)
	return string(b)
}

func field(_ *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 2, 2, "field PATH WANT")
	if got := value(ts, args[0]); got != args[1] {
		ts.Fatalf("%s is %q, want %q", args[0], got, args[1])
	}
}

func keep(_ *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 2, 2, "keep VAR PATH")
	got := value(ts, args[1])
	if got == "" {
		ts.Fatalf("%s is empty", args[1])
	}
	ts.Setenv(args[0], got)
}

func mode(_ *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 2, 2, "mode FILE OCTAL")
	info, err := os.Lstat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}
