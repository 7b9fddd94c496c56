package graph

import (
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const certificate = "AsymmetricX509Cert"

// keyInput is a key credential in a body.
type keyInput struct {
	KeyID               *string `json:"keyId"`
	CustomKeyIdentifier *string `json:"customKeyIdentifier"`
	DisplayName         *string `json:"displayName"`
	Type                *string `json:"type"`
	Usage               *string `json:"usage"`
	Key                 *string `json:"key"`
	StartDateTime       *string `json:"startDateTime"`
	EndDateTime         *string `json:"endDateTime"`

	der        []byte            // of Key
	cert       *x509.Certificate // of a certificate
	start, end *time.Time
}

func badCredential(property, acceptable string) *problem {
	if acceptable != "" {
		acceptable = " Acceptable values are " + acceptable + "."
	}
	return badRequest("The value for the property \"%s\" in one of your credentials is invalid.%s", property, acceptable)
}

// prepareKeys reads the parts of the inputs that are text: certificates, times, identifiers.
func prepareKeys(keys []keyInput) error {
	seen := map[string]bool{}
	for i := range keys {
		if err := keys[i].prepare(); err != nil {
			return err
		}
		if id := keys[i].KeyID; id != nil {
			if seen[strings.ToLower(*id)] {
				return badCredential("keyId", "")
			}
			seen[strings.ToLower(*id)] = true
		}
	}
	return nil
}

func (k *keyInput) prepare() error {
	if k.KeyID != nil && !isGUID(*k.KeyID) {
		return badCredential("keyId", "")
	}
	// Clients that send existing entries without usage are refused too (microsoftgraph/msgraph-sdk-java issue 1823).
	if k.Usage == nil || *k.Usage != "Verify" && *k.Usage != "Sign" {
		return badCredential("usage", "Sign, Verify")
	}
	if k.Type != nil && *k.Type != certificate && *k.Type != "Symmetric" {
		return badCredential("type", certificate+", Symmetric")
	}
	for _, t := range []struct {
		name string
		text *string
		into **time.Time
	}{{"startDateTime", k.StartDateTime, &k.start}, {"endDateTime", k.EndDateTime, &k.end}} {
		if t.text == nil {
			continue
		}
		at, ok := moment(*t.text)
		if !ok {
			return badCredential(t.name, "")
		}
		*t.into = &at
	}
	if id := k.CustomKeyIdentifier; id != nil && *id != "" {
		if raw, err := base64.StdEncoding.DecodeString(*id); err != nil || len(raw) > 40 {
			return badCredential("customKeyIdentifier", "")
		}
	}
	if k.Key == nil || *k.Key == "" {
		return nil
	}
	der, err := keyBytes(*k.Key)
	if err != nil {
		return err
	}
	k.der = der
	if k.Type == nil || *k.Type == certificate {
		if k.cert, err = x509.ParseCertificate(der); err != nil {
			return badCredential("key", "")
		}
	}
	return nil
}

// keyBytes decodes a key: base64, possibly with line breaks, of DER or of PEM text. Azure CLI breaks lines, Terraform sends PEM
// (observed 2026-08).
func keyBytes(text string) ([]byte, error) {
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) == 0 {
		return nil, badCredential("key", "")
	}
	if !strings.HasPrefix(string(raw), "-----BEGIN ") {
		return raw, nil
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" { // never a private key
		return nil, badCredential("key", "")
	}
	return block.Bytes, nil
}

// replaceKeys gives the list that the body asks for: entries that exist, unchanged, and new ones. What the body leaves out is gone,
// whoever added it and whenever: Graph compares with nothing that the client has read.
func (s *Service) replaceKeys(v replica.View, h holder, want []keyInput) ([]directory.KeyCredential, error) {
	var list []directory.KeyCredential
	for _, w := range want {
		if w.KeyID != nil {
			i := slices.IndexFunc(*h.keys, func(k directory.KeyCredential) bool { return strings.EqualFold(k.KeyID, *w.KeyID) })
			if i >= 0 {
				if !w.same((*h.keys)[i]) {
					return nil, badRequest("Update to existing credential with KeyId '%s' is not allowed.", *w.KeyID)
				}
				list = append(list, (*h.keys)[i])
				continue
			}
		}
		k, err := s.newKey(v, h, w)
		if err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, nil
}

// same tells whether an entry that exists is sent as it is. What is null or missing is not compared; times are, to the second.
func (k keyInput) same(have directory.KeyCredential) bool {
	text := func(sent *string, have string) bool { return sent == nil || *sent == "" || *sent == have }
	at := func(sent *time.Time, have time.Time) bool {
		return sent == nil || sent.Truncate(time.Second).Equal(have.Truncate(time.Second))
	}
	name := ""
	if have.DisplayName != nil {
		name = *have.DisplayName
	}
	return text(k.Type, have.Type) && text(k.Usage, have.Usage) && text(k.CustomKeyIdentifier, have.CustomKeyIdentifier) && text(k.DisplayName, name) &&
		at(k.start, have.StartDateTime) && at(k.end, have.EndDateTime) && (k.der == nil || string(k.der) == string(have.Key))
}

// newKey makes a key credential of an input. Its times are the certificate's unless given, and must lie inside the certificate's.
func (s *Service) newKey(v replica.View, h holder, in keyInput) (directory.KeyCredential, error) {
	var none directory.KeyCredential
	if in.Type == nil {
		return none, badCredential("type", certificate+", Symmetric")
	}
	if in.der == nil {
		return none, badCredential("key", "")
	}
	k := directory.KeyCredential{DisplayName: in.DisplayName, Type: *in.Type, Usage: *in.Usage, Key: in.der, StartDateTime: s.env.Now().UTC()}
	k.EndDateTime = k.StartDateTime.AddDate(1, 0, 0)
	if in.cert != nil {
		k.StartDateTime, k.EndDateTime = in.cert.NotBefore.UTC(), in.cert.NotAfter.UTC()
	}
	if in.start != nil {
		k.StartDateTime = *in.start
	}
	if in.end != nil {
		k.EndDateTime = *in.end
	}
	switch {
	case in.cert != nil && k.StartDateTime.Before(in.cert.NotBefore):
		return none, &problem{status: http.StatusBadRequest, code: "KeyCredentialsInvalidStartDate", message: "Key credential start date is invalid."}
	case in.cert != nil && k.EndDateTime.After(in.cert.NotAfter), !k.EndDateTime.After(k.StartDateTime), k.EndDateTime.Before(s.env.Now()):
		return none, &problem{status: http.StatusBadRequest, code: "KeyCredentialsInvalidEndDate", message: "Key credential end date is invalid."}
	}
	if err := s.policyFor(v, h).key(h, k); err != nil {
		return none, err
	}
	if k.KeyID = s.env.NewID(); in.KeyID != nil {
		k.KeyID = strings.ToLower(*in.KeyID)
	}
	if in.CustomKeyIdentifier != nil && *in.CustomKeyIdentifier != "" {
		k.CustomKeyIdentifier = *in.CustomKeyIdentifier
	} else if in.cert != nil {
		sum := sha1.Sum(in.der)
		k.CustomKeyIdentifier = base64.StdEncoding.EncodeToString(sum[:])
	}
	return k, nil
}

// addKey adds a certificate, given proof that the caller has the private key of one that is there. It needs no permission when the
// application rolls its own keys (Microsoft Graph, "application: addKey").
func (c *call) addKey() error {
	var in struct {
		KeyCredential      *keyInput      `json:"keyCredential"`
		PasswordCredential *passwordInput `json:"passwordCredential"`
		Proof              string         `json:"proof"`
	}
	if err := c.decode(&in); err != nil {
		return err
	}
	if in.KeyCredential == nil {
		return missing("keyCredential", c.kind())
	}
	in.KeyCredential.KeyID = nil // Graph gives the id
	if in.PasswordCredential != nil {
		return badRequest("A passwordCredential is only for a key of type X509CertAndPassword, which this local cloud does not take.")
	}
	if err := in.KeyCredential.prepare(); err != nil {
		return err
	}
	if err := c.prove(in.Proof); err != nil {
		return err
	}
	var made directory.KeyCredential
	err := c.onHolder(func(v replica.View, h holder) error {
		if h.none != nil {
			return h.none
		}
		if c.agent == directory.Blueprint && in.KeyCredential.Type != nil && *in.KeyCredential.Type != certificate {
			return badCredential("type", certificate)
		}
		k, err := c.s.newKey(v, h, *in.KeyCredential)
		if err != nil {
			return err
		}
		*h.keys = append(slices.Clone(*h.keys), k)
		made = k
		return nil
	})
	if err != nil {
		return err
	}
	o := encodeKey(made, false)
	o["@odata.type"] = "#microsoft.graph.keyCredential"
	c.ok(o, "microsoft.graph.keyCredential")
	return nil
}

// removeKey removes a certificate, given the same proof; the certificate that signed it may be the one to go.
func (c *call) removeKey() error {
	var in struct {
		KeyID string `json:"keyId"`
		Proof string `json:"proof"`
	}
	if err := c.decode(&in); err != nil {
		return err
	}
	if err := c.prove(in.Proof); err != nil {
		return err
	}
	err := c.onHolder(func(_ replica.View, h holder) error {
		i := slices.IndexFunc(*h.keys, func(k directory.KeyCredential) bool { return strings.EqualFold(k.KeyID, in.KeyID) })
		if i < 0 {
			return noCredential("key", in.KeyID)
		}
		*h.keys = slices.Delete(slices.Clone(*h.keys), i, i+1)
		return nil
	})
	if err == nil {
		c.done()
	}
	return err
}

func (c *call) kind() string {
	if c.app.ID != "" {
		return "Application"
	}
	return "ServicePrincipal"
}
