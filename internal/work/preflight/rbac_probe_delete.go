package preflight

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
	"github.com/leastkey/leastkey/internal/domain/role"
)

// probeTypes are what the identity tries to delete: an identity of its group, which others run under, and a vault.
func probeTypes() []string {
	return []string{"Microsoft.ManagedIdentity/userAssignedIdentities", "Microsoft.KeyVault/vaults"}
}

// probe is one DELETE of a resource that does not exist, and its answer: err is nil for a status of 2xx.
type probe struct {
	kind, target string
	status       int
	err          error
}

// probeDelete tries what the identity should not be able to do, on nothing: the name of the resource is random, and drawn where the request
// is made. Azure judges the right before it looks for the resource, so that the refusal proves that the right is missing.
func probeDelete() Check {
	return Check{
		ID: "rbac_probe_delete", Category: finding.RBAC, Name: "Deleting is refused", Severity: finding.High, Required: true,
		Question: "is the identity refused when it tries to delete a resource of its group, one that does not exist?",
		Remedy:   "rbac_no_elevated and rbac_unplanned name the assignment that allows it: remove it",
		Moot:     noOwnToken,
		Decide: func(_ context.Context, a *Ask) Verdict {
			if len(a.probed()) == 0 {
				return skip("the spec's own roles let the identity delete every type that is probed")
			}
			all, err := get(a, &a.run.probes)
			if err != nil {
				return failed(err)
			}
			return refused(all)
		},
	}
}

// probed are the types that no role of the spec lets the identity delete in its group.
func (a *Ask) probed() []string {
	return slices.DeleteFunc(probeTypes(), func(kind string) bool {
		return slices.ContainsFunc(a.Spec.Grants(a.Agent, a.run.p.Roles), func(g role.Grant) bool {
			d, known := a.run.p.Roles.Find(g.RoleID)
			return known && role.Contains(g.Scope, a.Spec.Group()) && d.Allows(kind+"/delete")
		})
	})
}

func probeDeletes(ctx context.Context, a *Ask) ([]probe, error) {
	if err := a.loggedIn(); err != nil {
		return nil, err
	}
	kinds := a.probed()
	all := make([]probe, len(kinds))
	var asking sync.WaitGroup
	for i, kind := range kinds {
		all[i].kind = kind
		asking.Go(func() {
			_, all[i].err = patiently(ctx, "the answer to a DELETE", func(ctx context.Context) (_ struct{}, err error) {
				all[i].target, all[i].status, err = a.run.self.ProbeDelete(ctx, a.Spec.Group(), kind)
				return struct{}{}, err
			})
		})
	}
	asking.Wait()
	return all, nil
}

// refused decides over the answers. Only ARM's own refusal of the right passes. 2xx, and 404 of the resource or its group, are told to those
// who have the right. Everything else, a lock or a policy for instance, does not say whether they have it.
func refused(all []probe) Verdict {
	var allowed, no []string
	var open error
	for _, p := range all {
		service := fault.Service(p.err)
		switch {
		case p.err == nil:
			allowed = append(allowed, fmt.Sprintf("DELETE %s was answered %d", p.target, p.status))
		case p.status == http.StatusForbidden && service == "AuthorizationFailed":
			no = append(no, fmt.Sprintf("DELETE of a %s: 403 AuthorizationFailed", p.kind))
		case p.status == http.StatusNotFound && (service == "ResourceNotFound" || service == "ResourceGroupNotFound"):
			allowed = append(allowed, fmt.Sprintf("DELETE %s was answered 404 %s", p.target, service))
		default:
			open = first(open, fmt.Errorf("whether the identity may delete a %s: %w", p.kind, p.err))
		}
	}
	switch {
	case len(allowed) > 0:
		return fail("the identity may delete in its group: %s", strings.Join(allowed, "; "))
	case open != nil:
		return failed(open)
	}
	return pass("%s", strings.Join(no, "; "))
}
