package token

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/fault"
)

// refusal is the fault behind an error answer of the login service (RFC 6749, section 5.2, with Entra's error_codes: Microsoft,
// "Microsoft Entra authentication and authorization error codes").
func refusal(op string, status int, header http.Header, body []byte, now time.Time) *fault.Error {
	var answer struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Codes       []int  `json:"error_codes"`
	}
	_ = json.Unmarshal(body, &answer) // what does not read stays empty, and the status speaks
	number, text := aadsts(answer.Description)
	if len(answer.Codes) > 0 {
		number = answer.Codes[0]
	}
	f := &fault.Error{Code: fault.OfStatus(status), Op: op, Status: status, RetryAfter: fault.Wait(header, now)}
	switch {
	case number != 0:
		f.Service = "AADSTS" + strconv.Itoa(number)
	case oauthCode.MatchString(answer.Error):
		f.Service = answer.Error
	case f.Code != fault.Throttled && f.Code != fault.Unavailable:
		f.Code = fault.Unknown // nobody who knows said that anything is absent or refused
		f.Hint = "the answer is not the login service's: check --cloud and the proxy"
	}
	if s := fault.Sentence(text); s != "" || f.Service != "" {
		f.Err = &oauthError{answer.Error, s}
	}
	switch f.Code {
	case fault.Throttled, fault.Unavailable, fault.Unknown:
		return f
	case fault.Invalid:
		f.Code = fault.Unauthenticated // a 400 of a token endpoint is about who asks, unless the tables below know better
	}
	if answer.Error == "temporarily_unavailable" {
		f.Code = fault.Unavailable
		return f
	}
	explain(f, number, text, header, now)
	return f
}

// oauthError carries the OAuth code beside Entra's number, because the device code flow is steered by it (RFC 8628, section 3.5).
type oauthError struct{ code, text string }

func (e *oauthError) Error() string {
	if e.text == "" {
		return e.code
	}
	return e.text
}

var (
	aadstsPrefix = regexp.MustCompile(`AADSTS(\d{4,9}):?\s*`)
	oauthCode    = regexp.MustCompile(`^[a-z][a-z_]{0,63}$`)
)

// aadsts splits "AADSTS700016: Application …" into its number and its text.
func aadsts(description string) (int, string) {
	at := aadstsPrefix.FindStringSubmatchIndex(description)
	if at == nil {
		return 0, description
	}
	number, err := strconv.Atoi(description[at[2]:at[3]])
	if err != nil {
		return 0, description
	}
	return number, description[at[1]:]
}

// explain gives the codes that mean more than their status, and what a person can do.
func explain(f *fault.Error, number int, text string, header http.Header, now time.Time) {
	switch number {
	case 700027:
		explainKey(f, text)
	case 700016:
		f.Code, f.Hint = fault.NotFound, "the application may be new and not yet everywhere, or the tenant is another one"
	case 7000229:
		f.Code, f.Hint = fault.NotFound, "the service principal may be new and not yet everywhere"
	case 700024:
		f.Code, f.Hint = fault.Invalid, clockHint(text, header, now)
	case 7000112:
		f.Code, f.Hint = fault.Forbidden, "the application is disabled in this tenant"
	case 53003, 530034, 53000, 53001:
		f.Code, f.Hint = fault.Forbidden, "Conditional Access forbids it: ask who manages its policies"
	case 65001, 65004:
		f.Code, f.Hint = fault.Forbidden, "an administrator has to consent to the permission"
	case 90002, 900023, 90013:
		f.Code, f.Hint = fault.Invalid, "check tenant and cloud"
	case 500011, 650057, 70011, 1002012, 28002, 28003:
		f.Code, f.Hint = fault.Invalid, "the scope names no resource of this cloud: check --cloud"
	case 700038:
		f.Code, f.Hint = fault.Invalid, "the client id is not an application's"
	case 50012, 700021, 700023:
		f.Hint = "the assertion was made for another login service or application: check --cloud and the client id"
	case 7000222, 7000215:
		f.Hint = "a client secret is in use somewhere: leastkey migrate replaces it"
	case 50076, 50079, 50158, 50074:
		f.Hint = "multi-factor authentication is required: sign in again"
	case 70008, 700082, 700084, 50173, 70043, 700003:
		f.Hint = "the sign-in is no longer valid: sign in again"
	case 50126, 50034, 50053, 50057:
		f.Hint = "user name or password is wrong, or the account is locked or disabled"
	case 90033, 90036, 90051, 90055, 50196:
		f.Code = fault.Unavailable
	}
}

// explainKey tells the reasons behind 700027 apart. Entra gives them in the text alone; only "not found" is a matter of waiting.
func explainKey(f *fault.Error, text string) {
	low := strings.ToLower(text)
	switch {
	case strings.Contains(low, "key was not found"):
		f.Code, f.Hint = fault.NotFound, "the certificate may be new and not yet everywhere, or was removed from the application"
	case strings.Contains(low, "key used is expired"):
		f.Hint = "the certificate is expired: leastkey apply renews it"
	case strings.Contains(low, "signature"):
		f.Hint = "the certificate on the application belongs to another key"
	}
}

var assertionTimes = regexp.MustCompile(`Current time: ([0-9T:.\-]+Z)`)

// clockHint shows both clocks: the service's from its message, or else from its Date header.
func clockHint(text string, header http.Header, now time.Time) string {
	theirs, err := http.ParseTime(header.Get("Date"))
	if m := assertionTimes.FindStringSubmatch(text); m != nil {
		if at, perr := time.Parse(time.RFC3339Nano, m[1]); perr == nil {
			theirs, err = at, nil
		}
	}
	ours := now.UTC().Format(time.RFC3339)
	if err != nil {
		return fmt.Sprintf("set this machine's clock, which says %s", ours)
	}
	return fmt.Sprintf("set this machine's clock: it says %s, the login service's says %s", ours, theirs.UTC().Format(time.RFC3339))
}
