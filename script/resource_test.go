//go:build unix

package script_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/leastkey/leastkey/internal/testkit/canary"
)

// The one story that prints the header of a managed-identity endpoint, and the one stream of it that may show it.
const (
	headerStory  = "cloud-env-of-a-resource"
	headerStdout = "stdout of cloud env --resource"
)

// printed finds endpoint and header in what cloud env --resource prints, as lines for a shell or as JSON.
var printed = regexp.MustCompile(`IDENTITY_(ENDPOINT|HEADER)(?:=|",\s*"value": ")'?([^'"\s]+)`)

// showsHeader tells whether the command is the one that prints the header.
func showsHeader(args []string) bool {
	return len(args) > 3 && args[0] == "leastkey" && args[1] == "cloud" && args[2] == "env" && slices.Contains(args, "--resource")
}

// learnHeader makes the header of a managed-identity endpoint a known secret, and remembers the endpoint.
func (s *story) learnHeader(stdout []byte) error {
	for _, m := range printed.FindAllSubmatch(stdout, -1) {
		s.planted["identity "+string(m[1])] = string(m[2])
		if string(m[1]) != "HEADER" {
			continue
		}
		if err := s.watch.Text(canary.HeaderValue, "the header of a managed-identity endpoint", m[2]); err != nil {
			return err
		}
	}
	return nil
}

// asks asks for a token at the managed-identity endpoint that was printed last, as code on the resource would, and puts the answer
// without its token on stdout.
func asks(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 1, 2, "asks STATUS [QUERY]")
	query := "api-version=2019-08-01&resource=" + url.QueryEscape("https://management.azure.com/")
	if len(args) > 1 {
		query += "&" + args[1]
	}
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.planted["identity ENDPOINT"]+"?"+query, nil)
	ts.Check(err)
	r.Header.Set("X-IDENTITY-HEADER", s.planted["identity HEADER"])
	resp, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer resp.Body.Close()
	body := map[string]any{}
	ts.Check(json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&body))
	delete(body, "access_token")
	text, err := json.Marshal(body)
	ts.Check(err)
	_, _ = ts.Stdout().Write(text) // into memory
	if got := resp.Status[:3]; got != args[0] {
		ts.Fatalf("the endpoint answers %s, want %s: %s", got, args[0], text)
	}
}
