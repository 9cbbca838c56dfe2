"""The process that `test_server.py` starts and tells to stop: a server whose model takes its time."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import uvicorn
from tests.serving.http import world

from evertune.serving.engine.served import Floats
from evertune.serving.http.app import app
from evertune.serving.http.server import Server


class Slow(world.Words):
    def run(self, rows: Sequence[Sequence[int]], *, alone: bool = False) -> tuple[Floats, Floats]:
        time.sleep(1.5)
        return super().run(rows)


def main() -> None:
    home, port = Path(sys.argv[1]), int(sys.argv[2])
    service = world.service(home)
    served = service.live.get(world.REVIEWS)
    assert served is not None
    service.live.switch(replace(served, model=Slow()))
    config = uvicorn.Config(app(service), port=port, log_level="warning", access_log=False)
    Server(config, service, linger_s=3.0).run()
    print("ended", service.batcher.depth, flush=True)


if __name__ == "__main__":
    main()
