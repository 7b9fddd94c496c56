package odata

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Paging of directory objects (Microsoft Graph, "Paging Microsoft Graph data in your app").
const (
	DefaultPage = 100
	MaxPage     = 999
)

// Query is the system query options of a request.
type Query struct {
	Filter    Expr
	Select    []string
	Expand    []string
	OrderBy   []Order
	Search    string
	Top       int // 0 means DefaultPage
	Count     bool
	SkipToken string
	Eventual  bool // the request says ConsistencyLevel: eventual
}

// Order is one property of $orderby.
type Order struct {
	Path       string
	Descending bool
}

// OptionError says that an option is not one, or its value not a value of it; its text is what Graph says.
type OptionError struct{ reason string }

func (e *OptionError) Error() string { return e.reason }

// UnsupportedError says that Graph does not answer such a query; its text is Graph's.
type UnsupportedError struct{ reason string }

func (e *UnsupportedError) Error() string { return e.reason }

// ParseQuery reads the options of a URL. Names may lack the "$" and be in any case, as Graph allows; an option is given once.
func ParseQuery(values url.Values, consistencyLevel string) (Query, error) {
	q := Query{Eventual: strings.EqualFold(consistencyLevel, "eventual")}
	seen := map[string]bool{}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names) // so that the same request gets the same complaint
	for _, name := range names {
		option := strings.TrimPrefix(strings.ToLower(name), "$")
		if len(values[name]) > 1 || seen[option] {
			return q, &OptionError{"Query option '" + name + "' was specified more than once, but it must be specified at most once."}
		}
		seen[option] = true
		if err := q.set(option, name, values.Get(name)); err != nil {
			return q, err
		}
	}
	return q, q.supported()
}

func (q *Query) set(option, name, value string) (err error) {
	switch option {
	case "filter":
		q.Filter, err = Parse(value)
	case "select":
		q.Select = list(value)
	case "expand":
		q.Expand = list(value)
	case "orderby":
		for _, item := range list(value) {
			path, direction, _ := strings.Cut(item, " ")
			switch d := strings.ToLower(strings.TrimSpace(direction)); d {
			case "", "asc", "desc":
				q.OrderBy = append(q.OrderBy, Order{path, d == "desc"})
			default:
				return &OptionError{"Syntax error in '$orderby': '" + item + "'."}
			}
		}
	case "search":
		q.Search = value
	case "top":
		n, e := strconv.Atoi(value)
		if e != nil || n < 1 || n > MaxPage {
			return &OptionError{"Invalid page size specified: '" + value + "'. Must be between 1 and 999 inclusive."}
		}
		q.Top = n
	case "count":
		if q.Count, err = strconv.ParseBool(strings.ToLower(value)); err != nil {
			return &OptionError{"Invalid value '" + value + "' for $count query option found. Valid values are 'true' or 'false'."}
		}
	case "skiptoken":
		q.SkipToken = value
	case "skip":
		return &OptionError{"'$skip' is not supported by the service."}
	default:
		if strings.HasPrefix(name, "$") {
			return &OptionError{"The query parameter '" + name + "' is not supported."}
		}
	}
	return err
}

// supported refuses advanced queries that do not ask for eventual consistency and a count, in Graph's words. $count=true without the
// header is ignored rather than refused.
func (q *Query) supported() error {
	advanced := q.Eventual && q.Count
	switch {
	case q.Search != "" && !q.Eventual:
		return &UnsupportedError{"Request with $search query parameter only works through MSGraph with a special request header: 'ConsistencyLevel: eventual'"}
	case q.Filter != nil && q.Filter.Advanced() && !advanced:
		return &UnsupportedError{"Unsupported Query."}
	case q.Filter != nil && len(q.OrderBy) > 0 && !advanced:
		return &UnsupportedError{"Sorting not supported for current query."}
	}
	if !q.Eventual {
		q.Count = false
	}
	return nil
}

// list cuts at commas outside of parentheses.
func list(value string) []string {
	var items []string
	depth, start := 0, 0
	add := func(end int) {
		if item := strings.TrimSpace(value[start:end]); item != "" {
			items = append(items, item)
		}
	}
	for i, c := range value {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			add(i)
			start = i + 1
		}
	}
	add(len(value))
	return items
}

// Selects tells whether $select names the property.
func (q Query) Selects(property string) bool {
	return slices.ContainsFunc(q.Select, func(s string) bool { return strings.EqualFold(s, property) })
}

// Expands tells whether $expand names the navigation property.
func (q Query) Expands(property string) bool {
	return slices.ContainsFunc(q.Expand, func(s string) bool {
		name, _, _ := strings.Cut(s, "(")
		return strings.EqualFold(name, property)
	})
}
