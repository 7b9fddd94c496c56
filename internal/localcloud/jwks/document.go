package jwks

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// fetch reads the discovery document and the key set, and how long the keys may be kept.
func (f *Fetcher) fetch(ctx context.Context, name string) (map[string]*rsa.PublicKey, time.Duration, error) {
	b, _, err := f.get(ctx, strings.TrimRight(name, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, 0, err
	}
	var doc struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if json.Unmarshal(b, &doc) != nil {
		return nil, 0, errors.New("the discovery document is not JSON")
	}
	if doc.Issuer != name { // OpenID Connect Discovery 1.0, section 4.3
		return nil, 0, errors.New("the discovery document is another issuer's")
	}
	if u, err := url.Parse(doc.JWKS); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, 0, errors.New("the discovery document names no key set at an https URL")
	}
	b, header, err := f.get(ctx, doc.JWKS)
	if err != nil {
		return nil, 0, err
	}
	keys, err := Parse(b)
	return keys, lifetime(header), err
}

func (f *Fetcher) get(ctx context.Context, at string) ([]byte, http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "leastkey-local-cloud")
	resp, err := f.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("the issuer answers %d", resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err == nil && len(b) > maxDocument {
		err = errors.New("the issuer answers too much")
	}
	return b, resp.Header, err
}

// lifetime is how long an answer may be kept (RFC 9111, sections 4.2.1 and 5.2.2), within our own bounds.
func lifetime(h http.Header) time.Duration {
	life := usual
	for _, directive := range strings.Split(strings.ToLower(strings.Join(h.Values("Cache-Control"), ",")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return shortest
		case "max-age":
			if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				life = time.Duration(seconds) * time.Second
			}
		}
	}
	if age, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil {
		life -= time.Duration(age) * time.Second
	}
	return min(max(life, shortest), longest)
}

// Parse reads a key set: the RSA keys for signatures, by their ids. Keys of other kinds are left out, as are those without an id and
// those that are too small to trust or too large to check quickly.
func Parse(b []byte) (map[string]*rsa.PublicKey, error) {
	var set struct {
		Keys []struct {
			Type string `json:"kty"`
			Use  string `json:"use"`
			ID   string `json:"kid"`
			N    string `json:"n"`
			E    string `json:"e"`
		} `json:"keys"`
	}
	if json.Unmarshal(b, &set) != nil {
		return nil, errors.New("the key set is not JSON")
	}
	if len(set.Keys) > maxKeys {
		return nil, errors.New("the key set has too many keys")
	}
	keys := map[string]*rsa.PublicKey{}
	for _, k := range set.Keys {
		if k.Type != "RSA" || k.Use != "" && k.Use != "sig" || k.ID == "" || keys[k.ID] != nil {
			continue
		}
		if key := rsaKey(k.N, k.E); key != nil {
			keys[k.ID] = key
		}
	}
	return keys, nil
}

// rsaKey reads modulus and exponent (RFC 7518, section 6.3.1); nil if they make no key of 2048 to 8192 bits.
func rsaKey(n, e string) *rsa.PublicKey {
	modulus, err1 := base64.RawURLEncoding.DecodeString(strings.TrimRight(n, "="))
	exponent, err2 := base64.RawURLEncoding.DecodeString(strings.TrimRight(e, "="))
	if err1 != nil || err2 != nil || len(exponent) > 4 {
		return nil
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(new(big.Int).SetBytes(exponent).Int64())}
	if bits := key.N.BitLen(); bits < 2048 || bits > 8192 || key.N.Bit(0) == 0 || key.E < 3 || key.E&1 == 0 || key.E > 1<<31-1 {
		return nil
	}
	return key
}
