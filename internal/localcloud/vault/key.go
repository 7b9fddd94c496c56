package vault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// keyVersion is one key pair. The private half leaves the vault in nothing but sealed backups and, where its policy says so, the secret
// of its certificate.
type keyVersion struct {
	attributes
	HSM        bool     `json:"hsm,omitempty"`        // of a type ending in -HSM; it is kept as any other
	Exportable bool     `json:"exportable,omitempty"` // its certificate's secret has it; false never becomes true
	Operations []string `json:"key_ops"`
	Public     jwk      `json:"public"`
	Private    []byte   `json:"private"` // PKCS #8
}

// signer is the private key.
func (v keyVersion) signer() (crypto.Signer, error) { return parseKey(v.Private) }

func parseKey(pkcs8 []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, err
	}
	s, isSigner := key.(crypto.Signer)
	if !isSigner {
		return nil, errNotHeld
	}
	return s, nil
}

// showKey makes a list's item the bundle of a key (JSON Web Key, RFC 7517; only the public members).
func showKey(c *call, e entry[keyVersion], v keyVersion, o object) {
	public := v.Public
	public.ID, public.Operations = c.base+"/keys/"+e.Name+"/"+v.ID, v.Operations
	if v.HSM {
		public.Type += "-HSM"
	}
	delete(o, "kid")
	o["key"] = public
}

// keySpec is what a new key shall be.
type keySpec struct {
	Type  string `json:"kty"`
	Size  int    `json:"key_size"`
	Curve string `json:"crv"`
}

// check completes the specification and tells what is wrong with it. The types are those of a vault; symmetric keys are of managed HSMs
// only (Microsoft, "About keys"; the refusal as clients report it).
func (k *keySpec) check(c *call) *reply {
	kind, hsm := strings.CutSuffix(k.Type, "-HSM")
	switch {
	case kind != "RSA" && kind != "EC":
		return refused(fail(http.StatusBadRequest, "BadParameter", "KeyTypeNotSupported", "Invalid kty value: %s", k.Type))
	case hsm && !c.premium():
		return refused(fail(http.StatusBadRequest, "BadParameter", "KeyTypeNotSupported", "Invalid kty value: %s; it needs a vault of the premium SKU.", k.Type))
	}
	if kind == "RSA" {
		if k.Size == 0 {
			k.Size = 2048
		}
		if k.Size != 2048 && k.Size != 3072 && k.Size != 4096 {
			return refused(badParameter("Property key_size has invalid value: %d; it must be 2048, 3072 or 4096.", k.Size))
		}
		return nil
	}
	if k.Curve == "" {
		k.Curve = "P-256"
	}
	if k.Curve == "P-256K" {
		return refused(fail(http.StatusBadRequest, "BadParameter", "KeyCurveNotSupported", "The local cloud does not have curve P-256K."))
	}
	if curveOf(k.Curve) == nil {
		return refused(fail(http.StatusBadRequest, "BadParameter", "KeyCurveNotSupported", "Property crv has invalid value: %s", k.Curve))
	}
	return nil
}

func (k keySpec) hsm() bool { return strings.HasSuffix(k.Type, "-HSM") }

// generate makes a key. The randomness is the machine's, whatever the cloud's seed: Go's key generation does not repeat anyway.
func (k keySpec) generate() (crypto.Signer, error) {
	if strings.HasPrefix(k.Type, "RSA") {
		return rsa.GenerateKey(rand.Reader, k.Size)
	}
	return ecdsa.GenerateKey(curveOf(k.Curve), rand.Reader)
}

func curveOf(name string) elliptic.Curve {
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		if c.Params().Name == name {
			return c
		}
	}
	return nil
}

var (
	rsaOperations = []string{"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"}
	ecOperations  = []string{"sign", "verify"}
)

// operations are the asked ones, or all that a key of the type can be used for.
func operations(kty string, asked []string) ([]string, *reply) {
	all := rsaOperations
	if strings.HasPrefix(kty, "EC") {
		all = ecOperations
	}
	if asked == nil {
		return all, nil
	}
	for _, op := range asked {
		if !slices.Contains(all, op) {
			return nil, refused(badParameter("Property key_ops has invalid value: %s is no operation of a key of type %s.", op, kty))
		}
	}
	return asked, nil
}

// hold makes a version of a private key.
func (s *Service) hold(key crypto.Signer, ops []string, hsm bool, p patch) (keyVersion, error) {
	public, err := publicJWK(key.Public())
	if err != nil {
		return keyVersion{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	return keyVersion{attributes: s.fresh(p), HSM: hsm, Operations: ops, Public: public, Private: private}, err
}

func notMade(error) *reply {
	return refused(fail(http.StatusInternalServerError, "InternalError", "", "The key could not be made."))
}

// createKey makes a key or a new version of one.
func (s *Service) createKey(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, createKey, name); r != nil {
		return *r, nil
	}
	var body struct {
		keySpec
		patch
		Exponent   *int            `json:"public_exponent"`
		Operations []string        `json:"key_ops"`
		Release    json.RawMessage `json:"release_policy"`
	}
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	if r := body.keySpec.check(c); r != nil {
		return *r, nil
	}
	ops, bad := operations(body.Type, body.Operations)
	switch {
	case bad != nil:
		return *bad, nil
	case body.Exponent != nil && *body.Exponent != 65537:
		return badParameter("Property public_exponent has invalid value: the local cloud's keys have 65537."), nil
	case len(body.Release) > 0 && string(body.Release) != "null":
		return fail(http.StatusBadRequest, "NotSupported", "", "The local cloud does not release keys, so none can have a release policy."), nil
	}
	return s.make(c, "create", func() (crypto.Signer, error) { return body.generate() }, ops, body.hsm(), body.patch)
}

// make holds the key that generate makes, outside the store's lock.
func (s *Service) make(c *call, verb string, generate func() (crypto.Signer, error), ops []string, hsm bool, p patch) (reply, effect) {
	var version keyVersion
	c.work = func() *reply {
		key, err := generate()
		if err == nil {
			version, err = s.hold(key, ops, hsm, p)
		}
		if err != nil {
			return notMade(err)
		}
		return nil
	}
	return reply{}, func(tx replica.Tx) reply {
		e, no := s.keys.add(tx, c, c.path[1], verb, version)
		if no != nil {
			return *no
		}
		return ok(s.keys.bundle(c, e, version))
	}
}

// importKey takes a private key that somebody brings.
func (s *Service) importKey(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, importKey, name); r != nil {
		return *r, nil
	}
	var body struct {
		patch
		Key jwk   `json:"key"`
		HSM *bool `json:"Hsm"`
	}
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	kind, hsm := strings.CutSuffix(body.Key.Type, "-HSM")
	if body.HSM != nil && *body.HSM {
		hsm = true
	}
	spec := keySpec{Type: kind, Curve: body.Key.Curve}
	if hsm {
		spec.Type += "-HSM"
	}
	if r := spec.check(c); r != nil {
		return *r, nil
	}
	ops, bad := operations(kind, body.Key.Operations)
	if bad != nil {
		return *bad, nil
	}
	given := body.Key
	given.Type = kind
	rep, do := s.make(c, "import", given.private, ops, hsm, body.patch)
	hold := c.work
	c.work = func() *reply {
		if _, err := given.private(); err != nil {
			return refused(badParameter("The key is not valid: %s.", err))
		}
		return hold()
	}
	return rep, do
}

// rotateKey makes a new version as the latest is (Microsoft, "Rotate Key").
func (s *Service) rotateKey(v replica.View, c *call) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, rotateKey, name); r != nil {
		return *r, nil
	}
	e, found := s.keys.live(v, c.vault, name)
	switch {
	case !found:
		return s.keys.notFound(name), nil
	case e.Managed:
		return s.keys.managed("rotate"), nil
	}
	old := s.keys.latest(e)
	spec := keySpec{Type: old.Public.Type, Curve: old.Public.Curve, Size: len(old.Public.N) * 8}
	return s.make(c, "rotate", spec.generate, old.Operations, old.HSM, patch{Tags: old.Tags})
}

// getKey shows the public half. A key that is disabled is not shown either.
func (s *Service) getKey(v replica.View, c *call, id string) reply {
	name := c.path[1]
	if r := s.may(v, c, keyRights.get, name); r != nil {
		return *r
	}
	e, found := s.keys.live(v, c.vault, name)
	if !found {
		return s.keys.notFound(name)
	}
	version, found := s.keys.version(e, id)
	switch {
	case !found:
		return s.keys.notFound(name + "/" + id)
	case !version.Enabled:
		return keyDisabled("get")
	}
	return ok(s.keys.bundle(c, e, version))
}

func keyDisabled(operation string) reply {
	return fail(http.StatusForbidden, "Forbidden", "KeyDisabled", "Operation %s is not allowed on a disabled key.", operation)
}

// updateKey changes what is not the key.
func (s *Service) updateKey(v replica.View, c *call, id string) (reply, effect) {
	name := c.path[1]
	if r := s.may(v, c, keyRights.update, name); r != nil {
		return *r, nil
	}
	var body struct {
		patch
		Operations []string `json:"key_ops"`
	}
	if r := c.decode(&body); r != nil {
		return *r, nil
	}
	if e, found := s.keys.live(v, c.vault, name); found && body.Operations != nil {
		if _, bad := operations(s.keys.latest(e).Public.Type, body.Operations); bad != nil {
			return *bad, nil
		}
	}
	return reply{}, s.keys.update(c, id, func(v *keyVersion) {
		body.apply(&v.attributes, s.env.Now())
		if body.Operations != nil {
			v.Operations = body.Operations
		}
	})
}
