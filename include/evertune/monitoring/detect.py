"""The verdict on a window: one finding for each signal that is watched."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evertune.monitoring import signals
from evertune.monitoring.budget import SMALLEST_P, e_value, watched
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample
from evertune.monitoring.twosample import Tested
from evertune.project.monitoring_options import Signals
from evertune.records import UnfitError
from evertune.records.traffic import Finding, Signal


def detect(
    reference: Reference, traffic: Sample, labelled: Sample, options: Signals, seed: int = 0
) -> tuple[Finding, ...]:
    """What each signal says of a window's answers, and of those ``labelled`` rows whose labels came with it.

    The same input gives the same findings; ``seed`` (the window's number) chooses the permutations. Labelled rows
    count by their weights. Rows without numbers, or with a label that the model has not, are left out. Of equal texts
    one counts, as in a data set: a text that is sent a hundred times is not a hundred proofs.
    """
    if not reference.labels == traffic.labels == labelled.labels:
        raise UnfitError("The answers have other labels than the reference: they are of another release.")
    sides = _Sides(reference, traffic.distinct, labelled.distinct)
    return tuple(_finding(signal, sides, getattr(options, signal.value), seed) for signal in watched(options))


class _Sides(NamedTuple):
    reference: Reference
    traffic: Sample
    labelled: Sample


def _finding(signal: Signal, sides: _Sides, smallest: float, seed: int) -> Finding:
    rng = np.random.default_rng([seed, tuple(Signal).index(signal)])
    said = _test(signal, sides, smallest, rng)
    return Finding(
        signal=signal,
        rows=said.rows,
        effect=said.effect,
        smallest=smallest,
        p=min(max(said.p, SMALLEST_P), 1.0),
        e=e_value(said.given) if said.rows else 1.0,
    )


def _test(signal: Signal, sides: _Sides, smallest: float, rng: np.random.Generator) -> Tested:
    reference, traffic, labelled = sides
    match signal:
        case Signal.EMBEDDING:
            return signals.embedding(reference, traffic, rng)
        case Signal.OUTPUT:
            return signals.output(reference, traffic, smallest, rng)
        case Signal.LOW_CONFIDENCE:
            return signals.low_confidence(reference, traffic, smallest)
        case Signal.LABEL_MIX:
            return signals.label_mix(reference, traffic, smallest, rng)
        case Signal.ERRORS:
            return signals.errors(reference, labelled, smallest)
        case Signal.F1:
            return signals.f1(reference, labelled, smallest, rng)
