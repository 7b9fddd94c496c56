package entra

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
)

// certificate is what a login needs of a registered certificate.
type certificate struct {
	sha1       [20]byte
	sha256     [32]byte
	key        *rsa.PublicKey // nil if the key credential is no certificate with an RSA key
	start, end time.Time
}

// certCache keeps parsed certificates by the hash of their DER, so that a login parses nothing. It holds only public data.
type certCache struct {
	mu    sync.RWMutex
	certs map[[32]byte]*certificate
}

// certLimit bounds the cache; a full one starts again.
const certLimit = 8192

func (c *certCache) parse(der []byte) *certificate {
	sum := sha256.Sum256(der)
	c.mu.RLock()
	cert := c.certs[sum]
	c.mu.RUnlock()
	if cert != nil {
		return cert
	}
	cert = &certificate{sha256: sum, sha1: sha1.Sum(der)} // SHA-1 names a certificate here (x5t) and vouches for nothing
	if parsed, err := x509.ParseCertificate(der); err == nil {
		cert.key, _ = parsed.PublicKey.(*rsa.PublicKey)
		cert.start, cert.end = parsed.NotBefore, parsed.NotAfter
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.certs == nil || len(c.certs) >= certLimit {
		c.certs = map[[32]byte]*certificate{}
	}
	c.certs[sum] = cert
	return cert
}

// registered finds the key credential with the thumbprint among those of application and service principal. Entra matches the
// certificate, not its key: another certificate over the same key is not found. Of several the longest-lived is meant.
func (s *Service) registered(creds []directory.KeyCredential, thumbprint []byte) (cert *certificate, start, end time.Time) {
	for _, k := range creds {
		// A Symmetric key credential may hold the bytes of a certificate all the same; it is a shared secret and no certificate.
		if !strings.EqualFold(k.Usage, "Verify") || !strings.EqualFold(k.Type, "AsymmetricX509Cert") || len(k.Key) == 0 {
			continue
		}
		c := s.certs.parse(k.Key)
		if c.key == nil || !bytes.Equal(c.sha1[:], thumbprint) && !bytes.Equal(c.sha256[:], thumbprint) {
			continue
		}
		from, to := later(c.start, k.StartDateTime), earlier(c.end, k.EndDateTime)
		if cert == nil || to.After(end) {
			cert, start, end = c, from, to
		}
	}
	return cert, start, end
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// earlier ignores an absent b.
func earlier(a, b time.Time) time.Time {
	if !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// byCertificate verifies an assertion that the client signed with a registered certificate.
func (s *Service) byCertificate(a *assertion, c client, ep endpoint) *failure {
	thumbprint := a.thumbprint()
	if thumbprint == nil {
		return badClient(5002723, "Invalid JWT token. No certificate SHA-1 thumbprint, certificate SHA-256 thumbprint, nor keyId specified in token header.")
	}
	cert, start, end := s.registered(c.keys(), thumbprint)
	if cert == nil {
		return badClient(700027, "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., %s]. Alternatively, SNI may be configured on the app. Please ensure that client assertion is being sent with the x5c claim in the JWT header using MSAL's WithSendX5C() method so that Azure Active Directory can validate the certificate being used.", keyStory(thumbprint, "", c.id))
	}
	now := s.env.Now()
	found := fmt.Sprintf(" Found key 'Start=%s, End=%s',", start.UTC().Format("01/02/2006 15:04:05"), end.UTC().Format("01/02/2006 15:04:05"))
	if !now.Before(end) || now.Add(skew).Before(start) {
		return badClient(700027, "Client assertion contains an invalid signature. [Reason - The key used is expired., %s]", keyStory(thumbprint, found, c.id))
	}
	if !a.signedBy(cert.key) {
		return badClient(700027, "Client assertion contains an invalid signature. [Reason - The provided signature value did not match the expected signature value., %s]", keyStory(thumbprint, found, c.id))
	}
	if f := a.timely(now); f != nil {
		return f
	}
	if !strings.EqualFold(a.claims.Issuer, c.id) || !strings.EqualFold(a.claims.Subject, c.id) {
		return badClient(700021, "Client assertion application identifier doesn't match 'client_id' parameter. Review the documentation at https://learn.microsoft.com/entra/identity-platform/certificate-credentials .")
	}
	if !slices.ContainsFunc(a.claims.Audience, func(aud string) bool { return s.isMe(aud, ep) }) {
		return badClient(700023, "Client assertion audience claim does not match Realm issuer. Review the documentation at https://learn.microsoft.com/entra/identity-platform/certificate-credentials .")
	}
	return nil
}

// keyStory is the part of AADSTS700027 that names the key.
func keyStory(thumbprint []byte, found, client string) string {
	return fmt.Sprintf("Thumbprint of key used by client: '%s',%s Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see configured keys for app Id '%s'. Review the documentation at https://docs.microsoft.com/en-us/graph/deployments to determine the corresponding service endpoint and https://docs.microsoft.com/en-us/graph/api/application-get?view=graph-rest-1.0&tabs=http to build a query request URL, such as 'https://graph.microsoft.com/beta/applications/%s'",
		strings.ToUpper(hex.EncodeToString(thumbprint)), found, client, client)
}

// isMe tells whether an audience names this tenant: its token endpoints (by GUID or by domain, and the one that was called, which alone
// may be that of AD FS) or its issuers. Microsoft's page on certificate credentials asks for the token endpoint or the issuer of the
// tenant.
func (s *Service) isMe(aud string, ep endpoint) bool {
	same := func(b string) bool { return strings.EqualFold(strings.TrimRight(aud, "/"), strings.TrimRight(b, "/")) }
	if same(s.tokenURL(ep)) || same(s.env.Auth.Issuer("1.0")) || same(s.env.Auth.Issuer("2.0")) {
		return true
	}
	t := s.env.Dir.Tenant
	for _, name := range []string{t.ID, t.Domain} {
		base := s.login() + "/" + name
		if same(base) || same(base+"/v2.0") || same(base+"/oauth2/token") || same(base+"/oauth2/v2.0/token") {
			return true
		}
	}
	return false
}
