"""The page at ``/``: each project's release, traffic and rolling F1 as pictures, in one document without any other."""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path

from starlette.responses import HTMLResponse

_DOCUMENT = Path(__file__).with_name("page.html")


@cache
def _document() -> str:
    return _DOCUMENT.read_text("utf-8")


def response() -> HTMLResponse:
    """The page. Only what carries this answer's nonce runs, and nothing is loaded but the numbers."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"content-security-policy": policy, "cache-control": "no-store"}
    return HTMLResponse(_document().replace("{{nonce}}", nonce), headers=headers)
