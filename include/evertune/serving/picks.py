"""Proof that an answer was picked for labelling, and with what chance: signed, so that nobody can choose their own.

The chance decides how much the label counts when a model is judged. It travels with the row to whoever labels it, and
back; the server remembers nothing of it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import secrets
import struct
from pathlib import Path

_FORM = struct.Struct(">Bd")
_VERSION, _SIGNATURE = 1, 16


class Picks:
    """Signs and checks with one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def of(cls, home: Path) -> Picks:
        """With the secret of this home, which is made when it is first needed: all who share its traffic share it."""
        path = home / "serving" / "picks.key"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        return cls(path.read_bytes())

    def sign(self, project: str, id_: str, probability: float) -> str:
        """The proof."""
        said = _FORM.pack(_VERSION, probability)
        return base64.urlsafe_b64encode(said + self._signature(project, id_, said)).decode().rstrip("=")

    def read(self, project: str, id_: str, proof: str) -> float | None:
        """The chance that it proves; ``None`` where it proves none for this answer."""
        try:
            found = base64.urlsafe_b64decode(proof.encode("ascii") + b"=" * (-len(proof) % 4))
        except (binascii.Error, ValueError):
            return None
        said, signature = found[: _FORM.size], found[_FORM.size :]
        if len(said) != _FORM.size or not hmac.compare_digest(signature, self._signature(project, id_, said)):
            return None
        version, probability = _FORM.unpack(said)
        return probability if version == _VERSION and 0 < probability <= 1 else None

    def _signature(self, project: str, id_: str, said: bytes) -> bytes:
        about = b"\0".join((b"pick", project.encode(), id_.encode("utf-8", "replace"), said))
        return hmac.new(self._secret, about, hashlib.sha256).digest()[:_SIGNATURE]


def _make(path: Path) -> None:
    # Linked, not renamed: of several that make it at once, the first one's stays.
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(32))
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(aside)
    finally:
        aside.unlink()
