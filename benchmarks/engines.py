"""The engine's own code for matrix units (AMX) against ONNX Runtime, 8 bits, on the batches of a busy server.

    python -m benchmarks.engines [--pairs 9] [--project review-sentiment]

Wants a release, as `benchmarks.serving` does, and a processor with matrix units. Both engines answer the same texts, in
turn, from as many threads as there are cores, as the server's do; each in the batches that the server would make for it
of 16 texts that wait. Prints processor time a token (µs), texts a second and the labels that fp32 torch shares.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from benchmarks import serving
from benchmarks._machine import describe, spread
from numpy.typing import NDArray

from evertune import text
from evertune.models import bundle, classifier
from evertune.serving.engine import lanes, served, trial
from evertune.serving.engine.native.encoder import AmxModel
from evertune.serving.engine.served import Model, cores
from evertune.serving.engine.session import OnnxModel
from evertune.serving.shelf import ENGINE
from evertune.settings import load as load_settings

TOKENS, WAITING = trial.BATCH_TOKENS, 16
Rows = list[list[int]]


class Turn(NamedTuple):
    """One engine's pass over all batches."""

    us_a_token: float
    """Processor time, microseconds."""
    texts_a_s: float


def batches(rows: Rows, *, padded: bool) -> list[Rows]:
    """As the server takes them out of what waits."""
    waiting, rest, found = rows[:WAITING], rows[WAITING:], list[Rows]()
    while waiting:
        chosen = (lanes.choose if padded else lanes.fill)([len(row) for row in waiting], TOKENS)
        found.append([waiting[place] for place in chosen])
        waiting = [row for place, row in enumerate(waiting) if place not in set(chosen)]
        waiting, rest = waiting + rest[: len(chosen)], rest[len(chosen) :]
    return found


def turn(model: Model, all_batches: Sequence[Rows]) -> Turn:
    """Compute all of them once."""
    began, worked = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(model.run, all_batches))
    worked, took = time.process_time() - worked, time.perf_counter() - began
    tokens = sum(len(row) for batch in all_batches for row in batch)
    return Turn(worked * 1e6 / tokens, sum(map(len, all_batches)) / took)


def show_labels(sides: dict[str, Model], rows: Rows, wanted: NDArray[np.int64]) -> None:
    """How many labels each engine shares with fp32 torch."""
    for name, model in sides.items():
        found = served.in_batches(model, rows, TOKENS, cores())[0].argmax(1)
        print(f"{name}: the same label as fp32 torch on {(found == wanted).mean():.2%} of {len(rows):,} rows")


def compare(sides: dict[str, Model], rows: Rows, pairs: int) -> tuple[list[Turn], list[Turn]]:
    """Both in turn, the first time not counted."""
    work = {name: batches(rows, padded=model.padded) for name, model in sides.items()}
    found = [[turn(model, work[name]) for name, model in sides.items()] for _ in range(pairs + 1)][1:]
    own, other = zip(*found, strict=True)
    return list(own), list(other)


def main() -> int:
    """Measure, show; exit status 1 where own code is not the faster one."""
    parser = argparse.ArgumentParser(description="Own code for matrix units against ONNX Runtime.")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--project", default="review-sentiment")
    given = parser.parse_args()
    model = serving.model_of(load_settings(), given.project)
    folder, facts = model.bundle.parent / ENGINE, bundle.facts(model.bundle)
    if (kind := served.read_report(folder).kind) != "amx-bf16":
        raise SystemExit(f"The engine here is {kind}: this needs a processor with AMX, and a C compiler.")
    print(describe("onnxruntime", "torch"))
    sides: dict[str, Model] = {
        "own code": AmxModel(folder), "ONNX Runtime": OnnxModel(model.onnx, served.filler(model.bundle)),
    }  # fmt: skip
    tokenizer = text.load_tokenizer(model.bundle)
    texts = [*model.texts, *model.unseen]
    wanted = classifier.load(model.bundle).probabilities(texts).argmax(1)
    show_labels(sides, text.encode(tokenizer, texts, facts.max_tokens)[0], wanted)
    good = True
    print("\n| lengths | own code, µs a token | ONNX Runtime | times less | own code, texts/s | ONNX Runtime |")
    print("|---|---|---|---|---|---|")
    for lengths in serving.LENGTHS:
        rows = text.encode(tokenizer, serving.asked(model.texts, lengths), facts.max_tokens)[0]
        own, other = compare(sides, rows, given.pairs)
        ratios = [theirs.us_a_token / ours.us_a_token for ours, theirs in zip(own, other, strict=True)]
        good &= float(np.median(ratios)) > 1
        columns = [[one.us_a_token for one in own], [one.us_a_token for one in other], ratios]
        columns += [[one.texts_a_s for one in side] for side in (own, other)]
        print(f"| {lengths} | {' | '.join(map(spread, columns))} |")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
