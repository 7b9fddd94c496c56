"""Microsoft Graph by requests: the objects of an agent's identity."""
import uuid

from azure.identity import ClientSecretCredential

from cloud import ARM_SCOPE, GRAPH, HERE, TENANT, Application, Graph, check, graph, key_credential, operator, same
from protocol import certificate, operation, refused, throttled

GRAPH_APP = "00000003-0000-0000-c000-000000000000"
READ_USERS = "df021288-bdef-4463-88db-98f22de89214"  # User.Read.All, an application permission of Microsoft Graph


def applications():
    names = ["py-graph-1", "py-graph-2", "py-graph-3"]
    with operation("applications: create"):
        made = [graph("POST", "/applications", {"displayName": n, "signInAudience": "AzureADMyOrg"}) for n in names]
    app = made[0]
    at = f"/applications/{app['id']}"
    with operation("applications: get, get by appId"):
        same(graph("GET", at)["appId"], app["appId"])
        same(graph("GET", f"/applications(appId='{app['appId']}')", select="id,displayName")["displayName"], names[0])
    with operation("applications: list page by page"):
        seen, page = [], graph("GET", "/applications", filter="startsWith(displayName,'py-graph-')", top="2")
        while page:
            seen += [a["displayName"] for a in page["value"]]
            page = graph("GET", page["@odata.nextLink"]) if "@odata.nextLink" in page else None
        same(sorted(seen), names)
    with operation("applications: count"):
        found = graph("GET", "/applications", headers={"ConsistencyLevel": "eventual"}, filter="startsWith(displayName,'py-graph-')", count="true")
        same(found["@odata.count"], 3)
    with operation("applications: patch"):
        graph("PATCH", at, {"notes": "changed", "requiredResourceAccess": [{"resourceAppId": GRAPH_APP, "resourceAccess": [{"id": READ_USERS, "type": "Role"}]}]})
        same(graph("GET", at)["requiredResourceAccess"][0]["resourceAccess"][0]["id"], READ_USERS)
    with operation("applications: addPassword, removePassword"):
        secret = graph("POST", f"{at}/addPassword", {"passwordCredential": {"displayName": "one"}})
        check(secret["secretText"].startswith(secret["hint"]))
        graph("POST", f"{at}/removePassword", {"keyId": secret["keyId"]})
        same(graph("GET", at)["passwordCredentials"], [])
    with operation("applications: replace keyCredentials"):
        cert = certificate("graph")
        graph("PATCH", at, {"keyCredentials": [key_credential(cert)]})
        [key] = graph("GET", at, select="keyCredentials")["keyCredentials"]
        same([key["key"], key["usage"]], [key_credential(cert)["key"], "Verify"])
    with operation("applications: owners add, list, remove"):
        other = Application("py-owner")
        graph("POST", f"{at}/owners/$ref", {"@odata.id": f"{GRAPH}/v1.0/directoryObjects/{other.principal}"})
        check(other.principal in [o["id"] for o in graph("GET", f"{at}/owners")["value"]])
        graph("DELETE", f"{at}/owners/{other.principal}/$ref")
        same([o["displayName"] for o in graph("GET", f"{at}/owners")["value"]], ["sp-operator"])
    with operation("$batch"):
        answer = graph("POST", "/$batch", {"requests": [
            {"id": "1", "method": "GET", "url": at},
            {"id": "2", "method": "PATCH", "url": at, "body": {"notes": "batched"}, "headers": {"Content-Type": "application/json"}, "dependsOn": ["1"]},
            {"id": "3", "method": "GET", "url": f"/applications/{uuid.uuid4()}"},
        ]})
        same({r["id"]: r["status"] for r in answer["responses"]}, {"1": 200, "2": 204, "3": 404})
    with operation("applications: delete, deletedItems restore, delete for good"):
        graph("DELETE", at)
        graph("POST", f"/directory/deletedItems/{app['id']}/restore", {})
        same(graph("GET", at)["displayName"], names[0])
        graph("DELETE", at)
        graph("DELETE", f"/directory/deletedItems/{app['id']}")
    with refused("applications: get one that was deleted for good", "Request_ResourceNotFound"):
        graph("GET", at)


def service_principals():
    role = {"id": str(uuid.uuid4()), "value": "Jobs.Run", "displayName": "Run jobs", "description": "Run jobs", "allowedMemberTypes": ["Application"], "isEnabled": True}
    with operation("an API with a role, and an application that calls it"):
        api, caller = Application("py-api"), Application("py-caller", secret={})
        graph("PATCH", api.path, {"identifierUris": [f"api://{api.app_id}"], "appRoles": [role]})
    at = f"/servicePrincipals/{caller.principal}/appRoleAssignments"
    with operation("servicePrincipals: appRoleAssignments create, list, delete"):
        made = graph("POST", at, {"principalId": caller.principal, "resourceId": api.principal, "appRoleId": role["id"]})
        same([a["resourceDisplayName"] for a in graph("GET", at)["value"]], ["py-api"])
        graph("DELETE", f"{at}/{made['id']}")
        same(graph("GET", at)["value"], [])
    with operation("oauth2PermissionGrants: create, list, delete"):
        resource = graph("GET", f"/servicePrincipals(appId='{GRAPH_APP}')", select="id")["id"]
        made = graph("POST", "/oauth2PermissionGrants", {"clientId": caller.principal, "consentType": "AllPrincipals", "resourceId": resource, "scope": "User.Read"})
        same([g["scope"] for g in graph("GET", "/oauth2PermissionGrants", filter=f"clientId eq '{caller.principal}'")["value"]], ["User.Read"])
        graph("DELETE", f"/oauth2PermissionGrants/{made['id']}")
    with refused("a permission of Graph given by somebody who is only Application Administrator", "Authorization_RequestDenied"):
        graph("POST", at, {"principalId": caller.principal, "resourceId": resource, "appRoleId": READ_USERS})
    with refused("applications: create without a permission", "Authorization_RequestDenied"):
        Graph(ClientSecretCredential(TENANT, caller.app_id, caller.secret, **HERE))("POST", "/applications", {"displayName": "py-never"})
    with refused("a token for ARM at Graph", "InvalidAuthenticationToken"):
        Graph(operator, ARM_SCOPE)("GET", "/applications")
    with refused("servicePrincipals: create a second one", "Request_MultipleObjectsWithSameKeyValue"):
        graph("POST", "/servicePrincipals", {"appId": caller.app_id})
    with refused("applications: get one that does not exist", "Request_ResourceNotFound"):
        graph("GET", f"/applications/{uuid.uuid4()}")
    with throttled(), refused("applications: list while Graph throttles", "TooManyRequests"):
        graph("GET", "/applications")
