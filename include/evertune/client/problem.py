"""The one exception: the server said no, or said nothing."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import httpx

from evertune.records import EvertuneError


class Fault(NamedTuple):
    """One thing that is wrong with a request."""

    where: str
    what: str


class ProblemError(EvertuneError):
    """The server refused the request, or did not answer: its problem document (RFC 9457) as fields."""

    def __init__(
        self,
        status: int,
        type: str,  # noqa: A002 - the field's name in RFC 9457
        title: str,
        detail: str,
        *,
        errors: tuple[Fault, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        """``status`` is 0 where nothing was answered."""
        super().__init__(f"{title}: {detail}" if detail else title)
        self.status, self.type, self.title, self.detail = status, type, title, detail
        self.errors, self.retry_after_s = errors, retry_after_s

    @classmethod
    def of(cls, response: httpx.Response) -> ProblemError:
        """From a response, whatever its body is: something between here and the server may have written it."""
        found = _document(response)
        return cls(
            response.status_code,
            str(found.get("type") or "about:blank"),
            str(found.get("title") or f"{response.status_code} {response.reason_phrase}"),
            str(found.get("detail") or ""),
            errors=tuple(Fault(str(one.get("where")), str(one.get("what"))) for one in found.get("errors") or ()),
            retry_after_s=retry_after_s(response),
        )

    @classmethod
    def unanswered(cls, url: httpx.URL, fault: httpx.TransportError) -> ProblemError:
        """Nothing was answered."""
        why = str(fault) or type(fault).__name__
        return cls(0, "urn:evertune:unanswered", "The server did not answer", f"{url}: {why}")


def retry_after_s(response: httpx.Response) -> float | None:
    """Seconds to wait as the response says; ``None`` where it does not, or names a date."""
    said = response.headers.get("retry-after", "")
    return float(said) if said.isdigit() else None


def _document(response: httpx.Response) -> dict[str, Any]:
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return {}
    try:
        found = json.loads(response.content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
