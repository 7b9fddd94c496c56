package web

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/outline"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// words are what templates call.
func words() template.FuncMap {
	return template.FuncMap{
		"asset":   assetPath,
		"when":    when,
		"stamp":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"day":     func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
		"left":    left,
		"took":    took,
		"short":   api.ShortDigest,
		"scope":   role.Short,
		"dash":    orDash,
		"count":   plural,
		"join":    strings.Join,
		"outcome": finding.Outcome.Word,
		"class":   outcomeClass,
		"effect":  outline.EffectOf,
		"groups":  outline.Groups,
		"tally":   outline.Count,
		"nothing": outline.Nothing,
		"subject": outline.Subject,
		"kind":    kindWord,
		"status":  statusWord,
		"verb":    verbWord,
		"pair":    func(a, b any) [2]any { return [2]any{a, b} },
		"title":   sentence,
	}
}

// when is a time as people read it, always in UTC: whoever compares it with a log must not have to guess.
func when(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// left says how long it is until a time, or since.
func left(t, now time.Time) string {
	d := t.Sub(now)
	switch {
	case d <= 0:
		return "ended"
	case d < time.Hour:
		return "in " + plural(int(d/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		return "in " + plural(int(d/time.Hour), "hour", "hours")
	}
	return "in " + plural(int(d/(24*time.Hour)), "day", "days")
}

func took(ms int64) string {
	if ms >= 10_000 {
		return fmt.Sprintf("%.1f s", float64(ms)/1000)
	}
	return strconv.FormatInt(ms, 10) + " ms"
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func outcomeClass(o finding.Outcome) string {
	switch o {
	case finding.Pass:
		return "good"
	case finding.Warn:
		return "warn"
	case finding.Skip:
		return "quiet"
	}
	return "bad"
}

func kindWord(k agent.Kind) string {
	switch k {
	case agent.ServicePrincipal:
		return "Service principal"
	case agent.ManagedIdentity:
		return "User-assigned managed identity"
	case agent.AgentIdentity:
		return "Entra Agent ID"
	}
	return orDash(string(k))
}

// statusWord is how a step or job stands, and the class of its badge.
func statusWord(s any) [2]string {
	switch fmt.Sprint(s) {
	case string(api.Done):
		return [2]string{"Done", "good"}
	case string(api.Already):
		return [2]string{"Was so already", "good"}
	case string(api.Failed):
		return [2]string{"Failed", "bad"}
	case string(api.Waiting):
		return [2]string{"Waiting", "warn"}
	case string(api.Begun):
		return [2]string{"Begun", "busy"}
	case string(api.NotRun):
		return [2]string{"Not run", "quiet"}
	case string(api.JobRunning):
		return [2]string{"Running", "busy"}
	}
	return [2]string{fmt.Sprint(s), "quiet"}
}

// verbWord is what a job does, as a heading.
func verbWord(verb string) string {
	switch verb {
	case "apply":
		return "Provision"
	case "fix-roles":
		return "Fix roles"
	case "preflight":
		return "Security verification"
	}
	if v, ok := strings.CutPrefix(verb, "provisioner-"); ok {
		return "Provisioner: " + v
	}
	return sentence(verb)
}
