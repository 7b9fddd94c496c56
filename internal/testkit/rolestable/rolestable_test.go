// Package rolestable compares the roles that the product knows with those of the local cloud. The two may not import each other, so that
// they cannot share a mistake; that they agree is said here.
package rolestable

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/leastkey/leastkey/internal/domain/role"
)

// definition is what both tables say of a role.
type definition struct {
	Name           string   `json:"name"`
	ID             string   `json:"id"`
	Description    string   `json:"description"`
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

func TestTheTwoRoleTablesAgree(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "localcloud", "arm", "roles.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cloud []definition
	if err := json.Unmarshal(b, &cloud); err != nil {
		t.Fatal(err)
	}
	theirs := map[string]definition{}
	for _, d := range cloud {
		if _, twice := theirs[d.ID]; twice {
			t.Errorf("the local cloud has %s twice", d.Name)
		}
		theirs[d.ID] = d
	}
	for _, d := range role.Builtin() {
		t.Run(d.Name, func(t *testing.T) {
			have, ok := theirs[d.ID]
			if !ok {
				t.Fatal("the local cloud lacks it")
			}
			want := definition{d.Name, d.ID, d.Description, d.Actions, d.NotActions, d.DataActions, d.NotDataActions}
			if !reflect.DeepEqual(have, want) {
				t.Errorf("the local cloud says\n%+v\nthe product\n%+v", have, want)
			}
		})
		delete(theirs, d.ID)
	}
	for _, d := range theirs {
		t.Errorf("the product lacks %s", d.Name)
	}
}
