package kql

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// step is an operator that is ready to run. It may change the list of rows, but no row.
type step func(rows []Row) []Row

// Run gives the rows of the result. The rows of the table stay as they are.
func (p *Plan) Run(rows []Row) []Row {
	for _, s := range p.steps {
		rows = s(rows)
	}
	return rows
}

func (o where) bind(s *scope) (step, error) {
	cond, err := o.cond.bind(s)
	if err != nil {
		return nil, err
	}
	if cond.kind != Bool {
		return nil, semantic(place(o.cond), "where needs a condition, and this is of type %s", cond.kind)
	}
	return func(rows []Row) []Row {
		var kept []Row
		for _, r := range rows {
			if cond.eval(r) == true {
				kept = append(kept, r)
			}
		}
		return kept
	}, nil
}

// column is the name of an expression that was given none: a column's own, or the members of a path joined by '_'. Others must be named,
// since the names that Kusto gives them could not be relied on.
func (n named) column() (string, error) {
	if n.name != "" {
		return n.name, nil
	}
	switch e := n.value.(type) {
	case column:
		return e.at.value, nil
	case member:
		up, err := named{value: e.of}.column()
		if key, isText := e.by.(literal).value.(string); err == nil && isText {
			return up + "_" + key, nil
		}
	}
	return "", semantic(place(n.value), "this expression needs a name: write name = %s", n.value)
}

// made is a column with its expression.
type made struct {
	Column
	typed
}

func makeAll(cols []named, s *scope) ([]made, error) {
	var all []made
	for _, c := range cols {
		value, err := c.value.bind(s)
		if err != nil {
			return nil, err
		}
		name, err := c.column()
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(m made) bool { return m.Name == name }) {
			return nil, semantic(place(c.value), "A column named '%s' is there already", name)
		}
		all = append(all, made{Column{name, value.kind}, value})
	}
	return all, nil
}

func columnsOf(all []made) []Column {
	columns := make([]Column, len(all))
	for i, m := range all {
		columns[i] = m.Column
	}
	return columns
}

func (o project) bind(s *scope) (step, error) {
	cols, err := makeAll(o.cols, s)
	if err != nil {
		return nil, err
	}
	s.columns = columnsOf(cols)
	return func(rows []Row) []Row {
		out := make([]Row, len(rows))
		for i, r := range rows {
			out[i] = make(Row, len(cols))
			for _, c := range cols {
				out[i][c.Name] = c.eval(r)
			}
		}
		return out
	}, nil
}

func (o extend) bind(s *scope) (step, error) {
	cols, err := makeAll(o.cols, s)
	if err != nil {
		return nil, err
	}
	s.columns = slices.Clone(s.columns)
	for _, c := range cols {
		if i := slices.IndexFunc(s.columns, func(old Column) bool { return old.Name == c.Name }); i >= 0 {
			s.columns[i] = c.Column
		} else {
			s.columns = append(s.columns, c.Column)
		}
	}
	return func(rows []Row) []Row {
		out := make([]Row, len(rows))
		for i, r := range rows {
			out[i] = maps.Clone(r)
			for _, c := range cols {
				out[i][c.Name] = c.eval(r)
			}
		}
		return out
	}, nil
}

func (o away) bind(s *scope) (step, error) {
	for _, n := range o.names {
		if _, found := s.typeOf(n.value); !found {
			return nil, semantic(n, "Failed to resolve column named '%s'", n.value)
		}
	}
	s.columns = slices.DeleteFunc(slices.Clone(s.columns), func(c Column) bool {
		return slices.ContainsFunc(o.names, func(n token) bool { return n.value == c.Name })
	})
	return func(rows []Row) []Row { return rows }, nil // what is no column is not shown
}

// scalar refuses an expression of which rows cannot be ordered or grouped.
func scalar(what string, e expr, t typed) error {
	if t.kind == Dynamic {
		return semantic(place(e), "%s: the expression is of a 'dynamic' type. Please use an explicit cast, such as tostring()", what)
	}
	return nil
}

type sortKey struct {
	key
	typed
}

func sorter(keys []key, s *scope) (func(rows []Row) []Row, error) {
	var by []sortKey
	for _, k := range keys {
		t, err := k.value.bind(s)
		if err != nil {
			return nil, err
		}
		if err := scalar("order by", k.value, t); err != nil {
			return nil, err
		}
		by = append(by, sortKey{k, t})
	}
	return func(rows []Row) []Row {
		type keyed struct {
			row    Row
			values []any
		}
		all := make([]keyed, len(rows))
		for i, r := range rows {
			all[i] = keyed{r, make([]any, len(by))}
			for j, k := range by {
				all[i].values[j] = k.eval(r)
			}
		}
		slices.SortStableFunc(all, func(a, b keyed) int {
			for i, k := range by {
				if c := k.compare(a.values[i], b.values[i]); c != 0 {
					return c
				}
			}
			return 0
		})
		out := make([]Row, len(rows))
		for i, k := range all {
			out[i] = k.row
		}
		return out
	}, nil
}

func (k sortKey) compare(a, b any) int {
	if a == nil || b == nil {
		c := 0
		switch {
		case a == nil && b != nil:
			c = 1
		case a != nil && b == nil:
			c = -1
		}
		if k.nullsFirst {
			c = -c
		}
		return c
	}
	c := 0
	switch a := a.(type) {
	case string:
		c = strings.Compare(a, asText(b))
	case float64:
		other, _ := b.(float64)
		c = cmp.Compare(a, other)
	case bool:
		c = strings.Compare(asText(a), asText(b)) // false comes before true
	}
	if !k.asc {
		c = -c
	}
	return c
}

func (o order) bind(s *scope) (step, error) {
	sorted, err := sorter(o.keys, s)
	return sorted, err
}

func (o take) bind(*scope) (step, error) {
	return func(rows []Row) []Row { return rows[:min(o.n, len(rows))] }, nil
}

func (o top) bind(s *scope) (step, error) {
	sorted, err := sorter(o.keys, s)
	if err != nil {
		return nil, err
	}
	return func(rows []Row) []Row { return sorted(rows)[:min(o.n, len(rows))] }, nil
}

func (count) bind(s *scope) (step, error) {
	s.columns = []Column{{"Count", Long}}
	return func(rows []Row) []Row { return []Row{{"Count": float64(len(rows))}} }, nil
}

// groups binds what rows are grouped by and gives a step that makes one row of each group, in the order in which they are met. With a
// name the row has also the group's size.
func groups(what string, cols []named, size string, s *scope) (step, error) {
	by, err := makeAll(cols, s)
	if err != nil {
		return nil, err
	}
	for i, c := range by {
		if err := scalar(what, cols[i].value, c.typed); err != nil {
			return nil, err
		}
	}
	return func(rows []Row) []Row {
		var out []Row
		place := map[string]int{}
		for _, r := range rows {
			values := make([]any, len(by))
			for i, c := range by {
				values[i] = c.eval(r)
			}
			id, err := json.Marshal(values)
			if err != nil {
				continue // scalars encode
			}
			at, known := place[string(id)]
			if !known {
				at = len(out)
				place[string(id)] = at
				group := Row{}
				for i, c := range by {
					group[c.Name] = values[i]
				}
				out = append(out, group)
			}
			if size != "" {
				n, _ := out[at][size].(float64)
				out[at][size] = n + 1
			}
		}
		return out
	}, nil
}

func (o distinct) bind(s *scope) (step, error) {
	st, err := groups("distinct", o.cols, "", s)
	if err != nil {
		return nil, err
	}
	cols, err := makeAll(o.cols, s)
	s.columns = columnsOf(cols)
	return st, err
}

func (o summarize) bind(s *scope) (step, error) {
	st, err := groups("summarize", o.by, o.name, s)
	if err != nil {
		return nil, err
	}
	cols, err := makeAll(o.by, s)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(cols, func(m made) bool { return m.Name == o.name }) {
		return nil, semantic(place(o.by[0].value), "A column named '%s' is there already", o.name)
	}
	s.columns = append(columnsOf(cols), Column{o.name, Long})
	if len(o.by) > 0 {
		return st, nil
	}
	return func(rows []Row) []Row { return []Row{{o.name: float64(len(rows))}} }, nil // of no rows too
}

// Pinned tells which texts, in lower case, the query lets a path of the table have, such as properties.principalId: other rows need not
// be read. ok is false if it lets it be anything. Only the conditions at the head of the query are looked at.
func (p *Plan) Pinned(path string) (values []string, ok bool) {
	for _, o := range p.query.ops {
		w, isWhere := o.(where)
		if !isWhere {
			break
		}
		if v, found := pinned(w.cond, path); found && (!ok || len(v) < len(values)) {
			values, ok = v, true
		}
	}
	return values, ok
}

func pinned(e expr, path string) ([]string, bool) {
	switch e := e.(type) {
	case binary:
		switch e.op.raw {
		case "and":
			if v, found := pinned(e.l, path); found {
				return v, true
			}
			return pinned(e.r, path)
		case "==", "=~":
			if v, isText := textOf(e.r); isText && pathOf(e.l) == path {
				return []string{v}, true
			}
			if v, isText := textOf(e.l); isText && pathOf(e.r) == path {
				return []string{v}, true
			}
		}
	case among:
		if pathOf(e.l) != path || strings.HasPrefix(e.op.raw, "!") {
			return nil, false
		}
		var values []string
		for _, x := range e.list {
			v, isText := textOf(x)
			if !isText {
				return nil, false
			}
			values = append(values, v)
		}
		return values, true
	}
	return nil, false
}

func textOf(e expr) (string, bool) {
	l, isLiteral := e.(literal)
	if !isLiteral {
		return "", false
	}
	s, isText := l.value.(string)
	return strings.ToLower(s), isText
}

// pathOf is the path that an expression reads, whatever the case it is read in; "" if it is none.
func pathOf(e expr) string {
	switch e := e.(type) {
	case column:
		return e.at.value
	case member:
		up := pathOf(e.of)
		if key, isText := e.by.(literal).value.(string); isText && up != "" {
			return up + "." + key
		}
	case call:
		switch e.at.value {
		case "tostring", "tolower", "toupper":
			if len(e.args) == 1 {
				return pathOf(e.args[0])
			}
		}
	}
	return ""
}
