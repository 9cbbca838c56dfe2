"""The process that `test_server.py` starts and tells to stop: a server whose model waits for a file."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import uvicorn
from tests.serving.http import world

from evertune.serving.engine.served import Floats
from evertune.serving.http.app import app
from evertune.serving.http.limits import Limits
from evertune.serving.http.server import Server


class Waiting(world.Words):
    """Answers nothing before the event."""

    def __init__(self, go: threading.Event) -> None:
        super().__init__()
        self._go = go

    def run(self, rows: Sequence[Sequence[int]], *, alone: bool = False) -> tuple[Floats, Floats]:
        self._go.wait()
        return super().run(rows)


def main() -> None:
    home, port = Path(sys.argv[1]), int(sys.argv[2])
    service, go = world.service(home, Limits(deadline_s=120)), threading.Event()
    served = service.live.get(world.REVIEWS)
    assert served is not None
    service.live.switch(replace(served, model=Waiting(go)))
    config = uvicorn.Config(app(service), port=port, log_level="warning", access_log=False)
    server = Server(config, service, linger_s=600)

    def release() -> None:
        while not (home / "go").exists():
            time.sleep(0.02)
        go.set()
        server.should_exit = True  # it has lingered long enough

    threading.Thread(target=release, daemon=True).start()
    server.run()
    print("ended", service.batcher.depth, flush=True)


if __name__ == "__main__":
    main()
