"""What one caller may ask of the server at once. Everything that a request can make large has its bound here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request and of all together; a request beyond one is refused, never served slowly."""

    connections: int = 4_096
    """Connections at once, idle ones too, and never more than half of the files that may be open; more get a 503."""
    head_s: float = 10.0
    """Seconds that a connection has for a request's path and headers."""
    head_bytes: int = 32_768
    """Bytes of path and headers together."""
    pipelined: int = 100
    """Requests that a connection may send behind one that has no answer yet."""
    body_bytes: int = 1_048_576
    """Bytes of a request's body, counted while they arrive: not one more is kept in memory."""
    texts: int = 64
    """Texts in one request."""
    explained_texts: int = 8
    """Texts in one request that asks for attributions, which cost one run of the model a word."""
    text_characters: int = 100_000
    """Characters of one text. Below it a text is cut to the model's tokens, and the answer says so."""
    comment_characters: int = 4_000
    """Characters of a comment or a correction."""
    feedback: int = 100
    """Feedback that an answer is shown with, the newest: it may be given without end."""
    queue_tokens: int = 65_536
    """Tokens that may wait for the engine; more are refused with 503."""
    deadline_s: float = 10.0
    """Seconds from a request's first byte to its answer: a body that arrives too slowly is refused as well."""
    grace_s: float = 0.5
    """Seconds after which a request is ended that is still at work then, so that whoever knows why tells it first."""
    ledger_s: float = 3.0
    """Seconds that a request waits for the ledger; then it is answered without, where that can be."""
    concurrency: int = 512
    """Requests at once in the whole server, about half of them of one key; more are refused with 503."""
    graphql_depth: int = 8
    """Levels of a GraphQL selection."""
    graphql_aliases: int = 10
    """Aliases in a GraphQL document, fragments spread out."""
    graphql_tokens: int = 1_000
    """Words and signs of a GraphQL document."""
    graphql_cost: int = 100
    """Price of a GraphQL operation: one for each object that it may return, more where a disk or the model is asked."""
    graphql_concurrency: int = 8
    """GraphQL operations at once; more are refused with 503, so that they cannot crowd out predictions."""
    rate_per_s: float = 100.0
    """Requests a second of a key that names no rate of its own."""
