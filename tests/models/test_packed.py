from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tests.models import tiny

from evertune.models import forward, packed


def _by_transformers(model: Any, rows: list[list[int]]) -> torch.Tensor:
    return model(**forward.padded(model, rows)).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("lengths", [20, 3])
def test_logits_are_those_of_the_transformers_model(lengths: int) -> None:
    model, rows = tiny.classifier(), tiny.rows(30, longest=lengths)
    with torch.no_grad():
        found, expected = forward.logits(model, rows), _by_transformers(model, rows)
    assert expected.std(0).min() > 0.01  # rows differ, so a wrong order would show
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_gradients_are_those_of_the_transformers_model() -> None:
    rows, truth = tiny.rows(25), torch.arange(25) % 2
    gradients = []
    for compute in (forward.logits, _by_transformers):
        model = tiny.classifier()
        torch.nn.functional.cross_entropy(compute(model, rows), truth).backward()  # type: ignore[no-untyped-call]
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    ours, theirs = gradients
    # Type 1 and unused positions have no gradient on either side but may be stored as zeros.
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, atol=1e-5, rtol=1e-3, msg=name)


STATES = [forward.LAST, forward.BEFORE_LAST]


@pytest.mark.parametrize("states", STATES)
def test_embeddings_are_means_over_the_real_tokens(states: int) -> None:
    model, rows = tiny.classifier(), tiny.rows(20)
    with torch.no_grad():
        found = forward.embeddings(model, rows, states)
        for row, mean in zip(rows, found, strict=True):
            wanted = model.bert(input_ids=torch.tensor([row]), output_hidden_states=True).hidden_states[states]
            torch.testing.assert_close(mean, wanted[0].mean(0), atol=1e-5, rtol=0)


def test_another_architecture_takes_the_padded_way() -> None:
    model = _distilbert()
    assert not packed.supports(model)
    rows = tiny.rows(12)
    with torch.no_grad():
        found = forward.logits(model, rows)
        for row, expected in zip(rows, found, strict=True):
            torch.testing.assert_close(model(torch.tensor([row])).logits[0], expected, atol=1e-5, rtol=0)
        alone = model.distilbert(torch.tensor([rows[3]]), output_hidden_states=True).hidden_states
        for states in STATES:
            means = forward.embeddings(model, rows, states)
            torch.testing.assert_close(means[3], alone[states][0].mean(0), atol=1e-5, rtol=0)


def _distilbert() -> Any:
    sizes = {"vocab_size": 128, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    return transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig(**sizes)).eval()


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("made", [tiny.classifier, _distilbert])
def test_both_at_once_are_those_of_two_passes(made: Any, states: int) -> None:
    model, rows = made(), tiny.rows(30)
    passes: list[object] = []
    model.base_model.get_input_embeddings().register_forward_hook(lambda *_: passes.append(None))
    with torch.no_grad():
        together = forward.both(model, rows, states)
        assert len(passes) == 1
        apart = forward.logits(model, rows), forward.embeddings(model, rows, states)
    for one, other in zip(together, apart, strict=True):
        assert other.std(0).min() > 0
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_a_decoder_is_not_taken_for_an_encoder() -> None:
    model = tiny.classifier()
    assert packed.supports(model)
    model.config.is_decoder = True
    assert not packed.supports(model)


def test_dropout_is_drawn_in_training_only() -> None:
    model, rows = tiny.classifier(hidden_dropout_prob=0.5), tiny.rows(8)
    with torch.no_grad():
        assert torch.equal(forward.logits(model, rows), forward.logits(model, rows))
        model.train()
        assert not torch.equal(forward.logits(model, rows), forward.logits(model, rows))


def test_rows_are_packed_shortest_first() -> None:
    batch = packed.pack([[1, 2, 3], [4], [5, 6, 7], [8]])
    assert batch.ids.tolist() == [4, 8, 1, 2, 3, 5, 6, 7] + 24 * [0]
    assert batch.positions.tolist() == [0, 0, 0, 1, 2, 0, 1, 2] + 24 * [0]
    assert batch.starts.tolist() == [0, 1, 2, 5] + 12 * [0]
    assert batch.groups == ((2, 1), (2, 3))
    assert batch.order.tolist() == [1, 3, 0, 2]
    assert batch.rows == 4


@given(st.lists(st.integers(1, 40), min_size=1, max_size=70))
def test_batches_have_few_sizes(lengths: list[int]) -> None:
    batch = packed.pack([[1] * length for length in lengths])
    assert len(batch.ids) == len(batch.positions)
    assert (len(batch.ids) % 32, len(batch.starts) % 16) == (0, 0)
    assert 0 <= len(batch.ids) - sum(lengths) < 32
    assert 0 <= len(batch.starts) - len(lengths) < 16


@pytest.mark.parametrize("count", [16, 17])
def test_filling_changes_no_weight(count: int) -> None:
    # 16 rows of 2 tokens need none, 17 need 30 tokens and 15 rows: what is filled in must move nothing.
    row, model = [5, 6], tiny.classifier()
    gradients = []
    for compute, rows in ((forward.logits, [row] * count), (_by_transformers, [row])):
        model.zero_grad()
        compute(model, rows).mean(0)[0].backward()  # type: ignore[no-untyped-call]
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    found, alone = gradients
    for name, expected in alone.items():
        torch.testing.assert_close(found[name], expected, atol=1e-6, rtol=1e-3, msg=name)


@pytest.mark.parametrize("rows", [[], [[1], []]])
def test_nothing_to_pack_is_refused(rows: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        packed.pack(rows)
