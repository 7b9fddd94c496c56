"""Managed identities: what the code on a resource sees of them, App Service's endpoint and IMDS. msal has none of it in this version."""
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

from arm import LOCATION, container, identities, resources
from cloud import ARM, ARM_SCOPE, GRAPH, GRAPH_SCOPE, VAULT_SCOPE, claims, environment, same
from protocol import identity, operation, refused

GROUP = "py-managed"
ONCE = {"retry_total": 0, "retry_status": 0}


def app_service(resource):
    there = identity(resource.id)
    return {"IDENTITY_ENDPOINT": there["identity_endpoint"], "IDENTITY_HEADER": there["identity_header"]}


def imds(resource):
    return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": identity(resource.id)["imds"]}


def ask(where, scope, credential=ManagedIdentityCredential, **options):
    with environment(**where):
        return claims(credential(**ONCE, **options).get_token(scope).token)


def managed_identities():
    with operation("two identities, and resources that have one of them"):
        resources.resource_groups.create_or_update(GROUP, {"location": LOCATION})
        mine, other = (identities.user_assigned_identities.create_or_update(GROUP, n, {"location": LOCATION}) for n in ("py-mine", "py-other"))
        both = container(GROUP, "py-both", {"type": "SystemAssigned, UserAssigned", "user_assigned_identities": {mine.id: {}}})
        lone = container(GROUP, "py-lone", {"type": "UserAssigned", "user_assigned_identities": {mine.id: {}}})

    for kind, where in (("App Service", app_service(both)), ("IMDS", imds(both))):
        with operation(f"ManagedIdentityCredential, system-assigned, from {kind}"):
            said = ask(where, ARM_SCOPE)
            same([said["aud"].rstrip("/"), said["oid"]], [ARM, both.identity.principal_id])
        with operation(f"ManagedIdentityCredential, user-assigned by client id, from {kind}"):
            said = ask(where, GRAPH_SCOPE, client_id=mine.client_id)
            same([said["aud"].rstrip("/"), said["appid"]], [GRAPH, mine.client_id])
        with operation(f"ManagedIdentityCredential, user-assigned by object id, from {kind}"):
            same(ask(where, VAULT_SCOPE, identity_config={"object_id": mine.principal_id})["oid"], mine.principal_id)
        with operation(f"ManagedIdentityCredential, user-assigned by resource id, from {kind}"):
            same(ask(where, VAULT_SCOPE, identity_config={"mi_res_id": mine.id})["oid"], mine.principal_id)
        with operation(f"DefaultAzureCredential finds {kind}"):
            same(ask(where, ARM_SCOPE, DefaultAzureCredential, managed_identity_client_id=mine.client_id)["oid"], mine.principal_id)
    with operation("ManagedIdentityCredential of the only identity, from IMDS"):
        same(ask(imds(lone), ARM_SCOPE)["oid"], mine.principal_id)

    with refused("ManagedIdentityCredential with an identity of another resource, from App Service", "No User Assigned or Delegated Managed Identity found"):
        ask(app_service(both), ARM_SCOPE, client_id=other.client_id)
    with refused("ManagedIdentityCredential with an identity of another resource, from IMDS", "The requested identity has not been assigned to this resource"):
        ask(imds(both), ARM_SCOPE, client_id=other.client_id)
    with refused("ManagedIdentityCredential, system-assigned, on a resource that has none, from App Service", "Unable to load the proper Managed Identity"):
        ask(app_service(lone), ARM_SCOPE)
    with refused("ManagedIdentityCredential with a header that is not the resource's", "X-IDENTITY-HEADER"):
        ask({**app_service(both), "IDENTITY_HEADER": "guessed"}, ARM_SCOPE)
