"""A record's payload: kind, second, random part, JSON, and the embedding's bytes as they are."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import orjson

from evertune.serving.log.frames import MOST
from evertune.serving.log.records import Answer, Feedback, LogError, fields_of

ANSWER, FEEDBACK = 1, 2
EMBEDDING = np.dtype("<f2")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORM = struct.Struct("<BQQI")
_ANSWER_TIMES, _FEEDBACK_TIMES = ("received", "answered"), ("at",)


class Logged(NamedTuple):
    """A record, decoded."""

    second: int
    random: int
    record: Answer | Feedback


def encode(record: Answer | Feedback, second: int, random: int) -> bytes:
    """The payload. Raises :class:`LogError` for what cannot be kept (no JSON, too large, a time without a zone)."""
    fields = record._asdict()
    embedding = fields.pop("embedding", None)
    blob = b"" if embedding is None else np.ascontiguousarray(embedding, EMBEDDING).tobytes()
    is_answer = isinstance(record, Answer)
    try:
        for name in _ANSWER_TIMES if is_answer else _FEEDBACK_TIMES:
            fields[name] = (fields[name] - EPOCH) // timedelta(microseconds=1)
        json = _json(fields)
    except (TypeError, ValueError) as fault:
        raise LogError(f"The record cannot be kept: {fault}.") from fault
    payload = _FORM.pack(ANSWER if is_answer else FEEDBACK, second, random, len(json)) + json + blob
    if len(payload) > MOST:
        raise LogError(f"The record cannot be kept: it has {len(payload)} bytes, {MOST} are allowed.")
    return payload


def _json(fields: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as fault:
        if "surrogates" not in str(fault):
            raise
        return orjson.dumps(_printable(fields), option=orjson.OPT_SERIALIZE_NUMPY)


def _printable(value: Any) -> Any:
    """Lone surrogates, which neither UTF-8 nor Parquet has, become question marks."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(one) for key, one in value.items()}
    return [_printable(one) for one in value] if isinstance(value, (list, tuple)) else value


def decode(payload: bytes) -> Logged:
    """The record. Raises ValueError for a kind of a later version."""
    kind, second, random, length = _FORM.unpack_from(payload)
    if kind not in (ANSWER, FEEDBACK):
        raise ValueError(f"a record of kind {kind}, which this evertune does not know")
    fields = orjson.loads(payload[_FORM.size : _FORM.size + length])
    for name in _ANSWER_TIMES if kind == ANSWER else _FEEDBACK_TIMES:
        fields[name] = EPOCH + timedelta(microseconds=fields[name])
    if kind == FEEDBACK:
        return Logged(second, random, Feedback(**fields_of(Feedback, fields)))
    blob = payload[_FORM.size + length :]
    fields["embedding"] = np.frombuffer(blob, EMBEDDING).copy() if blob else None
    return Logged(second, random, Answer(**fields_of(Answer, fields)))
