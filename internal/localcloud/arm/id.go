package arm

import (
	"errors"
	"strings"
)

// ID is an Azure resource id: a place in the tree tenant → management group or subscription → resource group → resource. The zero ID
// is the tenant root, "/". Names keep the case in which they were written; ids are compared by [ID.Key], because Azure compares them
// without regard to case (Microsoft, "Naming rules and restrictions for Azure resources").
type ID struct {
	ManagementGroup string
	Subscription    string
	Group           string
	Parts           []Part // outermost first; an extension resource follows the one that it extends
}

// Part is one providers/{namespace}/{type}/{name}… stretch of an id. Types and Names have the same length, at least one.
type Part struct {
	Namespace string
	Types     []string
	Names     []string
}

// Type is the resource type of the part, such as Microsoft.KeyVault/vaults.
func (p Part) Type() string { return p.Namespace + "/" + strings.Join(p.Types, "/") }

var errID = errors.New("not a resource id")

// ParseID reads an id that names one object.
func ParseID(s string) (ID, error) {
	if !strings.HasPrefix(s, "/") {
		return ID{}, errID
	}
	id, rest := parsePath(s)
	if len(rest) > 0 {
		return ID{}, errID
	}
	return id, nil
}

// parsePath reads as much of a request path as is an id and returns the segments after it: a collection, an action, or words that are
// no id. Empty segments are skipped, since Microsoft's own Go client sends //subscriptions/… for scopes (armauthorization v2.2.0).
func parsePath(path string) (ID, []string) {
	var segs []string
	for s := range strings.SplitSeq(path, "/") {
		if s != "" {
			segs = append(segs, s)
		}
	}
	var id ID
	switch {
	case words(segs, "subscriptions", "*", "resourceGroups", "*"):
		id.Subscription, id.Group, segs = segs[1], segs[3], segs[4:]
	case words(segs, "subscriptions", "*"):
		id.Subscription, segs = segs[1], segs[2:]
	case words(segs, "providers", "Microsoft.Management", "managementGroups", "*"):
		id.ManagementGroup, segs = segs[3], segs[4:]
	}
	for words(segs, "providers", "*", "*", "*") {
		p := Part{Namespace: segs[1]}
		for segs = segs[2:]; len(segs) >= 2 && !strings.EqualFold(segs[0], "providers"); segs = segs[2:] {
			p.Types, p.Names = append(p.Types, segs[0]), append(p.Names, segs[1])
		}
		if len(p.Types) == 0 { // providers/{namespace}/providers/… names nothing
			return id, append([]string{"providers", p.Namespace}, segs...)
		}
		id.Parts = append(id.Parts, p)
	}
	return id, segs
}

// words tells whether segs begins with the words, whatever their case; "*" stands for any segment.
func words(segs []string, want ...string) bool {
	if len(segs) < len(want) {
		return false
	}
	for i, w := range want {
		if w != "*" && !strings.EqualFold(w, segs[i]) {
			return false
		}
	}
	return true
}

// String prints the id with Azure's spelling of the fixed words.
func (id ID) String() string {
	var b strings.Builder
	switch {
	case id.Subscription != "":
		b.WriteString("/subscriptions/" + id.Subscription)
		if id.Group != "" {
			b.WriteString("/resourceGroups/" + id.Group)
		}
	case id.ManagementGroup != "":
		b.WriteString("/providers/Microsoft.Management/managementGroups/" + id.ManagementGroup)
	}
	for _, p := range id.Parts {
		b.WriteString("/providers/" + p.Namespace)
		for i, t := range p.Types {
			b.WriteString("/" + t + "/" + p.Names[i])
		}
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// Key is the form in which ids are compared and kept.
func (id ID) Key() string { return strings.ToLower(id.String()) }

// Root tells whether the id is the tenant root.
func (id ID) Root() bool {
	return id.ManagementGroup == "" && id.Subscription == "" && len(id.Parts) == 0
}

// Last is the innermost part; the zero Part if the id is no resource.
func (id ID) Last() Part {
	if len(id.Parts) == 0 {
		return Part{}
	}
	return id.Parts[len(id.Parts)-1]
}

// Name is the last name in the id.
func (id ID) Name() string {
	switch p := id.Last(); {
	case len(p.Names) > 0:
		return p.Names[len(p.Names)-1]
	case id.Group != "":
		return id.Group
	case id.Subscription != "":
		return id.Subscription
	default:
		return id.ManagementGroup
	}
}

// Parent is the id one level up; the parent of a subscription or management group, and of the root itself, is the root, as an id does not
// tell in which group it is.
func (id ID) Parent() ID {
	switch n := len(id.Parts); {
	case n > 0:
		p := id.Parts[n-1]
		up := id
		up.Parts = append([]Part(nil), id.Parts[:n-1]...)
		if m := len(p.Types) - 1; m > 0 {
			up.Parts = append(up.Parts, Part{p.Namespace, p.Types[:m:m], p.Names[:m:m]})
		}
		return up
	case id.Group != "":
		return ID{Subscription: id.Subscription}
	default:
		return ID{}
	}
}

// below is the scope that the last part hangs on, whatever its depth: a resource's group, an extension's resource.
func (id ID) below() ID {
	id.Parts = id.Parts[:max(0, len(id.Parts)-1)]
	return id
}

// with returns the id with a part added.
func (id ID) with(namespace, typ, name string) ID {
	id.Parts = append(append([]Part(nil), id.Parts...), Part{namespace, []string{typ}, []string{name}})
	return id
}

// ancestry is the keys of id and of what is above it up to its subscription. What is above that may change (see [Service.chain]), and
// so may what is above a management group.
func ancestry(id ID) []string {
	var keys []string
	for !id.Root() && (id.ManagementGroup == "" || len(id.Parts) > 0) {
		keys = append(keys, id.Key())
		id = id.Parent()
	}
	return keys
}
