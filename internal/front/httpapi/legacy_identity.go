package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// legacyRuntime is GET /api/setup/runtime-identity. What is not there is null.
type legacyRuntime struct {
	Configured   bool    `json:"configured"`
	Strategy     *string `json:"strategy"` // sp or managed_identity
	AppID        *string `json:"app_id"`
	Tenant       *string `json:"tenant"`
	MIClientID   *string `json:"mi_client_id"`
	MIResourceID *string `json:"mi_resource_id"`
}

// runtimeIdentity answers from the record alone, as the original does from its environment: nothing is asked of the cloud.
func (l *legacy) runtimeIdentity(w http.ResponseWriter, r *http.Request) {
	l.through(l.recall, w, r, func(d Door, name string) error {
		rec, err := recordOf(r.Context(), d, name)
		if err != nil {
			return err
		}
		a := legacyRuntime{Configured: rec.Provisioned()}
		if a.Configured {
			a.Tenant = orNull(d.Target().TenantID)
			if rec.Kind == agent.ManagedIdentity {
				a.Strategy, a.MIClientID, a.MIResourceID = orNull("managed_identity"), orNull(rec.AppID), orNull(rec.ResourceID)
			} else {
				a.Strategy, a.AppID = orNull("sp"), orNull(rec.AppID)
			}
		}
		answer(w, http.StatusOK, a)
		return nil
	})
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// recordOf is what memory keeps of the agent; the zero Record if nothing.
func recordOf(ctx context.Context, d Door, name string) (agent.Record, error) {
	all, err := d.State(ctx)
	if err != nil || name == "" {
		return agent.Record{}, err
	}
	if i := slices.IndexFunc(all, func(r agent.Record) bool { return r.Agent == name }); i >= 0 {
		return all[i], nil
	}
	return agent.Record{Agent: name}, nil
}

// legacyInfo is GET /api/identity/info. What is not there is "", but for the strategy.
type legacyInfo struct {
	Status        string  `json:"status"`
	Configured    bool    `json:"configured"`
	Strategy      *string `json:"strategy"` // service_principal or managed_identity
	AppID         string  `json:"app_id"`
	MIClientID    string  `json:"mi_client_id"`
	Tenant        string  `json:"tenant"`
	DisplayName   string  `json:"display_name"`
	PrincipalID   string  `json:"principal_id"`
	PrincipalType string  `json:"principal_type"`
	Message       string  `json:"message,omitempty"` // what is wrong
	Hint          string  `json:"hint,omitempty"`
}

func (l *legacy) info(w http.ResponseWriter, r *http.Request) {
	l.with(w, r, func(d Door, name string) error {
		a := legacyInfo{Status: "ok"}
		if name == "" {
			answer(w, http.StatusOK, a)
			return nil
		}
		id, err := d.Identity(r.Context(), name)
		if err != nil {
			return err
		}
		if !id.Configured {
			answer(w, http.StatusOK, a)
			return nil
		}
		a.Configured, a.Tenant, a.DisplayName, a.PrincipalID, a.PrincipalType = true, id.TenantID, id.DisplayName, id.PrincipalID, id.PrincipalType
		if id.Kind == agent.ManagedIdentity {
			a.Strategy, a.MIClientID = orNull("managed_identity"), id.AppID
		} else {
			a.Strategy, a.AppID = orNull("service_principal"), id.AppID
		}
		status := http.StatusOK
		switch {
		case id.Unread != "":
			a.Status, a.Message, status = "error", "the identity could not be looked up: "+id.Unread, http.StatusInternalServerError
		case !id.Found:
			a.Message, a.Hint = "the identity is recorded, and the directory does not have it", "leastkey status "+name
		}
		answer(w, status, a)
		return nil
	})
}

// legacyRoles is GET /api/identity/roles.
type legacyRoles struct {
	Status      string             `json:"status"`
	Assignments []legacyAssignment `json:"assignments"`
	Required    []legacyRequired   `json:"required"`
	Checks      []legacyRoleCheck  `json:"checks"`
	Message     string             `json:"message,omitempty"`
}

type legacyAssignment struct {
	Role      string  `json:"role"`
	Scope     string  `json:"scope"`
	Condition *string `json:"condition"`
}

type legacyRequired struct {
	Feature    string `json:"feature"`
	Role       string `json:"role"`
	RoleID     string `json:"role_id,omitempty"`
	DataAction string `json:"data_action"`
}

type legacyRoleCheck struct {
	Feature    string `json:"feature"`
	Role       string `json:"role"`
	Present    bool   `json:"present"`
	DataAction string `json:"data_action"`
	Detail     string `json:"detail,omitempty"`
	Expected   string `json:"expected_scope,omitempty"` // of the session pool
}

// sandbox is the row whose scope the original checks.
const sandbox = "Sandbox / Code Interpreter"

// features are the rows of the original in its order, as far as the seed has them: the names that [api.RequiredRole] has too.
func features() []string {
	return []string{"Prompt Shields (Content Safety)", "Bot Service Management", "Resource Group Visibility", "Key Vault Secrets", sandbox}
}

// inTheirOrder sorts what the spec asks for by the rows of the original; other roles come after them.
func inTheirOrder(all []api.RequiredRole) []api.RequiredRole {
	rank := func(r api.RequiredRole) int {
		if i := slices.Index(features(), r.Feature); i >= 0 {
			return i
		}
		return len(features())
	}
	return slices.SortedStableFunc(slices.Values(all), func(a, b api.RequiredRole) int { return cmp.Compare(rank(a), rank(b)) })
}

func (l *legacy) roles(w http.ResponseWriter, r *http.Request) {
	l.with(w, r, func(d Door, name string) error {
		empty := legacyRoles{Status: "ok", Assignments: []legacyAssignment{}, Required: []legacyRequired{}, Checks: []legacyRoleCheck{}, Message: "No identity or Azure CLI available"}
		rec, err := recordOf(r.Context(), d, name)
		if err != nil {
			return err
		}
		if !rec.Provisioned() {
			answer(w, http.StatusOK, empty)
			return nil
		}
		got, err := d.Roles(r.Context(), name)
		if err == nil {
			err = unknownRoles(got)
		}
		if err != nil {
			p := problemOf(err)
			answer(w, http.StatusInternalServerError, legacyError{Status: "error", Message: "Failed to list role assignments", Detail: p.Detail, Hint: p.Hint})
			return nil
		}
		answer(w, http.StatusOK, rolesAs(got))
		return nil
	})
}

// unknownRoles is the error of a list of which something could not be read: present is true or false here, and it is neither.
func unknownRoles(a api.RolesAnswer) error {
	for _, r := range a.Required {
		if r.Presence == api.PresenceUnknown {
			return fault.New(fault.Unknown, "the assignments of "+strings.Join(a.Unread, ", ")+" could not be read: "+r.Detail, "")
		}
	}
	return nil
}

func rolesAs(a api.RolesAnswer) legacyRoles {
	out := legacyRoles{Status: "ok", Assignments: []legacyAssignment{}, Required: []legacyRequired{}, Checks: []legacyRoleCheck{}}
	for _, h := range a.Held {
		out.Assignments = append(out.Assignments, legacyAssignment{Role: h.Role, Scope: h.Scope, Condition: orNull(h.Condition)})
	}
	for _, r := range inTheirOrder(a.Required) {
		out.Required = append(out.Required, legacyRequired{Feature: r.Feature, Role: r.Role, RoleID: r.RoleID, DataAction: r.DataAction})
		out.Checks = append(out.Checks, checkAs(r, a.Held))
	}
	return out
}

func checkAs(r api.RequiredRole, held []api.HeldRole) legacyRoleCheck {
	c := legacyRoleCheck{Feature: r.Feature, Role: r.Role, Present: r.Presence == api.Assigned, DataAction: r.DataAction}
	if r.Feature == sandbox {
		c.Expected = r.Scope
	}
	if c.Present {
		return c
	}
	c.Detail = "Role not assigned to this identity"
	var elsewhere []string
	for _, h := range held {
		if strings.EqualFold(h.RoleID, r.RoleID) {
			elsewhere = append(elsewhere, h.Scope)
		}
	}
	switch {
	case r.Detail != "":
		c.Detail += ": " + r.Detail
	case len(elsewhere) > 0:
		c.Detail = "Role assigned on wrong scope. Expected: " + r.Scope + " -- Found: " + strings.Join(elsewhere, ", ")
	}
	return c
}
