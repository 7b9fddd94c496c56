package arm

import (
	"context"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resourcegraph/armresourcegraph"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// mostRows is how much of Azure Resource Graph one question may bring.
const mostRows = 20000

// resourceGraph is what a refusal of Azure Resource Graph is about: no scope that somebody could be given a role at.
const resourceGraph = "/providers/Microsoft.ResourceGraph"

// AssignedAnywhere lists the role assignments of the principals in the whole tenant, as Azure Resource Graph shows it to the caller: only
// what they may read, and some time behind (Microsoft, "What is Azure Resource Graph?", "Query authorization resources"). It answers
// where no list of one scope leads: a subscription or a management group that nobody has thought of.
func (c *Client) AssignedAnywhere(ctx context.Context, principals []string) ([]agent.Assignment, error) {
	const op = "look for role assignments in the whole tenant"
	const most = 100 // of one query, whose length is bounded
	var all []agent.Assignment
	for part := range slices.Chunk(principals, most) {
		for _, id := range part {
			if !agent.IsGUID(id) {
				return nil, fault.New(fault.Invalid, op+": the principal id is not a GUID", "")
			}
		}
		rows, err := c.query(ctx, op, "authorizationresources"+
			" | where type =~ 'microsoft.authorization/roleassignments'"+
			" | where tostring(properties.principalId) in~ ('"+strings.Join(part, "','")+"')"+
			" | project id, name, role = tostring(properties.roleDefinitionId), scope = tostring(properties.scope), principal = tostring(properties.principalId), condition = tostring(properties.condition)"+
			" | order by id asc")
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			a := agent.Assignment{ID: r.text("id"), Name: r.text("name"), Scope: r.text("scope"), PrincipalID: r.text("principal"), Condition: r.text("condition")}
			a.RoleID = strings.ToLower(r.text("role")[strings.LastIndexByte(r.text("role"), '/')+1:])
			if !agent.IsGUID(a.RoleID) || !agent.IsGUID(a.PrincipalID) || a.Scope == "" || a.ID == "" {
				return nil, notAGraph(op)
			}
			all = append(all, a)
		}
	}
	return all, nil
}

// Visible tells how far [Client.AssignedAnywhere] reaches: ids of the subscriptions and names of the management groups that Azure Resource
// Graph shows to the caller.
func (c *Client) Visible(ctx context.Context) (subscriptions, managementGroups []string, err error) {
	const op = "list subscriptions and management groups"
	rows, err := c.query(ctx, op, "resourcecontainers"+
		" | where type in~ ('microsoft.resources/subscriptions', 'microsoft.management/managementgroups')"+
		" | project id, name, type, subscriptionId | order by id asc")
	for _, r := range rows {
		if strings.EqualFold(r.text("type"), "microsoft.resources/subscriptions") {
			subscriptions = append(subscriptions, r.text("subscriptionId"))
		} else {
			managementGroups = append(managementGroups, r.text("name"))
		}
	}
	return subscriptions, managementGroups, err
}

// AttachedTo lists the ids of the resources that a user-assigned managed identity is attached to, as Azure Resource Graph shows them: code
// on each can be the identity.
func (c *Client) AttachedTo(ctx context.Context, identityID string) ([]string, error) {
	const op = "look for resources that have the managed identity"
	if strings.ContainsAny(identityID, "'\"\\\r\n") {
		return nil, fault.New(fault.Invalid, op+": not the id of an identity", "")
	}
	// The keys of the object are ids, in whatever case they were written with, so that it is searched as text.
	rows, err := c.query(ctx, op, "resources"+
		" | where tostring(identity.userAssignedIdentities) contains '\""+identityID+"\"'"+
		" | project id | order by id asc")
	var ids []string
	for _, r := range rows {
		ids = append(ids, r.text("id"))
	}
	return ids, err
}

// graphRow is a record of an answer.
type graphRow map[string]any

func (r graphRow) text(column string) string {
	s, _ := r[column].(string)
	return s
}

// query asks Azure Resource Graph about everything that the caller sees, page by page. An answer that is cut short is none: without
// AllowPartialScopes, Azure refuses a question about more subscriptions than it looks through.
func (c *Client) query(ctx context.Context, op, kql string) ([]graphRow, error) {
	client, err := armresourcegraph.NewClient(c.credential, c.options)
	if err != nil {
		return nil, c.failed(ctx, op, resourceGraph, err)
	}
	format, reach := armresourcegraph.ResultFormatObjectArray, armresourcegraph.AuthorizationScopeFilterAtScopeAboveAndBelow
	options := &armresourcegraph.QueryRequestOptions{ResultFormat: &format, AuthorizationScopeFilter: &reach}
	var all []graphRow
	for {
		page, err := client.Resources(ctx, armresourcegraph.QueryRequest{Query: &kql, Options: options}, nil)
		if err != nil {
			return nil, c.failed(ctx, op, resourceGraph, err)
		}
		rows, ok := page.Data.([]any)
		if !ok {
			return nil, notAGraph(op)
		}
		for _, r := range rows {
			row, ok := r.(map[string]any)
			if !ok {
				return nil, notAGraph(op)
			}
			all = append(all, row)
		}
		more := text(page.SkipToken)
		switch {
		case more == "" && (page.ResultTruncated == nil || *page.ResultTruncated != armresourcegraph.ResultTruncatedFalse), len(all) > mostRows:
			return nil, fault.New(fault.Unsupported, op+": Azure Resource Graph has more than it shows", "")
		case more == "":
			return all, nil
		}
		options.SkipToken = &more
	}
}

func notAGraph(op string) error {
	return fault.New(fault.Unknown, op+": the answer is not of Azure Resource Graph", "check --cloud and the proxy")
}
