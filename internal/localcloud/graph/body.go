package graph

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// decode reads the JSON body of the request into v, which may ignore members.
func (c *call) decode(v any) error {
	if len(strings.TrimSpace(string(c.body))) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.body, v); err != nil {
		return malformed()
	}
	return nil
}

func malformed() *problem {
	return &problem{status: http.StatusBadRequest, code: "BadRequest", message: "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format."}
}

// members reads the body as an object and gives its members under the names that the type spells them with. Annotations
// ("@odata.type") are dropped, except owners@odata.bind. A member that the type does not have is refused, as is a read-only one.
func (c *call) members(resource, writable, readOnly string) (map[string]json.RawMessage, error) {
	var raw map[string]json.RawMessage
	if err := c.decode(&raw); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(raw))
	for name := range raw {
		names = append(names, name)
	}
	slices.Sort(names)
	found := map[string]json.RawMessage{}
	for _, name := range names {
		spelled, ok := spelling(name, writable+" owners@odata.bind")
		switch {
		case ok:
			if _, twice := found[spelled]; twice {
				return nil, malformed()
			}
			found[spelled] = raw[name]
		case strings.HasPrefix(strings.ToLower(name), "extension_"):
			found[name] = raw[name]
		case strings.Contains(name, "@"):
		default:
			if spelled, ok := spelling(name, readOnly); ok {
				return nil, badRequest("Property '%s' is read-only and cannot be set.", spelled)
			}
			return nil, badRequest("Invalid property '%s' of resource '%s'.", name, resource)
		}
	}
	return found, nil
}

func spelling(name, list string) (string, bool) {
	for known := range strings.FieldsSeq(list) {
		if strings.EqualFold(known, name) {
			return known, true
		}
	}
	return "", false
}

// field decodes one member, if it is there; a value of another type is refused in Graph's words.
func field[T any](members map[string]json.RawMessage, name, resource string, into *T) error {
	raw, ok := members[name]
	if !ok {
		return nil
	}
	var value T
	if json.Unmarshal(raw, &value) != nil {
		return invalid(name, resource)
	}
	*into = value
	return nil
}

// moment reads a DateTimeOffset.
func moment(text string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, text)
	return t.UTC(), err == nil
}

// reference reads the id out of an @odata.id: the last segment of its path. The host is not looked at, as in the real service.
func reference(url string) string {
	url = strings.TrimRight(url, "/")
	id := url[strings.LastIndexByte(url, '/')+1:]
	if _, key, ok := strings.Cut(id, "('"); ok {
		id = strings.TrimSuffix(key, "')")
	}
	return strings.ToLower(id)
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return true
}
