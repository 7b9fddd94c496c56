package preflight

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// longestLife of a certificate: two years, beyond which nobody remembers it. Ours begins a minute early, for clocks that are behind.
const longestLife = 730*24*time.Hour + time.Hour

// certificateStrength judges every certificate that Entra accepts for the identity, whoever registered it.
func certificateStrength() Check {
	return Check{
		ID: "identity_certificate_strength", Name: "Certificate Strength", Severity: finding.High, Required: true,
		Question: "has every certificate a key of RSA 2048, P-256 or more, a signature with SHA-256 or more, and a life of at most two years?",
		Remedy:   "replace it: leastkey rotate for ours; one of another machine is replaced there",
		Moot:     notManaged,
		Decide: func(ctx context.Context, a *Ask) Verdict {
			all, err := a.registered()
			if err != nil {
				return failed(err)
			}
			if len(all) == 0 {
				if why := a.keyless(); why != "" {
					return pass("there is none").because("the record of "+a.Record.Agent, "%s", why)
				}
				return fail("no certificate is registered").instead("leastkey apply " + a.Record.Agent)
			}
			var weak, seen []string
			for _, c := range all {
				cert, err := x509.ParseCertificate(a.der(c))
				if err != nil {
					return failed(fault.Newf(fault.Unknown, "Graph does not show the certificate of key id %s", c.KeyID))
				}
				what, why := strength(cert)
				seen = append(seen, c.KeyID+": "+what)
				for _, w := range why {
					weak = append(weak, "key id "+c.KeyID+" "+w)
				}
			}
			slices.Sort(seen)
			v := pass("%d of %d", len(all), len(all))
			if len(weak) > 0 {
				v = fail("%s", strings.Join(weak, "; "))
			}
			return v.because("the registered certificates", "%s", strings.Join(seen, "; "))
		},
	}
}

// der is the certificate as Graph showed it, or as we have recorded it.
func (a *Ask) der(c agent.Certificate) []byte {
	if c.DER != nil {
		return c.DER
	}
	for _, g := range a.Record.Generations {
		if g.KeyID != "" && g.KeyID == c.KeyID {
			return g.DER
		}
	}
	return nil
}

// strength describes a certificate and says what is too weak in it.
func strength(c *x509.Certificate) (what string, weak []string) {
	key := "a key of an unknown kind"
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		key = fmt.Sprintf("RSA %d", k.N.BitLen())
		if k.N.BitLen() < 2048 {
			weak = append(weak, "has a key of "+key)
		}
	case *ecdsa.PublicKey:
		key = k.Curve.Params().Name
		if k.Curve.Params().BitSize < 256 {
			weak = append(weak, "has a key of "+key)
		}
	default:
		weak = append(weak, "has "+key)
	}
	switch c.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
	default:
		weak = append(weak, "is signed with "+c.SignatureAlgorithm.String())
	}
	life := c.NotAfter.Sub(c.NotBefore)
	if life > longestLife {
		weak = append(weak, fmt.Sprintf("lives %d days", life/(24*time.Hour)))
	}
	return fmt.Sprintf("%s, %s, %d days", key, c.SignatureAlgorithm, life/(24*time.Hour)), weak
}
