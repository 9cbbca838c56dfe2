"""The model card: what the model is for, what it was made from, how good it is, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from evertune.project import Project
from evertune.records import Evaluation, Scores

_METRICS = ("accuracy", "precision", "recall", "f1", "calibration_error", "log_loss")


def model_card(project: Project, evaluation: Evaluation, tags: Mapping[str, str]) -> str:
    """The card of a candidate. ``tags`` tell where it comes from: data version, code version, digest, method."""
    parts = (
        _head(project, evaluation),
        f"# {project.slug}\n\n{project.description or 'A fine-tuned text classifier.'}",
        _about(project, evaluation),
        _quality(evaluation),
        _recent(evaluation),
        _classes(evaluation.challenger),
        _slices(evaluation),
        _limits(project),
        _origin(evaluation, tags),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(project: Project, evaluation: Evaluation) -> str:
    """Front matter as the Hugging Face hub reads it."""
    scores = evaluation.challenger
    metrics = [{"type": name, "value": round(getattr(scores, name), 4)} for name in ("accuracy", "f1")]
    result = {
        "task": {"type": "text-classification"},
        "dataset": {"name": project.slug, "type": project.slug, "revision": evaluation.dataset_version},
        "metrics": metrics,
    }
    head = {
        "language": project.language,
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["evertune"],
        "model-index": [{"name": project.slug, "results": [result]}],
    }
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---"


def _about(project: Project, evaluation: Evaluation) -> str:
    classes = ", ".join(f"`{name}`" for name in evaluation.challenger.per_class)
    return "\n".join(
        (
            f"- **Task**: sorts a text ({project.language}) into one of: {classes}",
            f"- **Base model**: `{project.base.uri}`, tuned with method `{project.tuning.method}`",
            f"- **Owner**: {project.owner}",
            f"- **Input**: text; personal data is redacted, then it is cut at {project.preparation.max_tokens} tokens",
            f"- **Size**: {evaluation.model_bytes / 1e6:.0f} MB{_latency(evaluation)}",
        )
    )


def _latency(evaluation: Evaluation) -> str:
    times = evaluation.latency_ms
    return f"; one row takes {times['p50']:.1f} ms (median), {times['p95']:.1f} ms (p95)" if "p95" in times else ""


def _quality(evaluation: Evaluation) -> str:
    sides: dict[str, Scores] = {"this model": evaluation.challenger}
    if evaluation.champion is not None:
        sides[f"champion (generation {evaluation.champion_generation})"] = evaluation.champion
    sides |= {f"baseline: {name}": scores for name, scores in evaluation.baselines.items()}
    rows = [[name, *(f"{getattr(scores, metric):.4f}" for metric in _METRICS)] for name, scores in sides.items()]
    intro = f"On {evaluation.challenger.rows} test rows that no model was trained on; averages over classes are macro."
    return f"## Quality\n\n{intro}\n\n{_table(['', *(metric.replace('_', ' ') for metric in _METRICS)], rows)}"


def _recent(evaluation: Evaluation) -> str:
    found = evaluation.recent
    if found is None:
        return ""
    sides = {"this model": found.challenger}
    if found.champion is not None:
        sides[f"champion (generation {evaluation.champion_generation})"] = found.champion
    rows = [[name, *(f"{getattr(scores, metric):.4f}" for metric in _METRICS)] for name, scores in sides.items()]
    intro = (
        f"On {found.rows} labelled rows of traffic that no model was trained on, weighted by how they were picked "
        f"(as precise as {found.effective_rows:.0f} rows of equal weight)."
    )
    return f"### On recent traffic\n\n{intro}\n\n{_table(['', *(m.replace('_', ' ') for m in _METRICS)], rows)}"


def _classes(scores: Scores) -> str:
    rows = [
        [f"`{name}`", f"{one.precision:.4f}", f"{one.recall:.4f}", f"{one.f1:.4f}", str(one.support)]
        for name, one in scores.per_class.items()
    ]
    return f"### By class\n\n{_table(['class', 'precision', 'recall', 'F1', 'test rows'], rows)}"


def _slices(evaluation: Evaluation) -> str:
    if not evaluation.slices:
        return ""
    rows = [
        [f"`{one.name}`", str(one.rows), f"{one.challenger.accuracy:.4f}", f"{one.challenger.f1:.4f}"]
        for one in evaluation.slices
    ]
    return f"### By slice\n\n{_table(['slice', 'rows', 'accuracy', 'F1'], rows)}"


def _limits(project: Project) -> str:
    return (
        "## Limits\n\n"
        "The figures hold for texts like those of the sources below; on other kinds of text the model is usually "
        "worse, and it answers all the same. It gives a probability to each class that it knows and cannot say that "
        "none fits. "
        f"It was tuned and tested on texts in `{project.language}`.\n\n"
        "Sources:\n\n" + "\n".join(f"- `{source.uri}`" for source in project.data.sources)
    )


def _origin(evaluation: Evaluation, tags: Mapping[str, str]) -> str:
    facts = {"run": evaluation.run_key, "data version": evaluation.dataset_version, **tags}
    lines = [f"- {name.replace('_', ' ')}: `{value}`" for name, value in facts.items() if name != "data_version"]
    return (
        "## Origin\n\n" + "\n".join(lines) + "\n\nThe files are safetensors and JSON; nothing in them is executed. "
        "`bundle/manifest.json` has the SHA-256 of each; the digest above is over that manifest. "
        "`mlflow models serve` needs the package evertune in its environment."
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; a bar in a cell would end it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
