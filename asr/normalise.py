"""Text normalisers per language, and numbers spelt as they are spoken in English.

Perso-Arabic languages get a map each, never one for all: what unifies Persian spelling destroys Urdu. The maps unify
code points that look the same in print; they keep every letter that a reader would miss.
"""

import re

from signwave.text import Normaliser

ENGLISH = Normaliser("english-1", steps=("nfkc", "lower", "strip_punctuation", "collapse_spaces"))

_PERSO_ARABIC_STEPS = (
    "nfkc", "strip_invisible", "strip_tatweel", "strip_marks", "zwnj_to_space", "ascii_digits", "strip_punctuation",
    "collapse_spaces",
)  # fmt: skip
# Composed letters first: "strip_marks" would take a loose hamza or madda away and leave another letter behind.
_COMPOSE = (
    ("\u0627\u0653", "\u0622"),
    ("\u0627\u0654", "\u0623"),
    ("\u0627\u0655", "\u0625"),
    ("\u0648\u0654", "\u0624"),
)
_KEHEH = ("\u0643", "\u06a9")

PERSIAN = Normaliser(
    "persian-1",
    steps=_PERSO_ARABIC_STEPS,
    mapping=(
        *_COMPOSE,
        ("\u064a\u0654", "\u0626"), ("\u06cc\u0654", "\u0626"),  # yeh + hamza is one letter
        ("\u064a", "\u06cc"), ("\u0649", "\u06cc"),  # Arabic yeh, alef maksura -> Farsi yeh
        _KEHEH,
        ("\u06c1", "\u0647"), ("\u06d5", "\u0647"),  # heh goal, ae -> heh
        ("\u06c0", "\u0647"), ("\u06c2", "\u0647"), ("\u0647\u0654", "\u0647"),  # the three spellings of ezafe on heh
        ("\u0629", "\u0647"),  # teh marbuta
        ("\u0623", "\u0627"), ("\u0625", "\u0627"), ("\u0671", "\u0627"),  # alef with hamza, wasla
    ),
)  # fmt: skip

ARABIC = Normaliser(
    "arabic-1",
    steps=_PERSO_ARABIC_STEPS,
    mapping=(
        *_COMPOSE,
        ("\u064a\u0654", "\u0626"),
        ("\u06cc", "\u064a"),  # Farsi yeh -> Arabic yeh; final alef maksura stays a letter of its own
        ("\u06a9", "\u0643"),  # keheh -> kaf
        ("\u06c1", "\u0647"), ("\u06d5", "\u0647"),
        ("\u0671", "\u0627"),
    ),
)  # fmt: skip

URDU = Normaliser(
    "urdu-1",
    steps=_PERSO_ARABIC_STEPS,
    mapping=(
        *_COMPOSE,
        ("\u064a\u0654", "\u0626"), ("\u06cc\u0654", "\u0626"),
        ("\u064a", "\u06cc"), ("\u0649", "\u06cc"),
        _KEHEH,
        ("\u0647\u0654", "\u06c2"), ("\u06c1\u0654", "\u06c2"), ("\u06c0", "\u06c2"),  # goal with hamza, composed
        ("\u0647", "\u06c1"), ("\u06d5", "\u06c1"),  # heh -> heh goal; do-chashmi heh, an aspiration, is kept
        ("\u0629", "\u06c3"),
    ),
)  # fmt: skip

NORMALISERS = {"en": ENGLISH, "fa": PERSIAN, "ar": ARABIC, "ur": URDU}

ANY = Normaliser("any-1", steps=("nfkc", "lower", "strip_invisible", "strip_punctuation", "collapse_spaces"))
"""For languages without a normaliser of their own, and for models of several languages."""


def for_language(code: str) -> Normaliser:
    """The normaliser of a language code such as `fa` or `fa-IR`, `ANY` where there is none."""
    return NORMALISERS.get(code.replace("_", "-").split("-")[0].lower(), ANY)


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
