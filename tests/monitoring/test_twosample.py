from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evertune.monitoring import twosample
from evertune.monitoring.budget import e_value
from evertune.monitoring.twosample import (
    Known,
    Rows,
    counts_differ,
    means_differ,
    memberships,
    p_value,
    quadratic_given,
    quadratic_tail,
    share_rises,
    unlike,
)


def rows_of(rng: np.random.Generator, count: int, width: int = 8, shift: float = 0.0) -> Rows:
    found = rng.standard_normal((count, width)).astype(np.float32)
    found[:, 0] += shift
    return found


def known_of(rows: Rows) -> Known:
    return Known(rows, rows.mean(axis=0).astype(np.float64), len(rows))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twosample, "PERMUTATIONS", 99)


def test_p_of_equal_sets_is_uniform(few: None) -> None:
    rng = np.random.default_rng(1)
    found = [means_differ(known_of(rows_of(rng, 120)), rows_of(rng, 60), rng).p for _ in range(300)]
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert 0.02 <= np.mean(np.array(found) <= 0.05) <= 0.09


def test_the_tail_goes_on_where_permutations_end() -> None:
    rng = np.random.default_rng(2)
    found = means_differ(known_of(rows_of(rng, 500)), rows_of(rng, 200, shift=1.0), rng)
    assert found.p < 1e-9
    assert found.given < 1e-6
    assert found.effect == pytest.approx(0.38, abs=0.08)  # of two normal distributions one apart


def test_the_tail_is_only_asked_far_out() -> None:
    permuted = np.arange(99.0)
    assert p_value(50.0, permuted, 0.2) == pytest.approx(0.5)
    assert p_value(1e9, permuted, 0.02) == pytest.approx(0.01)
    assert p_value(1e9, permuted, 1e-8) == 1e-8


def test_the_tail_of_a_flat_spectrum_is_that_of_chi_square() -> None:
    for value in (5.0, 30.0, 90.0):
        assert quadratic_tail(value, twosample.central(np.ones(10))) == pytest.approx(
            stats.chi2.sf(value, 10), rel=1e-6
        )
    assert stats.chi2.sf(twosample.upper(np.ones(10)), 10) == pytest.approx(twosample.ODD)


def test_the_tail_of_a_steep_spectrum_is_near_enough() -> None:
    rng, spectrum = np.random.default_rng(3), np.array([1.0, 0.5, 0.1, 0.05])
    drawn = rng.standard_normal((200_000, 4)) ** 2 @ spectrum
    for value in (4.0, 8.0, 12.0):
        assert quadratic_tail(value, twosample.central(spectrum)) == pytest.approx((drawn >= value).mean(), rel=0.2)


def test_evidence_does_not_grow_from_a_reference_that_is_odd_by_chance(few: None) -> None:
    # All windows share the reference. Multiplied, evidence of `p` would grow with what is odd about it; `given` allows
    # for that.
    rng = np.random.default_rng(4)
    naive, allowed = [], []
    for _ in range(12):
        known = known_of(rows_of(rng, 150))
        windows = [means_differ(known, rows_of(rng, 400), rng) for _ in range(12)]
        naive.append(np.mean([np.log(e_value(each.p)) for each in windows]))
        allowed.append(np.mean([e_value(each.given) for each in windows]))
    assert max(naive) > 0
    assert max(allowed) < 1


def test_the_reference_counts_with_all_its_rows_not_only_those_kept() -> None:
    rng = np.random.default_rng(5)
    kept, new = rows_of(rng, 200), rows_of(rng, 400, shift=0.25)
    few_rows = means_differ(Known(kept, np.zeros(8), 200), new, rng)
    many = means_differ(Known(kept, np.zeros(8), 20_000), new, rng)
    assert many.p < few_rows.p
    assert many.given < few_rows.given


def test_given_is_larger_the_more_is_allowed_for() -> None:
    spectrum = np.linspace(1, 0.01, 30)
    chances = [quadratic_given(0.3, spectrum, 200, known, 0.0) for known in (10**9, 2_000, 500)]
    assert chances == sorted(chances)
    assert chances[0] == pytest.approx(quadratic_tail(0.3, twosample.central(spectrum, 1 / 200)), rel=0.01)
    assert quadratic_given(0.3, spectrum, 200, 2_000, 0.01) > chances[1]


def test_rows_that_are_all_the_same_show_nothing() -> None:
    same = np.ones((50, 4), np.float32)
    assert means_differ(known_of(same), same[:20], np.random.default_rng(0))[1:] == (0.0, 1.0, 1.0)


def test_unlike_is_the_share_that_can_be_told_apart() -> None:
    rng = np.random.default_rng(6)
    known, new = rows_of(rng, 1_000), rows_of(rng, 500)
    assert unlike(known, new, rng) < 0.05
    new[:150, 0] += 8
    assert unlike(known, new, rng) == pytest.approx(0.3, abs=0.04)
    assert unlike(known, new[:1], rng) == 0


def test_memberships_pick_so_many_each_time() -> None:
    drawn = memberships(np.random.default_rng(7), 30, 11, 40)
    assert set(drawn.sum(axis=1)) == {11}
    assert len({each.tobytes() for each in drawn}) == 40


def test_a_rise_of_a_share_is_fishers_test() -> None:
    p, given = share_rises(30, 100, 100, 1_000, 0.1)
    assert p == pytest.approx(stats.fisher_exact(np.array([[30, 70], [100, 900]]), alternative="greater").pvalue)
    assert p < given < 1
    assert share_rises(0, 100, 100, 1_000, 0.1) == (1.0, 1.0)
    assert share_rises(100, 100, 1_000, 1_000, 0.1) == (1.0, 1.0)
    assert share_rises(5, 100, 100, 1_000, 0.1)[0] > 0.9


def test_half_of_what_matters_is_allowed_for() -> None:
    assert share_rises(15, 100, 10_000, 100_000, 0.1)[1] > 0.4
    assert share_rises(15, 100, 10_000, 100_000, 0.001)[1] < 0.1


def test_p_of_equal_counts_is_uniform() -> None:
    rng = np.random.default_rng(8)
    shares, found = [0.5, 0.3, 0.15, 0.05], []
    for _ in range(200):
        known, new = rng.multinomial(400, shares), rng.multinomial(200, shares)
        found.append(counts_differ(known, new, 0.1, rng, repeats=99).p)
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_other_counts_are_found_and_measured() -> None:
    found = counts_differ(np.array([600, 400]), np.array([100, 300]), 0.1, np.random.default_rng(9))
    assert found.p < 1e-9
    assert found.given < 1e-6
    assert found.effect == pytest.approx(0.35, abs=0.01)


def test_many_rare_classes_do_not_alarm_by_themselves() -> None:
    rng = np.random.default_rng(10)
    shares = np.full(300, 1 / 300)
    found = [counts_differ(rng.multinomial(900, shares), rng.multinomial(100, shares), 0.1, rng, 50) for _ in range(20)]
    assert np.mean([each.p <= 0.05 for each in found]) <= 0.2
    assert max(e_value(each.given) for each in found) < 3
    assert np.mean([each.effect for each in found]) < 0.15


def test_one_class_alone_shows_nothing() -> None:
    found = counts_differ(np.array([50, 0]), np.array([20, 0]), 0.1, np.random.default_rng(0))
    assert (found.effect, found.p, found.given) == (0, 1, 1)
