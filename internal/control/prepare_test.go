package control_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/testkit/legacy"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// runtime is an agent as Polyclaw leaves it: an application with two passwords, the service principal with a third, one of them in an
// environment file.
type runtime struct {
	*world
	object, appID, principal string
	secrets                  []string
	lines                    string
}

func newRuntime(t *testing.T) *runtime {
	w := newWorld(t)
	r := &runtime{world: w}
	type made struct {
		ID         string `json:"id"`
		AppID      string `json:"appId"`
		SecretText string `json:"secretText"`
	}
	var app, sp made
	w.call(http.MethodPost, "/v1.0/applications", map[string]any{"displayName": "somebody called it otherwise", "signInAudience": "AzureADMyOrg"}, &app)
	w.call(http.MethodPost, "/v1.0/servicePrincipals", map[string]any{"appId": app.AppID}, &sp)
	r.object, r.appID, r.principal = app.ID, app.AppID, sp.ID
	for _, of := range []string{"applications/" + app.ID, "applications/" + app.ID, "servicePrincipals/" + sp.ID} {
		var pw made
		w.call(http.MethodPost, "/v1.0/"+of+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "rbac"}}, &pw)
		r.secrets = append(r.secrets, pw.SecretText)
	}
	r.lines = "# of polyclaw\nRUNTIME_SP_APP_ID=" + app.AppID + "\nRUNTIME_SP_PASSWORD='" + r.secrets[0] + "'\nRUNTIME_SP_TENANT=" + w.cloud.TenantID() + "\n"
	r.write(".env", r.lines)
	return r
}

func (r *runtime) write(name, content string) string {
	r.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		r.Fatal(err)
	}
	return path
}

func (r *runtime) prepare(q api.ApplyRequest) (api.Report, error) {
	return r.door().Migrate(r.Context(), q, nil)
}

// works fails the test if a password does not log in, or the file has lost a line.
func (r *runtime) works(when string) {
	r.Helper()
	for i, v := range r.secrets {
		if _, err := legacy.Token(r.Context(), r.view, r.appID, v); err != nil {
			r.Errorf("%s password %d does not log in: %v", when, i, err)
		}
	}
	b, err := os.ReadFile(filepath.Join(r.dir, ".env"))
	if err != nil || !strings.HasPrefix(string(b), r.lines) {
		r.Errorf("%s the environment file is another (%v)", when, err)
	}
}

// left is the finding about the passwords.
func left(all []finding.Finding) finding.Finding {
	if i := slices.IndexFunc(all, func(f finding.Finding) bool { return f.ID == agent.FindLegacy }); i >= 0 {
		return all[i]
	}
	return finding.Finding{}
}

func has(all []finding.Finding, id string, outcome finding.Outcome) bool {
	return slices.ContainsFunc(all, func(f finding.Finding) bool { return f.ID == id && f.Outcome == outcome })
}

func TestPrepareAdoptsProvesAndRemovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRuntime(t)
		var foreign = r.somebodysCertificate()
		since := len(r.cloud.Requests())
		dry, err := r.prepare(api.ApplyRequest{DryRun: true})
		if err != nil || dry.Plan == nil || dry.Adopts == nil || dry.Adopts.ID != r.object || len(dry.Adopts.Owners) == 0 || len(dry.Adopts.Passwords) != 2 || r.writes(since) > 0 || r.record().Provisioned() {
			t.Fatalf("dry run: %+v, %d writes: %v", dry, r.writes(since), err)
		}
		var shown api.PlanAnswer
		rep, err := r.prepare(api.ApplyRequest{Digest: dry.Digest, Approve: func(a api.PlanAnswer) (bool, error) { shown = a; return true, nil }})
		if err != nil {
			t.Fatal(err)
		}
		if shown.Adopts == nil || shown.Consent() != api.YesConsent || shown.Digest != dry.Digest || slices.ContainsFunc(shown.Plan.Steps, func(s agent.Step) bool { return s.Destroys || s.Plane == agent.ARM }) {
			t.Errorf("shown %+v", shown)
		}
		f := left(rep.Findings)
		if f.Outcome != finding.Fail || strings.Count(f.Detail, "key id ") != 3 || strings.Count(f.Detail, "on the application") != 2 || !strings.Contains(f.Detail, "on the service principal") || !strings.Contains(f.Detail, r.secrets[2][:3]) {
			t.Errorf("finding %+v", f)
		}
		if api.FindingsExit(rep.Findings) != api.ExitFindings || !rep.Prepared || rep.Proof.Logins != 3 || rep.Proof.PasswordCredentials != 3 || rep.Proof.ForeignCredentials != 1 {
			t.Errorf("report %+v", rep)
		}
		rec := r.record()
		if !rec.Adopted || rec.ApplicationID != r.object || rec.PrincipalID != r.principal || rec.CreatedBy == "" || rec.EnvFile == "" {
			t.Errorf("recorded %+v", rec)
		}
		if app := r.application(); len(app.KeyCredentials) != 2 || app.KeyCredentials[0].KeyID != foreign {
			t.Errorf("certificates %+v, somebody's was %s", app.KeyCredentials, foreign)
		}
		r.works("prepared")
		r.logsIn("prepared")
		if e := r.ledger(0); !slices.ContainsFunc(e, func(e api.LedgerEntry) bool {
			return e.Action == "migrate" && e.Allowed && strings.Contains(e.Detail, dry.Digest)
		}) {
			t.Errorf("ledger %+v", e)
		}

		again, err := r.prepare(api.ApplyRequest{})
		if err != nil || again.Changed || left(again.Findings).Outcome != finding.Fail || again.Proof.Logins != 3 {
			t.Errorf("again: %+v %v", again, err)
		}
		if _, err := r.apply(api.ApplyRequest{}); err != nil {
			t.Error(err)
		}
		r.works("applied")
	})
}

// somebodysCertificate adds one to the application and gives its key id.
func (r *runtime) somebodysCertificate() string {
	r.Helper()
	cert, err := keystore.Certificate(signing(), keystore.CertificateOptions{CommonName: "another machine", Days: 90, Now: time.Now()})
	if err != nil {
		r.Fatal(err)
	}
	r.call(http.MethodPatch, "/v1.0/applications/"+r.object, map[string]any{"keyCredentials": []any{map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "displayName": "another machine", "key": cert.Raw}}}, nil)
	return r.application().KeyCredentials[0].KeyID
}

type credentials struct {
	KeyCredentials []struct {
		KeyID string `json:"keyId"`
	} `json:"keyCredentials"`
	PasswordCredentials []struct {
		KeyID string `json:"keyId"`
	} `json:"passwordCredentials"`
}

func (r *runtime) application() (c credentials) {
	r.Helper()
	r.call(http.MethodGet, "/v1.0/applications/"+r.object, nil, &c)
	return c
}

func TestWhatIsNotPrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRuntime(t)
		with := func(key, value string) string {
			var b strings.Builder
			for line := range strings.Lines(r.lines) {
				if strings.HasPrefix(line, key+"=") {
					line = key + "=" + value + "\n"
				}
				b.WriteString(line)
			}
			return r.write(key+".other", b.String())
		}
		since := len(r.cloud.Requests())
		for name, c := range map[string]struct {
			file string
			code fault.Code
			says string
		}{
			"another tenant's":      {with(agent.LegacyTenant, other), fault.Refused, other},
			"no file":               {filepath.Join(r.dir, "none"), fault.NotFound, "there is no environment file"},
			"an application gone":   {with(agent.LegacyAppID, other), fault.NotFound, other},
			"nothing secret in it":  {with(agent.LegacyPassword, ""), fault.NotFound, "no RUNTIME_SP_PASSWORD"},
			"no file of that shape": {r.write("broken", "RUNTIME_SP_PASSWORD='"+r.secrets[0]+"\n"), fault.Invalid, "line 1"},
		} {
			_, err := r.prepare(api.ApplyRequest{PlanRequest: api.PlanRequest{EnvFile: c.file}})
			if !fault.Is(err, c.code) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), r.secrets[0]) {
				t.Errorf("%s: %v", name, err)
			}
			if e := r.ledger(1)[0]; e.Allowed || e.Action != "migrate" {
				t.Errorf("%s: ledger %+v", name, e)
			}
		}
		for name, content := range map[string]string{"no tenant": "RUNTIME_SP_APP_ID=" + r.appID + "\nRUNTIME_SP_PASSWORD=x\n", "a display name": "RUNTIME_SP_APP_ID=polyclaw-runtime\nRUNTIME_SP_PASSWORD=x\nRUNTIME_SP_TENANT=" + r.cloud.TenantID() + "\n"} {
			if _, err := r.prepare(api.ApplyRequest{PlanRequest: api.PlanRequest{EnvFile: r.write("unclear", content)}}); !fault.Is(err, fault.Refused) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := r.prepare(api.ApplyRequest{Approve: func(api.PlanAnswer) (bool, error) { return false, nil }}); !fault.Is(err, fault.Refused) {
			t.Errorf("not approved: %v", err)
		}
		if r.writes(since) > 0 || r.record().Provisioned() {
			t.Errorf("%d writes, recorded %+v", r.writes(since), r.record())
		}
		r.works("refused")

		// Another application is recorded: both are named.
		_, id := r.existing("another", true)
		if _, err := r.door().Adopt(t.Context(), api.AdoptRequest{AppID: id, Approve: yes}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := r.prepare(api.ApplyRequest{}); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), r.appID) {
			t.Errorf("another is recorded: %v", err)
		}
	})
}

const other = "66666666-0000-4000-8000-000000000006"

// What the secret opens is the login service's to say: its refusal is death, no answer is nothing.
func TestPrepareTellsADeadSecretFromAnUnknownOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRuntime(t)
		r.write(".env", strings.ReplaceAll(r.lines, r.secrets[0], strings.Repeat("x", 40)))
		rep, err := r.prepare(api.ApplyRequest{DryRun: true})
		if err != nil || !has(rep.Findings, "legacy-secret", finding.Warn) || left(rep.Findings).Outcome != finding.Fail {
			t.Errorf("dead: %+v %v", rep.Findings, err)
		}
		// A secret of an application without a service principal is refused for another reason.
		r.call(http.MethodDelete, "/v1.0/servicePrincipals/"+r.principal, nil, nil)
		r.write(".env", r.lines)
		rep, err = r.prepare(api.ApplyRequest{DryRun: true})
		if err != nil || !has(rep.Findings, "legacy-secret", finding.Unknown) || api.FindingsExit(rep.Findings) != api.ExitFindings {
			t.Errorf("unknown: %+v %v", rep.Findings, err)
		}
	})
}

func TestPrepareIsDoneOnceNoPasswordIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRuntime(t)
		for _, p := range r.application().PasswordCredentials {
			r.call(http.MethodPost, "/v1.0/applications/"+r.object+"/removePassword", map[string]any{"keyId": p.KeyID}, nil)
		}
		var sp credentials
		r.call(http.MethodGet, "/v1.0/servicePrincipals/"+r.principal, nil, &sp)
		r.call(http.MethodPost, "/v1.0/servicePrincipals/"+r.principal+"/removePassword", map[string]any{"keyId": sp.PasswordCredentials[0].KeyID}, nil)
		rep, err := r.prepare(api.ApplyRequest{})
		if err != nil || api.FindingsExit(rep.Findings) != api.ExitDone || !has(rep.Findings, "legacy-secret", finding.Warn) {
			t.Errorf("%+v %v", rep.Findings, err)
		}
	})
}

// Stopped at the end of every step, it goes on where it stopped, and an apply does not take over meanwhile: it might make an application of
// its own.
func TestPrepareGoesOnWhereItStopped(t *testing.T) {
	stop := errors.New("the disk is full")
	for _, step := range []string{"application", "key", "certificate", "login", "verify", "environment"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRuntime(t)
				r.stopAt(step, stop)
				if _, err := r.prepare(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) || !strings.Contains(fault.Hint(err), "leastkey migrate "+bot+" --prepare") {
					t.Fatalf("%v: %s", err, fault.Hint(err))
				}
				r.works("stopped")
				r.goOn()
				for _, do := range []func(api.ApplyRequest) (api.Report, error){r.apply, func(q api.ApplyRequest) (api.Report, error) { return r.rotate(false, q) }} {
					if _, err := do(api.ApplyRequest{}); !fault.Is(err, fault.Stopped) || !strings.Contains(err.Error(), "a migrate of "+bot) {
						t.Errorf("another command: %v", err)
					}
				}
				rep, err := r.prepare(api.ApplyRequest{Approve: func(api.PlanAnswer) (bool, error) { return false, errors.New("it has an approval") }})
				if err != nil || left(rep.Findings).Outcome != finding.Fail || !rep.Prepared {
					t.Fatalf("%+v %v", rep, err)
				}
				r.oneKey()
				if app := r.application(); len(app.KeyCredentials) != 1 {
					t.Errorf("certificates %+v", app.KeyCredentials)
				}
				r.works("continued")
				r.logsIn("continued")
				if again, err := r.prepare(api.ApplyRequest{}); err != nil || again.Changed {
					t.Errorf("again: %+v %v", again.Steps, err)
				}
			})
		})
	}
}

func TestPrepareFindsWhatChangedAfterTheApproval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRuntime(t)
		dry, err := r.prepare(api.ApplyRequest{DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		r.write(".env", r.lines+"AZURE_CLIENT_ID="+other+"\n") // somebody's, which the plan would replace
		if _, err := r.prepare(api.ApplyRequest{Digest: dry.Digest}); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Hint(err), "--prepare --dry-run") {
			t.Errorf("%v: %s", err, fault.Hint(err))
		}
		// A revoke takes over from a run that stopped.
		r.write(".env", r.lines)
		r.stopAt("login", context.Canceled)
		if _, err := r.prepare(api.ApplyRequest{}); err == nil {
			t.Fatal("it did not stop")
		}
		r.goOn()
		if rep, err := r.revoke(api.ApplyRequest{}); err != nil || !rep.Revoked {
			t.Errorf("%+v %v", rep, err)
		}
	})
}

// The keys go to the file of the spec, whatever file holds the secret.
func TestPrepareOnlyReadsAnotherFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRuntime(t)
		at := r.write("data.env", r.lines)
		if err := os.Remove(filepath.Join(r.dir, ".env")); err != nil {
			t.Fatal(err)
		}
		rep, err := r.prepare(api.ApplyRequest{PlanRequest: api.PlanRequest{EnvFile: at}})
		b, rerr := os.ReadFile(at)
		if err != nil || rerr != nil || string(b) != r.lines || !has(rep.Findings, "other-env-file", finding.Warn) {
			t.Errorf("%+v, %v %v", rep.Findings, err, rerr)
		}
		if b, err = os.ReadFile(filepath.Join(r.dir, ".env")); err != nil || !strings.Contains(string(b), "AZURE_CLIENT_ID="+r.appID) || strings.Contains(string(b), r.secrets[0]) {
			t.Errorf("%v", err)
		}
	})
}

// Between the approval and the run that goes on, somebody has made the service principal anew: what was approved is not what there is, so
// it is asked for again.
func TestPrepareAsksAgainWhereTheApplicationIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRuntime(t)
		r.hooks.Journal = func(j control.Journal) control.Journal {
			return failing{j, map[string]error{"begin application": errors.New("the disk is full")}}
		}
		if _, err := r.prepare(api.ApplyRequest{}); err == nil {
			t.Fatal("it did not stop")
		}
		r.goOn()
		r.call(http.MethodDelete, "/v1.0/servicePrincipals/"+r.principal, nil, nil)
		r.call(http.MethodPost, "/v1.0/servicePrincipals", map[string]any{"appId": r.appID}, nil)
		asked := 0
		rep, err := r.prepare(api.ApplyRequest{Approve: func(api.PlanAnswer) (bool, error) { asked++; return true, nil }})
		if err != nil || asked != 1 || r.record().PrincipalID == r.principal || rep.Proof.Logins != 3 {
			t.Errorf("asked %d times, recorded %+v: %v", asked, r.record(), err)
		}
	})
}
