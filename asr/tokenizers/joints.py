"""Where a word is joined of morphs: at its non-joiners, at affixes and clitics of a table, or where Morfessor cuts it.

A table says which affixes a language writes onto its words. Letters alone don't tell می of میرود from that of میدان, so
most affixes ask for evidence: what is left must be a word of the texts (or of a word list), or be joined itself.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal, NamedTuple, Protocol, cast, get_args

from asr.text import primary
from asr.tokenizers.pieces import PieceModel
from signwave.errors import ArtefactError, UserError

ZWNJ = "\u200c"
LANGUAGES = ("fa", "ar", "ur")
"""Languages with a table of affixes."""

JointKind = Literal["affixes", "morfessor"]
JOINT_KINDS: tuple[JointKind, ...] = get_args(JointKind)
Side = Literal["prefix", "suffix", "whole", "stem"]
Evidence = Literal["none", "known", "frequent", "stem"]


class Affix(NamedTuple):
    """One row.

    Attributes:
        text: its letters.
        side: "prefix", "suffix"; "whole" is a word that is never cut; "stem" is no affix but evidence for some.
        slot: affixes of one side stand in the order of their slots, 1 at the edge of the word.
        min_stem: letters that must be left.
        evidence: "none"; "known": what is left is a word; "frequent": one at least as frequent as the whole; "stem": a
            stem of the table.
        endings: how the stem's edge at the affix may be written when it stands alone, as (here, alone): Arabic writes ة
            as ت before a clitic, and drops the alef of ال after ل.
    """

    text: str
    side: Side
    slot: int
    min_stem: int
    evidence: Evidence
    endings: tuple[tuple[str, str], ...]


class Joints(Protocol):
    """Cuts words into morphs; a morph list is joined to the word again by concatenation."""

    def morphs(self, word: str) -> list[str]:
        """Return the morphs of a normalised word, non-joiners at the side of the affix."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""


@functools.cache
def affixes(language: str) -> tuple[Affix, ...]:
    """Return the table of a language.

    Raises:
        UserError: there is none.
    """
    code = primary(language)
    if code not in LANGUAGES:
        raise UserError(
            f"'{language}': no table of affixes; there are {', '.join(LANGUAGES)}, Morfessor needs none (--joints)"
        )
    lines = resources.files("asr.tokenizers").joinpath(f"affixes/{code}.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(_affix(row) for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def _affix(row: Mapping[str, str]) -> Affix:
    endings = tuple(cast("tuple[str, str]", tuple(pair.split(">"))) for pair in row["endings"].split(",") if pair)
    return Affix(
        row["affix"],
        cast(Side, row["side"]),
        int(row["slot"]),
        int(row["min_stem"]),
        cast(Evidence, row["evidence"]),
        endings,
    )


@dataclass(frozen=True)
class AffixJoints:
    """Cuts at non-joiners and at affixes of a table.

    Attributes:
        table: affixes, longer ones are tried first.
        words: normalised word → how often it was seen; the evidence.
    """

    table: tuple[Affix, ...]
    words: Mapping[str, int]
    _found: dict[str, list[str]] = field(default_factory=dict, repr=False, compare=False)

    def morphs(self, word: str) -> list[str]:
        """Return the morphs of a word."""
        if word not in self._found:
            self._found[word] = self._parts(word)
        return list(self._found[word])

    def _parts(self, word: str) -> list[str]:
        morphs: list[str] = []
        for place, part in enumerate(word.split(ZWNJ)):
            cut = [part] if part in self._texts else self._cut(part) or [part]
            if place:  # the non-joiner goes with the affix: a stem is written one way, whatever follows
                if morphs[-1] in self._prefixes:
                    morphs[-1] += ZWNJ
                else:
                    cut[0] = ZWNJ + cut[0]
            morphs += cut
        return [morph for morph in morphs if morph]

    def _cut(self, word: str, slots: tuple[int, int] = (0, 0)) -> list[str] | None:
        """The morphs of a word without non-joiners; None where nothing says that it is joined.

        Args:
            word: what is left of it.
            slots: of the outer prefix and suffix; those further in have higher ones.
        """
        if word in self._whole:
            return None
        for affix in self._by_length:
            is_prefix = affix.side == "prefix"
            stem = _stem(word, affix)
            if stem is None or affix.slot <= slots[0 if is_prefix else 1]:
                continue
            inner = self._cut(stem, (affix.slot, slots[1]) if is_prefix else (slots[0], affix.slot))
            if self._is_evident(word, stem, inner, affix):
                return [affix.text, *(inner or [stem])] if is_prefix else [*(inner or [stem]), affix.text]
        return None

    @functools.cached_property
    def _by_length(self) -> list[Affix]:
        cutting = [affix for affix in self.table if affix.side in ("prefix", "suffix")]
        return sorted(cutting, key=lambda affix: -len(affix.text))

    @functools.cached_property
    def _texts(self) -> frozenset[str]:
        return frozenset(affix.text for affix in self._by_length)

    @functools.cached_property
    def _prefixes(self) -> frozenset[str]:
        return frozenset(affix.text for affix in self._by_length if affix.side == "prefix")

    @functools.cached_property
    def _whole(self) -> frozenset[str]:
        return frozenset(affix.text for affix in self.table if affix.side == "whole")

    @functools.cached_property
    def _stems(self) -> frozenset[str]:
        return frozenset(affix.text for affix in self.table if affix.side == "stem")

    def _is_evident(self, word: str, stem: str, inner: list[str] | None, affix: Affix) -> bool:
        if affix.evidence == "none":
            return True
        beside = stem if inner is None else inner[0] if affix.side == "prefix" else inner[-1]
        if affix.evidence == "stem":
            return beside in self._stems
        # An affix beside an affix, such as the plural before the possessive; endings of one letter are too common.
        if beside in self._texts and (affix.side == "prefix" or len(beside) > 1):
            return True
        alone = [stem, *(_stands_alone(stem, affix.side, *pair) for pair in affix.endings)]
        count = max(self.words.get(form, 0) for form in alone)
        return count >= (1 if affix.evidence == "known" else max(1, self.words.get(word, 0)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"kind": "affixes", "table": [list(row) for row in self.table], "words": dict(self.words)}


def _stands_alone(stem: str, side: Side, here: str, there: str) -> str:
    """The stem with its edge at the affix written as it is without it; as it is where it has another edge."""
    if side == "prefix":
        return there + stem[len(here) :] if stem.startswith(here) else stem
    return stem[: len(stem) - len(here)] + there if stem.endswith(here) else stem


def _stem(word: str, affix: Affix) -> str | None:
    """What is left of a word without the affix, None where it has none."""
    if len(word) - len(affix.text) < affix.min_stem:
        return None
    if affix.side == "prefix":
        return word[len(affix.text) :] if word.startswith(affix.text) else None
    return word[: -len(affix.text)] if word.endswith(affix.text) else None


@dataclass(frozen=True)
class MorfessorJoints:
    """Cuts at non-joiners and where a Morfessor lexicon finds the likeliest morphs (Creutz and Lagus 2007)."""

    lexicon: PieceModel

    def morphs(self, word: str) -> list[str]:
        """Return the morphs of a word; a non-joiner goes with what follows."""
        found: list[str] = []
        for place, part in enumerate(word.split(ZWNJ)):
            cut = self.lexicon.cut(part)
            found += [ZWNJ + cut[0], *cut[1:]] if place and cut else cut
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"kind": "morfessor", "lexicon": self.lexicon.to_dict()}


def joints_from_dict(values: dict[str, Any] | None) -> Joints | None:
    """Rebuild stored joints.

    Raises:
        ArtefactError: the content is none.
    """
    if values is None:
        return None
    try:
        if values["kind"] == "morfessor":
            return MorfessorJoints(PieceModel.from_dict(values["lexicon"]))
        if values["kind"] != "affixes":
            raise ValueError(f"kind must be affixes or morfessor, got {values['kind']!r}")
        table = tuple(
            Affix(str(text), side, int(slot), int(min_stem), evidence, tuple((str(a), str(b)) for a, b in endings))
            for text, side, slot, min_stem, evidence, endings in values["table"]
        )
        return AffixJoints(table, {str(word): int(count) for word, count in values["words"].items()})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"stored joints can't be read ({error})") from error
