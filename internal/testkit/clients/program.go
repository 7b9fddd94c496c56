package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leastkey/leastkey/internal/testkit/product"
)

// Program drives a client in another language. It is started with the variables that `leastkey cloud env` prints, the operator's
// certificate, and a pipe: it writes one JSON line and waits for one.
//
//	{"op":"…","ok":true}                                   an operation, done before the line was written; ok false, with text, fails it
//	{"op":"…","negative":true,"code":"…","text":"…"}       a negative case, with the client's own error; without text it has succeeded
//	{"do":"PATCH /knobs","body":{…}}                       a management request → {"status":200,"body":…}
//	{"do":"certificate","name":"x","seconds":3600}         a fresh certificate → {"both","key","cert","sha1","sha256"}
//	{"do":"identity","resource":"…"}                       a resource's managed identities → the answer of POST /identities
//	{"do":"issuer.token","issuer":"main","subject":"…","audience":"…"}  a token of one of Issuers → {"issuer","token"}
//
// What it asked since the line before the last belongs to the operation that a line ends. It is done when it exits with 0.
type Program struct {
	Env     string             // client whose environment it gets: js or python
	Args    []string           // the program and its arguments
	Dir     string             // working folder
	Issuers map[string]*Issuer // by the name that the program uses
}

// message is a line of the program.
type message struct {
	Op       string          `json:"op"`
	OK       bool            `json:"ok"`
	Negative bool            `json:"negative"`
	Code     string          `json:"code"`
	Text     string          `json:"text"`
	Do       string          `json:"do"`
	Body     json.RawMessage `json:"body"`
	Name     string          `json:"name"`
	Seconds  float64         `json:"seconds"`
	Resource string          `json:"resource"`
	Issuer   string          `json:"issuer"`
	Subject  string          `json:"subject"`
	Audience string          `json:"audience"`
}

// Program runs it, and writes its operations down as those of this suite.
func (s *Suite) Program(t *testing.T, p Program) {
	t.Helper()
	if err := s.runs(t, p); err != nil {
		t.Error(err)
	}
}

// runs is an error, written down, if the program breaks the protocol or ends badly; its operations tell for themselves.
func (s *Suite) runs(t *testing.T, p Program) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*product.Patience)
	defer cancel()
	op := s.Operator("sp-operator")
	cmd := exec.CommandContext(ctx, p.Args[0], p.Args[1:]...)
	cmd.Dir = p.Dir
	cmd.Env = append(s.Env(t, p.Env), "LEASTKEY_OPERATOR_APP_ID="+op.AppID, "LEASTKEY_OPERATOR_PEM="+op.CertificateFile, "LEASTKEY_RUN_ID="+s.run.Instance)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	talked := s.talk(t, p, stdout, stdin)
	_ = stdin.Close() // it may have ended, and closed it
	if err := errors.Join(talked, cmd.Wait()); err != nil {
		s.record.breaks()
		return fmt.Errorf("%s: %w\n%s", filepath.Base(p.Args[len(p.Args)-1]), err, stderr.String())
	}
	return nil
}

// talk reads lines and answers each, until there are no more.
func (s *Suite) talk(t *testing.T, p Program, from io.Reader, to io.Writer) error {
	t.Helper()
	if !s.one.TryLock() {
		t.Fatalf("%s: another operation of this suite is running", s.client)
	}
	defer s.one.Unlock()
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 1<<20)
	out := json.NewEncoder(to)
	before, err := s.last(t.Context())
	if err != nil {
		return err
	}
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return fmt.Errorf("not a line of the protocol: %q: %w", lines.Text(), err)
		}
		var answer any = struct{}{}
		if m.Do != "" {
			answer, err = s.do(p, m)
		} else {
			before, err = s.ended(t, m, before)
		}
		if err == nil {
			err = out.Encode(answer)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
	}
	return lines.Err()
}

// ended writes an operation down and gives the number of its last request.
func (s *Suite) ended(t *testing.T, m message, before uint64) (uint64, error) {
	t.Helper()
	requests, err := s.since(t.Context(), before)
	if err != nil {
		return before, err
	}
	wrong, err := m.wrong()
	if err != nil {
		return before, err
	}
	s.record.add(entry{Name: m.Op, Code: m.Code, Requests: requests, Failed: wrong != ""})
	if wrong != "" {
		t.Errorf("%s: %s: %s\n%s", s.client, m.Op, wrong, strings.Join(requests, "\n"))
	}
	return s.last(t.Context())
}

// wrong says why an operation does not count as done, or a case as refused; "" if it does.
func (m message) wrong() (string, error) {
	switch {
	case m.Op == "" || (m.Negative && m.Code == ""):
		return "", errors.New("a line without its name or code")
	case m.Negative && m.Text == "":
		return "it has succeeded", nil
	case m.Negative && !strings.Contains(m.Text, m.Code):
		return "its error says nothing of " + m.Code + ": " + m.Text, nil
	case !m.Negative && !m.OK:
		return "it has failed: " + m.Text, nil
	}
	return "", nil
}

// do does what the program cannot do itself.
func (s *Suite) do(p Program, m message) (any, error) {
	switch m.Do {
	case "certificate":
		c, err := newCertificate(filepath.Join(s.house.Home, "certificates"), m.Name, time.Duration(m.Seconds*float64(time.Second)))
		return map[string]string{"both": c.Both, "key": c.Key, "cert": c.Cert, "sha1": c.SHA1, "sha256": c.SHA256}, err
	case "identity":
		var answer json.RawMessage
		err := s.Management("POST", "/identities", map[string]string{"resource": m.Resource}, &answer)
		return answer, err
	case "issuer.token":
		i := p.Issuers[m.Issuer]
		if i == nil {
			return nil, fmt.Errorf("there is no issuer %q", m.Issuer)
		}
		token, err := i.Token(m.Subject, m.Audience)
		return map[string]string{"issuer": i.URL, "token": token}, err
	}
	method, path, ok := strings.Cut(m.Do, " ")
	if !ok {
		return nil, fmt.Errorf("it asks for %q, which there is not", m.Do)
	}
	var body any
	if len(m.Body) > 0 {
		body = m.Body
	}
	status, said, err := s.managed(method, path, body)
	if err != nil {
		return nil, err
	}
	if len(said) == 0 {
		said = []byte("null")
	}
	return map[string]any{"status": status, "body": json.RawMessage(said)}, nil
}
