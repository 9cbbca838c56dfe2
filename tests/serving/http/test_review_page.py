"""The page on which people label: by the keyboard alone, with a key that stays in the tab, and nothing gets lost."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.serving.http import world
from tests.serving.http.browser import CHROMIUM, Page, open_page, served
from tests.serving.http.conftest import Start
from tests.serving.http.test_review import Some
from tests.serving.http.world import KEYS

from evertune.serving.http.app import app
from evertune.serving.http.service import Openness, Service

TEXTS = ["The menu is simple.", "<script>document.title = 'broken'</script> & <b>bold</b>", "It broke.", "Fine."]


def test_it_is_given_to_anybody_for_it_holds_nothing(start: Start) -> None:
    client, _ = start(openness=Openness())
    response = client.get("/review")
    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]{20,})'", policy)
    assert nonce is not None
    assert "unsafe" not in policy
    assert "{{nonce}}" not in response.text
    assert not re.search(r"https?:", response.text)
    assert not re.search(r"""<[^>]+\s(?:style|on\w+)=["']""", response.text), "the policy would not let this work"
    assert "innerHTML" not in response.text
    assert "localStorage" not in response.text


def test_the_overview_leads_to_it(client: TestClient) -> None:
    assert 'href="/review"' in client.get("/").text


def _service(home: Path) -> Service:
    service = world.service(home)
    release = service.live.get(world.REVIEWS)
    assert release is not None

    async def log() -> list[str]:
        from datetime import UTC, datetime

        from evertune.serving.log import Answer

        now, output = datetime.now(UTC), {"label": "positive", "scores": [0.4, 0.6], "cut": False, "tokens": 4}
        return await service.log.append(
            [Answer(world.REVIEWS, 2, 12, "d" * 64, text, output, None, "k", now, now) for text in TEXTS]
        )

    ids = asyncio.run(log())
    service.review = Some(ids)
    rows = [row._replace(text=text) for row, text in zip(service.review.rows, TEXTS, strict=True)]
    service.review.rows = rows
    return service


def _said(service: Service) -> dict[str, list[str | None]]:
    """Text → the labels that were given, in their order."""
    from evertune.serving.log.labels import answers_of, labelled_ids

    found: dict[str, list[str | None]] = {}
    every = [row.feedback for row in service.log.recent_feedback(world.REVIEWS, world.PAST)]
    answers = answers_of(service.log.folder, world.REVIEWS, {one.prediction_id for one in every})
    assert labelled_ids(service.log.folder, world.REVIEWS, answers) == answers.keys()
    for one in every:
        assert (one.origin, one.probability) == ("expert", 0.25)
        found.setdefault(answers[one.prediction_id].text, []).append(one.truth)
    return found


def _enter(page: Page, address: str, key: str) -> None:
    page.go(f"{address}/review")
    page.until("document.getElementById('key').checkVisibility()")
    page.run(f"document.getElementById('key').value = '{key}'")
    page.run("document.querySelector('form button').click()")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_person_labels_with_the_keyboard(tmp_path: Path) -> None:
    service = _service(tmp_path / "home")
    service.rebuilt |= {world.REVIEWS, world.NEWS}
    shown = "document.getElementById('text').textContent"
    with served(app(service)) as address, open_page(tmp_path / "profile") as page:
        _enter(page, address, "evt_wrong")
        page.until("!document.getElementById('trouble').hidden")
        assert "not known" in page.text("trouble")
        _enter(page, address, KEYS["full"][1])
        page.until("document.getElementById('one').checkVisibility()")
        assert page.text("state") == "0 labelled here · 4 waiting"
        assert "Why this one: why" in page.text("why")
        assert "60%" not in page.text("labels")
        page.press("m")
        assert "60%" in page.text("labels")
        page.press("m")
        order: list[Any] = []
        for key in ("1", "2"):
            order.append(page.run(shown))
            page.press(key)
        page.press("u")
        page.until(shown, order[1])  # the last label is taken back before it was sent
        page.press("s")
        order.append(page.run(shown))
        page.press("u", "1")
        page.press("2")
        order.append(page.run(shown))
        page.press("s")
        page.until("document.getElementById('empty').checkVisibility()")
        assert page.text("state") == "3 labelled here · 1 waiting"
        page.press("u", "u", "1")  # back over the skipped one: another label for the one before
        page.press("s")
        page.go("about:blank")  # what is held is sent when the page goes
        page.go(f"{address}/review")  # the key is in the tab still
        page.until("document.getElementById('one').checkVisibility()")
        page.until("document.getElementById('state').textContent", "0 labelled here · 1 waiting")
        assert page.run("document.title") == "evertune: label answers"
        said = _said(service)
    assert sorted(order) == sorted(TEXTS)
    assert {text: labels[-1] for text, labels in said.items()} == {
        order[0]: "negative", order[1]: "negative", order[2]: "negative",
    }  # fmt: skip
    assert said[order[1]] == ["negative"], "a label that was taken back in time was never sent"


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_label_of_many_is_found_by_its_name(tmp_path: Path) -> None:
    service = _service(tmp_path / "home")
    service.rebuilt |= {world.REVIEWS, world.NEWS}
    release = service.live.get(world.REVIEWS)
    assert release is not None
    names = (*(f"a_name_of_quite_some_length_and_without_any_space_{number}" for number in range(40)), "refund")
    service.live.switch(replace(release, labels=names, release=world.release(world.REVIEWS, 3)))
    scores = {name: 0.9 if name == "refund" else 0.1 / 40 for name in names}
    queue = Some([])
    queue.rows = [row._replace(scores=scores) for row in service.review.draw(world.REVIEWS)]
    service.review = queue
    with served(app(service)) as address, open_page(tmp_path / "profile") as page:
        page.size(900, 700)
        _enter(page, address, KEYS["full"][1])
        page.until("document.getElementById('one').checkVisibility()")
        assert page.run(
            "document.getElementById('labels').scrollWidth <= document.getElementById('labels').clientWidth"
        )
        assert page.text("labels").replace("\n", "").startswith("1a_name"), "the order would say what the model said"
        page.press("m")
        assert page.text("labels").replace("\n", "").startswith("1refund90%")
        page.press("m")
        page.press("/", *"fund")
        assert page.text("labels").replace("\n", "") == "1refund"
        page.press("1")  # typed, not chosen
        assert page.text("labels") == ""
        page.run("document.getElementById('search').value = ''")
        page.press(*"ref", "Enter")
        page.until("document.getElementById('state').textContent", "1 labelled here · 3 waiting")
        page.go("about:blank")
        page.go(f"{address}/review")
        page.until("document.getElementById('state').textContent", "0 labelled here · 3 waiting")
        assert list(_said(service).values()) == [["refund"]]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_what_was_labelled_here_waits_no_more_though_the_server_lists_it_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a question that was asked before the label came may be read behind it."""
    service = _service(tmp_path / "home")
    service.rebuilt |= {world.REVIEWS, world.NEWS}
    monkeypatch.setattr(service.review, "labelled", lambda *_: None)
    asked = "performance.getEntriesByType('resource').filter(one => one.name.includes('limit')).length"
    with served(app(service)) as address, open_page(tmp_path / "profile") as page:
        _enter(page, address, KEYS["full"][1])
        page.until("document.getElementById('one').checkVisibility()")
        page.press("1", "1")  # the second one sends the first
        page.until("performance.getEntriesByType('resource').filter(one => one.name.endsWith('/review')).length >= 2")
        before = page.run(asked)
        page.press("s")
        page.until(f"{asked} > {before}")
        page.until("document.getElementById('state').textContent", "2 labelled here · 2 waiting")
