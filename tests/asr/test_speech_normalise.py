"""Normalisers per language and spelt numbers."""

import pytest

from asr.normalise import ANY, ARABIC, NORMALISERS, PERSIAN, URDU, for_language, spell_digits, spell_number


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "zero"), (7, "seven"), (13, "thirteen"), (20, "twenty"), (42, "forty two"), (100, "one hundred"),
     (101, "one hundred one"), (999, "nine hundred ninety nine")],
)  # fmt: skip
def test_spell_number(number: int, words: str) -> None:
    assert spell_number(number) == words


def test_all_spelt_numbers_differ() -> None:
    assert len({spell_number(number) for number in range(1000)}) == 1000


@pytest.mark.parametrize("number", [-1, 1000])
def test_other_numbers_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match="number must be 0 to 999"):
        spell_number(number)


def test_spell_digits() -> None:
    assert spell_digits("press 1, 20 or 3d.") == "press one, twenty or three d."
    assert spell_digits("dial 8500") == "dial 8500"
    assert spell_digits("nothing  here") == "nothing  here"


@pytest.mark.parametrize(
    ("normalise", "given", "wanted"),
    [
        (PERSIAN, "كتاب علي", "کتاب علی"),
        (PERSIAN, "می‌خواهم", "می خواهم"),
        (PERSIAN, "خانهٔ ما", "خانه ما"),
        (PERSIAN, "خانۀ ما", "خانه ما"),
        (PERSIAN, "۱۲۳؟", "123"),
        (PERSIAN, "آ\u0627\u0653", "آآ"),
        (ARABIC, "السَّلامُ عليكم، کیف", "السلام عليكم كيف"),
        (ARABIC, "مـــدرسة", "مدرسة"),
        (ARABIC, "أ إ آ ى", "أ إ آ ى"),
        (URDU, "ميں گهر", "میں گہر"),
        (URDU, "ھے ں ٹ ڈ ڑ ے", "ھے ں ٹ ڈ ڑ ے"),
        (URDU, "بِلّی۔", "بلی"),
    ],
)
def test_perso_arabic_spellings_become_one(normalise, given: str, wanted: str) -> None:
    assert normalise(given) == wanted


@pytest.mark.parametrize("code", NORMALISERS)
def test_normalising_twice_changes_nothing(code: str) -> None:
    text = "کتاب كتاب علي خانهٔ می‌خواهم أإآ ۱۲ ١٢ Don't — STOP! مـد السَّلامُ"
    once = for_language(code)(text)
    assert for_language(code)(once) == once


def test_for_language() -> None:
    assert for_language("fa-IR") is for_language("fa_ir") is PERSIAN
    assert for_language("xx") is for_language("") is ANY
