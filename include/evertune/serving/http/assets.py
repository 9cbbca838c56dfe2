"""Swagger UI and GraphiQL out of installed packages: their pages load nothing from elsewhere, and so work offline.

The packages are only read: nothing of them is imported.
"""

from __future__ import annotations

import asyncio
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from starlette.responses import Response

_SCRIPT, _STYLE = "text/javascript", "text/css"
_SWAGGER = "fastapi_offline"
_GRAPHIQL = "graphene_django_graphiql_static"


class Asset(NamedTuple):
    """A file of a package."""

    package: str
    file: str
    media_type: str


ASSETS = {
    "/docs/swagger-ui-bundle.js": Asset(_SWAGGER, "static/swagger-ui-bundle.js", _SCRIPT),
    "/docs/swagger-ui.css": Asset(_SWAGGER, "static/swagger-ui.css", _STYLE),
    **{
        f"/graphql/{name}": Asset(_GRAPHIQL, f"static/{_GRAPHIQL}/{name}", kind)
        for name, kind in (
            ("react.production.min.js", _SCRIPT),
            ("react-dom.production.min.js", _SCRIPT),
            ("graphiql.min.js", _SCRIPT),
            ("graphiql.min.css", _STYLE),
        )
    },
}
"""Path → what is given out there, to whom the pages are."""


async def response(path: str) -> Response:
    """The file of this path, always whole: Starlette's own answer refuses a wrong ``Range`` in plain text."""
    asset = ASSETS[path]
    content = await asyncio.to_thread(_content, asset)
    return Response(content, media_type=asset.media_type, headers={"cache-control": "private, max-age=3600"})


@cache
def _content(asset: Asset) -> bytes:
    """Kept, so that many who read slowly share one copy: 3 MB in all."""
    return (_folder(asset.package) / asset.file).read_bytes()


@cache
def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"The package {package} is not installed. Install what requirements.lock names.")
    return Path(spec.origin).parent
