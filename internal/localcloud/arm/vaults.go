package arm

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// DeletedVault is a vault in the recycle bin, where its name stays taken and its secrets stay until it is purged (Microsoft, "Azure Key
// Vault soft-delete overview").
type DeletedVault struct {
	Subscription string    `json:"subscription"`
	Vault        Resource  `json:"vault"`
	Deleted      time.Time `json:"deleted"`
	Purge        time.Time `json:"purge"`
}

// OnPurge has f called when a vault is gone for good, for what is in it.
func (s *Service) OnPurge(f func(tx replica.Tx, vault Resource)) { s.purged = f }

// Vaults are all vaults, those in the recycle bin too.
func (s *Service) Vaults(v replica.View) []Resource {
	var all []Resource
	for r := range s.resources.Each(v) {
		if r.Type == vaultType {
			all = append(all, r)
		}
	}
	for d := range s.binned.Each(v) {
		all = append(all, d.Vault)
	}
	return all
}

// HasVault tells whether there is a vault of the name, or one in the recycle bin.
func (s *Service) HasVault(v replica.View, name string) bool {
	_, live := s.Vault(v, name)
	_, binned := s.deletedVault(v, name)
	return live || binned
}

// bin puts a vault into the recycle bin for as long as the vault says.
func (s *Service) bin(tx replica.Tx, r Resource) {
	id, err := ParseID(r.ID)
	if err != nil {
		return
	}
	days := 90
	switch d := r.Properties()["softDeleteRetentionInDays"].(type) {
	case int:
		days = d
	case float64:
		days = int(d)
	}
	s.binned.Put(tx, strings.ToLower(r.Name), DeletedVault{Subscription: id.Subscription, Vault: r, Deleted: tx.Now(), Purge: tx.Now().AddDate(0, 0, days)})
}

// deletedVault is the vault of the name in the recycle bin.
func (s *Service) deletedVault(v replica.View, name string) (DeletedVault, bool) {
	d, found := s.binned.Get(v, strings.ToLower(name))
	return d, found && v.Now().Before(d.Purge)
}

// purge forgets a vault of the recycle bin and its secrets.
func (s *Service) purge(tx replica.Tx, d DeletedVault) {
	name := strings.ToLower(d.Vault.Name)
	s.binned.Delete(tx, name)
	if s.purged != nil {
		s.purged(tx, d.Vault)
	}
}

// reuse makes a new vault of a name that may be in the recycle bin: by createMode it is the old one again, secrets and all; otherwise
// the name is taken until the old one is purged. A new vault never has secrets of another.
func (s *Service) reuse(tx replica.Tx, r *Resource) *reply {
	mode, _ := r.Properties()["createMode"].(string)
	delete(r.Properties(), "createMode")
	again := strings.EqualFold(mode, "recover")
	d, deleted := s.deletedVault(tx.View, r.Name)
	switch {
	case deleted && again && strings.EqualFold(d.Vault.ID, r.ID) && plainLocation(d.Vault.Location()) == plainLocation(r.Location()):
		r.Name, r.ID, r.Body, r.CreatedOn, r.Incarnation = d.Vault.Name, d.Vault.ID, cloneObject(d.Vault.Body), d.Vault.CreatedOn, d.Vault.Incarnation
		s.binned.Delete(tx, strings.ToLower(r.Name))
		return nil
	case deleted:
		bad := fail(http.StatusConflict, "ConflictError", "A vault with the same name already exists in deleted state. You need to either recover or purge existing key vault. Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information on soft delete.")
		return &bad
	case again:
		bad := deletedVaultNotFound(r.Name)
		return &bad
	}
	if old, found := s.binned.Get(tx.View, strings.ToLower(r.Name)); found { // its time was over
		s.purge(tx, old)
	}
	r.Incarnation = s.env.NewID()
	return nil
}

func deletedVaultNotFound(name string) reply {
	return fail(http.StatusNotFound, "DeletedVaultNotFound", "The specified deleted vault '%s' does not exist.", name)
}

const binType = "Microsoft.KeyVault/locations/deletedVaults"

func (d DeletedVault) json() object {
	protected, _ := d.Vault.Properties()["enablePurgeProtection"].(bool)
	return object{
		"id": "/subscriptions/" + d.Subscription + "/providers/Microsoft.KeyVault/locations/" + plainLocation(d.Vault.Location()) + "/deletedVaults/" + d.Vault.Name, "name": d.Vault.Name, "type": "Microsoft.KeyVault/deletedVaults",
		"properties": object{"vaultId": d.Vault.ID, "location": plainLocation(d.Vault.Location()), "tags": d.Vault.Body["tags"], "purgeProtectionEnabled": protected,
			"deletionDate": d.Deleted.UTC().Format(time.RFC3339), "scheduledPurgeDate": d.Purge.UTC().Format(time.RFC3339)},
	}
}

// listBin lists the deleted vaults of a subscription.
func (s *Service) listBin(v replica.View, c *call) reply {
	if r := s.may(v, c, c.id, "Microsoft.KeyVault/deletedVaults/read", ""); r != nil {
		return *r
	}
	items := slices.DeleteFunc(s.binned.By(v, "subscription", strings.ToLower(c.id.Subscription)), func(d DeletedVault) bool { return !v.Now().Before(d.Purge) })
	return paged(s, c, items, listPage, func(d DeletedVault) string { return d.Vault.Name }, DeletedVault.json)
}

// noHSMs lists the managed HSMs, deleted or not, of which the local cloud has none.
func (s *Service) noHSMs(v replica.View, c *call) reply {
	if r := s.may(v, c, c.id, "Microsoft.KeyVault/"+c.rest[2]+"/read", ""); r != nil {
		return *r
	}
	if _, missing := s.find(v, c.id); missing != nil {
		return *missing
	}
	return list[object](nil)
}

// deletedVaults answers for one deleted vault: shown, or purged.
func (s *Service) deletedVaults(v replica.View, c *call) (reply, effect) {
	read := c.method == http.MethodGet && len(c.rest) == 0
	if !read && (c.method != http.MethodPost || len(c.rest) != 1 || !strings.EqualFold(c.rest[0], "purge")) {
		return c.unknown(), nil
	}
	op := binType + "/purge/action"
	if read {
		op = binType + "/read"
	}
	if r := s.may(v, c, ID{Subscription: c.id.Subscription}, op, c.id.String()); r != nil {
		return *r, nil
	}
	find := func(v replica.View) (DeletedVault, bool) {
		d, found := s.deletedVault(v, c.id.Name())
		return d, found && strings.EqualFold(d.Subscription, c.id.Subscription) && plainLocation(d.Vault.Location()) == plainLocation(c.id.Last().Names[0])
	}
	if read {
		if d, found := find(v); found {
			return ok(d.json()), nil
		}
		return deletedVaultNotFound(c.id.Name()), nil
	}
	return reply{}, func(tx replica.Tx) reply {
		d, found := find(tx.View)
		if !found {
			return deletedVaultNotFound(c.id.Name())
		}
		if protected, _ := d.Vault.Properties()["enablePurgeProtection"].(bool); protected {
			return fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "Operation 'DeletedVaultPurge' is not allowed.")
		}
		s.purge(tx, d)
		op := s.begin(tx, c, "", http.StatusOK)
		headers := s.watch(c, op, "Microsoft.KeyVault", d.Vault.Location())
		delete(headers, "Azure-AsyncOperation") // the specification has Location alone
		return reply{status: http.StatusAccepted, header: headers}
	}
}

// trustsRoles tells whether a vault goes by role assignments, and not by access policies of its own.
func trustsRoles(r Resource) bool {
	on, _ := r.Properties()["enableRbacAuthorization"].(bool)
	return on
}

// chooseModel is by what a vault goes if the request does not say. Since the version of the API that @azure/arm-keyvault 5 sends, a new
// vault goes by role assignments and one that exists stays what it is (Microsoft, "Prepare for Key Vault API version 2026-02-01 and
// later"); what earlier ones leave out means access policies, see [fillVault].
func (c *call) chooseModel(r *Resource, old Resource, found bool) {
	if c.param("api-version") >= "2026-02-01" {
		def(r, "enableRbacAuthorization", !found || trustsRoles(old))
	}
}

// modelFixed refuses to change by what a vault goes: whoever could write a vault could give out its secrets that way. It takes the right
// to assign roles, without a condition (Microsoft, "Provide access to Key Vault with Azure role-based access control", and the status
// that clients report, 400).
func (s *Service) modelFixed(c *call, r Resource) reply {
	return fail(http.StatusBadRequest, "InsufficientPermissions", "Caller is not allowed to change permission model. For more information on how to change the permissions model follow this link: https://go.microsoft.com/fwlink/?linkid=2155160. "+
		"Details: oid=%s; action=Microsoft.Authorization/roleAssignments/write; resource=%s; decision=NotAllowed;", c.who.ObjectID, strings.ToLower(r.ID))
}

// checkName tells whether the name of a vault is free.
func (s *Service) checkName(v replica.View, c *call) reply {
	if !strings.EqualFold(c.rest[1], "Microsoft.KeyVault") || c.id.Group != "" {
		return c.unknown()
	}
	if r := s.may(v, c, c.id, "Microsoft.KeyVault/checkNameAvailability/read", ""); r != nil {
		return *r
	}
	var body struct{ Name string }
	if r := c.decode(&body); r != nil {
		return *r
	}
	if _, binned := s.deletedVault(v, body.Name); binned || len(s.resources.By(v, "vault", strings.ToLower(body.Name))) > 0 {
		return ok(object{"nameAvailable": false, "reason": "AlreadyExists", "message": "The vault name '" + body.Name + "' is already in use."})
	}
	return ok(object{"nameAvailable": true})
}
