//go:build unix

package crash

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/record/sqlite"
	records "github.com/leastkey/leastkey/internal/record/state"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/testkit/legacy"
	"github.com/leastkey/leastkey/internal/work/observe"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/keystore/agefile"
	"github.com/leastkey/leastkey/internal/world/token"
)

const (
	install   = "repo"                  // the folder of the legacy install, below the world's
	blueprint = "blueprint-private-key" // an entry of the keystore that is the Blueprint's
)

// legacy makes the install that is migrated, with the Blueprint's key in the keystore that ours will lie in.
func (w *world) legacy() {
	in, err := legacy.Install(w.Context(), w.view, filepath.Join(w.home, install))
	if err != nil {
		w.Fatal(err)
	}
	w.in = in
	if _, err := w.keys().Create(w.Context(), blueprint, signing()); err != nil {
		w.Fatal(err)
	}
	w.planted = w.blueprint()
}

// rotatable is the install after a migration.
func (w *world) rotatable() {
	w.legacy()
	if out, code := w.child(migration()); code != 0 {
		w.Fatalf("prepare: exit %d\n%s", code, out)
	}
	for _, c := range w.certificates(w.in.ObjectID) {
		if s := sum(c.Key); s != w.in.OtherSHA256 {
			w.replaced = s
		}
	}
}

// expired is the install long after a migration: the same key with a certificate that has run out, registered while the cloud's clock was
// there, and recorded.
func (w *world) expired() {
	w.rotatable()
	ctx := w.Context()
	key, err := w.keys().Open(ctx, w.keys().Ref(w.in.Tenant))
	if err != nil {
		w.Fatal(err)
	}
	cert, err := keystore.Certificate(key, keystore.CertificateOptions{CommonName: provisioner.CommonName, Days: 1, Now: time.Now().AddDate(0, 0, -3)})
	if err != nil {
		w.Fatal(err)
	}
	all := []any{keyCredential{Type: "AsymmetricX509Cert", Usage: "Verify", Key: cert.Raw}}
	for _, c := range w.certificates(w.in.ObjectID) {
		if sum(c.Key) == w.in.OtherSHA256 {
			all = append(all, c)
		}
	}
	w.turn(localcloud.Knobs{ClockOffset: -71 * time.Hour})
	then := w.look() // with tokens of that time
	if _, err := then.Call(ctx, http.MethodPatch, "/v1.0/applications/"+w.in.ObjectID, map[string]any{"keyCredentials": all}, nil); err != nil {
		w.Fatal(err)
	}
	w.turn(localcloud.Knobs{})
	w.replaced = sum(cert.Raw)
	keyID := ""
	for _, c := range w.certificates(w.in.ObjectID) {
		if sum(c.Key) == w.replaced {
			keyID = c.KeyID
		}
	}
	db, err := sqlite.Open(ctx, filepath.Join(w.home, "local", "leastkey.db"))
	if err != nil {
		w.Fatal(err)
	}
	defer db.Close()
	memory, err := records.New(ctx, db)
	if err == nil {
		err = memory.Update(ctx, provisioner.Name, func(rec *agent.Record) error {
			g := rec.Active()
			g.DER, g.SHA256, g.KeyID, g.NotBefore, g.NotAfter = cert.Raw, w.replaced, keyID, cert.NotBefore.UTC(), cert.NotAfter.UTC()
			return nil
		})
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) turn(k localcloud.Knobs) {
	if err := w.cloud.SetKnobs(k); err != nil {
		w.Fatal(err)
	}
}

// keyCredential is one of Graph's, as a PATCH sends it back.
type keyCredential struct {
	KeyID string `json:"keyId,omitempty"`
	Type  string `json:"type"`
	Usage string `json:"usage"`
	Key   []byte `json:"key"`
}

func (w *world) certificates(objectID string) []keyCredential {
	var app struct {
		KeyCredentials []keyCredential `json:"keyCredentials"`
	}
	if _, err := w.view.Call(w.Context(), http.MethodGet, "/v1.0/applications/"+objectID+"?$select=keyCredentials", nil, &app); err != nil {
		w.Fatal(err)
	}
	return app.KeyCredentials
}

func sum(der []byte) string {
	s := sha256.Sum256(der)
	return hex.EncodeToString(s[:])
}

// keys is the keystore of the children, opened by itself.
func (w *world) keys() *agefile.Store {
	s, err := agefile.New(agefile.Config{Path: filepath.Join(w.home, "local", "keys"), Development: true})
	if err != nil {
		w.Fatal(err)
	}
	return s
}

// blueprint is the Blueprint's entry, byte by byte.
func (w *world) blueprint() []byte {
	b, err := os.ReadFile(filepath.Join(w.home, "local", "keys", blueprint+".age"))
	if err != nil {
		w.Fatal(err)
	}
	return b
}

// working are the entries of the keystore whose key logs in to the application with a certificate that is registered there.
func (w *world) working(objectID, appID string) []string {
	ctx, store := w.Context(), w.keys()
	names, err := store.List(ctx)
	if err != nil {
		w.Fatal(err)
	}
	certs := w.certificates(objectID)
	var all []string
	for _, name := range names {
		key, err := store.Open(ctx, store.Ref(name))
		if err != nil {
			w.Errorf("entry %s does not open: %v", name, err)
			continue
		}
		for _, c := range certs {
			if observe.Belongs(key, c.Key) && w.login(appID, key, c.Key) == nil {
				all = append(all, name)
			}
		}
	}
	return all
}

func (w *world) login(appID string, key crypto.Signer, der []byte) error {
	tokens, err := token.New(token.Config{Authority: w.view.Login, HTTP: w.view.HTTP.Transport, Local: true})
	if err != nil {
		return err
	}
	_, err = tokens.Certificate(w.Context(), w.view.Tenant, appID, key, der, w.view.Graph+"/.default")
	return err
}

// logsIn wants, of the Provisioner wherever it stops, a credential that logs in: a legacy secret, or a key of the keystore. Once no
// password is left its readers have to find the key where they look.
func (w *world) logsIn() {
	secrets := 0
	for _, s := range w.in.Secrets {
		if _, err := legacy.Token(w.Context(), w.view, w.in.AppID, s); err == nil {
			secrets++
		}
	}
	keys := w.working(w.in.ObjectID, w.in.AppID)
	if secrets == 0 && len(keys) == 0 {
		w.Error("stopped: nothing logs in any more")
	}
	if secrets == 0 {
		w.provisionerToken("stopped, with no password left")
	}
	for _, path := range w.holding() {
		if !slices.Contains([]string{w.in.StateFile, w.in.BackUp, w.in.EnvFile}, path) {
			w.Errorf("stopped: a secret is in %s", path)
		}
	}
}

// slotLogsIn wants the token command to work as soon as the active slot has a key that can log in.
func (w *world) slotLogsIn() {
	if slices.Contains(w.working(w.in.ObjectID, w.in.AppID), w.in.Tenant) {
		w.provisionerToken("stopped, with a new key in the slot")
	}
}

func (w *world) provisionerToken(when string) {
	if out, code := w.child([]string{"provisioner", "token"}); code != 0 || strings.Count(out, ".") != 2 {
		w.Errorf("%s: provisioner token: exit %d\n%s", when, code, out)
	}
}

// migrated is the end of every plan about the Provisioner: no password, one certificate of ours beside the other machine's, one key in the
// active slot, the secret nowhere, and everything else as it was.
func (w *world) migrated() {
	bad, err := w.in.Migrated(w.Context(), w.look())
	if err != nil {
		w.Fatal(err)
	}
	for _, b := range bad {
		w.Error(b)
	}
	names, err := w.keys().List(w.Context())
	if want := []string{w.in.Tenant, blueprint}; err != nil || !slices.Equal(names, want) {
		w.Errorf("the keystore holds %v, wanted is %v (%v)", names, want, err)
	}
	if keys := w.working(w.in.ObjectID, w.in.AppID); !slices.Equal(keys, []string{w.in.Tenant}) {
		w.Errorf("of the keys these log in: %v, wanted is that of the slot", keys)
	}
	if !bytes.Equal(w.blueprint(), w.planted) {
		w.Error("the Blueprint's entry of the keystore was touched")
	}
	for _, c := range w.certificates(w.in.ObjectID) {
		if sum(c.Key) == w.replaced {
			w.Error("the certificate that was to be replaced is still there")
		}
	}
	for _, path := range w.holding() {
		w.Errorf("%s holds a secret", path)
	}
	w.provisionerToken("at the end")
	w.nothingToDo()
}

// nothingToDo asks for another migration, which has to be none.
func (w *world) nothingToDo() {
	out, code := w.child([]string{"provisioner", "migrate", "--dry-run", "--json"})
	var rep struct {
		Plan struct {
			Steps []struct{ ID string }
		}
	}
	if err := json.Unmarshal([]byte(out), &rep); code != 0 || err != nil || len(rep.Plan.Steps) > 0 {
		w.Errorf("migrate again: exit %d, %v\n%s", code, err, out)
	}
}

// holding are all files of the world that hold one of the secrets, databases and what the cloud has written among them.
func (w *world) holding() (all []string) {
	err := filepath.WalkDir(w.home, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if slices.ContainsFunc(w.in.Secrets, func(s string) bool { return bytes.Contains(b, []byte(s)) }) {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// remember notes the certificate that a rotation is to replace.
func (w *world) remember() {
	for _, c := range w.certificates(w.state().ApplicationID) {
		w.replaced = sum(c.Key)
	}
}

// agentLogsIn wants, of the agent wherever its rotation stops, a key that logs in, and the token command to find it.
func (w *world) agentLogsIn() {
	st := w.state()
	if len(w.working(st.ApplicationID, st.AppID)) == 0 {
		w.Error("stopped: nothing logs in any more")
	}
	if out, code := w.child([]string{"token"}); code != 0 || strings.Count(out, ".") != 2 {
		w.Errorf("stopped: token: exit %d", code)
	}
}

func (w *world) renewed() {
	w.provisioned()
	for _, c := range w.certificates(w.state().ApplicationID) {
		if sum(c.Key) == w.replaced {
			w.Error("the certificate that was to be replaced is still there")
		}
	}
}

// look is a view with tokens of its own.
func (w *world) look() *cloudview.Cloud {
	v := *w.view
	return &cloudview.Cloud{Login: v.Login, Graph: v.Graph, ARM: v.ARM, Tenant: v.Tenant, Subscription: v.Subscription, User: v.User, Password: v.Password, HTTP: v.HTTP}
}
