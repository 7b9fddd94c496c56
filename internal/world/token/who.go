package token

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// largestToken is above what a header could carry.
const largestToken = 64 << 10

// Who reads whose an access token is, and of which tenant. The signature is not verified and need not be: the token came over TLS from
// the login service, and the answer guards against the wrong operator or tenant, not against a forger, whose token the services would
// refuse. A token that cannot be read is fault.Unknown: the caller must not write with it.
func Who(accessToken secret.Value) (caller api.Caller, err error) {
	err = accessToken.Use(func(b []byte) error {
		caller, err = who(b)
		return err
	})
	return caller, err
}

func who(b []byte) (api.Caller, error) {
	unreadable := fault.New(fault.Unknown, "the access token does not say whose it is", "")
	if len(b) > largestToken {
		return api.Caller{}, unreadable
	}
	parts := bytes.Split(b, []byte("."))
	if len(parts) != 3 {
		return api.Caller{}, unreadable
	}
	payload := make([]byte, base64.RawURLEncoding.DecodedLen(len(parts[1])))
	n, err := base64.RawURLEncoding.Strict().Decode(payload, parts[1])
	if err != nil {
		return api.Caller{}, unreadable
	}
	var claims struct {
		OID       string   `json:"oid"`
		TID       string   `json:"tid"`
		UPN       string   `json:"upn"`
		Preferred string   `json:"preferred_username"`
		Unique    string   `json:"unique_name"`
		AppID     string   `json:"appid"` // v1.0
		AZP       string   `json:"azp"`   // v2.0
		Roles     []string `json:"roles"`
		ACR       string   `json:"appidacr"` // v1.0
		AZPACR    string   `json:"azpacr"`   // v2.0
	}
	if json.Unmarshal(payload[:n], &claims) != nil || !agent.IsGUID(claims.TID) || !agent.IsGUID(claims.OID) {
		return api.Caller{}, unreadable
	}
	c := api.Caller{ObjectID: claims.OID, TenantID: claims.TID, AppID: cmp.Or(claims.AppID, claims.AZP), Roles: claims.Roles, AppIDACR: cmp.Or(claims.ACR, claims.AZPACR)}
	// A user's token names the client application too, so the user comes first.
	for _, name := range []string{claims.UPN, claims.Preferred, claims.Unique, claims.AppID, claims.AZP} {
		if c.Name = fault.Sentence(name); c.Name != "" {
			break
		}
	}
	return c, nil
}
