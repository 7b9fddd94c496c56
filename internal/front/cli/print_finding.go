package cli

import (
	"fmt"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// findings writes what checks found: the verdict in words first, then what it rests on where it is not good.
func (p *printer) findings(indent int, all []finding.Finding) {
	for _, f := range all {
		word, st := verdict(f.Outcome)
		text := f.Question
		if f.Detail != "" {
			text = strings.TrimSuffix(text, ".") + ": " + f.Detail
			if f.Question == "" {
				text = f.Detail
			}
		}
		text, more, _ := strings.Cut(strings.TrimSuffix(text, "\n"), "\n")
		p.item(indent, st, word, 8, text+" ("+f.ID+")")
		if more != "" { // such as a diff, which is read line by line
			for line := range strings.SplitSeq(more, "\n") {
				p.text(indent+8, plain, line)
			}
		}
		if f.Outcome != finding.Pass && f.Outcome != finding.Skip {
			for _, e := range f.Evidence {
				p.text(indent+8, dim, evidence(e))
			}
		}
		if f.Remedy != "" && f.Outcome != finding.Pass {
			p.item(indent+8, bold, "do:", 0, f.Remedy)
		}
	}
}

// verdict is the word of an outcome. What needs somebody is in capitals.
func verdict(o finding.Outcome) (string, style) {
	switch o {
	case finding.Pass:
		return "pass", green
	case finding.Fail:
		return "FAIL", red
	case finding.Warn:
		return "warn", amber
	case finding.Skip:
		return "skip", dim
	case finding.Unknown:
		return "UNKNOWN", red
	}
	return string(o), red
}

func evidence(e finding.Evidence) string {
	s := "asked " + e.Asked + ", came back " + orDash(e.Answer)
	if e.Status != 0 {
		s += fmt.Sprintf(" (%d)", e.Status)
	}
	if !e.At.IsZero() {
		s += ", " + when(e.At)
	}
	if e.Took > 0 {
		s += ", " + took(e.Took.Milliseconds())
	}
	return s
}

// tally counts outcomes in one line.
func tally(all []finding.Finding) string {
	count := map[finding.Outcome]int{}
	for _, f := range all {
		count[f.Outcome]++
	}
	var parts []string
	for _, o := range []finding.Outcome{finding.Pass, finding.Warn, finding.Fail, finding.Unknown, finding.Skip} {
		if count[o] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[o], o))
		}
	}
	if parts == nil {
		return "nothing was checked"
	}
	return strings.Join(parts, ", ")
}
