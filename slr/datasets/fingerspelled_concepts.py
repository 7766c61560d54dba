"""Concepts with a word in English, German and Arabic, fingerspelled in many manual alphabets.

The words are the 513 rows of concepts.tsv (everyday nouns, some adjectives and numerals; no word stands for two
concepts, also without hamza, ta marbuta and ß). The letters are those of slr.datasets.fingerspelling: one recording a
letter and alphabet. A performance is one word spelled in one alphabet; English and German words take Latin alphabets,
Arabic words the Jordanian one, so a concept has many performances and three captions. What is held out, by split:

  held_performances   known concepts. For each, some alphabets never spelled its English or German word in training, and
                      for half of the concepts the Arabic word was never spelled. The alphabets' letters are known.
  unseen_alphabet     known concepts in alphabets of which no recording was trained on.
  open_vocabulary     concepts of which neither a performance nor a caption was trained on.
"""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from signwave.errors import ManifestError, UserError
from signwave.text import Normaliser

if TYPE_CHECKING:
    from signwave.training.data import DataModule
    from slr.datasets.fingerspelling import Alphabet, Letter
    from slr.retrieval.learning.data import QueryText
    from slr.retrieval.texts import Characters

LANGUAGES = ("en", "de", "ar")
Split = Literal["train", "held_performances", "unseen_alphabet", "open_vocabulary"]
TEST_SPLITS: tuple[Split, ...] = ("held_performances", "unseen_alphabet", "open_vocabulary")
_ARABIC_ALPHABET = "jos"
# Spellings for alphabets that lack a letter; the manual alphabet of Jordan has no ta marbuta.
_INSTEAD = {"Ä": "AE", "Ö": "OE", "Ü": "UE", "ẞ": "SS", "ة": "ه"}

QUERY_NORMALISER = Normaliser(
    "query",
    steps=("nfkc", "lower", "strip_invisible", "strip_tatweel", "strip_marks", "strip_punctuation", "collapse_spaces"),
    # What people leave out when they type: hamza on alif, dots of ta marbuta and ya, the German ß.
    mapping=(("أ", "ا"), ("إ", "ا"), ("آ", "ا"), ("ى", "ي"), ("ة", "ه"), ("ß", "ss")),
)


class Concept(NamedTuple):
    """A meaning and its words by language."""

    name: str
    words: Mapping[str, str]


class Performance(NamedTuple):
    """One word spelled in one alphabet. `language` is the word's, `concept` the row of the table."""

    id: str
    concept: int
    language: str
    word: str
    alphabet: str
    letters: "tuple[Letter, ...]"


def concepts() -> list[Concept]:
    """The table; a concept's name is its English word.

    Raises:
        ManifestError: a row lacks a word, or a word is there twice.
    """
    text = resources.files("slr.datasets").joinpath("concepts.tsv").read_text(encoding="utf-8")
    found, seen = [], set()
    for line, row in enumerate(csv.DictReader(text.splitlines(), delimiter="\t"), start=2):
        words = {language: (row.get(language) or "").strip() for language in LANGUAGES}
        for language, word in words.items():
            if not word or (language, QUERY_NORMALISER(word)) in seen:
                reason = f"the {language} word '{word}' is empty or there twice"
                raise ManifestError(f"concepts.tsv:{line}: {reason}; mend the row")
            seen.add((language, QUERY_NORMALISER(word)))
        found.append(Concept(words["en"], words))
    return found


def spell_concept(word: str, alphabet: "Alphabet") -> "tuple[Letter, ...] | None":
    """Recordings that spell a word: ä without a sign of its own is A E; None if a letter is missing all the same."""
    from slr.datasets.fingerspelling import label_of, spell

    labels = "".join(c if c in alphabet else _INSTEAD.get(c, c) for c in label_of(word))
    return tuple(spell(labels, alphabet) or ()) or None


@dataclass
class FingerspelledConceptsConfig:
    """Which alphabets train, how much is held out, and how clips are made."""

    raw: str = "package"
    """Folder of the recordings, or "package" for the installed one."""
    train_alphabets: tuple[str, ...] = (
        "ase", "asq", "cse", "csq", "eso", "ise", "lls", "mfs", "psr", "sgg", "svk", "swl", "tsm"
    )  # fmt: skip
    unseen_alphabets: tuple[str, ...] = ("gsg", "bzs", "ssp")
    max_concepts: int = 0
    """Use the first so many rows of the table; 0 uses all."""
    num_open_concepts: int = 63
    num_held_alphabets: int = 3
    """Training alphabets in which a concept is never spelled in training."""
    rate_hz: float = 12.5
    """Frames a second of the clips; half the recordings' rate halves the work."""
    performances_per_item: int = 3
    passes_per_epoch: int = 4
    """Items of each concept in an epoch, each with other performances."""
    rotation_degrees: float = 7.0
    bone: float = 0.04
    noise: float = 0.008

    def __post_init__(self) -> None:
        both = sorted(set(self.train_alphabets) & set(self.unseen_alphabets))
        if both:
            raise ValueError(f"unseen_alphabets must not be trained on; {', '.join(both)} is in both lists")
        if self.num_held_alphabets < 2 or len(self.train_alphabets) <= self.num_held_alphabets:
            limit = len(self.train_alphabets)
            raise ValueError(f"need 2 <= num_held_alphabets < {limit}, got {self.num_held_alphabets}")
        if min(self.performances_per_item, self.passes_per_epoch, self.num_open_concepts) < 1 or not self.rate_hz > 0:
            raise ValueError("performances_per_item, passes_per_epoch, num_open_concepts and rate_hz must be above 0")

    def table(self) -> list[Concept]:
        """The concepts that this configuration uses."""
        rows = concepts()
        return rows[: self.max_concepts] if self.max_concepts else rows

    def performances(self) -> "dict[Split, list[Performance]]":
        """Every performance by split; the same for every seed, so that a written gallery fits every model."""
        from slr.datasets.fingerspelling import load_alphabets

        names = [*self.train_alphabets, *self.unseen_alphabets, _ARABIC_ALPHABET]
        return split_performances(self, self.table(), load_alphabets(names, raw=self.raw))

    def build(self, *, seed: int, budget: int, num_workers: int = 0, max_items: int = 24) -> "FingerspelledConcepts":
        """Read the recordings and make the splits.

        Args:
            seed: of the training order.
            budget: frames of a padded batch.
            num_workers: loader processes.
            max_items: concepts of a batch.
        """
        from signwave.training.data import DataModule
        from slr.datasets.performances import ConceptBatches, Gallery
        from slr.keypoints.hand_transforms import Augmentation
        from slr.retrieval.learning.data import QueryText
        from slr.retrieval.text_config import character_vocabulary
        from slr.retrieval.texts import Characters

        table, splits = self.table(), self.performances()
        trained = sorted({performance.concept for performance in splits["train"]})
        words = [word for row in trained for word in table[row].words.values()]
        texts = Characters(QUERY_NORMALISER, character_vocabulary(words, QUERY_NORMALISER))
        train = ConceptBatches(
            splits["train"],
            captions={row: table[row].words for row in trained},
            texts=texts,
            rate_hz=self.rate_hz,
            num_performances=self.performances_per_item,
            num_passes=self.passes_per_epoch,
            augmentation=Augmentation(self.rotation_degrees, 0.03, 0.1, 0.15, self.bone, self.noise),
        )
        test = Gallery({name: splits[name] for name in TEST_SPLITS}, rate_hz=self.rate_hz)
        # One bucket: a concept must meet all others as negatives, not only those with words of its length.
        options: dict[str, Any] = {"max_items": max_items, "num_buckets": 1, "rate_hz": self.rate_hz}
        data = DataModule(train, None, test, budget=budget, seed=seed, num_workers=num_workers, **options)
        queries = tuple(
            QueryText(f"{name}/{row}", language, table[row].words[language])
            for name in TEST_SPLITS
            for row in sorted({p.concept for p in splits[name]})
            for language in LANGUAGES
        )
        return FingerspelledConcepts(data, texts, queries, len(trained))


@dataclass(frozen=True)
class FingerspelledConcepts:
    """What `build` gives."""

    data: "DataModule"
    texts: "Characters"
    queries: "tuple[QueryText, ...]" = field(repr=False)
    num_train_concepts: int


def split_performances(
    config: FingerspelledConceptsConfig, table: Sequence[Concept], alphabets: "Mapping[str, Alphabet]"
) -> "dict[Split, list[Performance]]":
    """Decide for every word and alphabet whether it trains, tests, or is left out."""
    if config.num_open_concepts >= len(table):
        given = f"num_open_concepts is {config.num_open_concepts} of {len(table)} concepts"
        raise UserError(f"{given}; leave some to train on")
    rng = np.random.default_rng(1)  # of the split, which is part of the data set
    held_open = set(rng.permutation(len(table))[: config.num_open_concepts].tolist())
    splits: dict[Split, list[Performance]] = {"train": [], **{name: [] for name in TEST_SPLITS}}
    for row, concept in enumerate(table):
        spelled = _spelled(row, concept, alphabets)
        both = [name for name in config.train_alphabets if ("en", name) in spelled and ("de", name) in spelled]
        held = [both[i] for i in rng.permutation(len(both))[: config.num_held_alphabets]]
        arabic_held = bool(rng.random() < 0.5)
        unseen = [config.unseen_alphabets[i] for i in rng.permutation(len(config.unseen_alphabets))[:2]]
        arabic = [("ar", _ARABIC_ALPHABET)]
        tests = [("en", held[0]), ("de", held[-1])]
        if row in held_open:
            splits["open_vocabulary"] += [spelled[key] for key in (*tests, *arabic) if key in spelled]
            continue
        splits["held_performances"] += [
            spelled[key] for key in (*tests, *(arabic if arabic_held else [])) if key in spelled
        ]
        strange = zip(("en", "de"), unseen, strict=False)
        splits["unseen_alphabet"] += [spelled[key] for key in strange if key in spelled]
        trains = [(language, name) for language in ("en", "de") for name in config.train_alphabets if name not in held]
        splits["train"] += [spelled[key] for key in (*trains, *([] if arabic_held else arabic)) if key in spelled]
    return splits


def _spelled(row: int, concept: Concept, alphabets: "Mapping[str, Alphabet]") -> dict[tuple[str, str], Performance]:
    found = {}
    for language, word in concept.words.items():
        for name, alphabet in alphabets.items():
            letters = spell_concept(word, alphabet) if (language == "ar") == (name == _ARABIC_ALPHABET) else None
            if letters:
                identity = f"{concept.name}-{language}-{name}"
                found[language, name] = Performance(identity, row, language, word, name, letters)
    return found
