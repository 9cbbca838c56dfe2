"""Fine-tuning speed against transformers.Trainer (+ PEFT): MiniLM, two classes, Amazon review sentences.

    python -m benchmarks.tuning [--pairs 5] [--rows 200] [--only full,bf16,lora] [--quality] [--base FOLDER]

Speed: both sides train on the same rows and ids, A B A B …, loading and evaluation left out; real tokens per second.
Quality (`--quality`, minutes): both train on all rows; held-out macro F1 and log loss at the end, and the seconds of
training after which evertune's held-out loss is at or below the peer's best one. Exit status 1: a target was missed.
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
                missed |= not quality(MATCHES[name], dataset, base, given.epochs)
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


def quality(match: Match, dataset: Path, base: Path, epochs: int) -> bool:
    """Print held-out quality of both, and the seconds to equal loss; whether ours is as good and as much faster."""
    peer = _peer(match, dataset, base, epochs=epochs, evaluations=4)()
    # Adapters want a higher rate; the peer keeps its default.
    rate = {"learning_rate": 1e-3} if match.method == "lora" else {}
    ours = _ours(match, dataset, base, epochs=epochs, evaluations_per_epoch=4, **rate)()
    print(f"\n{match.method}, against {match.peer}, {epochs} epochs, held-out rows split by review")
    for name, run in (("evertune", ours), ("peer", peer)):
        ends = ", ".join(f"{loss:.4f}/{f1:.3f}" for _, loss, f1 in run.held_out)
        print(f"  {name:10} {run.seconds:6.1f} s, {run.speed:6.0f} tokens/s, loss/F1 {ends}")
    wanted, peer_seconds = min((loss, seconds) for seconds, loss, _ in peer.held_out)
    reached = next((seconds for seconds, loss, _ in ours.held_out if loss <= wanted), None)
    if reached is None:
        print(f"  evertune never reached the peer's loss {wanted:.4f}: MISSED")
        return False
    ratio = peer_seconds / reached
    print(f"  to the peer's best loss {wanted:.4f}: {reached:.1f} s against {peer_seconds:.1f} s, ratio {ratio:.2f}")
    return ratio >= match.target


def _ours(match: Match, dataset: Path, base: Path, **tuning: Any) -> Callable[[], sides.Run]:
    return functools.partial(sides.ours, dataset, base, method=match.method, **tuning)


def _peer(match: Match, dataset: Path, base: Path, **more: Any) -> Callable[[], sides.Run]:
    on_cpu = {} if torch.cuda.is_available() else {"use_cpu": True}  # Trainer refuses bf16 on a CPU without it
    return functools.partial(sides.peer, dataset, base, **match.arguments, **on_cpu, **more)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fine-tuning speed against transformers.Trainer.")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=None, help="training rows (200; 2,000 for --quality)")
    parser.add_argument("--epochs", type=int, default=3, help="of --quality")
    parser.add_argument("--only", type=lambda names: names.split(","), default=list(MATCHES))
    parser.add_argument("--quality", action="store_true", help="held-out quality and seconds to equal loss instead")
    parser.add_argument("--base", type=Path, default=None, help="folder of the base model, instead of its wheel")
    given = parser.parse_args()
    given.rows = given.rows or (2_000 if given.quality else 200)
    return given


if __name__ == "__main__":
    sys.exit(main())
