package vault

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/authority"
	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// right is one thing that a caller can do, in the words of both modes of a vault. The first word of the action is the collection.
type right struct{ action, policy string }

func (r right) collection() string {
	of, _, _ := strings.Cut(r.action, "/")
	return of
}

// rights are those that a collection asks for in the life of what is in it.
type rights struct{ list, get, update, remove, purge, recovery, backup, restore right }

// The data actions are those of Microsoft, "Azure permissions for Security"; the permissions of access policies those that the REST
// reference names for each operation.
var (
	secretRights = rights{
		list: right{"secrets/readMetadata/action", "list"}, get: right{"secrets/readMetadata/action", "get"},
		update: right{"secrets/update/action", "set"}, remove: right{"secrets/delete", "delete"},
		purge: right{"secrets/purge/action", "purge"}, recovery: right{"secrets/recover/action", "recover"},
		backup: right{"secrets/backup/action", "backup"}, restore: right{"secrets/restore/action", "restore"},
	}
	getSecret = right{"secrets/getSecret/action", "get"}
	setSecret = right{"secrets/setSecret/action", "set"}

	keyRights = rights{
		list: right{"keys/read", "list"}, get: right{"keys/read", "get"},
		update: right{"keys/update/action", "update"}, remove: right{"keys/delete", "delete"},
		purge: right{"keys/purge/action", "purge"}, recovery: right{"keys/recover/action", "recover"},
		backup: right{"keys/backup/action", "backup"}, restore: right{"keys/restore/action", "restore"},
	}
	createKey = right{"keys/create/action", "create"}
	importKey = right{"keys/import/action", "import"}
	rotateKey = right{"keys/rotate/action", "rotate"}

	certRights = rights{
		list: right{"certificates/read", "list"}, get: right{"certificates/read", "get"},
		update: right{"certificates/update/action", "update"}, remove: right{"certificates/delete", "delete"},
		purge: right{"certificates/purge/action", "purge"}, recovery: right{"certificates/recover/action", "recover"},
	}
	createCert = right{"certificates/create/action", "create"} // merging too
	importCert = right{"certificates/import/action", "import"}
)

// may is nil if the caller has the right on what is named, or on the vault if name is empty.
func (s *Service) may(v replica.View, c *call, need right, name string) *reply {
	region := cmp.Or(c.vault.Location(), "eastus")
	caller := fmt.Sprintf("appid=%s;oid=%s;iss=https://sts.windows.net/%s/", c.who.Client(), c.who.ObjectID, s.env.Dir.Tenant.ID)
	if rbac, _ := c.vault.Properties()["enableRbacAuthorization"].(bool); rbac {
		scope, operation := c.vault.ID, "Microsoft.KeyVault/vaults/"+need.action
		if name != "" {
			scope += "/" + need.collection() + "/" + name
		}
		if s.arm.Allowed(v, c.who.ObjectID, scope, operation, true) {
			return nil
		}
		return refused(fail(http.StatusForbidden, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\n"+
			"If role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\n"+
			"Caller: %s\r\nAction: '%s'\r\nResource: '%s'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null \r\nVault: %s;location=%s\r\n", caller, operation, strings.ToLower(scope), c.name, region))
	}
	if s.inPolicy(v, c, need) {
		return nil
	}
	return refused(fail(http.StatusForbidden, "Forbidden", "ForbiddenByPolicy", "The user, group or application '%s' does not have %s %s permission on key vault '%s;location=%s'. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125287",
		caller, need.collection(), need.policy, c.name, region))
}

// through tells whether the caller comes by the way that a policy allows. One that names an application is for people who use that
// application, and for neither of the two alone (Microsoft, "Azure Key Vault security": application-plus-user access).
func through(policy object, who authority.Claims) bool {
	switch app := policy["applicationId"].(type) {
	case nil:
		return true
	case string:
		return app == "" || !who.App() && strings.EqualFold(app, who.Client())
	}
	return false
}

// inPolicy tells whether an access policy of the vault gives the caller, or a group of the caller, the right.
func (s *Service) inPolicy(v replica.View, c *call, need right) bool {
	mine := map[string]bool{strings.ToLower(c.who.ObjectID): true}
	for _, g := range s.env.Dir.GroupsOf(v, c.who.ObjectID) {
		mine[g] = true
	}
	policies, _ := c.vault.Properties()["accessPolicies"].([]any)
	for _, p := range policies {
		policy, _ := p.(object)
		who, _ := policy["objectId"].(string)
		if !mine[strings.ToLower(who)] || !through(policy, c.who) {
			continue
		}
		granted, _ := policy["permissions"].(object)
		given, _ := granted[need.collection()].([]any)
		for _, g := range given {
			if text, _ := g.(string); strings.EqualFold(text, need.policy) || strings.EqualFold(text, "all") {
				return true
			}
		}
	}
	return false
}
