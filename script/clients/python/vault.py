"""azure.keyvault.secrets, keys and certificates."""
import base64
import hashlib

from azure.identity import ClientSecretCredential
from azure.keyvault.certificates import CertificateClient, CertificatePolicy
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys.crypto import CryptographyClient, KeyWrapAlgorithm, SignatureAlgorithm
from azure.keyvault.secrets import SecretClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import pkcs12

from arm import AT_VAULT, give
from cloud import HERE, LEGACY_VAULT, TENANT, VAULT, Application, check, same
from protocol import operation, refused, throttled

# The challenge names https://vault.azure.net, of which a vault on localhost is no part.
OPTIONS = {"verify_challenge_resource": False, "retry_total": 0}
FAST = {"_polling_interval": 0.05}  # how often the pollers look


class Keeper:
    """An application with roles at the vault."""

    def __init__(self, name, *roles):
        with operation(f"an application with {' and '.join(roles)}"):
            self.app = Application(name, secret={})
            for role in roles:
                give(self.app.principal, role, AT_VAULT)
            self.credential = ClientSecretCredential(TENANT, self.app.app_id, self.app.secret, **HERE)


def secrets():
    officer, user = Keeper("py-secrets", "Key Vault Secrets Officer"), Keeper("py-secrets-user", "Key Vault Secrets User")
    client = SecretClient(VAULT, officer.credential, **OPTIONS)
    with operation("SecretClient.set_secret, get_secret"):
        first = client.set_secret("py-secret", "one", content_type="text/plain", tags={"suite": "py"})
        got = client.get_secret("py-secret")
        same([got.value, got.id, got.properties.tags], ["one", first.id, {"suite": "py"}])
    with operation("SecretClient.set_secret, a new version; the old one stays"):
        client.set_secret("py-secret", "two")
        same([client.get_secret("py-secret").value, client.get_secret("py-secret", first.properties.version).value], ["two", "one"])
    with operation("SecretClient.list_properties_of_secrets, list_properties_of_secret_versions"):
        check("py-secret" in [s.name for s in client.list_properties_of_secrets()])
        same(len(list(client.list_properties_of_secret_versions("py-secret"))), 2)
    with operation("SecretClient.update_secret_properties"):
        same(client.update_secret_properties("py-secret", first.properties.version, enabled=False).enabled, False)
    with refused("SecretClient.get_secret of a version that is disabled", "SecretDisabled"):
        client.get_secret("py-secret", first.properties.version)
    with operation("SecretClient.begin_delete_secret, get_deleted_secret, list_deleted_secrets"):
        check(client.begin_delete_secret("py-secret", **FAST).result().deleted_date)
        same(client.get_deleted_secret("py-secret").name, "py-secret")
        check("py-secret" in [s.name for s in client.list_deleted_secrets()])
    with refused("SecretClient.get_secret of one that was deleted", "SecretNotFound"):
        client.get_secret("py-secret")
    with refused("SecretClient.set_secret over one that was deleted", "ObjectIsDeletedButRecoverable"):
        client.set_secret("py-secret", "three")
    with operation("SecretClient.begin_recover_deleted_secret"):
        client.begin_recover_deleted_secret("py-secret", **FAST).wait()
    reading = SecretClient(VAULT, user.credential, **OPTIONS)
    with operation("SecretClient.get_secret with a role that reads"):
        same(reading.get_secret("py-secret").value, "two")
    with refused("SecretClient.set_secret with a role that only reads", "ForbiddenByRbac"):
        reading.set_secret("py-secret", "three")
    with refused("SecretClient.get_secret from a vault whose access policies do not name the caller", "ForbiddenByPolicy"):
        SecretClient(LEGACY_VAULT, user.credential, **OPTIONS).get_secret("py-secret")
    with throttled(), refused("SecretClient.get_secret while the vault throttles", "Throttled"):
        client.get_secret("py-secret")
    with operation("SecretClient.purge_deleted_secret"):
        client.begin_delete_secret("py-secret", **FAST).wait()
        client.purge_deleted_secret("py-secret")
        same(list(client.list_deleted_secrets()), [])


def public_key(jwk):
    return RSAPublicNumbers(int.from_bytes(jwk.e, "big"), int.from_bytes(jwk.n, "big")).public_key()


def keys():
    officer = Keeper("py-keys", "Key Vault Crypto Officer", "Key Vault Crypto User")
    other = Keeper("py-keys-reader", "Key Vault Secrets User")
    client = KeyClient(VAULT, officer.credential, **OPTIONS)
    with operation("KeyClient.create_rsa_key, get_key, list_properties_of_keys"):
        key = client.create_rsa_key("py-rsa", size=2048)
        same([key.key_type, client.get_key("py-rsa").id, key.key.d], ["RSA", key.id, None])
        check("py-rsa" in [k.name for k in client.list_properties_of_keys()])
    data = b"what is signed"
    digest = hashlib.sha256(data).digest()
    crypto = CryptographyClient(key.id, officer.credential, **OPTIONS)
    with operation("CryptographyClient.sign and verify, RS256 and PS256"):
        for algorithm, how in (
            (SignatureAlgorithm.rs256, padding.PKCS1v15()),
            (SignatureAlgorithm.ps256, padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)),
        ):
            signature = crypto.sign(algorithm, digest).signature
            public_key(key.key).verify(signature, data, how, hashes.SHA256())  # raises if it is not
            check(crypto.verify(algorithm, digest, signature).is_valid)
    with operation("CryptographyClient.wrap_key and unwrap_key, RSA-OAEP-256"):
        wrapped = crypto.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, b"0123456789abcdef")
        same(crypto.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped.encrypted_key).key, b"0123456789abcdef")
    with refused("CryptographyClient.sign without a role", "ForbiddenByRbac"):
        CryptographyClient(key.id, other.credential, **OPTIONS).sign(SignatureAlgorithm.rs256, digest)
    with refused("KeyClient.get_key that does not exist", "KeyNotFound"):
        client.get_key("py-none")
    with operation("KeyClient.begin_delete_key, purge_deleted_key"):
        check(client.begin_delete_key("py-rsa", **FAST).result().deleted_date)
        client.purge_deleted_key("py-rsa")


def certificates():
    officer = Keeper("py-certificates", "Key Vault Certificates Officer", "Key Vault Secrets User")
    client = CertificateClient(VAULT, officer.credential, **OPTIONS)
    secret = SecretClient(VAULT, officer.credential, **OPTIONS)
    with operation("CertificateClient.begin_create_certificate, self-signed; get_certificate"):
        policy = CertificatePolicy("Self", subject="CN=py-agent", key_type="RSA", key_size=2048, exportable=False, validity_in_months=12)
        made = client.begin_create_certificate("py-cert", policy, **FAST).result()
        same(x509.load_der_x509_certificate(bytes(made.cer)).subject.rfc4514_string(), "CN=py-agent")
        same(client.get_certificate("py-cert").properties.x509_thumbprint, hashlib.sha1(made.cer).digest())
    with operation("CertificateClient.get_certificate_policy, list_properties_of_certificates"):
        same(client.get_certificate_policy("py-cert").exportable, False)
        check("py-cert" in [c.name for c in client.list_properties_of_certificates()])
    with operation("SecretClient.get_secret of the certificate, which has no key: the policy keeps it inside"):
        inside = pkcs12.load_pkcs12(base64.b64decode(secret.get_secret("py-cert").value), None)
        same([inside.key, inside.cert or inside.additional_certs[0].certificate], [None, x509.load_der_x509_certificate(bytes(made.cer))])
    with refused("CertificateClient.begin_create_certificate that would let a key out that was to stay", "BadParameter"):
        loose = CertificatePolicy("Self", subject="CN=py-agent", key_type="RSA", key_size=2048, exportable=True, reuse_key=True, validity_in_months=12)
        client.begin_create_certificate("py-cert", loose, **FAST).result()
    with operation("CertificateClient.begin_delete_certificate, purge_deleted_certificate"):
        client.begin_delete_certificate("py-cert", **FAST).wait()
        client.purge_deleted_certificate("py-cert")
    with refused("CertificateClient.get_certificate that was deleted", "CertificateNotFound"):
        client.get_certificate("py-cert")
