// Package finding is the one shape of what a check found, for plans, preflight and audit.
package finding

import "time"

// Outcome is the verdict of one question.
type Outcome string

// The outcomes. Unknown means that a lookup failed; it is never a pass.
const (
	Pass    Outcome = "pass"
	Fail    Outcome = "fail"
	Warn    Outcome = "warn"
	Skip    Outcome = "skip"
	Unknown Outcome = "unknown"
)

// Word is the outcome as pages say it, beside its colour and never by that alone. One that this version does not know is unknown.
func (o Outcome) Word() string {
	switch o {
	case Pass:
		return "Pass"
	case Fail:
		return "Fail"
	case Warn:
		return "Warning"
	case Skip:
		return "Skipped"
	}
	return "Unknown"
}

// Category is what a check of the preflight is about.
type Category string

// The categories.
const (
	Identity Category = "identity"
	RBAC     Category = "rbac"
	Secrets  Category = "secrets"
)

// Severity is how much a failure matters.
type Severity string

// The severities, the worst first.
const (
	Critical Severity = "critical" // somebody else can act as the agent, or the agent as somebody else
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
)

// Finding is a question, its outcome and what it rests on. The fields from Name to Docs are those of the preflight; elsewhere they are
// empty.
type Finding struct {
	ID       string     `json:"id"`       // stable, such as foreign-certificate
	Question string     `json:"question"` // in plain words
	Outcome  Outcome    `json:"outcome"`
	Detail   string     `json:"detail"`
	Remedy   string     `json:"remedy,omitempty"` // what to do, with the command
	Evidence []Evidence `json:"evidence,omitempty"`

	Name     string   `json:"name,omitempty"` // short title
	Category Category `json:"category,omitempty"`
	Severity Severity `json:"severity,omitempty"`
	Required bool     `json:"required,omitempty"` // unknown is not good enough
	Cause    string   `json:"cause,omitempty"`    // of a skip: the id of the check whose answer was missing
	Docs     string   `json:"docs,omitempty"`     // anchor in the documentation
}

// Evidence is one thing asked and what came back, redacted.
type Evidence struct {
	Asked  string        `json:"asked"`            // GET https://graph… ; file /home/…/.env
	Answer string        `json:"answer"`           // the excerpt that decided
	Status int           `json:"status,omitempty"` // HTTP
	At     time.Time     `json:"at"`
	Took   time.Duration `json:"took_ns,omitempty"`
	Digest string        `json:"body_sha256,omitempty"` // of the whole answer, in hex; "" where it was a secret or nothing
}

// Failed tells whether any finding fails.
func Failed(all []Finding) bool {
	for _, f := range all {
		if f.Outcome == Fail {
			return true
		}
	}
	return false
}

// Green tells whether findings of a preflight may pass for good: none fails, and none that is required is unknown or was not asked because
// the answer of another check was missing.
func Green(all []Finding) bool {
	for _, f := range all {
		if f.Outcome == Fail || f.Required && (f.Outcome == Unknown || f.Outcome == Skip && f.Cause != "") {
			return false
		}
	}
	return true
}
