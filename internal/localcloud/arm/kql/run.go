package kql

import (
	"maps"
	"math/bits"
	"slices"
)

// record is a row on its way through a query.
type record struct {
	row   Row
	ident []any // what tells it apart: the id of the table's row, or what it was grouped by
	by    []any // what it is ordered by
}

// step is an operator that is ready to run. It may change the list of records, but no row.
type step func(x *run, all []record) []record

// Run gives the result of the query. Rows of the table are told apart by their column id, in the order of which they are unless the query
// has another. The rows stay as they are. The error is an [*Error]: the query takes too much, or compares what cannot be compared.
func (p *Plan) Run(rows []Row) (*Result, error) {
	x := &run{}
	all := make([]record, len(rows))
	for i, r := range rows {
		all[i] = record{row: r, ident: []any{r["id"]}}
	}
	slices.SortStableFunc(all, func(a, b record) int { return compareAll(a.ident, b.ident) })
	for _, s := range p.steps {
		if all = s(x, all); x.err != nil {
			return nil, x.err
		}
	}
	return &Result{all, p.order}, nil
}

func (o where) bind(s *scope) (step, error) {
	cond, err := o.cond.bind(s)
	if err != nil {
		return nil, err
	}
	if cond.kind != Bool {
		return nil, semantic(place(o.cond), "where needs a condition, and this is of type %s", cond.kind)
	}
	return func(x *run, all []record) []record {
		var kept []record
		for _, r := range all {
			if cond.at(x, r.row) == true {
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

// each gives every record a new row with the columns, and with those that it has had if they are kept.
func each(cols []made, keep bool) step {
	return func(x *run, all []record) []record {
		out := make([]record, len(all))
		for i, r := range all {
			size := len(cols)
			if keep {
				size += len(r.row)
			}
			if !x.make(cell * size) {
				return nil
			}
			row := make(Row, size)
			if keep {
				maps.Copy(row, r.row)
			}
			for _, c := range cols {
				row[c.Name] = c.at(x, r.row)
			}
			out[i] = record{row, r.ident, r.by}
		}
		return out
	}
}

func (o project) bind(s *scope) (step, error) {
	cols, err := makeAll(o.cols, s)
	if err != nil {
		return nil, err
	}
	s.columns = columnsOf(cols)
	return each(cols, false), nil
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
	return each(cols, true), nil
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
	return func(_ *run, all []record) []record { return all }, nil // what is no column is not shown
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

// sorter orders records by the keys, and equal ones by what tells them apart: Kusto says nothing about those, but a page has to go on where
// the one before it ended.
func sorter(keys []key, s *scope) (step, error) {
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
	s.order = by
	return func(x *run, all []record) []record {
		if !x.make(len(all)*len(by)*part) || !x.spend(len(all)*len(by)*bits.Len(uint(len(all)))) {
			return nil
		}
		out := make([]record, len(all))
		for i, r := range all {
			out[i] = record{r.row, r.ident, make([]any, len(by))}
			for j, k := range by {
				out[i].by[j] = k.at(x, r.row)
			}
		}
		slices.SortStableFunc(out, func(a, b record) int { return compareRecords(by, a, b) })
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
	c := compareValues(a, b)
	if !k.asc {
		c = -c
	}
	return c
}

func (o order) bind(s *scope) (step, error) { return sorter(o.keys, s) }

func (o take) bind(*scope) (step, error) {
	return func(_ *run, all []record) []record { return all[:min(o.n, len(all))] }, nil
}

func (o top) bind(s *scope) (step, error) {
	sorted, err := sorter(o.keys, s)
	if err != nil {
		return nil, err
	}
	return func(x *run, all []record) []record {
		all = sorted(x, all)
		return all[:min(o.n, len(all))]
	}, nil
}

func (count) bind(s *scope) (step, error) { return one("Count", s), nil }

// one is a step that gives one record: how many there are, none too.
func one(name string, s *scope) step {
	s.columns, s.order = []Column{{name, Long}}, nil
	return func(_ *run, all []record) []record { return []record{{row: Row{name: float64(len(all))}}} }
}

// groups binds what records are grouped by and gives a step that makes one of each group, which is what tells them apart and orders them.
// With a name the row has also the group's size.
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
	s.order = nil
	return func(x *run, all []record) []record {
		var out []record
		place := map[string]int{}
		for _, r := range all {
			values := make([]any, len(by))
			for i, c := range by {
				values[i] = c.at(x, r.row)
			}
			id := x.text(values)
			at, known := place[id]
			if !known {
				if !x.make(cell * (len(by) + 1)) {
					return nil
				}
				at = len(out)
				place[id] = at
				group := make(Row, len(by)+1)
				for i, c := range by {
					group[c.Name] = values[i]
				}
				out = append(out, record{row: group, ident: values})
			}
			if size != "" {
				n, _ := out[at].row[size].(float64)
				out[at].row[size] = n + 1
			}
		}
		slices.SortFunc(out, func(a, b record) int { return compareAll(a.ident, b.ident) })
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
	if len(o.by) == 0 {
		return one(o.name, s), nil
	}
	s.columns = append(columnsOf(cols), Column{o.name, Long})
	return st, nil
}
