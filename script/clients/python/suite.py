"""Microsoft's Python clients, as Debian packages them, against a Leastkey local cloud. `go test ./internal/testkit/clients` starts this
program and answers it; see protocol.py. What it makes stays, for the cloud that it uses is its own."""
import logging
import sys

from arm import arm_refusals, groups, managed, roles, vaults_of_arm
from graph import applications, service_principals
from identity import credentials, federation
from managed_identity import managed_identities
from msal_clients import msal
from protocol import part
from refusals import refusals
from vault import certificates, keys, secrets

logging.getLogger("azure").setLevel(logging.CRITICAL)  # the refusals are meant

PARTS = [
    credentials, refusals, msal, federation, managed_identities,
    applications, service_principals,
    groups, roles, managed, vaults_of_arm, arm_refusals,
    secrets, keys, certificates,
]
for each in PARTS:
    if len(sys.argv) == 1 or each.__name__ in sys.argv[1:]:
        part(each)
