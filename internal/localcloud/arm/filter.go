package arm

import (
	"errors"
	"strings"
)

// clause is one condition of an ARM $filter: a call such as assignedTo('…') has no Op, a comparison such as roleName eq 'Reader' does.
type clause struct {
	Name  string
	Op    string // "", "eq" or "ne"
	Value string
	Bare  bool // a call without an argument
}

var errFilter = errors.New("not a filter")

// parseFilter reads clauses joined by "and", which is all that the listings of this service take. Words are matched without regard to
// case; a literal may be quoted (” stands for a quote) or a bare word, as some clients send ids.
func parseFilter(s string) ([]clause, error) {
	var clauses []clause
	for {
		c, rest, err := parseClause(s)
		if err != nil {
			return nil, err
		}
		clauses = append(clauses, c)
		if rest = strings.TrimLeft(rest, " "); rest == "" {
			return clauses, nil
		}
		word, after := cutWord(rest)
		if !strings.EqualFold(word, "and") || after == "" || after[0] != ' ' {
			return nil, errFilter
		}
		s = after
	}
}

func parseClause(s string) (c clause, rest string, err error) {
	c.Name, rest = cutWord(strings.TrimLeft(s, " "))
	if c.Name == "" {
		return c, "", errFilter
	}
	if after, call := strings.CutPrefix(rest, "("); call {
		if after, bare := strings.CutPrefix(after, ")"); bare {
			c.Bare = true
			return c, after, nil
		}
		if c.Value, rest, err = cutLiteral(after); err != nil {
			return c, "", err
		}
		if after, ok := strings.CutPrefix(rest, ")"); ok {
			return c, after, nil
		}
		return c, "", errFilter
	}
	op, rest := cutWord(strings.TrimLeft(rest, " "))
	if c.Op = strings.ToLower(op); c.Op != "eq" && c.Op != "ne" {
		return c, "", errFilter
	}
	c.Value, rest, err = cutLiteral(strings.TrimLeft(rest, " "))
	return c, rest, err
}

// cutWord takes letters, digits, '-', '_', '.' and '/' from the front.
func cutWord(s string) (word, rest string) {
	i := strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./", r))
	})
	if i < 0 {
		i = len(s)
	}
	return s[:i], s[i:]
}

func cutLiteral(s string) (value, rest string, err error) {
	if !strings.HasPrefix(s, "'") {
		if value, rest = cutWord(s); value == "" {
			return "", "", errFilter
		}
		return value, rest, nil
	}
	var b strings.Builder
	for s = s[1:]; ; {
		i := strings.IndexByte(s, '\'')
		if i < 0 {
			return "", "", errFilter
		}
		b.WriteString(s[:i])
		if s = s[i+1:]; !strings.HasPrefix(s, "'") {
			return b.String(), s, nil
		}
		b.WriteByte('\'')
		s = s[1:]
	}
}

// printFilter writes the clauses so that parseFilter reads them again.
func printFilter(clauses []clause) string {
	var parts []string
	for _, c := range clauses {
		quoted := "'" + strings.ReplaceAll(c.Value, "'", "''") + "'"
		switch {
		case c.Bare:
			parts = append(parts, c.Name+"()")
		case c.Op == "":
			parts = append(parts, c.Name+"("+quoted+")")
		default:
			parts = append(parts, c.Name+" "+c.Op+" "+quoted)
		}
	}
	return strings.Join(parts, " and ")
}
