package arm

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// How many items one answer of a listing holds, unless $top says less. Role assignments come in the page that clients were seen to meet.
const (
	assignmentPage = 100
	listPage       = 500
)

// cursor is where a listing goes on: at the first item behind the key.
type cursor struct {
	Key string `json:"k"`
}

// paged answers with one page of items, and a nextLink if there are more. key tells items apart, whatever its case, and is their order:
// whoever deletes what it is shown, or has items appear on the way, must still meet all others, so a page cannot go on at an index.
func paged[T any](s *Service, c *call, items []T, size int, key func(T) string, show func(T) object) reply {
	items = inOrder(items, key)
	from := 0
	if token := c.param("$skipToken"); token != "" {
		var at cursor
		if !s.unseal(token, c.listing(), &at) {
			return fail(http.StatusBadRequest, "InvalidSkipToken", "The skip token '%s' is not valid.", token)
		}
		if from = slices.IndexFunc(items, func(i T) bool { return strings.ToLower(key(i)) > at.Key }); from < 0 {
			from = len(items)
		}
	}
	to := min(from+size, len(items))
	shown := make([]object, 0, to-from)
	for _, i := range items[from:to] {
		shown = append(shown, show(i))
	}
	body := object{"value": shown}
	if to < len(items) {
		body["nextLink"] = s.nextLink(c, s.seal(c.listing(), cursor{strings.ToLower(key(items[to-1]))}))
	}
	return ok(body)
}

// inOrder gives the items in the order of their keys.
func inOrder[T any](items []T, key func(T) string) []T {
	type keyed struct {
		key  string
		item T
	}
	all := make([]keyed, len(items))
	for i, item := range items {
		all[i] = keyed{strings.ToLower(key(item)), item}
	}
	slices.SortStableFunc(all, func(a, b keyed) int { return cmp.Compare(a.key, b.key) })
	ordered := make([]T, len(all))
	for i, k := range all {
		ordered[i] = k.item
	}
	return ordered
}

// nextLink is the address of the next page: this one's, on our own host, with another token.
func (s *Service) nextLink(c *call, token string) string {
	next := url.Values{"$skipToken": {token}}
	for k, v := range c.query {
		if !strings.EqualFold(k, "$skipToken") {
			next[k] = v
		}
	}
	return s.env.Endpoints().ARM + (&url.URL{Path: "/" + strings.TrimLeft(c.path, "/")}).EscapedPath() + "?" + next.Encode()
}

// listing is what a token is good for: this caller's listing of this path with this filter.
func (c *call) listing() string {
	return strings.Join([]string{c.who.ObjectID, strings.ToLower(strings.Trim(c.path, "/")), c.param("$filter"), c.param("$expand")}, "\n")
}

// top is $top where it is documented as the size of a page: at most size, which it is if nothing is asked. (The code of the refusal was
// not seen.)
func (c *call) top(size int) (int, *reply) {
	text := c.param("$top")
	if text == "" {
		return size, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		r := fail(http.StatusBadRequest, "InvalidTopInQueryString", "Invalid $top '%s' specified in the query string.", text)
		return 0, &r
	}
	return min(n, size), nil
}

// aead is the cipher of this run's tokens: they tell a client nothing and cannot be made or changed by one.
func (s *Service) aead() cipher.AEAD {
	block, err := aes.NewCipher(s.tokenKey())
	if err != nil {
		panic("arm: " + err.Error()) // the key is of 32 bytes
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic("arm: " + err.Error())
	}
	return gcm
}

// seal makes a token of a value that is good for one purpose.
func (s *Service) seal(purpose string, value any) string {
	plain, err := json.Marshal(value)
	if err != nil {
		panic("arm: " + err.Error()) // values of tokens are strings and numbers
	}
	gcm := s.aead()
	nonce := s.env.Random(gcm.NonceSize())
	return base64.RawURLEncoding.EncodeToString(gcm.Seal(nonce, nonce, plain, []byte(purpose)))
}

// unseal reads a token that was made for the purpose.
func (s *Service) unseal(token, purpose string, value any) bool {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	gcm := s.aead()
	if err != nil || len(raw) < gcm.NonceSize() {
		return false
	}
	plain, err := gcm.Open(nil, raw[:gcm.NonceSize()], raw[gcm.NonceSize():], []byte(purpose))
	return err == nil && json.Unmarshal(plain, value) == nil
}
