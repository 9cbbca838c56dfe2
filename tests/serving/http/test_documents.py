"""The interactive documents, `/docs` and `/graphql`: programs of others, which work without any network but ours."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.serving.http import world
from tests.serving.http.browser import CHROMIUM, Page, open_page, served
from tests.serving.http.conftest import Start
from tests.serving.http.world import KEYS, REVIEWS

from evertune.serving.http.app import app
from evertune.serving.http.assets import ASSETS
from evertune.serving.http.limits import Limits
from evertune.serving.http.service import Openness

PAGES = ("/docs", "/graphql")
VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", event => violations.push(event.violatedDirective));
"""


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_loaded_from_elsewhere_and_only_the_nonce_runs(client: TestClient, path: str) -> None:
    first, second = client.get(path), client.get(path)
    policy = first.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]{20,})';", policy)
    assert nonce is not None
    assert nonce[1] not in second.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "http" not in policy.replace(nonce[1], ""), "the nonce may hold any letters"
    assert "unsafe" not in policy
    assert "{{" not in first.text
    scripts = re.findall(r"<script[^>]*>", first.text)
    assert len(scripts) >= 2
    assert all(f'nonce="{nonce[1]}"' in tag for tag in scripts)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', first.text)
    assert {one for one in loaded if one not in ("data:,", "/openapi.json")} == {
        one for one in ASSETS if one.startswith(path)
    }


def test_what_graphiql_is_made_of_is_what_its_page_names(client: TestClient) -> None:
    named = dict(re.findall(r'(?:src|href)="(/graphql/[^"]+)" integrity="sha256-([^"]+)"', client.get("/graphql").text))
    found = {path: client.get(path) for path in ASSETS if path.startswith("/graphql/")}
    hashes = {path: base64.b64encode(hashlib.sha256(one.content).digest()).decode() for path, one in found.items()}
    assert named == hashes


def test_the_document_says_what_needs_a_key(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["security"] == [{"key": []}]
    operations = [(path, one) for path, found in document["paths"].items() for one in found.values()]
    assert {path for path, one in operations if one.get("security") == []} == {"/healthz", "/readyz"}


def test_the_document_says_how_much_a_request_may_hold(start: Start) -> None:
    client, _ = start(limits=Limits(texts=77, explained_texts=3, text_characters=54_321, rate_per_s=12.5))
    said = client.get("/openapi.json").json()["info"]["description"]
    assert all(one in said for one in ("77 texts", "3 with `explain`", "54,321 characters", "12.5 times a second"))


def test_swagger_ui_hands_the_document_to_nobody(client: TestClient) -> None:
    assert '"validatorUrl": null' in client.get("/docs").text


@pytest.mark.parametrize("path", [*PAGES, *ASSETS])
def test_where_the_documents_are_closed_their_programs_are_too(start: Start, path: str) -> None:
    client, _ = start(openness=Openness())
    assert client.get(path).status_code == 401


@pytest.mark.parametrize("path", ASSETS)
def test_a_program_says_what_it_is(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/javascript" if path.endswith(".js") else "text/css")
    assert response.headers["x-content-type-options"] == "nosniff"


def test_where_graphiql_does_not_load_the_schema_is_seen(client: TestClient) -> None:
    text = client.get("/graphql").text
    assert "GraphiQL has not been loaded" in text
    assert "type Query {" in text


def _picture(page: Page, name: str) -> None:
    """Kept where ``EVERTUNE_TEST_PICTURES`` says, to be looked at."""
    if folder := os.environ.get("EVERTUNE_TEST_PICTURES"):
        page.picture(Path(folder) / f"{name}.png")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_browser_without_network_shows_both_and_asks_the_server(tmp_path: Path) -> None:
    service = world.service(tmp_path / "home")
    with served(app(service)) as url, open_page(tmp_path / "profile") as page:
        page.before(VIOLATIONS)
        page.size(1200, 900)
        page.go(f"{url}/docs")
        page.until("document.querySelectorAll('.opblock').length >= 12")
        _picture(page, "docs")
        assert page.run("violations") == []

        page.go(f"{url}/graphql")
        page.until("document.querySelector('.graphiql-container') !== null")
        page.run("typed.focus()")
        page.press(*KEYS["full"][1], "Enter")
        page.until("document.querySelector('.graphiql-execute-button') !== null")
        page.run("document.querySelector('.graphiql-execute-button').click()")
        answer = "(document.querySelector('.graphiql-response') || document.body).innerText"
        page.until(f'{answer}.includes(\'"slug": "{REVIEWS}"\')')
        page.run("document.querySelector('.graphiql-sidebar button').click()")
        page.until("(document.querySelector('.graphiql-plugin') || document.body).innerText.includes('query: Query')")
        _picture(page, "graphql")
        assert page.run("violations") == []
