//go:build linux

package faults

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/record/sqlite"
	"github.com/leastkey/leastkey/internal/record/state"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/keystore/agefile"
)

// edit changes a file in its place, as a person would.
func (w *world) edit(path, old, new string) {
	w.Helper()
	b, err := os.ReadFile(path)
	w.must(err)
	if !bytes.Contains(b, []byte(old)) {
		w.Fatalf("%s does not have %q", path, old)
	}
	w.must(os.WriteFile(path, bytes.ReplaceAll(b, []byte(old), []byte(new)), 0o644))
}

// keepState puts content into the state file that has to be there still when all is over.
func (w *world) keepState(content []byte) {
	w.planted = content
	w.must(os.WriteFile(w.in.StateFile, content, 0o644))
}

func (w *world) stateKept() {
	b, err := os.ReadFile(w.in.StateFile)
	if err != nil || !bytes.Equal(b, w.planted) {
		w.Errorf("the state file was changed: %v", err)
	}
	p, bad, err := w.in.Look(w.Context(), w.as("admin"))
	if err != nil || len(bad) > 0 || p.Passwords != 2 || p.PrincipalPasswords != 1 || len(p.Certificates) != 1 {
		w.Errorf("the application was changed: %+v %v %v", p, bad, err)
	}
	if keys := w.keys(w.machine); len(keys) > 0 {
		w.Errorf("the keystore holds %v", keys)
	}
}

// fresh removes what a machine has of the Provisioner.
func (w *world) fresh() {
	for _, path := range []string{w.in.StateFile, w.in.BackUp, w.in.EnvFile} {
		w.must(os.Remove(path))
	}
}

// squat makes an application of somebody else's, with a certificate of theirs.
func (w *world) squat(name string) {
	var app struct{ ID, AppID string }
	w.call(http.MethodPost, "applications", map[string]any{"displayName": name}, &app)
	w.call(http.MethodPost, "servicePrincipals", map[string]any{"appId": app.AppID}, nil)
	w.call(http.MethodPatch, "applications/"+app.ID, map[string]any{"keyCredentials": []any{keyCredential{Type: "AsymmetricX509Cert", Usage: "Verify", Key: w.in.OtherDER}}}, nil)
	w.squatter, w.planted = app.ID, w.describe(app.ID)
}

// describe is an application with its permissions and credentials, as Graph has it.
func (w *world) describe(id string) []byte {
	var app, sp map[string]any
	v := w.as("admin")
	for path, into := range map[string]*map[string]any{"applications/" + id: &app, "applications/" + id + "/owners": &sp} {
		_, err := v.Call(w.Context(), http.MethodGet, "/v1.0/"+path, nil, into)
		w.must(err)
	}
	return []byte(asText(app) + asText(sp))
}

func (w *world) squatterUntouched() {
	if !bytes.Equal(w.describe(w.squatter), w.planted) {
		w.Error("the squatter's application was changed")
	}
}

// otherTenantsAZ is an az that says that it is logged in here, and hands out tokens of another tenant.
func (w *world) otherTenantsAZ() {
	const script = `#!/bin/sh
b64() { base64 -w0 | tr '+/' '-_' | tr -d =; }
head=$(printf '{"alg":"RS256","typ":"JWT"}' | b64)
body=$(printf '{"tid":"99999999-0000-4000-8000-000000000009","oid":"99999999-0000-4000-8000-00000000000a","upn":"eve@fabrikam.example","aud":"x"}' | b64)
printf '{"accessToken":"%s.%s.%s","expiresOn":"2099-01-01 00:00:00.000000","expires_on":4070908800,"tenant":"TENANT","subscription":"SUBSCRIPTION","tokenType":"Bearer"}\n' "$head" "$body" c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJl
`
	dir := w.TempDir()
	text := strings.NewReplacer("TENANT", w.cloud.TenantID(), "SUBSCRIPTION", w.cloud.SubscriptionID()).Replace(script)
	w.must(os.WriteFile(filepath.Join(dir, "az"), []byte(text), 0o755))
	for i, v := range w.env {
		if path, ok := strings.CutPrefix(v, "PATH="); ok {
			w.env[i] = "PATH=" + dir + ":" + path
		}
	}
}

// policy is a restriction of certificates in the tenant's app management policy.
func (w *world) policy(kind, lifetime string) {
	r := map[string]any{"restrictionType": kind, "state": "enabled"}
	if lifetime != "" {
		r["maxLifetime"] = lifetime
	}
	w.call(http.MethodPatch, "policies/defaultAppManagementPolicy", map[string]any{"isEnabled": true, "applicationRestrictions": map[string]any{"keyCredentials": []any{r}}}, nil)
}

type keyCredential struct {
	KeyID string    `json:"keyId,omitempty"`
	Type  string    `json:"type"`
	Usage string    `json:"usage"`
	Key   []byte    `json:"key"`
	Start time.Time `json:"startDateTime,omitzero"`
	End   time.Time `json:"endDateTime,omitzero"`
}

func (w *world) certificates(v *cloudview.Cloud) []keyCredential {
	var app struct {
		KeyCredentials []keyCredential `json:"keyCredentials"`
	}
	_, err := v.Call(w.Context(), http.MethodGet, "/v1.0/applications/"+w.in.ObjectID+"?$select=keyCredentials", nil, &app)
	w.must(err)
	return app.KeyCredentials
}

func hash(der []byte) string {
	s := sha256.Sum256(der)
	return hex.EncodeToString(s[:])
}

// lives are how long the certificates live that are not the other machine's.
func (w *world) lives() (all []time.Duration) {
	for _, c := range w.certificates(w.as("admin")) {
		if hash(c.Key) != w.in.OtherSHA256 {
			all = append(all, c.End.Sub(c.Start))
		}
	}
	return all
}

// set replaces the key credentials: the other machine's stays, and what is given comes beside it.
func (w *world) set(v *cloudview.Cloud, more ...keyCredential) {
	body := []any{keyCredential{KeyID: w.in.OtherKeyID, Type: "AsymmetricX509Cert", Usage: "Verify", Key: w.in.OtherDER}}
	for _, c := range more {
		body = append(body, c)
	}
	_, err := v.Call(w.Context(), http.MethodPatch, "/v1.0/applications/"+w.in.ObjectID, map[string]any{"keyCredentials": body}, nil)
	w.must(err)
}

// unregistered is the install after a migration, whose certificate somebody has removed.
func (w *world) unregistered() {
	w.wants(0, w.machine, w.migration()...)
	w.set(w.as("admin"))
}

// expired is the install after a migration, with a certificate that has run out: registered while the cloud's clock was there, recorded,
// and in the state file.
func (w *world) expired() {
	w.wants(0, w.machine, w.migration()...)
	ctx := w.Context()
	store, err := agefile.New(agefile.Config{Path: filepath.Join(w.home, "local", "keys"), Development: true})
	w.must(err)
	key, err := store.Open(ctx, store.Ref(w.in.Tenant))
	w.must(err)
	cert, err := keystore.Certificate(key, keystore.CertificateOptions{CommonName: provisioner.CommonName, Days: 1, Now: time.Now().AddDate(0, 0, -3)})
	w.must(err)
	w.turn(localcloud.Knobs{ClockOffset: -71 * time.Hour})
	w.set(w.as("admin"), keyCredential{Type: "AsymmetricX509Cert", Usage: "Verify", Key: cert.Raw})
	w.turn(localcloud.Knobs{})
	db, err := sqlite.Open(ctx, filepath.Join(w.home, "local", "leastkey.db"))
	w.must(err)
	defer db.Close()
	records, err := state.New(ctx, db)
	w.must(err)
	w.must(records.Update(ctx, provisioner.Name, func(rec *agent.Record) error {
		g := rec.Active()
		g.DER, g.SHA256, g.NotBefore, g.NotAfter = cert.Raw, hash(cert.Raw), cert.NotBefore.UTC(), cert.NotAfter.UTC()
		for _, c := range w.certificates(w.as("admin")) {
			if hash(c.Key) == g.SHA256 {
				g.KeyID = c.KeyID
			}
		}
		return nil
	}))
	w.writeCertificate(cert.Raw)
}

// writeCertificate puts a certificate into the state file, as a rotation would.
func (w *world) writeCertificate(der []byte) {
	b, err := os.ReadFile(w.in.StateFile)
	w.must(err)
	var all map[string]json.RawMessage
	w.must(json.Unmarshal(b, &all))
	text, err := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	w.must(err)
	w.edit(w.in.StateFile, string(all[provisioner.KeyCert]), string(text))
	w.must(os.Chmod(w.in.StateFile, 0o600))
}

// clockRight puts the clock right. Until then a secret of now is not valid yet, or not any more.
func (w *world) clockRight() {
	w.turn(localcloud.Knobs{})
	w.untouched()
}

// mount mounts, and unmounts at the end of the test. Where that is not allowed the test fails and says so.
func (w *world) mount(source, target, kind string, flags uintptr, data string) {
	w.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		w.Fatalf("mount %s: %v (this row has to be run as root, as CI does)", target, err)
	}
	if flags&unix.MS_REMOUNT == 0 {
		w.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) }) // it may be unmounted already
	}
}

func (w *world) unmount(target string) { w.must(unix.Unmount(target, 0)) }

// onFullDisk moves a folder to a small disk of its own, and fills that.
func (w *world) onFullDisk(dir string) {
	aside := dir + ".aside"
	w.must(os.Rename(dir, aside))
	w.must(os.Mkdir(dir, 0o700))
	w.mount("tmpfs", dir, "tmpfs", 0, "size=2m,mode=0700")
	w.must(os.CopyFS(dir, os.DirFS(aside)))
	w.must(filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var was os.FileInfo
			if was, err = os.Stat(filepath.Join(aside, strings.TrimPrefix(path, dir))); err == nil {
				err = os.Chmod(path, was.Mode())
			}
		}
		return err
	}))
	w.fill(filepath.Join(dir, "filler"))
}

func (w *world) fill(path string) {
	f, err := os.Create(path)
	w.must(err)
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
}
