package provision_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
	"github.com/leastkey/leastkey/internal/work/provision"
	"github.com/leastkey/leastkey/internal/world/keystore"
)

// own is Graph as the identity itself: it may add and remove, and nothing else.
type own struct {
	*world
	der []byte // of the certificate that it logs in with
}

func (o own) AddKey(_ context.Context, _ string, _ crypto.Signer, proof []byte, add agent.Certificate) (string, error) {
	if string(proof) != string(o.der) {
		o.Error("the proof and the login are of two certificates")
	}
	err := o.at("add key")
	if err != nil && !strings.HasPrefix(err.Error(), "after") {
		return "", err
	}
	add.KeyID = other
	o.app.Certificates = append(o.app.Certificates, add)
	return other, err
}

func (o own) RemoveKey(_ context.Context, _, id string, _ crypto.Signer, proof []byte) error {
	if err := o.at("remove key"); err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(o.app.Certificates), func(c agent.Certificate) bool { return c.KeyID == id })
	if len(left) == len(o.app.Certificates) {
		return notFound()
	}
	o.app.Certificates = left
	return nil
}

// rotating is a world in which gen1 is active and registered, and gen2 is to follow it.
func rotating(t *testing.T) *world {
	w := newWorld(t)
	w.prov.Own = func(_ string, _ crypto.Signer, der []byte) provision.Own { return own{w, der} }
	for i, key := range []crypto.Signer{theKey, anotherKey} {
		c, err := keystore.Certificate(key, keystore.CertificateOptions{CommonName: "bot", Organization: "org", Days: 365, Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(c.Raw)
		id := fmt.Sprint("gen", i+1)
		g := agent.Generation{ID: id, Ref: secret.Ref{Backend: "memory", Name: id}, DER: c.Raw, SHA256: hex.EncodeToString(sum[:]), NotBefore: c.NotBefore, NotAfter: c.NotAfter, Active: i == 0}
		w.keys[g.Ref.String()] = key
		if i == 0 {
			g.KeyID = "first"
			w.app.Certificates = []agent.Certificate{{KeyID: "first", SHA256: g.SHA256, DER: g.DER}}
		}
		w.rec.Generations = append(w.rec.Generations, g)
	}
	w.facts[agent.FactGeneration] = "gen2"
	// The login service knows what is registered.
	w.prov.Login = func(_ context.Context, _ string, key crypto.Signer, der []byte) (api.Caller, error) {
		if err := w.at("login"); err != nil {
			return api.Caller{}, err
		}
		if !slices.ContainsFunc(w.app.Certificates, func(c agent.Certificate) bool { return string(c.DER) == string(der) }) {
			return api.Caller{}, &fault.Error{Code: fault.NotFound, Service: "AADSTS700027"}
		}
		return api.Caller{ObjectID: principal, TenantID: tenant}, nil
	}
	return w
}

func alone(w *world) { w.prov.Operator = "" }

func adding() agent.Step {
	return agent.Step{Action: agent.RegisterCertificate, With: map[string]string{"application": "$application", "app_id": "$app_id", "generation": "$generation", "via": agent.ViaKey}}
}

func TestAddKey(t *testing.T) {
	tooLong := &fault.Error{Code: fault.Invalid, Service: "CredentialInvalidLifetimeAsPerAppPolicy", Status: 400}
	unauthorized := &fault.Error{Code: fault.Unauthenticated, Service: "Authentication_Unauthorized", Status: 401, Hint: "expired, removed, or not yet everywhere"}
	resumed := func(w *world) {
		w.entries = []agent.Entry{{StepID: "step", Intent: map[string]string{"key_id": other}}}
	}
	effect := func(w *world) {
		g := w.rec.Generations[1]
		w.app.Certificates = append(w.app.Certificates, agent.Certificate{KeyID: other, SHA256: g.SHA256, DER: g.DER})
	}
	for name, c := range map[string]struct {
		meddle      func(*world)
		keyID       string // recorded
		adds, reads int    // requests
		days        int    // of the recorded certificate
		code        fault.Code
		hint        string
		withdrawn   bool
	}{
		"it is added":                      {func(*world) {}, other, 1, 0, 365, "", "", false},
		"it is added without an operator":  {alone, other, 1, 0, 365, "", "", false},
		"it is throttled, and then added":  {func(w *world) { alone(w); w.hook["add key"] = first(2, fault.Newf(fault.Throttled, "slow down")) }, other, 3, 0, 365, "", "", false},
		"the login service is away before": {func(w *world) { alone(w); w.hook["add key"] = first(2, fault.Newf(fault.NotYet, "no token")) }, other, 3, 0, 365, "", "", false},
		"the proof is refused, by the certificate that has been there for long": {func(w *world) { alone(w); w.hook["add key"] = always(unauthorized) }, "", 1, 0, 365, fault.Unauthenticated, "not yet everywhere", true},
		"a policy allows ninety days":                                           {func(w *world) { alone(w); w.hook["add key"] = first(2, tooLong) }, other, 3, 0, 90, "", "", false},
		"a policy allows nothing":                                               {func(w *world) { alone(w); w.hook["add key"] = always(tooLong) }, "", 5, 0, 365, fault.Invalid, "", true},
		"a policy wants a trusted authority's": {func(w *world) {
			alone(w)
			w.hook["add key"] = always(&fault.Error{Code: fault.Invalid, Service: "CredentialTypeNotAllowedAsPerAppPolicy", Status: 400})
		}, "", 1, 0, 365, fault.Invalid, "--certificate FILE", true},
		"the answer is lost after the effect, without an operator": {func(w *world) {
			alone(w)
			w.hook["add key"] = always(fault.Newf(fault.Unavailable, "after the effect"))
		}, "", 1, 0, 365, "", "", false},
		"the answer is lost after the effect, with an operator": {func(w *world) {
			w.hook["add key"] = always(fault.Newf(fault.Unavailable, "after the effect"))
		}, other, 1, 1, 365, "", "", false},
		"the answer is lost before the effect, without an operator": {func(w *world) {
			alone(w)
			w.hook["add key"] = always(fault.Newf(fault.Unavailable, "cut"))
		}, "", 1, 0, 365, fault.Unknown, "operator", false},
		"the answer is lost after a policy's refusals, without an operator": {func(w *world) {
			alone(w)
			w.hook["add key"] = func(n int) error {
				if n <= 3 {
					return tooLong
				}
				return fault.Newf(fault.Unavailable, "after the effect")
			}
		}, "", 4, 0, 30, "", "", false},
		"an earlier process has had its effect, without an operator": {func(w *world) { alone(w); resumed(w); effect(w) }, "", 0, 0, 365, "", "", false},
		"an earlier process has had its effect, with an operator":    {func(w *world) { resumed(w); effect(w) }, other, 0, 1, 365, "", "", false},
		"an earlier process has recorded it, without an operator": {func(w *world) {
			alone(w)
			resumed(w)
			effect(w)
			w.rec.Generations[1].KeyID = other
		}, other, 0, 0, 365, "", "", false},
		"an earlier process has had no effect, without an operator": {func(w *world) { alone(w); resumed(w) }, "", 0, 0, 365, fault.Unknown, "operator", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := rotating(t)
				c.meddle(w)
				_, err := w.do(adding())
				if c.code == "" && err != nil || c.code != "" && !carries(err, c.code) || !strings.Contains(fault.Hint(err), c.hint) {
					t.Fatalf("ended with %v (hint %q)", err, fault.Hint(err))
				}
				g := w.rec.Generations[1]
				if g.KeyID != c.keyID || w.count["add key"] != c.adds || (c.reads == 0) != (w.count["read application"] == 0) {
					t.Errorf("key id %q after %d additions and %d readings", g.KeyID, w.count["add key"], w.count["read application"])
				}
				if life := g.NotAfter.Sub(g.NotBefore); life != time.Duration(c.days)*24*time.Hour {
					t.Errorf("the recorded certificate lives %s", life)
				}
				if sum := sha256.Sum256(g.DER); hex.EncodeToString(sum[:]) != g.SHA256 {
					t.Error("the recorded hash is not the certificate's")
				}
				cert, err := x509.ParseCertificate(g.DER)
				if err != nil || cert.Subject.String() != "CN=bot,O=org" {
					t.Errorf("subject %s (%v)", cert.Subject, err)
				}
				if withdrawn := len(w.entries) == 0; withdrawn != c.withdrawn {
					t.Errorf("the entry was withdrawn: %v", withdrawn)
				}
				if w.count["set certificates"] > 0 {
					t.Error("the whole list was written")
				}
				if !w.rec.Generations[0].Active || w.app.Certificates[0].KeyID != "first" {
					t.Error("the old certificate is not as it was")
				}
			})
		})
	}
}

// carries tells whether some fault behind the error has the code: the runner adds its own.
func carries(err error, code fault.Code) bool {
	for e := err; e != nil; {
		if fault.CodeOf(e) == code {
			return true
		}
		f, ok := e.(*fault.Error)
		if !ok {
			u, ok := e.(interface{ Unwrap() error })
			if !ok {
				return false
			}
			e = u.Unwrap()
			continue
		}
		e = f.Err
	}
	return false
}

// An operator may look, and what has been absent for longer than any replica lags is registered in a way that can be repeated.
func TestALostAddKeyIsWrittenByTheOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := rotating(t)
		w.hook["add key"] = always(fault.Newf(fault.Unavailable, "cut"))
		w.app.Certificates = append(w.app.Certificates, cert("theirs"))
		began := time.Now()
		if _, err := w.do(adding()); err != nil {
			t.Fatal(err)
		}
		if w.count["add key"] != 1 || w.count["set certificates"] != 1 || w.certificates() != "first ours theirs" || time.Since(began) < settle {
			t.Errorf("%d additions, %d writes, %q after %s", w.count["add key"], w.count["set certificates"], w.certificates(), time.Since(began))
		}
	})
}

// A certificate of our key that is there under another hash was registered by a try that was cut off.
func TestACertificateOfOurKeyIsFoundByTheKey(t *testing.T) {
	for _, via := range []string{agent.ViaKey, agent.ViaOperator} {
		synctest.Test(t, func(t *testing.T) {
			w := rotating(t)
			shorter, err := keystore.Certificate(anotherKey, keystore.CertificateOptions{CommonName: "bot", Days: 90, Now: time.Now()})
			if err != nil {
				t.Fatal(err)
			}
			w.app.Certificates = append(w.app.Certificates, agent.Certificate{KeyID: other, SHA256: "theirs", DER: shorter.Raw})
			w.entries = []agent.Entry{{StepID: "step", Intent: map[string]string{"key_id": principal}}}
			s := adding()
			s.With["via"] = via
			if _, err := w.do(s); err != nil {
				t.Fatal(err)
			}
			g := w.rec.Generations[1]
			if g.KeyID != other || string(g.DER) != string(shorter.Raw) || w.count["set certificates"]+w.count["add key"] > 0 {
				t.Errorf("via %s: key id %q, calls %v", via, g.KeyID, w.calls)
			}
		})
	}
}

func TestAPolicyCapsWhatTheOperatorRegisters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := rotating(t)
		w.hook["set certificates"] = first(3, &fault.Error{Code: fault.Invalid, Service: "CredentialInvalidLifetimeAsPerAppPolicy"})
		s := adding()
		s.With["via"] = agent.ViaOperator
		if _, err := w.do(s); err != nil {
			t.Fatal(err)
		}
		if g := w.rec.Generations[1]; g.NotAfter.Sub(g.NotBefore) != 30*24*time.Hour || w.app.Certificates[1].SHA256 != g.SHA256 {
			t.Errorf("recorded %s to %s", g.NotBefore, g.NotAfter)
		}
	})
}

func TestACertificateOfAnAuthority(t *testing.T) {
	issue := func(key crypto.Signer, days int) []byte {
		c, err := keystore.Certificate(key, keystore.CertificateOptions{CommonName: "by an authority", Days: days, Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		return c.Raw
	}
	for name, c := range map[string]struct {
		der  func() []byte
		code fault.Code
		says string
	}{
		"of the key":     {func() []byte { return issue(anotherKey, 400) }, "", ""},
		"of another key": {func() []byte { return issue(theKey, 400) }, fault.Conflict, "another key"},
		"of no key":      {func() []byte { return []byte("nonsense") }, fault.Invalid, "no certificate"},
	} {
		for _, by := range []string{"in the plan", "by hand"} {
			t.Run(name+", "+by, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, s, der := rotating(t), adding(), c.der()
					if by == "in the plan" {
						s.With["certificate"] = base64.StdEncoding.EncodeToString(der)
					} else {
						w.prov.Issued = der
					}
					_, err := w.do(s)
					if c.code == "" && (err != nil || string(w.rec.Generations[1].DER) != string(der) || w.rec.Generations[1].KeyID != other) {
						t.Errorf("recorded %+v: %v", w.rec.Generations[1], err)
					}
					if c.code != "" && (!carries(err, c.code) || !strings.Contains(err.Error(), c.says) || w.count["add key"] > 0 || len(w.entries) > 0) {
						t.Errorf("%d additions, %d entries: %v", w.count["add key"], len(w.entries), err)
					}
				})
			})
		}
	}
}

func TestRemoveKey(t *testing.T) {
	unauthorized := &fault.Error{Code: fault.Unauthenticated, Service: "Authentication_Unauthorized", Status: 401, Hint: "not yet everywhere"}
	unknown := &fault.Error{Code: fault.Unauthenticated, Err: &fault.Error{Code: fault.NotFound, Service: "AADSTS700027"}}
	expired := &fault.Error{Code: fault.Unauthenticated, Service: "AADSTS700027"}
	for name, c := range map[string]struct {
		meddle   func(*world)
		fresh    bool // this plan has registered the certificate that proves
		removes  int  // requests, -1 for several
		code     fault.Code
		lasts    time.Duration // at least
		certLeft int
	}{
		"it is removed":                                  {func(*world) {}, true, 1, "", 0, 1},
		"the answer is lost":                             {func(w *world) { w.hook["remove key"] = first(1, fault.Newf(fault.Unavailable, "cut")) }, true, 2, "", 0, 1},
		"it is gone, and that lasts":                     {func(w *world) { w.app.Certificates = w.app.Certificates[1:] }, true, -1, "", settle, 1},
		"a replica has not heard of our new certificate": {func(w *world) { w.hook["remove key"] = first(3, unauthorized) }, true, 4, "", 0, 1},
		"a login replica has not":                        {func(w *world) { w.hook["remove key"] = first(3, unknown) }, true, 4, "", 0, 1},
		"the proving certificate has been there for long and is refused":           {func(w *world) { w.hook["remove key"] = always(unauthorized) }, false, 1, fault.Unauthenticated, 0, 2},
		"the login service says something else than that it knows no such key yet": {func(w *world) { w.hook["remove key"] = always(expired) }, true, 1, fault.Unauthenticated, 0, 2},
		"it is the one in use":      {func(w *world) { w.rec.Generations[1].KeyID = "first" }, true, 0, fault.Refused, 0, 2},
		"nothing is active":         {func(w *world) { w.rec.Generations[1].Active = false }, true, 0, fault.Conflict, 0, 2},
		"the key in use is another": {func(w *world) { w.keys["memory:gen2"] = theKey }, true, 0, fault.Conflict, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := rotating(t)
				alone(w)
				w.rec.Generations[0].Active, w.rec.Generations[1].Active, w.rec.Generations[1].KeyID = false, true, other
				w.app.Certificates = append(w.app.Certificates, agent.Certificate{KeyID: other, SHA256: w.rec.Generations[1].SHA256, DER: w.rec.Generations[1].DER})
				c.meddle(w)
				began := time.Now()
				s := agent.Step{Action: agent.RemoveCertificate, Destroys: true, With: map[string]string{"application": "$application", "app_id": "$app_id", "key_id": "first", "sha256": w.rec.Generations[0].SHA256, "via": agent.ViaKey}}
				var before []agent.Step
				if c.fresh {
					before = append(before, agent.Step{ID: "certificate", Action: agent.RegisterCertificate, With: map[string]string{"generation": "$generation"}})
					ended := time.Now()
					w.entries = append(w.entries, agent.Entry{StepID: "certificate", Ended: &ended})
				}
				_, err := w.steps(s, before...)
				if c.code == "" && err != nil || c.code != "" && !carries(err, c.code) {
					t.Errorf("ended with %v", err)
				}
				if (c.removes >= 0 && w.count["remove key"] != c.removes) || len(w.app.Certificates) != c.certLeft || time.Since(began) < c.lasts {
					t.Errorf("%d removals, %d certificates left after %s", w.count["remove key"], len(w.app.Certificates), time.Since(began))
				}
				if w.count["read application"]+w.count["set certificates"] > 0 {
					t.Error("an identity may not read itself")
				}
			})
		})
	}
}

func TestRetireLater(t *testing.T) {
	until := time.Date(2000, 1, 1, 2, 0, 0, 0, time.UTC)
	s := agent.Step{Action: agent.RetireLater, With: map[string]string{"generation": "gen1", "overlap": "2h"}}
	t.Run("the date is written", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := rotating(t)
			w.rec.Generations[0].Active, w.rec.Generations[1].Active = false, true
			if r, err := w.do(s); err != nil || !w.rec.Generations[0].RetireAt.Equal(until) || !strings.Contains(r.Detail, "02:00:00") {
				t.Errorf("%+v, recorded %s: %v", r, w.rec.Generations[0].RetireAt, err)
			}
		})
	})
	t.Run("a run that goes on later does not move it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := rotating(t)
			w.rec.Generations[0].Active, w.rec.Generations[0].RetireAt = false, until
			time.Sleep(time.Hour)
			if _, err := w.do(s); err != nil || !w.rec.Generations[0].RetireAt.Equal(until) {
				t.Errorf("recorded %s: %v", w.rec.Generations[0].RetireAt, err)
			}
		})
	})
	t.Run("it is written together with the change of the active key", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := rotating(t)
			w.app.Certificates = append(w.app.Certificates, agent.Certificate{KeyID: other, DER: w.rec.Generations[1].DER})
			w.hook["end step"] = always(fault.Newf(fault.Unavailable, "killed"))
			ended := time.Now()
			s := s
			s.ID = "retire-later"
			w.entries = append(w.entries, agent.Entry{StepID: "retire-later", Ended: &ended})
			if _, err := w.steps(agent.Step{Action: agent.Login, With: map[string]string{"app_id": "$app_id", "generation": "$generation", "times": "3"}}, s); err == nil {
				t.Fatal("it did not stop")
			}
			if old := w.rec.Generations[0]; old.Active || !old.Overlapping(time.Now()) || !w.rec.Generations[1].Active {
				t.Errorf("recorded %+v", w.rec.Generations)
			}
		})
	})
	t.Run("an overlap that is none", func(t *testing.T) {
		w := rotating(t)
		bad := s
		bad.With = map[string]string{"generation": "gen1", "overlap": "soon"}
		if _, err := w.do(bad); !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
	})
}

// The permissions that a step names must be in the token: those that this plan has consented to are waited for, any other was taken away.
func TestALoginChecksPermissions(t *testing.T) {
	for name, c := range map[string]struct {
		has     [][]string // the roles of one token after the other; the last ones stay
		granted bool
		code    fault.Code
		says    string
	}{
		"they are there":                                {[][]string{{"A", "B", "C"}}, false, "", ""},
		"one was taken away":                            {[][]string{{"B"}}, false, fault.Conflict, "the token lacks A"},
		"one that was granted a moment ago arrives":     {[][]string{{"B"}, {"B"}, {"A", "B"}}, true, "", ""},
		"one that was granted does not arrive for long": {[][]string{{"B"}}, true, fault.NotYet, "the token lacks A"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.generation("gen1", false)
				w.logins = func(n int) (api.Caller, error) {
					return api.Caller{ObjectID: principal, TenantID: tenant, Roles: c.has[min(n, len(c.has))-1]}, nil
				}
				var before []agent.Step
				if c.granted {
					before = []agent.Step{{ID: "grant", Action: provisioner.GrantPermission}}
					ended := time.Now()
					w.entries = []agent.Entry{{StepID: "grant", Ended: &ended}}
					w.alsoKnows = provisioner.GrantPermission
				}
				r, err := w.steps(agent.Step{Action: agent.Login, With: map[string]string{"app_id": "$app_id", "generation": "$generation", "times": "3", "roles": "A B"}}, before...)
				if c.code == "" && (err != nil || !strings.Contains(r.Facts[provisioner.FactPermitted], "A B") || !w.rec.Generations[0].Active) {
					t.Errorf("%+v: %v", r, err)
				}
				if c.code != "" && (!carries(err, c.code) || !strings.Contains(err.Error(), c.says) || w.rec.Generations[0].Active) {
					t.Errorf("ended with %v", err)
				}
			})
		})
	}
}

// A certificate carries the subject that the step names.
func TestTheSubjectOfACertificate(t *testing.T) {
	for _, c := range []struct{ name, organization, want string }{{"", "", "CN=bot"}, {"entraclaw-provisioner", "EntraClaw", "CN=entraclaw-provisioner,O=EntraClaw"}} {
		w := newWorld(t)
		s := mint()
		s.With["common_name"], s.With["organization"] = c.name, c.organization
		if _, err := w.do(s); err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(w.rec.Generations[0].DER)
		if err != nil || cert.Subject.String() != c.want || cert.KeyUsage != x509.KeyUsageDigitalSignature || cert.SignatureAlgorithm != x509.SHA256WithRSA {
			t.Errorf("subject %s, usage %v, %s (%v)", cert.Subject, cert.KeyUsage, cert.SignatureAlgorithm, err)
		}
	}
}
