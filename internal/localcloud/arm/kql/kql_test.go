package kql

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var columns = []Column{{"id", String}, {"name", String}, {"type", String}, {"n", Long}, {"properties", Dynamic}, {"tags", Dynamic}}

// table is four rows, of which the last has nothing.
func table(t testing.TB) []Row {
	t.Helper()
	var rows []Row
	if err := json.Unmarshal([]byte(`[
		{"id":"/a","name":"Alpha","type":"microsoft.authorization/roleassignments","n":3,"properties":{"principalId":"AAAA-1","scope":"/subscriptions/S/resourceGroups/G","on":true,"list":["x","y"],"deep":{"odd key":"v"}},"tags":{"env":"Prod"}},
		{"id":"/b","name":"beta","type":"microsoft.authorization/roleassignments","n":1,"properties":{"principalId":"bbbb-2","scope":"/","on":false,"count":7},"tags":null},
		{"id":"/c","name":"Gamma","type":"microsoft.authorization/roledefinitions","n":2,"properties":{"roleName":"Key Vault Reader"},"tags":{"env":"dev"}},
		{"id":"/d","name":"","type":"x/y","n":null,"properties":null,"tags":null}
	]`), &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// rows runs a query over the table.
func rows(t testing.TB, p *Plan, over []Row) []Row {
	t.Helper()
	r, err := p.Run(over)
	if err != nil {
		t.Fatalf("%s: %v", p.query, err)
	}
	return r.Rows(0, r.Len())
}

func plan(t testing.TB, query string) *Plan {
	t.Helper()
	q, err := Parse(query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	p, err := q.Bind(columns)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return p
}

func TestWhereKeepsTheRowsOfWhichItIsTrue(t *testing.T) {
	for cond, want := range map[string]string{
		`type =~ 'Microsoft.Authorization/roleAssignments'`: "/a /b",
		`type == 'Microsoft.Authorization/roleAssignments'`: "",
		`type != "x/y"`:                                            "/a /b /c",
		`type !~ 'X/Y'`:                                            "/a /b /c",
		`properties.principalId == 'AAAA-1'`:                       "/a",
		`properties['principalId'] =~ "aaaa-1"`:                    "/a",
		`tolower(properties.principalId) == tolower('AAAA-1')`:     "/a",
		`tostring(properties.principalId) in ('AAAA-1', 'bbbb-2')`: "/a /b",
		`properties.principalId in~ ('aaaa-1')`:                    "/a",
		`properties.principalId !in~ ('aaaa-1')`:                   "/b /c /d",
		`name !in ('Alpha')`:                                       "/b /c /d",
		`properties.scope has 'resourcegroups'`:                    "/a",
		`properties.scope has 'resource'`:                          "",
		`properties.scope contains 'RESOURCE'`:                     "/a",
		`properties.roleName !has 'vault'`:                         "/a /b /d",
		`name !contains 'a'`:                                       "/d",
		`id startswith '/A'`:                                       "/a",
		`id !startswith '/A'`:                                      "/b /c /d",
		`type endswith 'ROLEDEFINITIONS'`:                          "/c",
		`type !endswith 'roledefinitions'`:                         "/a /b /d",
		`name startswith_cs 'a'`:                                   "",
		`name contains_cs 'amm'`:                                   "/c",
		`type endswith_cs 'y'`:                                     "/d",
		`properties.on == true`:                                    "/a",
		`properties.on != true`:                                    "/b /c /d",
		`tobool(properties.on)`:                                    "/a",
		`not(tobool(properties.on))`:                               "/b",
		`properties.count > 6`:                                     "/b",
		`n >= 2 and n <= 3`:                                        "/a /c",
		`n < 2 or n == 3`:                                          "/a /b",
		`isnull(n)`:                                                "/d",
		`isnotnull(properties.roleName)`:                           "/c",
		`isempty(name)`:                                            "/d",
		`isnotempty(tags.env)`:                                     "/a /c",
		`isnull(name)`:                                             "",
		`tags.env =~ 'PROD' or tags['env'] == 'dev'`:               "/a /c",
		`properties.list[1] == 'y'`:                                "/a",
		`properties.list[5] == 'y'`:                                "",
		`properties.deep['odd key'] == 'v'`:                        "/a",
		`array_length(properties.list) == 2`:                       "/a",
		`strlen(name) == 4`:                                        "/b",
		`split(type, '/')[1] == 'y'`:                               "/d",
		`split(type, '/', 0)[0] == 'x'`:                            "/d",
		`strcat(name, '-', n) == 'beta-1'`:                         "/b",
		`coalesce(name, 'none') == 'none'`:                         "/d",
		`iff(n == 3, 'three', 'other') == 'three'`:                 "/a",
		`toint('3') == n`:                                          "/a",
		`toupper(name) == 'ALPHA'`:                                 "/a",
		`name == 'Alpha' or name == 'beta' and n == 9`:             "/a",
		`(name == 'Alpha' or name == 'beta') and n == 1`:           "/b",
		"name == 'Alpha' // a comment\n":                           "/a",
		`name == @'Alpha'`:                                         "/a",
		`name == 'Al\'pha'`:                                        "",
		`['name'] == 'Alpha'`:                                      "/a",
		`properties.list == properties.list`:                       "/a",
	} {
		var got []string
		for _, r := range rows(t, plan(t, "Resources | where "+cond), table(t)) {
			got = append(got, r["id"].(string))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", cond, got, want)
		}
	}
}

func TestOperatorsShapeTheResult(t *testing.T) {
	for query, want := range map[string]string{
		`| project id`: `[{"id":"/a"},{"id":"/b"},{"id":"/c"},{"id":"/d"}]`,
		`| where n == 3 | project properties.principalId, who = tolower(tostring(properties.principalId)), tags`: `[{"properties_principalId":"AAAA-1","tags":{"env":"Prod"},"who":"aaaa-1"}]`,
		`| extend n = strcat('n', n) | where id == '/a' | project n`:                                             `[{"n":"n3"}]`,
		`| extend upper = toupper(name), who = properties.principalId | where who == 'AAAA-1' | project upper`:   `[{"upper":"ALPHA"}]`,
		`| project-away properties, tags, type, name | take 1`:                                                   `[{"id":"/a","n":3}]`,
		`| order by name asc | project id`:                                                                       `[{"id":"/d"},{"id":"/a"},{"id":"/c"},{"id":"/b"}]`,
		`| order by n | project id`:                                                                              `[{"id":"/a"},{"id":"/c"},{"id":"/b"},{"id":"/d"}]`,
		`| sort by n asc nulls last | project id`:                                                                `[{"id":"/b"},{"id":"/c"},{"id":"/a"},{"id":"/d"}]`,
		`| order by n asc | limit 1 | project id`:                                                                `[{"id":"/d"}]`,
		`| order by n desc nulls first | limit 1 | project id`:                                                   `[{"id":"/d"}]`,
		`| order by type asc, n asc | project id`:                                                                `[{"id":"/b"},{"id":"/a"},{"id":"/c"},{"id":"/d"}]`,
		`| top 2 by n | project id`:                                                                              `[{"id":"/a"},{"id":"/c"}]`,
		`| take 0`:                                                                                               `[]`,
		`| count`:                                                                                                `[{"Count":4}]`,
		`| summarize count()`:                                                                                    `[{"count_":4}]`,
		`| where n == 99 | summarize total = count()`:                                                            `[{"total":0}]`,
		`| summarize count() by type | order by count_ desc, type asc`:                                           `[{"count_":2,"type":"microsoft.authorization/roleassignments"},{"count_":1,"type":"microsoft.authorization/roledefinitions"},{"count_":1,"type":"x/y"}]`,
		`| summarize c = count() by kind = tolower(type), n | where c > 1`:                                       `[]`,
		`| distinct type | count`:                                                                                `[{"Count":3}]`,
		`| extend e = tostring(tags.env) | summarize count() by e | order by e asc`:                              `[{"count_":2,"e":""},{"count_":1,"e":"Prod"},{"count_":1,"e":"dev"}]`,
		`| filter n == 1 | project id;`:                                                                          `[{"id":"/b"}]`,
	} {
		p := plan(t, "resources "+query)
		var shown []map[string]any
		for _, r := range rows(t, p, table(t)) {
			o := map[string]any{}
			for _, c := range p.Columns() {
				o[c.Name] = r[c.Name]
			}
			shown = append(shown, o)
		}
		got, err := json.Marshal(shown)
		if err != nil {
			t.Fatal(err)
		}
		if shown == nil {
			got = []byte("[]")
		}
		if string(got) != want {
			t.Errorf("%s:\ngot  %s\nwant %s", query, got, want)
		}
	}
	if p := plan(t, "where n == 1 | count"); p.query.Table != "" || len(rows(t, p, table(t))) != 1 {
		t.Error("a query need not name its table")
	}
	if !plan(t, "resources | take 3").Limited || plan(t, "resources | take 3 | count").Limited || plan(t, "resources").Limited {
		t.Error("a plan does not know whether it bounds its result")
	}
}

func TestRunLeavesTheTable(t *testing.T) {
	all := table(t)
	for _, q := range []string{"| extend name = 'x'", "| order by n asc", "| project name = 'x'", "| summarize count() by name", "| where n == 1"} {
		rows(t, plan(t, "resources "+q), all)
	}
	if !reflect.DeepEqual(all, table(t)) {
		t.Error("a query has changed its table")
	}
}

func TestWhatIsNotServedIsAnErrorWithItsPlace(t *testing.T) {
	for query, want := range map[string]string{
		``:                                                    "ParserFailure 1:0 ",
		`resources |`:                                         "ParserFailure 1:11 ",
		`resources where x`:                                   "ParserFailure 1:10 where",
		`resources | where`:                                   "ParserFailure 1:17 ",
		`resources | where name = 'x'`:                        "ParserFailure 1:23 =",
		"resources\n| where name == 'x":                       "ParserFailure 2:16 'x",
		"resources\n| where name == 'x\n'":                    "ParserFailure 2:16 'x",
		`resources | where name == 'x' and`:                   "ParserFailure 1:33 ",
		`resources | where name == 'x' )`:                     "ParserFailure 1:30 )",
		`resources | where #name == 'x'`:                      "ParserFailure 1:18 #",
		`resources | where n > 5d`:                            "ParserFailure 1:22 5d",
		`resources | where name == '\q'`:                      `ParserFailure 1:26 '\`,
		`resources | project x = tags[9223372036854775807]`:   "ParserFailure 1:29 9223372036854775807",
		`resources | take many`:                               "ParserFailure 1:17 many",
		`resources | join kind=inner (x) on y`:                "InvalidQueryLanguage 1:12 join",
		`resources | mv-expand properties`:                    "InvalidQueryLanguage 1:12 mv-expand",
		`resources | parse id with *`:                         "InvalidQueryLanguage 1:12 parse",
		`resources | project-rename a = b`:                    "InvalidQueryLanguage 1:12 project-rename",
		`resources | invent`:                                  "InvalidQueryLanguage 1:12 invent",
		`union resources`:                                     "InvalidQueryLanguage 1:0 union",
		`let x = 1; resources`:                                "InvalidQueryLanguage 1:0 let",
		`resources | summarize make_set(name)`:                "InvalidQueryLanguage 1:22 make_set",
		`resources | where name matches 'x'`:                  "ParserFailure 1:23 matches",
		`resources | where n > ago(5)`:                        "InvalidQueryLanguage 1:22 ago",
		`resources | where ToLower(name) == 'x'`:              "InvalidQueryLanguage 1:18 ToLower",
		`resources | where nam == 'x'`:                        "SemanticError 1:18 nam",
		`resources | where Name == 'x'`:                       "SemanticError 1:18 Name",
		`resources | where name`:                              "SemanticError 1:18 name",
		`resources | where name == 5`:                         "SemanticError 1:23 ==",
		`resources | where n == 'x'`:                          "SemanticError 1:20 ==",
		`resources | where n has 'x'`:                         "SemanticError 1:20 has",
		`resources | where name < 'x'`:                        "SemanticError 1:23 <",
		`resources | where name and n == 1`:                   "SemanticError 1:23 and",
		`resources | where name.x == 'x'`:                     "SemanticError 1:18 name",
		`resources | where name in (properties)`:              "SemanticError 1:23 in",
		`resources | where n in~ (1)`:                         "SemanticError 1:20 in~",
		`resources | where tolower() == 'x'`:                  "SemanticError 1:18 tolower",
		`resources | where tolower(n) == 'x'`:                 "SemanticError 1:18 tolower",
		`resources | where iff(n, 'a', 'b') == 'a'`:           "SemanticError 1:18 iff",
		`resources | project tolower(name)`:                   "SemanticError 1:20 tolower",
		`resources | project name, name`:                      "SemanticError 1:26 name",
		`resources | project-away nothing`:                    "SemanticError 1:25 nothing",
		`resources | project id | where name == 'x'`:          "SemanticError 1:31 name",
		`resources | order by properties.x`:                   "SemanticError 1:21 properties",
		`resources | order by n nulls`:                        "ParserFailure 1:28 ",
		`resources | summarize count() by properties.x`:       "SemanticError 1:33 properties",
		`resources | summarize name = count() by name`:        "SemanticError 1:40 name",
		`resources | distinct tags`:                           "SemanticError 1:21 tags",
		`resources | where ` + strings.Repeat("(", 200) + "n": "ParserFailure 1:118 (",
	} {
		q, err := Parse(query)
		if err == nil {
			_, err = q.Bind(columns)
		}
		e, is := errors.AsType[*Error](err)
		if !is {
			t.Errorf("%s: got %v", query, err)
			continue
		}
		if got := fmt.Sprintf("%s %d:%d %s", e.Code, e.Line, e.Col, e.Token); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	if _, err := Parse("x | where " + strings.Repeat("n == 1 and ", 5000) + "n == 1"); err == nil {
		t.Error("a chain of thousands of conditions is read")
	}
	if _, err := Parse(strings.Repeat(" ", maxLength+1)); err == nil {
		t.Error("a query of any length is read")
	}
}

func TestAQueryThatPinsAPath(t *testing.T) {
	const path = "properties.principalId"
	for query, want := range map[string][]string{
		`x | where properties.principalId == 'AAAA'`:                                                   {"aaaa"},
		`x | where 'b' =~ tostring(properties['principalId'])`:                                         {"b"},
		`x | where type =~ 'y' | where name == 'z' and tolower(properties.principalId) in~ ('A', 'b')`: {"a", "b"},
		`x | where properties.principalId in ('a', 'b') | where properties.principalId == 'b'`:         {"b"},
		`x | where properties.principalId == 'a' or name == 'b'`:                                       nil,
		`x | where properties.principalId != 'a'`:                                                      nil,
		`x | where properties.principalId !in ('a')`:                                                   nil,
		`x | where properties.principalId == name`:                                                     nil,
		`x | extend properties = tags | where properties.principalId == 'a'`:                           nil,
		`x`: nil,
	} {
		values, ok := plan(t, query).Pinned(path)
		if ok != (want != nil) || !slices.Equal(values, want) {
			t.Errorf("%s: got %q, %v", query, values, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, q := range []string{
		`authorizationresources | where type =~ 'microsoft.authorization/roleassignments' | extend principalId=tolower(tostring(properties.principalId)) | project id, name, principalId`,
		`where n in (1, 2.5) and name !in~ ("a", @'b''c') | order by n asc nulls last, name | top 5 by n`, `['join'] | project-away ['a b'], x | distinct type`,
		"resources // c\n| summarize n = count() by a = b['c'][0].d, e | count | take 3 | limit 4;", `x | where not(true) or (((a == 'b\n')))`, `x | mv-expand y`, `x | where 'a'.b == 1`,
		`x | project p = split(name, 'a', tolong('-1')), q = tags[2147483647], r = split(id, '/')[0] | summarize n = count() by s = strcat(tostring(p), toint(q)) | order by n, s asc`,
		`x | where properties.on == 'true' or name has 'lph' or coalesce(name, type) !in ('a') | extend l = array_length(properties.list), e = iff(isnull(n), 0, strlen(name)) | distinct e, b = tobool(properties.on)`,
		`x | extend name = strcat(name, name, name) | extend name = strcat(name, name, name) | top 2 by toupper(name) nulls first | project-away tags`,
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := Parse(text)
		if err != nil {
			if _, is := errors.AsType[*Error](err); !is {
				t.Errorf("%q: %v is no *Error", text, err)
			}
			return
		}
		printed := q.String()
		if len(printed) > maxLength {
			return // canonical queries are longer than terse ones
		}
		again, err := Parse(printed)
		if e, is := errors.AsType[*Error](err); is && (e.Message == "the query nests too deep" || e.Message == "the query joins too many conditions") {
			return // each condition has parentheses now
		}
		if err != nil {
			t.Fatalf("%q prints as %q, which is not read: %v", text, printed, err)
		}
		if again.String() != printed {
			t.Errorf("%q prints as %q and then as %q", text, printed, again.String())
		}
		p, err := q.Bind(columns)
		if err != nil {
			return
		}
		r, err := p.Run(table(t))
		if err != nil {
			if _, is := errors.AsType[*Error](err); !is {
				t.Errorf("%q: %v is no *Error", text, err)
			}
			return
		}
		if _, err := json.Marshal(r.Rows(0, r.Len())); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if p.Limited {
			return
		}
		for i := range r.Len() { // a page goes on behind the row with which the one before it ended
			if next := r.After(r.Place(i)); next != i+1 {
				t.Errorf("%q: behind row %d comes row %d", text, i, next)
			}
		}
	})
}
