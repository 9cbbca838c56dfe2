from __future__ import annotations

import numpy as np

from evertune.data.validation.brief import brief, harmless, plain


def test_numpy_becomes_json() -> None:
    found = {"success": np.True_, 1: [np.float32(0.5), np.int64(7)], "nan": float("nan"), "set": {"a"}}
    assert plain(found) == {"success": True, "1": [0.5, 7], "nan": None, "set": ["a"]}


def test_brief_leaves_long_things_out() -> None:
    found = brief({"unexpected_index_list": [1, 2], "partial_unexpected_list": ["x" * 1000], "values": [0] * 1000})
    assert set(found) == {"partial_unexpected_list", "values"}
    assert len(found["partial_unexpected_list"][0]) == 201
    assert len(found["values"]) == 200


def test_nothing_that_html_gives_a_meaning_is_left() -> None:
    evil = harmless({"<b>": ["<script>", "\" onload='x' `&lt;"], "count": 3})
    assert evil["\u2039b\u203a"][0] == "\u2039script\u203a"
    assert not set(str(evil["\u2039b\u203a"][1:])) & set('<>&"`')
    assert evil["count"] == 3
