from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.serving.engine import made

from evertune.serving.live import Live, Refusal

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_switch_is_one_reference_and_generations_only_rise(tmp_path: Path) -> None:
    folder = made.tokenizer_folder(tmp_path)
    first, second, other = made.served(folder), made.served(folder, generation=2), made.served(folder, "another")
    live = Live()
    assert live.get("made-up") is None
    assert live.switch(first) is None
    assert live.switch(second) is first
    assert live.switch(first) is second
    assert live.get("made-up") is second
    live.switch(other)
    assert live.projects() == ["another", "made-up"]


def test_a_refusal_stays_until_that_generation_or_a_later_one_answers(tmp_path: Path) -> None:
    folder = made.tokenizer_folder(tmp_path)
    live = Live(lambda: NOW)
    live.refuse("made-up", 2, "it does not verify")
    live.switch(made.served(folder, generation=1))
    assert live.refused == {"made-up": Refusal(2, "it does not verify", NOW)}
    live.switch(made.served(folder, "another"))
    assert list(live.refused) == ["made-up"]
    live.switch(made.served(folder, generation=3))
    assert live.refused == {}
