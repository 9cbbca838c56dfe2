from __future__ import annotations

import pytest
from pydantic import ValidationError

from evertune.project import options
from evertune.project.block import Options
from evertune.project.monitoring_options import Notifications
from evertune.project.options import Base, Cut, LabelRule, Method, Project, Source, Tuning


def test_all_blocks_are_to_be_had_from_one_module() -> None:
    pending, found = [Options], set()
    while pending:
        block = pending.pop()
        found.add(block.__name__)
        pending += block.__subclasses__()
    mine = {name for name in found if getattr(options, name, None) is not None}
    assert found <= mine
    assert mine <= set(options.__all__)


def test_nothing_changes_after_loading() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Base().uri = "other"  # type: ignore[misc]  # that is what is tried


def test_the_default_base_model_is_pinned() -> None:
    assert len(Base().sha256 or "") == 64
    assert Base(uri="folder").sha256 is None


def test_ranges_that_meet_do_not_overlap() -> None:
    LabelRule(cuts=(Cut(label="a", below=0), Cut(label="b", at_least=0, below=1), Cut(label="a", at_least=1)))
    with pytest.raises(ValidationError, match="overlap"):
        LabelRule(cuts=(Cut(label="a", at_least=-1, below=0.5), Cut(label="b", at_least=0)))
    with pytest.raises(ValidationError, match="less than below"):
        Cut(label="a", at_least=1, below=1)
    with pytest.raises(ValidationError, match="finite"):
        Cut(label="a", below=float("nan"))


def test_classes_and_cuts_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="not both"):
        LabelRule(classes=("a", "b"), cuts=(Cut(label="a", below=0), Cut(label="b", at_least=0)))


def test_a_project_survives_being_stored() -> None:
    project = Project.model_validate(
        {
            "schema_version": 1, "slug": "x", "owner": "me",
            "data": {
                "sources": [Source(uri="a.csv", constants={"k": "v"})],
                "columns": {"text": "a", "label": "b", "group": {"column": "c", "pattern": "(.)"}},
                "label": {"cuts": [{"label": "n", "below": 0.5}, {"label": "p", "at_least": 0.5}]},
            },
        }
    )  # fmt: skip
    assert Project.model_validate(project.model_dump(mode="json")) == project
    assert Project.model_validate_json(project.model_dump_json(), strict=True) == project


def test_adapters_have_defaults_of_their_own() -> None:
    full, lora = Tuning(), Tuning(method=Method.LORA)
    assert lora.learning_rate > full.learning_rate
    assert lora.tokens_per_batch < full.tokens_per_batch
    assert Tuning(method=Method.LORA, learning_rate=2e-3).learning_rate == 2e-3
    assert Tuning.model_validate(lora.model_dump(mode="json")) == lora


def test_another_method_does_not_inherit_what_was_chosen_for_the_first() -> None:
    chosen = Tuning(learning_rate=5e-5, epochs=7)
    lora = chosen.with_method(Method.LORA)
    assert (lora.method, lora.learning_rate, lora.epochs) == (Method.LORA, 5e-4, 7)
    assert chosen.with_method(Method.FULL) == chosen


@pytest.mark.parametrize("uri", ["x.csv", "x.jsonl", "x.parquet", "hf://a/b", "x.tsv.gz"])
def test_a_source_that_was_written_with_its_defaults_is_read_again(uri: str) -> None:
    source = Source(uri=uri)
    assert Source.model_validate(source.model_dump(mode="json")) == source


def test_how_text_is_written_can_be_told_of_text_alone() -> None:
    assert Source(uri="x.jsonl", encoding="cp1252").encoding == "cp1252"
    assert Source(uri="x.tsv", quoting="none", encoding="utf-16").quoting == "none"
    assert Source(uri="x.parquet", format="csv", quoting="none", header=("a",)).header == ("a",)


def test_one_address_for_two_webhooks_is_refused() -> None:
    hook = {"url": "https://example.org/hook?token=hidden", "secret": "${secret:HOOK}"}
    with pytest.raises(ValidationError, match="stands there twice") as caught:
        Notifications.model_validate({"webhooks": [{**hook, "events": ["alert"]}, {**hook, "events": ["failed"]}]})
    assert "hidden" not in str(caught.value.errors()[0]["msg"])
