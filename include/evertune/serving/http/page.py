"""The pages: ``/`` with each project's release, traffic and rolling F1 as pictures, ``/review`` to label answers.

Each is one document without any other.
"""

from __future__ import annotations

import secrets
from functools import cache
from pathlib import Path

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse

OVERVIEW, REVIEW = "page.html", "review.html"
_CDN = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/"


@cache
def _document(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def documents(title: str) -> HTMLResponse:
    """The interactive documents of the REST interface, whose program the browser loads from cdn.jsdelivr.net.

    That program may read this server's document and ask what a person has it ask, and nothing else.
    """
    nonce = secrets.token_urlsafe(16)
    html = get_swagger_ui_html(openapi_url="/openapi.json", title=title, swagger_favicon_url="data:,")
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}' {_CDN}; style-src 'unsafe-inline' {_CDN}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    body = bytes(html.body).decode().replace("<script>", f'<script nonce="{nonce}">')
    return HTMLResponse(body, headers={"content-security-policy": policy})


def response(name: str = OVERVIEW) -> HTMLResponse:
    """The page. Only what carries this answer's nonce runs, and nothing is loaded but what this server tells."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"content-security-policy": policy, "cache-control": "no-store"}
    return HTMLResponse(_document(name).replace("{{nonce}}", nonce), headers=headers)
