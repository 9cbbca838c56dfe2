"""A server that starts again knows the scores that it had: they are read out of the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.serving.http import world
from tests.serving.http.world import NEWS, REVIEWS, bearer, post, predict
from tests.serving.log import made

from evertune.serving.http.app import app
from evertune.serving.http.feedback import count_elsewhere, rebuild_quality
from evertune.serving.http.service import Service
from evertune.serving.log import Feedback, StoredFeedback, TrafficLog, reading


def _quality(client: TestClient) -> list[dict[str, float]]:
    found: list[dict[str, float]] = client.get(f"/v1/projects/{REVIEWS}", headers=bearer("full")).json()["quality"]
    return found


def test_scores_survive_a_restart(tmp_path: Path) -> None:
    with TestClient(app(world.service(tmp_path))) as client:
        ids = [one["id"] for one in predict(client, ["good", "bad", "fine"]).json()["predictions"]]
        for id_, body in zip(ids, ({"truth": "positive"}, {"correction": "positive"}, {"thumbs": "down"}), strict=True):
            assert post(client, f"/v1/predictions/{id_}/feedback", body).status_code == 201
        before = _quality(client)
    assert (before[0]["labelled"], before[0]["accuracy"]) == (2, 0.5)
    with TestClient(app(world.service(tmp_path))) as client:
        for _ in range(2_400):
            if after := _quality(client):
                break
            time.sleep(0.05)
        assert after == before


def _restarted(tmp_path: Path) -> list[dict[str, float]]:
    with TestClient(app(world.service(tmp_path))) as client:
        for _ in range(2_400):
            if found := _quality(client):
                return found
            time.sleep(0.05)
    return []


def test_labels_of_every_origin_count_at_once_as_they_do_after_a_restart(tmp_path: Path) -> None:
    service = world.service(tmp_path)
    with TestClient(app(service)) as client:
        ids = [one["id"] for one in predict(client, ["good", "bad", "fine", "great"]).json()["predictions"]]

        def label(origin: str, place: int, name: str) -> None:
            pick = service.picks.sign(REVIEWS, ids[place], 0.25) if origin == "expert" else None
            body = {"labels": [{"id": ids[place], "label": name, "pick": pick}], "origin": origin}
            assert post(client, f"/v1/projects/{REVIEWS}/review", body).status_code == 201

        def say(place: int, name: str) -> None:
            assert post(client, f"/v1/predictions/{ids[place]}/feedback", {"truth": name}).status_code == 201

        label("import", 0, "positive")
        say(0, "negative")  # an imported label goes before it
        label("import", 1, "positive")
        label("expert", 2, "negative")
        say(2, "positive")  # it was picked, and stays out
        say(3, "negative")
        before = _quality(client)
    assert (before[0]["labelled"], before[0]["accuracy"]) == (3, 1 / 3)
    assert _restarted(tmp_path) == before


def _said(id_: str, truth: str, **changes: Any) -> Feedback:
    made = Feedback(REVIEWS, id_, 2, "positive", truth, None, None, None, "cli", datetime.now(UTC), origin="import")
    return made._replace(**changes)


async def _import(home: Path, *said: Feedback) -> None:
    """As ``evertune labels import`` and other servers do: into a node of their own."""
    log = TrafficLog(home)
    await log.append(said)
    await log.close()


def _now(service: Service) -> tuple[int, float]:
    found = service.quality.now(REVIEWS, datetime.now(UTC)).get(2)
    return (found.labelled, found.accuracy) if found else (0, 0.0)


def test_labels_that_another_process_imports_count_without_a_restart(tmp_path: Path) -> None:
    service = world.service(tmp_path)

    async def check() -> None:
        ids = await service.log.append([made.answer(number, REVIEWS) for number in range(4)])
        await _import(tmp_path, _said(ids[0], "positive"))
        await rebuild_quality(service)
        assert _now(service) == (1, 1.0)
        await _import(tmp_path, _said(ids[1], "negative"), _said(ids[2], "negative", probability=0.5, origin="expert"))
        week = datetime.now(UTC) - timedelta(days=8)
        await _import(tmp_path, _said(ids[3], "negative", at=week))
        await count_elsewhere(service)
        assert _now(service) == (2, 0.5), "neither what was picked nor what is too old"
        own = _said(ids[3], "negative", origin="correction")
        await service.log.append([own])  # counted when it was given
        service.log.drain()
        await count_elsewhere(service)
        await count_elsewhere(service)
        assert _now(service) == (2, 0.5)
        await service.close()

    asyncio.run(check())


def test_a_file_that_cannot_be_read_now_is_read_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, faults = world.service(tmp_path), [OSError("the disk stumbles")]
    read = reading.read_feedback

    def stumbles(paths: list[Path]) -> Iterator[StoredFeedback]:
        if faults:
            raise faults.pop()
        return read(paths)

    monkeypatch.setattr(reading, "read_feedback", stumbles)

    async def check() -> None:
        (id_,) = await service.log.append([made.answer(0, REVIEWS)])
        await rebuild_quality(service)
        await _import(tmp_path, _said(id_, "positive"))
        await count_elsewhere(service)
        assert _now(service) == (0, 0.0)
        await count_elsewhere(service)
        assert _now(service) == (1, 1.0)
        await service.close()

    asyncio.run(check())


def test_scores_that_could_not_be_read_are_read_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TestClient(app(world.service(tmp_path))) as client:
        (one,) = predict(client).json()["predictions"]
        post(client, f"/v1/predictions/{one['id']}/feedback", {"truth": "positive"})
    service = world.service(tmp_path)
    recent, faults = service.log.recent_feedback, {REVIEWS: OSError("the disk stumbles")}

    def stumbles(project: str, since: datetime) -> Iterator[StoredFeedback]:
        if project in faults:
            raise faults.pop(project)
        return recent(project, since)

    monkeypatch.setattr(service.log, "recent_feedback", stumbles)

    async def check() -> None:
        await rebuild_quality(service)
        assert service.rebuilt == {NEWS}
        await rebuild_quality(service)
        assert service.quality.now(REVIEWS, datetime.now(UTC))[2].labelled == 1
        await service.close()

    asyncio.run(check())
