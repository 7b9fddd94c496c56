package preflight

import (
	"context"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// loginKeys are what SDKs and Polyclaw's runtime log in with, beside ids: each makes a copy of a file as good as the identity.
// Sources: Azure Identity, "EnvironmentCredential"; Terraform, "azurerm: authenticating using a service principal with a client certificate",
// which also takes the certificate with its key as text.
func loginKeys() []string {
	return []string{
		agent.LegacyPassword, "AZURE_CLIENT_SECRET", "AZURE_PASSWORD", "AZURE_CLIENT_CERTIFICATE", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_CLIENT_CERTIFICATE_DATA",
		"PROVISIONER_CLIENT_SECRET", "ARM_CLIENT_SECRET", "ARM_CLIENT_CERTIFICATE", "ARM_CLIENT_CERTIFICATE_PASSWORD",
	}
}

// keyFiles name a private key in a file.
func keyFiles() []string {
	return []string{"AZURE_CLIENT_CERTIFICATE_PATH", "ARM_CLIENT_CERTIFICATE_PATH", "ARM_CLIENT_SECRET_FILE_PATH"}
}

// identityCreds is the reverse of the original's: it passed when the client id, the tenant and the password of the identity were all in the
// file. Ids belong there; a password, in clear or by reference, means that one exists, and no identity of ours ever has one.
func identityCreds() Check {
	return Check{
		ID: idCreds, Category: finding.Secrets, Severity: finding.Critical, Required: true,
		Name: "Runtime Identity Credentials in .env", Question: "does the environment file name the identity, and hold nothing to log in with?",
		Remedy: "keep ids in the file, and nothing that logs in",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			v := inEnvironment(func(e agentEnv) Verdict { return credsIn(e, a.Agent.Name) })(ctx, a)
			if a.Agent.Kind == agent.ServicePrincipal {
				v.Name = "SP Credentials in .env"
			}
			return v
		},
	}
}

func credsIn(e agentEnv, name string) Verdict {
	var bad, files []string
	for _, key := range loginKeys() {
		bad = append(bad, e.given(key)...)
	}
	if len(bad) > 0 {
		return fail("%s gives a value to %s: whoever reads the file, or may read the vault, is the identity", e.file.Path, strings.Join(bad, ", ")).
			instead("leastkey migrate " + name + " --prepare gives it a certificate; once nothing logs in with the password: leastkey migrate " + name)
	}
	if v, bad := e.inClear(idCreds); bad { // what a reader does not get, in a comment or given anew later
		return v.instead("take it out of the file, comments too; a secret that has been on a disk is not one any more: leastkey migrate " + name)
	}
	for _, key := range keyFiles() {
		files = append(files, e.given(key)...)
	}
	if len(files) > 0 {
		return fail("%s gives a value to %s: a private key in a file", e.file.Path, strings.Join(files, ", ")).
			instead("keep the key in a keystore and let the agent ask the managed-identity endpoint: leastkey exec " + name)
	}
	if refs := e.refersTo(idCreds); len(refs) > 0 {
		return fail("%s refers to a secret by %s: whoever may read the vault is the identity", e.file.Path, strings.Join(refs, ", "))
	}
	var ids []string
	for _, key := range []string{agent.LegacyAppID, "AZURE_CLIENT_ID", "ACA_MI_CLIENT_ID"} {
		if e.has(key) {
			ids = append(ids, key)
		}
	}
	if len(ids) == 0 {
		return skip("%s names no identity", e.file.Path)
	}
	return pass("only ids: %s", strings.Join(ids, ", "))
}
