package agent

import (
	"path/filepath"
	"strings"
)

// EnvKeys are the environment keys that an agent's process reads, none of them secret.
func EnvKeys(appID, tenant string) map[string]string {
	return map[string]string{"RUNTIME_SP_APP_ID": appID, "RUNTIME_SP_TENANT": tenant, "AZURE_CLIENT_ID": appID, "AZURE_TENANT_ID": tenant}
}

// EnvOf is EnvKeys of an identity of either kind: a managed identity has a resource id, and its process is told by Azure which tenant it
// is of.
func EnvOf(resourceID, appID, tenant string) map[string]string {
	if resourceID == "" {
		return EnvKeys(appID, tenant)
	}
	return map[string]string{"ACA_MI_CLIENT_ID": appID, "ACA_MI_RESOURCE_ID": resourceID, "AZURE_CLIENT_ID": appID}
}

// EnvNames are the names of all of them.
func EnvNames() []string {
	return []string{"RUNTIME_SP_APP_ID", "RUNTIME_SP_TENANT", "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "ACA_MI_CLIENT_ID", "ACA_MI_RESOURCE_ID"}
}

// EnvOwner is the other recorded agent that an environment file belongs to, "" if there is none: its record names the file, or the file
// names its identity. What is in the file is what counts where two paths lead to it. path and have are as they were read.
func EnvOwner(self, path string, have map[string]string, all []Record) string {
	for _, r := range all {
		if r.Agent == self {
			continue
		}
		if r.EnvFile != "" && filepath.Clean(r.EnvFile) == filepath.Clean(path) {
			return r.Agent
		}
		for _, key := range []string{"AZURE_CLIENT_ID", "RUNTIME_SP_APP_ID", "ACA_MI_CLIENT_ID"} {
			if r.AppID != "" && strings.EqualFold(have[key], r.AppID) {
				return r.Agent
			}
		}
	}
	return ""
}

// writesEnv tells whether the environment file lacks something of the identity.
func (d *differ) writesEnv() bool {
	if !d.rec.Provisioned() || d.movedEnv() {
		return true
	}
	for key, value := range EnvOf(d.rec.ResourceID, d.rec.AppID, d.opt.Tenant) {
		if d.seen.Env[key] != value {
			return true
		}
	}
	return false
}

// movedEnv tells whether the spec names another environment file than the one that we wrote.
func (d *differ) movedEnv() bool {
	return d.rec.EnvFile != "" && d.seen.EnvPath != "" && d.rec.EnvFile != d.seen.EnvPath
}

// envBlocker stops a plan that would make another agent log in as this one.
func (d *differ) envBlocker() {
	if owner := d.seen.EnvOwner; owner != "" && d.writesEnv() {
		d.block("env-file-taken", "is the environment file this agent's own?", "the environment file "+d.seen.EnvPath+" is agent "+owner+"'s: whatever reads it would log in as "+d.agent.Name,
			"give "+d.agent.Name+" a file of its own in leastkey.yaml, such as env_file: "+d.agent.Name+".env")
	}
}
