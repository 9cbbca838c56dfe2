from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.log.made import answer, feedback, same

from evertune.serving.log import Answer, Feedback, LogError
from evertune.serving.log.codec import _FORM, ANSWER, FEEDBACK, decode, encode

WORDS = st.text(st.characters(exclude_categories=["Cs"]))


@given(WORDS, st.integers(0, 2**40 - 1), st.integers(0, 2**64 - 1), st.integers(0, 40), st.datetimes())
def test_an_answer_comes_back(words: str, second: int, random: int, width: int, moment: datetime) -> None:
    embedding = np.linspace(-3, 3, width).astype(np.float16) if width else None
    given_ = answer(text=words, digest=words, embedding=embedding, received=moment.replace(tzinfo=UTC))
    payload = encode(given_, second, random)
    found = decode(payload)
    assert (found.second, found.random, payload[0]) == (second, random, ANSWER)
    assert isinstance(found.record, Answer)
    assert same(found.record, given_)


@given(WORDS, st.sampled_from(["up", "down", None]))
def test_feedback_comes_back(words: str, thumbs: Any) -> None:
    given_ = feedback("id", comment=words, thumbs=thumbs, truth=None)
    payload = encode(given_, 1, 2)
    assert payload[0] == FEEDBACK
    assert decode(payload).record == given_
    assert isinstance(decode(payload).record, Feedback)


def test_lone_surrogates_become_question_marks() -> None:
    found = decode(encode(answer(text="a\ud800b", output={"k\udfff": ["\udc00", {"n": 1}]}), 1, 2)).record
    assert isinstance(found, Answer)
    assert (found.text, found.output) == ("a?b", {"k?": ["?", {"n": 1}]})


def test_numbers_of_numpy_are_numbers() -> None:
    scores = [np.float32(0.5), np.float64(0.25)]
    found = decode(encode(answer(output={"scores": scores, "tokens": np.int64(3)}), 1, 2)).record
    assert isinstance(found, Answer)
    assert found.output == {"scores": [0.5, 0.25], "tokens": 3}


def test_other_zones_are_the_same_moment() -> None:
    there = datetime(2026, 11, 22, 20, tzinfo=timezone(timedelta(hours=2)))
    found = decode(encode(answer(received=there), 1, 2)).record
    assert isinstance(found, Answer)
    assert found.received == there
    assert found.received.tzinfo is UTC


@pytest.mark.parametrize(
    "record",
    [
        answer(output={"label": object()}),
        answer(received=datetime(2026, 1, 1)),  # noqa: DTZ001 - that is the fault
        answer(text="x" * (17 << 20)),
    ],
)
def test_what_cannot_be_kept_is_refused(record: Answer) -> None:
    with pytest.raises(LogError, match="cannot be kept"):
        encode(record, 1, 2)


def test_a_kind_of_a_later_version_is_told() -> None:
    payload = bytearray(encode(answer(), 1, 2))
    payload[0] = 9
    with pytest.raises(ValueError, match="kind 9"):
        decode(bytes(payload))


def test_a_field_of_a_later_version_is_dropped() -> None:
    payload = encode(answer(), 1, 2).replace(b'"digest"', b'"forest"')
    found = decode(payload).record
    assert isinstance(found, Answer)
    assert found.digest is None


def test_records_of_the_version_before_have_the_defaults_of_what_they_lack() -> None:
    old = {"group", "origin", "annotator", "probability", "label"}
    for record in (answer(), feedback("id")):
        payload = encode(record, 1, 2)
        kind, second, random, length = _FORM.unpack_from(payload)
        fields = orjson.loads(payload[_FORM.size : _FORM.size + length])
        json = orjson.dumps({name: value for name, value in fields.items() if name not in old})
        found = decode(_FORM.pack(kind, second, random, len(json)) + json + payload[_FORM.size + length :]).record
        assert found._asdict().keys() & old
        if isinstance(found, Answer) and isinstance(record, Answer):
            assert same(found, record)
        else:
            assert found == record


def test_what_labels_have_beside_their_name_comes_back() -> None:
    given_ = feedback("id", origin="expert", annotator="a" * 16, probability=0.125, label="b")
    assert decode(encode(given_, 1, 2)).record == given_
    grouped = decode(encode(answer(group="g" * 64), 1, 2)).record
    assert isinstance(grouped, Answer)
    assert grouped.group == "g" * 64
