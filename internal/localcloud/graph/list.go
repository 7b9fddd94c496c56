package graph

import (
	"encoding/base64"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/graph/odata"
)

// row is an object of a collection before it is known whether it is asked for: its id, and how to write it.
type row struct {
	id     string
	object func() object
}

// placed is a row with what $orderby has of it, in lower case.
type placed struct {
	row
	by []string
}

// rows adapts objects of a table.
func rows[T any](objects iter.Seq[T], id func(T) string, encode func(T) object) iter.Seq[row] {
	return func(yield func(row) bool) {
		for o := range objects {
			if !yield(row{id(o), func() object { return encode(o) }}) {
				return
			}
		}
	}
}

// token is what a $skiptoken holds: the place of the last object given, which may be gone by the time that the next page is asked for.
type token struct {
	Last string   `json:"l"`
	By   []string `json:"b,omitempty"`
}

func (t token) String() string {
	b, _ := json.Marshal(t)
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseToken reads a token of a listing with as many keys in its order.
func parseToken(text string, keys int) (*token, error) {
	var t token
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(b, &t) != nil || len(t.By) != keys {
		return nil, &problem{status: http.StatusBadRequest, code: "Directory_ExpiredPageToken", message: "The specified page token value has expired and can no longer be included in your request."}
	}
	return &t, nil
}

// list answers a collection: what of all passes the filter, one page of it, shaped by $select.
func (c *call) list(name string, all iter.Seq[row]) error {
	match, err := c.matcher(name)
	if err != nil {
		return err
	}
	var from *token
	if c.query.SkipToken != "" {
		if from, err = parseToken(c.query.SkipToken, len(c.query.OrderBy)); err != nil {
			return err
		}
	}
	size := c.query.Top
	if size == 0 {
		size = odata.DefaultPage
	}
	page, next, total := cut(inOrder(all, c.query.OrderBy), c.query.OrderBy, from, size, c.query.Count, match)
	answer := object{"@odata.context": c.context(name)}
	if len(c.query.Select) > 0 {
		answer["@odata.context"] = c.context(name + "(" + strings.Join(c.query.Select, ",") + ")")
	}
	if c.query.Count {
		answer["@odata.count"] = total
	}
	if next != nil {
		answer["@odata.nextLink"] = c.nextLink(*next)
	}
	value := []object{}
	for _, r := range page {
		o, err := c.shape(name, r.object())
		if err != nil {
			return err
		}
		value = append(value, o)
	}
	answer["value"] = value
	c.answer = answer
	return nil
}

// cut takes the page of what matches behind a token, and writes no more rows than it needs for that unless all are counted. The rows are in
// order. The page begins at the first row behind the token's place, whether or not there is still an object there: whoever deletes what it
// is shown must meet all others.
func cut(all []placed, order []odata.Order, from *token, size int, count bool, match func(row) bool) (page []row, next *token, total int) {
	var last token
	for _, r := range all {
		behind := from == nil || comparePlaces(r, placed{row{id: from.Last}, from.By}, order) > 0
		if !behind && !count || !match(r.row) {
			continue
		}
		total++
		switch {
		case behind && len(page) < size:
			page = append(page, r.row)
			last = token{r.id, r.by}
		case behind: // there is more
			next = &last
			if !count {
				return page, next, total
			}
		}
	}
	return page, next, total
}

// inOrder gives the rows in the order of $orderby and then of ids, as directory objects have no other order of their own.
func inOrder(all iter.Seq[row], order []odata.Order) []placed {
	var list []placed
	for r := range all {
		p := placed{row: r}
		if len(order) > 0 {
			o := r.object()
			p = placed{row{r.id, func() object { return o }}, keysOf(o, order)}
		}
		list = append(list, p)
	}
	slices.SortStableFunc(list, func(a, b placed) int { return comparePlaces(a, b, order) })
	return list
}

func keysOf(o object, order []odata.Order) []string {
	keys := make([]string, len(order))
	for i, by := range order {
		text, _ := odata.Property(o, by.Path).(string)
		keys[i] = strings.ToLower(text)
	}
	return keys
}

// comparePlaces compares rows, which have a key for each of the order.
func comparePlaces(a, b placed, order []odata.Order) int {
	for i, by := range order {
		n := strings.Compare(a.by[i], b.by[i])
		if by.Descending {
			n = -n
		}
		if n != 0 {
			return n
		}
	}
	return strings.Compare(a.id, b.id)
}

// matcher tells of a row whether it passes $filter and $search, once the query makes sense for the collection.
func (c *call) matcher(name string) (func(row) bool, error) {
	search, err := parseSearch(c.query.Search)
	if err != nil {
		return nil, err
	}
	var by string
	if search != nil {
		by = search.Path
	}
	if err := c.s.schemaOf(name).check(c.query, by); err != nil {
		return nil, err
	}
	if c.query.Filter == nil && search == nil {
		return func(row) bool { return true }, nil
	}
	return func(r row) bool {
		o := r.object()
		get := func(path string) any { return odata.Property(o, path) }
		return (c.query.Filter == nil || c.query.Filter.Match(get)) && (search == nil || search.Match(get))
	}, nil
}

// parseSearch reads the form of $search that directory objects have: "property:text", quotes included.
func parseSearch(text string) (*odata.Call, error) {
	if text == "" {
		return nil, nil
	}
	inner, ok := strings.CutPrefix(text, `"`)
	inner, closed := strings.CutSuffix(inner, `"`)
	property, value, colon := strings.Cut(inner, ":")
	if !ok || !closed || !colon || strings.Contains(value, `"`) {
		return nil, &problem{status: http.StatusBadRequest, code: "BadRequest", message: "Syntax error: character ':' is not valid at position 0 in '" + text + "'."}
	}
	return &odata.Call{Func: "contains", Path: property, Value: odata.Literal{Quoted: true, Text: value}}, nil
}

func (c *call) nextLink(t token) string {
	query := c.r.URL.Query()
	for name := range query {
		if strings.EqualFold(strings.TrimPrefix(name, "$"), "skiptoken") {
			query.Del(name)
		}
	}
	query.Set("$skiptoken", t.String())
	return c.s.env.Endpoints().Graph + c.r.URL.EscapedPath() + "?" + strings.ReplaceAll(query.Encode(), url.QueryEscape("$"), "$")
}

// count answers the /$count segment of a collection, which needs the header alone.
func (c *call) count(name string, all iter.Seq[row]) error {
	if !c.query.Eventual {
		return badRequest("$count is not currently supported.")
	}
	match, err := c.matcher(name)
	if err != nil {
		return err
	}
	n := 0
	for r := range all {
		if match(r) {
			n++
		}
	}
	c.answer = plainText(strconv.Itoa(n))
	return nil
}

// shape keeps what $select names. Asking for a property that the type does not have is an error.
func (c *call) shape(collection string, o object) (object, error) {
	if err := c.s.schemaOf(collection).selects(c.query.Select); err != nil {
		return nil, err
	}
	if len(c.query.Select) == 0 {
		if strings.HasPrefix(collection, "users") {
			for _, name := range onlyOnSelect {
				delete(o, name)
			}
		}
		return o, nil
	}
	kept := object{}
	for name, value := range o {
		if strings.HasPrefix(name, "@") || c.query.Selects(name) || c.query.Expands(name) {
			kept[name] = value
		}
	}
	return kept, nil
}

// one answers a single object of a collection.
func (c *call) one(collection string, o object) error {
	if err := c.s.schemaOf(collection).expands(c.query.Expand); err != nil {
		return err
	}
	context := collection
	if len(c.query.Select) > 0 {
		context += "(" + strings.Join(c.query.Select, ",") + ")"
	}
	shaped, err := c.shape(collection, o)
	if err != nil {
		return err
	}
	c.ok(shaped, context+"/$entity")
	return nil
}
