package app

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/world/arm"
	"github.com/leastkey/leastkey/internal/world/token"
)

// ownCredential is the identity's login for one run: its key is opened once, and each of its tokens is got once. What failed is tried anew.
type ownCredential struct {
	mu   sync.Mutex
	kept *token.Credential
}

// credential logs in as the identity, with the key that this machine has.
func (s preflightSelf) credential(ctx context.Context) (*token.Credential, error) {
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	if s.own.kept != nil {
		return s.own.kept, nil
	}
	rec := s.subject.Record
	g := rec.Active()
	if g == nil {
		return nil, fault.New(fault.NotFound, "no certificate of "+rec.Agent+" is recorded", "leastkey apply "+rec.Agent)
	}
	key, err := s.keys.Open(ctx, g.Ref)
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", g.Ref, err)
	}
	tokens, err := token.New(token.Config{Authority: s.p.ends.Login, HTTP: s.p.transport, Local: s.p.cloud == agent.Local})
	if err != nil {
		return nil, err
	}
	s.own.kept = tokens.CertificateCredential(s.p.tenant, rec.AppID, key, g.DER)
	return s.own.kept, nil
}

// manager is Azure Resource Manager as the identity meets it.
func (s preflightSelf) manager(ctx context.Context) (*arm.Client, error) {
	c, err := s.credential(ctx)
	if err != nil {
		return nil, err
	}
	return arm.New(arm.Config{Endpoint: s.p.ends.ARM, Audience: strings.TrimSuffix(s.p.ends.ARMScope, "/.default"), Credential: c, HTTP: s.p.transport})
}

// Permissions implements [preflight.Self].
func (s preflightSelf) Permissions(ctx context.Context, scope string) ([]role.Definition, error) {
	c, err := s.manager(ctx)
	if err != nil {
		return nil, err
	}
	return c.Permissions(ctx, scope)
}

// ProbeDelete implements [preflight.Self].
func (s preflightSelf) ProbeDelete(ctx context.Context, group, kind string) (string, int, error) {
	c, err := s.manager(ctx)
	if err != nil {
		return "", 0, err
	}
	return c.ProbeDelete(ctx, group, kind)
}
