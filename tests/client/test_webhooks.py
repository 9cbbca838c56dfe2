from __future__ import annotations

import json

import pytest

from evertune.client.webhooks import SignatureError, sign, verify

BODY = json.dumps({"id": "1"}).encode()


def test_what_was_signed_is_the_event() -> None:
    assert verify("secret", sign("secret", BODY), BODY) == {"id": "1"}
    assert verify(["new", "secret"], sign("secret", BODY), BODY) == {"id": "1"}


def test_the_signature_is_the_one_that_is_documented() -> None:
    # printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
    assert sign("key", b'{"a":1}', at=1_700_000_000.9) == (
        "t=1700000000,v1=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03"
    )


@pytest.mark.parametrize(
    ("secret", "body", "at", "header"),
    [
        ("other", BODY, 1000, None),
        ("", BODY, 1000, None),
        ("secret", BODY + b" ", 1000, None),
        ("secret", BODY, 1301, None),
        ("secret", BODY, 699, None),
        ("secret", BODY, 1000, ""),
        ("secret", BODY, 1000, "t=1000,v1=" + "0" * 64),
        ("secret", BODY, 1000, "v1=" + "0" * 64),
        ("secret", BODY, 1000, "t=1000,v1=ä"),
    ],
)
def test_anything_else_is_refused(secret: str, body: bytes, at: float, header: str | None) -> None:
    with pytest.raises(SignatureError):
        verify(secret, header if header is not None else sign("secret", BODY, at=1000), body, at=at)


def test_the_time_is_under_the_signature() -> None:
    moved = sign("secret", BODY, at=1000).replace("t=1000", "t=2000")
    with pytest.raises(SignatureError, match="not signed"):
        verify("secret", moved, BODY, at=2000)


def test_an_empty_secret_signs_nothing_that_is_taken() -> None:
    with pytest.raises(SignatureError):
        verify(["", ""], sign("", BODY), BODY)
