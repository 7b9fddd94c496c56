package agent

import (
	"fmt"
	"time"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// FindExpiry is the id of the finding of a certificate that ends soon.
const FindExpiry = "certificate-expiry"

// WarnsBefore is how long before its end a certificate is worth a warning: 30 days, or a third of its life where that is less.
func WarnsBefore(notBefore, notAfter time.Time) time.Duration {
	const most = 30 * 24 * time.Hour
	if notBefore.IsZero() {
		return most
	}
	return min(most, notAfter.Sub(notBefore)/3)
}

// Expiry is the finding of a certificate that ends within 30 days, a failure within 7; false if it lives longer. A certificate that was
// made for less than that, because a policy of the tenant caps its life, is warned of in the last third of its life and fails in the last
// tenth: one that is as it should be is never a failure. A zero notBefore is unknown and counts as long ago. remedy is the command that
// replaces it.
func Expiry(notBefore, notAfter, now time.Time, remedy string) (finding.Finding, bool) {
	const day = 24 * time.Hour
	warn, fail := WarnsBefore(notBefore, notAfter), 7*day
	if !notBefore.IsZero() {
		fail = min(fail, notAfter.Sub(notBefore)/10)
	}
	left := notAfter.Sub(now)
	f := finding.Finding{ID: FindExpiry, Question: "does the certificate live long enough?", Outcome: finding.Warn,
		Detail: "it ends on " + notAfter.Format(time.DateOnly) + ", in " + days(left), Remedy: remedy}
	switch {
	case left <= 0:
		f.Outcome, f.Detail = finding.Fail, "it ended on "+notAfter.Format(time.DateOnly)
	case left <= fail:
		f.Outcome = finding.Fail
	case left > warn:
		return f, false
	}
	return f, true
}

func days(d time.Duration) string {
	if n := int(d / (24 * time.Hour)); n != 1 {
		return fmt.Sprintf("%d days", n)
	}
	return "1 day"
}

// youngest is how old a certificate is at least when it is replaced by policy: one that were due as soon as it is made would be replaced for
// ever. backdated is more than the time by which a certificate's life begins before it is made.
const (
	youngest  = time.Hour
	backdated = 2 * time.Minute
)

// RenewalDue is when the policy wants the certificate of the generation replaced: after its part RenewAt of the certificate's life, and never
// within its first hour.
func (p CertificatePolicy) RenewalDue(g Generation) time.Time {
	return g.NotBefore.Add(max(time.Duration(float64(g.NotAfter.Sub(g.NotBefore))*p.RenewAt), backdated+youngest))
}
