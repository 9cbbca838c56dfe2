"""The built-in redaction patterns: e-mail, phone, card, IBAN, IP address, secret.

Every expression has bounded repeats or starts where a run of its characters starts, so a hostile text of a megabyte
costs about as much per byte as an honest one. Each finder first asks something cheap (is there an ``@``?), because
most texts hold none of this; those that look for numbers are only called for a text with a digit.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from evertune.text.numbers import is_iban, phones, valid_cards

Replace = Callable[[re.Match[str]], str]


def replace(pattern: re.Pattern[str], text: str, by: Replace) -> tuple[str, int]:
    """Like :meth:`re.Pattern.subn`, but counts only matches that are not empty and that ``by`` changed."""
    if pattern.search(text) is None:
        return text, 0
    count = 0

    def one(match: re.Match[str]) -> str:
        nonlocal count
        whole = match.group()
        new = by(match) if whole else whole
        count += new != whole
        return new

    return pattern.sub(one, text), count


_EMAIL = re.compile(
    r"[\w.!#$%&'*+/=?^`{|}~\"-]{1,64}@(?:[\w-]{1,63}\.){1,8}(?:xn--[\w-]{1,59}|[^\W\d_]{2,24})",
)


def email(text: str, placeholder: str) -> tuple[str, int]:
    """E-mail addresses, international ones too."""
    if "@" not in text:
        return text, 0
    return replace(_EMAIL, text, lambda _: placeholder)


_MANY_DIGITS = re.compile(r"\d(?:\D{0,2}\d){7}")
_CARD = re.compile(r"(?<![\d+])\d(?:[ -]?\d){12,47}(?!\d)")


def card(text: str, placeholder: str) -> tuple[str, int]:
    """Numbers of payment cards: 13 to 19 digits, in groups or not, with a right Luhn checksum."""
    if _MANY_DIGITS.search(text) is None:
        return text, 0
    return replace(_CARD, text, lambda match: valid_cards(match.group(), placeholder))


_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}")


def iban(text: str, placeholder: str) -> tuple[str, int]:
    """International bank account numbers: the country's length, a right checksum (ISO 13616, mod 97)."""

    def one(match: re.Match[str]) -> str:
        end = is_iban(match.group())
        return placeholder + match.group()[end:] if end else match.group()

    return replace(_IBAN, text, one)


_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = re.compile(rf"(?<![\w.])(?:{_OCTET}\.){{3}}{_OCTET}(?!\.?\w)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{2,39}(?:\.\d{1,3}){0,3}(?![\w:])", re.ASCII)


def ip(text: str, placeholder: str) -> tuple[str, int]:
    """IPv4 and IPv6 addresses."""
    count = 0
    if text.count(":") >= 2:
        text, count = replace(_IPV6, text, lambda match: placeholder if _is_ipv6(match.group()) else match.group())
    if text.count(".") >= 3:
        text, more = replace(_IPV4, text, lambda _: placeholder)
        count += more
    return text, count


def _is_ipv6(text: str) -> bool:
    # Without a digit it is more likely a name of C++ or Ruby (`a::b`) than an address.
    if text.count(":") < 2 or not any(map(str.isdigit, text)):
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


_PHONE = re.compile(r"(?<![^\W_])(?<![\d$€£¥][.,])(?:\+ ?)?\(?\d(?:[ .\-/()\u2010-\u2015]{0,2}\d){7,31}(?![^\W_])")


def phone(text: str, placeholder: str) -> tuple[str, int]:
    """Telephone numbers of 8 to 15 digits; dates, years, amounts and decimals are left alone where it can be told."""
    if _MANY_DIGITS.search(text) is None:
        return text, 0

    def one(match: re.Match[str]) -> str:
        before = text[max(0, match.start() - 2) : match.start()].rstrip(" ")[-1:]
        return phones(match.group(), placeholder) if before not in {"$", "€", "£", "¥"} else match.group()

    return replace(_PHONE, text, one)


_TOKENS = re.compile(
    r"-----BEGIN[A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END[A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
    r"|(?<![A-Za-z0-9])(?:"
    r"A(?:KIA|SIA|GPA|IDA|ROA|NPA|NVA|BIA|CCA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_\w{20,255}|glpat-[\w-]{16,255}"
    r"|xox[abeoprs]-[\w-]{10,255}|[rsp]k_(?:live|test)_\w{10,255}|sk-[\w-]{20,255}|AIza[\w-]{30,255}"
    r"|hf_[A-Za-z0-9]{20,255}|npm_[A-Za-z0-9]{30,255}|pypi-[\w-]{30,255}|dop_v1_[0-9a-f]{40,128}"
    r"|eyJ[\w-]{8,8192}\.eyJ[\w-]{8,8192}(?:\.[\w-]{0,8192})?"
    r")",
    re.DOTALL | re.ASCII,
)
_VALUE = r"(?:\"[^\"\n]{1,500}\"|'[^'\n]{1,500}'|[^\s\"'<>,;&][^\s\"'<>&]{0,500})"
_ASSIGNED = re.compile(
    r"((?:pass(?:word|wd|phrase|code)|pwd|secret|(?:api|access|private|auth)[_ -]?(?:key|token)|token|credentials?)"
    r"[\"']?(?: ?=>? ?|: ?| is ))(" + _VALUE + r")"
    r"|(\b(?:bearer|basic) )([\w.~+/=-]{16,4096})"
    r"|(://[^\s/@:]{0,64}:)([^\s/@]{1,256})(?=@)",
    re.IGNORECASE,
)
_TOKEN_SIGNS = {
    "_": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "k_live_", "k_test_", "hf_", "npm_", "dop_v1_"),
    "-": ("PRIVATE KEY", "glpat-", "xox", "sk-", "pypi-"),
    "A": ("AKIA", "ASIA", "AGPA", "AIDA", "AROA", "ANPA", "ANVA", "ABIA", "ACCA", "AIza"),
    "eyJ": ("eyJ",),
}
_NAME_SIGNS = ("passw", "passp", "passc", "pwd", "secret", "key", "token", "credential", "bearer ", "basic ", "://")


def secret(text: str, placeholder: str) -> tuple[str, int]:
    """Keys and tokens of known services, private keys, bearer tokens, and what is assigned to ``password``."""
    count = 0
    if _has_token_sign(text):
        text, count = replace(_TOKENS, text, lambda _: placeholder)
    lower = text.lower()
    for sign in _NAME_SIGNS:
        if sign in lower:
            text, more = replace(_ASSIGNED, text, lambda match: _assigned(match, placeholder))
            return text, count + more
    return text, count


def _has_token_sign(text: str) -> bool:
    # Loops, because this runs for every row and any() with a generator costs more than all the searching.
    for mark, signs in _TOKEN_SIGNS.items():
        if mark in text:
            for sign in signs:
                if sign in text:
                    return True
    return False


def _assigned(match: re.Match[str], placeholder: str) -> str:
    name, value = next((match[at], match[at + 1]) for at in (1, 3, 5) if match[at] is not None)
    return name + placeholder if not match[1] or _is_value(name, value) else match.group()


def _is_value(name: str, value: str) -> bool:
    # "password: hunter2" is one, "the secret: great actors" and "my password is wrong" are not.
    if "=" in name or value[0] in "\"'":
        return True
    odd = bool(re.search(r"\d|\w[^\w\s.,!?)'-]\w", value))
    return len(value) >= 4 and (odd or (name[-2:] == ": " and name.lower().startswith(("pass", "pwd", "api"))))


FINDERS: dict[str, Callable[[str, str], tuple[str, int]]] = {
    "secret": secret,
    "email": email,
    "iban": iban,
    "card": card,
    "ip": ip,
    "phone": phone,
}
"""In the order in which they run: what carries a checksum or a mark goes before what is only digits."""

NEED_A_DIGIT = frozenset({"iban", "card", "ip", "phone"})
"""Finders that find nothing in a text without a digit."""
