package app

import (
	"context"
	"crypto"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/entra"
	"github.com/leastkey/leastkey/internal/world/token"
)

// ownGraph opens Graph as an identity itself: its token comes from its own certificate, and no operator is involved.
func ownGraph(p *place, tokens *token.Client) func(string, crypto.Signer, []byte) provision.Own {
	return func(appID string, key crypto.Signer, der []byte) provision.Own {
		cred := tokens.CertificateCredential(p.tenant, appID, key, der)
		g, err := entra.New(entra.Config{Endpoint: p.ends.Graph, Scope: p.ends.GraphScope, Credential: cred, HTTP: p.transport})
		return own{graph: g, broken: err, scope: p.ends.GraphScope, login: cred}
	}
}

// own implements [provision.Own].
type own struct {
	graph  *entra.Client
	broken error // why there is no client
	scope  string
	login  *token.Credential
}

// ready makes the proof, and has the token in hand: a login service that is away must not make the effect of a request unknown that was
// never sent.
func (o own) ready(ctx context.Context, objectID string, key crypto.Signer, der []byte) (string, error) {
	if o.broken != nil {
		return "", o.broken
	}
	if _, err := o.login.Token(ctx, o.scope); err != nil {
		if fault.Is(err, fault.Unavailable, fault.Unknown) {
			return "", &fault.Error{Code: fault.NotYet, Op: "log in to Microsoft Graph as the identity itself", Err: err, Hint: fault.Hint(err)}
		}
		return "", err
	}
	return token.Proof(key, der, objectID, time.Now())
}

// AddKey implements [provision.Own].
func (o own) AddKey(ctx context.Context, objectID string, proofKey crypto.Signer, proofDER []byte, add agent.Certificate) (string, error) {
	proof, err := o.ready(ctx, objectID, proofKey, proofDER)
	if err != nil {
		return "", err
	}
	return o.graph.AddKey(ctx, objectID, proof, add.DER, add.DisplayName)
}

// RemoveKey implements [provision.Own].
func (o own) RemoveKey(ctx context.Context, objectID, keyID string, proofKey crypto.Signer, proofDER []byte) error {
	proof, err := o.ready(ctx, objectID, proofKey, proofDER)
	if err != nil {
		return err
	}
	return o.graph.RemoveKey(ctx, objectID, keyID, proof)
}
