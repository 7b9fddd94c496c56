package token

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

const objectID = "77777777-0000-4000-8000-000000000007"

func TestAProofOfPossessionVerifiesWithAnotherLibrary(t *testing.T) {
	key, der := pair()
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	text, err := Proof(opaque{key}, der, objectID, now)
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	parsed, err := jwt.ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return key.Public(), nil }, jwt.WithValidMethods([]string{"RS256"}),
		jwt.WithAudience("00000002-0000-0000-c000-000000000000"), jwt.WithIssuer(objectID), jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now }))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(der)
	if parsed.Header["x5t"] != base64.RawURLEncoding.EncodeToString(sum[:]) || len(parsed.Header) != 3 || len(claims) != 4 {
		t.Errorf("header %v, claims %v", parsed.Header, claims)
	}
	begins, _ := claims.GetNotBefore()
	ends, _ := claims.GetExpirationTime()
	if !begins.Equal(now) || ends.Sub(begins.Time) > 10*time.Minute || ends.Sub(begins.Time) < time.Minute {
		t.Errorf("it lives from %v to %v", begins, ends)
	}
}

func TestAProofIsRefusedForAPairThatCannotWork(t *testing.T) {
	key, der := pair()
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]func() (string, error){
		"another key":         func() (string, error) { return Proof(stranger, der, objectID, time.Now()) },
		"no certificate":      func() (string, error) { return Proof(key, []byte("x"), objectID, time.Now()) },
		"a name for an id":    func() (string, error) { return Proof(key, der, "my-app", time.Now()) },
		"no id":               func() (string, error) { return Proof(key, der, "", time.Now()) },
		"a certificate twice": func() (string, error) { return Proof(key, append(slices.Clone(der), der...), objectID, time.Now()) },
	} {
		if text, err := try(); !fault.Is(err, fault.Invalid) || text != "" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestTheLegacySecretHasThreeOutcomes(t *testing.T) {
	const legacy = "CANARY8Q~of-the-secret"
	for _, c := range []struct {
		name  string
		reply reply
		works bool
		said  string
		fails fault.Code
	}{
		{"it works, and its token is thrown away", grants(canary), true, "", ""},
		{"it is wrong", refuses(401, 7000215, "invalid_client", "AADSTS7000215: Invalid client secret provided."), false, "AADSTS7000215", ""},
		{"it has expired", refuses(401, 7000222, "invalid_client", "AADSTS7000222: The provided client secret keys are expired."), false, "AADSTS7000222", ""},
		{"the application is not there, which says nothing", refuses(400, 700016, "unauthorized_client", "AADSTS700016: Application was not found."), false, "", fault.NotFound},
		{"the service principal is disabled, which says nothing", refuses(401, 7000112, "unauthorized_client", "AADSTS7000112: disabled"), false, "", fault.Forbidden},
		{"a policy stops it, which says nothing", refuses(400, 53003, "access_denied", "AADSTS53003: blocked by Conditional Access"), false, "", "any"},
		{"the login service is away", reply{status: 503, body: "busy"}, false, "", fault.Unavailable},
		{"it is throttled", reply{status: 429, body: "slow"}, false, "", fault.Throttled},
		{"the answer is a stranger's", reply{status: 200, body: "<html>"}, false, "", "any"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := always(c.reply)
			works, said, err := client(t, l).LegacySecret(t.Context(), tenant, clientID, secret.New([]byte(legacy)), scope)
			if works != c.works || said != c.said || (fault.CodeOf(err) != c.fails && (c.fails != "any" || err == nil)) {
				t.Errorf("%v %q %v (%s)", works, said, err, fault.CodeOf(err))
			}
			if text := fmt.Sprintf("%v %+v %#v %q", err, err, err, fault.Hint(err)); strings.Contains(text, "CANARY") {
				t.Errorf("a secret is in %s", text)
			}
			if l.count() != 1 {
				t.Fatalf("%d requests", l.count())
			}
			want := url.Values{"grant_type": {"client_credentials"}, "client_id": {clientID}, "scope": {scope}, "client_secret": {legacy}}
			if a := l.asked[0]; a.method != "POST" || a.url != authority+"/"+tenant+"/oauth2/v2.0/token" || a.form.Encode() != want.Encode() {
				t.Errorf("asked %+v", a)
			}
		})
	}
	l := always(grants(canary))
	for _, bad := range []struct {
		id string
		v  secret.Value
	}{{"", secret.New([]byte(legacy))}, {"name", secret.New([]byte(legacy))}, {clientID, secret.Value{}}} {
		if works, _, err := client(t, l).LegacySecret(t.Context(), tenant, bad.id, bad.v, scope); works || !fault.Is(err, fault.Invalid) {
			t.Error(works, err)
		}
	}
	if l.count() > 0 {
		t.Error("something was sent")
	}
}

func TestWhoTellsWhatATokenMayDoAndHowItWasGot(t *testing.T) {
	of := func(claims string) secret.Value {
		return secret.New([]byte("h." + base64.RawURLEncoding.EncodeToString([]byte(`{"tid":"`+tenant+`","oid":"`+clientID+`",`+claims+`}`)) + ".s"))
	}
	for claims, want := range map[string]struct {
		roles string
		acr   string
	}{
		`"appid":"` + AzureCLI + `","appidacr":"2","roles":["A.All","B.All"]`: {"A.All B.All", "2"},
		`"azp":"` + AzureCLI + `","azpacr":"1"`:                               {"", "1"},
		`"upn":"ann@contoso.com"`:                                             {"", ""},
	} {
		who, err := Who(of(claims))
		if err != nil || strings.Join(who.Roles, " ") != want.roles || who.AppIDACR != want.acr {
			t.Errorf("%s: %+v %v", claims, who, err)
		}
	}
}
