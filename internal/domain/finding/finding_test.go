package finding_test

import (
	"testing"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

func TestFailed(t *testing.T) {
	for outcome, want := range map[finding.Outcome]bool{finding.Pass: false, finding.Warn: false, finding.Skip: false, finding.Unknown: false, finding.Fail: true} {
		all := []finding.Finding{{Outcome: finding.Pass}, {Outcome: outcome}, {Outcome: finding.Pass}}
		if got := finding.Failed(all); got != want {
			t.Errorf("one of outcome %s among passes: failed %v, want %v", outcome, got, want)
		}
	}
	if finding.Failed(nil) {
		t.Error("nothing found has failed")
	}
}

func TestGreen(t *testing.T) {
	for name, c := range map[string]struct {
		f    finding.Finding
		want bool
	}{
		"a warning is green":                                 {finding.Finding{Outcome: finding.Warn, Required: true}, true},
		"a failure is not, required or not":                  {finding.Finding{Outcome: finding.Fail}, false},
		"an unknown that is required is not":                 {finding.Finding{Outcome: finding.Unknown, Required: true}, false},
		"an unknown that is advisory is counted, and green":  {finding.Finding{Outcome: finding.Unknown}, true},
		"a question that does not arise is green":            {finding.Finding{Outcome: finding.Skip, Required: true}, true},
		"one that could not be asked and is required is not": {finding.Finding{Outcome: finding.Skip, Required: true, Cause: "x"}, false},
		"one that could not be asked and is advisory is":     {finding.Finding{Outcome: finding.Skip, Cause: "x"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := finding.Green([]finding.Finding{{Outcome: finding.Pass}, c.f}); got != c.want {
				t.Errorf("Green = %v", got)
			}
		})
	}
}
