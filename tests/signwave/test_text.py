"""Normalisers and vocabularies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signwave.errors import ArtefactError, LabelError
from signwave.text import STEPS, Normaliser, Vocabulary


@pytest.mark.parametrize(
    ("step", "text", "expected"),
    [
        ("strip_punctuation", "it's—'so', o'clock.", "it's  so   o'clock "),
        ("strip_punctuation", "l’eau", "l'eau"),
        ("strip_tatweel", "مـــرحبا", "مرحبا"),
        ("strip_marks", "مَرْحَبًا", "مرحبا"),
        ("ascii_digits", "۱۲٣٤ x5", "1234 x5"),
        ("strip_vowel_marks", "ی\u064e\u0654", "ی\u0654"),
        ("strip_isolated_marks", "ك\ufe70ت\ufe71", "كت\ufe71"),
        ("strip_format", "\u06dda\u061cb\u200cc", "ab\u200cc"),
        ("tidy_zwnj", "می\u200c\u200cروم کار\u200cها \u200cبه\u200c 1\u200cا", "می\u200cروم کارها به 1ا"),
        ("zwnj_to_space", "می\u200cروم", "می روم"),
        ("strip_zwnj", "می\u200cروم", "میروم"),
        ("strip_invisible", "\ufeffa\u200fb", "ab"),
        ("nfkc", "ﻻ", "لا"),
        ("nfc", "e\u0301", "é"),
        ("collapse_spaces", "  a \n b ", "a b"),
    ],
)
def test_steps(step: str, text: str, expected: str) -> None:
    assert STEPS[step](text) == expected


def test_strip_marks_keeps_composed_letters() -> None:
    """Hamza and madda letters are letters, not vowel marks (Whisper's normaliser tears them off)."""
    assert STEPS["strip_marks"]("آئینه ۀ") == "آئینه ۀ"


def test_normaliser_round_trip_and_digest() -> None:
    normaliser = Normaliser("fa", ("nfc", "collapse_spaces"), (("ي", "ی"), ("ك", "ک")))
    assert normaliser("  كتابي ") == "کتابی"
    assert Normaliser.from_dict(normaliser.to_dict()) == normaliser
    assert normaliser.digest != Normaliser("fa", ("nfc",)).digest


def test_the_map_comes_first_or_where_the_steps_name_it() -> None:
    """A stored normaliser without the step keeps its meaning."""
    mapping = (("ي", "ی"),)
    assert Normaliser("first", ("nfkc",), mapping)("\ufef1ي") == "يی"
    assert Normaliser("placed", ("nfkc", "map"), mapping)("\ufef1ي") == "یی"


def test_unknown_step() -> None:
    with pytest.raises(ValueError, match="unknown normaliser step 'rot13'"):
        Normaliser("x", ("rot13",))
    with pytest.raises(ArtefactError, match="stored normaliser can't be read"):
        Normaliser.from_dict({"name": "x", "steps": ["rot13"], "mapping": []})


@given(st.lists(st.text(st.characters(categories=["Ll", "Nd"]), min_size=1, max_size=5), min_size=1, max_size=6))
def test_char_vocabulary_round_trip(words: list[str]) -> None:
    text = " ".join(words)
    vocabulary = Vocabulary.build([text], unit="char")
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary


def test_word_vocabulary() -> None:
    vocabulary = Vocabulary.build(["REGEN SCHNEE", "SCHNEE"])
    assert vocabulary.tokens == ("<blank>", "REGEN", "SCHNEE")
    assert vocabulary.encode("SCHNEE REGEN SCHNEE") == [2, 1, 2]
    assert vocabulary.decode([0, 2, 0, 1]) == "SCHNEE REGEN"
    assert vocabulary.unknown("SCHNEE HAGEL") == ["HAGEL"]
    with pytest.raises(LabelError, match="'HAGEL' not among the 2 tokens"):
        vocabulary.encode("SCHNEE HAGEL")


def test_pieces_are_joined_and_closed_words_parted() -> None:
    vocabulary = Vocabulary(("<blank>", "|", "\u2581un", "do", "\u2581it"), unit="piece")
    assert vocabulary.encode("\u2581un do | \u2581it |") == [2, 3, 1, 4, 1]
    assert vocabulary.decode([2, 0, 3, 1, 4, 1]) == "undo it"
    assert vocabulary.unknown("\u2581un x |") == ["x"]
    assert Vocabulary.from_dict(vocabulary.to_dict()) == vocabulary


def test_the_blank_is_never_a_label() -> None:
    vocabulary = Vocabulary.build(["<blank> A"])
    with pytest.raises(LabelError, match="'<blank>' not among"):
        vocabulary.encode("A <blank>")


@pytest.mark.parametrize(
    "values",
    [{}, {"unit": "word"}, {"unit": "byte", "tokens": ["<blank>"]}, {"unit": "word", "tokens": ["a"]},
     {"unit": "word", "tokens": ["<blank>", "a", "a"]}],
)  # fmt: skip
def test_damaged_vocabulary(values: dict[str, object]) -> None:
    with pytest.raises(ArtefactError, match="stored vocabulary can't be read"):
        Vocabulary.from_dict(values)
