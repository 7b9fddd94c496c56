//go:build linux

package faults

import (
	"path/filepath"
	"testing"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/legacy"
)

// inVirtualTime is a world without sockets and processes, for what takes minutes.
func inVirtualTime(t *testing.T, dir string) *world {
	w := &world{T: t, machine: newMachine(dir)}
	cloud, err := localcloud.New(localcloud.Config{SigningKey: signing(), OperatorKey: signing()})
	w.must(err)
	t.Cleanup(func() { w.must(cloud.Close()) })
	w.cloud = cloud
	w.view = w.as("admin")
	w.in, err = legacy.Install(t.Context(), w.view, w.repo)
	w.must(err)
	return w
}

func (w *world) inProcess(a *app.App, r api.ProvisionerRequest) (api.ProvisionerReport, error) {
	d, err := a.InProcess(w.Context(), w.cloud, filepath.Join(w.home, "local"), app.LocalSpec(w.cloud.Domain(), w.cloud.SubscriptionID()), "local:admin")
	w.must(err)
	defer func() { w.must(d.Close()) }()
	return d.Provisioner(w.Context(), r, nil)
}
