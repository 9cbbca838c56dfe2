from __future__ import annotations

import base64
import re
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from evertune.serving.log.ids import LENGTH, Place, decode, hour_of

PLACES = st.builds(
    Place,
    second=st.integers(0, 2**40 - 1),
    segment=st.integers(0, 2**64 - 1),
    offset=st.integers(0, 2**32 - 1),
    random=st.integers(0, 2**64 - 1),
)


@given(PLACES)
def test_an_id_says_its_place_again(place: Place) -> None:
    id_ = place.encode()
    assert re.fullmatch(r"[A-Za-z0-9_-]{40}", id_)
    assert len(id_) == LENGTH
    assert id_[0] != "-", "or the command line would take it for an option"
    assert decode(id_) == place


@given(PLACES, st.integers(0, LENGTH - 1), st.characters())
def test_each_id_has_one_spelling(place: Place, at: int, other: str) -> None:
    id_ = place.encode()
    changed = id_[:at] + other + id_[at + 1 :]
    assert changed == id_ or decode(changed) is None


@given(st.one_of(st.text(), st.binary(), st.none(), st.integers(), st.text("AQBz-_9", min_size=40, max_size=40)))
def test_what_is_no_id_says_nothing(text: object) -> None:
    assert decode(text) is None


@given(st.binary(min_size=30, max_size=30))
def test_what_only_looks_like_one_says_nothing(data: bytes) -> None:
    assert decode(base64.urlsafe_b64encode(data).decode()) is None


def test_the_hour_is_that_of_utc() -> None:
    assert hour_of(int(datetime(2026, 11, 22, 18, 59, 59, tzinfo=UTC).timestamp())) == "2026-11-22/18"


@given(st.integers(-(2**40), 2**41))
def test_every_second_has_an_hour(second: int) -> None:
    assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}/[0-9]{2}", hour_of(second))
