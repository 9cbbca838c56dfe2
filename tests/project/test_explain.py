from __future__ import annotations

import typing
from typing import Any

import pytest
from pydantic_core._pydantic_core import list_all_errors
from pydantic_core.core_schema import ErrorType

from evertune.project.explain import explain, found, is_block, nearest, options
from evertune.project.options import Project

from .conftest import MINIMAL, Faults


def test_the_nearest_name_is_told_whatever_its_case() -> None:
    assert nearest("EPOCH", ["epochs", "seed"]) == "did you mean 'epochs'?"
    assert nearest("latin", ["Latin"]) == "did you mean 'Latin'?"
    assert nearest("zzz", ["epochs"]) == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing"),
        ({}, "a block of options"),
        ([1], "a list of 1"),
        ((1,), "a list of 1"),
        ("é", '"é"'),
        (True, "true"),
        ("x" * 100, "a text of 100 characters"),
        (10**100, "1" + "0" * 59),
    ],
)
def test_what_was_found_is_told_shortly(value: object, words: str) -> None:
    assert found(value) == words


@pytest.mark.parametrize(
    ("lines", "where", "message", "hint"),
    [
        ("tuning: []", "tuning", "a block of options; found a list of 0", ""),
        ("tuning: {epochs: 1.5}", "tuning.epochs", "a whole number; found 1.5", ""),
        ("tuning: {epochs: true}", "tuning.epochs", "a whole number; found true", ""),
        ("tuning: {epochs: ~}", "tuning.epochs", "found nothing", "default"),
        ("validation: {expectations: [{name: ~}]}", "validation.expectations[0].name", "found nothing", "no default"),
        ("tuning: {epochs: 0}", "tuning.epochs", "at least 1; found 0", ""),
        ("tuning: {epochs: 1001}", "tuning.epochs", "at most 1000; found 1001", ""),
        ("tuning: {warmup: 1.5}", "tuning.warmup", "at most 1; found 1.5", ""),
        ("tuning: {weight_decay: x}", "tuning.weight_decay", "a number", ""),
        ("tuning: {class_weights: 1}", "tuning.class_weights", "true or false; found 1", ""),
        ("tuning: {class_weights: off}", "tuning.class_weights", "true or false", "write false"),
        ("evaluation: {slices: domain}", "evaluation.slices", "a list", ""),
        ("evaluation: {slices: [length]}", "evaluation.slices", "always there", ""),
        ("description: 5", "description", "a text; found 5", "quotes"),
        ("gate: {approval: persn}", "gate.approval", "one of automatic, person", "'person'"),
        ("gate: {metric: recal}", "gate.metric", "one of accuracy, f1", "'recall'"),
        ("gate: {guards: [{metric: f1, margin: 1}, {metric: f1, margin: 2}]}", "gate.guards", "f1 stands there", ""),
        ("task: translation", "task", "expected sequence-classification", ""),
        ("language: English", "language", "of the form", ""),
        ("base: {sha256: abc}", "base.sha256", "64 hexadecimal digits", ""),
        ("base: {uri: hf://a/b, sha256: " + "a" * 64 + "}", "base.sha256", "no sha256", ""),
        ("base: {uri: wheel://other==1/model}", "base.sha256", "SHA-256 of the wheel", ""),
        ("preparation: {split: {test: 0.8, validation: 0.2}}", "preparation.split.validation", "at most 0.95", ""),
        ("validation: {expectations: [{name: to_be}]}", "validation.expectations[0].name", 'core expectations; fo', ""),
        ("validation: {expectations: [{name: ExpectColumnValuesToBeUniqe}]}", "validation.expectations[0].name",
         "found 'ExpectColumnValuesToBeUniqe'", "'expect_column_values_to_be_unique'"),
        ("validation: {expectations: [{name: ExpectQueryResultsToMatchComparison}]}", "validation.expectations[0].name",
         "another table, and a run has none. Write a query for unexpected_rows", ""),
        ("validation: {expectations: [{name: expect_table_row_count_to_equal_other_table}]}",
         "validation.expectations[0].name",
         "another table, and a run has none. Write a query for unexpected_rows", ""),
        ("zzzz: 1", "zzzz", "an option of a project file", "the options here are schema_version, slug"),
    ],
)  # fmt: skip
def test_what_was_expected_is_told_in_words(faults: Faults, lines: str, where: str, message: str, hint: str) -> None:
    (fault,) = faults(MINIMAL + lines + "\n")
    assert fault.where == where
    assert fault.message.startswith("expected ")
    assert message in fault.message
    assert hint in fault.hint


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("uri: tickets.csv", "uri: tickets.txt", "data.sources[0].format", ".csv"),
        ("uri: tickets.csv", "uri: tickets", "data.sources[0].format", "format: tsv"),
        ("uri: tickets.csv", "{uri: t.parquet, format: parquet, header: [a]}", "data.sources[0].header", "no header"),
        ("uri: tickets.csv", "{uri: t.jsonl.gz, header: [a]}", "data.sources[0].header", "JSON Lines file names its"),
        ("uri: tickets.csv", "{uri: t.jsonl, quoting: none}", "data.sources[0].quoting", "for CSV and TSV"),
        ("uri: tickets.csv", "{uri: t.parquet, quoting: none}", "data.sources[0].quoting", "this is a Parquet file"),
        ("uri: tickets.csv", "{uri: t.csv, format: jsonl, quoting: none}", "data.sources[0].quoting", "take the line"),
        ("uri: tickets.csv", "{uri: 'hf://a/b', quoting: none}", "data.sources[0].quoting", "a data set of the hub"),
        ("uri: tickets.csv", "{uri: t.parquet, encoding: cp1252}", "data.sources[0].encoding", "Parquet file has its"),
        ("uri: tickets.csv", "{uri: t.csv, header: [a, a]}", "data.sources[0].header", "more than once"),
        ("uri: tickets.csv", "{uri: t.csv, rows: 0}", "data.sources[0].rows", "at least 1"),
        ("label: queue}", "label: queue, keep: [a, b, a]}", "data.columns.keep", "a stands there more than once"),
        ("label: queue}", "label: queue, keep: [label]}", "data.columns.keep", "hide"),
        ("label: queue}", "label: body}", "data.columns.label", "another column"),
        ("queue}\n", "queue}\n  label: {classes: [a]}\n", "data.label", "two different"),
        ("queue}\n", "queue}\n  label: {classes: [a, b, a]}\n", "data.label", "twice"),
        ("queue}\n", "queue}\n  label: {cuts: [{label: a}, {label: b, below: 0}]}\n", "data.label.cuts[0]", "below"),
        ("queue}\n", "queue}\n  label: {cuts: [{label: a, below: .nan}]}\n", "data.label.cuts[0].below", "a number"),
        ("queue}\n", "queue}\n  redaction: {custom: [{name: ip, pattern: a}]}\n", "data.redaction.custom", "ip"),
        ("    - uri: tickets.csv", "    []", "data.sources", "a list of at least 1"),
    ],
)  # fmt: skip
def test_what_was_expected_of_the_data_is_told(faults: Faults, old: str, new: str, where: str, message: str) -> None:
    text = MINIMAL.replace(f"- {old}" if new.startswith("{") else old, f"- {new}" if new.startswith("{") else new)
    (fault,) = faults(text)
    assert fault.where == where
    assert message in fault.message


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("schema_version: 1", 'schema_version: "1"', 'expected 1; found "1"', "write it without quotation marks"),
        ("schema_version: 1", "schema_version: 2", "expected 1; found 2", ""),
        ("slug: tickets", "slug:", "found nothing", "give a value: it has no default"),
        ("owner: team@example.org", "owner:", "found nothing", "give a value: it has no default"),
        ("uri: tickets.csv", "uri:", "found nothing", "give a value: it has no default"),
    ],
)  # fmt: skip
def test_what_is_left_empty_or_put_in_quotes_is_told(
    faults: Faults, old: str, new: str, message: str, hint: str
) -> None:
    (fault,) = faults(MINIMAL.replace(old, new))
    assert message in fault.message
    assert fault.hint == hint


def test_options_are_found_by_their_place() -> None:
    assert "epochs" in options(("tuning",))
    assert "uri" in options(("data", "sources", 3))
    assert "column" in options(("data", "columns", "group"))
    assert options(("data", "sources", 0, "constants", "x")) == {}
    assert options(("nowhere", "at", "all")) == {}


def test_a_block_that_may_be_nothing_stays_nothing() -> None:
    assert is_block(("tuning", "lora"))
    assert not is_block(("data", "columns", "group"))
    assert not is_block(("tuning", "epochs"))


@pytest.mark.parametrize("kind", typing.get_args(ErrorType))
def test_no_error_of_pydantic_is_without_words(kind: str) -> None:
    example: Any = next(error for error in list_all_errors() if error["type"] == kind)
    context = {**(example["example_context"] or {}), "known": ("a",), "message": "m", "pattern": "p", "error": "e"}
    place = ("tuning", "epochs")
    message, _ = explain(kind, place, 1, context, str(example["message_template_python"]))
    assert message.startswith("expected ")


def test_every_option_has_a_meaning_for_the_hint_of_a_missing_one() -> None:
    pending: list[Any] = [Project]
    while pending:
        block = pending.pop()
        for name, field in block.model_fields.items():
            assert field.description, f"{block.__name__}.{name}"
            pending += [kind for kind in _inside(field.annotation) if hasattr(kind, "model_fields")]


def _inside(kind: Any) -> list[Any]:
    inner = typing.get_args(kind)
    return [found for one in inner for found in _inside(one)] if inner else [kind]
