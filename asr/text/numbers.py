"""Numbers spelt as they are spoken in English."""

import re

_UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
MAX_SPELT = 999


def spell_number(number: int) -> str:
    """English words of a number.

    >>> spell_number(342)
    'three hundred forty two'

    Args:
        number: 0 to 999.
    """
    if not 0 <= number <= MAX_SPELT:
        raise ValueError(f"number must be 0 to {MAX_SPELT}, got {number}")
    hundreds, rest = divmod(number, 100)
    words = [_UNITS[hundreds], "hundred"] if hundreds else []
    if rest >= 20:
        tens, rest = divmod(rest, 10)
        words.append(_TENS[tens])
    if rest or not words:
        words.append(_UNITS[rest])
    return " ".join(words)


def spell_digits(text: str) -> str:
    """Replace every run of up to three ASCII digits by its English words; longer runs stay.

    >>> spell_digits("press 1, or 3d")
    'press one, or three d'
    """
    spelt = re.sub(r"(?<!\d)\d{1,3}(?!\d)", lambda found: f" {spell_number(int(found[0]))} ", text, flags=re.ASCII)
    return re.sub(r" +([,.;:!?]|$)", r"\1", re.sub(" +", " ", spelt)).strip() if spelt != text else text
