package migrate

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"maps"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/work/job"
)

func (m *Migrate) backUp() job.Handler {
	return job.Handler{
		// The name is the run's, so that a try that was cut off finds its own file again.
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			b, err := m.Files.BackUp(ctx, c.With("file"), c.Run.ID)
			if err != nil {
				return agent.Result{}, err
			}
			text, err := json.Marshal(b)
			return agent.Result{Detail: b.Path, Facts: map[string]string{provisioner.FactBackUp: b.Path, "back_up_record": string(text)}, Evidence: evidence("write "+b.Path, "opens with "+b.Key.String())}, err
		},
		Remember: func(_ *job.Call, r agent.Result, rec *agent.Record) {
			var b agent.BackUp
			if json.Unmarshal([]byte(r.Facts["back_up_record"]), &b) != nil {
				return // it is our own, made a moment ago
			}
			for _, have := range rec.BackUps {
				if have.Path == b.Path {
					return
				}
			}
			rec.BackUps = append(rec.BackUps, b)
		},
	}
}

// writeState writes ids and certificate into the state file, in the keys of the original. With "both" the certificate that is there stays
// beside the new one, while the active slot changes.
func (m *Migrate) writeState() job.Handler {
	return job.Handler{
		Intent: func(ctx context.Context, c *job.Call) (map[string]string, error) {
			f, err := m.Files.State(ctx, c.With("file"))
			if err != nil {
				return nil, err
			}
			before, err := json.Marshal(values(f))
			return map[string]string{"before": string(before)}, err
		},
		Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
			g, _, err := m.recorded(ctx, c)
			if err != nil {
				return agent.Result{}, err
			}
			f, err := m.Files.State(ctx, c.With("file"))
			if err != nil {
				return agent.Result{}, err
			}
			set, remove, err := m.entries(c, g, f)
			if err != nil {
				return agent.Result{}, err
			}
			did, err := m.Files.UpdateState(ctx, c.With("file"), set, remove)
			return agent.Result{Detail: did, Evidence: evidence("write "+c.With("file"), "certificate "+g.SHA256)}, err
		},
		Remember: func(c *job.Call, _ agent.Result, rec *agent.Record) { rec.StateFile = c.With("file") },
	}
}

func (m *Migrate) entries(c *job.Call, g agent.Generation, f provisioner.File) (set map[string]string, remove []string, err error) {
	set = map[string]string{provisioner.KeyTenant: m.Tenant, provisioner.KeyClient: c.With("app_id")}
	certs := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.DER})
	if c.With("both") != "" {
		for _, der := range f.Certs {
			if !bytes.Equal(der, g.DER) {
				certs = append(certs, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
			}
		}
	} else {
		sum := sha1.Sum(g.DER) // the original's thumbprint; nothing relies on it
		set[provisioner.KeyThumbprint] = hex.EncodeToString(sum[:])
	}
	set[provisioner.KeyCert] = string(certs)
	if m.slot() == m.Default {
		return set, []string{provisioner.KeyKeystore}, nil
	}
	set[provisioner.KeyKeystore] = m.slot().String()
	return set, nil, nil
}

// values are our keys as the file has them; one that it lacks is nil.
func values(f provisioner.File) map[string]*string {
	all := map[string]*string{}
	certs := ""
	for _, der := range f.Certs {
		certs += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	for key, v := range map[string]string{provisioner.KeyTenant: f.Tenant, provisioner.KeyClient: f.Client, provisioner.KeyThumbprint: f.Thumbprint, provisioner.KeyKeystore: f.Keystore, provisioner.KeyCert: certs} {
		if all[key] = nil; v != "" {
			all[key] = &v
		}
	}
	return all
}

func (m *Migrate) restoreState() job.Handler {
	return job.Handler{Do: func(ctx context.Context, c *job.Call) (agent.Result, error) {
		var before map[string]*string
		if err := json.Unmarshal([]byte(c.With("before")), &before); err != nil {
			return agent.Result{}, fault.Newf(fault.Corrupt, "the journalled values of the state file do not read")
		}
		// A file that could not be changed, because its folder is read-only, is as it was, and cannot be written either.
		f, err := m.Files.State(ctx, c.With("file"))
		if err != nil {
			return agent.Result{}, err
		}
		if now := values(f); maps.EqualFunc(now, before, func(a, b *string) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }) {
			return agent.Result{Detail: "it was not changed"}, nil
		}
		set, remove := map[string]string{}, []string{}
		for key, v := range before {
			if v == nil {
				remove = append(remove, key)
			} else {
				set[key] = *v
			}
		}
		did, err := m.Files.UpdateState(ctx, c.With("file"), set, remove)
		return agent.Result{Detail: did}, err
	}}
}

// certificateOf finds, among certificates, the one of a public key.
func certificateOf(certs [][]byte, belongs func(der []byte) bool) *x509.Certificate {
	for _, der := range certs {
		if belongs(der) {
			if cert, err := x509.ParseCertificate(der); err == nil {
				return cert
			}
		}
	}
	return nil
}
