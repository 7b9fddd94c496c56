package odata

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var app = map[string]any{
	"displayName": "Bot's App", "appId": "a1", "accountEnabled": true, "createdDateTime": "2026-08-01T10:00:00Z", "notes": nil,
	"identifierUris": []string{"api://a1", "api://b"}, "web": map[string]any{"homePageUrl": "https://x"},
	"keyCredentials": []any{map[string]any{"usage": "Verify"}}, "n": 3.0,
}

func get(path string) any { return Property(app, path) }

func TestFilter(t *testing.T) {
	rows := []struct {
		sentence, filter string
		matches          bool
		prints           string // "" means as written
	}{
		{"equality ignores case", "displayName eq 'BOT''S APP'", true, ""},
		{"the name of a property ignores case", "DISPLAYNAME eq 'bot''s app'", true, ""},
		{"another value does not match", "displayName eq 'bot'", false, ""},
		{"ne of another value matches", "displayName ne 'bot'", true, ""},
		{"ne of null matches a value", "displayName ne null", true, ""},
		{"null equals null", "notes eq null", true, ""},
		{"an absent property is null", "foo eq null", true, ""},
		{"startsWith is a prefix", "startsWith(displayName,'bot')", true, "startswith(displayName,'bot')"},
		{"startswith eq true is startswith", "startswith(displayName,'bot') eq true", true, "startswith(displayName,'bot')"},
		{"startswith eq false is its negation", "startswith(displayName,'bot') eq false", false, "not (startswith(displayName,'bot'))"},
		{"endswith is a suffix", "endswith(displayName, 'app')", true, "endswith(displayName,'app')"},
		{"and binds tighter than or", "appId eq 'x' and appId eq 'y' or appId eq 'a1'", true, "((appId eq 'x' and appId eq 'y') or appId eq 'a1')"},
		{"parentheses bind tighter", "appId eq 'x' and (appId eq 'y' or appId eq 'a1')", false, "(appId eq 'x' and (appId eq 'y' or appId eq 'a1'))"},
		{"not negates", "not(appId eq 'a1')", false, "not (appId eq 'a1')"},
		{"any finds a member", "identifierUris/any(u:u eq 'api://b')", true, ""},
		{"any finds none", "identifierUris/any(u:u eq 'api://c')", false, ""},
		{"any without a body asks for members", "identifierUris/any()", true, ""},
		{"any reaches into members", "keyCredentials/any(k:k/usage eq 'Verify')", true, ""},
		{"in lists values", "appId in ('x', 'a1')", true, "appId in ('x','a1')"},
		{"a path reaches into a complex property", "web/homePageUrl eq 'https://x'", true, ""},
		{"a truth value compares", "accountEnabled eq true", true, ""},
		{"a date compares as an instant", "createdDateTime ge 2026-08-01T12:00:00+02:00", true, ""},
		{"a later date does not match", "createdDateTime gt 2026-08-01T12:00:00+02:00", false, ""},
		{"a number compares", "n lt 4", true, ""},
	}
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) {
			e, err := Parse(r.filter)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Match(get); got != r.matches {
				t.Errorf("%s matches: %v", e, got)
			}
			if want := r.prints; want == "" && e.String() != r.filter || want != "" && e.String() != want {
				t.Errorf("prints %s", e)
			}
		})
	}
}

func TestFilterRefuses(t *testing.T) {
	for sentence, filter := range map[string]string{
		"nothing":                    "",
		"a property alone":           "displayName",
		"no literal":                 "displayName eq",
		"an open string":             "displayName eq 'x",
		"an unknown operator":        "displayName is 'x'",
		"text behind the end":        "displayName eq 'x' y",
		"an open parenthesis":        "(displayName eq 'x'",
		"a function without a comma": "startswith(displayName)",
		"a function of a number":     "startswith(displayName,3)",
		"too many parts":             strings.Repeat("a eq 'b' or ", maxNodes) + "a eq 'b'",
		"too deep a nest":            strings.Repeat("(", 5000) + "a eq 'b'" + strings.Repeat(")", 5000),
	} {
		t.Run(sentence+" is refused", func(t *testing.T) {
			if e, err := Parse(filter); err == nil {
				t.Errorf("parsed as %s", e)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	rows := []struct {
		sentence, filter, property string
		want                       []string
		ok                         bool
	}{
		{"equality names its value", "appId eq 'x'", "appId", []string{"x"}, true},
		{"one side of and is enough", "accountEnabled eq true and appId eq 'x'", "appId", []string{"x"}, true},
		{"or needs both sides", "appId eq 'x' or appId eq 'y'", "appId", []string{"x", "y"}, true},
		{"or with another property allows any", "appId eq 'x' or displayName eq 'y'", "appId", nil, false},
		{"a negation allows any", "not(appId eq 'x')", "appId", nil, false},
		{"in names its values", "appId in ('x','y')", "appId", []string{"x", "y"}, true},
		{"any names a member", "servicePrincipalNames/any(c:c eq 'x')", "servicePrincipalNames/any", []string{"x"}, true},
		{"a prefix allows any", "startswith(appId,'x')", "appId", nil, false},
	}
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) {
			e, err := Parse(r.filter)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := Keys(e, r.property); ok != r.ok || ok && !slices.Equal(got, r.want) {
				t.Errorf("keys %q %v", got, ok)
			}
		})
	}
}

func TestQuery(t *testing.T) {
	rows := []struct {
		sentence, query, level, complaint string
	}{
		{"a plain filter needs no header", "$filter=displayName eq 'x'", "", ""},
		{"options without a dollar sign are read", "filter=displayName eq 'x'&top=5", "", ""},
		{"ne without the header is refused", "$filter=displayName ne 'x'", "", "Unsupported Query."},
		{"ne without a count is refused", "$filter=displayName ne 'x'", "eventual", "Unsupported Query."},
		{"ne with both is answered", "$filter=displayName ne 'x'&$count=true", "eventual", ""},
		{"a sorted filter without the header is refused", "$filter=startswith(displayName,'x')&$orderby=displayName", "", "Sorting not supported for current query."},
		{"search without the header is refused", `$search="displayName:x"`, "", "Request with $search query parameter only works through MSGraph with a special request header: 'ConsistencyLevel: eventual'"},
		{"a page of 1000 is refused", "$top=1000", "", "Invalid page size specified: '1000'. Must be between 1 and 999 inclusive."},
		{"a page of 0 is refused", "$top=0", "", "Invalid page size specified: '0'. Must be between 1 and 999 inclusive."},
		{"skip is refused", "$skip=1", "", "'$skip' is not supported by the service."},
		{"an unknown option is refused", "$foo=1", "", "The query parameter '$foo' is not supported."},
		{"a foreign parameter is ignored", "api-version=1", "", ""},
		{"an option given twice is refused", "$top=1&$top=2", "", "Query option '$top' was specified more than once, but it must be specified at most once."},
	}
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) {
			values, err := url.ParseQuery(strings.ReplaceAll(r.query, " ", "+"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseQuery(values, r.level)
			if got := ""; err != nil {
				if got = err.Error(); got != r.complaint {
					t.Error(got)
				}
			} else if r.complaint != "" {
				t.Error("accepted")
			}
		})
	}
}

func TestPath(t *testing.T) {
	rows := []struct {
		sentence, path string
		want           []Segment
	}{
		{"an id is a segment", "applications/a1", []Segment{{Name: "applications"}, {Name: "a1"}}},
		{"a key may stand in parentheses", "applications('a1')", []Segment{{Name: "applications", Keyed: true, Value: "a1"}}},
		{"an alternate key has a name", "applications(appId='a1')/owners", []Segment{{Name: "applications", Keyed: true, Key: "appId", Value: "a1"}, {Name: "owners"}}},
		{"quotes are doubled and may be escaped", "applications(uniqueName=%27a%27%27b%27)", []Segment{{Name: "applications", Keyed: true, Key: "uniqueName", Value: "a'b"}}},
		{"a slash inside quotes belongs to the key", "applications(uniqueName='a/b')/x", []Segment{{Name: "applications", Keyed: true, Key: "uniqueName", Value: "a/b"}, {Name: "x"}}},
		{"a trailing slash means nothing", "me/", []Segment{{Name: "me"}}},
	}
	for _, r := range rows {
		t.Run(r.sentence, func(t *testing.T) {
			if got, err := ParsePath(r.path); err != nil || !reflect.DeepEqual(got, r.want) {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
	for _, bad := range []string{"applications(", "applications()", "applications('a)", "applications(x=)", "(a)", "%zz", "applications('a'b')"} {
		if got, err := ParsePath(bad); err == nil {
			t.Errorf("%q parsed as %+v", bad, got)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"displayName eq 'x''y'", "not(a ne 'b') and c/any(x:x/y in (1,'2') or startswith(x,'q')) or d/any()", "((a eq null))", "contains(a,'b') eq false"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text)
		if err != nil {
			return
		}
		e.Match(get)
		again, err := Parse(e.String())
		if err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%q prints %q: %v", text, e, err)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, seed := range []string{"applications(uniqueName='a''b')/owners/$ref", "users/a%2Fb", "a('%27')", "x(y='a/b')"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		segments, err := ParsePath(text)
		if err != nil {
			return
		}
		var texts []string
		for _, s := range segments {
			texts = append(texts, s.String())
		}
		again, err := ParsePath(strings.Join(texts, "/"))
		if err != nil || !reflect.DeepEqual(segments, again) {
			t.Fatalf("%q prints %q: %v", text, texts, err)
		}
	})
}
