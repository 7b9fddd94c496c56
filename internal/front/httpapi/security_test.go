package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// endpoint is one operation of the server, with the level that it needs.
type endpoint struct {
	method, path string
	level        api.Level
}

// endpoints are all that a stranger must not reach: those of the description, and the plain ones.
func endpoints(t *testing.T, f *frame) []endpoint {
	t.Helper()
	all := []endpoint{
		{"GET", "/metrics", api.View}, {"GET", "/api/v1/openapi.json", api.View},
		{"GET", "/api/setup/runtime-identity", api.View}, {"POST", "/api/setup/runtime-identity/provision", api.Full},
		{"POST", "/api/setup/runtime-identity/revoke", api.Full}, {"GET", "/api/identity/info", api.View}, {"GET", "/api/identity/roles", api.View},
		{"POST", "/api/identity/fix-roles", api.Full}, {"GET", "/api/guardrails/preflight", api.View}, {"POST", "/api/guardrails/preflight/run", api.Approve},
	}
	for path, item := range f.api.OpenAPI().Paths {
		path = strings.NewReplacer("{", "", "}", "").Replace(path)
		for method, op := range map[string]any{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete} {
			if o := operationOf(op); o != nil && o.Metadata[levelKey] != openLevel {
				level, ok := o.Metadata[levelKey].(api.Level)
				if !ok {
					t.Errorf("%s %s says no level", method, path)
				}
				all = append(all, endpoint{method, v1 + path, level})
			}
		}
	}
	if len(all) < 25 {
		t.Fatalf("only %d endpoints", len(all))
	}
	return all
}

func TestWithoutATokenNothingAnswers(t *testing.T) {
	f := newFrame(t, func(c *Config) { c.AdminSecret = secret.New([]byte(theSecret)) })
	f.tokens.by["revoked-token"] = api.AdminToken{Name: "old", Level: api.Full, Revoked: time.Now()}
	for _, e := range endpoints(t, f) {
		for name, headers := range map[string][]string{
			"none": nil, "empty": {"Authorization: Bearer "}, "another scheme": {"Authorization: Basic " + fullToken}, "no scheme": {"Authorization: " + fullToken},
			"a cookie that nobody gave": {"Cookie: leastkey=" + fullToken}, "the token as a cookie of TLS": {"Cookie: __Host-leastkey=" + fullToken},
			"a token that is too long": {as(fullToken + strings.Repeat("x", maxToken))}, "bytes that are no text": {"Authorization: Bearer \xff\xfe"},
		} {
			a := f.ask(t, e.method, e.path, "", headers...)
			if a.StatusCode != http.StatusUnauthorized && !(a.StatusCode == http.StatusTooManyRequests && strings.HasPrefix(name, "bytes")) {
				t.Errorf("%s %s with %s: %d %s", e.method, e.path, name, a.StatusCode, a.text)
			}
			if len(f.house.entered) > 0 {
				t.Fatalf("%s %s with %s entered the house", e.method, e.path, name)
			}
		}
	}
	for _, wrong := range []string{"Bearer revoked-token", "Bearer wrong"} {
		f := newFrame(t, nil)
		f.tokens.by["revoked-token"] = api.AdminToken{Name: "old", Level: api.Full, Revoked: time.Now()}
		if a := f.ask(t, "GET", "/api/v1/session", "", "Authorization: "+wrong); a.StatusCode != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d", wrong, a.StatusCode)
		}
	}
}

func TestAServerWithoutAnyTokenLetsNobodyIn(t *testing.T) {
	f := newFrame(t, func(c *Config) { c.Tokens = &frameTokens{} })
	for _, header := range []string{"Authorization: Bearer ", "Authorization: Bearer x", "Cookie: leastkey=", "X-None: 1"} {
		if a := f.ask(t, "GET", "/api/v1/session", "", header); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", header, a.StatusCode, a.text)
		}
	}
	if a := f.ask(t, "POST", "/api/v1/session", `{"token":""}`); a.StatusCode != http.StatusBadRequest {
		t.Errorf("an empty token: %d %s", a.StatusCode, a.text)
	}
}

func TestARoleThatIsTooLowIsRefused(t *testing.T) {
	f := newFrame(t, nil)
	changes := 0
	looks := []string{"/api/v1/session", "/api/v1/plans", "/api/v1/provisioner/plans", "/api/v1/preflight/verify", "/api/v1/plans/digest"} // with a body, or one's own logout
	for _, e := range endpoints(t, f) {
		for token, have := range map[string]api.Level{viewToken: api.View, approveToken: api.Approve} {
			if have.Includes(e.level) {
				continue
			}
			changes++
			if a := f.ask(t, e.method, e.path, "{}", as(token)); a.StatusCode != http.StatusForbidden {
				t.Errorf("%s %s as %s: %d %s", e.method, e.path, have, a.StatusCode, a.text)
			}
		}
		if e.level == api.View && e.method != "GET" && !slices.Contains(looks, e.path) {
			t.Errorf("%s %s changes something and needs no more than view", e.method, e.path)
		}
	}
	if changes < 10 {
		t.Errorf("only %d were tried", changes)
	}
}

func TestATokenInTheAddressIsRefusedAndNotLogged(t *testing.T) {
	f := newFrame(t, nil)
	for _, query := range []string{"token=" + fullToken, "a=b&secret=" + fullToken, "Token=" + fullToken, "%74oken=" + fullToken, "a;token=" + fullToken, "access_token=" + fullToken} {
		for _, header := range []string{"X-None: 1", as(fullToken)} { // even beside one that is good
			a := f.ask(t, "GET", "/api/v1/session?"+query, "", header)
			if a.StatusCode != http.StatusUnauthorized || !strings.Contains(a.text, "Authorization") || strings.Contains(a.text, fullToken) {
				t.Errorf("%s: %d %s", query, a.StatusCode, a.text)
			}
		}
	}
	if strings.Contains(f.log.String(), fullToken) {
		t.Error("the log has the token")
	}
}

func TestHostsThatAreNotOursAreRefused(t *testing.T) {
	f := newFrame(t, func(c *Config) { c.Hosts = []string{"admin.example.org", "[fd00::1]"} })
	for host, want := range map[string]int{
		"127.0.0.1:9090": 200, "localhost:1": 200, "[::1]:9090": 200, "127.8.9.1": 200, "admin.example.org": 200, "ADMIN.example.org:443": 200, "[fd00::1]:8": 200,
		"evil.test": 421, "127.0.0.1.evil.test": 421, "localhost.evil.test:9090": 421, "10.0.0.1": 421, "": 421, "admin.example.org.": 421, "x@localhost": 421, "0.0.0.0:9090": 421,
	} {
		for _, path := range []string{"/healthz", "/api/v1/session"} {
			if a := f.ask(t, "GET", path, "", "Host: "+host, as(viewToken)); a.StatusCode != want {
				t.Errorf("%s of host %q: %d", path, host, a.StatusCode)
			}
		}
	}
}

// browser logs in with a link and gives the cookie's header.
func (f *frame) browser(t *testing.T) string {
	t.Helper()
	a := f.ask(t, "POST", "/api/v1/session", `{"code":"`+open(f.Invite())+`"}`, "Sec-Fetch-Site: same-origin")
	if a.StatusCode != http.StatusOK || len(a.Cookies()) != 1 {
		t.Fatalf("login: %d %s", a.StatusCode, a.text)
	}
	return "Cookie: " + a.Cookies()[0].Name + "=" + a.Cookies()[0].Value
}

func open(v secret.Value) (text string) {
	_ = v.Use(func(b []byte) error { text = string(b); return nil })
	return text
}

func TestAForeignPageCannotUseTheCookie(t *testing.T) {
	f := newFrame(t, nil)
	cookie := f.browser(t)
	const change, look = "DELETE", "GET"
	for _, row := range []struct {
		name, method string
		headers      []string
		ok           bool
	}{
		{"our page changes", change, []string{"Sec-Fetch-Site: same-origin"}, true},
		{"our page changes, in an old browser", change, []string{"Origin: http://127.0.0.1:9090"}, true},
		{"another site", change, []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.test"}, false},
		{"another port of this machine", change, []string{"Sec-Fetch-Site: same-site", "Origin: http://127.0.0.1:8000"}, false},
		{"another port, in an old browser", change, []string{"Origin: http://127.0.0.1:8000"}, false},
		{"an opaque origin", change, []string{"Origin: null"}, false},
		{"nobody says from where", change, nil, false},
		{"no page of anybody's", change, []string{"Sec-Fetch-Site: none"}, false},
		{"our page looks", look, []string{"Sec-Fetch-Site: same-origin"}, true},
		{"a typed address", look, []string{"Sec-Fetch-Site: none"}, true},
		{"another site looks", look, []string{"Sec-Fetch-Site: cross-site"}, false},
		{"another port looks", look, []string{"Sec-Fetch-Site: same-site"}, false},
	} {
		a := f.ask(t, row.method, "/api/v1/session", "", append(row.headers, cookie)...)
		if refused := a.StatusCode == http.StatusForbidden; refused == row.ok {
			t.Errorf("%s: %d %s", row.name, a.StatusCode, a.text)
		}
		if a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: another origin may read", row.name)
		}
		if row.ok && row.method == change { // it was a logout
			cookie = f.browser(t)
		}
	}
	// A token is no cookie, but a foreign page that has one is still foreign.
	if a := f.ask(t, "DELETE", "/api/v1/session", "", as(fullToken), "Sec-Fetch-Site: cross-site"); a.StatusCode != http.StatusForbidden {
		t.Errorf("with a token from elsewhere: %d", a.StatusCode)
	}
}

func TestTheCookieIsForThisServerAlone(t *testing.T) {
	for _, tls := range []bool{false, true} {
		f := newFrame(t, func(c *Config) { c.TLS = tls })
		a := f.ask(t, "POST", "/api/v1/session", `{"token":"`+approveToken+`"}`)
		if a.StatusCode != http.StatusOK || len(a.Cookies()) != 1 {
			t.Fatalf("%d %s", a.StatusCode, a.text)
		}
		c := a.Cookies()[0]
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.Secure != tls || strings.HasPrefix(c.Name, "__Host-") != tls || len(c.Value) < 50 || c.Value == approveToken {
			t.Errorf("over TLS %v: %+v", tls, c)
		}
		who := f.ask(t, "GET", "/api/v1/session", "", "Cookie: "+c.Name+"="+c.Value)
		if who.StatusCode != 200 || !strings.Contains(who.text, `"role":"approve"`) || strings.Contains(a.text, approveToken) || strings.Contains(a.text, c.Value) {
			t.Errorf("%d %s", who.StatusCode, who.text)
		}
		if got := a.Header.Get("Strict-Transport-Security") != ""; got != tls {
			t.Errorf("over TLS %v: strict transport security %v", tls, got)
		}
	}
}

// clock is a time that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func TestALoginLinkIsGoodOnceAndForFiveMinutes(t *testing.T) {
	at := &clock{time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)}
	f := newFrame(t, func(c *Config) { c.Now = at.now })
	use := func(code secret.Value) int {
		return f.ask(t, "POST", "/api/v1/session", `{"code":"`+open(code)+`"}`).StatusCode
	}
	once := f.Invite()
	if got := []int{use(once), use(once)}; !slices.Equal(got, []int{200, 401}) {
		t.Errorf("twice: %v", got)
	}
	late := f.Invite()
	at.at = at.at.Add(linkLife)
	if got := use(late); got != 401 {
		t.Errorf("late: %d", got)
	}
	if got := use(secret.New([]byte("0123456789abcdef0123456789abcdef"))); got != 401 {
		t.Errorf("guessed: %d", got)
	}
}

func TestASessionEnds(t *testing.T) {
	at := &clock{time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)}
	f := newFrame(t, func(c *Config) { c.Now = at.now })
	works := func(cookie string) bool { return f.ask(t, "GET", "/api/v1/session", "", cookie).StatusCode == 200 }

	idle := f.browser(t)
	at.at = at.at.Add(idleLife - time.Second)
	if !works(idle) {
		t.Error("it ended too early")
	}
	at.at = at.at.Add(idleLife)
	if works(idle) {
		t.Error("idle, and it goes on")
	}

	busy := f.browser(t)
	for range int(sessionLife/idleLife)*2 - 1 {
		at.at = at.at.Add(idleLife / 2)
		if !works(busy) {
			t.Fatal("in use, and it ended")
		}
	}
	at.at = at.at.Add(idleLife / 2)
	if works(busy) {
		t.Error("it has no end")
	}

	out := f.browser(t)
	if a := f.ask(t, "DELETE", "/api/v1/session", "", out, "Sec-Fetch-Site: same-origin"); a.StatusCode != 204 || a.Cookies()[0].MaxAge >= 0 {
		t.Errorf("logout: %d", a.StatusCode)
	}
	if works(out) {
		t.Error("logged out, and it goes on")
	}

	a := f.ask(t, "POST", "/api/v1/session", `{"token":"`+viewToken+`"}`)
	cookie := "Cookie: leastkey=" + a.Cookies()[0].Value
	if !works(cookie) {
		t.Fatal("a token opens no session")
	}
	f.tokens.revoke(viewToken)
	if works(cookie) {
		t.Error("its token is revoked, and it goes on")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	f := newFrame(t, nil)
	person := f.browser(t)
	lives := func(cookie string) bool {
		return f.ask(t, "GET", "/api/v1/session", "", cookie).StatusCode == 200
	}
	var cookies []string
	for range ownSessions + 1 {
		a := f.ask(t, "POST", "/api/v1/session", `{"token":"`+viewToken+`"}`)
		cookies = append(cookies, "Cookie: leastkey="+a.Cookies()[0].Value)
	}
	if n := len(f.sessions.open); n != ownSessions+1 {
		t.Errorf("%d sessions", n)
	}
	if lives(cookies[0]) || !lives(cookies[1]) || !lives(cookies[ownSessions]) || !lives(person) {
		t.Error("whoever opens many does not lose the oldest of their own, and that alone")
	}
	for i := range maxSessions {
		f.sessions.begin(Who{Name: fmt.Sprint("x", i), Level: api.View, Session: true})
	}
	if n := len(f.sessions.open); n != maxSessions {
		t.Errorf("%d sessions of all", n)
	}
}

func TestGuessingIsSlowedDown(t *testing.T) {
	at := &clock{time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)}
	f := newFrame(t, func(c *Config) { c.Now, c.AdminSecret = at.now, secret.New([]byte(theSecret)) })
	try := func(token string, headers ...string) reply {
		return f.ask(t, "GET", "/api/v1/session", "", append(headers, as(token))...)
	}
	if a := try(theSecret); a.StatusCode != 200 || !strings.Contains(a.text, "ADMIN_SECRET") {
		t.Fatalf("the secret: %d %s", a.StatusCode, a.text)
	}
	guesses, waited := 0, time.Duration(0)
	for day := at.at.Add(24 * time.Hour); at.at.Before(day) && guesses < 1000; {
		a := try(fmt.Sprintf("guess-%d", guesses))
		switch a.StatusCode {
		case 401:
			guesses++
		case 429:
			var wait int
			if _, err := fmt.Sscan(a.Header.Get("Retry-After"), &wait); err != nil || wait <= 0 {
				t.Fatalf("Retry-After %q", a.Header.Get("Retry-After"))
			}
			waited = time.Duration(wait) * time.Second
			at.at = at.at.Add(waited)
		default:
			t.Fatalf("%d %s", a.StatusCode, a.text)
		}
	}
	if waited != longestWait || guesses > 24*60/5+20 {
		t.Errorf("%d guesses in a day, the last wait %s", guesses, waited)
	}
	try("one more") // which shuts it, if it was open
	if a := try("and one with a header", "X-Forwarded-For: 203.0.113.9"); a.StatusCode != 429 {
		t.Errorf("whoever says to come from elsewhere is let in: %d", a.StatusCode)
	}
	if a := try(theSecret); a.StatusCode != 429 {
		t.Errorf("two are compared within a second of each other: %d", a.StatusCode)
	}
	if a := try(fullToken); a.StatusCode != 200 {
		t.Errorf("the owner of a token is locked out: %d", a.StatusCode)
	}
	at.at = at.at.Add(longestWait)
	if a := try(theSecret); a.StatusCode != 200 {
		t.Errorf("after the wait: %d", a.StatusCode)
	}
}

// TestNobodyLocksTheSecretOut: what strangers guess makes guessing slow, and not the right secret useless.
func TestNobodyLocksTheSecretOut(t *testing.T) {
	at := &clock{time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)}
	f := newFrame(t, func(c *Config) { c.Now, c.Proxied, c.AdminSecret = at.now, true, secret.New([]byte(theSecret)) })
	guess := func(from, code string) int {
		return f.ask(t, "POST", "/api/v1/session", code, "X-Forwarded-For: "+from).StatusCode
	}
	use := func(from string) int {
		return f.ask(t, "GET", "/api/v1/session", "", as(theSecret), "X-Forwarded-For: "+from).StatusCode
	}
	for range 3 * freeEverywhere {
		if got := guess("203.0.113.1", `{"code":"an-old-link"}`); got != 401 {
			t.Fatalf("an old login link: %d", got)
		}
	}
	if len(f.throttle.by) != 0 || f.throttle.here.n != 0 {
		t.Error("old login links count as guesses")
	}
	home := "198.51.100.7"
	if got := use(home); got != 200 {
		t.Fatal(got)
	}
	flood := func() {
		for i := range 3 * freeEverywhere {
			guess(fmt.Sprintf("203.0.%d.%d", i/200, i%200), `{"token":"guess"}`)
		}
	}
	flood()
	if f.throttle.wait("192.0.2.1") == 0 {
		t.Error("unknown addresses do not have to wait")
	}
	if got := use(home); got != 200 {
		t.Errorf("where the secret came from before: %d", got)
	}
	at.at = at.at.Add(glimpseEvery)
	if got := use("192.0.2.1"); got != 200 {
		t.Errorf("from elsewhere: %d", got)
	}
	at.at = at.at.Add(glimpseEvery)
	tried := 0
	for i := range 100 {
		if f.throttle.glimpse(fmt.Sprintf("10.0.0.%d", i)) {
			tried++
		}
	}
	if tried != glimpses {
		t.Errorf("%d strangers are looked at within a second", tried)
	}
	for range 10 * freeFailures { // from the same address as the owner
		guess(home, `{"token":"guess"}`)
		at.at = at.at.Add(longestWait)
	}
	guess(home, `{"token":"guess"}`)
	at.at = at.at.Add(glimpseEvery)
	if f.throttle.wait(home) == 0 {
		t.Fatal("the address does not have to wait")
	}
	if got := use(home); got != 200 || f.throttle.wait(home) != 0 {
		t.Errorf("beside somebody who guesses: %d, and has to wait %s", got, f.throttle.wait(home))
	}
}

func TestATokenIsNoPersonOfItsName(t *testing.T) {
	f := newFrame(t, nil)
	f.tokens.by["adas"] = api.AdminToken{Name: "ada", Level: api.View}
	a := f.ask(t, "POST", "/api/v1/session", `{"token":"adas"}`)
	for want, header := range map[string]string{"token:ada": as("adas"), "token:ada [browser]": "Cookie: leastkey=" + a.Cookies()[0].Value, "ada [browser]": f.browser(t)} {
		f.house.entered = nil
		f.ask(t, "GET", "/api/v1/ledger", "", header)
		if len(f.house.entered) != 1 || f.house.entered[0] != want {
			t.Errorf("the ledger would have %q, want %q", f.house.entered, want)
		}
	}
}

func TestGuessingFromManyAddressesIsSlowedDownToo(t *testing.T) {
	at := &clock{time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)}
	f := newFrame(t, func(c *Config) { c.Now, c.Proxied, c.AdminSecret = at.now, true, secret.New([]byte(theSecret)) })
	shut := 0
	for i := range 3 * freeEverywhere {
		a := f.ask(t, "POST", "/api/v1/session", fmt.Sprintf(`{"token":"guess-%d"}`, i), fmt.Sprintf("X-Forwarded-For: 10.0.0.1, 203.0.%d.%d", i/200, i%200))
		if a.StatusCode == 429 {
			shut++
		}
	}
	if shut < freeEverywhere {
		t.Errorf("only %d were told to wait", shut)
	}
	if len(f.throttle.by) > 3*freeEverywhere {
		t.Errorf("%d addresses", len(f.throttle.by))
	}
	for i := range 2 * maxAddresses {
		f.throttle.failed(fmt.Sprint(i))
	}
	if n := len(f.throttle.by); n > maxAddresses {
		t.Errorf("strangers fill the memory: %d addresses", n)
	}
}

func TestPathsThatMeanTwoThings(t *testing.T) {
	f := newFrame(t, func(c *Config) {
		c.Pages = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	})
	cookie := f.browser(t)
	for _, path := range []string{
		"/../etc/passwd", "/assets/../etc/passwd", "/assets/%2e%2e/etc/passwd", "/assets/..%2fetc%2fpasswd", "/assets/%2e%2e%2fetc/passwd", "/assets/..%5cetc", "/assets//etc/passwd",
		"/assets/./x", "/api/v1/../../etc/passwd", "/api//v1/session", "/login/../etc/passwd", "/login/%2e%2e/etc/passwd", "/assets/etc%2fpasswd", "/a\\b", "/a%00b", "/a%0d%0ab",
	} {
		for _, header := range []string{"X-None: 1", cookie, as(fullToken)} {
			a := f.ask(t, "GET", path, "", header)
			if a.StatusCode != http.StatusNotFound || a.Header.Get("Content-Type") != problemType { // the web's own has another form
				t.Errorf("%s: %d %s", path, a.StatusCode, a.text)
			}
		}
	}
}

func TestPagesNeedALogin(t *testing.T) {
	f := newFrame(t, func(c *Config) {
		c.Pages = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			who, ok := WhoOf(r.Context())
			fmt.Fprint(w, ok, who.Name)
		})
	})
	for path, want := range map[string]int{"/": 303, "/agents/bot": 303, "/loginx": 303, "/assetsx/a": 303, "/login": 200, "/assets/a.css": 200, "/healthz/": 303} {
		a := f.ask(t, "GET", path, "")
		if a.StatusCode != want || (want == 303 && a.Header.Get("Location") != "/login") || (want == 200 && a.text != "false") {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.text)
		}
	}
	if a := f.ask(t, "POST", "/agents/bot", "a=b", "Content-Type: application/x-www-form-urlencoded"); a.StatusCode != 401 {
		t.Errorf("a form of nobody: %d", a.StatusCode)
	}
	if a := f.ask(t, "GET", "/", "", f.browser(t), "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"); a.text != "trueada" {
		t.Errorf("a link from elsewhere: %d %s", a.StatusCode, a.text)
	}
	if a := f.ask(t, "GET", "/", "", f.browser(t), "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"); a.StatusCode != 403 {
		t.Errorf("a picture on a foreign page: %d", a.StatusCode)
	}
	for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "X-Frame-Options", "Cache-Control"} {
		if f.ask(t, "GET", "/login", "").Header.Get(name) == "" {
			t.Errorf("the page has no %s", name)
		}
	}
}

func TestWhatIsNotJSONIsRefused(t *testing.T) {
	f := newFrame(t, nil)
	for kind, want := range map[string]int{"application/json": 200, "application/json; charset=utf-8": 200, "text/plain": 415, "application/x-www-form-urlencoded": 415, "multipart/form-data; boundary=x": 415, "application/cbor": 415, "garbage;;": 415} {
		if a := f.ask(t, "POST", "/api/v1/session", `{"token":"`+viewToken+`"}`, "Content-Type: "+kind); a.StatusCode != want {
			t.Errorf("%s: %d %s", kind, a.StatusCode, a.text)
		}
	}
	const marked = "canary-of-a-body"
	for _, body := range []string{`{"token":`, `[]`, `{"token":5}`, `{"nothing":"` + marked + `"}`, `"` + marked + `"`, `{"code":["` + marked + `"]}`, "\x00\xff", strings.Repeat("[", 3000)} {
		a := f.ask(t, "POST", "/api/v1/session", body)
		if p := a.problem(t); a.StatusCode < 400 || a.StatusCode >= 500 || p.Detail == "" || strings.Contains(a.text, marked) {
			t.Errorf("%.20s: %d %s", body, a.StatusCode, a.text)
		}
	}
	if strings.Contains(f.log.String(), marked) || strings.Contains(f.log.String(), viewToken) {
		t.Error("the log has a body")
	}
}

// TestTheSeedsFrontEndReadsEveryRefusal: it shows message, whatever the status.
func TestTheSeedsFrontEndReadsEveryRefusal(t *testing.T) {
	at := &clock{time.Date(2026, 8, 1, 0, 0, 0, 0, time.UTC)}
	f := newFrame(t, func(c *Config) { c.Now, c.AdminSecret = at.now, secret.New([]byte(theSecret)) })
	for range freeFailures + 1 {
		f.ask(t, "GET", "/api/identity/info", "", as("guess"))
	}
	provision := "/api/setup/runtime-identity/provision"
	for name, row := range map[string]struct {
		status             int
		method, path, body string
		headers            []string
	}{
		"a role that is too low": {403, "POST", provision, "{}", []string{as(viewToken)}},
		"another site's page":    {403, "POST", provision, "{}", []string{as(fullToken), "Origin: https://evil.test", "Sec-Fetch-Site: cross-site"}},
		"no such path":           {404, "GET", "/api/setup/nothing", "", []string{as(viewToken)}},
		"a wrong method":         {405, "GET", provision, "", []string{as(viewToken)}},
		"a body too large":       {413, "POST", provision, strings.Repeat("x", maxBody+1), []string{as(fullToken)}},
		"another name":           {421, "GET", "/health", "", []string{"Host: evil.test"}},
		"too many guesses":       {429, "GET", "/api/identity/info", "", []string{as("guess")}},
	} {
		a := f.ask(t, row.method, row.path, row.body, row.headers...)
		var said map[string]string
		if err := json.Unmarshal([]byte(a.text), &said); err != nil || a.StatusCode != row.status || said["status"] != "error" || said["message"] == "" || said["hint"] == "" || a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s (%v)", name, a.StatusCode, a.text, err)
		}
	}
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "garbage;;"} {
		if a := f.ask(t, "POST", "/api/auth/check", "{}", "Content-Type: "+kind, as(viewToken)); a.StatusCode != 200 {
			t.Errorf("a body of %s, which the original ignores: %d %s", kind, a.StatusCode, a.text)
		}
	}
}

func TestABodyThatIsTooLarge(t *testing.T) {
	f := newFrame(t, nil)
	for name, row := range map[string]struct {
		path string
		n    int
		who  string
		want int
	}{
		"at the limit, of a caller":    {"/api/v1/plans", maxBody, fullToken, 422},
		"over it":                      {"/api/v1/plans", maxBody + 1, fullToken, 413},
		"over it, of a stranger":       {"/api/v1/plans", maxBody + 1, "", 401},
		"a login of more than a login": {"/api/v1/session", maxOpenBody + 1, "", 413},
	} {
		body := `"` + strings.Repeat("x", row.n-2) + `"`
		for _, header := range []string{"X-None: 1", "Transfer-Encoding: chunked"} {
			headers := []string{header}
			if row.who != "" {
				headers = append(headers, as(row.who))
			}
			if a := f.ask(t, "POST", row.path, body, headers...); a.StatusCode != row.want && !(row.want == 422 && a.StatusCode == 400) {
				t.Errorf("%s: %d %.80s", name, a.StatusCode, a.text)
			}
		}
	}
}

func TestAPanicTellsNothing(t *testing.T) {
	f := newFrame(t, func(c *Config) {
		c.Pages = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("the-inside-of-it") })
	})
	a := f.ask(t, "GET", "/login", "")
	p := a.problem(t)
	if a.StatusCode != 500 || strings.Contains(a.text, "inside") || !strings.Contains(p.Hint, a.Header.Get("X-Request-Id")) {
		t.Errorf("%d %s", a.StatusCode, a.text)
	}
	if !strings.Contains(f.log.String(), "the-inside-of-it") {
		t.Error("the log does not have it either")
	}
	if a := f.ask(t, "GET", "/healthz", ""); a.StatusCode != 200 {
		t.Errorf("after it: %d", a.StatusCode)
	}
}

func TestTheLogIsEnoughAndNotTooMuch(t *testing.T) {
	f := newFrame(t, nil)
	f.ask(t, "GET", "/api/v1/session?q=canary-query", "", as(viewToken), "X-Header: canary-header", "Cookie: other=canary-cookie")
	line := f.log.String()
	for _, has := range []string{`"method":"GET"`, `"route":"/api/v1/session"`, `"status":200`, `"actor":"viewer"`, `"role":"view"`, `"request":"`, `"ms":`} {
		if !strings.Contains(line, has) {
			t.Errorf("%s is missing: %s", has, line)
		}
	}
	if strings.Contains(line, "canary") || strings.Contains(line, viewToken) {
		t.Errorf("too much: %s", line)
	}
}

func TestMetricsAndReadiness(t *testing.T) {
	f := newFrame(t, func(c *Config) { c.MetricsOpen = true })
	a := f.ask(t, "GET", "/metrics", "")
	for _, has := range []string{`leastkey_certificate_expiry_seconds{agent="bot"} 99`, `leastkey_preflight_findings{agent="bot",outcome="fail"} 1`, `leastkey_jobs{status="done",verb="apply"} 2`, "leastkey_record_readable 1"} {
		if !strings.Contains(a.text, has) {
			t.Errorf("%s is missing:\n%s", has, a.text)
		}
	}
	f.house.state = fmt.Errorf("the-reason")
	if a := f.ask(t, "GET", "/metrics", ""); a.StatusCode != 200 || !strings.Contains(a.text, "leastkey_record_readable 0") || strings.Contains(a.text, "certificate_expiry") {
		t.Errorf("unread: %d\n%s", a.StatusCode, a.text)
	}
	f.house.notReady = fmt.Errorf("the-reason")
	if a := f.ask(t, "GET", "/readyz", ""); a.StatusCode != 503 || strings.Contains(a.text, "the-reason") {
		t.Errorf("not ready: %d %s", a.StatusCode, a.text)
	}
	f.Close()
	if a := f.ask(t, "GET", "/api/v1/session", "", as(viewToken)); a.StatusCode != 503 || a.Header.Get("Connection") != "close" {
		t.Errorf("ending: %d %s", a.StatusCode, a.text)
	}
	if a := f.ask(t, "GET", "/healthz", ""); a.StatusCode != 200 {
		t.Errorf("ending is not dead: %d", a.StatusCode)
	}
}

func TestARecordThatCannotBeReadLetsNobodyIn(t *testing.T) {
	f := newFrame(t, nil)
	f.tokens.broken = fmt.Errorf("disk on fire")
	if a := f.ask(t, "GET", "/api/v1/session", "", as(fullToken)); a.StatusCode < 500 {
		t.Errorf("%d %s", a.StatusCode, a.text)
	}
}
