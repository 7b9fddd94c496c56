package graph

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// rules is the app management policy in force for one object (Microsoft Graph, "appManagementConfiguration resource type").
type rules struct {
	policy    string
	Passwords []restriction `json:"passwordCredentials"`
	Keys      []restriction `json:"keyCredentials"`
}

type restriction struct {
	Type        string     `json:"restrictionType"`
	State       string     `json:"state"`
	MaxLifetime *string    `json:"maxLifetime"`
	CreatedFrom *time.Time `json:"restrictForAppsCreatedAfterDateTime"`
}

// binds tells whether the restriction is in force for an object created at the time.
func (r restriction) binds(kind string, created time.Time) bool {
	return r.Type == kind && r.State != "disabled" && (r.CreatedFrom == nil || created.After(*r.CreatedFrom))
}

// policyFor finds the policy: one assigned to the application overrides the tenant's default.
func (s *Service) policyFor(v replica.View, h holder) rules {
	for _, id := range h.policies {
		if p, ok := s.dir.Policies.Get(v, id); ok && p.Body["isEnabled"] == true {
			return parseRules(id, p.Body["restrictions"])
		}
	}
	p := s.defaultPolicy(v)
	if p.Body["isEnabled"] != true {
		return rules{}
	}
	part := "servicePrincipalRestrictions"
	if h.app {
		part = "applicationRestrictions"
	}
	return parseRules(defaultPolicyID, p.Body[part])
}

func parseRules(id string, body any) rules {
	var r rules
	raw, err := json.Marshal(body)
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil { // bodies are checked before they are stored
		return rules{policy: id}
	}
	r.policy = id
	return r
}

func (r rules) typeNotAllowed() *problem {
	return &problem{status: http.StatusBadRequest, code: "CredentialTypeNotAllowedAsPerAppPolicy", message: "Credential type not allowed as per assigned policy '" + r.policy + "'."}
}

func (r rules) tooLong() *problem {
	text := "Credential lifetime exceeds the max value allowed as per assigned policy '" + r.policy + "'."
	return &problem{status: http.StatusBadRequest, code: "CredentialInvalidLifetimeAsPerAppPolicy", message: text, details: []detail{{Code: "InvalidKeyEndDate", Message: text, Target: "EndDate"}}}
}

// exceeds tells whether a credential lives longer than the restriction lets it.
func (r restriction) exceeds(start, end time.Time) bool {
	if r.MaxLifetime == nil {
		return false
	}
	longest, ok := duration(*r.MaxLifetime)
	return ok && end.Sub(start) > longest
}

// password judges a new client secret.
func (r rules) password(h holder, start, end time.Time) error {
	for _, p := range r.Passwords {
		switch {
		case p.binds("passwordAddition", h.created):
			return r.typeNotAllowed()
		case p.binds("passwordLifetime", h.created) && p.exceeds(start, end):
			return r.tooLong()
		}
	}
	return nil
}

// key judges a new key credential.
func (r rules) key(h holder, k directory.KeyCredential) error {
	if k.Type == certificate {
		for _, p := range r.Keys {
			if p.binds("asymmetricKeyLifetime", h.created) && p.exceeds(k.StartDateTime, k.EndDateTime) {
				return r.tooLong()
			}
		}
		return nil
	}
	for _, p := range r.Passwords {
		switch {
		case p.binds("symmetricKeyAddition", h.created):
			return r.typeNotAllowed()
		case p.binds("symmetricKeyLifetime", h.created) && p.exceeds(k.StartDateTime, k.EndDateTime):
			return r.tooLong()
		}
	}
	return nil
}

var edmDuration = regexp.MustCompile(`^P(?:(\d{1,5})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,5})M)?(?:(\d{1,5})S)?)?$`)

// duration reads an Edm.Duration in whole seconds, such as P90D or P4DT12H30M5S.
func duration(text string) (time.Duration, bool) {
	m := edmDuration.FindStringSubmatch(text)
	if m == nil || text == "P" || text[len(text)-1] == 'T' {
		return 0, false
	}
	var total time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] != "" {
			n, err := strconv.Atoi(m[i+1])
			if err != nil {
				return 0, false
			}
			total += time.Duration(n) * unit
		}
	}
	return total, true
}
