package preflight

import (
	"context"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// keyClass asks where the private key is, opens it and compares it with the certificate.
func keyClass() Check {
	return Check{
		ID: "identity_key_class", Name: "Key Location", Severity: finding.High, Required: true,
		Question: "is the private key in a keystore that protects it, and is it the certificate's?",
		Remedy:   "leastkey rotate, with --keystore keychain or age:PATH and --age-identity",
		Moot:     withKey,
		Decide: func(ctx context.Context, a *Ask) Verdict {
			if _, err := a.recorded(); err != nil {
				return failed(err)
			}
			g := a.Record.Active()
			if g == nil {
				return fail("no key is recorded").because("the record of "+a.Record.Agent, "no active generation").instead("leastkey apply " + a.Record.Agent)
			}
			k, err := get(a, &a.run.key)
			if err != nil {
				return failed(err)
			}
			return a.judgeKey(k, g).because("keystore entry "+g.Ref.String(), "%s, in %s", k.State, a.class(k))
		},
	}
}

func (a *Ask) judgeKey(k KeyFacts, g *agent.Generation) Verdict {
	switch {
	case k.State == agent.KeyAbsent:
		return fail("%s has no key: nobody can log in with certificate %s", g.Ref, g.SHA256).instead("leastkey apply " + a.Record.Agent + ", which makes a new one")
	case k.State != agent.KeyPresent:
		return fail("the key in %s is not that of certificate %s", g.Ref, g.SHA256).instead("find out who changed the keystore; then: leastkey apply " + a.Record.Agent)
	case k.Backend == "memory":
		return fail("the key is in the memory of a process and ends with it")
	case k.Development && a.Spec.Cloud != agent.Local:
		return warn("the keystore is of development grade: the identity that opens it lies beside it, and whoever reads the folder has the key")
	}
	return pass("in %s", a.class(k))
}

// class says what protects the key.
func (a *Ask) class(k KeyFacts) string {
	switch {
	case k.Backend == "age" && k.Development:
		return "a file that is encrypted to an identity beside it (development grade)"
	case k.Backend == "age":
		return "a file that is encrypted to an identity elsewhere"
	case k.Backend == "keychain":
		return "the keychain of the operating system"
	}
	return k.Backend
}
