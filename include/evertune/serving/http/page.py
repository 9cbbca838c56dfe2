"""The pages: ``/`` with each project's release, traffic and rolling F1 as pictures, ``/review`` to label answers.

Each is one document without any other.
"""

from __future__ import annotations

import html
import secrets
from functools import cache
from pathlib import Path

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse

OVERVIEW, REVIEW = "page.html", "review.html"
CONSOLE = "graphiql.html"
_PLACE = '<div id="swagger-ui">'
_NOT_LOADED = (
    '<p>Swagger UI has not been loaded: see the server. The document: <a href="/openapi.json">/openapi.json</a></p>'
)


@cache
def _document(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def documents(title: str) -> HTMLResponse:
    """The interactive documents of the REST interface: Swagger UI, which may ask this server and nobody else."""
    nonce = secrets.token_urlsafe(16)
    made = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=title,
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="data:,",
        swagger_ui_parameters={"validatorUrl": None},  # it would hand the document to swagger.io
    )
    document = bytes(made.body).decode().replace("<script", f'<script nonce="{nonce}"')
    return _program(document.replace(_PLACE, _PLACE + _NOT_LOADED), nonce)


def console(schema: str) -> HTMLResponse:
    """GraphiQL, which may ask this server and nobody else. ``schema`` is seen where it does not load."""
    nonce = secrets.token_urlsafe(16)
    return _program(_document(CONSOLE).replace("{{nonce}}", nonce).replace("{{schema}}", html.escape(schema)), nonce)


def _program(document: str, nonce: str) -> HTMLResponse:
    """A page whose program is not ours: it runs and styles what carries this answer's nonce, or comes from here."""
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self' 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(document, headers={"content-security-policy": policy, "cache-control": "no-store"})


def response(name: str = OVERVIEW) -> HTMLResponse:
    """The page. Only what carries this answer's nonce runs, and nothing is loaded but what this server tells."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"content-security-policy": policy, "cache-control": "no-store"}
    return HTMLResponse(_document(name).replace("{{nonce}}", nonce), headers=headers)
