"""A pick proves the chance that the server gave, of one answer of one project, and nothing else does."""

from __future__ import annotations

import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from evertune.serving.picks import Picks

PICKS = Picks(b"s" * 32)


@given(st.text(max_size=10), st.text(max_size=10), st.floats(0, 1, exclude_min=True))
def test_a_chance_comes_back_for_its_own_answer_alone(project: str, id_: str, probability: float) -> None:
    proof = PICKS.sign(project, id_, probability)
    assert PICKS.read(project, id_, proof) == probability
    assert PICKS.read(project, id_ + "x", proof) is None
    assert PICKS.read(project + "x", id_, proof) is None
    assert Picks(b"t" * 32).read(project, id_, proof) is None


@given(st.text(max_size=60))
def test_what_was_not_signed_proves_nothing(proof: str) -> None:
    assert PICKS.read("p", "id", proof) is None


@given(st.integers(0, 24), st.integers(0, 7))
def test_one_changed_bit_proves_nothing(place: int, bit: int) -> None:
    import base64

    signed = bytearray(base64.urlsafe_b64decode(PICKS.sign("p", "id", 0.25) + "=="))
    signed[place] ^= 1 << bit
    assert PICKS.read("p", "id", base64.urlsafe_b64encode(bytes(signed)).decode()) is None


def test_all_servers_of_a_home_sign_with_one_secret(tmp_path: Path) -> None:
    proofs: list[str] = []
    threads = [
        threading.Thread(target=lambda: proofs.append(Picks.of(tmp_path).sign("p", "id", 0.5))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(proofs)) == 1
    (key,) = (tmp_path / "serving").iterdir()
    assert key.stat().st_mode & 0o777 == 0o600
    assert Picks.of(tmp_path).read("p", "id", proofs[0]) == 0.5
