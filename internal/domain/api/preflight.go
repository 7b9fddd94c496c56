package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// PreflightRequest asks for every check of one agent.
type PreflightRequest struct {
	Agent string // "" means the only agent of the spec
}

// PreflightCheck is one check, as documentation and faces explain it.
type PreflightCheck struct {
	ID       string           `json:"id"`
	Category finding.Category `json:"category"`
	Name     string           `json:"name"`
	Question string           `json:"question"`
	Severity finding.Severity `json:"severity"`
	Required bool             `json:"required"`
	Remedy   string           `json:"remedy"`
	Docs     string           `json:"docs"`
}

// PreflightReport is what one run of the preflight found. It holds no secret.
type PreflightReport struct {
	ID           string            `json:"id"` // random, 128 bits in hex
	Agent        string            `json:"agent"`
	Kind         agent.Kind        `json:"kind"`
	Cloud        agent.Cloud       `json:"cloud"`
	TenantID     string            `json:"tenant_id"`
	Subscription string            `json:"subscription"`
	AppID        string            `json:"app_id,omitempty"` // client id
	PrincipalID  string            `json:"principal_id,omitempty"`
	As           Caller            `json:"as"` // the operator who looked; zero where nobody could be identified
	At           time.Time         `json:"at"` // UTC
	Version      string            `json:"version,omitempty"`
	Findings     []finding.Finding `json:"findings"` // in the order of the registry
	Counts       Counts            `json:"counts"`
	Green        bool              `json:"green"`
	Changes      []PreflightChange `json:"changes,omitempty"` // against the run before, in the order of the registry
	Before       string            `json:"before,omitempty"`  // id of the run before; "" if there was none
	Requests     int               `json:"requests"`
	Rounds       int               `json:"rounds"` // requests that had to wait for others: the length of the longest chain
	WallMS       int64             `json:"wall_ms"`
	LedgerHead   string            `json:"ledger_head"` // when the run began; the entry after the run names the digest
	Digest       string            `json:"digest,omitempty"`
}

// Counts are the outcomes of a run. Required is how many of the unknown ones had to be known.
type Counts struct {
	Passed   int `json:"passed"`
	Failed   int `json:"failed"`
	Warnings int `json:"warnings"`
	Skipped  int `json:"skipped"`
	Unknown  int `json:"unknown"`
	Required int `json:"unknown_required"`
}

// Count counts.
func Count(all []finding.Finding) (c Counts) {
	for _, f := range all {
		switch f.Outcome {
		case finding.Pass:
			c.Passed++
		case finding.Fail:
			c.Failed++
		case finding.Warn:
			c.Warnings++
		case finding.Skip:
			c.Skipped++
		default:
			c.Unknown++
			if f.Required {
				c.Required++
			}
		}
	}
	return c
}

// PreflightChange is a check that had another outcome in the run before; Was is "" for a check that the run before did not have.
type PreflightChange struct {
	ID  string          `json:"id"`
	Was finding.Outcome `json:"was,omitempty"`
	Now finding.Outcome `json:"now"`
}

// Seal is the SHA-256, in hex, of the report's JSON without its digest: what the ledger's entry names, and what a reader computes anew to
// see that nothing was changed since.
func (r PreflightReport) Seal() string {
	r.Digest = ""
	b, err := json.Marshal(r) // structs have a fixed order, and the report has no map
	if err != nil {
		panic("api: a report does not encode: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// PreflightVerdict is the answer of preflight verify.
type PreflightVerdict struct {
	File     string          `json:"file,omitempty"`
	Report   PreflightReport `json:"report"`
	Sealed   bool            `json:"sealed"`           // the digest is that of what the report says
	Recorded bool            `json:"recorded"`         // the ledger here has an entry of that digest, right after the head that the report names
	Entry    int64           `json:"entry,omitempty"`  // its number
	Intact   bool            `json:"ledger_intact"`    // the ledger's chain
	Detail   string          `json:"detail,omitempty"` // what is wrong
}
