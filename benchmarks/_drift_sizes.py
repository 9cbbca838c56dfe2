"""The part of `drift_power.py` about sizes: 20,000 rows against 20,000, and a million rows in the reference."""

from __future__ import annotations

import resource
import time

import numpy as np
from benchmarks import _drift_data, _evidently_sides
from numpy.typing import NDArray

from evertune.monitoring import signals
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample

Rows = NDArray[np.float32]


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
