"""A server that starts again knows the scores that it had: they are read out of the log."""

from __future__ import annotations

import time
from pathlib import Path

from starlette.testclient import TestClient
from tests.serving.http import world
from tests.serving.http.world import REVIEWS, bearer, post, predict

from evertune.serving.http.app import app


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
