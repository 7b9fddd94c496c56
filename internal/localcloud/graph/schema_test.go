package graph

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/directory"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

func TestAQueryThatMakesNoSenseIsRefused(t *testing.T) {
	c := newCloud(t)
	u := c.user(c.admin)
	u.makeApp("bot")
	const eventual = "ConsistencyLevel: eventual"
	unsupported := func(property, resource string) string {
		return "Request_UnsupportedQuery: Unsupported or invalid query filter clause specified for property '" + property + "' of resource '" + resource + "'."
	}
	unknown := func(property, kind string) string {
		return "Could not find a property named '" + property + "' on type 'microsoft.graph." + kind + "'."
	}
	const clause, parsing = "BadRequest: Invalid filter clause: ", "BadRequest: Parsing OData Select and Expand failed: "
	const types = clause + "A binary operator with incompatible types was detected."
	const id = "11111111-1111-4111-8111-111111111111"
	rows := []struct{ sentence, path, filter, problem string }{ // "" is an answer
		{"a misspelled property is unknown", "applications", "displayname2 eq 'bot'", clause + unknown("displayname2", "application")},
		{"a property of another type is unknown", "applications", "servicePrincipalType eq 'Application'", clause + unknown("servicePrincipalType", "application")},
		{"a misspelled property behind and is unknown", "applications", "displayName eq 'bot' and apId eq '" + id + "'", clause + unknown("apId", "application")},
		{"a misspelled collection is unknown", "applications", "identifierUri/any(s:s eq 'x')", clause + unknown("identifierUri", "application")},
		{"a lambda over what is no collection is refused", "applications", "displayName/any(s:s eq 'x')", clause + "Any/All may only be used following a collection."},
		{"a collection is not compared as a whole", "applications", "identifierUris eq 'x'", types},
		{"the members of a complex collection are not looked at", "applications", "keyCredentials/any(k:k/keyId eq " + id + ")", "Request_UnsupportedQuery: Complex query on property keyCredentials is not supported."},
		{"a property that cannot be filtered is refused", "applications", "notes eq 'x'", unsupported("notes", "Application")},
		{"another one too", "servicePrincipals", "appRoleAssignmentRequired eq true", unsupported("appRoleAssignmentRequired", "ServicePrincipal")},
		{"an operator that the property does not have is refused", "applications", "startswith(signInAudience,'Azure')", unsupported("signInAudience", "Application")},
		{"contains is no operator of directory objects", "applications", "contains(displayName,'o')", unsupported("displayName", "Application")},
		{"an app id must be a GUID", "applications", "appId eq 'bot'", "Request_BadRequest: Invalid value specified for property 'appId' of resource 'Application'."},
		{"an app id must be a GUID in a list too", "servicePrincipals", "appId in ('" + id + "','bot')", "Request_BadRequest: Invalid value specified for property 'appId' of resource 'ServicePrincipal'."},
		{"a text is quoted", "applications", "appId eq " + id, types + " Found operand types 'Edm.String' and 'Edm.Guid' for operator kind 'Equal'."},
		{"a GUID is not quoted", "servicePrincipals", "appOwnerOrganizationId eq '" + id + "'", types + " Found operand types 'Edm.Guid' and 'Edm.String' for operator kind 'Equal'."},
		{"a truth value is not quoted", "users", "accountEnabled eq 'true'", types},
		{"a date is not quoted", "applications", "createdDateTime ge '2026-01-01T00:00:00Z'", types},
		{"a date is not a number", "applications", "createdDateTime ge 2026", types},
		{"null is no app id", "applications", "appId eq null", unsupported("appId", "Application")},
		{"not needs a property that has it", "applications", "not(publisherDomain eq 'x')", unsupported("publisherDomain", "Application")},
		{"grants are not filtered by scope", "oauth2PermissionGrants", "scope eq 'User.Read'", unsupported("scope", "OAuth2PermissionGrant")},
		{"a domain has no filter", "domains", "isVerified eq true", unsupported("isVerified", "Domain")},
		{"relationships are of no type in particular", "me/memberOf", "displayName eq 'x'", unsupported("displayName", "DirectoryObject")},

		{"Azure CLI finds an application by app id", "applications", "appId eq '" + id + "'", ""},
		{"Azure CLI finds an application by URI", "applications", "identifierUris/any(s:s eq 'bot')", ""},
		{"Azure CLI finds names that begin so", "applications", "startswith(displayName,'b')", ""},
		{"Azure CLI finds a service principal by any name", "servicePrincipals", "servicePrincipalNames/any(c:c eq 'bot')", ""},
		{"Azure CLI finds a group by name and nickname", "groups", "displayName eq 'x' and mailNickname eq 'x'", ""},
		{"Azure CLI finds a user by name", "users", "userPrincipalName eq 'x@contoso'", ""},
		{"Azure CLI finds the grants of a client", "oauth2PermissionGrants", "clientId eq '" + id + "'", ""},
		{"a unique name is found", "applications", "uniqueName eq 'x'", ""},
		{"a GUID is written bare", "servicePrincipals", "appOwnerOrganizationId eq " + id, ""},
		{"a managed identity is found by type", "servicePrincipals", "servicePrincipalType eq 'ManagedIdentity'", ""},
		{"a path of a complex property is known", "applications", "web/redirectUris/any(p:p eq 'https://x')", ""},
		{"dates are compared", "applications", "createdDateTime ge 2026-01-01T00:00:00Z", ""},
		{"an extension is a property", "applications", "extension_1_x eq 'y'", ""},
		{"not works where the property has it", "applications", "not(tags/any(t:t eq 'x'))", ""},
	}
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) {
			path := query(r.path, r.filter) + "&$count=true"
			if r.problem == "" {
				u.get(path, eventual).is(200)
			} else {
				u.get(path, eventual).is(400, r.problem)
			}
		})
	}
	for _, r := range []struct{ sentence, path, problem string }{
		{"an unknown property is not selected", "applications?$select=id,nme", parsing + unknown("nme", "application")},
		{"an unknown property of a user is not selected", "users?$select=upn", parsing + unknown("upn", "user")},
		{"an unknown property of one group is not selected", "directoryRoles?$select=nme", parsing + unknown("nme", "directoryRole")},
		{"an unknown property of the members is not selected", "me/memberOf?$select=nme", parsing + unknown("nme", "directoryObject")},
		{"an empty list refuses it as well", query("applications", "displayName eq 'none'") + "&$select=nme", parsing + unknown("nme", "application")},
		{"an unknown relationship is not expanded", "applications?$expand=friends", parsing + unknown("friends", "application")},
		{"a property is not expanded", "applications?$expand=displayName", parsing + unknown("displayName", "application")},
		{"a relationship that is not served is not passed over", "servicePrincipals?$expand=memberOf", "Request_UnsupportedQuery: The local cloud does not expand 'memberOf'."},
		{"two relationships are not expanded", "applications?$expand=owners,owners", "Request_UnsupportedQuery: Only one relationship"},
		{"one object is not expanded by nonsense", "applications(appId='" + id + "')?$expand=friends", ""},
		{"an unknown property is no order", "applications?$orderby=name", parsing + unknown("name", "application")},
		{"a property without order is no order", "applications?$orderby=publisherDomain", "Request_UnsupportedQuery: Sorting not supported for current query."},
		{"a property without search is not searched", "applications?$search=" + url.QueryEscape(`"appId:x"`), "Request_UnsupportedQuery: $search is not supported for the property 'appId'"},
		{"a key that is no GUID is invalid", "applications(appId='not-a-guid')", "Request_BadRequest: Invalid value specified for property 'appId' of resource 'Application'."},
		{"so it is for a service principal", "servicePrincipals(appId='not-a-guid')", "Request_BadRequest: Invalid value specified for property 'appId' of resource 'ServicePrincipal'."},
	} {
		t.Run(r.sentence, func(t *testing.T) {
			a := u.get(r.path, eventual)
			if r.problem == "" {
				a.is(404)
			} else {
				a.is(400, r.problem)
			}
		})
	}
	u.get("applications?$expand=owners($select=id,displayName)&$select=id").is(200)
	u.get("applications?$select=web,logo,extension_1_x").is(200)
	u.get("me/ownedObjects?$select=id,displayName,appId").is(200)
}

func TestWhatIsShownCanBeSelected(t *testing.T) {
	c := newCloud(t)
	s := c.s
	for collection, o := range map[string]object{
		"applications": s.encodeApplication(directory.Application{}, true), "servicePrincipals": s.encodeServicePrincipal(directory.ServicePrincipal{}, true),
		"users": encodeUser(directory.User{}), "groups": encodeGroup(directory.Group{ID: "12345678"}), "directoryRoles": builtInRoles[0].encode(),
		"roleManagement/directory/roleDefinitions": builtInRoles[0].encodeDefinition(), "organization": s.encodeOrganization(), "domains": s.encodeDomain(),
		"oauth2PermissionGrants": encodeGrant(directory.PermissionGrant{}), "applications('x')/federatedIdentityCredentials": encodeFederated(directory.FederatedCredential{}),
	} {
		schema := s.schemaOf(collection)
		if schema == nil {
			t.Fatalf("%s has no type", collection)
		}
		for name := range o {
			if schema.selects([]string{name}) != nil {
				t.Errorf("%s of %s is shown and cannot be selected", name, collection)
			}
		}
	}
	for collection, name := range collections {
		if s.schemas[name] == nil {
			t.Errorf("%s is of type %s, which is not listed", collection, name)
		}
	}
	for _, list := range []string{applicationWritable + " " + applicationReadOnly, principalWritable + " " + principalReadOnly} {
		kind := "applications"
		if strings.Contains(list, "alternativeNames") {
			kind = "servicePrincipals"
		}
		if err := s.schemaOf(kind).selects(strings.Fields(list)); err != nil {
			t.Error(err)
		}
	}
}

// A page must not cost what the whole collection costs: of what it does not show, ids are looked at and no objects are written or matched,
// save to count them.
func TestAPageMatchesNoMoreThanItShows(t *testing.T) {
	all := make([]placed, 1000)
	for i := range all {
		all[i] = placed{row: row{id: fmt.Sprintf("%03d", i)}}
	}
	ids := func(page []row) string { return page[0].id + "…" + page[len(page)-1].id }
	for _, r := range []struct {
		sentence string
		from     *token
		count    bool
		page     string
		next     *token
		matched  int
	}{
		{"the first page", nil, false, "000…009", &token{Last: "009"}, 11},
		{"the second page", &token{Last: "009"}, false, "010…019", &token{Last: "019"}, 11},
		{"a page behind an object that is gone", &token{Last: "029a"}, false, "030…039", &token{Last: "039"}, 11},
		{"the last page", &token{Last: "989"}, false, "990…999", nil, 10},
		{"a page with a count", nil, true, "000…009", &token{Last: "009"}, 1000},
		{"a later page with a count", &token{Last: "989"}, true, "990…999", nil, 1000},
	} {
		t.Run(r.sentence, func(t *testing.T) {
			matched := 0
			page, next, total := cut(all, nil, r.from, 10, r.count, func(row) bool { matched++; return true })
			if ids(page) != r.page || fmt.Sprint(next) != fmt.Sprint(r.next) || matched != r.matched || r.count && total != 1000 {
				t.Errorf("%s, next %v, of %d, matched %d", ids(page), next, total, matched)
			}
		})
	}
}

func TestABeginningIsLookedUp(t *testing.T) {
	c := newCloud(t)
	u := c.user(c.admin)
	for _, name := range []string{"Polyclaw", "polyclaw-runtime", "poly", "other"} {
		u.post("applications", map[string]any{"displayName": name}).is(201)
	}
	for filter, want := range map[string]int{
		"startswith(displayName,'polyclaw')": 2, "startswith(displayName,'POL')": 3, "startswith(displayName,'')": 4, "startswith(displayName,'polyclaw-runtimes')": 0,
		"startswith(displayName,'poly') or startswith(displayName,'other')": 4, "startswith(displayName,'poly') or signInAudience eq 'x'": 3,
		"startswith(displayName,'poly') and displayName eq 'other'": 0,
	} {
		if got := u.get(query("applications", filter)).is(200).value(); len(got) != want {
			t.Errorf("%s finds %d, want %d", filter, len(got), want)
		}
	}
}

func TestTheRecycleBinAndWhatWasCreatedAreLookedUp(t *testing.T) {
	c := newCloud(t)
	u := c.app("Application.ReadWrite.All")
	kept, _, _ := u.makeApp("kept")
	gone, _, sp := u.makeApp("gone")
	c.user(c.admin).makeApp("of somebody else")
	u.del("applications/" + gone).is(204)
	ids := func(path string) []string {
		var ids []string
		for _, o := range u.get(path).is(200).value() {
			ids = append(ids, o["id"].(string))
		}
		return ids
	}
	for path, want := range map[string][]string{
		"directory/deletedItems/microsoft.graph.application": {gone}, "directory/deletedItems/microsoft.graph.servicePrincipal": {sp},
		"servicePrincipals/" + u.id + "/createdObjects": {kept},
	} {
		if got := ids(path); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	c.dir.Store.Primary(func(v replica.View) {
		if n := c.dir.Applications.Count(v, "deleted", "true"); n != 1 {
			t.Error(n)
		}
	})
}
