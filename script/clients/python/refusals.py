"""What the login host must not give a token for, in the words of azure.identity."""
import datetime
import uuid

from azure.identity import CertificateCredential, ClientAssertionCredential, ClientSecretCredential
from cryptography import x509

from assertion import assertion
from cloud import ARM_SCOPE, GRAPH_SCOPE, HERE, TENANT, Application, after, graph, key_credential, read
from protocol import certificate, operation, refused, throttled


def refusals():
    good, stranger = certificate("refusals"), certificate("stranger")
    with operation("an application to refuse"):
        app = Application("py-refused", certificate=good, secret={})

    def token(cert, tenant=TENANT, app_id=app.app_id, scope=ARM_SCOPE):
        return CertificateCredential(tenant, app_id, cert["both"], **HERE).get_token(scope)

    def secret(value):
        return ClientSecretCredential(TENANT, app.app_id, value, **HERE).get_token(ARM_SCOPE)

    def asserted(text):  # in this version it asks for no discovery, and takes no options
        return ClientAssertionCredential(TENANT, app.app_id, lambda: text).get_token(ARM_SCOPE)

    with refused("CertificateCredential with a key that is not registered", "AADSTS700027"):
        token(stranger)
    # MSAL reads the tenant's discovery document first and keeps to itself that it says AADSTS90002.
    with refused("CertificateCredential in a tenant that does not exist", "Unable to get authority configuration"):
        token(good, tenant=str(uuid.uuid4()))
    with refused("ClientAssertionCredential in a tenant that does not exist", "AADSTS90002"):
        ClientAssertionCredential(str(uuid.uuid4()), app.app_id, lambda: assertion(app.app_id, good)).get_token(ARM_SCOPE)
    with refused("CertificateCredential for an application that does not exist", "AADSTS700016"):
        token(good, app_id=str(uuid.uuid4()))
    with refused("CertificateCredential for a resource that does not exist", "AADSTS500011"):
        token(good, scope="api://nobody/.default")
    with refused("ClientSecretCredential with a wrong secret", "AADSTS7000215"):
        secret("not-the-secret")

    with operation("a certificate and a secret that end in a moment"):  # Graph takes nothing that has ended before
        brief = certificate("brief", 6)
        ends = x509.load_pem_x509_certificate(read(brief["cert"]).encode()).not_valid_after
        short = Application("py-brief", certificate=brief)
        value = app.add_password(endDateTime=ends.isoformat() + "Z")
    after(ends.replace(tzinfo=datetime.timezone.utc).timestamp())
    with refused("CertificateCredential with a certificate that has expired", "AADSTS700027"):
        token(brief, app_id=short.app_id)
    with refused("ClientSecretCredential with a secret that has expired", "AADSTS7000222"):
        secret(value)

    with operation("CertificateCredential before its certificate is removed"):
        token(good)
        graph("PATCH", app.path, {"keyCredentials": [key_credential(stranger)]})
        token(stranger)
    with refused("CertificateCredential with the certificate of a removed credential", "AADSTS700027"):
        token(good)
    with operation("CertificateCredential after its certificate is back"):
        graph("PATCH", app.path, {"keyCredentials": [key_credential(good)]})
        token(good)

    once = assertion(app.app_id, good)
    with operation("ClientAssertionCredential with an assertion of one use"):
        asserted(once)
    with refused("ClientAssertionCredential with an assertion that was used before", "AADSTS50013"):
        asserted(once)
    with refused("ClientAssertionCredential with an assertion for another audience", "AADSTS700023"):
        asserted(assertion(app.app_id, good, aud="https://elsewhere.example/token"))
    with refused("ClientAssertionCredential with an assertion that has expired", "AADSTS700024"):
        asserted(assertion(app.app_id, good, nbf=1700000000, exp=1700000300))
    with refused("ClientAssertionCredential with an assertion that another key signed", "AADSTS700027"):
        asserted(assertion(app.app_id, {**stranger, "sha256": good["sha256"]}))

    with operation("an application without a service principal"):
        lonely = certificate("lonely")
        without = Application("py-lonely", certificate=lonely, principal=False)
    with refused("CertificateCredential without a service principal", "AADSTS7000229"):
        token(lonely, app_id=without.app_id)
    with operation("a service principal that is disabled"):
        graph("PATCH", f"/servicePrincipals/{app.principal}", {"accountEnabled": False})
    with refused("CertificateCredential of a disabled application", "AADSTS7000112"):
        token(good)

    with operation("ClientSecretCredential before the tenant is throttled"):
        busy = ClientSecretCredential(TENANT, short.app_id, short.add_password(), **HERE)
        busy.get_token(ARM_SCOPE)  # so that it knows the endpoints
    with throttled(), refused("ClientSecretCredential while the tenant is throttled", "AADSTS90055"):
        busy.get_token(GRAPH_SCOPE)
