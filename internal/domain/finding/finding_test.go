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
