from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.models import tiny
from tests.support import small_project

from evertune import files, text
from evertune.evaluation import baselines, evaluate, gate, paired
from evertune.project import Project
from evertune.records import Decision, UnfitError
from evertune.settings import Settings


def project_of(**evaluation: Any) -> Project:
    return Project.model_validate(small_project(evaluation=evaluation))


def test_probabilities_follow_the_datasets_labels() -> None:
    found = evaluate.align(np.array([[0.2, 0.7, 0.1]], np.float32), ("b", "a", "gone"), ("a", "b", "new"))
    assert found.tolist() == [[pytest.approx(0.7), pytest.approx(0.2), 0.0]]


def test_a_model_that_knows_no_class_is_refused() -> None:
    with pytest.raises(UnfitError, match="knows none of the dataset's classes"):
        evaluate.align(np.ones((1, 2), np.float32), ("x", "y"), ("a", "b"))


def split(**columns: list[Any]) -> Any:
    import pyarrow as pa

    return SimpleNamespace(table=pa.table(columns), truth=np.array([0, 1, 1]))


def test_length_and_class_are_always_slices() -> None:
    test = split(tokens=[3, 20, 90], domain=["news", None, "news"])
    found = evaluate._slice_columns(project_of(slices=["domain"]), test, ("a", "b"))
    assert found["length"] == ["short", "medium", "long"]
    assert found["class"] == ["a", "b", "b"]
    assert found["domain"] == ["news", "(none)", "news"]


def test_a_slice_column_that_is_not_there_is_named() -> None:
    with pytest.raises(UnfitError, match=r"evaluation\.slices names domain"):
        evaluate._slice_columns(project_of(slices=["domain"]), split(tokens=[1, 2, 3]), ("a", "b"))


def write_dataset(folder: Path, base: Path, recent: int | None = None) -> None:
    """A few real-looking rows in the dataset's format."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tokenizer = text.load_tokenizer(base)
    words = {"positive": ["wonderful", "great", "lovely"], "negative": ["awful", "broken", "useless"]}
    labels = sorted(words)
    parts = [("train", 60), ("validation", 10), ("test", 40)] + ([("recent", recent)] if recent is not None else [])
    for part, rows in parts:
        truth = [i % 2 for i in range(rows)]
        texts = [f"this camera is {words[labels[c]][i % 3]}, item {i} of {part}" for i, c in enumerate(truth)]
        ids, cut = text.encode(tokenizer, texts, 32)
        columns = {
            "row_id": [text.row_id(line) for line in texts],
            "text": texts,
            "label": [labels[c] for c in truth],
            "label_index": pa.array(truth, pa.int32()),
            "group": [f"document {i // 4}" for i in range(rows)],
            "tokens": pa.array([len(row) for row in ids], pa.int32()),
            "cut": cut,
        }
        if part == "recent":
            columns["weight"] = pa.array([0.5 + i % 2 for i in range(rows)], pa.float64())
        pq.write_table(pa.table(columns), folder / f"{part}.parquet")
        np.save(folder / f"{part}.ids.npy", np.concatenate(ids).astype(np.int32))
        np.save(folder / f"{part}.offsets.npy", np.cumsum([0, *(len(row) for row in ids)]))
    files.write_json(folder / "labels.json", labels)


@pytest.fixture
def real(warm: Settings, tmp_path: Path) -> tuple[Project, Path, Path, list[Path]]:
    """A project, a dataset, the base model, and two bundles with untrained heads."""
    import torch
    import transformers

    from evertune.models import bases, bundle

    project = project_of(min_slice_rows=5)
    base = bases.fetch(project.base, warm)
    with files.new_folder(tmp_path / "dataset") as folder:
        write_dataset(folder, base)
    bundles = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
        bundles.append(tmp_path / f"bundle-{seed}")
        bundle.write(bundles[-1], model, base, ("negative", "positive"), 32)
    return project, base, tmp_path / "dataset", bundles


@pytest.mark.integration
def test_a_real_model_is_evaluated_beside_another(
    real: tuple[Project, Path, Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "LATENCY_ROWS", 8)
    project, base, dataset, (ours, theirs) = real
    out = tmp_path / "out"
    found = evaluate.evaluate(project, "run-1", dataset, ours, theirs, 3, base, out)
    files.verify(out)
    assert {file.name for file in out.iterdir()} == {
        "pairs.parquet", "evaluation.json", "confusion.png", "slices.png", files.MANIFEST,
    }  # fmt: skip
    pairs = paired.load(Path(found.pairs))
    assert found == type(found).model_validate(files.read_json(out / "evaluation.json"))
    assert found.challenger.rows == len(pairs) == 40
    assert len(set(pairs.groups.tolist())) == 10
    assert found.baselines["majority"].accuracy == pytest.approx(0.5)
    assert found.baselines["untuned"].accuracy > 0.9  # the words alone tell the class
    assert 0 < found.latency_ms["p50"] <= found.latency_ms["p95"]
    assert found.model_bytes > 80_000_000
    assert (found.champion_generation, found.dataset_version) == (3, files.digest(dataset))
    same = evaluate.evaluate(project, "run-1", dataset, ours, ours, 3, base, tmp_path / "same")
    assert same.challenger == found.challenger
    assert gate.judge(same, paired.load(Path(same.pairs)), project.gate, 0).decision is Decision.UNCHANGED
    first = evaluate.evaluate(project, "run-1", dataset, ours, None, 0, base, tmp_path / "first")
    verdict = gate.judge(first, paired.load(Path(first.pairs)), project.gate, 0)
    assert verdict.opponent == "untuned"
    assert verdict.decision is Decision.REJECT


def test_memory_that_runs_out_is_told_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(*_: object) -> None:
        np.empty(1 << 50)

    tiny.base(tmp_path / "base")
    with files.new_folder(tmp_path / "dataset") as folder:
        write_dataset(folder, tmp_path / "base")
    monkeypatch.setattr(evaluate, "_load", hungry)
    with pytest.raises(UnfitError, match=r"ran out while small-reviews was evaluated .* choose a smaller base"):
        evaluate.evaluate(
            project_of(), "run", tmp_path / "dataset", tmp_path, None, 0, tmp_path / "base", tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.integration
def test_recent_traffic_is_scored_apart(
    real: tuple[Project, Path, Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "LATENCY_ROWS", 2)
    project, base, dataset, (ours, theirs) = real
    more = tmp_path / "more"
    with files.new_folder(more) as folder:
        write_dataset(folder, base, recent=24)
    without = evaluate.evaluate(project, "run-1", dataset, ours, theirs, 3, base, tmp_path / "without")
    found = evaluate.evaluate(project, "run-1", more, ours, theirs, 3, base, tmp_path / "with")
    assert without.recent is None
    assert found.challenger == without.challenger
    assert found.recent is not None
    assert (found.recent.rows, found.recent.challenger.rows) == (24, 24)
    assert found.recent.effective_rows == pytest.approx(24 / 1.25)
    assert found.recent.champion is not None
    pairs = paired.load(Path(found.pairs))
    assert pairs.recent is not None
    assert set(pairs.recent.opponents) == {"champion"}
    assert found == type(found).model_validate(files.read_json(tmp_path / "with" / "evaluation.json"))
    first = evaluate.evaluate(project, "run-1", more, ours, None, 0, base, tmp_path / "first")
    assert first.recent is not None
    assert first.recent.champion is None
    assert paired.load(Path(first.pairs)).recent is not None


@pytest.mark.integration
def test_embeddings_are_the_mean_over_a_rows_own_tokens(real: tuple[Project, Path, Path, list[Path]]) -> None:
    _, base, _, _ = real
    rows = [
        np.array(row, np.int32)
        for row in text.encode(text.load_tokenizer(base), ["short", "a longer text " * 6], 32)[0]
    ]
    together, alone = baselines.embeddings(base, rows), [baselines.embeddings(base, [row])[0] for row in rows]
    assert np.allclose(together, alone, atol=1e-5)
