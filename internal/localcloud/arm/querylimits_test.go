package arm

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// detail is the code in the details of a refusal of Resource Graph that says why.
func (a answer) detail() string {
	e, _ := a.body["error"].(object)
	details, _ := e["details"].([]any)
	if len(details) == 0 {
		return ""
	}
	code, _ := details[len(details)-1].(object)["code"].(string)
	return code
}

// A query may not take more than its share of the process, whatever its few bytes ask for.
func TestAQueryIsRefusedBeforeItTakesTheProcess(t *testing.T) {
	const many = 60
	f := newFixture(t)
	f.write(func(tx replica.Tx) {
		for range many {
			f.assign(tx, vaultID, "Reader", f.env.NewID(), "User")
		}
	})
	twice := strings.Repeat(" | extend a = strcat(a, a)", 13)
	for _, row := range []struct{ sentence, query, detail string }{
		{"a text that grows with every step", "resources | extend a = 'xxxxxxxxxx'" + strings.Repeat(" | extend a = strcat(a"+strings.Repeat(", a", 63)+")", 3) + " | project n = strlen(a)", "E_RUNAWAY_QUERY"},
		{"a text of 1 MB and a bit", "resources | extend a = '" + strings.Repeat("x", 129) + "'" + twice + " | project n = strlen(a)", "E_RUNAWAY_QUERY"},
		{"a text of 1 MB", "resources | extend a = '" + strings.Repeat("x", 128) + "'" + twice + " | project n = strlen(a)", ""},
		{"many texts, none of which is too long", "authorizationresources | extend a = '" + strings.Repeat("x", 120) + "'" + twice + strings.Repeat(" | extend a = tolower(a)", 20) + " | project n = strlen(a)", "E_RUNAWAY_QUERY"},
		{"many parts of a text", "resources | extend a = '" + strings.Repeat("x", 120) + "'" + twice + strings.Repeat(" | extend b = split(a, 'x')", 60) + " | project n = strlen(a)", "E_RUNAWAY_QUERY"},
		{"a term that nearly matches everywhere", "resources | extend b = '" + strings.Repeat("x", 60) + "'" + strings.Repeat(" | extend b = strcat(b, b)", 13) + " | extend a = strcat(b, b) | where a has b | count", "E_RUNAWAY_QUERY"},
		{"an answer that repeats a long text", "authorizationresources | extend a = '" + strings.Repeat("x", 120) + "'" + strings.Repeat(" | extend a = strcat(a, a)", 12) + " | project a", "ResponsePayloadTooLarge"},
	} {
		t.Run(row.sentence, func(t *testing.T) {
			if a := f.query(owner, row.query, nil); a.detail() != row.detail || (a.status == 200) != (row.detail == "") {
				t.Errorf("got %d %.300s", a.status, a.raw)
			}
		})
	}
}

func TestAPartOfATextThatIsNotThereIsNoPart(t *testing.T) {
	f := newFixture(t)
	for index, want := range map[string]string{"0": `["bot"]`, "1": `[]`, "tolong('-1')": `[]`, "tolong('-9223372036854775808')": `[]`, "9223372036854775807": `[]`, "99999999999999999999": `[]`, "tolong('none')": `[]`} {
		a := f.query(owner, "resources | where name == 'bot' | project p = split(name, '-', "+index+")", nil).want(t, 200, "")
		got, err := json.Marshal(a.body["data"].([]any)[0].(object)["p"])
		if err != nil || string(got) != want {
			t.Errorf("split(name, '-', %s): got %s, want %s", index, got, want)
		}
	}
	f.query(owner, "resources | project p = split(name, '-')[9223372036854775807]", nil).want(t, 400, "BadRequest")
}

// Whether true is "true" is not documented; "After subscripting a dynamic object, you must cast the value to a simple type" is (Kusto,
// "The dynamic data type").
func TestADynamicValueIsComparedWithItsOwnKindOrCast(t *testing.T) {
	f := newFixture(t)
	const vaults = "resources | where type == 'microsoft.keyvault/vaults' and "
	for cond, detail := range map[string]string{
		"properties.enableRbacAuthorization == 'true'":           "SemanticError",
		"'true' != properties.enableRbacAuthorization":           "SemanticError",
		"properties.enableRbacAuthorization in ('true', 'yes')":  "SemanticError",
		"properties.enableRbacAuthorization == 1":                "SemanticError",
		"properties.tenantId == true":                            "SemanticError",
		"properties == 'true'":                                   "SemanticError",
		"properties.enableRbacAuthorization == true":             "",
		"tostring(properties.enableRbacAuthorization) == 'true'": "",
		"tobool(properties.enableRbacAuthorization)":             "",
		"properties.enableRbacAuthorization =~ 'TRUE'":           "",
		"properties.none != 'true'":                              "",
	} {
		a := f.query(owner, vaults+cond+" | project name", nil)
		if a.detail() != detail || detail == "" && a.data("name") != "kv-bots" {
			t.Errorf("%s: got %s", cond, a.raw)
		}
	}
}
