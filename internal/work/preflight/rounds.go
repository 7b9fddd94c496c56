package preflight

import (
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// Requests counts the requests that the evidence shows, and the rounds that they took: the longest chain in which each began after the one
// before it had ended. A request that several findings show counts once.
func Requests(evidence []finding.Evidence) (requests, rounds int) {
	type request struct {
		asked string
		at    time.Time
	}
	seen := map[request]bool{}
	var all []finding.Evidence
	for _, e := range evidence {
		if r := (request{e.Asked, e.At}); isRequest(e) && !seen[r] {
			seen[r] = true
			all = append(all, e)
		}
	}
	// Whoever ends first leaves the most room for others after it.
	slices.SortFunc(all, func(a, b finding.Evidence) int { return a.At.Add(a.Took).Compare(b.At.Add(b.Took)) })
	var end time.Time
	for _, e := range all {
		if rounds == 0 || !e.At.Before(end) {
			rounds, end = rounds+1, e.At.Add(e.Took)
		}
	}
	return len(all), rounds
}

// isRequest tells a request from a file or a keystore entry: it begins with a method and an address.
func isRequest(e finding.Evidence) bool {
	method, address, ok := strings.Cut(e.Asked, " ")
	return ok && strings.ToUpper(method) == method && (strings.HasPrefix(address, "https://") || strings.HasPrefix(address, "http://"))
}

// Shown is the evidence of all findings.
func Shown(all []finding.Finding) (evidence []finding.Evidence) {
	for _, f := range all {
		evidence = append(evidence, f.Evidence...)
	}
	return evidence
}
