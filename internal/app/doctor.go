package app

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/world/keystore"
	"github.com/leastkey/leastkey/internal/world/token"
)

// maxSkew is how far our clock may be from the login service's: assertions are accepted five minutes either way.
const maxSkew = 4 * time.Minute

// doctor checks what everything else needs. Each check stands for itself: one that fails does not hide the others.
func (a *App) doctor(ctx context.Context, t api.Target) ([]finding.Finding, error) {
	p, err := a.where(ctx, t)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if err := private(p.dir); err != nil {
		return nil, err
	}
	all := append([]finding.Finding{a.checkKeystore(ctx, p, t)}, a.checkLeftKeys(ctx, p, t)...)
	all = append(all, reach(ctx, p)...)
	all = append(all, a.checkOperator(ctx, p), a.checkLedger(ctx, p, t))
	return append(all, checkCertificates(ctx, p)...), nil
}

func result(id, question string, err error, pass string) finding.Finding {
	f := finding.Finding{ID: id, Question: question, Outcome: finding.Pass, Detail: pass}
	if err != nil {
		f.Outcome, f.Detail, f.Remedy = finding.Fail, err.Error(), fault.Hint(err)
	}
	return f
}

// checkKeystore makes a key, reopens it, signs with it and deletes it.
func (a *App) checkKeystore(ctx context.Context, p *place, t api.Target) finding.Finding {
	const question = "does the keystore keep a key?"
	where := ""
	err := func() error {
		keys, err := a.keys(p, t)
		if err != nil {
			return err
		}
		key, err := keystore.Generate(2048)
		if err != nil {
			return err
		}
		ref, err := keys.Create(ctx, fmt.Sprintf("%s/leastkey-doctor#%d", p.tenant, time.Now().UnixNano()), key)
		if err != nil {
			return err
		}
		where = ref.Backend + " " + ref.Store
		back, err := keys.Open(ctx, ref)
		if err == nil {
			sum := sha256.Sum256([]byte("leastkey doctor"))
			_, err = back.Sign(rand.Reader, sum[:], crypto.SHA256)
		}
		if e := keys.Delete(ctx, ref); err == nil {
			err = e
		}
		return err
	}()
	return result("keystore", question, err, "made, reopened, signed with and deleted one in "+where)
}

// checkLeftKeys names the keys of this tenant's agents in the keystore that no record knows: of a run that was killed on another machine's
// record, or of a record that was removed. They open nothing that we know of, and nobody else will ever delete them. It says nothing where
// there are none, and of a keystore that cannot list.
func (a *App) checkLeftKeys(ctx context.Context, p *place, t api.Target) []finding.Finding {
	const id, question = "left-keys", "is every key in the keystore recorded?"
	keys, err := a.keys(p, t)
	if err != nil {
		return nil // the check before this one has said so
	}
	st, ok := keys.(*stores)
	if !ok {
		return nil
	}
	all, ok := st.Store.(keystore.Lister)
	if !ok {
		return nil
	}
	names, err := all.List(ctx)
	if err != nil {
		return []finding.Finding{result(id, question, err, "")}
	}
	recorded, err := recordedKeys(ctx, p.dir)
	if err != nil {
		return []finding.Finding{result(id, question, err, "")}
	}
	known := map[string]bool{}
	for _, ref := range recorded {
		known[ref.String()] = true
	}
	var left []finding.Finding
	for _, name := range names {
		ref := st.Ref(name)
		if !strings.HasPrefix(name, p.tenant+"/") || known[ref.String()] {
			continue
		}
		left = append(left, finding.Finding{ID: id, Question: question, Outcome: finding.Warn, Detail: "key " + ref.String() + " is of no agent that is recorded here",
			Remedy: "if no run is open (leastkey status) and no other machine uses it, delete it"})
	}
	return left
}

// reach asks each service for an answer, any answer, and takes the clock from the login service's.
func reach(ctx context.Context, p *place) []finding.Finding {
	client := &http.Client{Transport: p.transport, Timeout: 20 * time.Second}
	get := func(url string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(r)
		if err != nil {
			return nil, fault.New(fault.Unavailable, err.Error(), "check network, proxy (HTTPS_PROXY) and certificate authorities (SSL_CERT_FILE)")
		}
		return resp, resp.Body.Close()
	}
	login, err := get(p.ends.Login + "/" + p.tenant + "/v2.0/.well-known/openid-configuration")
	all := []finding.Finding{result("login", "does the login service answer?", err, p.ends.Login)}
	if err == nil {
		all = append(all, clock(login))
	}
	_, err = get(p.ends.Graph + "/v1.0/$metadata")
	all = append(all, result("graph", "does Microsoft Graph answer?", err, p.ends.Graph))
	_, err = get(p.ends.ARM + "/subscriptions?api-version=2022-12-01")
	return append(all, result("arm", "does Azure Resource Manager answer?", err, p.ends.ARM))
}

func clock(resp *http.Response) finding.Finding {
	const question = "is the clock right?"
	theirs, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return finding.Finding{ID: "clock", Question: question, Outcome: finding.Unknown, Detail: "the login service's answer has no date"}
	}
	skew := time.Since(theirs).Abs().Truncate(time.Second)
	if skew > maxSkew {
		err = fault.New(fault.Invalid, fmt.Sprintf("it is %s away from the login service's", skew), "set it by NTP: logins with a certificate are refused otherwise")
	}
	return result("clock", question, err, fmt.Sprintf("%s away from the login service's", skew))
}

func (a *App) checkOperator(ctx context.Context, p *place) finding.Finding {
	const question = "is the operator logged in to the right tenant?"
	if p.operator == api.NoOperator {
		return finding.Finding{ID: "operator", Question: question, Outcome: finding.Skip, Detail: "you asked for none"}
	}
	var who api.Caller
	tokens, err := token.New(token.Config{Authority: p.ends.Login, HTTP: p.transport, Local: p.cloud == agent.Local})
	if err == nil {
		var cred *token.Credential
		if cred, err = a.credential(p, tokens); err == nil {
			who, err = callers(ctx, cred, p)
		}
	}
	if err == nil && who.TenantID != p.tenant {
		err = fault.New(fault.Refused, "the token is of tenant "+who.TenantID+", not "+p.tenant, "log in to the right tenant")
	}
	return result("operator", question, err, fmt.Sprintf("%s as %s (%s)", p.operator, who.Name, who.ObjectID))
}

// checkCertificates looks when the recorded certificates end: of every agent, and of the Provisioner.
func checkCertificates(ctx context.Context, p *place) []finding.Finding {
	const id, question = agent.FindExpiry, "do the certificates live long enough?"
	all, err := recorded(ctx, p.dir)
	if err != nil {
		return []finding.Finding{result(id, question, err, "")}
	}
	var found []finding.Finding
	n := 0
	for _, rec := range all {
		g := rec.Active()
		if g == nil {
			continue
		}
		n++
		remedy := "leastkey rotate " + rec.Agent
		if rec.Agent == provisioner.Name {
			remedy = "leastkey provisioner rotate"
		}
		if f, soon := agent.Expiry(g.NotBefore, g.NotAfter, time.Now(), remedy); soon {
			f.Question, f.Detail = question, "that of "+rec.Agent+": "+f.Detail
			found = append(found, f)
		}
	}
	if n > 0 && len(found) == 0 {
		found = append(found, finding.Finding{ID: id, Question: question, Outcome: finding.Pass, Detail: fmt.Sprintf("%d recorded, none ends soon", n)})
	}
	return found
}

func (a *App) checkLedger(ctx context.Context, p *place, t api.Target) finding.Finding {
	const question = "is the ledger intact?"
	var v api.LedgerVerdict
	d, err := a.door(ctx, p, t)
	if err == nil {
		if v, err = d.VerifyLedger(ctx); err == nil && !v.Intact {
			err = fault.Newf(fault.Corrupt, "entry %d does not follow from the one before it", v.Broken)
		}
		if e := d.Close(); err == nil {
			err = e
		}
	}
	return result("ledger", question, err, fmt.Sprintf("%d entries, head %s", v.Entries, api.ShortDigest(v.Head)))
}
