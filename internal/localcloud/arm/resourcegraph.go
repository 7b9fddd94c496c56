package arm

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/arm/kql"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

const (
	graphNS = "Microsoft.ResourceGraph"

	// graphPage is how many records an answer has at most, and without $top (Microsoft, "Working with large Azure resource data sets").
	graphPage = 1000
)

// graphQuery is the body of a query of Azure Resource Graph.
type graphQuery struct {
	Query            string
	Subscriptions    []string
	ManagementGroups []string
	Facets           []any
	Options          struct {
		Top                      *int   `json:"$top"`
		Skip                     *int   `json:"$skip"`
		SkipToken                string `json:"$skipToken"`
		ResultFormat             string
		AuthorizationScopeFilter string
	}
}

// graphColumns are the columns of every table that is served.
var graphColumns = []kql.Column{
	{Name: "id", Type: kql.String}, {Name: "name", Type: kql.String}, {Name: "type", Type: kql.String}, {Name: "tenantId", Type: kql.String}, {Name: "kind", Type: kql.String}, {Name: "location", Type: kql.String},
	{Name: "resourceGroup", Type: kql.String}, {Name: "subscriptionId", Type: kql.String}, {Name: "managedBy", Type: kql.String}, {Name: "sku", Type: kql.Dynamic}, {Name: "plan", Type: kql.Dynamic},
	{Name: "properties", Type: kql.Dynamic}, {Name: "tags", Type: kql.Dynamic}, {Name: "identity", Type: kql.Dynamic}, {Name: "zones", Type: kql.Dynamic}, {Name: "extendedLocation", Type: kql.Dynamic},
}

// query answers a query of Azure Resource Graph from what the replica shows of what the caller may read. The rows are chosen under the
// store's lock; the query runs over them afterwards.
func (s *Service) query(v replica.View, c *call) reply {
	var body graphQuery
	if r := c.decode(&body); r != nil {
		return *r
	}
	q, err := kql.Parse(body.Query)
	var plan *kql.Plan
	if err == nil {
		plan, err = q.Bind(graphColumns)
	}
	if err != nil {
		return s.refuseQuery(err)
	}
	if bad := body.check(); bad != nil {
		return s.refuse(*bad)
	}
	where, bad := s.graphScope(v, c, body)
	if bad != nil {
		return *bad
	}
	var rows []row
	switch strings.ToLower(cmp.Or(q.Table, "resources")) {
	case "resources":
		rows = s.resourceRows(where, plan)
	case "resourcecontainers":
		rows = s.containerRows(where)
	case "authorizationresources":
		rows = s.authorizationRows(where, plan, body.Options.AuthorizationScopeFilter)
	default:
		return s.refuse(object{"code": "DisallowedLogicalTableName", "message": "Table " + q.Table + " is invalid, unsupported or disallowed."})
	}
	return reply{later: func() reply { return s.result(c, body, plan, rows) }}
}

// check refuses options out of their range (Azure Resource Graph REST reference, QueryRequestOptions) and facets, which are not served.
func (q graphQuery) check() *object {
	bad := func(code, message string) *object { return &object{"code": code, "message": message} }
	o := q.Options
	switch {
	case o.Top != nil && (*o.Top < 1 || *o.Top > graphPage):
		return bad("InvalidTop", "The option $top is 1 to 1000.")
	case o.Skip != nil && *o.Skip < 0:
		return bad("InvalidSkip", "The option $skip is not negative.")
	case !oneOf(o.ResultFormat, "", "table", "objectArray"):
		return bad("InvalidResultFormat", "The option resultFormat is table or objectArray.")
	case !oneOf(o.AuthorizationScopeFilter, "", "AtScopeAndBelow", "AtScopeAndAbove", "AtScopeExact", "AtScopeAboveAndBelow"):
		return bad("InvalidAuthorizationScopeFilter", "The option authorizationScopeFilter is AtScopeAndBelow, AtScopeAndAbove, AtScopeExact or AtScopeAboveAndBelow.")
	case len(q.Facets) > 0:
		return bad("FacetsNotSupported", "Facets are not served by the local cloud.")
	}
	return nil
}

func oneOf(s string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(s, w) })
}

// refuse is the form of every refusal of Azure Resource Graph: the code that matters is in the details.
func (s *Service) refuse(details ...object) reply {
	r := fail(http.StatusBadRequest, "BadRequest", "Please provide below info when asking for support: timestamp = %s, correlationId = %s.", stamp(s.env.Now()), s.env.NewID())
	r.body.(object)["error"].(object)["details"] = details
	return r
}

// refuseQuery refuses a query that is none, has what is not served, or takes too much.
func (s *Service) refuseQuery(err error) reply {
	details := []object{{"code": "InvalidQuery", "message": "Query is invalid. Please refer to the documentation for the Azure Resource Graph service and fix the error before retrying."}}
	if e, is := errors.AsType[*kql.Error](err); is {
		d := object{"code": e.Code, "message": e.Message, "line": e.Line, "characterPositionInLine": e.Col, "token": e.Token}
		if e.Expected != "" {
			d["expectedToken"] = e.Expected
		}
		details = append(details, d)
	}
	return s.refuse(details...)
}

// graphScope is where a query looks: subscriptions, management groups, or all that the caller sees of the tenant.
type graphScope struct {
	v      replica.View
	mine   *rights
	tenant bool
	subs   []Subscription
	groups []ManagementGroup // with those below the ones that were asked for
	asked  []ID              // the scopes of the request
}

func (s *Service) graphScope(v replica.View, c *call, q graphQuery) (graphScope, *reply) {
	w := graphScope{v: v, mine: s.rightsOf(v, c.who.ObjectID), tenant: len(q.Subscriptions)+len(q.ManagementGroups) == 0}
	add := func(sub Subscription) {
		if w.mine.sees(ID{Subscription: sub.ID}) && !slices.ContainsFunc(w.subs, func(o Subscription) bool { return o.ID == sub.ID }) {
			w.subs = append(w.subs, sub)
		}
	}
	for _, id := range q.Subscriptions {
		if sub, found := s.subscription(v, id); found {
			add(sub)
			w.asked = append(w.asked, ID{Subscription: sub.ID})
		}
	}
	names := q.ManagementGroups
	if w.tenant {
		names = []string{s.rootGroup()}
		w.asked = []ID{{}, {ManagementGroup: s.env.Dir.Tenant.ID}}
	}
	for _, name := range names {
		groups, subs := s.family(v, name)
		for _, sub := range subs {
			add(sub)
		}
		w.groups = append(w.groups, groups...)
		if len(groups) > 0 && !w.tenant {
			w.asked = append(w.asked, groups[0].ID())
		}
	}
	w.groups = slices.DeleteFunc(w.groups, func(g ManagementGroup) bool { return !w.mine.allow(g.ID(), managementRead) })
	switch {
	case len(w.subs) > 0 || len(w.groups) > 0:
		return w, nil
	case w.tenant:
		r := fail(http.StatusForbidden, "AccessDenied", "The client does not have access to any subscription or management group of the tenant.") // the words were not seen
		return w, &r
	}
	given := strings.Join(append(slices.Clone(q.Subscriptions), q.ManagementGroups...), ", ")
	r := s.refuse(object{"code": "NoValidSubscriptionsInQueryRequest", "message": "There must be at least one subscription that is eligible to contain resources. Given: '" + given + "'."})
	return w, &r
}

// result runs the plan and gives the page that was asked for. There is a $skipToken only if records can be told apart, by a column id,
// and the query itself does not bound them; otherwise what is left out is truncated (Microsoft, "Working with large Azure resource data
// sets", paging results).
func (s *Service) result(c *call, q graphQuery, plan *kql.Plan, rows []row) reply {
	table := make([]kql.Row, len(rows))
	for i, r := range rows {
		table[i] = r()
	}
	found, err := plan.Run(table)
	if err != nil {
		return s.refuseQuery(err)
	}
	purpose := strings.Join([]string{"query", c.who.ObjectID, q.Query, strings.Join(q.Subscriptions, ","), strings.Join(q.ManagementGroups, ","), strings.ToLower(q.Options.AuthorizationScopeFilter)}, "\n")
	from, size := 0, graphPage
	if o := q.Options; o.SkipToken != "" {
		var at cursorOf
		if !s.unseal(o.SkipToken, purpose, &at) {
			return s.refuse(object{"code": "InvalidSkipToken", "message": "The $skipToken is not one of this query."})
		}
		from, size = found.After(at.Last), at.Size
	}
	// "If limit or take are used in the query, Skip is ignored" (same page); otherwise it "overrides the next page offset when $skipToken
	// property is present" (Azure Resource Graph REST reference).
	if skip := q.Options.Skip; skip != nil && !plan.Limited {
		from = min(*skip, found.Len())
	}
	if q.Options.Top != nil {
		size = *q.Options.Top
	}
	to := min(from+size, found.Len())
	page := found.Rows(from, to)
	if n := payload(plan.Columns(), page); n > maxPayload {
		return s.refuse(object{"code": "ResponsePayloadTooLarge", "message": fmt.Sprintf("Response payload size is %d, and has exceeded the limit of %d. Please consider querying less data at a time and make paginated call if needed.", n, maxPayload)})
	}
	body := object{"totalRecords": found.Len(), "count": to - from, "resultTruncated": "false", "facets": []any{}, "data": records(c, q, plan.Columns(), page)}
	if to < found.Len() {
		if paging := slices.Contains(plan.Columns(), kql.Column{Name: "id", Type: kql.String}); paging && !plan.Limited && to > 0 {
			body["$skipToken"] = s.seal(purpose, cursorOf{found.Place(to - 1), size})
		} else {
			body["resultTruncated"] = "true"
		}
	}
	rep := ok(body)
	// What is left of 15 queries in 5 seconds (Microsoft, "Guidance for throttled requests in Azure Resource Graph"). As elsewhere the
	// limit is only told.
	rep.header = map[string]string{"x-ms-user-quota-remaining": "14", "x-ms-user-quota-resets-after": "00:00:05"}
	return rep
}

// cursorOf is behind which row the next page of a query begins, whatever has come and gone in between, and how long it is.
type cursorOf struct {
	Last kql.Place `json:"l"`
	Size int       `json:"s"`
}

// maxPayload is how many bytes an answer has at most (seen in microsoft/ARI issue 199, 2024-07, with code and words of the refusal).
const maxPayload = 16 << 20

// payload is about how many bytes the rows are as objects, counted no further than it takes to see that they are too many: a query can
// repeat a text in each row and column, and only the answer has it as often.
func payload(columns []kql.Column, rows []kql.Row) int {
	n := 0
	for _, r := range rows {
		for _, col := range columns {
			if n += len(col.Name) + len(`"":,`) + bytesOf(r[col.Name], maxPayload-n); n > maxPayload {
				return n
			}
		}
	}
	return n
}

func bytesOf(v any, enough int) int {
	n := len("null")
	switch v := v.(type) {
	case string:
		return len(v) + len(`""`)
	case []any:
		for _, item := range v {
			if n += 1 + bytesOf(item, enough-n); n > enough {
				break
			}
		}
	case map[string]any:
		for name, item := range v {
			if n += len(name) + len(`"":,`) + bytesOf(item, enough-n); n > enough {
				break
			}
		}
	}
	return n
}

// records writes rows in the format asked for: lists of values under their columns, as the API had it before 2020-04-01-preview by
// default, or objects.
func records(c *call, q graphQuery, columns []kql.Column, rows []kql.Row) any {
	format := q.Options.ResultFormat
	if format == "" && c.param("api-version") < "2020-04-01-preview" {
		format = "table"
	}
	if strings.EqualFold(format, "table") {
		names := map[kql.Type]string{kql.String: "string", kql.Long: "integer", kql.Bool: "boolean", kql.Dynamic: "object"}
		heads, lines := make([]object, len(columns)), make([][]any, len(rows))
		for i, col := range columns {
			heads[i] = object{"name": col.Name, "type": names[col.Type]}
		}
		for i, r := range rows {
			lines[i] = make([]any, len(columns))
			for j, col := range columns {
				lines[i][j] = r[col.Name]
			}
		}
		return object{"columns": heads, "rows": lines}
	}
	all := make([]object, len(rows))
	for i, r := range rows {
		all[i] = make(object, len(columns))
		for _, col := range columns {
			all[i][col.Name] = r[col.Name]
		}
	}
	return all
}
