"""How many requests are let in at once, and of whom: asked of the guard alone, before an application that waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from tests.serving.http import world
from tests.serving.http.world import bearer

from evertune.serving.http.guard import Guard
from evertune.serving.http.limits import Limits


class Waiting:
    """Answers nobody until it is told to."""

    def __init__(self) -> None:
        self.inside = 0
        self.answers = asyncio.Event()

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        self.inside += 1
        await self.answers.wait()
        self.inside -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("path", "key", "at_once"),
    [("/v1/projects", "full", 3), ("/docs", "none", 4)],  # of four; without a key there is no share to be used up
)
def test_a_key_has_about_half_of_the_places_and_gets_them_back(
    tmp_path: Path, path: str, key: str, at_once: int
) -> None:
    async def check() -> None:
        app = Waiting()
        service = world.service(tmp_path, Limits(concurrency=4))
        transport = httpx.ASGITransport(Guard(app, service))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:

            def ask(name: str) -> asyncio.Task[httpx.Response]:
                return asyncio.ensure_future(client.get(path, headers=bearer(name)))

            for _ in range(3):
                app.answers.clear()
                asked = [ask(key) for _ in range(at_once)]
                await _until_inside(app, at_once)
                refused = await ask(key)
                assert (refused.status_code, refused.json()["type"]) == (503, "urn:evertune:overloaded")
                if at_once < 4:
                    asked.append(ask("all"))
                    await _until_inside(app, 4)
                app.answers.set()
                assert [(await one).status_code for one in asked] == [200] * 4
        await service.batcher.close()
        await service.log.close()

    asyncio.run(check())


async def _until_inside(app: Waiting, count: int) -> None:
    for _ in range(30_000):
        if app.inside == count:
            return
        await asyncio.sleep(0.002)
    raise AssertionError(f"{app.inside} are inside, not {count}")
