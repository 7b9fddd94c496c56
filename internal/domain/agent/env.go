package agent

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
