package fault

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// OfStatus is the class of a failed HTTP answer whose body says nothing better. A redirect is Unknown: no service of ours sends one,
// and following it would hand a token or an assertion to whoever is named there.
func OfStatus(status int) Code {
	switch {
	case status == http.StatusUnauthorized:
		return Unauthenticated
	case status == http.StatusForbidden:
		return Forbidden
	case status == http.StatusNotFound:
		return NotFound
	case status == http.StatusConflict:
		return Conflict
	case status == http.StatusTooManyRequests:
		return Throttled
	case status == http.StatusRequestTimeout || status >= 500:
		return Unavailable
	case status >= 400:
		return Invalid
	}
	return Unknown
}

// Wait is how long an answer asks to wait: Retry-After in seconds or as a date (RFC 9110, section 10.2.3), or the two headers with
// milliseconds that Azure services send. 0 means that it does not say.
func Wait(h http.Header, now time.Time) time.Duration {
	for _, name := range []string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if ms, err := strconv.Atoi(strings.TrimSpace(h.Get(name))); err == nil && ms > 0 {
			return clip(time.Duration(min(ms, int(longestWait/time.Millisecond))) * time.Millisecond)
		}
	}
	text := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.Atoi(text); err == nil {
		return clip(time.Duration(min(s, int(longestWait/time.Second))) * time.Second)
	}
	if at, err := http.ParseTime(text); err == nil {
		return clip(at.Sub(now))
	}
	return 0
}

// longestWait bounds what a service may ask for: a wrong date must not make a plan sleep for a year.
const longestWait = time.Hour

func clip(d time.Duration) time.Duration { return min(max(d, 0), longestWait) }

// Lost is the failure of a request that was sent and whose answer did not come, so that nobody knows its effect. A certificate that
// does not verify is Invalid instead: the request was not sent, and waiting does not help.
func Lost(op string, err error) *Error {
	f := &Error{Code: Unavailable, Op: op, Err: err}
	if u, ok := errors.AsType[*url.Error](err); ok { // it repeats method and path, which op says better
		host := "the service"
		if at, err := url.Parse(u.URL); err == nil && at.Host != "" {
			host = at.Host
		}
		f.Err = &lostError{host, u.Err}
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		f.Code = Invalid
		f.Hint = "the service's certificate is not trusted here: give its authority with SSL_CERT_FILE, or check the endpoint and proxy"
	}
	return f
}

type lostError struct {
	host string
	err  error
}

func (e *lostError) Error() string { return "no answer from " + e.host + ": " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

const longestSentence, longestWord = 400, 64

// Sentence is what may be shown of a message that somebody else wrote: its first sentence, on one line, without control characters
// and without any word that could be a token, an assertion or a client secret.
func Sentence(message string) string {
	message, _, _ = strings.Cut(strings.TrimSpace(message), "\n")
	words := strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, message))
	n := 0
	for i, w := range words {
		if looksSecret(w) {
			words[i] = "[removed]"
		}
		if n += len(words[i]) + 1; n > longestSentence {
			return strings.Join(words[:i], " ") + " …"
		}
		if strings.HasSuffix(w, ".") {
			words[i] = strings.TrimSuffix(words[i], ".")
			return strings.Join(words[:i+1], " ")
		}
	}
	return strings.Join(words, " ")
}

// looksSecret errs on the side of hiding. Tokens and assertions begin eyJ or are one long run; Entra's client secrets contain ~. Ids
// and paths of ARM are long too, but made of short runs.
func looksSecret(word string) bool {
	if strings.Contains(word, "eyJ") || strings.Contains(word, "~") {
		return true
	}
	for part := range strings.FieldsFuncSeq(word, func(r rune) bool { return strings.ContainsRune(`/'"()[]:,;=&?`, r) }) {
		if len(part) > longestWord {
			return true
		}
	}
	return false
}
