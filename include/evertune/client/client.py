"""The client: a method for each operation of the API."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx

from evertune.client import answers, server_answers
from evertune.client.problem import ProblemError, retry_after_s

_BUSY = frozenset({429, 503})
_LONGEST_PAUSE_S = 30.0


class Client:
    """Talks to one server with one key. Safe in threads; close it, or use it as a context manager.

    A request that the server was too busy for (429, 503) is sent again after the time that the server names, and one
    that did not get through (no connection) as well: the server has answered nothing of these, though its log may hold
    one whose disk or time ran out while it was written. One that broke off on the way is sent again only where it
    reads. Everything else is a :class:`ProblemError` at once.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout: float = 15.0,
        *,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """``timeout`` in seconds holds for each try; ``retries`` is how many come after the first."""
        headers = {"accept": "application/json", "user-agent": "evertune-client"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)
        self._retries, self._sleep = retries, sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # -- answers

    def predict(
        self,
        project: str,
        texts: str | Sequence[str],
        *,
        explain: bool = False,
        groups: str | Sequence[str | None] | None = None,
    ) -> answers.Predictions:
        """Classify one text or several; with ``explain`` each word's weight comes along.

        ``groups``: what each text is a part of (a document, a conversation), one name for all or one for each.
        """
        body: dict[str, Any] = {"texts": texts if isinstance(texts, str) else list(texts), "explain": explain}
        if groups is not None:
            body["groups"] = groups if isinstance(groups, str) else list(groups)
        return answers.Predictions.model_validate_json(self._post(f"/v1/projects/{_part(project)}/predict", body))

    def feedback(
        self,
        prediction_id: str,
        *,
        truth: str | None = None,
        correction: str | None = None,
        thumbs: Literal["up", "down"] | None = None,
        comment: str | None = None,
    ) -> answers.Feedback:
        """Say what an answer should have been, or what you think of it. The last label counts; all is kept."""
        said = {"truth": truth, "correction": correction, "thumbs": thumbs, "comment": comment}
        body = {name: value for name, value in said.items() if value is not None}
        return answers.Feedback.model_validate_json(
            self._post(f"/v1/predictions/{_part(prediction_id)}/feedback", body)
        )

    def prediction(self, prediction_id: str) -> answers.StoredPrediction:
        """An answer that was given, what was said of it, and where it comes from."""
        return answers.StoredPrediction.model_validate_json(self._get(f"/v1/predictions/{_part(prediction_id)}"))

    # -- labels

    def review(self, project: str, limit: int = 20) -> answers.Review:
        """The answers that are most worth labelling."""
        found = self._get(f"/v1/projects/{_part(project)}/review", {"limit": limit})
        return answers.Review.model_validate_json(found)

    def label(
        self,
        project: str,
        labels: Iterable[Mapping[str, str | None]],
        *,
        origin: Literal["expert", "import"] = "expert",
    ) -> int:
        """Give labels, each with ``id``, ``label``, the ``pick`` of :meth:`review` and, if you like, ``annotator``.

        All are kept, or none. Returns of how many answers.
        """
        body = {"labels": [dict(one) for one in labels], "origin": origin}
        found = self._post(f"/v1/projects/{_part(project)}/review", body)
        return answers.Kept.model_validate_json(found).kept

    # -- projects

    def projects(self) -> tuple[answers.Project, ...]:
        """The projects that the key may see."""
        return answers.Projects.model_validate_json(self._get("/v1/projects")).projects

    def project(self, project: str) -> answers.ProjectDetail:
        """A project: its release, model card, scores and data version."""
        return answers.ProjectDetail.model_validate_json(self._get(f"/v1/projects/{_part(project)}"))

    def releases(self, project: str, limit: int = 100) -> tuple[answers.Release, ...]:
        """A project's releases, newest first."""
        found = self._get(f"/v1/projects/{_part(project)}/releases", {"limit": limit})
        return answers.Releases.model_validate_json(found).releases

    def graphql(
        self, query: str, variables: Mapping[str, Any] | None = None, operation_name: str | None = None
    ) -> answers.GraphQLAnswer:
        """Run one GraphQL operation. What went wrong with a part of it is in the answer's ``errors``."""
        body = {"query": query, "variables": dict(variables or {}), "operationName": operation_name}
        return answers.GraphQLAnswer.model_validate_json(self._post("/graphql", body))

    # -- the server

    def overview(self) -> server_answers.Overview:
        """Releases, traffic, latency and rolling scores of all projects."""
        return server_answers.Overview.model_validate_json(self._get("/v1/overview"))

    def healthz(self) -> server_answers.Health:
        """Whether the server lives."""
        return server_answers.Health.model_validate_json(self._get("/healthz"))

    def readyz(self) -> server_answers.Readiness:
        """Whether the server answers predictions; a :class:`ProblemError` of status 503 where it does not."""
        return server_answers.Readiness.model_validate_json(self._get("/readyz"))

    def metrics(self) -> str:
        """Counters and states as Prometheus reads them."""
        return self._get("/metrics").decode()

    # -- sending

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> bytes:
        return self._send(self._http.build_request("GET", path, params=query))

    def _post(self, path: str, body: object) -> bytes:
        # A lone surrogate goes out as it is: the server says that it is none of UTF-8's, in a problem document.
        sent = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        headers = {"content-type": "application/json"}
        return self._send(
            self._http.build_request("POST", path, content=sent.encode("utf-8", "surrogatepass"), headers=headers)
        )

    def _send(self, request: httpx.Request) -> bytes:
        for left in range(self._retries, -1, -1):
            try:
                response = self._http.send(request)
            except httpx.TransportError as fault:
                unsent = isinstance(fault, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
                if not left or not (unsent or request.method == "GET"):
                    raise ProblemError.unanswered(request.url, fault) from fault
                self._pause(None, self._retries - left)
                continue
            if response.is_success:
                return response.content
            pause = retry_after_s(response)
            if not left or response.status_code not in _BUSY or (pause or 0) > _LONGEST_PAUSE_S:
                raise ProblemError.of(response)
            self._pause(pause, self._retries - left)
        raise AssertionError  # the last try has returned or raised

    def _pause(self, named: float | None, tried: int) -> None:
        # A little more than was named, at random, so that many clients do not come back in the same instant.
        seconds = min(0.1 * 2**tried, _LONGEST_PAUSE_S) if named is None else named
        self._sleep(seconds * random.uniform(1, 1.25))  # noqa: S311 - no secret


def _part(name: str) -> str:
    return quote(name, safe="")
