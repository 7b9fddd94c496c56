package kql

// What a query may take. Kusto bounds the memory of an operator and the time of a query (Kusto, "Query limits"); a query of a few hundred
// bytes can ask for more than any machine has, as when strcat repeats its own result.
const (
	// maxText is the longest text that strcat makes: 1 MB is the most that a value of type string has (Kusto, "The string data type").
	maxText = 1 << 20
	// maxMade is how many bytes of values a run makes, whether it keeps them or not.
	maxMade = 1 << 28
	// maxWork is how many steps a run has, a second or two of them. A step is an expression of one row, or looking at 64 bytes of a text.
	maxWork = 1 << 25

	// cell is what a value of a row costs beside its text, part what one of a list does.
	cell = 48
	part = 32
)

// run is one run of a plan: what it has taken, and why it had to end. After that its expressions are null.
type run struct {
	work, made int
	err        error
}

// spend takes steps; false is the end of the run.
func (x *run) spend(steps int) bool {
	if x.work += steps; x.work > maxWork {
		x.runaway("exceeded the budget of work")
	}
	return x.err == nil
}

// make takes bytes; false is the end of the run.
func (x *run) make(bytes int) bool {
	if x.made += bytes; x.made > maxMade {
		x.runaway("exceeded the memory budget during evaluation")
	}
	return x.spend(bytes / 64)
}

// runaway ends a run that takes too much (Kusto, "Query limits": E_RUNAWAY_QUERY; how Resource Graph passes it on was not seen).
func (x *run) runaway(why string) {
	x.fail(&Error{Code: "E_RUNAWAY_QUERY", Message: "Runaway query (E_RUNAWAY_QUERY): the query has " + why + ".", Line: -1, Col: -1})
}

func (x *run) fail(err error) {
	if x.err == nil {
		x.err = err
	}
}

// text is tostring() of a value, paid for.
func (x *run) text(v any) string {
	s, is := v.(string)
	if !is {
		s = asText(v)
		x.make(len(s))
	}
	x.spend(len(s) / 64)
	return s
}

// at is the value of an expression in a row, nil once the run has ended.
func (t typed) at(x *run, r Row) any {
	if !x.spend(1) {
		return nil
	}
	return t.eval(x, r)
}

// mismatch ends a run that would compare a dynamic value with one of another kind: Kusto's documentation does not say what that gives,
// only that "after subscripting a dynamic object, you must cast the value to a simple type" ("The dynamic data type").
func (x *run) mismatch(op token, l, r any) {
	x.fail(semantic(op, "'%s' compares a %s with a %s here: cast the dynamic value, with tostring() or tobool()", op.raw, kindOf(l), kindOf(r)))
}

func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "text"
	case float64:
		return "number"
	case bool:
		return "boolean"
	case []any:
		return "list"
	}
	return "property bag"
}
