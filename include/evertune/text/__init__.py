"""Text as the model sees it: redacted, normalised, tokenised. Training and serving call the same functions.

:func:`clean` is what makes a row's text from what came in; everything stored or answered starts from its result.
"""

from __future__ import annotations

from evertune.text.normalise import normalise, row_id
from evertune.text.pseudonyms import pseudonym
from evertune.text.redact import Redactor, clean
from evertune.text.tokens import encode, load_tokenizer, spans

__all__ = ["Redactor", "clean", "encode", "load_tokenizer", "normalise", "pseudonym", "row_id", "spans"]
