from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertune.project.block import SLUG
from evertune.project.slugs import LONGEST, suggestion


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Review Sentiment", "review-sentiment"),
        ("Über_Größe!", "uber-groe"),
        ("2024 reviews", "project-2024-reviews"),
        ("--", "my-project"),
        ("日本語", "my-project"),
        ("good-one", "good-one"),
    ],
)
def test_a_slug_near_to_the_name_is_suggested(name: str, slug: str) -> None:
    assert suggestion(name) == slug


@given(st.text())
def test_every_suggestion_is_a_slug(name: str) -> None:
    assert re.fullmatch(SLUG, suggestion(name))
    assert len(suggestion(name)) <= LONGEST
