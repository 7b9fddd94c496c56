package migrate

import (
	"context"
	"fmt"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/work/job"
)

func (m *Migrate) declare() job.Handler {
	return job.Handler{Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		ids := strings.Fields(c.With("roles"))
		err := m.Graph.Declare(ctx, c.With("application"), provisioner.Graph, ids)
		return agent.Result{Detail: fmt.Sprintf("%d permissions", len(ids)), Evidence: evidence("PATCH requiredResourceAccess", fmt.Sprintf("%d of Microsoft Graph", len(ids)))}, job.Spreading(err)
	}}
}

// grant consents to one permission. Refused for want of a right, it has had no effect; the right is named by the refusal.
func (m *Migrate) grant() job.Handler {
	return job.Handler{Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		err := m.Graph.GrantRole(ctx, c.With("principal"), c.With("resource"), c.With("role_id"))
		return agent.Result{Evidence: evidence("POST appRoleAssignments", c.With("role"))}, job.Spreading(err)
	}}
}

func (m *Migrate) pin() job.Handler {
	return job.Handler{
		Do: func(_ context.Context, c *job.Call) (agent.Result, error) {
			return agent.Result{Detail: fmt.Sprintf("%d permissions", len(strings.Fields(c.With("roles"))))}, nil
		},
		Remember: func(c *job.Call, _ agent.Result, rec *agent.Record) {
			rec.Permissions = strings.Fields(c.With("roles"))
		},
	}
}
