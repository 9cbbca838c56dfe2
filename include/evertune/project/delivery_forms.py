"""Further forms that a text in a project file can have: a time of day, the name of a secret, a webhook's address.

Like :mod:`.forms`: each check takes the text, returns it, and raises an error that says what was expected.
"""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from evertune.project.forms import unfit

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_SECRET = re.compile(r"\$\{secret:[A-Z][A-Z0-9_]*\}")


def day_time(text: str) -> str:
    """A minute of the day on a clock of 24 hours."""
    if not _TIME.fullmatch(text):
        raise unfit(f"expected a time of day from 00:00 to 23:59, in quotation marks; found {text!r}")
    return text


def secret_name(text: str) -> str:
    """A reference to a secret; the secret itself is never in the file, and so never in this error."""
    if not _SECRET.fullmatch(text):
        raise unfit("expected ${secret:NAME} with a name in capitals; the secret itself does not belong in this file")
    return text


def webhook_url(text: str) -> str:
    """An address to post to: HTTPS, or HTTP on this machine, without user and password in it."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError as fault:
        raise unfit(
            f"expected an address such as https://example.org/hook; found one that is none ({fault})"
        ) from fault
    if not host or re.search(r"[\s\x00-\x1f]", text):
        raise unfit("expected an address such as https://example.org/hook")
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        raise unfit(f"expected https://…, or http://… on this machine; found {parts.scheme}://{host}")
    if parts.username or parts.password:
        raise unfit("expected an address without user and password; posts are signed with the secret")
    return text


DayTime = Annotated[str, AfterValidator(day_time)]
SecretName = Annotated[str, AfterValidator(secret_name)]
WebhookUrl = Annotated[str, AfterValidator(webhook_url)]
