package arm

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// The types that the service does something of its own for.
const (
	vaultType      = "Microsoft.KeyVault/vaults"
	identityType   = "Microsoft.ManagedIdentity/userAssignedIdentities"
	federationType = identityType + "/federatedIdentityCredentials"
	machineType    = "Microsoft.Compute/virtualMachines" // there for its identities: nothing runs
)

// kind is a resource type that the local cloud keeps: those that agents and their deployments use.
type kind struct {
	Type     string
	Versions []string
	Name     *regexp.Regexp // nil takes any name
	Fill     func(s *Service, r *Resource)
	Require  []string // properties that a PUT must bring
	Work     work
	ETag     bool // what is shown carries an etag
}

// work is how a type's provider tells of a change that takes a while: in provisioningState only while it is at work, or also as an
// operation to ask for. The zero work is done at once.
type work struct {
	Making, Changing string // provisioningState meanwhile; "" is done at once
	Patched          int    // status of the answer to a PATCH; 0 is 200
	Watched          bool   // PUT, PATCH and DELETE send the client to an operation
}

// state is provisioningState after a change, "" for one that is done at once.
func (w work) state(method string, found bool) string {
	switch {
	case !found:
		return w.Making
	case method == http.MethodPatch && w.Patched == 0:
		return ""
	}
	return w.Changing
}

func (k kind) namespace() string { ns, _, _ := strings.Cut(k.Type, "/"); return ns }

// kinds is the table of types. Names follow Microsoft's "Naming rules and restrictions for Azure resources", shapes the REST
// specifications of the versions of 2024 and 2025: so do Work and ETag, whose etags are there to be read, as no operation of these types
// takes If-Match.
var kinds = []kind{
	{Type: "Microsoft.App/containerApps", Versions: strings.Fields(appVersions), Name: regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}[a-z0-9]$`), Fill: fillContainerApp, Work: work{"InProgress", "InProgress", http.StatusAccepted, true}},
	{Type: "Microsoft.App/managedEnvironments", Versions: strings.Fields(appVersions), Fill: fillEnvironment, Work: work{"InitializationInProgress", "Waiting", http.StatusAccepted, true}},
	{Type: "Microsoft.App/sessionPools", Versions: strings.Fields(poolVersions), Fill: fillSessionPool, Work: work{"InProgress", "InProgress", http.StatusAccepted, true}},
	{Type: "Microsoft.BotService/botServices", Versions: strings.Fields(botVersions), Name: regexp.MustCompile(`^[a-zA-Z0-9][\w.-]{1,63}$`), Fill: succeeded, ETag: true},
	{Type: "Microsoft.CognitiveServices/accounts", Versions: strings.Fields(accountVersions), Name: regexp.MustCompile(`^[a-zA-Z0-9][\w.-]{1,63}$`), Fill: fillAccount, ETag: true},
	{Type: machineType, Versions: strings.Fields(machineVersions), Name: regexp.MustCompile(`^[a-zA-Z0-9_]([\w.-]{0,62}[a-zA-Z0-9_])?$`), Fill: fillMachine},
	{Type: "Microsoft.ContainerRegistry/registries", Versions: strings.Fields(registryVersions), Name: regexp.MustCompile(`^[a-zA-Z0-9]{5,50}$`), Fill: fillRegistry, Work: work{"Creating", "Updating", http.StatusOK, true}},
	{Type: vaultType, Versions: strings.Fields(vaultVersions), Name: regexp.MustCompile(`^[a-zA-Z](-?[a-zA-Z0-9]){2,23}$`), Fill: fillVault, Require: []string{"tenantId", "sku"}, Work: work{Making: "RegisteringDns"}},
	{Type: identityType, Versions: strings.Fields(identityVersions), Name: regexp.MustCompile(`^[a-zA-Z0-9][\w-]{2,127}$`)},
	{Type: federationType, Versions: strings.Fields(identityVersions), Name: regexp.MustCompile(`^[a-zA-Z0-9][\w-]{2,119}$`)},
}

// kindOf finds a type whatever its case.
func kindOf(typ string) (kind, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return strings.EqualFold(k.Type, typ) })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

// unsupported is the answer to a type that the local cloud does not keep, in the words of ARM for one that does not exist; nil for one
// that it keeps.
func unsupported(p Part) *reply {
	if _, known := kindOf(p.Type()); known {
		return nil
	}
	r := fail(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", p.Namespace)
	if slices.ContainsFunc(kinds, func(k kind) bool { return strings.EqualFold(k.namespace(), p.Namespace) }) {
		r = fail(http.StatusNotFound, "InvalidResourceType", "The resource type '%s' could not be found in the namespace '%s' of the local cloud.", strings.Join(p.Types, "/"), p.Namespace)
	}
	return &r
}

func succeeded(_ *Service, r *Resource) { r.Properties()["provisioningState"] = "Succeeded" }

// def sets a property that the request left out.
func def(r *Resource, name string, value any) {
	if p := r.Properties(); p[name] == nil {
		p[name] = value
	}
}

func fillContainerApp(s *Service, r *Resource) {
	succeeded(s, r)
	def(r, "runningStatus", "Running")
	def(r, "latestRevisionName", r.Name+"--"+s.env.NewID()[:7])
	if c, isObject := r.Properties()["configuration"].(object); isObject {
		if in, isObject := c["ingress"].(object); isObject {
			in["fqdn"] = fmt.Sprintf("%s.%s.azurecontainerapps.io", r.Name, r.Location())
		}
	}
}

func fillEnvironment(s *Service, r *Resource) {
	succeeded(s, r)
	def(r, "defaultDomain", r.Location()+".azurecontainerapps.io")
}

func fillSessionPool(s *Service, r *Resource) {
	succeeded(s, r)
	id, _ := ParseID(r.ID)
	def(r, "poolManagementEndpoint", fmt.Sprintf("https://%s.dynamicsessions.io/subscriptions/%s/resourceGroups/%s/sessionPools/%s", r.Location(), id.Subscription, id.Group, r.Name))
}

func fillAccount(s *Service, r *Resource) {
	succeeded(s, r)
	sub, _ := r.Properties()["customSubDomainName"].(string)
	def(r, "endpoint", "https://"+cmp.Or(sub, strings.ToLower(r.Name))+".cognitiveservices.azure.com/")
	def(r, "publicNetworkAccess", "Enabled")
}

func fillMachine(s *Service, r *Resource) {
	succeeded(s, r)
	def(r, "vmId", s.env.NewID())
}

func fillRegistry(s *Service, r *Resource) {
	succeeded(s, r)
	def(r, "loginServer", strings.ToLower(r.Name)+".azurecr.io")
	def(r, "adminUserEnabled", false)
}

// fillVault sets what Key Vault sets. A vault is in access-policy mode unless the request or its version, see [call.chooseModel], says
// otherwise.
func fillVault(s *Service, r *Resource) {
	succeeded(s, r)
	def(r, "enableRbacAuthorization", false)
	def(r, "accessPolicies", []any{})
	def(r, "enableSoftDelete", true)
	def(r, "softDeleteRetentionInDays", 90)
	def(r, "publicNetworkAccess", "Enabled")
}

// vaultURI is where the vault's data plane listens in this run, which a state file of an earlier run cannot know.
func (s *Service) vaultURI(r Resource) string {
	if here := s.env.Endpoints().Vault[strings.ToLower(r.Name)]; here != "" {
		return here + "/"
	}
	return "https://" + r.Name + ".vault.azure.net/"
}

// providers answers which resource providers exist; registering one succeeds at once.
func (s *Service) providers(v replica.View, c *call) reply {
	prefix := "/providers/"
	if c.id.Subscription != "" {
		prefix = "/subscriptions/" + strings.ToLower(c.id.Subscription) + prefix
		op := "Microsoft.Resources/subscriptions/providers/read"
		if c.method == http.MethodPost {
			op = c.rest[1] + "/register/action"
		}
		if r := s.may(v, c, ID{Subscription: strings.ToLower(c.id.Subscription)}, op, ""); r != nil {
			return *r
		}
	}
	var found []object
	for _, ns := range []string{authorization, managementNS, graphNS, "Microsoft.Resources"} {
		found = append(found, object{"id": prefix + ns, "namespace": ns, "registrationState": "Registered", "registrationPolicy": "RegistrationFree", "resourceTypes": []object{}})
	}
	for _, k := range kinds {
		_, typ, _ := strings.Cut(k.Type, "/")
		i := slices.IndexFunc(found, func(o object) bool { return o["namespace"] == k.namespace() })
		if i < 0 {
			i = len(found)
			found = append(found, object{"id": prefix + k.namespace(), "namespace": k.namespace(), "registrationState": "Registered", "registrationPolicy": "RegistrationRequired", "resourceTypes": []object{}})
		}
		found[i]["resourceTypes"] = append(found[i]["resourceTypes"].([]object), object{"resourceType": typ, "apiVersions": k.Versions, "locations": []string{"East US", "West Europe"}, "capabilities": "None"})
	}
	if len(c.rest) == 1 {
		return list(found)
	}
	for _, o := range found {
		if strings.EqualFold(o["namespace"].(string), c.rest[1]) {
			return ok(o)
		}
	}
	return *unsupported(Part{Namespace: c.rest[1], Types: []string{"x"}})
}
