"""How often the drift test alarms without a drift, what it finds, how fast, and in how much memory.

Real texts, embedded by MiniLM (see `_drift_data.py`); a kind of text that the reference has none of is mixed in. On
the same draws:

* evertune: the embedding signal's p-value as `monitoring.detect` gives it, at 5%;
* exact MMD: Gaussian kernel at the median distance, all pairs, 300 permutations;
* Evidently's methods for embeddings (model, distance, ratio, MMD), as they come and in a better setting;
* alibi-detect's MMD and classifier, in a virtual environment of their own that the first run makes (`--no-alibi`).

Then delays by the sequential budget, one window of 20,000 rows against 20,000, and a million rows in the reference.

Run it: `python -m benchmarks.drift_power` (`--full` for 500 null repeats; `--banking FOLDER` adds Banking77).
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmarks import _alibi_sides, _drift_data, _drift_sizes, _evidently_sides, _machine

from evertune import settings
from evertune.monitoring import features, signals, twosample
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample

LEVEL = 0.05
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


def peers(
    worlds: list[_drift_data.World],
    sizes: list[tuple[int, int]],
    shares: list[float],
    repeats: int,
    folder: Path | None,
) -> None:
    """Print what the others find, alibi-detect's with the environment in ``folder``."""
    with contextlib.ExitStack() as stack:
        there = _evidently_sides.sides()
        if folder is not None:
            there |= stack.enter_context(_alibi_sides.sides(folder))
        for world in worlds:
            table(world, {name: peer(side) for name, side in there.items()}, sizes, shares, (repeats, repeats))


class Figures(NamedTuple):
    """What was measured."""

    false: list[float]
    repeats: int
    lost: float
    """Largest loss of power against exact MMD."""
    ratio: float
    """Evidently's seconds to ours, at ``rows`` against as many."""
    rows: int
    grown: float
    """Memory, in MB."""


class Reached(NamedTuple):
    """A target, and whether the figures meet it; ``None`` where the run was too small to tell."""

    what: str
    met: bool | None


_WORDS = {True: "met", False: "MISSED", None: "not measured"}


def reached(figures: Figures) -> list[Reached]:
    """What was to be reached, as far as this run measured it: a rate of few repeats only within what chance does."""
    false, repeats, lost, ratio, rows, grown = figures
    noise = 2 * math.sqrt(LEVEL * (1 - LEVEL) / repeats)
    low, high = min(false), max(false)
    found = [
        Reached(
            f"false alarms {100 * low:.1f} to {100 * high:.1f}% (3 to 7% wanted, {100 * noise:.1f} points of chance)",
            0.03 - noise <= low and high <= 0.07 + noise,
        ),
        Reached(f"power at most {100 * lost:.1f} points below exact MMD's (5 allowed)", lost <= 0.05),
        Reached(f"{grown:+.0f} MB for a large reference (200 allowed)", grown <= 200),
    ]
    if rows:
        told = f"{ratio:.0f} × as fast as Evidently's MMD at {rows:,} (50 wanted at 20,000)"
        found.append(Reached(told, ratio >= 50 if rows >= 20_000 else None))
    return found


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="500 null repeats, all sizes, 20,000 against 20,000")
    parser.add_argument("--repeats", type=int, help="null repeats of ours and of exact MMD")
    parser.add_argument("--banking", type=Path, help="folder of Banking77: train.csv and test.csv")
    parser.add_argument("--reference", type=int, default=1_000)
    parser.add_argument("--windows", type=int, nargs="*", help="rows of a window")
    parser.add_argument("--peers", type=int, default=40, help="repeats of each peer; 0 leaves them out")
    parser.add_argument("--no-alibi", action="store_true", help="leave alibi-detect out: it loads a gigabyte")
    parser.add_argument("--large", type=int, help="rows on each side where times are compared; 0 leaves it out")
    parser.add_argument("--pairs", type=int, default=5, help="times that both are timed there, in turn")
    return parser.parse_args()


def main() -> int:
    given, start = options(), time.perf_counter()
    home = settings.load().home
    null = given.repeats or (500 if given.full else 100)
    windows = given.windows or ([50, 100, 200, 500, 1_000] if given.full else [50, 200, 500])
    shares = [0.05, 0.1, 0.2, 0.5]
    print(_machine.describe("numpy", "scipy", "evidently"))
    worlds = [_drift_data.opinions(home), *([_drift_data.intents(given.banking, home)] if given.banking else [])]
    false, lost = [], [0.0]
    for world in worlds:
        both: dict[str, Test] = {"evertune": ours, "exact MMD": exact}
        found = table(world, both, [(given.reference, rows) for rows in windows], shares, (null, max(null // 2, 1)))
        false += [found["evertune", rows, 0.0] for rows in windows]
        lost += [
            found["exact MMD", rows, share] - found["evertune", rows, share] for rows in windows for share in shares
        ]
        delays(world, given.reference, [rows for rows in windows if rows >= 100], shares, 20 if given.full else 5)
    if given.peers:
        some = [(given.reference, rows) for rows in windows if rows in (200, 500)]
        folder = None if given.no_alibi else home / "cache" / "benchmark-drift-peers"
        peers(worlds, some, shares[1:3], given.peers, folder)
    grown = _drift_sizes.memory(worlds[0], 1_000_000 if given.full else 100_000)
    rows = (20_000 if given.full else 3_000) if given.large is None else given.large
    ratio = _drift_sizes.large(worlds[0], rows, given.pairs) if rows else math.nan
    targets = reached(Figures(false, null, max(lost), ratio, rows, grown))
    print()
    for target in targets:
        print(f"{_WORDS[target.met]}: {target.what}")
    print(f"{time.perf_counter() - start:.0f} s in all.")
    return 1 if any(target.met is False for target in targets) else 0


if __name__ == "__main__":
    sys.exit(main())
