package app

import (
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/work/preflight"
)

// checks are what the preflight asks, as faces explain it.
func checks() []api.PreflightCheck {
	all := []api.PreflightCheck{}
	for _, c := range preflight.Checks() {
		all = append(all, api.PreflightCheck{ID: c.ID, Category: c.Category, Name: c.Name, Question: c.Question, Severity: c.Severity, Required: c.Required, Remedy: c.Remedy, Docs: preflight.Docs(c.ID)})
	}
	return all
}
