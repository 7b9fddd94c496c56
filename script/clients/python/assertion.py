"""A client assertion made by hand (RFC 7523), as Microsoft's page on certificate credentials describes it: PS256 and x5t#S256."""
import base64
import json
import time
import uuid

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cloud import LOGIN, TENANT, read


def text(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def assertion(app_id, cert, **changed):
    now = int(time.time())
    header = {"alg": "PS256", "typ": "JWT", "x5t#S256": text(bytes.fromhex(cert["sha256"]))}
    claims = {
        "aud": f"{LOGIN}/{TENANT}/oauth2/v2.0/token", "iss": app_id, "sub": app_id, "jti": str(uuid.uuid4()),
        "nbf": now, "iat": now, "exp": now + 300, **changed,
    }
    signed = ".".join(text(json.dumps(part).encode()) for part in (header, claims))
    key = load_pem_private_key(read(cert["key"]).encode(), None)
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.DIGEST_LENGTH)
    return f"{signed}.{text(key.sign(signed.encode(), pss, hashes.SHA256()))}"
