package preflight

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

const resourceID = "/subscriptions/" + subscription + "/resourceGroups/polyclaw-rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/bot-mi"

// asManaged makes the identity a managed one, healthy.
func asManaged(f *fake) {
	f.subject.Agent.Kind = agent.ManagedIdentity
	r := &f.subject.Record
	r.Kind, r.ApplicationID, r.UniqueName, r.Generations, r.ResourceID = agent.ManagedIdentity, "", "", nil, resourceID
	f.managed = &agent.UserAssignedIdentity{ID: resourceID, Name: "bot-mi", TenantID: tenantID, ClientID: appID, PrincipalID: principalID}
	f.env = agent.EnvOf(resourceID, appID, tenantID)
	f.app = nil
}

// asFederated makes it an application that nobody has a key of, healthy.
func asFederated(f *fake) {
	f.subject.Agent.Federated = []agent.Federated{{Issuer: "https://token.example", Subject: "repo:a/b", Audience: agent.TokenExchange}}
	f.federated = []agent.FederatedCredential{f.subject.Agent.Federated[0].Credential()}
	f.subject.Record.Generations, f.app.Certificates = nil, nil
}

// nobody has provisioned anything.
func nobody(f *fake) { f.subject.Record = agent.Record{Agent: "bot"} }

// signedOut is az without a session.
func signedOut(f *fake) {
	err := fault.New(fault.Unauthenticated, "az is not logged in", "az login")
	for _, method := range []string{"Operator", "Application", "Principal", "Federated", "Owners", "PrincipalOwners", "Namesakes", "Memberships", "ScopedRoles", "AppRolesOf", "Consents", "RolesOver", "AssignmentsAt", "AttachedTo", "AssignedAnywhere", "Visible", "CredentialPolicy", "Identity", "IdentityFederated"} {
		f.fails[method] = err
	}
}

// registers puts a certificate on the application.
func registers(der []byte, keyID string) func(*fake) {
	return func(f *fake) {
		f.app.Certificates = append(f.app.Certificates, registered(generation(der, keyID, false)))
	}
}

// renewed replaces the active certificate.
func renewed(g agent.Generation) func(*fake) {
	return func(f *fake) {
		f.subject.Record.Generations = []agent.Generation{g}
		f.app.Certificates = []agent.Certificate{registered(g)}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func must2[A, B any](v A, _ B, err error) A { return must(v, err) }

var weakKey = sync.OnceValue(func() *rsa.PrivateKey {
	// crypto/rsa makes no key of 1024 bits any more (Go 1.24), so that this one is put together.
	for {
		p, q := must(rand.Prime(rand.Reader, 512)), must(rand.Prime(rand.Reader, 512))
		n, phi := new(big.Int).Mul(p, q), new(big.Int).Mul(new(big.Int).Sub(p, big.NewInt(1)), new(big.Int).Sub(q, big.NewInt(1)))
		if d := new(big.Int).ModInverse(big.NewInt(65537), phi); d != nil && n.BitLen() == 1024 {
			return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: 65537}, D: d, Primes: []*big.Int{p, q}}
		}
	}
})

// issued is a certificate for any public key, signed by the tests' own.
func issued(public crypto.PublicKey, from time.Time, days int) []byte {
	ca := must(keyPair())
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: from, NotAfter: from.AddDate(0, 0, days)}
	return must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, public, ca))
}

func years(n int) []byte { return issued(&must(keyPair()).PublicKey, today().AddDate(0, -1, 0), n*365) }

// lasting is an active generation that ends in so many days.
func ending(days int) agent.Generation {
	return generation(issued(&must(keyPair()).PublicKey, today().AddDate(0, 0, days-365).Add(time.Hour), 365), "key-1", true)
}

func identityWorlds() []world {
	person := agent.Owner{ID: strangerID, DisplayName: "Somebody", Type: "user"}
	creator := agent.Owner{ID: operatorID, DisplayName: "Op", Type: "user"}
	refused := &fault.Error{Code: fault.Unauthenticated, Service: "AADSTS700027", Status: 401, Hint: "register the certificate"}
	gone := &fault.Error{Code: fault.Unavailable, Op: "ask", Status: 503}
	const (
		fail, warn, pass, skip, unknown = finding.Fail, finding.Warn, finding.Pass, finding.Skip, finding.Unknown
		none                            = "identity_configured"
		out                             = "azure_logged_in"
		valid                           = "identity_valid"
	)
	var all []world
	of := func(check string, rows ...world) {
		for _, r := range rows {
			r.check = check
			all = append(all, r)
		}
	}
	row := func(name string, o finding.Outcome, mutate func(*fake), cause, detail string) world {
		return world{name: name, outcome: o, mutate: mutate, cause: cause, detail: detail}
	}
	// offline are the rows of every check that reads as the operator.
	offline := func(check, method string) {
		cause := ""
		o := unknown
		if check != ownerOf(method) {
			cause, o = ownerOf(method), skip
		}
		of(check,
			row("it cannot be read", o, without(method), cause, "403"),
			row("the service is away", o, failing(method, gone), cause, "503"),
			row("the operator is signed out", skip, signedOut, out, "az is not logged in"),
			row("the operator cannot be identified", skip, without("Operator"), out, ""),
			row("nothing is recorded", skip, nobody, none, ""),
		)
	}

	of(out,
		row("signed in", pass, nil, "", tenantID),
		row("signed out", fail, signedOut, "", "not logged in"),
		row("another tenant", fail, failing("Operator", fault.New(fault.Refused, "signed in to another tenant", "sign in there")), "", "another tenant"),
		row("the login service is away", unknown, failing("Operator", gone), "", ""),
		row("nobody could tell", unknown, failing("Operator", errors.New("garbled")), "", "garbled"),
	)
	of(none,
		row("recorded, and the file agrees", pass, nil, "", appID),
		row("a managed identity", pass, asManaged, "", "managed-identity"),
		row("nothing is recorded", fail, nobody, "", "no identity"),
		row("the file names another identity", fail, func(f *fake) { f.env["AZURE_CLIENT_ID"] = strangerID }, "", "AZURE_CLIENT_ID"),
		row("the file names both kinds", fail, func(f *fake) { f.env["ACA_MI_CLIENT_ID"] = strangerID }, "", "ACA_MI_CLIENT_ID"),
		row("a managed identity, and the file still has a service principal", fail, both(asManaged, func(f *fake) { f.env["RUNTIME_SP_APP_ID"] = appID }), "", "RUNTIME_SP_APP_ID"),
		row("upper case is no other id", pass, func(f *fake) { f.env["AZURE_CLIENT_ID"] = strings.ToUpper(appID) }, "", ""),
		row("recorded as an application, and the spec says managed identity", fail, func(f *fake) { f.subject.Agent.Kind = agent.ManagedIdentity }, "", "the spec says managed-identity"),
		row("recorded as a managed identity, and the spec says application", fail, both(asManaged, func(f *fake) { f.subject.Agent.Kind = agent.ServicePrincipal }), "", "the spec says service-principal"),
		row("no file", warn, func(f *fake) { f.env = nil }, "", "does not have"),
		row("the file cannot be read", unknown, without("Env"), "", ""),
	)

	of("identity_open_run",
		row("nothing is open", pass, nil, "", "no run"),
		row("a rotation stopped midway", warn, opened(agent.Rotate), "", "a rotate that began at 2026-08-01T11:00:00Z"),
		row("an apply stopped midway, before anything was recorded", warn, both(nobody, opened(agent.Apply)), "", "an apply"),
		row("the journal cannot be read", unknown, without("Open"), "", "read the journal"),
	)
	of(valid,
		row("there and enabled", pass, nil, "", "enabled"),
		row("a managed identity", pass, asManaged, "", "bot-mi"),
		row("the application is gone", fail, func(f *fake) { f.app = nil }, "", "application"),
		row("the service principal is gone", fail, func(f *fake) { f.sp = nil }, "", "service principal"),
		row("half made", fail, func(f *fake) { f.subject.Record.PrincipalID = "" }, "", "no service principal is recorded"),
		row("disabled", fail, func(f *fake) { f.sp.Enabled = false }, "", "disabled"),
		row("the application has another client id", fail, func(f *fake) { f.app.AppID = strangerID }, "", strangerID),
		row("the service principal has another client id", fail, func(f *fake) { f.sp.AppID = strangerID }, "", strangerID),
		row("the managed identity is gone", fail, both(asManaged, func(f *fake) { f.managed = nil }), "", "not there"),
		row("a new managed identity of the same name", fail, both(asManaged, func(f *fake) { f.managed.PrincipalID = strangerID }), "", strangerID),
		row("the managed identity has another client id", fail, both(asManaged, func(f *fake) { f.managed.ClientID = strangerID }), "", strangerID),
		row("the managed identity is of another tenant", fail, both(asManaged, func(f *fake) { f.managed.TenantID = strangerID }), "", strangerID),
		row("the managed identity's principal is gone", fail, both(asManaged, func(f *fake) { f.sp = nil }), "", ""),
		row("the managed identity cannot be read", unknown, both(asManaged, without("Identity")), "", ""),
		row("the service principal cannot be read", unknown, without("Principal"), "", ""),
	)
	offline(valid, "Application")

	of("identity_credential_expiry",
		row("eleven months left", pass, nil, "", "until 2027-"),
		row("29 days left", warn, func(f *fake) { renewed(ending(29))(f) }, "", "warns 30.0 days before"),
		row("20 of 45 days left", pass, func(f *fake) {
			renewed(generation(issued(&must(keyPair()).PublicKey, today().AddDate(0, 0, -25), 45), "key-1", true))(f)
		}, "", "warns 15.0 days before"),
		row("5 days left", fail, func(f *fake) { renewed(ending(5))(f) }, "", "5 days"),
		row("it has ended", fail, func(f *fake) { renewed(ending(-1))(f) }, "", "ended"),
		row("Entra has an earlier end", fail, func(f *fake) { f.app.Certificates[0].End = today().AddDate(0, 0, 1) }, "", ""),
		row("another certificate lives longer, and does not count", fail, func(f *fake) { renewed(ending(5))(f); registers(years(3), "other")(f) }, "", "5 days"),
		row("ours is not registered", fail, func(f *fake) { f.app.Certificates = nil }, "", "not registered"),
		row("no certificate is recorded", fail, func(f *fake) { f.subject.Record.Generations = nil }, "", "no certificate"),
		row("a managed identity has none", pass, asManaged, "", "no credential"),
		row("a federated identity has none", pass, asFederated, "", "no credential"),
		row("the application is gone", skip, func(f *fake) { f.app = nil }, valid, ""),
	)
	offline("identity_credential_expiry", "Application")

	of("identity_login",
		row("a token by certificate", pass, nil, "", appID),
		row("refused", fail, failing("Login", refused), "", "AADSTS700027"),
		row("refused for as long as anybody waits", fail, failing("Login", &fault.Error{Code: fault.NotYet, Service: "AADSTS700027", Status: 401}), "", "refuses"),
		row("another application's token", fail, func(f *fake) { f.self.AppID = strangerID }, "", strangerID),
		row("another object's token", fail, func(f *fake) { f.self.ObjectID = strangerID }, "", strangerID),
		row("another tenant's token", fail, func(f *fake) { f.self.TenantID = strangerID }, "", strangerID),
		row("a token by password", fail, func(f *fake) { f.self.AppIDACR = "1" }, "", "appidacr"),
		row("a token that does not say", fail, func(f *fake) { f.self.AppIDACR = "" }, "", "appidacr"),
		row("the login service is away", unknown, failing("Login", gone), "", "503"),
		row("the login service has had enough", unknown, failing("Login", &fault.Error{Code: fault.Throttled, Service: "AADSTS50196", Status: 429}), "", ""),
		row("no answer", unknown, failing("Login", errors.New("no route to host")), "", "no route"),
		row("the keystore is locked", skip, without("Key"), "identity_key_class", ""),
		row("there is no key", skip, func(f *fake) { f.key.State = agent.KeyAbsent }, "identity_key_class", "absent"),
		row("another's key", skip, func(f *fake) { f.key.State = agent.KeyMismatched }, "identity_key_class", ""),
		row("no certificate is recorded", fail, func(f *fake) { f.subject.Record.Generations = nil }, "", ""),
		row("a managed identity", skip, asManaged, "", "Azure resource"),
		row("a federated identity", skip, asFederated, "", "repo:a/b"),
		row("nothing is recorded", skip, nobody, none, ""),
	)
	of("identity_key_class",
		row("the keychain", pass, nil, "", "keychain"),
		row("a file that is encrypted to an identity elsewhere", pass, func(f *fake) { f.key.Backend = "age" }, "", "elsewhere"),
		row("development grade on a real cloud", warn, func(f *fake) { f.key = KeyFacts{agent.KeyPresent, "age", true} }, "", "development"),
		row("development grade on the local cloud", pass, func(f *fake) { f.subject.Spec.Cloud, f.key = agent.Local, KeyFacts{agent.KeyPresent, "age", true} }, "", "development"),
		row("memory", fail, func(f *fake) { f.key.Backend = "memory" }, "", "memory"),
		row("no key", fail, func(f *fake) { f.key.State = agent.KeyAbsent }, "", "no key"),
		row("another certificate's key", fail, func(f *fake) { f.key.State = agent.KeyMismatched }, "", "not that of"),
		row("no generation", fail, func(f *fake) { f.subject.Record.Generations = nil }, "", "no key"),
		row("the keystore is locked", unknown, without("Key"), "", ""),
		row("a managed identity", skip, asManaged, "", ""),
		row("nothing is recorded", skip, nobody, none, ""),
	)

	of("identity_no_password",
		row("none", pass, nil, "", "none"),
		row("one on the application", fail, func(f *fake) { f.app.Passwords = []agent.Password{{KeyID: "p1"}} }, "", "p1"),
		row("one on the service principal", fail, func(f *fake) { f.sp.Passwords = []agent.Password{{KeyID: "p2"}} }, "", "p2"),
		row("the service principal cannot be read", skip, without("Principal"), valid, ""),
		row("a managed identity", skip, asManaged, "", ""),
	)
	offline("identity_no_password", "Application")

	of("identity_certificates_known",
		row("ours alone", pass, nil, "", "1 current"),
		row("a foreign one on the application", fail, registers(years(1), "foreign"), "", "whoever"),
		row("a foreign one on the service principal", fail, func(f *fake) {
			f.sp.Certificates = []agent.Certificate{registered(generation(years(1), "foreign", false))}
		}, "", ""),
		row("a foreign one whose bytes Graph does not show", fail, func(f *fake) {
			f.app.Certificates = append(f.app.Certificates, agent.Certificate{KeyID: "blind", DisplayName: "bot"})
		}, "", "blind"),
		row("a foreign one that is named like ours", fail, func(f *fake) {
			c := registered(generation(years(1), "key-1", false))
			c.DisplayName = "bot"
			f.app.Certificates = append(f.app.Certificates, c)
		}, "", ""),
		row("one that the spec lists", pass, func(f *fake) {
			der := years(1)
			registers(der, "mine")(f)
			f.subject.Agent.Certificates = []string{strings.ToUpper(digest(der))}
		}, "", "1 listed"),
		row("the spec is federated, and a key of ours still opens it", warn, func(f *fake) { f.subject.Agent.Federated = []agent.Federated{{Issuer: "https://i", Subject: "s"}} }, "", "still do"),
		row("the spec is federated, and a key of ours from before still opens it", warn, func(f *fake) {
			older(f, today().AddDate(0, 0, 1))
			f.subject.Agent.Federated, f.app.Certificates = []agent.Federated{{Issuer: "https://i", Subject: "s"}}, f.app.Certificates[1:]
		}, "", "still do"),
		row("federated, and no certificate is left", pass, asFederated, "", "0 current"),
		row("one of ours from before", pass, func(f *fake) { older(f, today().AddDate(0, 0, 1)) }, "", "1 of ours"),
		row("a successor that a rotation has registered and not proved", pass, both(opened(agent.Rotate), successor), "", "1 current, 1 being brought in, 0 of ours from before"),
		row("the first one, registered and not proved", pass, func(f *fake) { f.subject.Record.Generations[0].Active = false }, "", "0 current, 1 being brought in"),
		row("one of ours that should be gone", warn, func(f *fake) { older(f, today().AddDate(0, 0, -1)) }, "", "after its time"),
		row("a managed identity", skip, asManaged, "", ""),
	)
	offline("identity_certificates_known", "Application")

	of("identity_certificate_strength",
		row("RSA 2048 for a year", pass, nil, "", "1 of 1"),
		row("P-256", pass, func(f *fake) {
			registers(issued(&must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).PublicKey, today(), 365), "ec")(f)
		}, "", "2 of 2"),
		row("RSA 1024", fail, registers(issued(&weakKey().PublicKey, today(), 365), "weak"), "", "RSA 1024"),
		row("P-224", fail, registers(issued(&must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)).PublicKey, today(), 365), "weak"), "", "P-224"),
		row("Ed25519, which Entra does not take", fail, registers(issued(must2(ed25519.GenerateKey(rand.Reader)), today(), 365), "weak"), "", "unknown kind"),
		row("ten years", fail, registers(years(10), "old"), "", "3650 days"),
		row("two years", pass, registers(years(2), "two"), "", ""),
		row("on the service principal", fail, func(f *fake) { f.sp.Certificates = []agent.Certificate{registered(generation(years(10), "sp", false))} }, "", "3650 days"),
		row("one that Graph does not show", unknown, func(f *fake) { f.app.Certificates = append(f.app.Certificates, agent.Certificate{KeyID: "blind"}) }, "", "blind"),
		row("ours, which Graph does not show", pass, func(f *fake) { f.app.Certificates[0].DER, f.app.Certificates[0].SHA256 = nil, "" }, "", ""),
		row("none", fail, func(f *fake) { f.app.Certificates = nil }, "", "no certificate"),
		row("none, and none is meant to be", pass, asFederated, "", "none"),
		row("a managed identity", skip, asManaged, "", ""),
	)
	offline("identity_certificate_strength", "Application")

	strange := agent.FederatedCredential{ID: "f1", Name: "evil", Issuer: "https://i", Subject: "s", Audiences: []string{agent.TokenExchange}}
	of("identity_federated",
		row("none, and none is meant to be", pass, nil, "", "0,"),
		row("as the spec has them", pass, asFederated, "", "1,"),
		row("one that nobody asked for", fail, func(f *fake) { f.federated = []agent.FederatedCredential{strange} }, "", "evil"),
		row("another beside the spec's", fail, both(asFederated, func(f *fake) { f.federated = append(f.federated, strange) }), "", "evil"),
		row("the spec's is missing", fail, both(asFederated, func(f *fake) { f.federated = nil }), "", "repo:a/b"),
		row("the spec's with another audience", fail, both(asFederated, func(f *fake) { f.federated[0].Audiences = []string{"other"} }), "", "nobody asked"),
		row("ours, whose audience the spec has changed", fail, both(asFederated, wroteFederated, func(f *fake) { f.federated[0].Audiences = []string{"other"} }), "", "written by leastkey"),
		row("ours, which the spec has dropped", fail, both(asFederated, wroteFederated, func(f *fake) { f.subject.Agent.Federated = nil }), "", "written by leastkey"),
		row("ours beside a stranger's", fail, both(asFederated, wroteFederated, func(f *fake) {
			f.subject.Agent.Federated, f.federated = nil, append(f.federated, strange)
		}), "", "moreover"),
		row("a managed identity with a stranger's", fail, both(asManaged, func(f *fake) { f.federated = []agent.FederatedCredential{strange} }), "", "evil"),
		row("a managed identity that cannot be read", unknown, both(asManaged, without("IdentityFederated")), "", ""),
		row("a managed identity without any", pass, asManaged, "", ""),
		row("the application is gone meanwhile", skip, failing("Federated", fault.Newf(fault.NotFound, "404")), valid, "404"),
	)
	offline("identity_federated", "Federated")

	of("identity_owners",
		row("nobody", pass, nil, "", "0,"),
		row("one whom the spec lists", pass, func(f *fake) {
			f.owners.application, f.subject.Agent.Owners = []agent.Owner{person}, []string{strings.ToUpper(strangerID)}
		}, "", "1,"),
		row("a stranger with a directory role for the application", fail, func(f *fake) { f.over = []agent.RoleHolder{{ID: strangerID, Template: "t9"}} }, "", "t9"),
		row("one whom the spec lists, with such a role", pass, func(f *fake) {
			f.over, f.subject.Agent.Owners = []agent.RoleHolder{{ID: strangerID, Template: "t9"}}, []string{strangerID}
		}, "", "looked at as well"),
		row("such roles may not be read", pass, without("RolesOver"), "", "could not be read"),
		row("who created it", warn, func(f *fake) { f.owners.application = []agent.Owner{creator} }, "", "created"),
		row("who created it, on the service principal", warn, func(f *fake) { f.owners.principal = []agent.Owner{creator} }, "", "service principal"),
		row("a stranger", fail, func(f *fake) { f.owners.application = []agent.Owner{creator, person} }, "", strangerID),
		row("a stranger on the service principal", fail, func(f *fake) { f.owners.principal = []agent.Owner{person} }, "", "service principal"),
		row("an owner whose id nobody shows is no creator", fail, func(f *fake) {
			f.owners.application, f.subject.Record.CreatedBy = []agent.Owner{{DisplayName: "x"}}, ""
		}, "", ""),
		row("those of the service principal cannot be read", unknown, without("PrincipalOwners"), "", ""),
		row("half made", skip, func(f *fake) { f.subject.Record.PrincipalID = "" }, valid, ""),
		row("a managed identity", skip, asManaged, "", ""),
	)
	offline("identity_owners", "Owners")

	of("identity_single_tenant",
		row("its own tenant", pass, nil, "", ""),
		row("any tenant", fail, func(f *fake) { f.app.SignInAudience = "AzureADMultipleOrgs" }, "", "AzureADMultipleOrgs"),
		row("an audience that is not told", fail, func(f *fake) { f.app.SignInAudience = "" }, "", "audience"),
		row("a redirect address", fail, func(f *fake) { f.app.RedirectURIs = []string{"https://evil.example"} }, "", "evil.example"),
		row("a public client", fail, func(f *fake) { f.app.Public = true }, "", "public client"),
		row("the implicit grant", fail, func(f *fake) { f.app.Implicit = true }, "", "implicit"),
		row("a managed identity", skip, asManaged, "", ""),
	)
	offline("identity_single_tenant", "Application")

	of("identity_namesakes",
		row("nobody else", pass, nil, "", ""),
		row("another of the name", warn, func(f *fake) { f.namesakes = []agent.Namesake{{Application: agent.Application{ID: strangerID}}} }, "", strangerID),
		row("the unique name was changed", warn, func(f *fake) { f.app.UniqueName = "" }, "", "unique name"),
		row("an adopted application has none of ours", pass, func(f *fake) { f.app.UniqueName, f.subject.Record.UniqueName = "", "" }, "", ""),
		row("a managed identity", skip, asManaged, "", ""),
	)
	offline("identity_namesakes", "Namesakes")

	of("identity_app_management_policy",
		row("passwords forbidden, life capped", pass, nil, "", "730 days"),
		row("passwords may be added", warn, func(f *fake) { f.policy.NoPasswords = false }, "", "passwords"),
		row("no cap", warn, func(f *fake) { f.policy.LongestLife = 0 }, "", "for ever"),
		row("a cap of three years", warn, func(f *fake) { f.policy.LongestLife = 3 * 365 * 24 * time.Hour }, "", "1095 days"),
		row("no policy", warn, func(f *fake) { f.policy = agent.CredentialPolicy{} }, "", "passwords"),
		row("a managed identity", skip, asManaged, "", ""),
	)
	offline("identity_app_management_policy", "CredentialPolicy")

	of("identity_directory_roles",
		row("none", pass, nil, "", "none"),
		row("a group without a role", pass, func(f *fake) { f.memberships.Groups = []agent.Group{{ID: "g", Name: "bots"}} }, "", "bots"),
		row("a role", fail, func(f *fake) { f.memberships.Roles = []agent.DirectoryRole{{Name: "Global Administrator"}} }, "", "Global Administrator"),
		row("a role of which nothing may be read", fail, func(f *fake) { f.memberships.Roles = []agent.DirectoryRole{{}} }, "", "role"),
		row("a managed identity with a role", fail, both(asManaged, func(f *fake) { f.memberships.Roles = []agent.DirectoryRole{{Name: "Global Reader"}} }), "", "Global Reader"),
		row("half made", skip, func(f *fake) { f.subject.Record.PrincipalID = "" }, valid, ""),
	)
	offline("identity_directory_roles", "Memberships")

	of("identity_scoped_directory_roles",
		row("none", pass, nil, "", "none"),
		row("the service principal is gone", skip, func(f *fake) { f.sp = nil }, valid, ""),
		row("half made", skip, func(f *fake) { f.subject.Record.PrincipalID = "" }, valid, ""),
		row("a role for one application", fail, func(f *fake) { f.scoped = []agent.DirectoryRole{{Template: "t1", Scope: "/" + applicationID}} }, "", "t1"),
	)
	offline("identity_scoped_directory_roles", "ScopedRoles")

	of("identity_graph_permissions",
		row("none", pass, nil, "", "none"),
		row("one of Graph", fail, func(f *fake) {
			f.appRoles = []agent.AppRole{{ID: "1", RoleID: "r", Resource: "Microsoft Graph", Value: "Mail.Read"}}
		}, "", "Mail.Read of Microsoft Graph"),
		row("one of which nobody told the name", fail, func(f *fake) { f.appRoles = []agent.AppRole{{ID: "1", RoleID: "r"}} }, "", "role r"),
	)
	offline("identity_graph_permissions", "AppRolesOf")

	consent := func(who string, scopes ...string) func(*fake) {
		return func(f *fake) { f.consents = []agent.Consent{{ID: "c1", Principal: who, Resource: "r", Scopes: scopes}} }
	}
	of("identity_delegated_permissions",
		row("none", pass, nil, "", "none"),
		row("one person lets it read mail", warn, consent(strangerID, "Mail.Read"), "", "Mail.Read of r in the name of person "+strangerID),
		row("everybody does", fail, consent("", "User.Read"), "", "everybody"),
		row("one person lets it write the directory", fail, consent(strangerID, "openid", "Directory.AccessAsUser.All"), "", "Directory"),
		row("one person lets it assign roles", fail, consent(strangerID, "RoleManagement.ReadWrite.Directory"), "", ""),
		row("a managed identity with one", warn, both(asManaged, consent(strangerID, "Mail.Read")), "", ""),
		row("half made", skip, func(f *fake) { f.subject.Record.PrincipalID = "" }, valid, ""),
	)
	offline("identity_delegated_permissions", "Consents")

	taken := func(id, scope, who string) func(*fake) {
		return both(asManaged, func(f *fake) { f.takers = append(f.takers, assigned(grantOf(id, scope), who)) })
	}
	of("identity_takeover",
		row("nobody", pass, asManaged, "", "nobody"),
		row("an Owner of the subscription", warn, both(taken(ownerID, wholeSub, strangerID), taken(ownerID, wholeSub, principalID[:35]+"9")), "", "2 as Owner on subscription"),
		row("a Reader of the identity", pass, taken(readerID, resourceID, strangerID), "", ""),
		row("who is listed under owners", pass, both(taken(ownerID, resourceID, strangerID), func(f *fake) { f.subject.Agent.Owners = []string{strings.ToUpper(strangerID)} }), "", "owners"),
		row("who may assign roles in the group", warn, taken("f58310d9-a9f6-439a-9e8d-f62e7b41a168", botGroup, strangerID), "", "which can give the right"),
		row("who created it", pass, taken(ownerID, resourceID, operatorID), "", ""),
		row("the identity itself is rbac_no_elevated's", pass, taken(ownerID, wholeSub, principalID), "", ""),
		row("a stranger may attach it", fail, taken("f1a07417-d97a-45cb-824c-7a7467783830", resourceID, strangerID), "", strangerID+" holds Managed Identity Operator"),
		row("a stranger may write its group", fail, both(taken(contributorID, botGroup, strangerID), taken(ownerID, platform, operatorID[:35]+"9")), "", "moreover by what"),
		row("a stranger's custom role", fail, both(taken(customRole, resourceID, strangerID), func(f *fake) {
			f.custom[customRole] = role.Definition{Name: "Mine", Actions: []string{"Microsoft.ManagedIdentity/*"}}
		}), "", "Mine"),
		row("a custom role that cannot be read", unknown, taken(customRole, resourceID, strangerID), "", customRole),
		row("it cannot be read", unknown, both(asManaged, without("AssignmentsAt")), "", "403"),
		row("nobody is signed in", skip, both(asManaged, signedOut), out, ""),
		row("an application", skip, nil, "", "application"),
	)
	of("identity_attached",
		row("nowhere", pass, asManaged, "", "nowhere"),
		row("to what the spec names", pass, both(asManaged, func(f *fake) { f.attached = []string{botGroup + "/providers/Microsoft.App/sessionPools/pool"} }), "", "sessionPools pool"),
		row("to somebody's machine", warn, both(asManaged, func(f *fake) { f.attached = []string{otherGroup + "/providers/Microsoft.Compute/virtualMachines/vm"} }), "", "virtualMachines vm"),
		row("it cannot be read", unknown, both(asManaged, without("AttachedTo")), "", "403"),
		row("nobody is signed in", skip, both(asManaged, signedOut), out, ""),
		row("an application", skip, nil, "", "application"),
	)

	of("clock",
		row("right", pass, nil, "", "login service"),
		row("four minutes behind", pass, skewed(4*time.Minute), "", "4m0s"),
		row("six minutes behind", fail, skewed(6*time.Minute), "", "6m0s ahead"),
		row("six minutes ahead", fail, skewed(-6*time.Minute), "", "6m0s behind"),
		row("one service is right", fail, func(f *fake) { f.clocks[1].Theirs = today().Add(time.Hour) }, "", "Azure Resource Manager"),
		row("nobody tells", unknown, without("Clocks"), "", ""),
	)
	return all
}

// wroteFederated records the credentials that are there as ours.
func wroteFederated(f *fake) {
	for _, c := range f.federated {
		f.subject.Record.Federated = append(f.subject.Record.Federated, c.Name)
	}
}

func skewed(by time.Duration) func(*fake) {
	return func(f *fake) {
		for i := range f.clocks {
			f.clocks[i].Theirs = f.clocks[i].Theirs.Add(by)
		}
	}
}

// older adds a generation that was rotated out.
func older(f *fake, until time.Time) {
	g := generation(issued(&must(keyPair()).PublicKey, today().AddDate(0, -2, 0), 365), "key-0", false)
	g.RetireAt = until
	f.subject.Record.Generations = append([]agent.Generation{g}, f.subject.Record.Generations...)
	f.app.Certificates = append(f.app.Certificates, registered(g))
}

// successor registers a newer certificate that nothing has logged in with yet.
func successor(f *fake) {
	g := generation(years(1), "key-2", false)
	f.subject.Record.Generations = append(f.subject.Record.Generations, g)
	f.app.Certificates = append(f.app.Certificates, registered(g))
}

// opened leaves a run of the verb that has not ended.
func opened(v agent.Verb) func(*fake) {
	return func(f *fake) {
		f.open = &agent.Run{ID: "run", Agent: "bot", Verb: v, Digest: "0123456789abcdef", Actor: "op", Started: today().Add(-time.Hour), Status: agent.RunOpen}
	}
}

// ownerOf is the check that tells whether a method of the fake could be read.
func ownerOf(method string) string {
	return map[string]string{
		"Application": "identity_valid", "Federated": "identity_federated", "Owners": "identity_owners", "Namesakes": "identity_namesakes",
		"CredentialPolicy": "identity_app_management_policy", "Memberships": "identity_directory_roles", "ScopedRoles": "identity_scoped_directory_roles",
		"AppRolesOf": "identity_graph_permissions", "Consents": "identity_delegated_permissions",
	}[method]
}

// A signature with SHA-1 can be forged, and no library makes one for a test any more.
func TestSHA1IsWeak(t *testing.T) {
	c := must(x509.ParseCertificate(years(1)))
	if _, weak := strength(c); len(weak) > 0 {
		t.Error(weak)
	}
	c.SignatureAlgorithm = x509.SHA1WithRSA
	if _, weak := strength(c); len(weak) != 1 || !strings.Contains(weak[0], "SHA1") {
		t.Error(weak)
	}
}

// The directory of another tenant says of everything that it is not there: nothing that it says is believed.
func TestAnotherTenantsDirectoryIsNotBelieved(t *testing.T) {
	f := healthy(t)
	f.app, f.sp = nil, nil
	f.fails["Operator"] = fault.New(fault.Refused, "signed in to another tenant", "")
	if got := f.check(t, "identity_valid"); got.Outcome != finding.Skip || got.Cause != "azure_logged_in" {
		t.Errorf("%s because of %q: %s", got.Outcome, got.Cause, got.Detail)
	}
}

// Green is for what was seen, never for what was not.
func TestWhatIsUnknownAndRequiredIsNotGreen(t *testing.T) {
	for _, row := range []struct {
		name   string
		mutate func(*fake)
		green  bool
	}{
		{"all is well", nil, true},
		{"the policy may not be read", without("CredentialPolicy"), true},
		{"roles at smaller scopes may not be read", without("ScopedRoles"), true},
		{"the owners may not be read", without("Owners"), false},
		{"nobody is signed in", signedOut, false},
		{"the keystore is locked", without("Key"), false},
		{"nothing is recorded", nobody, false},
	} {
		f := healthy(t)
		if row.mutate != nil {
			row.mutate(f)
		}
		var all []finding.Finding
		synctest.Test(t, func(t *testing.T) { all = f.preflight().run(t.Context(), f.subject, identityChecks(), nil) })
		if got := finding.Green(all); got != row.green {
			t.Errorf("%s: green is %v", row.name, got)
		}
	}
}

func TestNamesFollowTheKind(t *testing.T) {
	for _, row := range []struct {
		id, name string
		mutate   func(*fake)
	}{
		{"identity_valid", "Service Principal Exists in Azure AD", func(*fake) {}},
		{"identity_valid", "Managed Identity Exists in Azure AD", asManaged},
		{"identity_valid", "Service Principal Exists in Azure AD", signedOut},
		{"azure_logged_in", "Azure CLI Authenticated", func(*fake) {}},
		{"azure_logged_in", "Operator Authenticated", func(f *fake) { f.subject.Where.Operator = "device-code" }},
	} {
		f := healthy(t)
		row.mutate(f)
		if got := f.check(t, row.id); got.Name != row.name {
			t.Errorf("%s is named %q, want %q", row.id, got.Name, row.name)
		}
	}
}

// A service that comes back is heard; a run that is given up ends.
func TestALookupIsPatient(t *testing.T) {
	f := healthy(t)
	tries := 0
	p := f.preflight()
	p.Operator = func(ctx context.Context) (api.Caller, error) {
		if tries++; tries < 3 {
			return api.Caller{}, &fault.Error{Code: fault.Throttled, Status: 429, RetryAfter: 2 * time.Second}
		}
		return f.caller, nil
	}
	synctest.Test(t, func(t *testing.T) {
		got := p.run(t.Context(), f.subject, []Check{azureLoggedIn()}, nil)[0]
		if got.Outcome != finding.Pass || tries != 3 {
			t.Errorf("%s after %d tries", got.Outcome, tries)
		}
	})
	f = healthy(t)
	f.fails["Operator"] = &fault.Error{Code: fault.Unavailable, Status: 503}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		got := f.preflight().run(ctx, f.subject, []Check{azureLoggedIn()}, nil)[0]
		if got.Outcome != finding.Unknown || time.Since(began) > time.Second {
			t.Errorf("%s after %s", got.Outcome, time.Since(began))
		}
	})
}

// What a check has used is its evidence, once; what was asked on the way is another's.
func TestEvidenceIsOfTheCheckItself(t *testing.T) {
	f := healthy(t)
	got := f.check(t, "identity_certificates_known")
	var asked []string
	for _, e := range got.Evidence {
		asked = append(asked, e.Asked)
	}
	slices.Sort(asked)
	if want := []string{"GET https://example.test/Application", "GET https://example.test/Principal"}; !slices.Equal(asked, want) {
		t.Errorf("%q, want %q", asked, want)
	}
}

// Advice is what apply itself says, or what apply does: one that does not help costs the reader's trust in the others.
func TestAdviceHelps(t *testing.T) {
	const conditioned = "Microsoft.Authorization/roleAssignments/"
	for _, row := range []struct {
		name, check, advice string
		mutate              func(*fake)
	}{
		{"the application is gone", "identity_valid", "directory/deletedItems/" + applicationID + "/restore", func(f *fake) { f.app = nil }},
		{"both are gone", "identity_valid", "directory/deletedItems/" + applicationID + "/restore", func(f *fake) { f.app, f.sp = nil, nil }},
		{"the service principal is gone", "identity_valid", "directory/deletedItems/" + principalID + "/restore", func(f *fake) { f.sp = nil }},
		{"half made", "identity_valid", "leastkey apply bot, which makes it", func(f *fake) { f.subject.Record.PrincipalID = "" }},
		{"the managed identity is gone", "identity_valid", "leastkey revoke bot", both(asManaged, func(f *fake) { f.managed = nil })},
		{"the managed identity was made anew", "identity_valid", "leastkey adopt --resource-id " + resourceID, both(asManaged, func(f *fake) { f.managed.PrincipalID = strangerID })},
		{"another kind", "identity_configured", "leastkey revoke bot", func(f *fake) { f.subject.Agent.Kind = agent.ManagedIdentity }},
		{"a certificate beside federation", "identity_certificates_known", "--remove-foreign", func(f *fake) { f.subject.Agent.Federated = []agent.Federated{{Issuer: "https://i", Subject: "s"}} }},
		{"ours, which the spec has dropped", "identity_federated", "leastkey apply bot", both(asFederated, wroteFederated, func(f *fake) { f.subject.Agent.Federated = nil })},
		{"a role under a condition", "rbac_reader", "az role assignment delete --ids " + botGroup + "/providers/" + conditioned, both(lost(readerID), given(readerID, botGroup, principalID, "(1 == 2)"))},
		{"a role under a condition above", "rbac_reader", "leastkey roles fix bot", both(lost(readerID), given(readerID, wholeSub, principalID, "(1 == 2)"))},
		{"an owner of the service principal, in another cloud", "identity_owners", "https://graph.example/v1.0/servicePrincipals/", func(f *fake) { f.owners.principal = []agent.Owner{{ID: strangerID}} }},
		{"a permission, in another cloud", "identity_graph_permissions", "https://graph.example/v1.0/servicePrincipals/", func(f *fake) { f.appRoles = []agent.AppRole{{ID: "1", RoleID: "r"}} }},
	} {
		f := healthy(t)
		row.mutate(f)
		if got := f.check(t, row.check); !strings.Contains(got.Remedy, row.advice) {
			t.Errorf("%s: %s: %q, want %q in it", row.name, got.Outcome, got.Remedy, row.advice)
		}
	}
}
