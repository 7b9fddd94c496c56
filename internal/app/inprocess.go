package app

import (
	"context"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/localcloud"
)

// InProcess opens the door on a local cloud of this very process, without a socket: what runs in virtual time. The record lies in dir;
// operator is "local:NAME".
func (a *App) InProcess(ctx context.Context, cloud *localcloud.Cloud, dir string, spec agent.Spec, operator string) (*control.Door, error) {
	ends := cloud.Endpoints()
	s := &site{
		cloud: agent.Local, instance: cloud.Instance(), ends: localEndpoints(ends.Login, ends.Graph, ends.ARM), tenant: cloud.TenantID(), dir: dir,
		operators: func() (map[string]testOperator, error) { return testOperators(cloud.Operators(), nil) }, close: func() {},
	}
	s.settle, s.lifetime = knobTimes(cloud.Knobs())
	s.quiet = s.settle
	a.count(s, cloud.Transport())
	p := newPlace(api.Target{})
	p.site, p.spec, p.base, p.operator = s, spec, dir, operator
	p.resolve(api.Target{})
	return a.door(ctx, p, api.Target{})
}
