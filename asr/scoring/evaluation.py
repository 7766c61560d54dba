"""What `asr score` computes: several error rates of one set of transcripts, each with its interval and normaliser.

raw            words as they are, parted at white space
orthographic   spellings of the language unified (see asr.text), vowel marks and punctuation off, digits alike
space_lenient  orthographic, and a space, a non-joiner and no mark between words are the same
Character error rates leave spaces and non-joiners out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asr.scoring.spaces import count_each_lenient
from asr.scoring.spellings import SpellingVariants
from asr.scoring.transcripts import Transcript, read_transcripts
from asr.text import for_scoring
from asr.text.alphabets import foreign_characters
from signwave import metrics
from signwave.errors import UserError
from signwave.metrics import EditCounts
from signwave.text import Normaliser

Protocol = Literal["raw", "orthographic", "space_lenient"]
RAW = Normaliser("none", steps=("collapse_spaces",))
_NUM_NAMED = 100
_NUM_FOREIGN = 30
_ZWNJ = "\u200c"


@dataclass(frozen=True)
class Figure:
    """One protocol over all recordings.

    Attributes:
        protocol: which.
        words: counts of each recording.
        characters: likewise, spaces and non-joiners left out.
        normaliser: of both sides.
    """

    protocol: Protocol
    words: list[EditCounts]
    characters: list[EditCounts]
    normaliser: Normaliser

    def to_dict(self, groups: Sequence[str]) -> dict[str, Any]:
        """Return plain values: rates as fractions, intervals drawn by group."""
        figures = metrics.sum_counts(self.words).to_dict()
        characters = metrics.sum_counts(self.characters)
        return {
            "wer": figures.pop("error_rate"),
            "interval_95": list(metrics.error_rate_interval(self.words, groups=groups)[:2]),
            "cer": characters.error_rate,
            "cer_interval_95": list(metrics.error_rate_interval(self.characters, groups=groups)[:2]),
            **figures,
            "num_reference_characters": characters.num_reference,
            "normaliser": self.normaliser.name,
            "normaliser_sha256": self.normaliser.digest,
        }


@dataclass(frozen=True)
class Evaluation:
    """Figures of a set of transcripts, in the order of the references.

    Attributes:
        language: code, or empty where nothing is normalised.
        figures: by protocol; the last but space-lenient one is what a single number means.
        people: speaker of each recording, empty where unknown.
        missing: recordings without a hypothesis; they count as empty.
        num_unreferenced: hypotheses that no reference belongs to.
        foreign: characters outside the alphabet of the language, of references and of hypotheses.
        spellings_sha256: of the file of spellings that all count as right, empty without one.
    """

    language: str
    figures: dict[Protocol, Figure]
    people: list[str]
    missing: list[str]
    num_unreferenced: int
    foreign: dict[str, dict[str, int]]
    spellings_sha256: str = ""

    @property
    def headline(self) -> Protocol:
        """The protocol of the single number: orthographic where a language is given."""
        return "orthographic" if "orthographic" in self.figures else "raw"

    @property
    def groups(self) -> list[str]:
        """What is drawn for an interval: recordings of a speaker together, one of an unknown speaker by itself."""
        return [person or f"\0{number}" for number, person in enumerate(self.people)]

    def speakers(self) -> list[dict[str, Any]]:
        """Return a row a known speaker, the worst first."""
        rows = []
        for person in sorted(set(self.people) - {""}):
            chosen = [number for number, one in enumerate(self.people) if one == person]
            row: dict[str, Any] = {"speaker": person, "num_recordings": len(chosen)}
            for protocol, figure in self.figures.items():
                total = metrics.sum_counts([figure.words[number] for number in chosen])
                row |= {"num_reference_tokens": total.num_reference, f"wer_{protocol}": total.error_rate}
            of_headline = self.figures[self.headline]
            row["interval_95"] = list(metrics.error_rate_interval([of_headline.words[number] for number in chosen])[:2])
            row["cer"] = metrics.sum_counts([of_headline.characters[number] for number in chosen]).error_rate
            rows.append(row)
        return sorted(rows, key=lambda row: (-row[f"wer_{self.headline}"], row["speaker"]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: the headline's figures first, then those of every protocol under `figures`."""
        groups = self.groups
        figures = {protocol: figure.to_dict(groups) for protocol, figure in self.figures.items()}
        num_known = sum(1 for person in self.people if person)
        return {
            "protocol": self.headline,
            "language": self.language,
            **figures[self.headline],
            "figures": figures,
            "interval_unit": "speaker" if num_known == len(self.people) else "recording" if not num_known else "mixed",
            "num_interval_units": len(set(groups)),
            "speakers": self.speakers(),
            "spellings_sha256": self.spellings_sha256,
            "out_of_alphabet": self.foreign,
            "num_missing": len(self.missing),
            "missing": self.missing[:_NUM_NAMED],
            "num_unreferenced": self.num_unreferenced,
        }


def score(
    hypothesis: Path, reference: Path, *, language: str = "", fold: Collection[str] = (), spellings: Path | None = None
) -> Evaluation:
    """Compare two files or folders of transcripts.

    Recordings are paired by file name without suffix (two text files: by line). One without a hypothesis counts as
    empty: leaving hard files out must not lower the rate.

    Args:
        hypothesis: folder of .txt or .json, .json or .jsonl of records, or a text file.
        reference: manifest, folder of .txt, or a text file.
        language: whose spellings are unified; empty = compared as they are.
        fold: further groups of spellings to unify, see `asr.text.for_scoring`.
        spellings: file of spellings that all count as right, see `SpellingVariants`; not for the raw figures.

    Raises:
        UserError: nothing to compare, names that don't pair, or options that don't fit the language.
    """
    references, hypotheses = read_transcripts(reference), read_transcripts(hypothesis)
    if not references:
        raise UserError(f"{reference}: holds no reference; give a manifest, a folder of .txt or a .txt")
    missing = [name for name in references if name not in hypotheses]
    if len(missing) == len(references):
        raise UserError(
            f"{hypothesis}: names none of the {len(references)} recordings of {reference}, such as '{missing[0]}'; "
            "they are paired by file name without suffix"
        )
    if not language and (fold or spellings is not None):
        raise UserError("spellings are unified within a language; give --language")
    normaliser = for_scoring(language, fold=fold) if language else RAW
    variants = SpellingVariants.read(spellings, normaliser) if spellings is not None else None
    nothing = Transcript("")
    theirs = [references[name].text for name in references]
    ours = [hypotheses.get(name, nothing).text for name in references]
    normal = [_normalised(side, normaliser, variants) for side in (theirs, ours)]
    if not any(normal[0]):
        raise UserError(f"{reference}: none of its {len(references)} recordings has a text; give transcripts")
    return Evaluation(
        language=language,
        figures=_figures((theirs, ours), (normal[0], normal[1]), normaliser, is_raw=not language),
        people=[references[name].person for name in references],
        missing=missing,
        num_unreferenced=sum(name not in references for name in hypotheses),
        foreign={
            side: dict(foreign_characters(texts, language).most_common(_NUM_FOREIGN))
            for side, texts in zip(("reference", "hypothesis"), normal, strict=True)
        },
        spellings_sha256=variants.digest if variants else "",
    )


def _normalised(texts: list[str], normaliser: Normaliser, variants: SpellingVariants | None) -> list[str]:
    normal = [normaliser(text) for text in texts]
    return [variants(text) for text in normal] if variants else normal


Sides = tuple[list[str], list[str]]
"""Texts of references and of hypotheses."""


def _figures(raw: Sides, normal: Sides, normaliser: Normaliser, *, is_raw: bool) -> dict[Protocol, Figure]:
    figures: dict[Protocol, Figure] = {"raw": Figure("raw", metrics.count_each(*raw), _characters(raw), RAW)}
    characters = figures["raw"].characters if is_raw else _characters(normal)
    if not is_raw:
        figures["orthographic"] = Figure("orthographic", metrics.count_each(*normal), characters, normaliser)
    lenient = count_each_lenient(*normal)
    figures["space_lenient"] = Figure("space_lenient", lenient, characters, normaliser)
    return figures


def _characters(sides: Sides) -> list[EditCounts]:
    without = [[text.replace(_ZWNJ, "") for text in side] for side in sides]
    return metrics.count_each(without[0], without[1], unit="char", spaces="drop")
