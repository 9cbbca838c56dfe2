from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.monitoring.made_samples import KNOWN, LABELS, ODD, WIDTH, findings, sample

from evertune.monitoring import clusters, explain
from evertune.monitoring.clusters import Side
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample
from evertune.records.traffic import Signal


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.of(sample(1000, seed=1))


def test_a_new_kind_is_told_with_its_share_words_and_examples(reference: Reference) -> None:
    traffic = sample(400, odd=0.25, seed=2)
    found = explain.explain(reference, traffic, findings(0.24, 1e-9))

    assert found.share == 0.24
    assert 0.15 < sum(cluster.share for cluster in found.clusters) < 0.3
    for cluster in found.clusters:
        assert cluster.reference_share < 0.01
        assert set(cluster.words) <= set(ODD)
        assert len(set(cluster.examples)) == len(cluster.prediction_ids) == 5
        texts = dict(zip(traffic.ids, traffic.texts, strict=True))
        assert [texts[one] for one in cluster.prediction_ids] == list(cluster.examples)
    assert {moved.name for moved in found.descriptors} >= {"length", "words", "unknown_words"}
    assert next(one for one in found.descriptors if one.name == "unknown_words").traffic > 0.1
    assert found.sentences[0] == "About 24% of the traffic is unlike what the release was measured on."
    assert any("Macro F1" in sentence for sentence in found.sentences)


def test_a_small_new_kind_is_found(reference: Reference) -> None:
    (cluster,) = explain.explain(reference, sample(500, odd=0.05, seed=3), ()).clusters
    assert 0.02 < cluster.share < 0.08


@pytest.mark.parametrize("seed", range(20))
def test_traffic_like_the_reference_has_nothing_new(reference: Reference, seed: int) -> None:
    found = explain.explain(reference, sample(300, seed=100 + seed), findings(0.0, 1.0))
    assert not found.clusters
    assert not found.descriptors
    assert not found.labels
    assert found.sentences == ("About 0% of the traffic is unlike what the release was measured on.",)


def test_an_alert_has_examples_also_where_no_kind_stands_out(reference: Reference) -> None:
    found = explain.explain(reference, sample(300, seed=100), findings(0.2, 1e-9))
    (cluster,) = found.clusters
    assert cluster.share >= 0.2
    assert len(cluster.examples) == len(cluster.prediction_ids) == 5
    assert cluster.reference_share > 0.05
    assert "Least like the reference: " in " ".join(found.sentences)


def test_a_label_that_is_answered_more_often_is_told(reference: Reference) -> None:
    traffic = sample(400, seed=4)
    positive = traffic.take(np.flatnonzero(traffic.predicted == 1))
    found = explain.explain(reference, positive, findings(0.5, 1e-9))
    assert [moved.name for moved in found.labels] == list(LABELS)
    assert "'positive' is answered in 100% of cases" in " ".join(found.sentences)


def test_a_signal_that_does_not_matter_is_not_told(reference: Reference) -> None:
    small = [replace_effect for replace_effect in findings(0.09, 1e-9) if replace_effect.signal is not Signal.EMBEDDING]
    found = explain.explain(reference, sample(300, seed=5), small)
    assert len(found.sentences) == 1


def test_odd_windows_are_explained_without_an_error(reference: Reference) -> None:
    one = sample(1, odd=1.0)
    large = findings(0.5, 1e-9)
    same = replace(sample(50), texts=["the same"] * 50, embeddings=np.ones((50, WIDTH), np.float32))
    nan = replace(sample(50), embeddings=np.full((50, WIDTH), np.nan, np.float32))
    empty = Sample.empty(WIDTH, LABELS)
    wordless = replace(sample(50), texts=["", "…"] * 25, ids=())
    for traffic in (one, same, nan, empty, wordless):
        assert explain.explain(reference, traffic, ()).sentences
        assert explain.explain(reference, traffic, large).sentences
    assert explain.explain(Reference.of(empty), same, ()).sentences == ("There are no rows to compare.",)
    (cluster,) = explain.explain(reference, same, ()).clusters
    assert cluster.examples == ("the same",)


def test_examples_are_as_different_as_can_be() -> None:
    rng = np.random.default_rng(0)
    places = np.eye(5, WIDTH)[np.repeat(np.arange(5), 20)] + 0.01 * rng.normal(size=(100, WIDTH))
    traffic = Side(places.astype(np.float32), [f"kind {row // 20} row {row}" for row in range(100)], ())
    known = sample(300)
    found = clusters.new_clusters(Side(-np.abs(known.embeddings), known.texts, ()), traffic, 0)
    for cluster in found:
        kinds = {text.split()[1] for text in cluster.examples}
        assert len(kinds) >= min(5, cluster.rows // 20)


def test_a_word_tells_a_kind_when_the_reference_has_it_less() -> None:
    assert clusters.telling(["the senate film"] * 30, ["the film"] * 100 + ["the senate"] * 2) == ("senate",)
    assert clusters.telling([" ".join(KNOWN)] * 30, [" ".join(KNOWN)] * 100) == ()


def test_a_word_that_the_reference_uses_often_tells_nothing() -> None:
    new, known = ["the senate of the city"] * 30, ["the film"] * 50 + ["a film"] * 50
    assert clusters.telling(new, known) == ("city", "senate")


def test_the_distance_of_two_columns() -> None:
    assert explain.distance(np.array([1.0, np.nan]), np.array([])) == (0.0, 1.0)
    gap, p = explain.distance(np.arange(100.0), np.arange(50, 150.0))
    assert gap == pytest.approx(0.5)
    assert p < 1e-9
