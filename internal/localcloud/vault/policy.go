package vault

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// certPolicy says how a certificate is made (Microsoft, "About Azure Key Vault certificates": certificate policy). Members that a request
// leaves out have the service's defaults.
type certPolicy struct {
	Key        keyProps         `json:"key_props"`
	Secret     secretProps      `json:"secret_props"`
	X509       x509Props        `json:"x509_props"`
	Lifetime   []lifetimeAction `json:"lifetime_actions,omitempty"`
	Issuer     issuerProps      `json:"issuer"`
	Attributes policyAttributes `json:"attributes"`
}

type keyProps struct {
	Exportable *bool  `json:"exportable"`
	Type       string `json:"kty"`
	Size       int    `json:"key_size,omitempty"`
	Reuse      bool   `json:"reuse_key"`
	Curve      string `json:"crv,omitempty"`
}

type secretProps struct {
	ContentType string `json:"contentType"`
}

type x509Props struct {
	Subject  string   `json:"subject"`
	SANs     sanProps `json:"sans,omitzero"`
	Usages   []string `json:"ekus"`
	KeyUsage []string `json:"key_usage"`
	Months   int      `json:"validity_months,omitempty"`
	Basic    *struct {
		CA bool `json:"ca"`
	} `json:"basic_constraints,omitempty"`
}

type sanProps struct {
	DNS    []string `json:"dns_names,omitempty"`
	Emails []string `json:"emails,omitempty"`
	UPNs   []string `json:"upns,omitempty"`
}

func (s sanProps) empty() bool { return len(s.DNS)+len(s.Emails)+len(s.UPNs) == 0 }

type lifetimeAction struct {
	Trigger struct {
		Percentage *int `json:"lifetime_percentage,omitempty"`
		Days       *int `json:"days_before_expiry,omitempty"`
	} `json:"trigger"`
	Action struct {
		Type string `json:"action_type"`
	} `json:"action"`
}

type issuerProps struct {
	Name            string `json:"name"`
	CertificateType string `json:"cty,omitempty"`
	Transparency    *bool  `json:"cert_transparency,omitempty"`
}

type policyAttributes struct {
	Enabled bool  `json:"enabled"`
	Created int64 `json:"created"`
	Updated int64 `json:"updated"`
}

// Content types of a certificate's secret.
const (
	typePFX = "application/x-pkcs12"
	typePEM = "application/x-pem-file"
)

// Issuers that need no certificate authority: the vault itself, and one that the caller asks (Microsoft, "Certificate creation methods").
const (
	issuerSelf    = "Self"
	issuerUnknown = "Unknown"
)

func defaultPolicy() certPolicy {
	return certPolicy{
		X509: x509Props{Usages: []string{"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"}, KeyUsage: []string{"digitalSignature", "keyEncipherment"}, Months: 12},
	}
}

// copyOf shares nothing with p, so that a request can be read over it.
func (p certPolicy) copyOf() certPolicy {
	var q certPolicy
	raw, err := json.Marshal(p)
	if err != nil || json.Unmarshal(raw, &q) != nil {
		return certPolicy{} // a policy is made of what JSON holds, so this does not happen
	}
	return q
}

// complete sets what is left out, and tells what is wrong.
func (p *certPolicy) complete(c *call) *reply {
	spec := keySpec{Type: p.Key.Type, Size: p.Key.Size, Curve: p.Key.Curve}
	if spec.Type == "" {
		spec.Type = "RSA"
	}
	if bad := spec.check(c); bad != nil {
		return bad
	}
	p.Key.Type, p.Key.Curve, p.Key.Size = spec.Type, spec.Curve, spec.Size
	if p.Key.Exportable == nil {
		yes := true
		p.Key.Exportable = &yes
	}
	if curve := curveOf(p.Key.Curve); curve != nil {
		p.Key.Size = curve.Params().BitSize
	}
	if p.Secret.ContentType == "" {
		p.Secret.ContentType = typePFX
	}
	if p.Issuer.Name == "" {
		p.Issuer.Name = issuerUnknown
	}
	if len(p.Lifetime) == 0 {
		p.Lifetime = make([]lifetimeAction, 1)
		percentage := 80
		p.Lifetime[0].Trigger.Percentage, p.Lifetime[0].Action.Type = &percentage, "EmailContacts"
		if strings.EqualFold(p.Issuer.Name, issuerSelf) {
			p.Lifetime[0].Action.Type = "AutoRenew"
		}
	}
	return p.check()
}

func (p *certPolicy) check() *reply {
	bad := func(property, why string) *reply {
		return refused(badParameter("Property policy has invalid value: %s %s.", property, why))
	}
	if p.Secret.ContentType != typePFX && p.Secret.ContentType != typePEM {
		return bad("secret_props.contentType", "is neither "+typePFX+" nor "+typePEM)
	}
	if p.X509.Subject == "" && p.X509.SANs.empty() {
		return bad("x509_props", "has neither subject nor subject alternative names")
	}
	if _, err := parseName(p.X509.Subject); err != nil {
		return bad("x509_props.subject", "is no distinguished name")
	}
	if p.X509.Months < 1 || p.X509.Months > 1200 {
		return bad("x509_props.validity_months", "is out of range")
	}
	for _, u := range p.X509.KeyUsage {
		if keyUsages(u) == 0 {
			return bad("x509_props.key_usage", "has an unknown usage")
		}
	}
	for _, u := range p.X509.Usages {
		if _, err := x509.ParseOID(u); err != nil {
			return bad("x509_props.ekus", "has an entry that is no object identifier")
		}
	}
	for _, m := range p.X509.SANs.Emails {
		if a, err := mail.ParseAddress(m); err != nil || a.Address != m {
			return bad("x509_props.sans.emails", "has an entry that is no address")
		}
	}
	if len(p.X509.SANs.UPNs) > 0 {
		return bad("x509_props.sans.upns", "is not supported by the local cloud")
	}
	for _, a := range p.Lifetime {
		if (a.Trigger.Days == nil) == (a.Trigger.Percentage == nil) || a.Action.Type != "AutoRenew" && a.Action.Type != "EmailContacts" {
			return bad("lifetime_actions", "must have one trigger each and AutoRenew or EmailContacts")
		}
	}
	return nil
}

// keyUsages are the bits of a name of key_usage; 0 for an unknown one.
func keyUsages(name string) x509.KeyUsage {
	return map[string]x509.KeyUsage{
		"digitalSignature": x509.KeyUsageDigitalSignature, "nonRepudiation": x509.KeyUsageContentCommitment,
		"keyEncipherment": x509.KeyUsageKeyEncipherment, "dataEncipherment": x509.KeyUsageDataEncipherment,
		"keyAgreement": x509.KeyUsageKeyAgreement, "keyCertSign": x509.KeyUsageCertSign, "cRLSign": x509.KeyUsageCRLSign,
		"encipherOnly": x509.KeyUsageEncipherOnly, "decipherOnly": x509.KeyUsageDecipherOnly,
	}[name]
}

// operationsOf are the operations of a certificate's key (Microsoft, "About Azure Key Vault certificates": mapping of key usage to key
// operations). A certificate without key usage leaves all open.
func operationsOf(usage x509.KeyUsage, kty string) []string {
	all, _ := operations(kty, nil)
	if usage == 0 {
		return all
	}
	var ops []string
	for _, m := range []struct {
		bits x509.KeyUsage
		ops  []string
	}{
		{x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageCertSign | x509.KeyUsageCRLSign, []string{"sign", "verify"}},
		{x509.KeyUsageDataEncipherment, []string{"encrypt", "decrypt"}},
		{x509.KeyUsageEncipherOnly, []string{"encrypt"}},
		{x509.KeyUsageDecipherOnly, []string{"decrypt"}},
		{x509.KeyUsageKeyEncipherment, []string{"wrapKey", "unwrapKey"}},
	} {
		for _, op := range m.ops {
			if usage&m.bits != 0 && slices.Contains(all, op) && !slices.Contains(ops, op) {
				ops = append(ops, op)
			}
		}
	}
	return ops
}

// shown is the policy as its own resource.
func (p certPolicy) shown(c *call, name string) object {
	return object{
		"id": c.base + "/certificates/" + name + "/policy", "key_props": p.Key, "secret_props": p.Secret, "x509_props": p.X509,
		"lifetime_actions": p.Lifetime, "issuer": p.Issuer, "attributes": p.Attributes,
	}
}

func (p *certPolicy) stamp(now time.Time) {
	p.Attributes.Enabled, p.Attributes.Updated = true, now.Unix()
	if p.Attributes.Created == 0 {
		p.Attributes.Created = now.Unix()
	}
}

func (s *Service) getPolicy(v replica.View, c *call) reply {
	name := c.path[1]
	if r := s.may(v, c, certRights.get, name); r != nil {
		return *r
	}
	e, found := s.certs.live(v, c.vault, name)
	if !found {
		return s.certs.notFound(name)
	}
	return ok(newest(e).Policy.shown(c, e.Name))
}

// updatePolicy sets the members that the request names; it counts from the next version on.
func (s *Service) updatePolicy(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, certRights.update, name); r != nil {
		return *r, nil
	}
	if r := c.decode(new(certPolicy)); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		e, found := s.certs.live(tx.View, c.vault, name)
		if !found {
			return s.certs.notFound(name)
		}
		last := newest(e)
		p := last.Policy.copyOf()
		var sent struct {
			Key struct {
				Type *string `json:"kty"`
			} `json:"key_props"`
		}
		if r := c.decode(&sent); r != nil {
			return *r
		}
		if sent.Key.Type != nil && *sent.Key.Type != p.Key.Type { // what goes with the old type goes with it
			p.Key.Size, p.Key.Curve = 0, ""
		}
		if r := c.decode(&p); r != nil {
			return *r
		}
		if r := p.complete(c); r != nil {
			return *r
		}
		p.Attributes = last.Policy.Attributes
		p.stamp(s.env.Now())
		last.Policy = p
		s.certs.put(tx, s.certs.with(e, last))
		return reply{status: http.StatusOK, body: p.shown(c, e.Name)}
	}
}
