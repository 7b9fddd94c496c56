package preflight

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// mostSkew is what Entra tolerates in the times of an assertion (AADSTS700024; Microsoft, "Certificate credentials", 2026).
const mostSkew = 5 * time.Minute

// clock compares this machine's clock with what services say in the Date of their answers (RFC 9110, section 6.6.1).
func clock() Check {
	return Check{
		ID: "clock", Name: "Clock", Severity: finding.Medium,
		Question: "is this machine's clock within five minutes of the services'?",
		Remedy:   "set the clock, and let it be kept by NTP",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			all, err := get(a, &a.run.clocks)
			if err != nil {
				return failed(err)
			}
			var off, seen []string
			for _, c := range all {
				d := c.Theirs.Sub(c.Ours)
				told := fmt.Sprintf("%s is %s ahead of this machine", c.Service, d.Round(time.Second))
				if d < 0 {
					told = fmt.Sprintf("%s is %s behind this machine", c.Service, (-d).Round(time.Second))
				}
				seen = append(seen, told)
				// The reading may be off by half of the request, and by the second that Date leaves out.
				if d.Abs() > mostSkew+c.Within+time.Second {
					off = append(off, told)
				}
			}
			v := pass("%s", strings.Join(seen, "; "))
			if len(off) > 0 {
				v = fail("%s: logins will be refused", strings.Join(off, "; "))
			}
			return v.because("the Date of the answers", "%s", strings.Join(seen, "; "))
		},
	}
}
