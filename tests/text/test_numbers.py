import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertune.text.numbers import is_iban, is_phone, luhn, valid_cards


@given(st.text("0123456789", min_size=12, max_size=18))
def test_exactly_one_check_digit_is_right(digits: str) -> None:
    assert sum(luhn(digits + check) for check in "0123456789") == 1


@given(st.text("0123456789", min_size=18, max_size=18), st.integers(1, 96))
def test_only_the_right_check_digits_make_an_iban(account: str, off: int) -> None:
    check = 98 - int(account + "131400") % 97  # D = 13, E = 14
    assert is_iban(f"DE{check:02}{account}") == 22
    assert is_iban(f"DE{(check + off - 2) % 97 + 2:02}{account}") in (0, 22 if off % 97 == 0 else 0)


@pytest.mark.parametrize("candidate", ["ZZ89370400440532013000", "DE8937040044053201300", "DE893704004405320130001"])
def test_an_iban_has_its_countrys_length(candidate: str) -> None:
    assert is_iban(candidate) == 0


def test_a_card_is_found_between_other_groups() -> None:
    assert valid_cards("1234 4111 1111 1111 1111 99", "<card>") == "1234 <card> 99"


@pytest.mark.parametrize(
    "candidate", ["1234567", "+1234567", "1234567890123456", "1900 1950", "12.345.678", "100000000000"]
)
def test_no_phone(candidate: str) -> None:
    assert not is_phone(candidate)
