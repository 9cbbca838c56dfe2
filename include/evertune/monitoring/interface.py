"""Evidently's own interface over the workspace of reports, for looking only.

``python -m evertune.monitoring.interface WORKSPACE --port N`` serves it; ``make up`` does so too. Evidently has no
login. So it listens on this machine only, answers only who asked for this machine (a page elsewhere whose name is made
to point here is refused), takes nothing that changes the workspace, and tells the browser to run no script but
Evidently's own files and to connect to nothing else. What it shows are figures; texts are only in the sealed pages of
:mod:`.report`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

HOSTS = ("127.0.0.1", "localhost", "[::1]")
_READS = re.compile(r"/api/v2/snapshots/[0-9a-f-]{36}/data_series_batch")
"""The one POST that changes nothing: dashboards ask for their lines with it."""
_PORT = re.compile(r":[0-9]+$")


def app(workspace: Path) -> App:
    """The interface behind its guard."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from evidently.ui.service import app as service

    workspace.mkdir(parents=True, exist_ok=True)
    return guarded(service.create_app(service.get_config(workspace=str(workspace))), policy())


def policy() -> str:
    """What a browser lets the pages do. The page's own inline scripts are allowed by their hashes, and no other."""
    from evidently.ui.service.api.static import BASE_PATH

    page = (Path(BASE_PATH) / "index.html").read_text("utf-8")
    hashes = [_hash(script) for script in re.findall(r"<script>(.*?)</script>", page, re.DOTALL)]
    return (
        f"default-src 'none'; script-src 'self' {' '.join(hashes)}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; manifest-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def guarded(inner: App, content_policy: str) -> App:
    """``inner`` for who asked for this machine and wants to look."""
    added = [
        (b"content-security-policy", content_policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    ]

    async def guard(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await inner(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message.get("headers", []) if name.lower() != b"set-cookie"]
                message["headers"] = [*kept, *added]
            await send(message)

        refusal = _refusal(scope)
        if refusal is None:
            await inner(scope, receive, with_policy)
        else:
            await _refuse(with_policy, *refusal)

    return guard


def _refusal(scope: Message) -> tuple[int, str] | None:
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    if _PORT.sub("", host) not in HOSTS:
        return 421, "Only this machine is answered, by 127.0.0.1 or localhost."
    if scope["method"] in ("GET", "HEAD") or (scope["method"] == "POST" and _READS.fullmatch(scope["path"])):
        return None
    return 403, "This interface is for looking only."


async def _refuse(send: Send, status: int, words: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": words.encode()})


def main() -> None:
    """Serve a workspace on this machine."""
    import uvicorn

    parser = argparse.ArgumentParser(description="Evidently's interface over the reports of traffic.")
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--port", type=int, default=8085)
    given = parser.parse_args()
    uvicorn.run(app(given.workspace), host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
