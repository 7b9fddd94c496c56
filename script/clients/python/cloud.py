"""The cloud as `leastkey cloud env --for python` tells it, the operator, and the applications that the suite makes for itself."""
import base64
import contextlib
import json
import os
import time

import requests
from azure.identity import CertificateCredential
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


def variable(name):
    if not os.environ.get(name):
        raise SystemExit(f'{name} is not set: eval "$(leastkey cloud env --for python)"')
    return os.environ[name]


TENANT = variable("AZURE_TENANT_ID")
SUBSCRIPTION = variable("AZURE_SUBSCRIPTION_ID")
LOGIN = variable("LEASTKEY_LOGIN")
GRAPH = variable("LEASTKEY_GRAPH")
ARM = variable("LEASTKEY_ARM")
VAULT = variable("LEASTKEY_VAULT_KV_POLYCLAW")
LEGACY_VAULT = variable("LEASTKEY_VAULT_KV_LEGACY")

ARM_SCOPE, GRAPH_SCOPE, VAULT_SCOPE = ARM + "/.default", GRAPH + "/.default", "https://vault.azure.net/.default"

# What every credential needs: the login host comes from AZURE_AUTHORITY_HOST, and no public service is asked whether it may be trusted.
# Version 1.13.0b2 of azure-identity says instance_discovery where later ones say disable_instance_discovery. retry_total keeps a
# refusal from being repeated.
HERE = {"instance_discovery": False, "retry_total": 0}

# What every client for ARM needs. Where ARM does not say when to look again, this version waits half a minute.
ARM_CLIENT = {"base_url": ARM, "credential_scopes": [ARM_SCOPE], "retry_total": 0, "polling_interval": 1}

OPERATOR_PEM = variable("LEASTKEY_OPERATOR_PEM")
operator = CertificateCredential(TENANT, variable("LEASTKEY_OPERATOR_APP_ID"), OPERATOR_PEM, **HERE)


def person(name):
    """One of the cloud's test users, from the file beside the operator's certificate."""
    with open(os.path.join(os.path.dirname(OPERATOR_PEM), "operators.json"), encoding="utf-8") as f:
        return next(o for o in json.load(f)["operators"] if o["name"] == name)


class GraphError(Exception):
    pass


class Graph:
    """Microsoft Graph by requests: Debian packages no client for it."""

    def __init__(self, credential, scope=GRAPH_SCOPE):
        self.credential, self.scope, self.session = credential, scope, requests.Session()

    def __call__(self, method, path, body=None, headers=None, **query):
        token = self.credential.get_token(self.scope).token
        url = path if path.startswith("https://") else f"{GRAPH}/v1.0{path}"
        answer = self.session.request(
            method, url, json=body, params={f"${k}": v for k, v in query.items()}, timeout=60,
            headers={"Authorization": f"Bearer {token}", **(headers or {})},
        )
        if not answer.ok:
            raise GraphError(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None


graph = Graph(operator)


def claims(token):
    """Claims of a token, which are for its resource to judge; here they show what the cloud put in."""
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def key_credential(cert, name="suite"):
    """How Graph takes a certificate."""
    der = x509.load_pem_x509_certificate(read(cert["cert"]).encode()).public_bytes(Encoding.DER)
    return {"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.b64encode(der).decode(), "displayName": name}


class Application:
    """An application of Graph, and its service principal unless it is told to have none."""

    def __init__(self, name, certificate=None, secret=None, principal=True):
        made = graph("POST", "/applications", {"displayName": name, "keyCredentials": [key_credential(certificate)] if certificate else []})
        self.id, self.app_id, self.path = made["id"], made["appId"], f"/applications/{made['id']}"
        self.principal = graph("POST", "/servicePrincipals", {"appId": self.app_id})["id"] if principal else None
        self.secret = self.add_password(**secret) if secret is not None else None

    def add_password(self, **more):
        return graph("POST", f"{self.path}/addPassword", {"passwordCredential": {"displayName": "suite", **more}})["secretText"]


@contextlib.contextmanager
def environment(**variables):
    """The variables are set in the body."""
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


def after(moment):
    """Waits until a moment has passed, by the clock that the local cloud shares with us."""
    while (left := moment + 0.05 - time.time()) > 0:
        time.sleep(left)


def same(got, want):
    """Asserts equality, saying both: python -O must not turn a check off."""
    if got != want:
        raise AssertionError(f"{got!r} is not {want!r}")


def check(condition, text="it does not hold"):
    if not condition:
        raise AssertionError(text)
