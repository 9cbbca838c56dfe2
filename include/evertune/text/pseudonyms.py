"""Names that stand for others: of people, documents, conversations. The same one always gets the same name."""

from __future__ import annotations

import hashlib
import hmac

from evertune.text.normalise import normalise


def pseudonym(value: str, project: str, salt: str) -> str:
    """64 hexadecimal digits for ``value``. Without the salt nobody can try out which value they stand for.

    Data sets and traffic use it alike, so that what is one document in both has one name.
    """
    key = f"evertune/{project}/{salt}".encode()
    return hmac.new(key, normalise(value).encode("utf-8", "replace"), hashlib.sha256).hexdigest()
