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

// rows adapts objects of a table.
func rows[T any](objects []T, id func(T) string, encode func(T) object) iter.Seq[row] {
	return func(yield func(row) bool) {
		for _, o := range objects {
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
	found, err := c.filter(all)
	if err != nil {
		return err
	}
	total := len(found)
	if found, err = c.resume(found); err != nil {
		return err
	}
	size := c.query.Top
	if size == 0 {
		size = odata.DefaultPage
	}
	answer := object{"@odata.context": c.context(name)}
	if len(c.query.Select) > 0 {
		answer["@odata.context"] = c.context(name + "(" + strings.Join(c.query.Select, ",") + ")")
	}
	if c.query.Count {
		answer["@odata.count"] = total
	}
	if len(found) > size {
		answer["@odata.nextLink"] = c.nextLink(token{found[size-1].id, total - len(found) + size})
		found = found[:size]
	}
	value := []object{}
	for _, r := range found {
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

// filter keeps what passes $filter and $search, in the order of $orderby.
func (c *call) filter(all iter.Seq[row]) ([]row, error) {
	search, err := parseSearch(c.query.Search)
	if err != nil {
		return nil, err
	}
	var found []row
	for r := range all {
		if c.query.Filter == nil && search == nil && len(c.query.OrderBy) == 0 {
			found = append(found, r)
			continue
		}
		o := r.object()
		get := func(path string) any { return odata.Property(o, path) }
		if (c.query.Filter == nil || c.query.Filter.Match(get)) && (search == nil || search.Match(get)) {
			found = append(found, row{r.id, func() object { return o }})
		}
	}
	if len(c.query.OrderBy) > 0 {
		slices.SortStableFunc(found, func(a, b row) int { return compareRows(a.object(), b.object(), c.query.OrderBy) })
	}
	return found, nil
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
func parseSearch(text string) (odata.Expr, error) {
	if text == "" {
		return nil, nil
	}
	inner, ok := strings.CutPrefix(text, `"`)
	inner, closed := strings.CutSuffix(inner, `"`)
	property, value, colon := strings.Cut(inner, ":")
	if !ok || !closed || !colon || strings.Contains(value, `"`) {
		return nil, &problem{status: http.StatusBadRequest, code: "BadRequest", message: "Syntax error: character ':' is not valid at position 0 in '" + text + "'."}
	}
	return odata.Call{Func: "contains", Path: property, Value: odata.Literal{Quoted: true, Text: value}}, nil
}

// resume drops what earlier pages gave.
func (c *call) resume(found []row) ([]row, error) {
	if c.query.SkipToken == "" {
		return found, nil
	}
	t, err := parseToken(c.query.SkipToken)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(found, func(r row) bool { return r.id == t.Last }); i >= 0 {
		return found[i+1:], nil
	}
	return found[min(t.Given, len(found)):], nil
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

// count answers a /$count segment, which needs the header alone.
func (c *call) count(all iter.Seq[row]) error {
	if !c.query.Eventual {
		return badRequest("$count is not currently supported.")
	}
	found, err := c.filter(all)
	if err != nil {
		return err
	}
	c.answer = plainText(strconv.Itoa(len(found)))
	return nil
}

// shape keeps what $select names. Asking for a property that the type does not have is an error.
func (c *call) shape(collection string, o object) (object, error) {
	if len(c.query.Select) == 0 {
		if collection == "users" {
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
	for _, name := range c.query.Select {
		known := slices.ContainsFunc(keysOf(o), func(have string) bool { return strings.EqualFold(have, name) })
		if kind, typed := strictTypes[collection]; typed && !known && !strings.Contains(name, "/") && !strings.HasPrefix(name, "extension_") {
			return nil, &problem{status: http.StatusBadRequest, code: "BadRequest", message: "Parsing OData Select and Expand failed: Could not find a property named '" + name + "' on type 'microsoft.graph." + kind + "'."}
		}
	}
	return kept, nil
}

// strictTypes are the collections whose objects carry every property of their type, so that another one is a mistake of the client.
var strictTypes = map[string]string{"applications": "application", "servicePrincipals": "servicePrincipal"}

func keysOf(o object) []string {
	names := make([]string, 0, len(o))
	for name := range o {
		names = append(names, name)
	}
	return names
}

// one answers a single object of a collection.
func (c *call) one(collection string, o object) error {
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
