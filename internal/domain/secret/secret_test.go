package secret_test

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/secret"
)

const canary = "c4nary-5ecret-Value"

// holder is how secrets sit in real structs: exported and not, in slices, maps, pointers and interfaces.
type holder struct {
	Shown   secret.Value
	hidden  secret.Value
	pointer *secret.Value
	list    []secret.Value
	byName  map[string]secret.Value
	any     any
	inner   struct{ v secret.Value }
}

func hold() *holder {
	v := secret.New([]byte(canary))
	h := &holder{Shown: v, hidden: v, pointer: &v, list: []secret.Value{v}, byName: map[string]secret.Value{"k": v}, any: v}
	h.inner.v = v
	return h
}

// leaked looks for the canary as it is and as the printers of the standard library would encode it.
func leaked(text string) bool {
	var numbers []string
	for _, b := range []byte(canary)[:6] {
		numbers = append(numbers, fmt.Sprint(b))
	}
	for _, form := range []string{canary, hex.EncodeToString([]byte(canary)), base64.StdEncoding.EncodeToString([]byte(canary)), base64.RawURLEncoding.EncodeToString([]byte(canary)),
		strings.Join(numbers, " "), strings.Join(numbers, ", "), strings.Join(numbers, ",")} {
		if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
			return true
		}
	}
	return false
}

func TestValueHidesFromEveryVerb(t *testing.T) {
	h := hold()
	for _, flags := range []string{"", "+", "#", "-20", "020", " ", ".3", "+#"} {
		for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
			format := "%" + flags + string(verb)
			for _, x := range []any{h.Shown, &h.Shown, h, *h, h.list, h.byName, []any{h}} {
				if text := fmt.Sprintf(format, x); leaked(text) {
					t.Errorf("%s of %T shows it: %s", format, x, text)
				}
			}
		}
	}
	if got := fmt.Sprintf("%v %s %#v %q %x", h.Shown, h.Shown, h.Shown, h.Shown, h.Shown); got != strings.TrimSpace(strings.Repeat("[secret] ", 5)) {
		t.Errorf("it is printed as %q", got)
	}
	if err := fmt.Errorf("x %v: %w", h.Shown, errors.New("y")); leaked(err.Error()) {
		t.Error("an error shows it")
	}
}

func TestValueHidesFromEncoders(t *testing.T) {
	h := hold()
	b, err := json.Marshal(map[string]any{"v": h.Shown, "h": h, "p": h.pointer, "m": h.byName})
	if err != nil || leaked(string(b)) || !strings.Contains(string(b), `"[secret]"`) {
		t.Errorf("json: %s %v", b, err)
	}
	b, err = json.MarshalIndent(h, "", " ")
	if err != nil || leaked(string(b)) {
		t.Errorf("json: %s %v", b, err)
	}
	b, err = xml.Marshal(*h)
	if err != nil || leaked(string(b)) {
		t.Errorf("xml: %s %v", b, err)
	}
	b, err = encoding.TextMarshaler(h.Shown).MarshalText()
	if err != nil || string(b) != "[secret]" {
		t.Errorf("text: %s %v", b, err)
	}
}

func TestValueHidesFromLogs(t *testing.T) {
	h := hold()
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		log := slog.New(handler)
		log.Info("x", "value", h.Shown, "pointer", h.pointer, "struct", h, "copy", *h, "list", h.list, "map", h.byName)
		log.With("value", h.Shown).WithGroup("g").Info("y", slog.Any("v", h.Shown), slog.Group("h", "v", h.Shown))
	}
	if leaked(out.String()) || !strings.Contains(out.String(), "[secret]") {
		t.Errorf("the log shows it: %s", out.String())
	}
}

// A debugger's dump goes through reflection, past every method.
func TestValueHidesFromReflection(t *testing.T) {
	var out strings.Builder
	dump(&out, reflect.ValueOf(hold()), 0)
	if leaked(out.String()) || !strings.Contains(out.String(), "v:open:") {
		t.Errorf("the dump shows it, or did not get there:\n%s", out.String())
	}
}

func dump(out *strings.Builder, v reflect.Value, depth int) {
	if depth > 12 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			dump(out, v.Elem(), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fmt.Fprintf(out, "%s:", v.Type().Field(i).Name)
			dump(out, v.Field(i), depth+1)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			dump(out, v.Index(i), depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			dump(out, it.Value(), depth+1)
		}
	case reflect.String:
		out.WriteString(v.String())
	case reflect.Uint8:
		fmt.Fprintf(out, "%d ", v.Uint())
	default:
		fmt.Fprintf(out, "%v\n", v)
	}
}

func TestUse(t *testing.T) {
	var got []byte
	sentinel := errors.New("x")
	err := secret.New([]byte(canary)).Use(func(b []byte) error { got = bytes.Clone(b); return sentinel })
	if string(got) != canary || err != sentinel {
		t.Errorf("lent %q, answered %v", got, err)
	}
	called := false
	if err := (secret.Value{}).Use(func(b []byte) error { called = true; return nil }); err != nil || !called {
		t.Error("the zero value lends nothing at all")
	}
	a, b := secret.New([]byte("a")), secret.New([]byte("b"))
	if !a.Equal(secret.New([]byte("a"))) || a.Equal(b) || a.Equal(secret.Value{}) || !(secret.Value{}).Equal(secret.New(nil)) {
		t.Error("Equal does not compare the bytes")
	}
	if a.Empty() || !(secret.Value{}).Empty() || !secret.New(nil).Empty() {
		t.Error("Empty does not tell")
	}
}

func TestAValueIsNotReadFromJSON(t *testing.T) {
	var h struct{ V secret.Value }
	if err := json.Unmarshal([]byte(`{"V":"`+canary+`"}`), &h); err == nil {
		t.Error("a secret comes in by JSON")
	} else if leaked(err.Error()) {
		t.Errorf("the error shows it: %v", err)
	}
}
