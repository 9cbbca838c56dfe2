"""Which runs of digits are a card, a bank account, a telephone number, and which are a price, a date, a year."""

from __future__ import annotations

import re

_IBAN_LENGTHS = {
    country: int(length)
    for country, length in re.findall(
        r"([A-Z]{2})(\d\d)",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
        "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 "
        "LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 "
        "PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 "
        "YE30",
    )
}
"""ISO 13616 registry: letters and digits of an IBAN, by country."""

_GROUP = re.compile(r"\d+")


_DOUBLED = str.maketrans("0123456789", "0246813579")


def luhn(digits: str) -> bool:
    """Whether the digits carry a right check digit (ISO/IEC 7812-1)."""
    doubled = str(int(digits)).zfill(len(digits))[-2::-2].translate(_DOUBLED)
    return (sum(map(int, digits[-1::-2])) + sum(map(int, doubled))) % 10 == 0


def valid_cards(candidate: str, placeholder: str) -> str:
    """``candidate`` with each run of whole groups that is a card number replaced; the longest run goes first."""
    groups = [(match.start(), match.end()) for match in _GROUP.finditer(candidate)]
    out, at, first = [], 0, 0
    while first < len(groups):
        last = _card_from(candidate, groups, first)
        if last is None:
            first += 1
            continue
        out += [candidate[at : groups[first][0]], placeholder]
        at, first = groups[last][1], last + 1
    return "".join([*out, candidate[at:]])


def _card_from(candidate: str, groups: list[tuple[int, int]], first: int) -> int | None:
    digits, ends = "", []
    start, end = groups[first]
    if candidate[start] not in "23456" or end - start < 4:
        return None  # no card starts so
    for last in range(first, len(groups)):
        digits += candidate[slice(*groups[last])]
        if len(digits) > 19:
            break
        if len(digits) >= 13 and luhn(digits):
            ends.append(last)
    return ends[-1] if ends else None


def is_iban(candidate: str) -> int:
    """Where in ``candidate`` the IBAN that it starts with ends; 0 where it starts with none."""
    length = _IBAN_LENGTHS.get(candidate[:2].upper())
    if length is None:
        return 0
    compact, end = [], 0
    for end, character in enumerate(candidate, 1):  # noqa: B007 - used after the loop
        if character not in " -":
            compact.append(character)
            if len(compact) == length:
                break
    else:
        return 0
    if candidate[end : end + 1].isalnum():
        return 0
    turned = "".join(compact[4:] + compact[:4]).upper()
    if not turned.isascii():
        return 0
    return end if int("".join(str(int(character, 36)) for character in turned)) % 97 == 1 else 0


_NEXT_NUMBER = re.compile(r"(?<=\d)([ /]{1,2})(?=\+|\(?0)")
_DATE = re.compile(r"(?:19|20)\d\d([-/.])[01]?\d\1[0-3]?\d(?!\d)|[0-3]?\d([-/.])[0-3]?\d\2(?:19|20)?\d\d(?!\d)")
_THOUSANDS = re.compile(r"\d{1,3}(?:\.\d{3})+|\d{1,3}(?: \d{3})+")


def phones(candidate: str, placeholder: str) -> str:
    """``candidate`` with the telephone numbers in it replaced: the whole, or its parts where it is too long."""
    if sum(map(str.isdigit, candidate)) <= 15:
        return placeholder if is_phone(candidate) else candidate
    parts = _NEXT_NUMBER.split(candidate)
    return "".join(placeholder if at % 2 == 0 and is_phone(part) else part for at, part in enumerate(parts))


def is_phone(candidate: str) -> bool:
    """Whether digits with separators between them look more like a telephone number than like anything else."""
    groups = _GROUP.findall(candidate)
    digits = sum(map(len, groups))
    if not 8 <= digits <= 15:
        return False
    if candidate[0] == "+":
        return True
    if len(groups) == 1:
        return _is_bare_phone(groups[0])
    return not _is_other_number(candidate, groups)


def _is_bare_phone(number: str) -> bool:
    # Without a separator, shorter numbers are mostly identifiers and round ones amounts.
    return (10 <= len(number) <= 13 or (len(number) == 9 and number[0] == "0")) and not number.endswith("00000")


def _is_other_number(candidate: str, groups: list[str]) -> bool:
    if _DATE.match(candidate) or max(map(len, groups)) < 2 or len(groups) > 7:
        return True
    if all(len(group) == 4 and "1000" <= group <= "2100" for group in groups):
        return True  # years
    if groups[0][0] != "0" and _THOUSANDS.fullmatch(candidate):
        return True
    separators = _GROUP.sub("", candidate)
    return separators == "." and not (groups[0][0] == "0" and len(groups[0]) > 2)  # a decimal
