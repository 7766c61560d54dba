"""How texts become token ids, and which part of a query each id stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from signwave.errors import ArtefactError, ConfigError
from slr.retrieval.text_config import CAPTION_NORMALISER, TextTowerConfig, character_vocabulary
from slr.retrieval.texts import Characters, Part, Pieces

TEXTS = ["The boy goes home", "der Junge geht nach Hause", "پسر به خانه می‌رود", "男孩回家"]


def characters(*texts: str) -> Characters:
    return Characters(CAPTION_NORMALISER, character_vocabulary(texts, CAPTION_NORMALISER))


def pieces(**settings: int) -> Pieces:
    return Pieces.train(TEXTS * 3, size=90, normaliser=CAPTION_NORMALISER, **settings)


def test_characters_know_those_of_training() -> None:
    reader = characters("ab c")
    assert reader.vocabulary.tokens == ("<blank>", "<unknown>", "a", "b", "c", "|")
    assert reader.encode("A xb!") == [2, 5, 3]
    assert reader.encode("xyz") == [1]
    assert reader.unknown("x a x y") == ["x", "y"]


def test_a_word_is_explained_by_letters_and_a_sentence_by_words() -> None:
    reader = characters("abc")
    assert reader.parts("cab") == [Part("c", (0,)), Part("a", (1,)), Part("b", (2,))]
    assert characters("ab c").parts("ab  c") == [Part("ab", (0, 1)), Part("c", (3,))]
    assert reader.parts("xyz") == [Part("xyz", (0,))]


@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_of_every_word_are_found_in_any_script(text: str) -> None:
    reader = pieces()
    parts = reader.parts(text)
    assert [part.text for part in parts] == reader.normal(text).split()
    places = [place for part in parts for place in part.places]
    assert len(set(places)) == len(places)
    assert max(places) < len(reader.encode(text))
    assert reader.unknown(text) == []


def test_a_tokenizer_survives_being_stored() -> None:
    first = pieces()
    assert pieces().json == first.json  # a resumed run makes its tokenizer again
    second = Pieces(first.json, normaliser=first.normaliser)
    assert second.size == first.size
    assert all(first.encode(text) == second.encode(text) for text in TEXTS)
    with pytest.raises(ArtefactError, match=r"tokenizer\.json can't be read"):
        Pieces("{}")


def test_long_texts_keep_the_first_and_the_last_token() -> None:
    long, text = pieces(max_tokens=200), " ".join(TEXTS)
    ids = long.encode(text)
    short = pieces(max_tokens=5).encode(text)
    assert len(ids) > 5
    assert len(short) == 5
    assert (short[0], short[-1]) == (ids[0], ids[-1])
    with pytest.raises(ValueError, match="at least 3"):
        pieces(max_tokens=2)


def test_what_the_tokenizer_does_not_know_is_named() -> None:
    reader = pieces()
    assert reader.unknown("the 貓 boy") == ["貓"]
    assert reader.encode("") == [1]
    assert reader.parts("貓")[0].text == "貓"


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="save the fast tokenizer"):
        Pieces.load(tmp_path)


def test_text_settings_that_make_no_sense_are_named() -> None:
    with pytest.raises(ConfigError, match="allowed are pieces"):
        TextTowerConfig(kind="words")
    with pytest.raises(ConfigError, match=r"needs texts\.dir"):
        TextTowerConfig(kind="transformer")
    with pytest.raises(ConfigError, match=r"takes no texts\.dir"):
        TextTowerConfig(dir="x")
