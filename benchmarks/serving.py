"""Requests a second and latency of one text a request, against `mlflow models serve`, LitServe and BentoML.

    python -m benchmarks.serving [--rounds 3] [--seconds 5] [--clients 1,16,64] [--project review-sentiment]

Wants a release: `make demo`, or `evertune run review-sentiment`, in the same EVERTUNE_HOME. All servers answer with its
model, one after the other, turn and turn about, closed loops of clients on the same machine. LitServe and BentoML run
with torch as their guides have it and with evertune's own int8 file, in batches; the best of theirs is the peer. They
write no log and ask for no key; evertune does both. Exit status 1: a target was missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pyarrow.parquet as pq
from benchmarks import _load, _servers
from benchmarks._machine import describe, spread
from benchmarks._servers import Server

from evertune import files
from evertune.ledger import engine as engines
from evertune.ledger import keys, releases
from evertune.loop.followed import served_here
from evertune.models import classifier
from evertune.models.classifier import macro_f1
from evertune.releases import mlflow
from evertune.serving.engine import convert, served
from evertune.serving.engine.served import MODEL
from evertune.serving.shelf import BUNDLE, CHECKS, ENGINE, Shelf
from evertune.settings import Settings
from evertune.settings import load as load_settings

AT = 16
"""Clients at which the targets are set."""
OVER_MLFLOW = 8.0
SAME_LABELS, F1_LOSS = 0.99, 0.003
LENGTHS = ("short", "mixed")
Cell = tuple[str, str, int]
"""Server, lengths, clients."""


class Model(NamedTuple):
    """The release that is served, as files."""

    bundle: Path
    onnx: Path
    version: Path
    """The folder of the registered version, as MLflow serves it."""
    texts: list[str]
    truth: list[int]
    unseen: list[str]
    """Texts of the validation split, of which the conversion to 8 bits has seen none."""


def model_of(settings: Settings, slug: str) -> Model:
    """The release of the project and its check rows."""
    release = releases.current(engines.ready(settings.database_url), slug)
    if release is None:
        raise SystemExit(f"{slug} has no release in {settings.home}: run `evertune run {slug}` first.")
    served_here(settings, release)
    place = Shelf(settings.home, slug).place(release.generation)
    rows = pq.read_table(place / CHECKS).to_pydict()
    folder = mlflow.version_folder(settings, slug, release.model_version)
    split = settings.runs / release.run_key / "data" / slug / "dataset" / "validation.parquet"
    unseen = pq.read_table(split)["text"].to_pylist() if split.is_file() else []
    onnx = portable(settings, place, release.digest) / MODEL
    return Model(place / BUNDLE, onnx, folder, rows["text"], rows["truth"], unseen)


def portable(settings: Settings, place: Path, digest: str) -> Path:
    """The folder of the release's engine for ONNX Runtime, which on some processors evertune does not serve itself."""
    to = settings.cache / "benchmark-engines" / digest
    if not to.exists():
        allowed = served.read_report(place / ENGINE).allowed_loss
        with files.new_folder(to) as aside:
            convert.convert(place / BUNDLE, digest, place / CHECKS, allowed, aside, portable=True)
    return to


def servers(settings: Settings, slug: str, model: Model, key: str) -> list[Server]:
    """Ours, MLflow's, and each other peer in several settings."""
    python = _servers.peers(settings.cache / "benchmark-peers")
    torch = {"PEER_BUNDLE": str(model.bundle)}
    onnx = {**torch, "PEER_ONNX": str(model.onnx)}
    batches = {"PEER_BATCH": "16", "PEER_WAIT_MS": "5"}
    return [
        _servers.evertune(slug, key, settings.home),
        _servers.mlflow(model.version),
        _servers.litserve(python, {**torch, **batches}),
        _servers.litserve(python, {**onnx, **batches, "PEER_FAST_QUEUE": "1"}),
        _servers.litserve(python, {**onnx, "PEER_WORKERS": "2"}),
        _servers.bentoml(python, {**torch, "PEER_BATCH": "16", "PEER_WAIT_MS": "100"}),
        _servers.bentoml(python, {**onnx, "PEER_BATCH": "16", "PEER_WAIT_MS": "100"}),
        _servers.bentoml(python, {**onnx, "PEER_WORKERS": "2"}),
    ]


def asked(texts: Sequence[str], lengths: str) -> list[str]:
    """Single sentences, or one to six of them in a text."""
    if lengths == "short":
        return list(texts[:500])
    chance = np.random.default_rng(17)
    return [" ".join(chance.choice(texts, chance.integers(1, 7))) for _ in range(500)]


def measure(given: argparse.Namespace, all_servers: Sequence[Server], model: Model) -> dict[Cell, list[_load.Result]]:
    """All cells, turn and turn about."""
    found: dict[Cell, list[_load.Result]] = defaultdict(list)
    for turn in range(given.rounds):
        for server in all_servers:
            port = _servers.free_port()
            with _servers.running(server, port) as process:
                for lengths in LENGTHS:
                    for clients in given.clients:
                        order = _load.Order(
                            port, server.path, [server.body(text) for text in asked(model.texts, lengths)],
                            clients, given.seconds, headers=server.headers,
                        )  # fmt: skip
                        found[server.name, lengths, clients].append(_load.run(order))
                told = found[server.name, "short", AT][-1] if AT in given.clients else None
                shown = f"{told.per_s:.0f}/s, p99 {told.p99_ms:.0f} ms" if told else ""
                memory = _servers.memory_mb(process)
                print(f"round {turn + 1}: {server.name}: {shown}, {memory:.0f} MB", file=sys.stderr, flush=True)
    return found


def show(found: dict[Cell, list[_load.Result]]) -> None:
    """The table, medians over the rounds."""
    print("\n| server | lengths | clients | requests/s | p50 ms | p99 ms | failed |\n|---|---|---|---|---|---|---|")
    for (name, lengths, clients), runs in found.items():
        rate = spread([run.per_s for run in runs])
        p50, p99 = (
            statistics.median(values) for values in zip(*((run.p50_ms, run.p99_ms) for run in runs), strict=True)
        )
        print(
            f"| {name} | {lengths} | {clients} | {rate} | {p50:.1f} | {p99:.1f} | {sum(run.failed for run in runs)} |"
        )


def judge(found: dict[Cell, list[_load.Result]], names: Sequence[str]) -> bool:
    """Print the ratios at 16 clients; whether each target is reached."""
    ours, reached = names[0], True
    for lengths in LENGTHS:
        mine = found[ours, lengths, AT]
        others = {name: found[name, lengths, AT] for name in names[1:]}
        against = next(name for name in others if name.startswith("mlflow"))
        best = max((name for name in others if name != against), key=lambda name: _median(others[name]))
        for name, target in ((against, OVER_MLFLOW), (best, 1.0)):
            ratios = [one.per_s / other.per_s for one, other in zip(mine, others[name], strict=True)]
            tails = [one.p99_ms / other.p99_ms for one, other in zip(mine, others[name], strict=True)]
            good = statistics.median(ratios) >= target and (name != against or statistics.median(tails) < 1)
            reached &= good
            print(f"{lengths}, {AT} clients, against {name}: requests/s {spread(ratios)} times, p99 {spread(tails)} "
                  f"times; target {target}: {'reached' if good else 'MISSED'}")  # fmt: skip
    return reached


def _median(runs: Sequence[_load.Result]) -> float:
    return statistics.median(run.per_s for run in runs)


def same_answers(server: Server, model: Model) -> bool:
    """Whether the server answers the check rows as the fp32 torch model does, by both bounds. Tells of others, too."""
    port = _servers.free_port()
    labels: list[str] = []
    texts = [*model.texts, *model.unseen]
    with _servers.running(server, port), httpx.Client(headers=dict(server.headers), timeout=60) as client:
        for start in range(0, len(texts), 32):
            body = {"texts": texts[start : start + 32]}
            answer = client.post(f"http://127.0.0.1:{port}{server.path}", json=body).raise_for_status().json()
            labels += [one["label"] for one in answer["predictions"]]
    fp32 = classifier.load(model.bundle)
    all_theirs = fp32.probabilities(texts).argmax(1)
    all_ours = np.array([fp32.labels.index(label) for label in labels])
    truth, classes = np.array(model.truth), len(fp32.labels)
    ours, theirs = all_ours[: len(truth)], all_theirs[: len(truth)]
    if model.unseen:
        same = float((all_ours == all_theirs)[len(truth) :].mean())
        print(f"the same label on {same:.2%} of {len(model.unseen):,} rows that the conversion has not seen")
    agreement = float((ours == theirs).mean())
    loss = macro_f1(truth, theirs, classes) - macro_f1(truth, ours, classes)
    good = agreement >= SAME_LABELS and loss <= F1_LOSS
    print(f"the same label as fp32 torch on {agreement:.2%} of {len(truth):,} test rows, macro F1 {loss * 100:+.2f} "
          f"points lower; at least 99%, at most 0.3: {'reached' if good else 'MISSED'}")  # fmt: skip
    return good


def main() -> int:
    """Measure, show, judge."""
    parser = argparse.ArgumentParser(description="Serving speed against mlflow models serve, LitServe and BentoML.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--clients", type=lambda text: [int(one) for one in text.split(",")], default=[1, 16, 64])
    parser.add_argument("--project", default="review-sentiment")
    parser.add_argument("--only", default="", help="servers whose name has this in it, and evertune")
    given = parser.parse_args()
    settings = load_settings()
    print(describe("onnxruntime", "torch", "transformers", "mlflow", "fastapi", "uvicorn"))
    model = model_of(settings, given.project)
    made, key = keys.create(
        engines.ready(settings.database_url), name="benchmark", projects=[given.project], scopes=["predict"],
        by="benchmark", rate_per_s=100_000,
    )  # fmt: skip
    try:
        wanted = servers(settings, given.project, model, key)
        wanted = [wanted[0], *(one for one in wanted[1:] if given.only in one.name)]
        good = same_answers(wanted[0], model)
        found = measure(given, wanted, model)
    finally:
        keys.revoke(engines.ready(settings.database_url), made.id, by="benchmark")
    show(found)
    if AT in given.clients and not given.only:
        good &= judge(found, [one.name for one in wanted])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
