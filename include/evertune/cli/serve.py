"""``evertune serve``: the champions answer over REST and GraphQL."""

from __future__ import annotations

from typing import Annotated

import typer

from evertune.cli import output
from evertune.settings import load as load_settings


def command(  # noqa: PLR0917 - the command's options
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback, put TLS before it.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks for a newer release.")] = 2.0,
    segment: Annotated[
        float, typer.Option(min=1, max=3600, help="Seconds until traffic is closed off for the monitor to see.")
    ] = 60.0,
    closed: Annotated[
        bool, typer.Option("--closed", help="Nothing but health without a key on loopback either: behind a proxy.")
    ] = False,
    json: output.Json = False,
) -> None:
    """Serve every project that has a release, until SIGTERM or Ctrl-C; what was accepted is answered first.

    A request needs a key: `evertune keys create`. On loopback the page at /, /docs and /metrics need none, unless a
    proxy says that it hands the request on; one that does not say so needs `--closed` here.
    """
    from evertune.loop import serve

    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}"

    def tell() -> None:
        if json:
            output.print_json({"address": address})
        else:
            output.notes.print(f"evertune serves at {address} (Ctrl-C ends it)", markup=False, highlight=False)

    options = serve.Options(host=host, port=port, poll_s=poll, segment_s=segment, closed=closed)
    serve.serve(load_settings(), options, on_listening=tell)
