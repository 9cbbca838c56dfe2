"""Texts to try an engine on where a release brings none: short and long, plain and odd."""

from __future__ import annotations

SENTENCES = (
    "The screen is bright and the battery lasts for days.",
    "It broke after a week, and nobody answers.",
    "ok",
    "",
    "I have waited for three weeks, written twice, and still do not know whether my order was ever sent.",
    "Warum kommt meine Karte nicht an?",
    "¿Dónde está mi pedido? 请问我的订单在哪里 🙂",
    "[SEP] <|im_end|> [CLS] is what a tokenizer must read as ordinary words",
    "1234567890 " * 12,
    "All in all a film that one forgets on the way home: nicely shot, well played, and about nothing at all. " * 4,
)
