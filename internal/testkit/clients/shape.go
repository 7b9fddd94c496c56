package clients

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// document is JSON that a client has printed.
type document struct{ v any }

// parse reads a document; "" is null, because az prints nothing when it has no answer.
func parse(text string) (document, error) {
	if strings.TrimSpace(text) == "" {
		return document{}, nil
	}
	var v any
	err := json.Unmarshal([]byte(text), &v)
	return document{v}, err
}

// at is what a path such as "value.0.id" leads to, null if it leads nowhere.
func (v document) at(path string) document {
	at := v.v
	for _, step := range strings.Split(path, ".") {
		switch in := at.(type) {
		case map[string]any:
			at = in[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(in) {
				return document{}
			}
			at = in[i]
		default:
			return document{}
		}
	}
	return document{at}
}

// text is a string, "" if the value is none.
func (v document) text() string {
	s, _ := v.v.(string)
	return s
}

// like tells how the value differs from a shape: an object has at least the shape's members, an array exactly its elements, in order.
// The text "…" stands for any text that is not empty; everything else is itself.
func (v document) like(shape string) error {
	want, err := parse(shape)
	if err != nil {
		return fmt.Errorf("the shape %s: %w", shape, err)
	}
	return alike("the answer", v.v, want.v)
}

func alike(path string, got, want any) error {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			break
		}
		for name, w := range want {
			g, has := object[name]
			if !has {
				return fmt.Errorf("%s has no %s", path, name)
			}
			if err := alike(path+"."+name, g, w); err != nil {
				return err
			}
		}
		return nil
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			break
		}
		for i, w := range want {
			if err := alike(fmt.Sprintf("%s[%d]", path, i), list[i], w); err != nil {
				return err
			}
		}
		return nil
	case string:
		text, ok := got.(string)
		if ok && (text == want || (want == "…" && text != "")) {
			return nil
		}
	default: // numbers, booleans, null
		if got == want {
			return nil
		}
	}
	return fmt.Errorf("%s is %s, want %s", path, show(got), show(want))
}

func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(b) > 600 {
		b = append(b[:600], "…"...)
	}
	return string(b)
}
