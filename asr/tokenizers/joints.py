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
from typing import Any, Literal, NamedTuple, Protocol, cast

from asr.text import primary
from asr.tokenizers.pieces import PieceModel
from signwave.errors import ArtefactError, UserError

ZWNJ = "\u200c"
LANGUAGES = ("fa", "ar", "ur")
"""Languages with a table of affixes."""

Side = Literal["prefix", "suffix", "whole"]
Evidence = Literal["none", "known", "frequent"]


class Affix(NamedTuple):
    """One row.

    Attributes:
        text: its letters.
        side: "prefix", "suffix"; "whole" is a word that is never cut.
        min_stem: letters that must be left.
        evidence: "none"; "known": what is left is a word; "frequent": one at least as frequent as the whole.
        endings: what the stem may end in when it stands alone, as (here, alone): Arabic writes ة as ت before a clitic.
    """

    text: str
    side: Side
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
    return Affix(row["affix"], cast(Side, row["side"]), int(row["min_stem"]), cast(Evidence, row["evidence"]), endings)


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
        parts = word.split(ZWNJ)
        if len(parts) == 1:
            return self._cut(word) or [word]
        prefixes = {affix.text for affix in self.table if affix.side == "prefix"}
        morphs: list[str] = []
        for place, part in enumerate(parts):
            cut = [part] if self._is_affix(part) else self._cut(part) or [part]
            if place:  # the non-joiner goes with the affix: a stem is written one way, whatever follows
                if morphs[-1] in prefixes:
                    morphs[-1] += ZWNJ
                else:
                    cut[0] = ZWNJ + cut[0]
            morphs += cut
        return [morph for morph in morphs if morph]

    def _is_affix(self, text: str) -> bool:
        return any(affix.text == text and affix.side != "whole" for affix in self.table)

    def _cut(self, word: str) -> list[str] | None:
        """The morphs of a word without non-joiners; None where nothing says that it is joined."""
        if any(affix.text == word for affix in self.table if affix.side == "whole"):
            return None
        for affix in self._by_length:
            stem = self._stem(word, affix)
            if stem is None:
                continue
            inner = self._cut(stem)
            if inner is None and not self._is_evident(word, stem, affix):
                continue
            inner = inner or [stem]
            return [affix.text, *inner] if affix.side == "prefix" else [*inner, affix.text]
        return None

    @functools.cached_property
    def _by_length(self) -> list[Affix]:
        cutting = [affix for affix in self.table if affix.side != "whole"]
        return sorted(cutting, key=lambda affix: -len(affix.text))

    @staticmethod
    def _stem(word: str, affix: Affix) -> str | None:
        if len(word) - len(affix.text) < affix.min_stem:
            return None
        if affix.side == "prefix":
            return word[len(affix.text) :] if word.startswith(affix.text) else None
        return word[: -len(affix.text)] if word.endswith(affix.text) else None

    def _is_evident(self, word: str, stem: str, affix: Affix) -> bool:
        if affix.evidence == "none":
            return True
        alone = [stem]
        alone += [stem[: len(stem) - len(here)] + there for here, there in affix.endings if stem.endswith(here)]
        count = max(self.words.get(form, 0) for form in alone)
        return count >= (1 if affix.evidence == "known" else max(1, self.words.get(word, 0)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"kind": "affixes", "table": [list(row) for row in self.table], "words": dict(self.words)}


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
            Affix(str(text), side, int(min_stem), evidence, tuple((str(a), str(b)) for a, b in endings))
            for text, side, min_stem, evidence, endings in values["table"]
        )
        return AffixJoints(table, {str(word): int(count) for word, count in values["words"].items()})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"stored joints can't be read ({error})") from error
