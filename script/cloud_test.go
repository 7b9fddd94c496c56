//go:build unix

package script_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/leastkey/leastkey/internal/app"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/testkit/canary"
	"github.com/leastkey/leastkey/internal/testkit/cloudview"
)

const (
	cloudProcess = "cloud"
	agentName    = "polyclaw-runtime"
)

func cloud(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 1, -1, "cloud start [ARG…] | stop | attach DIR | knobs JSON | approve NAME OPERATOR")
	switch args[0] {
	case "start":
		start(s, ts, append([]string{cloudProcess, "leastkey", "cloud", "serve"}, args[1:]...))
		s.until(ts, s.process(ts, cloudProcess), &s.process(ts, cloudProcess).out, regexp.MustCompile(`run folder +\S`))
		s.attach(ts, filepath.Join(ts.Getenv("LEASTKEY_HOME"), "local"))
	case "stop":
		c := s.attachedTo(ts)
		ts.Check(s.requestLog(c))
		signal(s, ts, []string{cloudProcess, "INT"})
		ends(s, ts, []string{cloudProcess, "0"})
	case "attach":
		needs(ts, args, 2, 2, "cloud attach DIR")
		s.attach(ts, ts.MkAbs(args[1]))
	case "knobs":
		needs(ts, args, 2, 2, "cloud knobs JSON")
		s.managed(ts, func(m *localcloud.Management) error {
			_, err := m.PatchKnobs(s.ctx, []byte(args[1]))
			return err
		})
	case "approve":
		needs(ts, args, 3, 3, "cloud approve NAME OPERATOR")
		p := s.process(ts, args[1])
		code := s.until(ts, p, &p.err, regexp.MustCompile(`\b([A-Z0-9]{9})\b`))[1]
		s.managed(ts, func(m *localcloud.Management) error {
			return m.ApproveDevice(s.ctx, code, args[2]+"@"+localcloud.DefaultDomain)
		})
	default:
		ts.Fatalf("cloud cannot %s", args[0])
	}
}

func (s *story) managed(ts *testscript.TestScript, do func(*localcloud.Management) error) {
	run, err := localcloud.ReadRun(s.ctx, s.attachedTo(ts).dir)
	ts.Check(err)
	m, err := run.Manage()
	ts.Check(err)
	defer m.Close()
	ts.Check(do(m))
}

// attach looks at the cloud that runs in a folder, and plants the canary in it.
func (s *story) attach(ts *testscript.TestScript, dir string) {
	run, err := localcloud.ReadRun(s.ctx, dir)
	ts.Check(err)
	c := &attached{dir: dir, log: func(ctx context.Context) ([]byte, error) { return requests(ctx, run) }}
	c.view, err = viewAs(run, "admin")
	ts.Check(err)
	s.clouds = append(s.clouds, c)
	ts.Check(s.learn())
	s.undelayed(ts, func() error { return s.plant(run, c.view) }) // what is planted shall be seen at once
}

// viewAs looks at a cloud with the eyes of one of its operators.
func viewAs(run localcloud.Run, name string) (*cloudview.Cloud, error) {
	all, err := localcloud.ReadOperators(run)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(run.CAPEM))
	v := &cloudview.Cloud{Login: run.Endpoints.Login, Graph: run.Endpoints.Graph, ARM: run.Endpoints.ARM, Tenant: run.TenantID, Subscription: run.SubscriptionID,
		HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}}
	for _, o := range all {
		if o.Name == name {
			v.User, v.Password = o.UPN, o.Password.Reveal()
		}
	}
	return v, nil
}

// requests is the request log, a JSON line each.
func requests(ctx context.Context, run localcloud.Run) ([]byte, error) {
	m, err := run.Manage()
	if err != nil {
		return nil, err
	}
	defer m.Close()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	err = m.Requests(ctx, 0, false, func(r localcloud.Request) error { return enc.Encode(r) })
	return b.Bytes(), err
}

// plant puts secrets where the program could read them: a password on an application of somebody else's, and a value in the vault. They
// are secrets of the local cloud: its own memory may hold them, and nothing else.
func (s *story) plant(run localcloud.Run, v *cloudview.Cloud) error {
	var made struct {
		ID         string `json:"id"`
		SecretText string `json:"secretText"`
	}
	if _, err := v.Call(s.ctx, http.MethodPost, "/v1.0/applications", map[string]any{"displayName": "somebody-elses"}, &made); err != nil {
		return err
	}
	if _, err := v.Call(s.ctx, http.MethodPost, "/v1.0/applications/"+made.ID+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "canary"}}, &made); err != nil {
		return err
	}
	s.planted["password"] = made.SecretText
	if err := s.watch.Text(canary.LocalCloud, "the password of somebody else's application", []byte(made.SecretText)); err != nil {
		return err
	}
	vault, ok := run.Endpoints.Vault[localcloud.DefaultVault]
	if !ok {
		return nil
	}
	if err := s.plantInVault(run, v, vault); err != nil && !emptyCloud(s.ctx, v) {
		return err
	}
	return nil
}

func (s *story) plantInVault(run localcloud.Run, v *cloudview.Cloud, vault string) error {
	officer, _ := role.Builtin().Find("Key Vault Secrets Officer")
	var me struct {
		ID string `json:"id"`
	}
	if _, err := v.Call(s.ctx, http.MethodGet, "/v1.0/me", nil, &me); err != nil {
		return err
	}
	sub := "/subscriptions/" + run.SubscriptionID
	id := sub + "/resourceGroups/" + localcloud.DefaultGroup + "/providers/Microsoft.KeyVault/vaults/" + localcloud.DefaultVault
	body := map[string]any{"properties": map[string]any{"roleDefinitionId": sub + "/providers/Microsoft.Authorization/roleDefinitions/" + officer.ID, "principalId": me.ID, "principalType": "User"}}
	if status, err := v.Call(s.ctx, http.MethodPut, id+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString()+"?api-version=2022-04-01", body, nil); err != nil && status != http.StatusConflict {
		return err
	}
	value := s.watch.Plant(canary.LocalCloud, "the value in the vault")
	s.planted["vault"] = value
	_, err := v.Vault(s.ctx, http.MethodPut, vault+"/secrets/canary?api-version=7.4", map[string]any{"value": value}, nil)
	return err
}

// emptyCloud tells whether the cloud was made without resources.
func emptyCloud(ctx context.Context, v *cloudview.Cloud) bool {
	status, _ := v.Call(ctx, http.MethodGet, "/subscriptions/"+v.Subscription+"/resourcegroups/"+localcloud.DefaultGroup+"?api-version=2021-04-01", nil, nil)
	return status == http.StatusNotFound
}

func graph(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 2, 3, "graph METHOD PATH [JSON]")
	s.call(ts, args)
}

func arm(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 2, 3, "arm METHOD PATH [JSON]")
	s.call(ts, args)
}

// call answers on stdout.
func (s *story) call(ts *testscript.TestScript, args []string) {
	var body any
	if len(args) == 3 {
		ts.Check(json.Unmarshal([]byte(args[2]), &body))
	}
	var got json.RawMessage
	_, err := s.attachedTo(ts).view.Call(s.ctx, args[0], args[1], body, &got)
	ts.Check(err)
	_, _ = ts.Stdout().Write(got) // into memory
}

func provisioned(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 0, 1, "provisioned [OTHERS]")
	want := cloudview.Want{Agent: agentName, Grants: map[string]bool{}}
	if len(args) == 1 {
		n, err := strconv.Atoi(args[0])
		ts.Check(err)
		want.Others = n
	}
	spec := app.LocalSpec(localcloud.DefaultDomain, localcloud.DefaultSubscriptionID)
	for _, g := range spec.Grants(spec.Agents[agentName], role.Builtin()) {
		want.Grants[g.Key()] = true
	}
	v := s.attachedTo(ts).view
	s.settled(ts, "the cloud has not exactly what it must have", func() ([]string, error) { return v.Provisioned(s.ctx, want) })
}

// settled looks until nothing is wrong: replicas may lag behind what the program has waited for. A wrong thing that stays is told.
func (s *story) settled(ts *testscript.TestScript, complaint string, look func() ([]string, error)) {
	late := time.After(5 * time.Second)
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		bad, err := look()
		ts.Check(err)
		if len(bad) == 0 {
			return
		}
		select {
		case <-again.C:
		case <-late:
			ts.Fatalf("%s: %s", complaint, strings.Join(bad, "; "))
		}
	}
}

func revoked(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 1, 2, "revoked PRINCIPAL [purged]")
	v := s.attachedTo(ts).view
	s.settled(ts, "something of the agent is left", func() ([]string, error) { return v.Revoked(s.ctx, agentName, args[0], len(args) == 2) })
}
