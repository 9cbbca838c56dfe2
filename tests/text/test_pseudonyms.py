from __future__ import annotations

import re

from evertune.text import pseudonym


def test_the_same_name_gets_the_same_hash_and_others_do_not() -> None:
    one = pseudonym("Ann  Lee", "shop", "salt")
    assert re.fullmatch("[0-9a-f]{64}", one)
    assert one == pseudonym("Ann Lee\u200b", "shop", "salt")
    others = {pseudonym("Bob", "shop", "salt"), pseudonym("Ann Lee", "other", "salt"), pseudonym("Ann Lee", "shop", "")}
    assert len({one, *others}) == 4
    assert len(pseudonym("a\ud800", "shop", "salt")) == 64
