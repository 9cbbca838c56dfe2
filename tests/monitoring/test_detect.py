from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.monitoring.made import LABELS, WIDTH, answers

from evertune.monitoring.detect import detect
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample
from evertune.project.monitoring_options import Signals
from evertune.records import UnfitError
from evertune.records.traffic import Finding, Signal

REFERENCE = Reference.of(answers(1_500, 99))
NONE = Sample.empty(WIDTH, LABELS)


def found(traffic: Sample, labelled: Sample = NONE, reference: Reference = REFERENCE) -> dict[Signal, Finding]:
    return {each.signal: each for each in detect(reference, traffic, labelled, Signals())}


def silent(findings: dict[Signal, Finding]) -> bool:
    return all((each.rows, each.p, each.e) == (0, 1, 1) and not each.matters for each in findings.values())


def test_traffic_like_the_reference_shows_nothing() -> None:
    for seed in range(5):
        same = answers(400, seed)
        assert max(each.e for each in found(same, same).values()) < 3
        assert not any(each.matters and each.e > 1 for each in found(same, same).values())


@pytest.mark.parametrize(
    ("change", "signals"),
    [
        ({"shift": 2.0}, {Signal.EMBEDDING}),
        ({"sure": 0.45}, {Signal.OUTPUT, Signal.LOW_CONFIDENCE}),
        ({"mix": (0.1, 0.45, 0.45)}, {Signal.EMBEDDING, Signal.OUTPUT, Signal.LABEL_MIX}),
        ({"right": 0.5}, {Signal.F1, Signal.ERRORS}),
    ],
)
def test_each_change_is_told_by_its_signals(change: dict[str, object], signals: set[Signal]) -> None:
    other = answers(400, **change)  # type: ignore[arg-type]
    findings = found(other, other)
    told = {signal for signal, each in findings.items() if each.e > 100 and each.p < 1e-4 and each.matters}
    assert told >= signals
    assert not told & ({Signal.F1, Signal.ERRORS} - signals)


def test_effects_are_in_their_own_measure() -> None:
    other = answers(2_000, right=0.7, mix=(0.2, 0.4, 0.4))
    findings = found(other, other)
    assert findings[Signal.ERRORS].effect == pytest.approx(0.2, abs=0.03)
    assert findings[Signal.F1].effect == pytest.approx(0.2, abs=0.05)
    assert findings[Signal.LABEL_MIX].effect == pytest.approx(0.13, abs=0.06)


def test_the_same_input_gives_the_same_findings() -> None:
    some = answers(100, 3)
    assert detect(REFERENCE, some, some, Signals(), 7) == detect(REFERENCE, some, some, Signals(), 7)


def test_only_what_is_turned_on_is_tested() -> None:
    options = Signals(embedding=None, output=None, f1=None)
    assert [each.signal for each in detect(REFERENCE, answers(50), NONE, options)] == [
        Signal.LOW_CONFIDENCE, Signal.LABEL_MIX, Signal.ERRORS,
    ]  # fmt: skip


def test_an_empty_window_shows_nothing() -> None:
    assert silent(found(NONE))


def test_a_window_of_one_row_shows_nothing() -> None:
    assert silent(found(answers(1), answers(1)))


def test_a_handful_of_rows_shows_nothing_by_embeddings() -> None:
    assert found(answers(19, shift=9.0))[Signal.EMBEDDING].rows == 0
    assert found(answers(20, shift=9.0))[Signal.EMBEDDING].rows == 20


def test_a_window_of_one_text_sent_again_and_again_shows_nothing() -> None:
    same = answers(300, shift=50.0, right=0.0).take(np.zeros(300, np.int64))
    assert silent(found(same, same))


def test_other_texts_with_one_embedding_do_not_fail() -> None:
    same = answers(300)
    assert found(replace(same, embeddings=np.zeros_like(same.embeddings)))[Signal.EMBEDDING].p < 0.01


def test_an_empty_reference_tests_nothing() -> None:
    assert silent(found(answers(50), answers(50), Reference.of(NONE)))


def test_embeddings_that_are_no_numbers_are_left_out() -> None:
    some = answers(200)
    some.embeddings[:] = np.nan
    assert found(some)[Signal.EMBEDDING].rows == 0
    assert found(some)[Signal.OUTPUT].rows == 200
    half = answers(200)
    half.embeddings[:100] = np.inf
    assert found(half)[Signal.EMBEDDING].rows == 100
    assert found(half)[Signal.EMBEDDING].e < 3


def test_scores_that_are_no_numbers_are_left_out() -> None:
    some = answers(200)
    some.scores[:50] = np.nan
    findings = found(some, some)
    assert {each.rows for each in findings.values()} == {150, 200}
    assert max(each.e for each in findings.values()) < 3
    some.scores[:] = np.nan
    assert {each.signal for each in found(some, some).values() if each.rows} == {Signal.EMBEDDING}


def test_scores_in_32_bits_are_scores() -> None:
    sure = answers(100, sure=1.0)
    findings = found(replace(sure, scores=sure.scores.astype(np.float32)))
    assert findings[Signal.OUTPUT].rows == 100


def test_embeddings_of_another_width_are_not_compared() -> None:
    some = answers(100)
    assert found(replace(some, embeddings=some.embeddings[:, :5]))[Signal.EMBEDDING].rows == 0


def test_a_label_never_seen_is_no_error() -> None:
    some = answers(200)
    strange = replace(some, truth=np.where(np.arange(200) < 100, -1, some.truth))
    assert found(some, strange)[Signal.ERRORS].rows == 100
    assert found(some, replace(some, truth=np.full(200, -1)))[Signal.F1].rows == 0


def test_a_class_that_is_missing_is_no_fall_of_f1() -> None:
    without = answers(300, mix=(0.5, 0.5, 0.0))
    finding = found(without, without)[Signal.F1]
    assert finding.effect < 0.08
    assert finding.e < 3
    assert found(without)[Signal.LABEL_MIX].p < 1e-6


def test_many_classes_with_few_rows_are_no_fall_of_f1() -> None:
    rng = np.random.default_rng(0)

    def sample(rows: int) -> Sample:
        truth = rng.integers(0, 40, rows)
        told = np.where(rng.random(rows) < 0.85, truth, rng.integers(0, 40, rows))
        scores = np.eye(40)[told] * 0.9 + 0.0025
        texts = [str(each) for each in rng.integers(0, 1 << 60, rows)]
        return Sample(np.zeros((rows, 2), np.float32), scores, texts, tuple(map(str, range(40))), truth, np.ones(rows))

    reference, only = Reference.of(sample(2_000)), Signals(**dict.fromkeys({*Signal} - {Signal.F1}))
    chances = []
    for _ in range(25):
        some = sample(80)
        chances.append(detect(reference, some, some, only)[0].p)
    assert 0.2 < np.mean(chances) < 0.8
    assert np.mean(np.array(chances) < 0.05) < 0.25


def test_rows_picked_for_being_unsure_count_by_their_weights() -> None:
    # Wrong answers are picked four times as often: unweighted, a tenth of errors looks like three tenths.
    some = answers(4_000, 5)
    rng, wrong = np.random.default_rng(0), some.predicted != some.truth
    chance = np.where(wrong, 0.4, 0.1)
    picked = np.flatnonzero(rng.random(4_000) < chance)
    weighted = replace(some, weights=1 / chance).take(picked)
    findings = found(some, weighted)
    assert findings[Signal.ERRORS].effect < 0.03
    assert max(findings[signal].e for signal in (Signal.ERRORS, Signal.F1)) < 3
    naive = found(some, replace(weighted, weights=np.ones(len(picked))))
    assert naive[Signal.ERRORS].e > 100


def test_answers_of_another_release_are_refused() -> None:
    with pytest.raises(UnfitError, match="another release"):
        found(replace(answers(9), labels=("x", "y", "z")))
