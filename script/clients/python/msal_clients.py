"""msal without an SDK around it."""
import uuid

from msal import ConfidentialClientApplication, PublicClientApplication

from assertion import assertion
from cloud import ARM, ARM_SCOPE, GRAPH, GRAPH_SCOPE, LOGIN, TENANT, VAULT_SCOPE, Application, check, claims, person, read, same
from protocol import certificate, management, operation, refused

AZURE_CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"  # a public client that every tenant has
PLACE = {"authority": f"{LOGIN}/{TENANT}", "instance_discovery": False}


def won(result):
    """MSAL returns errors; here they are raised with its own text."""
    if "access_token" not in result:
        raise RuntimeError(f"{result.get('error')}: {result.get('error_description')}")
    return claims(result["access_token"])


def msal():
    cert = certificate("msal")
    with operation("an application for MSAL"):
        app = Application("py-msal", certificate=cert, secret={})
    pair = {"thumbprint": cert["sha1"], "private_key": read(cert["key"])}

    def confidential(how, app_id=app.app_id):
        return ConfidentialClientApplication(app_id, client_credential=how, **PLACE)

    with operation("acquire_token_for_client with a certificate"):
        client = confidential(pair)
        same(won(client.acquire_token_for_client([ARM_SCOPE]))["appid"], app.app_id)
        same(won(client.acquire_token_silent([ARM_SCOPE], account=None))["oid"], app.principal)
    with operation("acquire_token_for_client with a certificate and its chain"):
        same(won(confidential({**pair, "public_certificate": read(cert["cert"])}).acquire_token_for_client([GRAPH_SCOPE]))["appidacr"], "2")
    with operation("acquire_token_for_client with a secret"):
        same(won(confidential(app.secret).acquire_token_for_client([VAULT_SCOPE]))["appidacr"], "1")
    with operation("acquire_token_for_client with client_assertion"):
        same(won(confidential({"client_assertion": assertion(app.app_id, cert)}).acquire_token_for_client([ARM_SCOPE]))["oid"], app.principal)

    admin, reader = person("admin"), person("reader")
    with operation("initiate_device_flow, acquire_token_by_device_flow, approved by a user"):
        device = PublicClientApplication(AZURE_CLI, **PLACE)
        flow = device.initiate_device_flow([GRAPH_SCOPE])
        check(flow["verification_uri"].startswith(LOGIN))
        management("POST /devicecode/approve", {"user_code": flow["user_code"], "upn": admin["upn"]})
        same(won(device.acquire_token_by_device_flow(flow))["oid"], admin["object_id"])
    with operation("acquire_token_silent with the refresh token, for another resource"):
        [account] = device.get_accounts()
        same(account["username"], admin["upn"])
        said = won(device.acquire_token_silent([ARM_SCOPE], account=account))
        same([said["aud"].rstrip("/"), said["oid"]], [ARM, admin["object_id"]])
    # Of an authority in Entra, this version first asks https://localhost/common/userrealm, without the port: an AD FS authority has no realms.
    by_password = PublicClientApplication(AZURE_CLI, authority=f"{LOGIN}/adfs", instance_discovery=False).acquire_token_by_username_password
    with operation("acquire_token_by_username_password"):
        said = won(by_password(reader["upn"], reader["password"], [GRAPH_SCOPE]))
        same([said["aud"].rstrip("/"), said["oid"]], [GRAPH, reader["object_id"]])
    with refused("acquire_token_by_username_password with a wrong password", "AADSTS50126"):
        won(by_password(reader["upn"], "not-the-password", [GRAPH_SCOPE]))

    with refused("acquire_token_for_client with a key that is not registered", "AADSTS700027"):
        stranger = certificate("msal-stranger")
        won(confidential({"thumbprint": stranger["sha1"], "private_key": read(stranger["key"])}).acquire_token_for_client([ARM_SCOPE]))
    with refused("acquire_token_for_client with a wrong secret", "AADSTS7000215"):
        won(confidential("not-the-secret").acquire_token_for_client([ARM_SCOPE]))
    with refused("acquire_token_for_client for an application that does not exist", "AADSTS700016"):
        won(confidential("any", str(uuid.uuid4())).acquire_token_for_client([ARM_SCOPE]))
    with refused("acquire_token_for_client in a tenant that does not exist", "Unable to get authority configuration"):  # see refusals.py
        ConfidentialClientApplication(app.app_id, client_credential=app.secret, authority=f"{LOGIN}/{uuid.uuid4()}", instance_discovery=False)
