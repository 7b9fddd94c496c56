package statefile

import (
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// ReadLegacyRuntime reads what Polyclaw has written into an environment file of a runtime that logs in with a client secret. fault.NotFound
// if there is no file. Keys that are not set are empty; of the other keys of the file nothing is kept.
func ReadLegacyRuntime(path string) (agent.Legacy, secret.Value, error) {
	l := agent.Legacy{File: path}
	at, err := resolve(path)
	if err != nil {
		return l, secret.Value{}, err
	}
	have, err := read(at)
	if err != nil {
		return l, secret.Value{}, err
	}
	if !have.exists() {
		return l, secret.Value{}, fault.New(fault.NotFound, "there is no environment file "+path, "--env-file names another")
	}
	e, err := have.env(at)
	if err != nil {
		return l, secret.Value{}, err
	}
	l.AppID, _ = e.Get(agent.LegacyAppID)
	l.Tenant, _ = e.Get(agent.LegacyTenant)
	v, _ := e.Get(agent.LegacyPassword)
	if v == "" {
		return l, secret.Value{}, nil
	}
	return l, secret.New([]byte(v)), nil
}
