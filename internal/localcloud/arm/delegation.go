package arm

import (
	"strings"
	"time"
)

// question is what a condition is asked about. Attributes are those of the role assignment in the request and of the one that there is;
// nil where there is none.
type question struct {
	operation         string // lower case
	request, resource *delegated
	now               time.Time
}

// delegated are the attributes of a role assignment that a condition can ask for (Microsoft, "Authorization actions and attributes"), by
// which somebody may assign or remove only some roles, to some principals, of some types ("Delegate Azure role assignment management to
// others with conditions").
type delegated struct{ roleID, principalID, principalType string }

func (a Assignment) attributes() *delegated {
	return &delegated{a.RoleID, a.PrincipalID, a.PrincipalType}
}

// value is what an attribute has.
type value struct {
	of   valueType
	text string
}

// attribute is the value of an attribute, nil if the request has none. known is false for attributes that the local cloud has nothing
// of, such as those of Storage and custom security attributes of principals: whether such a one exists cannot be told either, so neither
// a comparison with it nor its absence grants anything. What we cannot evaluate must not open a door.
//
// Microsoft documents attributes of role assignments, and of the environment of a request. Key Vault has none of its own: a condition on
// its data actions goes by ActionMatches and the environment.
func (q question) attribute(a attribute) (v *value, known bool) {
	name := strings.ToLower(a.name)
	switch source := strings.ToLower(a.source); source {
	case "request", "resource":
		if name == "suboperation" && source == "request" { // the older form of SubOperationMatches
			return nil, true
		}
		d := q.request
		if source == "resource" {
			d = q.resource
		}
		return d.attribute(name)
	case "environment":
		switch name {
		case "utcnow":
			if q.now.IsZero() {
				return nil, true
			}
			return &value{instant, q.now.UTC().Format("2006-01-02T15:04:05.0000000Z")}, true
		case "isprivatelink":
			return &value{boolean, "false"}, true
		case "microsoft.network/privateendpoints", "microsoft.network/virtualnetworks/subnets":
			return nil, true // nobody comes that way
		}
	}
	return nil, false
}

func (d *delegated) attribute(name string) (v *value, known bool) {
	var none delegated
	if d == nil {
		d = &none
	}
	switch name {
	case "microsoft.authorization/roleassignments:roledefinitionid":
		v = &value{identifier, d.roleID}
	case "microsoft.authorization/roleassignments:principalid":
		v = &value{identifier, d.principalID}
	case "microsoft.authorization/roleassignments:principaltype":
		v = &value{text, d.principalType}
	default:
		return nil, false
	}
	if v.text == "" || v.of == identifier && !guid.MatchString(v.text) {
		return nil, true
	}
	return v, true
}

// holds tells whether a condition lets the question through. No condition lets everything through.
func holds(condition string, q question) bool {
	if condition == "" {
		return true
	}
	e, err := parseCondition(condition)
	return err == nil && e.ask(q) == yes
}
