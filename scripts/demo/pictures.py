"""The demo's story in pictures: quality and drift over the answers, with what happened marked."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from scripts.demo.replay import Answered, f1

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"  # Okabe and Ito's palette
CHUNK = 200
"""Answers whose F1 is one point."""


class Mark(NamedTuple):
    """Something that happened, at this number of answers."""

    at: int
    what: str
    colour: str


class Score(NamedTuple):
    """A window's answers, from and to, and the evidence of drift after it."""

    start: int
    end: int
    evidence: float


def story(answers: Sequence[Answered], scores: Sequence[Score], marks: Sequence[Mark]) -> bytes:
    """F1 and drift over the answers in their order, as PNG."""
    figure = _figure(11, 6.2)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    _quality(top, answers)
    _drift(bottom, scores)
    for axes in (top, bottom):
        for mark in marks:
            axes.axvline(mark.at, color=mark.colour, linewidth=1.4, linestyle="--")
        axes.grid(alpha=0.25)
    low, high = top.get_ylim()
    for place, mark in enumerate(marks):
        height = high - (0.06 + 0.075 * (place % 3)) * (high - low)
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
        top.annotate(f" {mark.what}", (mark.at, height), color=mark.colour, fontsize=9, bbox=paper, zorder=1)
    bottom.set_xlabel("answers, in their order")
    return _png(figure)


def _quality(axes: Any, answers: Sequence[Answered]) -> None:
    start, named = 0, set()
    for (phase, generation), group in groupby(answers, lambda one: (one.phase, one.generation)):
        some = list(group)
        colour = ORANGE if "editorials" in phase else BLUE
        marker = "o" if generation == 1 else "s"
        points = [
            (start + at + len(part) / 2, f1(part))
            for at in range(0, len(some), CHUNK)
            if len(part := some[at : at + CHUNK]) >= CHUNK // 2
        ]
        label = f"{'editorials' if 'editorials' in phase else 'reviews'}, release {generation}"
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, color=colour, linewidth=1.2, markersize=4.5,
                      label=None if label in named else label)  # fmt: skip
            named.add(label)
        start += len(some)
    axes.set_ylabel(f"macro F1 of {CHUNK} answers")
    if named:
        axes.legend(fontsize=8, frameon=False, loc="lower left")


def _drift(axes: Any, scores: Sequence[Score]) -> None:
    for score in scores:
        height = math.log10(max(score.evidence, 1e-12))
        colour = ORANGE if score.evidence >= 1 else GREY
        axes.bar(
            (score.start + score.end) / 2, height + 12, width=0.94 * (score.end - score.start), bottom=-12, color=colour
        )
    axes.axhline(0, color=ORANGE, linewidth=1.2)
    axes.annotate("alert", (0, 0.3), color=ORANGE, fontsize=9)
    axes.set_ylim(-12.5, max([2.0, *(math.log10(max(score.evidence, 1e-12)) + 1 for score in scores)]))
    axes.set_ylabel("evidence of drift\n(powers of ten)")


def before_and_after(values: Sequence[tuple[str, float, float]]) -> bytes:
    """Pairs of figures of the old and the new release, as PNG: ``(name, old, new)``."""
    figure = _figure(7.5, 0.9 + 0.62 * len(values))
    axes = figure.subplots()
    for place, (_, old, new) in enumerate(values):
        axes.plot([old, new], [place, place], color=GREY, linewidth=2, zorder=1)
        axes.scatter([old], [place], color=GREY, s=60, zorder=2, label="release 1" if not place else None)
        axes.scatter([new], [place], color=GREEN, s=60, zorder=3, label="release 2" if not place else None)
        axes.annotate(f"{100 * (new - old):+.1f} points", ((old + new) / 2, place - 0.28), fontsize=9, ha="center")
    axes.set_yticks(range(len(values)), [name for name, _, _ in values], fontsize=9)
    axes.set_ylim(len(values) - 0.5, -0.7)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return _png(figure)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
