//go:build unix

package script_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite" // the driver of "sql"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/localcloud"
	recorded "github.com/leastkey/leastkey/internal/record/sqlite"
	"github.com/leastkey/leastkey/internal/record/state"
	"github.com/leastkey/leastkey/internal/testkit/canary"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/keystore/agefile"
)

func password(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 3, 3, "password applications|servicePrincipals OBJECT VAR")
	var made struct {
		KeyID      string `json:"keyId"`
		SecretText string `json:"secretText"`
	}
	_, err := s.attachedTo(ts).view.Call(s.ctx, http.MethodPost, "/v1.0/"+args[0]+"/"+args[1]+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "by hand"}}, &made)
	ts.Check(err)
	ts.Check(s.watch.Text(canary.LocalCloud, "a password added by hand", []byte(made.SecretText)))
	ts.Setenv(args[2], made.KeyID)
}

// keyCredentials are an application's, as Graph shows them with their certificates.
func keyCredentials(ctx context.Context, v *cloudview.Cloud, object string) ([]map[string]any, error) {
	var app struct {
		KeyCredentials []map[string]any `json:"keyCredentials"`
	}
	_, err := v.Call(ctx, http.MethodGet, "/v1.0/applications/"+object+"?"+url.Values{"$select": {"keyCredentials"}}.Encode(), nil, &app)
	return app.KeyCredentials, err
}

func keyCredential(der []byte, keyID, name string) map[string]any {
	return map[string]any{"keyId": keyID, "type": "AsymmetricX509Cert", "usage": "Verify", "displayName": name, "key": base64.StdEncoding.EncodeToString(der)}
}

func setKeyCredentials(ctx context.Context, v *cloudview.Cloud, object string, all []map[string]any) error {
	_, err := v.Call(ctx, http.MethodPatch, "/v1.0/applications/"+object, map[string]any{"keyCredentials": all}, nil)
	return err
}

func foreign(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 2, 2, "foreign OBJECT VAR")
	v := s.attachedTo(ts).view
	key, err := keystore.Generate(2048)
	ts.Check(err)
	cert, err := keystore.Certificate(key, keystore.CertificateOptions{CommonName: "another machine", Days: 30, Now: time.Now().Add(-time.Minute)})
	ts.Check(err)
	all, err := keyCredentials(s.ctx, v, args[0])
	ts.Check(err)
	ts.Check(setKeyCredentials(s.ctx, v, args[0], append(all, keyCredential(cert.Raw, uuid.NewString(), "another machine"))))
	sum := sha256.Sum256(cert.Raw)
	ts.Setenv(args[1], hex.EncodeToString(sum[:]))
}

// records is the memory of the attached cloud's folder.
func (s *story) records(ts *testscript.TestScript) (*state.Store, func()) {
	db, err := recorded.Open(s.ctx, filepath.Join(s.attachedTo(ts).dir, "leastkey.db"))
	ts.Check(err)
	all, err := state.New(s.ctx, db)
	ts.Check(err)
	return all, func() { ts.Check(db.Close()) }
}

// active is what is recorded of the agent, and the key that it logs in with.
func (s *story) active(ts *testscript.TestScript) (agent.Record, crypto.Signer) {
	records, done := s.records(ts)
	defer done()
	rec, err := records.Agent(s.ctx, agentName)
	ts.Check(err)
	if rec.Active() == nil {
		ts.Fatalf("%s has no active key", agentName)
	}
	keys, err := agefile.New(agefile.Config{Path: filepath.Join(s.attachedTo(ts).dir, "keys"), Development: true})
	ts.Check(err)
	key, err := keys.Open(s.ctx, rec.Active().Ref)
	ts.Check(err)
	return rec, key
}

// expire makes the world that there would be if the agent had got a certificate of one day three days ago: the same key with such a
// certificate, registered while the cloud's clock was there, and recorded.
func expire(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 0, 0, "expire")
	dir := s.attachedTo(ts).dir
	rec, key := s.active(ts)
	cert, err := keystore.Certificate(key, keystore.CertificateOptions{CommonName: agentName, Days: 1, Now: time.Now().AddDate(0, 0, -3)})
	ts.Check(err)
	keyID, sum := uuid.NewString(), sha256.Sum256(cert.Raw)
	cloud(s, ts, []string{"knobs", `{"clock_offset":"-71h"}`})
	run, err := localcloud.ReadRun(s.ctx, dir)
	ts.Check(err)
	then, err := viewAs(run, "admin") // with tokens of that time
	ts.Check(err)
	ts.Check(setKeyCredentials(s.ctx, then, rec.ApplicationID, []map[string]any{keyCredential(cert.Raw, keyID, "leastkey "+agentName)}))
	cloud(s, ts, []string{"knobs", `{"clock_offset":"0s"}`})
	records, done := s.records(ts)
	defer done()
	ts.Check(records.Update(s.ctx, agentName, func(rec *agent.Record) error {
		g := rec.Active()
		g.DER, g.SHA256, g.KeyID, g.NotBefore, g.NotAfter = cert.Raw, hex.EncodeToString(sum[:]), keyID, cert.NotBefore.UTC(), cert.NotAfter.UTC()
		return nil
	}))
}

// identity makes an age identity outside of what is swept: whoever has it lawfully has every key.
func identity(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 1, 1, "identity VAR")
	id, err := age.GenerateX25519Identity()
	ts.Check(err)
	dir, err := os.MkdirTemp("", "leastkey-story-")
	ts.Check(err)
	s.identity = filepath.Join(dir, "identity.txt")
	ts.Check(os.WriteFile(s.identity, []byte(id.String()+"\n"), 0o600))
	ts.Setenv(args[0], s.identity)
}

func statement(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 2, 2, "sql FILE STATEMENT")
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	_, err = db.ExecContext(s.ctx, args[1])
	ts.Check(err)
}

// dump is every value of every table.
func dump(ctx context.Context, file string) (_ []byte, err error) {
	db, err := sql.Open("sqlite", "file:"+file+"?mode=ro")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var names []string
	rows, err := db.QueryContext(ctx, `SELECT name FROM sqlite_master WHERE type = 'table'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	var b bytes.Buffer
	for _, name := range names {
		if err := dumpTable(ctx, db, name, &b); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), rows.Err()
}

func dumpTable(ctx context.Context, db *sql.DB, name string, into *bytes.Buffer) error {
	rows, err := db.QueryContext(ctx, `SELECT * FROM "`+name+`"`)
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		values, at := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			at[i] = &values[i]
		}
		if err := rows.Scan(at...); err != nil {
			return err
		}
		for _, v := range values {
			fmt.Fprintf(into, "%s\n", v)
		}
	}
	return rows.Err()
}
