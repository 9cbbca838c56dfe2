"""Fine-tuning speed against transformers.Trainer (+ PEFT): MiniLM, two classes, Amazon review sentences.

    python -m benchmarks.tuning [--pairs 5] [--rows 400] [--only full,bf16,lora] [--base FOLDER]
    python -m benchmarks.tuning --quality [--seeds 17,1,2] [--epochs 3]

Speed: both sides train on the same rows and ids, A B A B …, loading and evaluation left out; real tokens per second.
Quality (`--quality`, minutes): both train on all rows, once with each seed; held-out log loss and macro F1 four times
an epoch, and the seconds of training after which evertune's held-out loss is at or below the peer's best one. Exit
status 1: a target was missed, or F1 is not equal.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmarks import _tuning_sides as sides
from benchmarks._machine import describe, spread

from evertune.models import bases
from evertune.settings import load

RATES: dict[str, dict[str, float]] = {"full": {"learning_rate": 2e-4}, "lora": {}}
"""Of ours in `--quality`: full batches are five times the peer's, and take a larger step. Adapters: the defaults.
Everything else, batches too, is as it comes everywhere here."""
PEER_RATES: dict[str, dict[str, float]] = {"full": {}, "lora": {"learning_rate": 1e-3}}
"""Of the peer: its own of 5e-5 hardly moves adapters, so it is given what suits them."""
EQUAL_F1 = 0.01
"""F1 on 600 held-out rows moves by more than this from one seed to the next."""


class Match(NamedTuple):
    """One comparison: our settings against the peer's, and the ratio that is to be reached."""

    method: str
    peer: str
    arguments: dict[str, Any]
    target: float


MATCHES = {
    "full": Match("full", "Trainer as it comes (batch 8)", {}, 5.0),
    "bf16": Match("full", "Trainer with bf16=True", {"bf16": True}, 2.0),
    "best": Match("full", "Trainer, batch 32, grouped by length", {
        "per_device_train_batch_size": 32, "train_sampling_strategy": "group_by_length"}, 0.0),
    "lora": Match("lora", "Trainer + PEFT as they come (r 8, all linear layers)", {"lora": True}, 5.0),
}  # fmt: skip
"""``best`` has no target: it is the peer in the best configuration that its documentation names."""


def main() -> int:
    """Measure what was asked for; status 1 where a target is missed."""
    given = _arguments()
    settings = load()
    base = given.base or bases.fetch(sides.BASE, settings)
    print(describe("torch", "transformers", "peft", "accelerate"))
    print(f"{torch.get_num_threads()} threads")
    missed = False
    with tempfile.TemporaryDirectory() as home:
        if not given.quality:
            dataset = sides.draw(settings, base, given.rows, 16, Path(home) / "data")
            for name in given.only:
                missed |= not speed(MATCHES[name], dataset, base, given.pairs)
        else:
            dataset = sides.draw(settings, base, given.rows, 600, Path(home) / "data")
            for name in given.only:
                missed |= not quality(MATCHES[name], dataset, base, given.epochs, given.seeds)
    return 1 if missed else 0


def speed(match: Match, dataset: Path, base: Path, pairs: int) -> bool:
    """Print the ratio of real tokens per second; whether it reaches the target."""
    ours, peers = sides.in_turn([_ours(match, dataset, base, epochs=1), _peer(match, dataset, base)], pairs)
    ratios = [one.speed / other.speed for one, other in zip(ours, peers, strict=True)]
    print(f"\n{match.method}, against {match.peer}, {pairs} pairs of {ours[0].tokens:,} tokens")
    print(f"  evertune   {ours[0].dtype:24} tokens/s {spread([run.speed for run in ours])}")
    print(f"  peer       {peers[0].dtype:24} tokens/s {spread([run.speed for run in peers])}")
    reached = statistics.median(ratios) >= match.target
    print(f"  ratio      {spread(ratios)}, target {match.target}: {'reached' if reached else 'MISSED'}")
    return reached


def quality(match: Match, dataset: Path, base: Path, epochs: int, seeds: list[int]) -> bool:
    """Print held-out quality of both, and the seconds to equal loss; whether ours is as good and as much faster."""
    print(f"\n{match.method}, against {match.peer}, {epochs} epochs, held-out rows split by review")
    ratios, gains = [], []
    for seed in seeds:
        peer = _peer(match, dataset, base, epochs=epochs, evaluations=4, seed=seed, **PEER_RATES[match.method])()
        ours = _ours(match, dataset, base, epochs=epochs, evaluations_per_epoch=4, seed=seed, **RATES[match.method])()
        for name, run in (("evertune", ours), ("peer", peer)):
            ends = ", ".join(f"{loss:.3f}/{f1:.3f}" for _, loss, f1 in run.held_out)
            print(f"  {name:8} seed {seed}: {run.seconds:.1f} s, {run.speed:.0f} tokens/s, loss/F1 {ends}", flush=True)
        ratios.append(_sooner(ours, peer))
        gains.append(max(f1 for _, _, f1 in ours.held_out) - max(f1 for _, _, f1 in peer.held_out))
    equal = statistics.median(gains) >= -EQUAL_F1
    reached = statistics.median(ratios) >= match.target
    told = "reached" if reached else "MISSED"
    print(f"  best F1, ours less the peer's: {spread(gains)}: {'equal' if equal else 'WORSE'}")
    print(f"  ratio of seconds to equal loss: {spread(ratios)}, target {match.target}: {told}")
    return equal and reached


def _sooner(ours: sides.Run, peer: sides.Run) -> float:
    """How many times sooner ours is at the peer's best loss; 0 where it never gets there."""
    wanted, seconds = min((loss, seconds) for seconds, loss, _ in peer.held_out)
    reached = next((seconds for seconds, loss, _ in ours.held_out if loss <= wanted), None)
    if reached is None:
        print(f"    never at the peer's best loss {wanted:.3f}")
        return 0.0
    print(f"    at the peer's best loss {wanted:.3f} after {reached:.1f} s, the peer after {seconds:.1f} s")
    return seconds / reached


def _ours(match: Match, dataset: Path, base: Path, **tuning: Any) -> Callable[[], sides.Run]:
    return functools.partial(sides.ours, dataset, base, method=match.method, **tuning)


def _peer(match: Match, dataset: Path, base: Path, **more: Any) -> Callable[[], sides.Run]:
    on_cpu = {} if torch.cuda.is_available() else {"use_cpu": True}  # Trainer refuses bf16 on a CPU without it
    return functools.partial(sides.peer, dataset, base, **match.arguments, **on_cpu, **more)


def _numbers(told: str) -> list[int]:
    return [int(number) for number in told.split(",")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fine-tuning speed against transformers.Trainer.")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=None, help="training rows (400; 2,000 for --quality)")
    parser.add_argument("--epochs", type=int, default=3, help="of --quality")
    parser.add_argument("--only", type=lambda names: names.split(","), default=list(MATCHES))
    parser.add_argument("--seeds", type=_numbers, default=[17, 1, 2], help="of --quality")
    parser.add_argument("--quality", action="store_true", help="held-out quality and seconds to equal loss instead")
    parser.add_argument("--base", type=Path, default=None, help="folder of the base model, instead of its wheel")
    given = parser.parse_args()
    given.rows = given.rows or (2_000 if given.quality else 400)
    return given


if __name__ == "__main__":
    sys.exit(main())
