"""Signatures of webhooks: how evertune signs what it posts, and how a receiver checks it.

A receiver copies this file or installs evertune::

    event = verify(secret, request.headers["evertune-signature"], request.body)

The signature is HMAC-SHA256 over the time of sending and the body's very bytes, so that a post that somebody recorded
is refused after a few minutes. What happened may be posted more than once: pass over an ``id`` that you have seen.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Sequence
from typing import Any

HEADER = "Evertune-Signature"
TOLERANCE_S = 300
_FORM = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


class SignatureError(ValueError):
    """The post is not from who knows the secret, or is too old."""


def sign(secret: str, body: bytes, at: float | None = None) -> str:
    """The header's value for this body, sent now."""
    moment = int(time.time() if at is None else at)
    return f"t={moment},v1={_digest(secret, moment, body)}"


def verify(
    secret: str | Sequence[str], header: str, body: bytes, *, tolerance_s: float = TOLERANCE_S, at: float | None = None
) -> dict[str, Any]:
    """The event in the body, where one of the secrets signed it; give two while you change to a new one.

    Raises :class:`SignatureError` otherwise. How long it takes tells nothing of the right signature.
    """
    found = _FORM.fullmatch(header.strip())
    if found is None:
        raise SignatureError(f"{HEADER} is not of the form t=SECONDS,v1=HEX.")
    moment, given = int(found[1]), found[2]
    if abs((time.time() if at is None else at) - moment) > tolerance_s:
        raise SignatureError("It was signed too long ago, or the clocks differ.")
    known = [secret] if isinstance(secret, str) else list(secret)
    if not any(hmac.compare_digest(_digest(one, moment, body), given) for one in known if one):
        raise SignatureError("It was not signed with this secret, or the body was changed.")
    event: dict[str, Any] = json.loads(body)
    return event


def _digest(secret: str, moment: int, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
