package tape_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/world/tape"
)

// roundTrip is a transport of one function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answering is a client whose every answer is the text.
func answering(status int, text string) *http.Client {
	return &http.Client{Transport: tape.Transport(roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}, nil
	}))}
}

// ask sends a request and reads its answer.
func ask(t *testing.T, c *http.Client, method, url, sent, header string) (finding.Evidence, string) {
	t.Helper()
	ctx, heard := tape.With(t.Context())
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", header)
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	all := heard()
	if len(all) != 1 {
		t.Fatalf("heard %v", all)
	}
	return all[0], string(b)
}

func TestARequestIsNotedAndItsAnswerArrivesWhole(t *testing.T) {
	const body = `{ "id" : "1", "appId" : "2", "tags": [], "on": true, "n": 12345678901234567890, "no": null }`
	began := time.Now()
	e, got := ask(t, answering(http.StatusCreated, body), http.MethodPatch, "https://graph.example/v1.0/applications?$filter=a%20eq%20'b'&$top=1", `{"x":"sent"}`, "Bearer sent")
	sum := sha256.Sum256([]byte(body))
	if got != body {
		t.Errorf("the client read %s", got)
	}
	if e.Asked != "PATCH https://graph.example/v1.0/applications?$filter=a eq 'b'&$top=1" || e.Status != 201 || e.Digest != hex.EncodeToString(sum[:]) ||
		e.Answer != `{"id":"1","appId":"2","tags":[],"on":true,"n":12345678901234567890,"no":null}` || e.Took <= 0 || e.At.Before(began.Add(-time.Second)) {
		t.Errorf("%+v", e)
	}
}

// canary stands for every secret of the tests below.
const canary = "c4n4ry-7d1f9e"

func TestSecretsAreNotNoted(t *testing.T) {
	jwt := "eyJhbGciOiJub25lIn0.eyJhIjoiYzRuNHJ5LTdkMWY5ZSJ9.c2ln"
	for _, row := range []struct{ name, method, url, body, want string }{
		{"a token", "POST", "https://login.example/t/oauth2/v2.0/token", `{"token_type":"Bearer","expires_in":3599,"access_token":"` + canary + `"}`, `{"token_type":"Bearer","expires_in":3599,"access_token":"(redacted)"}`},
		{"a token of the instance's endpoint", "GET", "http://127.0.0.1/metadata/identity/oauth2/token?resource=x", `{"access_token":"` + canary + `","client_id":"1"}`, `{"access_token":"(redacted)","client_id":"1"}`},
		{"a device code", "POST", "https://login.example/t/oauth2/v2.0/devicecode", `{"user_code":"` + canary + `","device_code":"` + canary + `","interval":5}`, `{"user_code":"(redacted)","device_code":"(redacted)","interval":5}`},
		{"a token under a name of its own", "GET", "https://x.example/a", `{"error":"` + jwt + `"}`, `{"error":"(redacted)"}`},
		{"a secret of a vault", "GET", "https://v.vault.example/secrets/name/1", `{"value":"` + canary + `","id":"https://v.vault.example/secrets/name/1"}`, `{"value":"(redacted)","id":"https://v.vault.example/secrets/name/1"}`},
		{"what somebody wrote beside a vault's secret", "GET", "https://v.vault.example/secrets?api-version=7.4", `{"value":[{"id":"https://v.vault.example/secrets/a","contentType":"` + canary + `","tags":{"` + canary + `":"` + canary + `"},"attributes":{"enabled":true}}]}`,
			`{"value":[{"id":"https://v.vault.example/secrets/a","contentType":"(redacted)","tags":{"(redacted)":"(redacted)"},"attributes":{"enabled":true}}]}`},
		{"a refusal of a vault", "GET", "https://v.vault.example/secrets?api-version=7.4", `{"error":{"code":"Forbidden","message":"not allowed","innererror":{"code":"ForbiddenByRbac"}}}`, `{"error":{"code":"Forbidden","message":"not allowed","innererror":{"code":"ForbiddenByRbac"}}}`},
		{"the list of a vault's secrets", "GET", "https://v.vault.example/secrets?api-version=7.4", `{"value":[{"id":"https://v.vault.example/secrets/a"}],"nextLink":null}`, `{"value":[{"id":"https://v.vault.example/secrets/a"}],"nextLink":null}`},
		{"keys that are listed", "POST", "https://arm.example/subscriptions/s/providers/Microsoft.Storage/storageAccounts/a/listKeys?api-version=1", `{"keys":[{"keyName":"key1","value":"` + canary + `"}]}`, "(not shown: the answer is a secret)"},
		{"a password that was added", "POST", "https://graph.example/v1.0/applications/1/addPassword", `{"secretText":"` + canary + `"}`, "(not shown: the answer is a secret)"},
		{"a password credential", "GET", "https://graph.example/v1.0/applications/1", `{"passwordCredentials":[{"keyId":"1","secretText":null,"hint":"` + canary + `"}],"web":{"secretText":"` + canary + `"}}`, `{"passwordCredentials":[{"keyId":"1","secretText":null,"hint":"(redacted)"}],"web":{"secretText":"(redacted)"}}`},
		{"everything below a secret name", "GET", "https://x.example/a", `{"client_secret":{"a":["` + canary + `",1]},"b":2}`, `{"client_secret":{"a":["(redacted)","(redacted)"]},"b":2}`},
		{"a private key", "GET", "https://x.example/a", `{"kty":"EC","d":"` + canary + `","private_key":"` + canary + `"}`, `{"kty":"EC","d":"(redacted)","private_key":"(redacted)"}`},
		{"a connection string", "GET", "https://x.example/a", `{"s":"Endpoint=https://x;AccountKey=` + canary + `;Z=1"}`, `{"s":"Endpoint=https://x;(redacted);Z=1"}`},
		{"a secret in the query", "GET", "https://x.example/a?sig=" + canary + "&client_secret=" + canary + "&sv=1", `{}`, `{}`},
		{"no JSON", "GET", "https://x.example/a", "<html>" + canary + "</html>", "(26 bytes that are no JSON)"},
		{"a certificate is long, and no secret", "GET", "https://x.example/a", `{"key":"` + strings.Repeat("A", 900) + `","keyId":"1"}`, `{"key":"(900 characters)","keyId":"1"}`},
	} {
		e, _ := ask(t, answering(200, row.body), row.method, row.url, "sent "+canary, "Bearer "+canary)
		if e.Answer != row.want {
			t.Errorf("%s: %s\nwant %s", row.name, e.Answer, row.want)
		}
		if strings.Contains(e.Asked+e.Answer, canary) || strings.Contains(e.Answer, jwt) {
			t.Errorf("%s: the secret is in %+v", row.name, e)
		}
		secret := strings.HasPrefix(row.name, "a token o") || row.name == "a token" || row.name == "a device code" || strings.Contains(row.name, "vault") || strings.HasPrefix(e.Answer, "(not shown")
		if (e.Digest == "") != secret {
			t.Errorf("%s: digest %q", row.name, e.Digest)
		}
	}
}

func TestAnExcerptIsShort(t *testing.T) {
	for _, body := range []string{
		`{"value":[` + strings.Repeat(`{"id":"ä","displayName":"somebody"},`, 5000) + `{}]}`,
		`{"value":[{"id":"1"`, // broken off
		`[1,2`,
	} {
		e, got := ask(t, answering(200, body), "GET", "https://x.example/a", "", "")
		if len(e.Answer) > 400 || !strings.HasSuffix(e.Answer, "…") || got != body {
			t.Errorf("%d bytes: %s", len(e.Answer), e.Answer)
		}
	}
}

func TestAStreamIsHeardAsItComes(t *testing.T) {
	next := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"a":1,`)
		w.(http.Flusher).Flush()
		<-next
		_, _ = io.WriteString(w, `"b":2}`)
	}))
	defer srv.Close()
	ctx, heard := tape.With(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: tape.Transport(http.DefaultTransport)}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 7)
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	if e := heard()[0]; e.Answer != "(under way)" || e.Status != 200 {
		t.Errorf("%+v", e)
	}
	close(next)
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if e := heard()[0]; e.Answer != `{"a":1,"b":2}` || e.Digest == "" {
		t.Errorf("%+v", e)
	}
}

func TestWhatBrokeOffSaysSo(t *testing.T) {
	ctx, heard := tape.With(t.Context())
	c := &http.Client{Transport: tape.Transport(roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") }))}
	r, err := http.NewRequestWithContext(ctx, "GET", "https://x.example/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(r); err == nil {
		t.Fatal("no error")
	}
	if e := heard()[0]; e.Answer != "no answer: no route to host" || e.Status != 0 || e.Digest != "" {
		t.Errorf("%+v", e)
	}
}

func TestAnAnswerThatIsNotReadHasNoDigest(t *testing.T) {
	ctx, heard := tape.With(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", "https://x.example/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := answering(200, `{"a":1}`).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if e := heard()[0]; e.Digest != "" || e.Answer != "" || e.Status != 200 {
		t.Errorf("%+v", e)
	}
}

// Tapes lie under one another: the outer one hears what the inner ones hear.
func TestTapesNest(t *testing.T) {
	c := answering(200, `{}`)
	outer, all := tape.With(t.Context())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			inner, mine := tape.With(outer)
			for range 3 {
				r, err := http.NewRequestWithContext(inner, "GET", "https://x.example/a", nil)
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := c.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if n := len(mine()); n != 3 {
				t.Errorf("the inner tape heard %d", n)
			}
		})
	}
	wg.Wait()
	if n := len(all()); n != 24 {
		t.Errorf("the outer tape heard %d", n)
	}
}

func TestWithoutATapeNothingHappens(t *testing.T) {
	r, err := http.NewRequestWithContext(context.Background(), "GET", "https://x.example/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := answering(200, `{"a":1}`).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != `{"a":1}` {
		t.Errorf("%s %v", b, err)
	}
}
