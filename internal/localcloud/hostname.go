package localcloud

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// checkSAN tells why a further name or address may not stand in the certificate.
//
// The certificate authority is held to its names by name constraints, and a constraint lets through the name with everything below it
// (RFC 5280 section 4.2.1.10): an empty one lets every host through, "com" a good part of them. People put the authority into trust
// stores, so a name has to be one host, or lie where nobody on the Internet can be.
func checkSAN(s string) error {
	if ip := net.ParseIP(s); ip != nil {
		if !ip.IsLoopback() && !ip.IsPrivate() {
			return fmt.Errorf("certificate name %q is neither a loopback nor a private address", s)
		}
		return nil
	}
	labels := strings.Split(strings.ToLower(s), ".")
	if len(s) > 253 || slices.ContainsFunc(labels, func(l string) bool { return !isLabel(l) }) || numeric(labels[len(labels)-1]) {
		return fmt.Errorf("certificate name %q is no host name", s)
	}
	switch {
	case len(labels) == 1 && labels[0] != "localhost" && mayBeTopLevel(labels[0]):
		return fmt.Errorf("certificate name %q may be a top-level domain; take a name with a digit or a hyphen in it, or one below .internal", s)
	case len(labels) == 2 && !privateTopLevel(labels[1]):
		return fmt.Errorf("certificate name %q is a whole domain; name the host, such as cloud.%s", s, s)
	}
	return nil
}

// isLabel tells whether l is a label of a host name (RFC 1123 section 2.1), in lower case.
func isLabel(l string) bool {
	if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
		return false
	}
	for i := range len(l) {
		if c := l[i]; c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// numeric tells whether verifiers may read a name that ends so as an address.
func numeric(l string) bool { return strings.Trim(l, "0123456789") == "" || strings.HasPrefix(l, "0x") }

// mayBeTopLevel tells whether a label is, or may become, a top-level domain: those are letters only, or A-labels (ICANN, "gTLD
// Applicant Guidebook", 2.2.1.3.2).
func mayBeTopLevel(l string) bool {
	return strings.HasPrefix(l, "xn--") || !strings.ContainsAny(l, "0123456789-")
}

// privateTopLevel lists what never becomes a public top-level domain: the names of RFC 6761 and RFC 6762 (with its appendix G), and
// internal, which ICANN set apart in 2024.
func privateTopLevel(l string) bool {
	switch l {
	case "test", "example", "invalid", "localhost", "local", "internal", "intranet", "private", "corp", "home", "lan":
		return true
	}
	return false
}
