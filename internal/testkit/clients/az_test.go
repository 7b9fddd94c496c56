package clients

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/testkit/azcli"
)

// az is az in the hands of somebody who is logged in to the cloud of a suite. It is that of the Debian package azure-cli, 2.45.
type az struct {
	*Suite
	azcli.Session
	t *testing.T
}

// openAz starts a cloud with az beside it; ok is false if there is no az.
func openAz(t *testing.T, flags ...string) (a az, ok bool) {
	t.Helper()
	if !azcli.Present(t) {
		return az{}, false
	}
	a = az{Suite: Start(t, "az", flags...), t: t}
	a.Session = azcli.Open(t, a.house.Env, a.Printed(t, "az"))
	return a, true
}

// loggedIn is az in the hands of sp-operator, who logs in with a certificate.
func loggedIn(t *testing.T, flags ...string) (a az, ok bool) {
	t.Helper()
	if a, ok = openAz(t, flags...); !ok {
		return a, false
	}
	op := a.Operator("sp-operator")
	if _, err := a.answer(a.login(op.AppID, op.CertificateFile)); err != nil {
		t.Fatal(err)
	}
	return a, true
}

// elsewhere is az in a folder of its own, where nobody is logged in that is not here.
func (a az) elsewhere() az {
	a.t.Helper()
	a.Session = a.Another(a.t)
	return a
}

// words are a command: the first text is taken apart at spaces, the others are one word each.
func words(command ...string) []string { return append(strings.Fields(command[0]), command[1:]...) }

// login is the command that logs an application in, with the file of a certificate or a secret.
func (a az) login(app, credential string) []string {
	return words("login --service-principal --only-show-errors --tenant", a.Cloud().TenantID, "-u", app, "-p="+credential) // a secret may begin with -
}

// softDelete is what `az keyvault delete` says to whoever it is and whatever is asked.
const softDelete = "WARNING: Warning! If you have soft-delete protection enabled on this key vault,"

// answer runs a command, which has to work without a word of warning.
func (a az) answer(command []string) (document, error) {
	a.t.Helper()
	r := a.Run(a.t, command...)
	if r.Code != 0 || (r.Stderr != "" && !strings.HasPrefix(r.Stderr, softDelete)) {
		return document{}, fmt.Errorf("exit %d\n%s%s", r.Code, r.Stderr, r.Stdout)
	}
	return parse(r.Stdout)
}

// does is an operation: a command whose answer is like the shape; the shape "" means that az answers nothing.
func (a az) does(shape string, command ...string) document {
	a.t.Helper()
	args := words(command...)
	return a.named(title(args), shape, args...)
}

func (a az) named(name, shape string, args ...string) document {
	a.t.Helper()
	var v document
	a.Operation(a.t, name, func() (err error) {
		if v, err = a.answer(append(args, "--only-show-errors")); err != nil {
			return err
		}
		return v.like(shape)
	})
	return v
}

// fails is a negative case: what az says on stderr carries the code.
func (a az) fails(name, code string, command ...string) {
	a.t.Helper()
	args := words(command...)
	a.Refused(a.t, name+" (`"+title(args)+"`)", code, func() error { return a.refusal(args) })
}

// refusal is what az says when it ends badly.
func (a az) refusal(args []string) error {
	a.t.Helper()
	if r := a.Run(a.t, append(args, "--only-show-errors")...); r.Code != 0 {
		return errors.New(r.Stderr)
	}
	return nil
}

// crashes notes a command that ends with an error of Python before it has sent anything of what it is for. Where it works, the note is
// missing, and the table shows it.
func (a az) crashes(command, says, instead string) {
	a.t.Helper()
	args := words(command)
	if err := a.refusal(args); err != nil && strings.Contains(err.Error(), says) {
		a.Note("`" + title(args) + "` ends with an error of Python in Debian's build (" + says + "); " + instead + ".")
	}
}

// option tells an option from a value such as a certificate in PEM.
var option = regexp.MustCompile(`^--?[a-z-]+$`)

// title is a command as the record shows it: its words and its options, without their values.
func title(args []string) string {
	s, command := "az", true
	for _, w := range args {
		option := option.MatchString(w)
		command = command && !option
		if command || (option && w != "--only-show-errors" && w != "--query") { // these two are about what is shown
			s += " " + w
		}
	}
	return s
}

// rest is a request that az sends with a token of its own.
func (a az) rest(method, url, body string) []string {
	args := words("rest --method", method, "--url", url)
	if body != "" {
		args = append(args, "--body", body)
	}
	return args
}

// token is a request for a token that az sends as it is given, without one of its own.
func (a az) token(tenant string, form url.Values) []string {
	return words("rest --skip-authorization-header --method post --headers Content-Type=application/x-www-form-urlencoded --url",
		a.Cloud().Endpoints.Login+"/"+tenant+"/oauth2/v2.0/token", "--body", form.Encode())
}

// asserted is the form of a request for a token with a client assertion.
func (a az) asserted(app, assertion string) url.Values {
	return url.Values{
		"grant_type": {"client_credentials"}, "client_id": {app}, "scope": {a.Cloud().Endpoints.ARM + "/.default"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion},
	}
}

// graph and arm are addresses of the planes.
func (a az) graph(path string) string { return a.Cloud().Endpoints.Graph + "/v1.0" + path }
func (a az) arm(path string) string {
	return a.Cloud().Endpoints.ARM + "/subscriptions/" + a.Cloud().SubscriptionID + path
}
