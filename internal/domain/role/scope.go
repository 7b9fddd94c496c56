package role

import (
	"errors"
	"strings"
)

// Level is how wide a scope is.
type Level int

// The levels, widest first.
const (
	Root Level = iota
	ManagementGroup
	Subscription
	ResourceGroup
	Resource
)

// Scope is a parsed ARM scope. Parts that its level lacks are empty.
type Scope struct {
	Level          Level
	Management     string // management group name
	SubscriptionID string
	Group          string
	Provider       string // Microsoft.KeyVault
	Type           string // vaults, or servers/databases
	Name           string // name, or server/database
}

// ErrScope says that a text is not an ARM scope.
var ErrScope = errors.New("not an ARM scope: want /subscriptions/ID[/resourceGroups/NAME[/providers/NAMESPACE/TYPE/NAME]]")

// ParseScope reads an ARM scope. Segment names (subscriptions, resourceGroups, providers) are matched without regard to case, as ARM
// does.
func ParseScope(s string) (Scope, error) {
	if s == "/" {
		return Scope{}, nil
	}
	path, ok := strings.CutPrefix(strings.TrimRight(s, "/"), "/")
	if !ok {
		return Scope{}, ErrScope
	}
	seg := strings.Split(path, "/")
	for _, part := range seg {
		if part == "" || part == "." || part == ".." || strings.ContainsAny(part, " ?#%\x00\r\n\t") {
			return Scope{}, ErrScope
		}
	}
	if len(seg) == 4 && strings.EqualFold(seg[0], "providers") && strings.EqualFold(seg[1], "Microsoft.Management") && strings.EqualFold(seg[2], "managementGroups") {
		return Scope{Level: ManagementGroup, Management: seg[3]}, nil
	}
	if len(seg) < 2 || !strings.EqualFold(seg[0], "subscriptions") {
		return Scope{}, ErrScope
	}
	sc := Scope{Level: Subscription, SubscriptionID: seg[1]}
	seg = seg[2:]
	if len(seg) == 0 {
		return sc, nil
	}
	if strings.EqualFold(seg[0], "resourceGroups") {
		if len(seg) < 2 {
			return Scope{}, ErrScope
		}
		sc.Level, sc.Group = ResourceGroup, seg[1]
		if seg = seg[2:]; len(seg) == 0 {
			return sc, nil
		}
	}
	if len(seg) < 4 || len(seg)%2 != 0 || !strings.EqualFold(seg[0], "providers") {
		return Scope{}, ErrScope
	}
	sc.Level, sc.Provider = Resource, seg[1]
	var types, names []string
	for i := 2; i < len(seg); i += 2 {
		types, names = append(types, seg[i]), append(names, seg[i+1])
	}
	sc.Type, sc.Name = strings.Join(types, "/"), strings.Join(names, "/")
	return sc, nil
}

// String is the canonical form.
func (s Scope) String() string {
	switch s.Level {
	case Root:
		return "/"
	case ManagementGroup:
		return "/providers/Microsoft.Management/managementGroups/" + s.Management
	}
	out := "/subscriptions/" + s.SubscriptionID
	if s.Group != "" {
		out += "/resourceGroups/" + s.Group
	}
	if s.Level == Resource {
		out += "/providers/" + s.Provider
		names := strings.Split(s.Name, "/")
		for i, t := range strings.Split(s.Type, "/") {
			out += "/" + t + "/" + names[i]
		}
	}
	return out
}

// Contains tells whether an assignment at the outer scope reaches the inner one: equal, or an ancestor in the path. Management groups
// contain subscriptions that only a lookup knows, so it is false for them unless equal; the root contains everything. No scope at all
// contains nothing and lies in nothing.
func Contains(outer, inner string) bool {
	if !strings.HasPrefix(outer, "/") || !strings.HasPrefix(inner, "/") {
		return false
	}
	o, i := strings.ToLower(strings.TrimRight(outer, "/")), strings.ToLower(strings.TrimRight(inner, "/"))
	return o == i || strings.HasPrefix(i, o+"/")
}

// GroupScope is the scope of a resource group.
func GroupScope(subscription, group string) string {
	return "/subscriptions/" + subscription + "/resourceGroups/" + group
}

// ResourceScope is the scope of a resource: a full id stays as it is, a bare name is taken to lie in the group.
func ResourceScope(subscription, group, provider, kind, nameOrID string) string {
	if strings.HasPrefix(nameOrID, "/") {
		return strings.TrimRight(nameOrID, "/")
	}
	return GroupScope(subscription, group) + "/providers/" + provider + "/" + kind + "/" + nameOrID
}

// Short is a scope as a person reads it: the last name, with its type where it is a resource.
func Short(scope string) string {
	s, err := ParseScope(scope)
	if err != nil {
		return scope
	}
	switch s.Level {
	case ResourceGroup:
		return "group " + s.Group
	case Resource:
		return s.Type + " " + s.Name
	case Subscription:
		return "subscription " + s.SubscriptionID
	case ManagementGroup:
		return "management group " + s.Management
	}
	return "the whole tenant"
}
