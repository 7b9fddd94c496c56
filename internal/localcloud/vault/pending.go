package vault

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// operation is the making of a certificate, which a client polls (Microsoft, "Monitor and manage certificate creation").
type operation struct {
	ID        string    `json:"id"`
	Issuer    string    `json:"issuer"`
	CSR       []byte    `json:"csr"`
	Status    string    `json:"status"`
	Details   string    `json:"details,omitempty"`
	Cancel    bool      `json:"cancel,omitempty"`
	Ready     time.Time `json:"ready,omitzero"`   // when it is issued, unless somebody else must act
	Key       []byte    `json:"key,omitempty"`    // PKCS #8, until it is issued
	Issued    *material `json:"issued,omitempty"` // what will be issued at that time
	ErrorCode string    `json:"errorCode,omitempty"`
	ErrorText string    `json:"errorMessage,omitempty"`
	// Exportable is what the key was made as. The policy may change until the key is merged.
	Exportable bool `json:"exportable,omitempty"`
}

// The states of an operation.
const (
	inProgress = "inProgress"
	completed  = "completed"
	cancelled  = "cancelled"
)

// issuing is how long a vault takes to make a self-signed certificate: long enough that a client has to poll.
const issuing = time.Second

const (
	detailsIssuer = "Pending certificate created. Certificate request is in progress. This may take some time based on the issuer provider. Please check again later."
	detailsMerge  = "Pending certificate created. Please Perform Merge to complete the request."
)

// issuingIndex finds the certificates that will be issued by themselves.
const issuingIndex = "issuing"

func issuingKey(e entry[certVersion]) []string {
	if op := newest(e).Operation; op != nil && op.Status == inProgress && op.Issued != nil && e.Deleted == nil {
		return []string{issuingIndex}
	}
	return nil
}

// issueDue issues what is due: nothing runs between requests, so that the clock may be anybody's.
func (s *Service) issueDue() {
	due := func(v replica.View) (all []entry[certVersion]) {
		for _, e := range s.certs.table.By(v, issuingIndex, issuingIndex) {
			if !s.env.Now().Before(newest(e).Operation.Ready) {
				all = append(all, e)
			}
		}
		return all
	}
	some := false
	s.env.Dir.Store.Primary(func(v replica.View) { some = len(due(v)) > 0 })
	if !some {
		return
	}
	_ = s.env.Dir.Store.Write(func(tx replica.Tx) error { // nothing in it fails
		for _, e := range due(tx.View) {
			version := newest(e)
			op := *version.Operation
			if op.Cancel {
				op.end()
				version.Operation = &op
				s.certs.put(tx, s.certs.with(e, version))
				continue
			}
			s.finish(tx, e, version, *op.Issued)
		}
		return nil
	})
}

// end makes the operation a cancelled one.
func (op *operation) end() {
	op.Status, op.Details, op.Key, op.Issued = cancelled, "", nil, nil
	op.ErrorCode, op.ErrorText = "RequestCancelled", "The request for the certificate was cancelled."
}

// finish completes the operation of the newest version.
func (s *Service) finish(tx replica.Tx, e entry[certVersion], version certVersion, m material) (entry[certVersion], certVersion) {
	op := *version.Operation
	op.Status, op.Details, op.Key, op.Issued = completed, "", nil, nil
	version.Operation = &op
	return s.issue(tx, e, version, m)
}

func (op operation) shown(c *call, name string) object {
	o := object{
		"id": c.base + "/certificates/" + name + "/pending", "issuer": object{"name": op.Issuer}, "csr": base64.StdEncoding.EncodeToString(op.CSR),
		"cancellation_requested": op.Cancel, "status": op.Status, "request_id": op.ID,
	}
	if op.Details != "" {
		o["status_details"] = op.Details
	}
	if op.ErrorCode != "" {
		o["error"] = object{"code": op.ErrorCode, "message": op.ErrorText}
	}
	if op.Status == completed {
		o["target"] = c.base + "/certificates/" + name
	}
	return o
}

// createCert begins to make a certificate.
func (s *Service) createCert(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, createCert, name); r != nil {
		return *r, nil
	}
	p, body, bad := s.askedPolicy(v, c, defaultPolicy())
	if bad != nil {
		return *bad, nil
	}
	switch {
	case strings.EqualFold(p.Issuer.Name, issuerSelf):
		p.Issuer.Name = issuerSelf
	case strings.EqualFold(p.Issuer.Name, issuerUnknown):
		p.Issuer.Name = issuerUnknown
	default:
		return badParameter("Property policy has invalid value: the issuer %s is not in this vault; the local cloud has Self and Unknown.", p.Issuer.Name), nil
	}
	reused, bad := s.reused(v, c, p)
	if bad != nil {
		return *bad, nil
	}
	version := certVersion{attributes: s.fresh(body), Policy: p}
	version.Enabled = body.Attributes.Enabled == nil || *body.Attributes.Enabled
	c.work = func() (end *reply) {
		version.Operation, end = s.request(p, reused)
		return end
	}
	return reply{}, func(tx replica.Tx) reply {
		e, no := s.begin(tx, c, name)
		if no != nil {
			return *no
		}
		s.certs.put(tx, s.certs.with(e, version))
		rep := reply{status: http.StatusAccepted, body: version.Operation.shown(c, e.Name), header: http.Header{}}
		rep.header.Set("Location", c.base+"/certificates/"+e.Name+"/pending?api-version="+c.query.Get("api-version")+"&request_id="+version.Operation.ID)
		return rep
	}
}

// askedPolicy reads the policy of a request to make a certificate: that of the request, or else the one that the name has already.
func (s *Service) askedPolicy(v replica.View, c *call, otherwise certPolicy) (certPolicy, patch, *reply) {
	var body struct {
		patch
		Policy json.RawMessage `json:"policy"`
	}
	if r := c.decode(&body); r != nil {
		return certPolicy{}, patch{}, r
	}
	body.Attributes.NotBefore, body.Attributes.Expires = nil, nil // those of the certificate
	p := otherwise
	if len(body.Policy) == 0 || string(body.Policy) == "null" {
		if e, found := s.certs.live(v, c.vault, c.path[1]); found {
			p = newest(e).Policy.copyOf()
		}
	} else if json.Unmarshal(body.Policy, &p) != nil {
		return p, patch{}, refused(badParameter("Property policy has invalid value: it is not of the expected shape."))
	}
	if r := p.complete(c); r != nil {
		return p, patch{}, r
	}
	p.Attributes = policyAttributes{}
	p.stamp(s.env.Now())
	return p, body.patch, nil
}

// reused is the present private key, if the policy keeps it for new versions; else nil. A policy under which a key would leave that was
// made to stay is refused: whoever may make certificates could otherwise read every key of one. (The words were not seen live.)
func (s *Service) reused(v replica.View, c *call, p certPolicy) ([]byte, *reply) {
	e, found := s.keys.live(v, c.vault, c.path[1])
	if !found || !e.Managed || !p.Key.Reuse {
		return nil, nil
	}
	key := s.keys.latest(e)
	if *p.Key.Exportable && !key.Exportable {
		return nil, refused(badParameter("Property policy has invalid value: key_props.exportable cannot be true with reuse_key, because the present key is not exportable."))
	}
	return key.Private, nil
}

// request makes the key and the request for a certificate, and the certificate if the vault is its own issuer.
func (s *Service) request(p certPolicy, reused []byte) (*operation, *reply) {
	op, err := s.tryRequest(p, reused)
	if err != nil {
		return nil, refused(badParameter("Property policy has invalid value: no certificate can be made by it."))
	}
	return op, nil
}

func (s *Service) tryRequest(p certPolicy, reused []byte) (*operation, error) {
	template, err := s.template(p)
	if err != nil {
		return nil, err
	}
	var signer crypto.Signer
	if reused != nil {
		signer, err = parseKey(reused)
	} else {
		signer, err = keySpec{Type: p.Key.Type, Size: p.Key.Size, Curve: p.Key.Curve}.generate()
	}
	if err != nil {
		return nil, err
	}
	op := &operation{ID: strings.ReplaceAll(s.env.NewID(), "-", ""), Issuer: p.Issuer.Name, Status: inProgress, Details: detailsMerge, Exportable: *p.Key.Exportable}
	if op.CSR, err = certificateRequest(template, signer); err != nil {
		return nil, err
	}
	if op.Key, err = x509.MarshalPKCS8PrivateKey(signer); err != nil {
		return nil, err
	}
	if p.Issuer.Name == issuerUnknown {
		return op, nil
	}
	cert, err := selfSigned(template, signer)
	if err != nil {
		return nil, err
	}
	m, err := s.prepare(signer, []*x509.Certificate{cert}, p)
	if err != nil {
		return nil, err
	}
	op.Details, op.Issued, op.Ready = detailsIssuer, &m, s.env.Now().Add(issuing)
	return op, nil
}

// certificateRequest asks for what the template says (PKCS #10, RFC 2986).
func certificateRequest(t *x509.Certificate, key crypto.Signer) ([]byte, error) {
	r := &x509.CertificateRequest{RawSubject: t.RawSubject, DNSNames: t.DNSNames, EmailAddresses: t.EmailAddresses}
	if len(t.UnknownExtKeyUsage) > 0 {
		der, err := asn1.Marshal(t.UnknownExtKeyUsage)
		if err != nil {
			return nil, err
		}
		r.ExtraExtensions = append(r.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: der})
	}
	return x509.CreateCertificateRequest(rand.Reader, r, key)
}

// pendingOf is the certificate with the operation that the request means. request_id, if given, must be the operation's.
func (s *Service) pendingOf(v replica.View, c *call) (entry[certVersion], *operation, *reply) {
	name := c.path[1]
	e, found := s.certs.live(v, c.vault, name)
	if !found {
		return e, nil, refused(s.certs.notFound(name))
	}
	op := newest(e).Operation
	if id := c.query.Get("request_id"); op == nil || id != "" && !strings.EqualFold(id, op.ID) {
		return e, nil, refused(fail(http.StatusNotFound, "PendingCertificateNotFound", "", "Pending certificate not found: %s", name))
	}
	return e, op, nil
}

func (s *Service) getPending(v replica.View, c *call) reply {
	if r := s.may(v, c, certRights.get, c.path[1]); r != nil {
		return *r
	}
	e, op, no := s.pendingOf(v, c)
	if no != nil {
		return *no
	}
	return ok(op.shown(c, e.Name))
}

// cancelPending asks that the certificate be not made. What only waits for a merge is cancelled at once.
func (s *Service) cancelPending(v replica.View, c *call) (reply, effect) {
	if r := s.may(v, c, certRights.update, c.path[1]); r != nil {
		return *r, nil
	}
	var body struct {
		Cancel bool `json:"cancellation_requested"`
	}
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		e, op, no := s.pendingOf(tx.View, c)
		switch {
		case no != nil:
			return *no
		case op.Status != inProgress:
			return badParameter("The pending certificate's status is %s; only one that is inProgress can be cancelled.", op.Status)
		}
		next := *op
		next.Cancel = body.Cancel
		if next.Cancel && next.Issued == nil {
			next.end()
		}
		version := newest(e)
		version.Operation = &next
		s.certs.put(tx, s.certs.with(e, version))
		return ok(next.shown(c, e.Name))
	}
}

// deletePending forgets the operation. A certificate that was not issued yet stays without one.
func (s *Service) deletePending(v replica.View, c *call) (reply, effect) {
	if r := s.may(v, c, certRights.update, c.path[1]); r != nil {
		return *r, nil
	}
	return reply{}, func(tx replica.Tx) reply {
		e, op, no := s.pendingOf(tx.View, c)
		if no != nil {
			return *no
		}
		version := newest(e)
		version.Operation = nil
		if !version.issued() {
			version.Enabled = false
		}
		s.certs.put(tx, s.certs.with(e, version))
		return ok(op.shown(c, e.Name))
	}
}

// mergePending completes a request with the certificate that an authority of the caller's choice made of it.
func (s *Service) mergePending(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, createCert, name); r != nil {
		return *r, nil
	}
	var body struct {
		patch
		Chain [][]byte `json:"x5c"`
	}
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	e, op, no := s.pendingOf(v, c)
	switch {
	case no != nil:
		return *no, nil
	case op.Status != inProgress:
		return badParameter("The pending certificate's status is %s; there is nothing to merge with.", op.Status), nil
	case op.Issuer != issuerUnknown:
		return fail(http.StatusForbidden, "Forbidden", "", "Merge is forbidden on pending object created with issuer : %s while it is in progess.", op.Issuer), nil
	}
	var m material
	c.work = func() (end *reply) {
		m, end = s.merged(*op, newest(e).Policy, body.Chain)
		return end
	}
	return reply{}, func(tx replica.Tx) reply {
		e, now, no := s.pendingOf(tx.View, c)
		switch {
		case no != nil:
			return *no
		case now.ID != op.ID || now.Status != inProgress:
			return fail(http.StatusConflict, "Conflict", "", "The pending certificate changed meanwhile.")
		}
		version := newest(e)
		body.patch.Attributes.NotBefore, body.patch.Attributes.Expires = nil, nil
		body.apply(&version.attributes, s.env.Now())
		e, version = s.finish(tx, e, version, m)
		rep := reply{status: http.StatusCreated, body: s.certs.bundle(c, e, version), header: http.Header{}}
		rep.header.Set("Location", c.base+"/certificates/"+e.Name+"?api-version="+c.query.Get("api-version"))
		return rep
	}
}

// merged checks that the first certificate of a chain is for the key of the request.
func (s *Service) merged(op operation, p certPolicy, ders [][]byte) (material, *reply) {
	chain, err := parseChain(ders)
	if err != nil || len(chain) == 0 {
		return material{}, refused(badParameter("Property x5c has invalid value: it must hold X.509 certificates, the leaf first."))
	}
	key, err := parseKey(op.Key)
	if err != nil {
		return material{}, unusable(err)
	}
	if !samePublic(chain[0].PublicKey, key.Public()) {
		return material{}, refused(badParameter("The public key of the end-entity certificate in the specified X.509 certificate content does not match the public part of the specified private key. Please check if certificate is valid."))
	}
	leaves := *p.Key.Exportable && op.Exportable
	p.Key.Exportable = &leaves
	m, err := s.prepare(key, chain, p)
	if err != nil {
		return m, notMade(err)
	}
	return m, nil
}

func parseChain(ders [][]byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for _, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

func samePublic(a, b crypto.PublicKey) bool {
	x, err := x509.MarshalPKIXPublicKey(a)
	if err != nil {
		return false
	}
	y, err := x509.MarshalPKIXPublicKey(b)
	return err == nil && bytes.Equal(x, y)
}
