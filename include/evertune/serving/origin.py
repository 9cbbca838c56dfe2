"""Where a server's releases come from: the ledger and MLflow, as the follower needs them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from evertune.records import JsonObject, Release
from evertune.serving.engine.report import EngineReport


class Fetched(NamedTuple):
    """A release's files, verified: signature and digest."""

    bundle: Path
    """``to / "bundle"``."""
    checks: Path | None
    """``to / "checks.parquet"``, or ``None`` where the version has none."""
    about: JsonObject
    """Card, metrics, data version: what people see of the release."""
    allowed_loss: float
    """Macro F1 that 8 bits may cost, as the project says."""


class Releases(Protocol):
    """What is released, what belongs to a release, and who is to know what answers here."""

    def current(self) -> dict[str, Release]:
        """The newest generation of each project. Raises :class:`UnreachableError` where the ledger is away."""
        ...

    def fetch(self, release: Release, to: Path) -> Fetched:
        """Bring the release's files below the folder ``to``, each whole or not at all, and verify them."""
        ...

    def report(self, slug: str, generation: int, engine: EngineReport | None, refusal: str | None) -> None:
        """Tell the ledger what answers here, or what was refused and why."""
        ...
