import pytest

from evertune.text import Redactor
from evertune.text.patterns import FINDERS

REDACTOR = Redactor(list(FINDERS), {})

FOUND = {
    "email": [
        "john.doe+spam@example.co.uk", "x@sub.domain.museum", "o'neil@ex-ample.org", "jürgen@müller.de",
        "a@xn--bcher-kva.ch",
    ],
    "phone": [
        "+44 20 7946 0958", "+1-555-123-4567", "(555) 123-4567", "0171 1234567", "555.123.4567", "+4915112345678",
        "06 12 34 56 78", "0049 30 123456", "5551234567", "1-800-555-0199", "020 7946 0958", "+49 (0)30 123456-78",
        "\u0660\u0665\u0665 \u0661\u0662\u0663 \u0664\u0665\u0666\u0667",
    ],
    "card": ["4111 1111 1111 1111", "4111111111111111", "5500-0000-0000-0004", "378282246310005", "3782 822463 10005"],
    "iban": [
        "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432",
        "FR14 2004 1010 0505 0001 3M02 606", "no9386011117947",
    ],
    "ip": ["10.0.0.1", "255.255.255.255", "2001:db8::ff00:42:8329", "fe80::1", "::ffff:192.0.2.1", "::1"],
    "secret": [
        "AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1" * 18, "github_pat_" + "A" * 30,
        "xoxb-123456789012-abcdef", "sk_live_" + "a" * 24,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----",
    ],
}  # fmt: skip
LEFT_ALONE = [
    "It ran in 1914-1918, 1939-1945 and 2001 2002 2003.",
    "Sold for $12,345,678 or 10.000.000 or 1 000 000 dollars, €19.99 each.",
    "On 2013-04-25, 25.04.2013 and 04/25/2013 at 12:30:45.",
    "Pi is 3.14159265358979, the score 0.705882352941.",
    "Order 12345678, page 1234, room 42, 50/50, 24/7, 9-to-5.",
    "4111 1111 1111 1112 has a wrong checksum.",
    "Mail me @home, 3@5, a@b, user@localhost.",
    "std::vector<int> a::b and Foo::Bar are code.",
    "The secret: great acting. My password is wrong. Token of love, key to success.",
    "He asked: the password, please. Basic instincts. The bearer of news.",
    "version 1.2.3 of 10.4.256.1",
    "1 2 3 4 5 6 7 8 9 10",
]
ASSIGNED = [
    ("password=hunter2", "password=<secret>"),
    ("Password: hunter2!", "Password: <secret>"),
    ('{"api_key": "abc def"}', '{"api_key": <secret>}'),
    ("my password is hunter2", "my password is <secret>"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG", "aws_secret_access_key = <secret>"),
    ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer <secret>"),
    ("https://user:pa55@host.com/x", "https://user:<secret>@host.com/x"),
    ("postgres://:pw@db/x", "postgres://:<secret>@db/x"),
]


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in FOUND.items() for value in values])
def test_each_kind_is_found_in_a_sentence(kind: str, value: str) -> None:
    assert REDACTOR.redact(f"Look, {value} , there.") == (f"Look, <{kind}> , there.", {kind: 1})
    assert REDACTOR.redact(value) == (f"<{kind}>", {kind: 1})


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert REDACTOR.redact(text) == (text, {})


@pytest.mark.parametrize(("text", "expected"), ASSIGNED)
def test_what_is_assigned_to_a_secrets_name_goes(text: str, expected: str) -> None:
    assert REDACTOR.redact(text)[0] == expected


def test_text_after_a_number_stays() -> None:
    assert REDACTOR.redact("DE89 3704 0044 0532 0130 00 and more")[0] == "<iban> and more"
    assert REDACTOR.redact("4111 1111 1111 1111 12/28")[0] == "<card> 12/28"


def test_a_private_key_that_was_cut_off_takes_the_rest_along() -> None:
    assert REDACTOR.redact("x -----BEGIN PRIVATE KEY-----\nMIIE cut of")[0] == "x <secret>"


def test_two_numbers_side_by_side_both_go() -> None:
    assert REDACTOR.redact("0171 1234567 0172 7654321")[0] == "<phone> <phone>"
