from __future__ import annotations

import numpy as np

from evertune.monitoring import descriptors


def test_what_each_descriptor_counts() -> None:
    found = descriptors.describe(["It's  good. Is it? 42!", ""], frozenset({"it's", "good", "is"}))

    assert {name: column[0] for name, column in found.items()} == {
        "length": 22,
        "words": 5,
        "sentences": 3,
        "non_letters": 6 / 22,
        "unknown_words": 2 / 5,
    }
    assert found["length"][1] == found["words"][1] == found["sentences"][1] == found["non_letters"][1] == 0
    assert np.isnan(found["unknown_words"][1])


def test_the_reference_has_words_that_it_does_not_know_as_new_traffic_of_its_kind_has() -> None:
    rng = np.random.default_rng(1)
    words = [f"w{number}" for number in (rng.zipf(1.4, 60_000) % 5_000)]
    texts = [" ".join(words[first : first + 20]) for first in range(0, 60_000, 20)]

    found = descriptors.described(texts[:2000], texts[2000:])

    of_reference = found.reference["unknown_words"].mean()
    assert of_reference > 0.02
    assert abs(of_reference - found.traffic["unknown_words"].mean()) < 0.01


def test_words_of_scripts_other_than_latin_are_words() -> None:
    assert descriptors.words_of("Größe ÜBER москва l'été") == ["größe", "über", "москва", "l'été"]


def test_nothing_in_nothing_out() -> None:
    found = descriptors.described([], [])

    assert all(len(column) == 0 for part in found for column in part.values())
    assert descriptors.described(["one"], ["two"]).reference["words"].tolist() == [1.0]
