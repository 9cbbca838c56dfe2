"""Pictures for people: confusion matrix, slices, learning curve.

Drawn on figures of their own with the Agg canvas: pyplot keeps global state, which threads would share. Colours tell
apart for colour-blind eyes (blues by lightness; blue against orange), and what a colour says stands there in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evertune.records import Evaluation, Scores, Slice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"  # Okabe and Ito's palette
NUMBERED = 12
"""Up to this many classes each cell shows its number."""
NAMED = 40
"""Up to this many classes each line shows its name."""
Confusion = Sequence[Sequence[int]]


def confusion(labels: Sequence[str], challenger: Confusion, champion: Confusion | None, path: Path) -> None:
    """Draw the confusion matrix, the champion's beside it where there is one, as PNG."""
    matrices = {"challenger": challenger} if champion is None else {"champion": champion, "challenger": challenger}
    side = min(max(3.2, 0.5 * len(labels) + 2.2), 11.0)
    figure = _figure(side * len(matrices) + 0.9, side)
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (name, counts) in zip(panels, matrices.items(), strict=True):
        image = _matrix(axes, labels, np.asarray(counts))
        right, rows = np.trace(np.asarray(counts)), np.sum(counts)
        axes.set_title(f"{name}\n{right:,} of {rows:,} rows right ({100 * right / max(rows, 1):.1f}%)", fontsize=10)
        axes.set_xlabel("answered" if len(labels) <= NAMED else "answered (number of the class)")
    panels[0].set_ylabel("truth")
    figure.colorbar(image, ax=list(panels), label="share of the true class", fraction=0.05, pad=0.02)
    _save(figure, path)


def _matrix(axes: Axes, labels: Sequence[str], counts: Any) -> Any:
    from matplotlib.colors import PowerNorm

    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Among many classes a confusion is a small share: the square root of it still shows.
    norm = PowerNorm(1.0 if len(labels) <= NUMBERED else 0.5, vmin=0.0, vmax=1.0)
    image = axes.imshow(shares, cmap="Blues", norm=norm)
    if len(labels) <= NUMBERED:
        for (i, j), share in np.ndenumerate(shares):
            text = f"{counts[i, j]:,}\n{100 * share:.0f}%"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if share > 0.55 else "black")
    if len(labels) <= NAMED:
        names = [_short(label) for label in labels]
        axes.set_xticks(range(len(labels)), names, rotation=0 if len(labels) <= 3 else 90, fontsize=8)
        axes.set_yticks(range(len(labels)), names, fontsize=8)
    return image


def slices(evaluation: Evaluation, path: Path, min_rows: int = 1, most: int = 40) -> None:
    """Draw the accuracy on each slice, the champion's beside it where there is one, with 95% intervals, as PNG.

    Slices below ``min_rows`` are left out, and all but the ``most`` largest.
    """
    there = [part for part in evaluation.slices if part.rows >= min_rows]
    largest = sorted(there, key=lambda part: -part.rows)[:most]
    lines = [Slice(name="all rows", rows=evaluation.challenger.rows, **_both(evaluation))]
    lines += [part for part in there if part in largest]
    figure = _figure(7.5, 1.3 + 0.32 * len(lines))
    axes = figure.subplots()
    _dots(axes, [line.challenger for line in lines], BLUE, "challenger", 0.0 if evaluation.champion is None else 0.13)
    champions = [line.champion for line in lines if line.champion is not None]
    if champions:
        _dots(axes, champions, ORANGE, "champion", -0.13)
    axes.set_yticks(range(len(lines)), [f"{_short(line.name, 40)} ({line.rows:,})" for line in lines], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("accuracy, with 95% interval (Wilson)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8, frameon=False)
    _save(figure, path)


def _both(evaluation: Evaluation) -> dict[str, Scores | None]:
    return {"challenger": evaluation.challenger, "champion": evaluation.champion}


def _dots(axes: Axes, scores: Sequence[Scores], colour: str, name: str, shift: float) -> None:
    rows = np.array([score.rows for score in scores], dtype=float)
    found = np.array([score.accuracy for score in scores])
    z2 = 1.96**2
    middle = (found + z2 / (2 * rows)) / (1 + z2 / rows)
    half = np.sqrt(z2 * (found * (1 - found) / rows + z2 / (4 * rows**2))) / (1 + z2 / rows)
    reach = np.abs([found - (middle - half), (middle + half) - found])
    marker = "o" if colour == BLUE else "D"
    axes.errorbar(
        found,
        np.arange(len(rows)) + shift,
        xerr=reach,
        fmt=marker,
        color=colour,
        label=name,
        markersize=5,
        linewidth=1.5,
    )


def learning_curve(curve: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw loss and validation F1 over the steps of a tuning, as PNG.

    Each entry has ``step`` and any of ``loss``, ``validation_loss`` and ``f1``; what is missing or none is left out.
    """
    figure = _figure(7.5, 3.6)
    left, right = figure.subplots(1, 2)
    training = _line(left, curve, "loss", label="training", color=GREY)
    validation = _line(left, curve, "validation_loss", label="validation", color=BLUE, marker="o", linestyle="--")
    if training or validation:
        left.legend(fontsize=8, frameon=False)
    _line(right, curve, "f1", color=BLUE, marker="o")
    for axes, name in ((left, "loss"), (right, "macro F1 on validation rows")):
        axes.set_xlabel("step")
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    _save(figure, path)


def _line(axes: Axes, curve: Sequence[Mapping[str, Any]], key: str, **look: Any) -> bool:
    points = [(entry["step"], entry[key]) for entry in curve if entry.get(key) is not None]
    if points:
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, linewidth=1.8, **look)
    return bool(points)


def _short(name: str, most: int = 24) -> str:
    # Underscores read as spaces in class names; a dollar sign would start a formula.
    plain = name.replace("$", r"\$")
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None})
