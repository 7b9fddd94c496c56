package provision

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/job"
	"github.com/leastkey/leastkey/internal/work/observe"
)

// lives are the lifetimes, in days, that are tried in turn where a policy of the tenant caps the life of certificates. Nobody but an
// administrator may read the policy, so its limit is found by asking.
func lives() []int { return []int{180, 90, 30, 7} }

// tooLong tells whether a policy refuses the certificate for its life alone (Microsoft Graph, "appManagementConfiguration resource type":
// asymmetricKeyLifetime; CredentialInvalidLifetimeAsPerAppPolicy seen 2026-08).
func tooLong(err error) bool {
	said := fault.Service(err)
	return strings.HasSuffix(said, policyRefusal) && strings.Contains(said, "Lifetime")
}

const policyRefusal = "AsPerAppPolicy"

// unfit explains the refusal of a policy that no shorter life cures: it may take certificates of a trusted authority only
// (trustedCertificateAuthority of the same page).
func unfit(err error) error {
	if said := fault.Service(err); !strings.HasSuffix(said, policyRefusal) || tooLong(err) {
		return err
	}
	return &fault.Error{Code: fault.CodeOf(err), Err: err,
		Hint: "a policy of the tenant does not take this certificate; if it demands a trusted authority, have one issue a certificate for this very key and run it again with --certificate FILE"}
}

// shorter is the generation with a certificate of the same key that lives shorter; false, with the refusal, if there is none left to try.
func (p *Provision) shorter(ctx context.Context, g agent.Generation, refusal error) (agent.Generation, bool, error) {
	life := g.NotAfter.Sub(g.NotBefore)
	for _, days := range lives() {
		if time.Duration(days)*24*time.Hour >= life {
			continue
		}
		key, err := p.open(ctx, g)
		if err != nil {
			return g, false, err
		}
		g, err = p.again(g, key, days)
		return g, err == nil, err
	}
	return g, false, &fault.Error{Code: fault.CodeOf(refusal), Err: refusal, Hint: "a policy of the tenant allows no certificate of even a week: ask who manages its app management policies"}
}

// again makes the generation's certificate anew, for so many days.
func (p *Provision) again(g agent.Generation, key crypto.Signer, days int) (agent.Generation, error) {
	old, err := x509.ParseCertificate(g.DER)
	if err != nil {
		return g, fault.Newf(fault.Corrupt, "the recorded certificate of generation %s does not read", g.ID)
	}
	der, err := p.Certify(key, Subject{CommonName: old.Subject.CommonName, Organization: strings.Join(old.Subject.Organization, " ")}, days)
	if err != nil {
		return g, err
	}
	g, ok := of(g, der)
	if !ok {
		return g, fault.Newf(fault.Conflict, "the new certificate is not of key %s", g.Ref)
	}
	return g, nil
}

// shorterOnes makes the certificates that may be needed before the first request goes out, and puts them into the journal: who may not
// read the application can find out only by logging in which of them a lost answer has registered.
func (p *Provision) shorterOnes(ctx context.Context, c *job.Call) (string, error) {
	g, err := p.recorded(ctx, c)
	if err != nil {
		return "", err
	}
	key, err := p.open(ctx, g)
	if err != nil {
		return "", err
	}
	var all [][]byte
	life := g.NotAfter.Sub(g.NotBefore)
	for _, days := range lives() {
		if time.Duration(days)*24*time.Hour >= life {
			continue
		}
		s, err := p.again(g, key, days)
		if err != nil {
			return "", err
		}
		all = append(all, s.DER)
	}
	b, err := json.Marshal(all)
	return string(b), err
}

// candidates are the certificates of the generation that may be registered, the one that lives longest first.
func (p *Provision) candidates(c *job.Call, g agent.Generation) ([]agent.Generation, error) {
	all := []agent.Generation{g}
	if p.byAuthority(c) || c.Intent["shorter"] == "" {
		return all, nil
	}
	var ders [][]byte
	if err := json.Unmarshal([]byte(c.Intent["shorter"]), &ders); err != nil {
		return nil, fault.Newf(fault.Corrupt, "the journalled certificates do not read")
	}
	for _, der := range ders {
		if s, ok := of(g, der); ok && s.SHA256 != g.SHA256 {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b agent.Generation) int { return cmp.Compare(b.NotAfter.Unix(), a.NotAfter.Unix()) })
	return all, nil
}

// of is the generation with another certificate; false if that is not of its key.
func of(g agent.Generation, der []byte) (agent.Generation, bool) {
	ours, err1 := x509.ParseCertificate(g.DER)
	cert, err2 := x509.ParseCertificate(der)
	if errors.Join(err1, err2) != nil || !bytes.Equal(ours.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo) {
		return g, false
	}
	sum := sha256.Sum256(der)
	g.DER, g.SHA256, g.NotBefore, g.NotAfter = der, hex.EncodeToString(sum[:]), cert.NotBefore.UTC(), cert.NotAfter.UTC()
	return g, true
}

// renew records the certificate that was registered in the end.
func renew(g *agent.Generation, facts map[string]string) {
	der, err := base64.StdEncoding.DecodeString(facts[factCertificate])
	if err != nil || len(der) == 0 || bytes.Equal(der, g.DER) {
		return
	}
	if now, ok := of(*g, der); ok {
		*g = now
	}
}

// byAuthority tells whether the certificate comes from an authority, and is not ours to make anew.
func (p *Provision) byAuthority(c *job.Call) bool {
	return c.With("certificate") != "" || len(p.Issued) > 0
}

// issued is the generation with the certificate that an authority has issued for its key, where there is one.
func (p *Provision) issued(c *job.Call, g agent.Generation) (agent.Generation, error) {
	if !p.byAuthority(c) {
		return g, nil
	}
	der := p.Issued
	if text := c.With("certificate"); text != "" {
		var err error
		if der, err = base64.StdEncoding.DecodeString(text); err != nil {
			return g, job.WithoutEffect(fault.Newf(fault.Invalid, "the plan's certificate does not read"))
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return g, job.WithoutEffect(fault.New(fault.Invalid, "what was given with --certificate is no certificate", "it is one certificate in PEM, without its chain"))
	}
	with, ok := of(g, der)
	switch {
	case !ok:
		return g, job.WithoutEffect(fault.New(fault.Conflict, "the certificate that was given is of another key than "+g.Ref.String(), "have it issued for the key of that name, whose own certificate leastkey state show has"))
	case !time.Now().Before(cert.NotAfter):
		return g, job.WithoutEffect(fault.New(fault.Invalid, "the certificate that was given ended on "+cert.NotAfter.Format(time.DateOnly), ""))
	}
	return with, nil
}

// alone tells whether there is no operator.
func (p *Provision) alone() bool { return p.Operator == "" }

// prover is the generation whose key proves possession: the active one, as the keystore gives it.
func (p *Provision) prover(ctx context.Context, c *job.Call) (agent.Generation, crypto.Signer, error) {
	rec, err := p.Memory.Agent(ctx, c.Run.Agent)
	if err != nil {
		return agent.Generation{}, nil, err
	}
	g := rec.Active()
	if g == nil {
		return agent.Generation{}, nil, fault.Newf(fault.Conflict, "%s has no active key that could prove anything", c.Run.Agent)
	}
	key, err := p.Keys.Open(ctx, g.Ref)
	if err == nil && !observe.Belongs(key, g.DER) {
		err = fault.Newf(fault.Conflict, "key %s is not the one of certificate %s", g.Ref, g.SHA256)
	}
	return *g, key, err
}
