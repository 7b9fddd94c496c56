"""azure.mgmt.resource, authorization, msi and keyvault: groups, resources, roles and identities."""
import uuid

from azure.identity import ClientSecretCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.keyvault import KeyVaultManagementClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.resource import ResourceManagementClient, SubscriptionClient

from cloud import ARM_CLIENT, GRAPH_SCOPE, HERE, SUBSCRIPTION, TENANT, Application, check, operator, same
from protocol import operation, refused, throttled

resources = ResourceManagementClient(operator, SUBSCRIPTION, **ARM_CLIENT)
authorization = AuthorizationManagementClient(operator, SUBSCRIPTION, **ARM_CLIENT)
identities = ManagedServiceIdentityClient(operator, SUBSCRIPTION, **ARM_CLIENT)
# The default of this version, 2018-11-30, has no federated credentials.
federated = ManagedServiceIdentityClient(operator, SUBSCRIPTION, api_version="2022-01-31-preview", **ARM_CLIENT).federated_identity_credentials
vaults = KeyVaultManagementClient(operator, SUBSCRIPTION, **ARM_CLIENT)

LOCATION, AT_SUBSCRIPTION = "eastus", f"/subscriptions/{SUBSCRIPTION}"
AT_VAULT = f"{AT_SUBSCRIPTION}/resourceGroups/polyclaw-rg/providers/Microsoft.KeyVault/vaults/kv-polyclaw"
APP_VERSION = "2024-03-01"  # of Microsoft.App/containerApps, for the generic calls, which do not know it


def at_group(name):
    return f"{AT_SUBSCRIPTION}/resourceGroups/{name}"


def role_id(name, scope=AT_SUBSCRIPTION):
    [role] = authorization.role_definitions.list(scope, filter=f"roleName eq '{name}'")
    return role.id


def give(principal, role, scope, client=authorization):
    """Assigns a role; naming the principal's type spares ARM a look into a directory that may lag."""
    return client.role_assignments.create(scope, str(uuid.uuid4()), {
        "principal_id": principal, "principal_type": "ServicePrincipal", "role_definition_id": role_id(role, scope),
    })


def container(group, name, identity):
    """Makes a resource with managed identities."""
    return resources.resources.begin_create_or_update(
        group, "Microsoft.App", "", "containerApps", name, APP_VERSION, {"location": LOCATION, "identity": identity, "properties": {}},
    ).result()


def groups():
    with operation("subscriptions: get, list"):
        subscriptions = SubscriptionClient(operator, **ARM_CLIENT).subscriptions
        same([s.subscription_id for s in subscriptions.list()], [SUBSCRIPTION])
        same(subscriptions.get(SUBSCRIPTION).tenant_id, TENANT)
    with operation("resource_groups: create_or_update, get, check_existence, list"):
        made = resources.resource_groups.create_or_update("py-rg", {"location": LOCATION, "tags": {"suite": "py"}})
        same([made.id, made.tags], [at_group("py-rg"), {"suite": "py"}])
        same(resources.resource_groups.get("py-rg").location, LOCATION)
        same([resources.resource_groups.check_existence(n) for n in ("py-rg", "py-none")], [True, False])
        check({"py-rg", "polyclaw-rg"} <= {g.name for g in resources.resource_groups.list()})
    with operation("resources: begin_create_or_update, get_by_id, list, begin_delete_by_id"):
        made = container("py-rg", "py-app", {"type": "SystemAssigned"})
        same(resources.resources.get_by_id(made.id, APP_VERSION).identity.principal_id, made.identity.principal_id)
        same([r.name for r in resources.resources.list_by_resource_group("py-rg")], ["py-app"])
        resources.resources.begin_delete_by_id(made.id, APP_VERSION).wait()
        same(list(resources.resources.list_by_resource_group("py-rg")), [])
    with operation("resource_groups: begin_delete"):
        resources.resource_groups.begin_delete("py-rg").wait()
    with refused("resource_groups: get one that was deleted", "ResourceGroupNotFound"):
        resources.resource_groups.get("py-rg")


def roles():
    with operation("an application to give roles"):
        who = Application("py-roles").principal
    with operation("role_definitions: list with a filter, get, get_by_id"):
        reader = role_id("Reader")
        role = authorization.role_definitions.get(AT_SUBSCRIPTION, reader.split("/")[-1])
        same([role.role_name, role.permissions[0].actions], ["Reader", ["*/read"]])
        same(authorization.role_definitions.get_by_id(reader).role_name, "Reader")
    made = {}
    for kind, scope in {"subscription": AT_SUBSCRIPTION, "group": at_group("polyclaw-rg"), "resource": AT_VAULT}.items():
        with operation(f"role_assignments: create at a {kind}"):
            made[kind] = give(who, "Reader", scope)
            same([made[kind].scope, made[kind].principal_id, made[kind].role_definition_id], [scope, who, reader])
    with operation("role_assignments: list for the subscription, a group, a resource and a scope"):
        mine = f"principalId eq '{who}'"
        api = authorization.role_assignments
        same(len(list(api.list_for_subscription(filter=mine))), 3)
        same(len(list(api.list_for_scope(at_group("polyclaw-rg"), filter=f"atScope() and assignedTo('{who}')"))), 2)
        check(made["group"].id in [a.id for a in api.list_for_resource_group("polyclaw-rg", filter=mine)])
        check(made["resource"].id in [a.id for a in api.list_for_resource("polyclaw-rg", "Microsoft.KeyVault", "vaults", "kv-polyclaw", filter=mine)])
    with refused("role_assignments: create one that is there under another name", "RoleAssignmentExists"):
        give(who, "Reader", at_group("polyclaw-rg"))
    with refused("role_assignments: create for a principal that does not exist", "PrincipalNotFound"):
        authorization.role_assignments.create(AT_VAULT, str(uuid.uuid4()), {"principal_id": str(uuid.uuid4()), "role_definition_id": reader})
    with operation("role_assignments: delete, delete_by_id"):
        authorization.role_assignments.delete(AT_SUBSCRIPTION, made["subscription"].name)
        authorization.role_assignments.delete_by_id(made["group"].id)
        authorization.role_assignments.delete_by_id(made["resource"].id)
        same(list(authorization.role_assignments.list_for_subscription(filter=mine)), [])
    with refused("role_assignments: get one that was deleted", "RoleAssignmentNotFound"):
        authorization.role_assignments.get_by_id(made["group"].id)


def managed():
    of = ("py-msi", "py-identity")
    with operation("user_assigned_identities: create_or_update, get, list"):
        resources.resource_groups.create_or_update("py-msi", {"location": LOCATION})
        made = identities.user_assigned_identities.create_or_update(*of, {"location": LOCATION})
        same([made.tenant_id, identities.user_assigned_identities.get(*of).client_id], [TENANT, made.client_id])
        same([i.name for i in identities.user_assigned_identities.list_by_resource_group("py-msi")], ["py-identity"])
    with operation("federated_identity_credentials: create_or_update, get, list, delete"):
        federated.create_or_update(*of, "cluster", {"issuer": "https://issuer.example", "subject": "system:serviceaccount:a:b", "audiences": ["api://AzureADTokenExchange"]})
        same(federated.get(*of, "cluster").subject, "system:serviceaccount:a:b")
        same([c.name for c in federated.list(*of)], ["cluster"])
        federated.delete(*of, "cluster")
        same(list(federated.list(*of)), [])
    with operation("user_assigned_identities: delete"):
        identities.user_assigned_identities.delete(*of)
    with refused("user_assigned_identities: get one that was deleted", "ResourceNotFound"):
        identities.user_assigned_identities.get(*of)


def vaults_of_arm():
    with operation("vaults: begin_create_or_update, get, list_by_resource_group"):
        resources.resource_groups.create_or_update("py-vaults", {"location": LOCATION})
        made = vaults.vaults.begin_create_or_update("py-vaults", "py-vault-1", {"location": LOCATION, "properties": {
            "tenant_id": TENANT, "sku": {"family": "A", "name": "standard"}, "access_policies": [], "enable_rbac_authorization": True,
        }}).result()
        same(made.properties.enable_rbac_authorization, True)
        same(vaults.vaults.get("py-vaults", "py-vault-1").properties.vault_uri, made.properties.vault_uri)
        same([v.name for v in vaults.vaults.list_by_resource_group("py-vaults")], ["py-vault-1"])
    with operation("vaults: delete, get_deleted, begin_purge_deleted"):
        vaults.vaults.delete("py-vaults", "py-vault-1")
        same(vaults.vaults.get_deleted("py-vault-1", LOCATION).name, "py-vault-1")
        vaults.vaults.begin_purge_deleted("py-vault-1", LOCATION).wait()
    with refused("vaults: get one that was purged", "ResourceNotFound"):
        vaults.vaults.get("py-vaults", "py-vault-1")


def arm_refusals():
    with operation("an application without roles"):
        plain = Application("py-roleless", secret={})
        credential = ClientSecretCredential(TENANT, plain.app_id, plain.secret, **HERE)
        poor = ResourceManagementClient(credential, SUBSCRIPTION, **ARM_CLIENT)
    with refused("a token for Graph at ARM", "InvalidAuthenticationTokenAudience"):
        ResourceManagementClient(operator, SUBSCRIPTION, **{**ARM_CLIENT, "credential_scopes": [GRAPH_SCOPE]}).resource_groups.get("polyclaw-rg")
    with refused("resource_groups: get without a role", "AuthorizationFailed"):
        poor.resource_groups.get("polyclaw-rg")
    with operation("resource_groups: get with a role that reads"):
        give(plain.principal, "Reader", at_group("polyclaw-rg"))
        same(poor.resource_groups.get("polyclaw-rg").name, "polyclaw-rg")
    with refused("role_assignments: create with a role that only reads", "AuthorizationFailed"):
        give(plain.principal, "Owner", at_group("polyclaw-rg"), AuthorizationManagementClient(credential, SUBSCRIPTION, **ARM_CLIENT))
    with refused("resources: get one that does not exist", "ResourceNotFound"):
        resources.resources.get_by_id(AT_VAULT + "-none", "2023-07-01")
    with throttled(), refused("resource_groups: list while ARM throttles", "TooManyRequests"):
        list(resources.resource_groups.list())
