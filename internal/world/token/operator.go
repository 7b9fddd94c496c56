package token

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// The kinds of operator.
const (
	AZ              = "az"               // the session of the Azure CLI
	AZD             = "azd"              // the session of the Azure Developer CLI
	DeviceCode      = "device-code"      // a person; see Login
	Workload        = "workload"         // a federated token in a file (Kubernetes)
	ManagedIdentity = "managed-identity" // of the machine
)

// OperatorConfig says where and as whom an operator signs in.
type OperatorConfig struct {
	Authority string            // base URL of the login service, https
	Tenant    string            // GUID; every token is asked of this tenant
	HTTP      http.RoundTripper // nil means http.DefaultTransport; az and azd make their own requests
	Now       func() time.Time  // nil means time.Now
	Local     bool              // the local cloud: nothing is asked of Microsoft's instance discovery
	ClientID  string            // device-code: the public client, "" is the Azure CLI's; workload: "" is AZURE_CLIENT_ID; managed-identity: "" is the system-assigned one
	TokenFile string            // workload: "" is AZURE_FEDERATED_TOKEN_FILE
	Prompt    io.Writer         // device-code: where the code is shown; nil means never ask
	Cache     Cache             // device-code: the kept sign-in; nil means that none is kept
}

// patience is how long az and azd may take for a token when the caller sets no deadline; azidentity alone would give up after ten
// seconds, which a cold az on a busy machine needs.
const patience = time.Minute

// Nobody is the credential where there is no operator: it never has a token, so that what was not meant to go without one stops before its
// first request.
func Nobody() *Credential {
	return newCredential("", time.Now, func(context.Context, string, string) (api.Token, error) {
		return api.Token{}, fault.New(fault.Unauthenticated, "there is no operator (--operator none)", "only leastkey rotate and leastkey token go without one: name an operator, such as --operator az")
	})
}

// Operator is the credential of that kind, and only that: a chain would end in whatever identity happens to lie around, possibly one with
// more rights. None of the kinds has a secret of ours. Nothing is asked before the first token, except that az or azd is installed.
func Operator(kind string, cfg OperatorConfig) (*Credential, error) {
	if !agent.IsGUID(cfg.Tenant) {
		return nil, fault.New(fault.Invalid, "operator "+kind+": the tenant is not a GUID", "")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if _, err := New(Config{Authority: cfg.Authority}); err != nil {
		return nil, err
	}
	if kind == DeviceCode {
		d, err := newDeviceLogin(cfg)
		if err != nil {
			return nil, err
		}
		return newCredential(cfg.Tenant, cfg.Now, d.get), nil
	}
	o := &outside{kind: kind, tenant: cfg.Tenant, local: cfg.Local, now: cfg.Now}
	cred, err := o.open(cfg)
	if err != nil {
		if _, ok := errors.AsType[*fault.Error](err); ok {
			return nil, err
		}
		return nil, &fault.Error{Code: fault.Invalid, Op: "operator " + kind, Hint: o.hint(), Err: errors.New(fault.Sentence(err.Error()))}
	}
	o.credential = cred
	return newCredential(cfg.Tenant, cfg.Now, o.get), nil
}

// outside is an operator whose sign-in azidentity knows.
type outside struct {
	kind       string
	tenant     string
	local      bool
	now        func() time.Time
	credential azcore.TokenCredential
}

func (o *outside) open(cfg OperatorConfig) (azcore.TokenCredential, error) {
	options := azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: cfg.Authority},
		Retry:     policy.RetryOptions{MaxRetries: -1}, // waiting is the job runner's
		Transport: watched{httpClient(cfg.HTTP, 0)},
	}
	switch o.kind {
	case AZ:
		if _, err := exec.LookPath("az"); err != nil {
			return nil, fault.New(fault.Unauthenticated, "operator az: the Azure CLI is not installed", "install it, or choose another --operator")
		}
		return azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: o.tenant})
	case AZD:
		if _, err := exec.LookPath("azd"); err != nil {
			return nil, fault.New(fault.Unauthenticated, "operator azd: the Azure Developer CLI is not installed", "install it, or choose another --operator")
		}
		return azidentity.NewAzureDeveloperCLICredential(&azidentity.AzureDeveloperCLICredentialOptions{TenantID: o.tenant})
	case Workload:
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, ClientID: cfg.ClientID, TenantID: o.tenant, TokenFilePath: cfg.TokenFile, DisableInstanceDiscovery: cfg.Local,
		})
	case ManagedIdentity:
		mi := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
		if cfg.ClientID != "" {
			mi.ID = azidentity.ClientID(cfg.ClientID)
		}
		return azidentity.NewManagedIdentityCredential(mi)
	}
	return nil, fault.New(fault.Invalid, "operator "+fault.Sentence(o.kind)+": not one of az, azd, device-code, workload, managed-identity", "")
}

func (o *outside) get(ctx context.Context, scope, claims string) (api.Token, error) {
	op := "get operator token from " + o.kind
	asked := ctx
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		asked, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	var seen lostRequest
	// The managed identity endpoint answers for its own tenant and takes no tenant; Who tells which that is.
	t, err := o.credential.GetToken(context.WithValue(asked, lostRequest{}, &seen), policy.TokenRequestOptions{Scopes: []string{scope}, Claims: claims})
	switch {
	case err == nil:
		return api.Token{Value: secret.New([]byte(t.Token)), Expires: t.ExpiresOn, Scope: scope}, nil
	case ctx.Err() != nil:
		return api.Token{}, ctx.Err()
	case asked.Err() != nil:
		return api.Token{}, &fault.Error{Code: fault.Unavailable, Op: op, Err: asked.Err()}
	case seen.err != nil:
		return api.Token{}, fault.Lost(op, seen.err)
	}
	return api.Token{}, o.refused(op, err)
}

var anyAADSTS = regexp.MustCompile(`AADSTS\d{4,9}`)

// refused is the fault behind an error of azidentity, of which only the code and a cleaned first sentence are taken: its text holds
// whole answers.
func (o *outside) refused(op string, err error) *fault.Error {
	failed, ok := errors.AsType[*azidentity.AuthenticationFailedError](err)
	if ok && failed.RawResponse != nil {
		body, rerr := io.ReadAll(io.LimitReader(failed.RawResponse.Body, largestAnswer))
		_ = failed.RawResponse.Body.Close() // it is in memory
		if rerr == nil {
			f := refusal(op, failed.RawResponse.StatusCode, failed.RawResponse.Header, body, o.now())
			// Not yet everywhere is said of what a plan makes; an operator that is not found is simply not signed in.
			if f.Code == fault.NotFound {
				f.Code, f.Hint = fault.Unauthenticated, ""
			}
			if f.Hint == "" {
				f.Hint = o.hint()
			}
			return f
		}
	}
	text := err.Error()
	for _, noise := range []string{"AzureCLICredential: ", "AzureDeveloperCLICredential: ", "WorkloadIdentityCredential: ", "ManagedIdentityCredential: ", "ERROR: "} {
		text = strings.TrimPrefix(text, noise)
	}
	f := &fault.Error{Code: fault.Unauthenticated, Op: op, Service: anyAADSTS.FindString(text), Hint: o.hint()}
	if f.Service != "" {
		_, text = aadsts(text)
	}
	if s := fault.Sentence(text); s != "" {
		f.Err = errors.New(s)
	}
	return f
}

func (o *outside) hint() string {
	switch o.kind {
	case AZ:
		if o.local { // a shell that does not know of it asks the real cloud
			return "in this shell: eval \"$(leastkey cloud env --for az)\" and then az login --tenant " + o.tenant + ", as its first lines say"
		}
		return "run: az login --tenant " + o.tenant
	case AZD:
		return "run: azd auth login --tenant-id " + o.tenant
	case Workload:
		return "check AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE and the federated credential of that application"
	case ManagedIdentity:
		return "no managed identity of that client id answers here: choose another --operator, or assign one to this machine"
	}
	return ""
}

// watched notes a request without an answer in the caller's context, because azidentity keeps only its text.
type watched struct{ client *http.Client }

// lostRequest is also the key under which it lies in the context.
type lostRequest struct{ err error }

// Do implements [policy.Transporter].
func (w watched) Do(r *http.Request) (*http.Response, error) {
	resp, err := w.client.Do(r)
	if seen, ok := r.Context().Value(lostRequest{}).(*lostRequest); ok && err != nil {
		seen.err = err
	}
	return resp, err
}
