package vault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// importCert takes a certificate with its key. The type of the content is that of the policy; without one it is what the value looks like.
func (s *Service) importCert(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, importCert, name); r != nil {
		return *r, nil
	}
	var body struct {
		patch
		Value    string          `json:"value"`
		Password string          `json:"pwd"`
		Policy   json.RawMessage `json:"policy"`
	}
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	if body.Value == "" {
		return badParameter("Property value has invalid value: it is required."), nil
	}
	var asked certPolicy
	if len(body.Policy) > 0 && json.Unmarshal(body.Policy, &asked) != nil {
		return badParameter("Property policy has invalid value: it is not of the expected shape."), nil
	}
	if asked.Secret.ContentType == "" {
		asked.Secret.ContentType = typePFX
		if strings.Contains(body.Value, "-----BEGIN ") {
			asked.Secret.ContentType = typePEM
		}
	}
	body.Attributes.NotBefore, body.Attributes.Expires = nil, nil
	version := certVersion{attributes: s.fresh(body.patch)}
	var m material
	c.work = func() *reply {
		key, chain, bad := readCert(asked.Secret.ContentType, body.Value, body.Password)
		if bad != nil {
			return bad
		}
		p, bad := importedPolicy(c, asked, key, chain[0])
		if bad != nil {
			return bad
		}
		p.stamp(s.env.Now())
		version.Policy = p
		var err error
		if m, err = s.prepare(key, chain, p); err != nil {
			return refused(badParameter("The key of the certificate cannot be kept: %s.", errNotHeld))
		}
		return nil
	}
	return reply{}, func(tx replica.Tx) reply {
		e, no := s.begin(tx, c, name)
		if no != nil {
			return *no
		}
		e, version := s.issue(tx, e, version, m)
		return ok(s.certs.bundle(c, e, version))
	}
}

// importedPolicy describes what was imported; of the request it keeps what does not describe it.
func importedPolicy(c *call, asked certPolicy, key crypto.Signer, cert *x509.Certificate) (certPolicy, *reply) {
	public, err := publicJWK(key.Public())
	if err != nil {
		return asked, refused(badParameter("The key of the certificate cannot be kept: %s.", errNotHeld))
	}
	p := defaultPolicy()
	p.Secret, p.Lifetime, p.Issuer = asked.Secret, asked.Lifetime, asked.Issuer
	p.Key = keyProps{Exportable: asked.Key.Exportable, Reuse: asked.Key.Reuse, Type: public.Type, Curve: public.Curve, Size: len(public.N) * 8}
	if p.Issuer.Name == "" {
		p.Issuer.Name = issuerUnknown
	}
	p.X509 = x509Props{
		Subject: cert.Subject.String(), SANs: sanProps{DNS: cert.DNSNames, Emails: cert.EmailAddresses},
		Usages: []string{}, KeyUsage: []string{}, Months: max(1, int(cert.NotAfter.Sub(cert.NotBefore).Hours()/24/30)),
	}
	for _, n := range []string{"digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"} {
		if cert.KeyUsage&keyUsages(n) != 0 {
			p.X509.KeyUsage = append(p.X509.KeyUsage, n)
		}
	}
	for _, u := range cert.ExtKeyUsage {
		p.X509.Usages = append(p.X509.Usages, u.OID().String())
	}
	for _, u := range cert.UnknownExtKeyUsage {
		p.X509.Usages = append(p.X509.Usages, u.String())
	}
	subject := p.X509.Subject // of somebody else's making: not for us to judge
	p.X509.Subject = "CN=x"
	p.X509.Months = min(p.X509.Months, 1200)
	bad := p.complete(c)
	p.X509.Subject = subject
	return p, bad
}

// readCert reads a private key and its certificate with the rest of the chain. The refusals are in the words that clients report.
func readCert(contentType, value, password string) (crypto.Signer, []*x509.Certificate, *reply) {
	var key crypto.Signer
	var chain []*x509.Certificate
	var err error
	if contentType == typePEM {
		if key, chain, err = readPEM([]byte(value)); err != nil {
			return nil, nil, refused(badParameter("The specified PEM X.509 certificate content is in an unexpected format. Please check if certificate is in valid PEM format: %s.", err))
		}
	} else {
		pfx, bad := base64.StdEncoding.DecodeString(value)
		if bad != nil {
			return nil, nil, refused(badParameter("The specified PKCS#12 X.509 certificate content can not be read. Please check if certificate is in valid PKCS#12 format."))
		}
		if key, chain, err = decodePFX(pfx, password); err != nil {
			return nil, nil, refused(badParameter("The specified PKCS#12 X.509 certificate content can not be read. Please check if certificate is in valid PKCS#12 format: %s.", err))
		}
	}
	leaf := slices.IndexFunc(chain, func(x *x509.Certificate) bool { return samePublic(x.PublicKey, key.Public()) })
	if leaf < 0 {
		return nil, nil, refused(badParameter("The public key of the end-entity certificate in the specified X.509 certificate content does not match the public part of the specified private key. Please check if certificate is valid."))
	}
	first := chain[leaf]
	return key, append([]*x509.Certificate{first}, slices.Delete(slices.Clone(chain), leaf, leaf+1)...), nil
}

// readPEM reads a PKCS #8 key, unencrypted, and certificates.
func readPEM(text []byte) (key crypto.Signer, chain []*x509.Certificate, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PRIVATE KEY":
			if key != nil {
				return nil, nil, errors.New("it has more than one key")
			}
			if key, err = parseKey(block.Bytes); err != nil {
				return nil, nil, errors.New("the key does not read")
			}
		case "CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, errors.New("a certificate does not read")
			}
			chain = append(chain, cert)
		default: // RSA PRIVATE KEY too: the service takes PKCS #8 alone (Microsoft, "Import a certificate")
			return nil, nil, errors.New("it has a block that is neither a PKCS #8 key nor a certificate")
		}
	}
	if key == nil || len(chain) == 0 {
		return nil, nil, errors.New("it lacks the key or the certificate")
	}
	switch key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey:
		return key, chain, nil
	}
	return nil, nil, errNotHeld
}
