"""azure.identity: every credential that needs no person. Debian's version has no WorkloadIdentityCredential; what came before it, the
token exchange inside ManagedIdentityCredential, is here."""
import os
import tempfile

from azure.identity import (
    CertificateCredential, ClientAssertionCredential, ClientSecretCredential, DefaultAzureCredential, EnvironmentCredential,
    ManagedIdentityCredential,
)

from assertion import assertion
from cloud import ARM, ARM_SCOPE, GRAPH, GRAPH_SCOPE, HERE, TENANT, VAULT_SCOPE, Application, claims, environment, graph, read, same
from protocol import certificate, federated, operation, refused


def proves(token, audience, app, how="2"):
    """Asserts what the cloud says of the application; appidacr is 2 for a certificate or an assertion and 1 for a secret."""
    said = claims(token.token)
    same(said["aud"].rstrip("/"), audience)
    same([said["appid"], said["tid"], said["oid"], said["appidacr"]], [app.app_id, TENANT, app.principal, how])


def credentials():
    cert = certificate("identity")
    with operation("an application with a certificate and a secret"):
        app = Application("py-identity", certificate=cert, secret={})

    with operation("CertificateCredential.get_token for ARM"):
        credential = CertificateCredential(TENANT, app.app_id, cert["both"], **HERE)
        token = credential.get_token(ARM_SCOPE)
        proves(token, ARM, app)
        same(credential.get_token(ARM_SCOPE).token, token.token)  # from the cache
    with operation("CertificateCredential.get_token for Graph, certificate as bytes"):
        credential = CertificateCredential(TENANT, app.app_id, certificate_data=read(cert["both"]).encode(), **HERE)
        proves(credential.get_token(GRAPH_SCOPE), GRAPH, app)
    with operation("CertificateCredential with send_certificate_chain"):
        credential = CertificateCredential(TENANT, app.app_id, cert["both"], send_certificate_chain=True, **HERE)
        proves(credential.get_token(VAULT_SCOPE), "https://vault.azure.net", app)
    with operation("ClientSecretCredential.get_token for ARM"):
        proves(ClientSecretCredential(TENANT, app.app_id, app.secret, **HERE).get_token(ARM_SCOPE), ARM, app, "1")
    with operation("ClientAssertionCredential with an assertion signed by hand, PS256"):
        credential = ClientAssertionCredential(TENANT, app.app_id, lambda: assertion(app.app_id, cert))
        proves(credential.get_token(ARM_SCOPE), ARM, app)
    with operation("EnvironmentCredential with a secret"):
        with environment(AZURE_CLIENT_ID=app.app_id, AZURE_CLIENT_SECRET=app.secret):
            proves(EnvironmentCredential(**HERE).get_token(ARM_SCOPE), ARM, app, "1")
    with operation("DefaultAzureCredential finds the certificate that the environment names"):
        with environment(AZURE_CLIENT_ID=app.app_id, AZURE_CLIENT_CERTIFICATE_PATH=cert["both"]):
            proves(DefaultAzureCredential(**HERE).get_token(GRAPH_SCOPE), GRAPH, app)


def federation():
    trusted = federated("system:serviceaccount:agents:py")
    with operation("an application that trusts an issuer"):
        app = Application("py-federated")
        graph("POST", f"{app.path}/federatedIdentityCredentials", {
            "name": "cluster", "issuer": trusted["issuer"], "subject": "system:serviceaccount:agents:py", "audiences": ["api://AzureADTokenExchange"],
        })

    def ask(token):
        return ClientAssertionCredential(TENANT, app.app_id, lambda: token).get_token(ARM_SCOPE)

    with operation("ClientAssertionCredential with a federated token"):
        proves(ask(trusted["token"]), ARM, app)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "token")
        with open(path, "w", encoding="utf-8") as f:
            f.write(trusted["token"])
        with environment(AZURE_CLIENT_ID=app.app_id, AZURE_FEDERATED_TOKEN_FILE=path):
            with operation("ManagedIdentityCredential with the token file of a workload identity"):
                proves(ManagedIdentityCredential(**HERE).get_token(GRAPH_SCOPE), GRAPH, app)
            with operation("DefaultAzureCredential finds the token file that the environment names"):
                proves(DefaultAzureCredential(**HERE).get_token(VAULT_SCOPE), "https://vault.azure.net", app)

    with refused("a federated token of another subject", "AADSTS700213"):
        ask(federated("system:serviceaccount:agents:other")["token"])
    with refused("a federated token for another audience", "AADSTS700212"):
        ask(federated("system:serviceaccount:agents:py", "api://elsewhere")["token"])
    with refused("a token of an issuer that the application does not trust", "AADSTS700211"):
        cert = certificate("untrusted")
        ask(assertion(app.app_id, cert, iss="https://untrusted.example", aud="api://AzureADTokenExchange"))
