"""JSON lines to whoever runs the suite, and one line back for each: the runner then knows which requests belong to which operation."""
import contextlib
import json
import sys
import traceback


def say(**message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError("the runner does not answer any more")
    return json.loads(line)


class Reported(Exception):
    """Raised after a failure that the runner knows of already: what comes after it in the same part needs its result."""


@contextlib.contextmanager
def operation(name):
    """The body must succeed."""
    try:
        yield
    except Exception as error:
        say(op=name, ok=False, text=traceback.format_exc()[-2000:])
        raise Reported(name) from error
    say(op=name, ok=True, text="")


@contextlib.contextmanager
def refused(name, code):
    """The body must fail, and the client's own error must carry the code."""
    text = ""
    try:
        yield
    except Exception as error:  # whatever a client raises
        text = told(error)
    say(op=name, negative=True, code=code, text=text)


def told(error):
    """What a program that catches the error can print of it. Key Vault's clients keep the inner code, which says why, apart."""
    inner = getattr(getattr(error, "error", None), "innererror", None) or {}
    return " ".join(filter(None, [type(error).__name__, inner.get("code"), str(error)]))


def part(f):
    """Runs operations that build on each other; when one fails, the next part goes on."""
    try:
        f()
    except Reported:
        pass
    except Exception:
        say(op=f.__name__, ok=False, text=traceback.format_exc()[-2000:])


def management(request, body):
    """Sends a request of the management API, which only the runner has the token for."""
    answer = say(do=request, body=body)
    if not 200 <= answer["status"] < 300:
        raise RuntimeError(f"{request}: {answer}")
    return answer["body"]


def certificate(name, seconds=3600):
    """A fresh key with a self-signed certificate: both, key and cert are PEM files, sha1 and sha256 hexadecimal."""
    return say(do="certificate", name=name, seconds=seconds)


def identity(resource):
    """Where the resource finds its managed identities: identity_endpoint, identity_header, imds."""
    return say(do="identity", resource=resource)


def federated(subject, audience="api://AzureADTokenExchange"):
    """A token of the runner's own OpenID Connect issuer: issuer, token."""
    return say(do="issuer.token", issuer="main", subject=subject, audience=audience)


@contextlib.contextmanager
def throttled():
    """In the body, every request is turned away."""
    management("PATCH /knobs", {"throttle_rate": 1, "retry_after_share": 0})
    try:
        yield
    finally:
        management("PATCH /knobs", {"throttle_rate": 0})
