"""How often the drift test alarms without a drift, what it finds, how fast, and in how much memory.

Real texts, embedded by MiniLM (see `_drift_data.py`); a kind of text that the reference has none of is mixed in. On
the same draws:

* evertune: the embedding signal's p-value as `monitoring.detect` gives it, at 5%;
* exact MMD: Gaussian kernel at the median distance, all pairs, 300 permutations;
* Evidently's methods for embeddings (model, distance, ratio, MMD), as they come and in a better setting;
* alibi-detect's MMD and classifier, where it can be imported.

Then delays by the sequential budget, one window of 20,000 rows against 20,000, and a million rows in the reference.

Run it: `python -m benchmarks.drift_power` (`--full` for 500 null repeats; `--banking FOLDER` adds Banking77).
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from benchmarks import _drift_data, _evidently_sides, _machine
from numpy.typing import NDArray

from evertune import settings
from evertune.monitoring import features, signals, twosample
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample

LEVEL = 0.05
Rows = NDArray[np.float32]
Test = Callable[[Sample, Sample, int], bool]


def ours(reference: Sample, window: Sample, seed: int) -> bool:
    return signals.embedding(Reference.of(reference), window, np.random.default_rng(seed)).p <= LEVEL


def exact(reference: Sample, window: Sample, seed: int) -> bool:
    """The permutation test on the whole kernel matrix."""
    pooled = features.unit(np.concatenate([reference.embeddings, window.embeddings]))
    apart = np.maximum(2 - 2 * pooled @ pooled.T, 0)
    kernel = np.exp(-apart / np.median(apart[np.triu_indices(len(apart), 1)]))
    rows, known = len(window), len(reference)
    sides = twosample.memberships(np.random.default_rng(seed), rows + known, rows)
    sides = np.concatenate([(np.arange(rows + known) >= known)[None].astype(np.float32), sides])
    steps = sides / np.float32(rows) - (1 - sides) / np.float32(known)
    found = ((steps @ kernel) * steps).sum(axis=1)
    return bool((found[1:] >= found[0]).sum() + 1 <= LEVEL * len(found))


def peer(side: _evidently_sides.Side) -> Test:
    return lambda reference, window, _: side(reference.embeddings, window.embeddings)


def rate(
    test: Test, world: _drift_data.World, sizes: tuple[int, int], share: float, repeats: int
) -> tuple[float, float]:
    """Share of alarms, and median seconds."""
    alarms, seconds = 0, []
    for repeat in range(repeats):
        drawn = world.draw(np.random.default_rng([17, *sizes, round(share * 100), repeat]), *sizes, share)
        began = time.perf_counter()
        alarms += test(*drawn, repeat)
        seconds.append(time.perf_counter() - began)
    return alarms / repeats, float(np.median(seconds))


def table(
    world: _drift_data.World,
    tests: dict[str, Test],
    sizes: list[tuple[int, int]],
    shares: list[float],
    repeats: tuple[int, int],
) -> dict[tuple[str, int, float], float]:
    """Print the rates of alarm for sizes of reference and window; ``repeats``: without and with a drift."""
    print(f"\n{world.name}, {len(world.usual.labels)} labels: alarms at a nominal 5%; {repeats[0]} null repeats, "
          f"{repeats[1]} others\n")  # fmt: skip
    print(f"| test | reference, window | no drift | {' | '.join(f'{share:.0%} new' for share in shares)} | seconds |")
    print("|---|---|---|" + "---|" * (len(shares) + 1), flush=True)
    found = {}
    for known, rows in sizes:
        for name, test in tests.items():
            alarms, seconds = rate(test, world, (known, rows), 0.0, repeats[0])
            cells = [alarms, *(rate(test, world, (known, rows), share, repeats[1])[0] for share in shares)]
            found.update({(name, rows, share): cell for share, cell in zip([0.0, *shares], cells, strict=True)})
            shown = " | ".join(f"{100 * cell:.1f}%" for cell in cells)
            print(f"| {name} | {known:,}, {rows:,} | {shown} | {seconds:.3f} |", flush=True)
    return found


def delays(world: _drift_data.World, known: int, windows: list[int], shares: list[float], repeats: int) -> None:
    """Windows until the evidence reaches 1, with the embedding signal alone and daily windows."""
    from evertune.monitoring.budget import advance, crossed
    from evertune.monitoring.detect import detect
    from evertune.project.monitoring_options import Monitoring, Signals
    from evertune.records.traffic import Evidence, Window

    off = dict.fromkeys(("output", "low_confidence", "label_mix", "f1", "errors"))
    options = Monitoring(signals=Signals.model_validate(off))
    most, start = 20, datetime(2026, 1, 1, tzinfo=UTC)
    print(f"\n{world.name}: daily windows until an alert (embeddings alone, at most {most})\n")
    print(
        f"| window | {' | '.join(f'{share:.0%} new' for share in shares)} |\n|---|" + "---|" * len(shares), flush=True
    )
    for rows in windows:
        cells = []
        for share in shares:
            needed = []
            for repeat in range(repeats):
                rng, evidence, raised = (
                    np.random.default_rng([18, rows, round(100 * share), repeat]),
                    Evidence(),
                    most + 1,
                )
                reference, _ = world.draw(rng, known, 1, 0)
                taken, summary = set(reference.ids), Reference.of(reference)
                left = world.usual.take(np.array([i for i, name in enumerate(world.usual.ids) if name not in taken]))
                rest = _drift_data.World(world.name, left, world.new)
                for number in range(1, most + 1):
                    _, traffic = rest.draw(rng, 0, rows, share)
                    until = start + timedelta(days=number)
                    window = Window(
                        project="p", number=number, generation=1, rows=rows, parts=(), labels_until=until,
                        since=until - timedelta(days=1), until=until, created=until,
                    )  # fmt: skip
                    said = detect(summary, traffic, Sample.empty(384, traffic.labels), options.signals, number)
                    evidence = advance(evidence, said, window, options)
                    if crossed(evidence, said):
                        raised = number
                        break
                needed.append(raised)
            middle = float(np.median(needed))
            cells.append(
                f"{middle:.0f} ({max(needed) if max(needed) <= most else 'none'})" if middle <= most else "none"
            )
        print(f"| {rows} | {' | '.join(cells)} |", flush=True)


def large(world: _drift_data.World, rows: int, pairs: int) -> float:
    """Our time on so many rows against so many, Evidently's MMD with bootstrap, and their ratio."""
    rng = np.random.default_rng(19)
    bank = np.concatenate([world.usual.embeddings, world.new.embeddings])
    drawn = [bank[rng.integers(0, len(bank), rows)] for _ in range(2)]
    drawn = [rows_ + rng.normal(0, 1e-3, rows_.shape).astype(np.float32) for rows_ in drawn]
    samples = [_plain(each) for each in drawn]
    summary = Reference.of(samples[0])
    mmd, found = _evidently_sides.sides()["Evidently MMD, bootstrap"], []
    for _ in range(pairs):
        began = time.perf_counter()
        signals.embedding(summary, samples[1], rng)
        middle = time.perf_counter()
        mmd(*drawn)
        found.append(((time.perf_counter() - middle) / (middle - began), middle - began, time.perf_counter() - middle))
    ratio, mine, theirs = (float(np.median(column)) for column in zip(*found, strict=True))
    print(
        f"\n{rows:,} against {rows:,} rows: evertune {mine:.2f} s (reference summed before), Evidently's MMD with "
        f"bootstrap {theirs:.1f} s: {ratio:.0f} × (range {min(r for r, *_ in found):.0f} to "
        f"{max(r for r, *_ in found):.0f}, {pairs} pairs)",
        flush=True,
    )
    return ratio


def memory(world: _drift_data.World, rows: int) -> float:
    """Peak memory that a reference of so many rows adds, in MB, made in pieces of 10,000."""
    piece = _plain(np.resize(world.usual.embeddings, (10_000, world.usual.embeddings.shape[1])))
    summary = Reference.of(piece)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    for part in range(rows // 10_000 - 1):
        texts = [f"{part} {place}" for place in range(10_000)]
        summary = summary.merge(Reference.of(_plain(piece.embeddings, texts)))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"Reference of {summary.rows:,} rows: {time.perf_counter() - began:.1f} s, peak memory {grown:+.0f} MB.")
    return grown


def _plain(embeddings: Rows, texts: list[str] | None = None) -> Sample:
    rows = len(embeddings)
    scores = np.tile([0.4, 0.6], (rows, 1))
    names = texts or [str(place) for place in range(rows)]
    return Sample(embeddings, scores, names, ("a", "b"), np.full(rows, -1), np.ones(rows))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--full", action="store_true", help="500 null repeats, all sizes, 20,000 against 20,000")
    options.add_argument("--repeats", type=int, help="null repeats of ours and of exact MMD")
    options.add_argument("--banking", type=Path, help="folder of Banking77: train.csv and test.csv")
    options.add_argument("--reference", type=int, default=1_000)
    options.add_argument("--windows", type=int, nargs="*", help="rows of a window")
    options.add_argument("--peers", type=int, default=40, help="repeats of each peer; 0 leaves them out")
    options.add_argument("--large", type=int, help="rows on each side where times are compared; 0 leaves it out")
    given, start = options.parse_args(), time.perf_counter()
    home = settings.load().home
    null = given.repeats or (500 if given.full else 100)
    windows = given.windows or ([50, 100, 200, 500, 1_000] if given.full else [50, 200, 500])
    shares = [0.05, 0.1, 0.2, 0.5]
    print(_machine.describe("numpy", "scipy", "evidently"))
    worlds = [_drift_data.opinions(home), *([_drift_data.intents(given.banking, home)] if given.banking else [])]
    peers = {name: peer(side) for name, side in (_evidently_sides.sides() | _evidently_sides.alibi()).items()}
    if not _evidently_sides.alibi():
        print("alibi-detect cannot be imported here (see requirements-peers.txt): it is left out.")
    false, lost = [], [0.0]
    for world in worlds:
        both: dict[str, Test] = {"evertune": ours, "exact MMD": exact}
        found = table(world, both, [(given.reference, rows) for rows in windows], shares, (null, max(null // 2, 1)))
        false += [found["evertune", rows, 0.0] for rows in windows]
        lost += [
            found["exact MMD", rows, share] - found["evertune", rows, share] for rows in windows for share in shares
        ]
        if given.peers:
            some = [(given.reference, rows) for rows in windows if rows in (200, 500)]
            table(world, peers, some, shares[1:3], (given.peers, given.peers))
        delays(world, given.reference, [rows for rows in windows if rows >= 100], shares, 20 if given.full else 5)
    grown = memory(worlds[0], 1_000_000 if given.full else 100_000)
    rows = (20_000 if given.full else 3_000) if given.large is None else given.large
    ratio = large(worlds[0], rows, 5 if rows <= 5_000 else 1) if rows else math.nan
    print(
        f"\nFalse alarms {100 * min(false):.1f} to {100 * max(false):.1f}% (3 to 7% wanted); power at most "
        f"{100 * max(lost):.1f} points below exact MMD's (5 allowed); {ratio:.0f} × as fast as Evidently's MMD at "
        f"{rows:,} (50 wanted at 20,000); {grown:+.0f} MB. {time.perf_counter() - start:.0f} s in all."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
