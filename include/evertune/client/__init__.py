"""A typed client of the server: ``Client("http://127.0.0.1:8000", key).predict("reviews", "The menu is simple.")``.

It knows nothing of the library beside it; a test checks it against the server's OpenAPI document.
"""

from __future__ import annotations

from evertune.client.client import Client
from evertune.client.problem import Fault, ProblemError

__all__ = ["Client", "Fault", "ProblemError"]
