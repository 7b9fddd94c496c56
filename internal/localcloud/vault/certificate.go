package vault

import (
	"crypto"
	"crypto/rand"
	"crypto/sha1" // x5t, RFC 7517 section 4.8
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// certVersion is one certificate, and the policy that it was made by. Its key and its secret are the versions of the same id in the
// other collections.
type certVersion struct {
	attributes
	Cer       []byte     `json:"cer,omitempty"` // DER; nil until it is issued
	Policy    certPolicy `json:"policy"`
	Operation *operation `json:"operation,omitempty"` // what makes it, or made it
}

func (v certVersion) issued() bool { return v.Cer != nil }

// newest is the version that was begun last, whose policy and operation are those of the certificate.
func newest(e entry[certVersion]) certVersion { return e.Versions[len(e.Versions)-1] }

func summariseCert(_ *call, _ entry[certVersion], v certVersion, o object) {
	if v.issued() {
		o["x5t"] = thumbprint(v.Cer)
	}
	o["subject"] = v.Policy.X509.Subject
}

func thumbprint(der []byte) string {
	sum := sha1.Sum(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (s *Service) showCert(c *call, e entry[certVersion], v certVersion, o object) {
	at := e.Name + "/" + v.ID
	o["policy"] = v.Policy.shown(c, e.Name)
	if v.issued() {
		o["kid"], o["sid"] = c.base+"/keys/"+at, c.base+"/secrets/"+at
		o["cer"], o["x5t"] = base64.StdEncoding.EncodeToString(v.Cer), thumbprint(v.Cer)
	}
	if newest(e).Operation != nil {
		o["pending"] = object{"id": c.base + "/certificates/" + e.Name + "/pending"}
	}
}

func (s *Service) getCert(v replica.View, c *call, id string) reply {
	name := c.path[1]
	if r := s.may(v, c, certRights.get, name); r != nil {
		return *r
	}
	e, found := s.certs.live(v, c.vault, name)
	if !found {
		return s.certs.notFound(name)
	}
	version, found := s.certs.version(e, id)
	if !found {
		return s.certs.notFound(name + "/" + id)
	}
	return ok(s.certs.bundle(c, e, version))
}

// updateCert changes whether a certificate is enabled, and its tags. Its key and its secret follow; the times are the certificate's own.
func (s *Service) updateCert(v replica.View, c *call, id string) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, certRights.update, name); r != nil {
		return *r, nil
	}
	var body patch
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	body.Attributes.NotBefore, body.Attributes.Expires = nil, nil
	do := s.certs.update(c, id, func(v *certVersion) { body.apply(&v.attributes, s.env.Now()) })
	return reply{}, func(tx replica.Tx) reply {
		rep := do(tx)
		if e, found := s.certs.live(tx.View, c.vault, name); found && rep.status == http.StatusOK {
			if version, found := s.certs.version(e, id); found {
				s.keys.mirror(tx, e.Vault, e.Name, version.attributes)
				s.secrets.mirror(tx, e.Vault, e.Name, version.attributes)
			}
		}
		return rep
	}
}

// mirror gives the managed version of the same id the attributes of its certificate.
func (k *collection[V, P]) mirror(tx replica.Tx, vault, name string, a attributes) {
	e, found := k.table.Get(tx.View, key(vault, name))
	if !found || !e.Managed {
		return
	}
	if version, found := k.version(e, a.ID); found {
		*P(&version).common() = a
		k.put(tx, k.with(e, version))
	}
}

// material is a certificate about to be issued: everything that has to be computed, so that issuing it only writes.
type material struct {
	Cer    []byte     `json:"cer"`
	Key    keyVersion `json:"key"`
	Secret string     `json:"secret"`
}

// prepare makes the material of a certificate with its key and the rest of its chain.
func (s *Service) prepare(key crypto.Signer, chain []*x509.Certificate, p certPolicy) (material, error) {
	leaf := chain[0]
	ops := operationsOf(leaf.KeyUsage, p.Key.Type)
	held, err := s.hold(key, ops, strings.HasSuffix(p.Key.Type, "-HSM"), patch{})
	if err != nil {
		return material{}, err
	}
	held.Exportable = *p.Key.Exportable
	visible := key
	if !held.Exportable {
		visible = nil // then the secret is the certificate alone
	}
	m := material{Cer: leaf.Raw, Key: held}
	if p.Secret.ContentType == typePEM {
		m.Secret, err = encodePEM(visible, chain)
		return m, err
	}
	pfx, err := encodePFX(s.env.Random, visible, chain)
	m.Secret = base64.StdEncoding.EncodeToString(pfx)
	return m, err
}

func encodePEM(key crypto.Signer, chain []*x509.Certificate) (string, error) {
	var out []byte
	if key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return "", err
		}
		out = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	for _, c := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return string(out), nil
}

// issue makes the version what its material is, with the key and the secret of the same id.
func (s *Service) issue(tx replica.Tx, e entry[certVersion], version certVersion, m material) (entry[certVersion], certVersion) {
	now := s.env.Now()
	cert, err := x509.ParseCertificate(m.Cer)
	if err != nil { // prepare had it from a parsed one
		return e, version
	}
	from, to := cert.NotBefore.Unix(), cert.NotAfter.Unix()
	version.Cer, version.NotBefore, version.Expires, version.Updated = m.Cer, &from, &to, now.Unix()
	e = s.certs.with(e, version)
	s.certs.put(tx, e)

	held := m.Key
	held.attributes = version.attributes
	k, found := s.keys.table.Get(tx.View, key(e.Vault, e.Name))
	if !found {
		k = entry[keyVersion]{Vault: e.Vault, Name: e.Name, Managed: true}
	}
	s.keys.put(tx, s.keys.with(k, held))

	contentType := version.Policy.Secret.ContentType
	secret := secretVersion{attributes: version.attributes, Value: m.Secret, ContentType: &contentType, KeyVersion: true}
	x, found := s.secrets.table.Get(tx.View, key(e.Vault, e.Name))
	if !found {
		x = entry[secretVersion]{Vault: e.Vault, Name: e.Name, Managed: true}
	}
	s.secrets.put(tx, s.secrets.with(x, secret))
	return e, version
}

// begin is the entry that takes a new version: one that is there, or a new one. What a name holds already is not overwritten: a deleted
// certificate, a request under way, a key or a secret that belongs to nobody.
func (s *Service) begin(tx replica.Tx, c *call, name string) (entry[certVersion], *reply) {
	e, found := s.certs.find(tx.View, c.vault, name)
	if found && e.Deleted != nil {
		return e, refused(s.certs.inBin(e.Name))
	}
	if found {
		if op := newest(e).Operation; op != nil && op.Status == inProgress {
			return e, refused(fail(http.StatusConflict, "Conflict", "", "A new key vault certificate can not be created or imported while a pending key vault certificate's status is inProgress."))
		}
		e.Versions = slices.DeleteFunc(slices.Clone(e.Versions), func(v certVersion) bool { return !v.issued() })
		return e, nil
	}
	if k, taken := s.keys.find(tx.View, c.vault, name); taken && !k.Managed {
		return e, refused(fail(http.StatusConflict, "Conflict", "", "A key with the name %s exists that is not of a certificate.", name))
	}
	if x, taken := s.secrets.find(tx.View, c.vault, name); taken && !x.Managed {
		return e, refused(fail(http.StatusConflict, "Conflict", "", "A secret with the name %s exists that is not of a certificate.", name))
	}
	for _, f := range s.certs.followers { // of a certificate whose time in the recycle bin is over
		f.erase(tx, incarnationOf(c.vault), name)
	}
	return entry[certVersion]{Vault: incarnationOf(c.vault), Name: name}, nil
}

// template is the certificate that a policy asks for.
func (s *Service) template(p certPolicy) (*x509.Certificate, error) {
	name, err := parseName(p.X509.Subject)
	if err != nil {
		return nil, err
	}
	subject, err := asn1.Marshal(name)
	if err != nil {
		return nil, err
	}
	now := s.env.Now().UTC().Truncate(time.Second)
	t := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(s.env.Random(15)), RawSubject: subject,
		NotBefore: now.Add(-10 * time.Minute), NotAfter: now.AddDate(0, p.X509.Months, 0), // as the service does, for clocks that go wrong
		DNSNames: p.X509.SANs.DNS, EmailAddresses: p.X509.SANs.Emails, BasicConstraintsValid: true,
	}
	if p.X509.Basic != nil {
		t.IsCA = p.X509.Basic.CA
	}
	for _, u := range p.X509.KeyUsage {
		t.KeyUsage |= keyUsages(u)
	}
	for _, u := range p.X509.Usages {
		var oid asn1.ObjectIdentifier
		if oid, err = objectID(u); err != nil {
			return nil, err
		}
		t.UnknownExtKeyUsage = append(t.UnknownExtKeyUsage, oid)
	}
	return t, nil
}

// objectID is the dotted text of an object identifier as ASN.1 has it.
func objectID(text string) (asn1.ObjectIdentifier, error) {
	oid, err := x509.ParseOID(text)
	if err != nil {
		return nil, err
	}
	body, err := oid.MarshalBinary()
	if err != nil {
		return nil, err
	}
	der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagOID, Bytes: body})
	if err != nil {
		return nil, err
	}
	var out asn1.ObjectIdentifier
	_, err = asn1.Unmarshal(der, &out)
	return out, err
}

// selfSigned signs a certificate with its own key.
func selfSigned(t *x509.Certificate, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
