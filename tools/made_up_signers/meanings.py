"""What signs mean: a hundred concepts with the words that English, German and Persian have for them.

The table meanings.tsv has a row for each concept. Words of equal meaning are parted by slashes, forms of a word by
commas:

    nouns       English singular, plural; German gender, singular, plural; Persian singular
    verbs       English infinitive, present, past; German present, past, participle (a separable part follows a blank;
                `dat` takes the dative, `sein` makes the perfect with it); Persian present, past, preposition
    adjectives  as they are, in German the stem that endings follow
    others      as they are

A kind may name what goes with it: the objects of a verb, the nouns of an adjective, the tense of a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

_TABLE = Path(__file__).with_name("meanings.tsv")
LANGUAGES = ("en", "de", "fa")
NOUNS = ("person", "animal", "food", "thing")

Word = tuple[str, ...]
"""The forms of one word."""


@dataclass(frozen=True)
class Meaning:
    """A concept.

    Attributes:
        number: of the motion that means it.
        name: in English.
        kind: person, animal, food, thing, verb, adjective, time, place, number or not.
        goes_with: kinds of objects or nouns it goes with, or a tense.
        words: spoken language → its words.
    """

    number: int
    name: str
    kind: str
    goes_with: tuple[str, ...]
    words: dict[str, tuple[Word, ...]] = field(compare=False)

    def fits(self, noun: Meaning) -> bool:
        """Whether a verb takes this object, or an adjective this noun."""
        return noun.kind in self.goes_with or "any" in self.goes_with


@lru_cache
def meanings() -> tuple[Meaning, ...]:
    """All concepts; the place in this order is the number of the motion.

    Kinds are mixed, so that the first dozen make sentences already.
    """
    lines = _TABLE.read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split("\t") for line in lines]
    kinds = [row[0].partition(":")[0] for row in rows]
    turns = [(kinds[:place].count(kind) + 0.5) / kinds.count(kind) for place, kind in enumerate(kinds)]
    ordered = sorted(range(len(rows)), key=lambda place: (turns[place], place))
    return tuple(_meaning(number, rows[place]) for number, place in enumerate(ordered))


def _meaning(number: int, row: list[str]) -> Meaning:
    kind, _, goes_with = row[0].partition(":")
    words = {
        language: tuple(tuple(word.split(",")) for word in cell.split(" / "))
        for language, cell in zip(LANGUAGES, row[2:], strict=True)
    }
    return Meaning(number, row[1], kind, tuple(goes_with.split("+")) if goes_with else (), words)
