package entra

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"net/http"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// AddKey adds a certificate to the application that asks, without any directory permission: the proof shows that it holds a valid key
// already (Microsoft Graph, "application: addKey"). Somebody who may not read the application learns the key id from the answer alone, and
// a lost answer must not be followed by another try: the certificate would be there twice.
func (c *Client) AddKey(ctx context.Context, objectID, proof string, der []byte, displayName string) (keyID string, err error) {
	path, err := object("applications", objectID)
	if err != nil {
		return "", err
	}
	cert, err := x509.ParseCertificate(der) // nothing but a certificate can go out this way
	if err != nil {
		return "", fault.New(fault.Invalid, "add a certificate: what was given is none", "")
	}
	var answer struct {
		KeyID string `json:"keyId"`
	}
	op := "add a certificate to application " + objectID
	_, err = c.do(ctx, call{op: op, need: possession(), method: http.MethodPost, path: path + "/addKey", out: &answer, body: map[string]any{
		"keyCredential": map[string]any{"type": certificateType, "usage": "Verify", "key": base64.StdEncoding.EncodeToString(cert.Raw), "displayName": displayName},
		// Always null: nothing of ours adds a password.
		"passwordCredential": nil,
		"proof":              proof,
	}})
	if err != nil {
		return "", err
	}
	if !agent.IsGUID(answer.KeyID) {
		return "", fault.New(fault.Unavailable, op+": the answer names no key", "")
	}
	return answer.KeyID, nil
}

// RemoveKey removes a certificate from the application that asks (Microsoft Graph, "application: removeKey"). fault.NotFound: it is not
// there, or the replica that was asked does not know it yet.
func (c *Client) RemoveKey(ctx context.Context, objectID, keyID, proof string) error {
	path, err := object("applications", objectID)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, call{op: "remove certificate " + keyID + " from application " + objectID, need: possession(), method: http.MethodPost, path: path + "/removeKey", body: struct {
		KeyID string `json:"keyId"`
		Proof string `json:"proof"`
	}{keyID, proof}})
	return err
}
