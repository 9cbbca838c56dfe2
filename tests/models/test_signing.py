from __future__ import annotations

import stat
from pathlib import Path

import pytest

from evertune import files
from evertune.models import signing
from evertune.settings import Settings, load

DIGEST = "ab" * 32


def test_the_own_signature_holds_for_this_digest_only(where: Settings) -> None:
    signature = signing.sign(DIGEST, where)
    assert signing.verify(DIGEST, signature, where) == signature.split(":")[1]
    with pytest.raises(files.CorruptError, match="does not belong"):
        signing.verify("cd" * 32, signature, where)


def test_the_key_is_made_once_and_is_its_owners_alone(where: Settings) -> None:
    assert signing.sign(DIGEST, where) == signing.sign(DIGEST, where)
    key = where.home / "keys" / "signing.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.name for path in key.parent.iterdir()] == ["signing.pem"]


def test_a_stranger_is_trusted_only_by_a_persons_hand(where: Settings, tmp_path: Path) -> None:
    stranger = load({"EVERTUNE_HOME": str(tmp_path / "other")})
    signature = signing.sign(DIGEST, stranger)
    with pytest.raises(files.CorruptError, match="not trusted"):
        signing.verify(DIGEST, signature, where)
    (where.home / "keys" / "trusted").mkdir(parents=True)
    (where.home / "keys" / "trusted" / "other").write_text(signature.split(":")[1] + "\n")
    assert signing.verify(DIGEST, signature, where)


@pytest.mark.parametrize("spoil", [lambda s: "", lambda s: s[:-1], lambda s: s[:-1] + ("0" if s[-1] != "0" else "1")])
def test_a_changed_signature_is_refused(where: Settings, spoil: object) -> None:
    signature = signing.sign(DIGEST, where)
    assert callable(spoil)
    with pytest.raises(files.CorruptError):
        signing.verify(DIGEST, spoil(signature), where)
