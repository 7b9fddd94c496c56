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

// Finding is a question, its outcome and what it rests on.
type Finding struct {
	ID       string     `json:"id"`       // stable, such as foreign-certificate
	Question string     `json:"question"` // in plain words
	Outcome  Outcome    `json:"outcome"`
	Detail   string     `json:"detail"`
	Remedy   string     `json:"remedy,omitempty"` // what to do, with the command
	Evidence []Evidence `json:"evidence,omitempty"`
}

// Evidence is one thing asked and what came back, redacted.
type Evidence struct {
	Asked  string        `json:"asked"`            // GET https://graph… ; file /home/…/.env
	Answer string        `json:"answer"`           // the excerpt that decided
	Status int           `json:"status,omitempty"` // HTTP
	At     time.Time     `json:"at"`
	Took   time.Duration `json:"took_ns,omitempty"`
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
