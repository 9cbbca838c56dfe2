"""A server that starts again knows the scores that it had: they are read out of the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.serving.http import world
from tests.serving.http.world import NEWS, REVIEWS, bearer, post, predict

from evertune.serving.http.app import app
from evertune.serving.http.feedback import rebuild_quality
from evertune.serving.log import StoredFeedback


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
        for _ in range(100):
            if after := _quality(client):
                break
            time.sleep(0.05)
        assert after == before


def _restarted(tmp_path: Path) -> list[dict[str, float]]:
    with TestClient(app(world.service(tmp_path))) as client:
        for _ in range(100):
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
