"""No generated request makes the server fail: Schemathesis over every operation of the OpenAPI document, and GraphQL.

For each operation, requests that fit the document and requests that do not, half of them about a project and an answer
that there are; then GraphQL documents that fit the schema. Of each answer is checked that it is no 5xx, and for REST
that its status, its content type and its body are as documented. Printed: cases and answers by operation; the exit
status is 1 where one was wrong. The server is whole but for the model, which counts words.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import schemathesis
from benchmarks._machine import describe
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis_graphql import from_schema
from schemathesis import GenerationMode
from schemathesis.core.failures import FailureGroup
from starlette.testclient import TestClient
from tests.serving.http import world
from tests.serving.http.test_fuzz import CHECKS, lasting

from evertune.serving.http.app import app
from evertune.serving.http.graphql import schema as graphql_schema
from evertune.serving.http.limits import Limits

KEY = world.bearer("all")
SHARES = {"predict": 5, "feedback": 5, "graphql": 3, "prediction": 2, "project": 2, "releases": 2}
"""How often an operation is asked, where it is not once."""


class Tally:
    """What was asked and what came of it."""

    def __init__(self) -> None:
        self.statuses: dict[str, Counter[int]] = {}
        self.wrong: dict[str, str] = {}

    def add(self, name: str, status: int) -> None:
        """Count one answer."""
        self.statuses.setdefault(name, Counter())[status] += 1

    @property
    def cases(self) -> int:
        """How many there were."""
        return sum(sum(one.values()) for one in self.statuses.values())


def run(cases: int, strategy: Any, one: Callable[[Any], None]) -> None:
    """Draw so many cases, or as many as there can be: of some operations there is one, or no wrong one at all."""

    @settings(
        max_examples=cases, deadline=None, database=None, phases=[Phase.generate], verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=strategy)
    def ask(case: Any) -> None:
        one(case)

    with contextlib.suppress(Unsatisfiable):
        ask()


def rest(made: Any, cases: int, tally: Tally, prediction: str) -> None:
    """All operations, both kinds of requests."""
    document = schemathesis.openapi.from_asgi("/openapi.json", lasting(made), headers={"host": "127.0.0.1"})
    known = {"project": world.REVIEWS, "prediction_id": prediction}
    names = [one["operationId"] for operations in made.openapi()["paths"].values() for one in operations.values()]
    # Those with the most to vary come last, and make up for those of which there are few cases.
    names.sort(key=lambda name: SHARES.get(name, 1))
    for place, name in enumerate(names):
        share = SHARES.get(name, 1) / sum(SHARES.get(one, 1) for one in names[place:])
        before = tally.cases
        ask = partial(check, name=name, known=known, tally=tally)
        for mode, part in ((GenerationMode.POSITIVE, 0.5), (GenerationMode.NEGATIVE, 1.0)):
            left = round((cases - before) * share * part) - (tally.cases - before)
            run(left, document.find_operation_by_id(name).as_strategy(generation_mode=mode), ask)


def check(case: Any, *, name: str, known: dict[str, str], tally: Tally) -> None:
    """Ask, and compare the answer with the document."""
    if tally.cases % 2 and case.path_parameters:
        case.path_parameters = {key: known.get(key, value) for key, value in case.path_parameters.items()}
    response = case.call(headers=KEY)
    tally.add(name, response.status_code)
    try:
        case.validate_response(response, checks=CHECKS)
    except FailureGroup as fault:
        tally.wrong[f"{name}: {'; '.join(str(one) for one in fault.exceptions)}"] = str(case.as_curl_command())


def graphql(made: Any, cases: int, tally: Tally) -> None:
    """Documents that fit the schema, whatever they ask for."""
    client = TestClient(lasting(made), base_url="http://127.0.0.1")

    def one(query: str) -> None:
        response = client.post("/graphql", json={"query": query}, headers=KEY)
        tally.add("graphql documents", response.status_code)
        if response.status_code >= 500 or any(
            error["extensions"]["status"] == 500 for error in response.json().get("errors", [])
        ):
            tally.wrong[f"graphql: {response.text[:300]}"] = query

    run(cases, from_schema(graphql_schema.as_str()), one)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    options = parser.parse_args()
    print(describe("schemathesis", "hypothesis", "fastapi", "strawberry-graphql"))
    tally, started = Tally(), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        service = world.service(Path(scratch) / "home", limits=Limits(rate_per_s=1e9, deadline_s=60))
        made = app(service)
        with TestClient(made, base_url="http://127.0.0.1") as client:
            prediction = world.predict(client).json()["predictions"][0]["id"]
            rest(made, options.cases * 9 // 10, tally, prediction)
            graphql(made, max(1, options.cases // 10), tally)
    for name, statuses in tally.statuses.items():
        print(f"{name:20} {dict(sorted(statuses.items()))}")
    failed = sum(count for one in tally.statuses.values() for status, count in one.items() if status >= 500)
    seconds = time.perf_counter() - started
    print(
        f"{tally.cases:,} cases in {seconds:.0f} s: {failed} answers of status 5xx, {len(tally.wrong)} kinds of fault"
    )
    for what, how in tally.wrong.items():
        print(f"\n{what}\n  {how[:1000]}")
    return 1 if tally.wrong or failed or tally.cases < options.cases else 0


if __name__ == "__main__":
    sys.exit(main())
