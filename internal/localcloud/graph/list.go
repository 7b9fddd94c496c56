package graph

import (
	"encoding/base64"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/graph/odata"
)

// row is an object of a collection before it is known whether it is asked for: its id, and how to write it.
type row struct {
	id     string
	object func() object
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

// token is what a $skiptoken holds: the last object given, and how many were, in case that one is gone by then.
type token struct {
	Last  string `json:"l"`
	Given int    `json:"n"`
}

func (t token) String() string {
	b, _ := json.Marshal(t)
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseToken(text string) (token, error) {
	var t token
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(b, &t) != nil || t.Given < 0 {
		return t, &problem{status: http.StatusBadRequest, code: "Directory_ExpiredPageToken", message: "The specified page token value has expired and can no longer be included in your request."}
	}
	return t, nil
}

// list answers a collection: what of all passes the filter, one page of it, shaped by $select.
func (c *call) list(name string, all iter.Seq[row]) error {
	found, err := c.found(name, all)
	if err != nil {
		return err
	}
	var from *token
	if c.query.SkipToken != "" {
		t, err := parseToken(c.query.SkipToken)
		if err != nil {
			return err
		}
		from = &t
	}
	size := c.query.Top
	if size == 0 {
		size = odata.DefaultPage
	}
	page, next, total := cut(found, from, size, c.query.Count)
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

// cut takes the page behind a token, and no more rows than it needs unless all are counted. Where the last object of the page before is
// gone, the page begins after as many as were given.
func cut(all iter.Seq[row], from *token, size int, count bool) (page []row, next *token, total int) {
	var instead []row // the page, if the token's object does not come
	start, begun := 0, from == nil
	for r := range all {
		switch {
		case begun && len(page) <= size:
			page = append(page, r)
		case !begun && r.id == from.Last:
			start, begun = total+1, true
		case !begun && total >= from.Given && len(instead) <= size:
			instead = append(instead, r)
		}
		total++
		if begun && len(page) > size && !count {
			break
		}
	}
	if !begun {
		page, start = instead, from.Given
	}
	if len(page) > size {
		page = page[:size]
		next = &token{page[size-1].id, start + size}
	}
	return page, next, total
}

// found lends what passes $filter and $search, in the order of $orderby, once the query makes sense for the collection.
func (c *call) found(name string, all iter.Seq[row]) (iter.Seq[row], error) {
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
		return sorted(all, c.query.OrderBy), nil
	}
	return sorted(func(yield func(row) bool) {
		for r := range all {
			o := r.object()
			get := func(path string) any { return odata.Property(o, path) }
			if c.query.Filter != nil && !c.query.Filter.Match(get) || search != nil && !search.Match(get) {
				continue
			}
			if !yield(row{r.id, func() object { return o }}) {
				return
			}
		}
	}, c.query.OrderBy), nil
}

func compareRows(a, b object, order []odata.Order) int {
	for _, by := range order {
		x, _ := odata.Property(a, by.Path).(string)
		y, _ := odata.Property(b, by.Path).(string)
		n := strings.Compare(strings.ToLower(x), strings.ToLower(y))
		if by.Descending {
			n = -n
		}
		if n != 0 {
			return n
		}
	}
	return 0
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
	found, err := c.found(name, all)
	if err != nil {
		return err
	}
	n := 0
	for range found {
		n++
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
