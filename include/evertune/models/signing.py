"""Signatures of bundles: Ed25519 over the digest, by a key that is made once and never leaves ``home/keys``.

The digest names every byte of the bundle (through its manifest), so the signature does. It stands beside the bundle,
in the model version's tags: inside, it would change what it signs. Other homes trust a signer when its public key is
put into their ``keys/trusted``.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from evertune import files
from evertune.settings import Settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_CONTEXT = b"evertune bundle, format 1\n"
_FORM = re.compile(r"ed25519:(?P<key>[0-9a-f]{64}):(?P<signature>[0-9a-f]{128})")


def sign(digest: str, settings: Settings) -> str:
    """``ed25519:<public key>:<signature>``, in hex, over the bundle's digest."""
    private = _own_key(settings)
    return f"ed25519:{_raw(private.public_key())}:{private.sign(_message(digest)).hex()}"


def verify(digest: str, signature: str, settings: Settings) -> str:
    """The signer's public key, in hex. Raises :class:`CorruptError` where it is not trusted or did not sign this."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    parts = _FORM.fullmatch(signature)
    if parts is None:
        raise files.CorruptError("The bundle's signature is none. Do not use this model.")
    if parts["key"] not in trusted(settings):
        raise files.CorruptError(
            f"The bundle is signed by {parts['key'][:16]}…, which is not trusted here. If you trust it, write the key "
            f"into a file below {settings.home / 'keys' / 'trusted'}."
        )
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(parts["key"])).verify(
            bytes.fromhex(parts["signature"]), _message(digest)
        )
    except InvalidSignature as fault:
        raise files.CorruptError(f"The signature does not belong to digest {digest[:12]}…. Do not use it.") from fault
    return parts["key"]


def trusted(settings: Settings) -> frozenset[str]:
    """Public keys, in hex, whose signatures count: this home's own, and one a file below ``keys/trusted``."""
    others = [path.read_text("utf-8").strip() for path in sorted((settings.home / "keys" / "trusted").glob("*"))]
    return frozenset([_raw(_own_key(settings).public_key()), *others])


def _message(digest: str) -> bytes:
    return _CONTEXT + digest.encode()


def _raw(key: Ed25519PublicKey) -> str:
    return key.public_bytes_raw().hex()


def _own_key(settings: Settings) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = settings.home / "keys" / "signing.pem"
    if not path.exists():
        _make_key(path)
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise files.CorruptError(f"{path} is no Ed25519 key. Move it away; a new one is made.")
    return key


def _make_key(path: Path) -> None:
    # Written aside and linked: of two processes that start at once, one makes the key and both read that one.
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    aside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            path.hardlink_to(aside)
        except FileExistsError:
            return
        files.fsync(path.parent)
    finally:
        aside.unlink()
