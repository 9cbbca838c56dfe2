from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.log.made import segment

from evertune.files import CorruptError
from evertune.serving.log.frames import HEAD_BYTES, HEADER_BYTES, MOST, Header, NewerError, of_kind, read, read_at

PAYLOADS = st.lists(st.binary(max_size=60), max_size=12)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to write over and over."""
    return tmp_path_factory.mktemp("segment") / "one.log"


@given(PAYLOADS)
def test_what_was_written_is_read(path: Path, payloads: list[bytes]) -> None:
    offsets = segment(path, payloads, 5)
    found = read(path)
    assert found.header.segment == 5
    assert [record.payload for record in found.records] == payloads
    assert [record.offset for record in found.records] == offsets
    assert (found.torn, found.damaged) == (0, 0)
    assert [read_at(path, offset) for offset in offsets] == payloads


@given(PAYLOADS, st.data())
def test_a_flipped_bit_costs_one_record_at_most(path: Path, payloads: list[bytes], data: st.DataObject) -> None:
    offsets = segment(path, payloads)
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    found = read(path)
    hit = [number for number, offset in enumerate(offsets) if offset <= at]
    left = [payload for number, payload in enumerate(payloads) if at < HEADER_BYTES or number != hit[-1]]
    assert [record.payload for record in found.records] == left
    assert (found.torn + found.damaged > 0) == (at >= HEADER_BYTES)
    assert [one for offset in offsets if (one := read_at(path, offset)) is not None] == left


@given(PAYLOADS, st.data())
def test_a_torn_tail_costs_what_is_torn(path: Path, payloads: list[bytes], data: st.DataObject) -> None:
    offsets = segment(path, payloads)
    end = path.stat().st_size
    length = data.draw(st.integers(HEADER_BYTES, end))
    os.truncate(path, length)
    found = read(path)
    ends = [*offsets, end][1:]
    left = [payload for payload, behind in zip(payloads, ends, strict=True) if behind <= length]
    assert [record.payload for record in found.records] == left
    assert found.damaged == 0
    assert found.torn == length - max([HEADER_BYTES, *(one for one in ends if one <= length)])


@given(PAYLOADS, st.integers(0, 3))
def test_the_records_of_a_kind_are_found(path: Path, payloads: list[bytes], kind: int) -> None:
    kinds = [bytes([number % 3]) + payload for number, payload in enumerate(payloads)]
    offsets = segment(path, kinds)
    header, found = of_kind(path, kind)
    assert header.segment == read(path).header.segment
    assert [tuple(one) for one in found] == [
        (offset, payload) for offset, payload in zip(offsets, kinds, strict=True) if payload[0] == kind
    ]


def test_the_records_of_a_kind_are_found_around_damage(path: Path) -> None:
    """Whichever byte flips, what is found is whole, and only the one that was hit may be missing."""
    payloads = [bytes([number % 2]) + b"%d" % number * number for number in range(8)]
    offsets = segment(path, payloads)
    whole = path.read_bytes()
    wanted = [(offset, payload) for offset, payload in zip(offsets, payloads, strict=True) if payload[0] == 1]
    for at in range(HEADER_BYTES, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        found = [tuple(one) for one in of_kind(path, 1)[1]]
        hit = max(offset for offset in offsets if offset <= at)
        assert [one for one in found if one not in wanted] == []
        assert [one for one in wanted if one not in found] in ([], [one for one in wanted if one[0] == hit])


@given(PAYLOADS, st.data())
def test_anything_at_any_offset_gives_that_record_or_none(
    path: Path, payloads: list[bytes], data: st.DataObject
) -> None:
    offsets = segment(path, payloads)
    offset = data.draw(st.integers(0, 2**32 - 1) | st.integers(0, path.stat().st_size + 5))
    expected = payloads[offsets.index(offset)] if offset in offsets else None
    assert read_at(path, offset) == expected


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(CorruptError):
        read(path)
    path.write_bytes(Header.new(1, 2).encode() + data)
    assert read(path).records == []


def test_text_cannot_pass_for_a_record(path: Path) -> None:
    """A frame of this very place inside of a damaged record; of the secret its writer has guessed the mark alone."""
    header = Header.new(1, 2)
    guessed = header._replace(secret=header.secret[:4] + bytes(8))
    forged = guessed.frame(HEADER_BYTES + HEAD_BYTES + 4, b"forged")
    data = bytearray(header.encode() + header.frame(HEADER_BYTES, b"text" + forged + b" and more"))
    data[HEADER_BYTES + HEAD_BYTES] ^= 1
    path.write_bytes(data)
    assert read(path).records == []
    assert read(path).damaged > 0, "as many bytes as a frame has: this was no crash"


def test_a_frame_that_was_moved_is_not_whole(path: Path) -> None:
    one, two = segment(path, [b"same length", b"other words"])
    data = path.read_bytes()
    path.write_bytes(data[:one] + data[two:] + data[one:two])
    assert read(path).records == []


def test_both_headers_gone_is_told(path: Path) -> None:
    segment(path, [b"x"])
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    data[HEADER_BYTES // 2 + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptError):
        read(path)


def test_a_newer_format_is_told_apart(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evertune.serving.log.frames.VERSION", 2)
    segment(path, [b"x"])
    monkeypatch.undo()
    with pytest.raises(NewerError, match="format 2"):
        read(path)


def test_a_length_out_of_all_bounds_is_not_believed(path: Path) -> None:
    header = Header.new(1, 2)
    head = header.secret[:4] + (MOST + 1).to_bytes(4, "little") + bytes(4)
    path.write_bytes(header.encode() + head)
    assert read_at(path, HEADER_BYTES) is None
    assert read(path).torn == HEAD_BYTES
