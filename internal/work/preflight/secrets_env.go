package preflight

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// envFileMode asks who else can read or exchange the file. The original wrote it 0644, where any account of the machine reads it (seen
// 2026-02 in its volume). A link out of its folder, or a second name, means that somebody who never touches the file itself decides what
// the agent reads; so does a folder in which others may write.
func envFileMode() Check {
	return Check{
		ID: idEnvMode, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "Environment File Is the Agent's Alone", Question: "can nobody but its owner read or exchange the agent's environment file?",
		Remedy: "chmod 600 the file, give it to the account that runs leastkey, and keep it in a folder in which nobody else may write",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			e, err := get(a, &a.run.environment)
			if err != nil {
				return failed(err)
			}
			f := e.file
			switch {
			case !f.Exists:
				return skip("there is no environment file %s", f.Path)
			case f.UID < 0:
				return skip("this system has access lists and no modes; they are not looked at")
			}
			me, err := get(a, &a.run.me)
			if err != nil {
				return failed(err)
			}
			folder, err := a.run.p.Host.Look(ctx, filepath.Dir(f.Path))
			if err != nil {
				return failed(err)
			}
			wrong := envFaults(f, folder, []int{0, me.UID, a.Agent.Runtime.UID})
			v := pass("%s: %s", f.Path, f)
			if len(wrong) > 0 {
				v = fail("%s %s", f.Path, strings.Join(wrong, "; it "))
			}
			v.Evidence = append(v.Evidence, folder.evidence(false))
			return v
		},
	}
}

func envFaults(f, folder File, owners []int) (wrong []string) {
	if f.open() {
		wrong = append(wrong, fmt.Sprintf("has mode %04o, so that others than its owner may use it", f.Mode.Perm()))
	}
	if !slices.Contains(owners, f.UID) {
		wrong = append(wrong, fmt.Sprintf("belongs to uid %d, which is neither yours nor the agent's", f.UID))
	}
	if f.Link != "" && filepath.Dir(f.Link) != filepath.Dir(f.Path) {
		wrong = append(wrong, "is a link out of its folder, to "+f.Link)
	}
	if f.Names > 1 {
		wrong = append(wrong, fmt.Sprintf("has %d names (hard links)", f.Names))
	}
	const sticky = 0o1000
	if folder.UID >= 0 && folder.Mode.Perm()&0o022 != 0 && uint32(folder.Mode)&sticky == 0 {
		wrong = append(wrong, fmt.Sprintf("lies in a folder of mode %04o, in which others may exchange it", folder.Mode.Perm()))
	}
	return wrong
}

// envFileContent tells of every secret in clear that no other check tells of. The file outlives the process, is copied with its volume, and
// was given to sandboxes as it is; a reference to the vault says the same to the agent and nothing to anybody else.
func envFileContent() Check {
	return Check{
		ID: idEnvContent, Category: finding.Secrets, Severity: finding.High, Required: true,
		Name: "No Secret in the Environment File", Question: "is no value of the environment file a secret in clear?",
		Remedy: "put each into the agent's vault and write @kv:NAME in its place; then change the secret, since it has been on a disk",
		Decide: inEnvironment(func(e agentEnv) Verdict {
			if v, bad := e.inClear(idEnvContent); bad {
				return v
			}
			return pass("%d keys, and none of those that no other check looks at is given a secret in clear", len(e.set))
		}),
	}
}

// loginKeys are what SDKs and Polyclaw's runtime log in with, beside ids: each makes a copy of a file as good as the identity.
// AZURE_CLIENT_CERTIFICATE_PATH names a private key in a file (Azure Identity, "EnvironmentCredential").
func loginKeys() []string {
	return []string{agent.LegacyPassword, "AZURE_CLIENT_SECRET", "AZURE_PASSWORD", "AZURE_CLIENT_CERTIFICATE_PASSWORD", "PROVISIONER_CLIENT_SECRET", "ARM_CLIENT_SECRET"}
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
	var bad []string
	for _, key := range loginKeys() {
		if e.has(key) {
			bad = append(bad, key)
		}
	}
	if len(bad) > 0 {
		return fail("%s gives a value to %s: whoever reads the file, or may read the vault, is the identity", e.file.Path, strings.Join(bad, ", ")).
			instead("leastkey migrate " + name + " --prepare gives it a certificate; once nothing logs in with the password: leastkey migrate " + name)
	}
	if e.has("AZURE_CLIENT_CERTIFICATE_PATH") {
		return fail("%s gives a value to AZURE_CLIENT_CERTIFICATE_PATH: a private key in a file", e.file.Path).
			instead("keep the key in a keystore and let the agent ask the managed-identity endpoint: leastkey exec " + name)
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
