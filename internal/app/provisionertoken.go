package app

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/front/cli"
	"github.com/leastkey/leastkey/internal/record/statefile"
	"github.com/leastkey/leastkey/internal/work/observe"
	"github.com/leastkey/leastkey/internal/world/token"
)

// ProvisionerTokenMain is the small program for shells: leastkey provisioner token, under a name of its own.
func ProvisionerTokenMain(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &App{Getenv: os.Getenv, Streams: cli.Standard(os.Getenv)}
	return a.Run(ctx, append([]string{"provisioner", "token"}, args...))
}

// provisionerToken says whose token is wanted.
type provisionerToken struct {
	target    api.Target
	stateFile string
	scope     string
}

// provisionerToken gets a token of the Provisioner: one request, with nothing but the state file and the keystore.
func (a *App) provisionerToken(ctx context.Context, r provisionerToken) (api.Token, error) {
	p := newPlace(r.target)
	if _, err := p.load(r.target.File); err != nil {
		return api.Token{}, err
	}
	path, err := a.statePath(p, r.stateFile)
	if err != nil {
		return api.Token{}, err
	}
	f, _, err := statefile.ReadState(path)
	switch {
	case err != nil:
		return api.Token{}, err
	case !f.Exists:
		return api.Token{}, fault.New(fault.NotFound, "no state file "+path, "name it with --state-file, or make one: leastkey provisioner bootstrap")
	case !agent.IsGUID(f.Tenant) || !agent.IsGUID(f.Client):
		return api.Token{}, fault.New(fault.NotFound, path+" does not say tenant and application of the Provisioner", "leastkey provisioner bootstrap")
	}
	if err := a.tokenSite(ctx, p, r.target, strings.ToLower(f.Tenant)); err != nil {
		return api.Token{}, err
	}
	defer p.close()
	name := cmp.Or(r.target.Keystore, p.spec.Provisioner.Keystore, "auto")
	if ref, err := secret.ParseRef(f.Keystore); err == nil && r.target.Keystore == "" {
		switch ref.Backend {
		case "age":
			if name = "age:" + ref.Store; filepath.Clean(ref.Store) == a.localKeys(p) {
				name = "auto"
			}
		case "keychain":
			name = "keychain"
		}
	}
	slots, err := a.provisionerKeys(p, name, r.target.AgeIdentity)
	if err != nil {
		return api.Token{}, err
	}
	key, err := slots.Open(ctx, slots.Ref(p.tenant))
	if err != nil {
		return api.Token{}, &fault.Error{Code: fault.CodeOf(err), Op: "open the Provisioner's key", Err: err, Hint: cmp.Or(fault.Hint(err), "leastkey provisioner status shows what is there")}
	}
	certs := f.Certs
	if beside, err := slots.Certificate(ctx, slots.Ref(p.tenant)); err == nil {
		certs = append(certs, beside)
	}
	der := certificateFor(key, certs)
	if der == nil {
		return api.Token{}, fault.New(fault.Conflict, path+" holds no certificate of the key in the keystore", "leastkey provisioner migrate registers this machine's")
	}
	if cert, err := x509.ParseCertificate(der); err == nil && !time.Now().Before(cert.NotAfter) {
		return api.Token{}, fault.New(fault.Unauthenticated, "the Provisioner's certificate ended on "+cert.NotAfter.Format(time.DateOnly), "leastkey provisioner rotate")
	}
	tokens, err := token.New(token.Config{Authority: p.ends.Login, HTTP: p.transport, Local: p.cloud == agent.Local})
	if err != nil {
		return api.Token{}, err
	}
	return tokens.Certificate(ctx, p.tenant, f.Client, key, der, cmp.Or(r.scope, p.ends.GraphScope))
}

// tokenSite finds the cloud without asking anybody: the flag's or the yaml's; otherwise the running local cloud if the state file is of its
// tenant, and the public cloud if not.
func (a *App) tokenSite(ctx context.Context, p *place, t api.Target, tenant string) error {
	cloud := cmp.Or(t.Cloud, p.spec.Cloud)
	if cloud == "" || cloud == agent.Local {
		dir, err := a.localDir("")
		if err != nil {
			return err
		}
		s, run, err := a.localNetwork(ctx, dir)
		switch {
		case err == nil && run.TenantID == tenant:
			p.site = s
			return nil
		case err == nil:
			s.close()
			if cloud == agent.Local {
				return fault.New(fault.Refused, "the state file is of tenant "+tenant+", the local cloud is tenant "+run.TenantID, "name the right state file with --state-file")
			}
		case cloud == agent.Local:
			return err
		}
		cloud = agent.Public
	}
	s, err := a.realSite(ctx, cloud, tenant)
	p.site = s
	return err
}

func certificateFor(key crypto.Signer, certs [][]byte) []byte {
	i := slices.IndexFunc(certs, func(der []byte) bool { return observe.Belongs(key, der) })
	if i < 0 {
		return nil
	}
	return certs[i]
}
