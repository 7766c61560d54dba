"""Rank donor languages for a target, and say how often to draw from each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from asr.donors.gain import Curve
from asr.donors.overlap import phone_overlap, script_overlap
from asr.donors.typology import Typology, Uriel
from signwave.errors import UserError

NUM_SHOWN = 20


@dataclass(frozen=True)
class Evidence:
    """What is known about the languages, each by its code as the user writes it.

    Attributes:
        uriel: typological vectors; None where lang2vec isn't installed.
        atds: acoustic similarity to the target, in [0, 1].
        phones: phone inventories; where the target's or a donor's is missing, URIEL's takes its place for both.
        letters: counts of letters.
        hours: of speech at hand.
    """

    uriel: Uriel | None = None
    atds: Mapping[str, float] = field(default_factory=dict)
    phones: Mapping[str, Set[str]] = field(default_factory=dict)
    letters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    hours: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Mixture:
    """How evidence becomes one similarity, and similarity and hours a share of the batches.

    Attributes:
        typology, atds, phones, script: weight of each kind of evidence in the similarity. That of ATDS is meant for a
            speech encoder; by log-mel it tells voices and rooms apart rather than languages.
        temperature: of the similarity; low = only the closest.
        hours_power: 0 = every language alike, 1 = every hour alike.
    """

    typology: float = 1.0
    atds: float = 2.0
    phones: float = 0.5
    script: float = 0.25
    temperature: float = 0.1
    hours_power: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what can't be computed with."""
        kinds = (self.typology, self.atds, self.phones, self.script)
        if min(kinds) < 0 or sum(kinds) <= 0:
            raise ValueError(f"weights of evidence must be at least 0 and not all 0, got {kinds}")
        if self.temperature <= 0 or not 0 <= self.hours_power <= 1:
            raise ValueError(
                f"need temperature > 0 and 0 <= hours_power <= 1, got {self.temperature:g}, {self.hours_power:g}"
            )


class Donor(NamedTuple):
    """One language that could be pretrained on.

    language: its code as it was given.
    similarity: to the target, weighted mean of the evidence, in [0, 1].
    weight: share of the batches, over all donors 1.
    hours: at hand; None = not known.
    typology: distances by URIEL; None = not known.
    atds, phones, script: similarities in [0, 1]; None = not known.
    expected_error: of the fitted curve at hours * similarity; None without a curve.
    """

    language: str
    similarity: float
    weight: float
    hours: float | None
    typology: Typology | None
    atds: float | None
    phones: float | None
    script: float | None
    expected_error: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for --json."""
        return {**self._asdict(), "typology": self.typology._asdict() if self.typology else None}


@dataclass(frozen=True)
class Plan:
    """Donors, the most similar first."""

    target: str
    donors: list[Donor]
    mixture: Mixture
    curve: Curve | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for --json."""
        return {
            "target": self.target,
            "donors": [donor.to_dict() for donor in self.donors],
            "mixture": asdict(self.mixture),
            "curve": self.curve._asdict() if self.curve else None,
        }


def closest_with_speech(uriel: Uriel, target: str, *, num: int = NUM_SHOWN) -> list[str]:
    """Of the languages with a public speech corpus, those that URIEL holds closest to the target."""
    text = resources.files("asr.donors").joinpath("with_speech.txt").read_text(encoding="utf-8")
    codes = {code for line in text.splitlines() if not line.startswith("#") for code in line.split()}
    own = uriel.code(target)
    means = {code: uriel.distance(own, code).mean for code in codes & uriel.rows.keys() if uriel.code(code) != own}
    return sorted(means, key=lambda code: (means[code], code))[:num]


def plan(
    target: str,
    candidates: Iterable[str],
    evidence: Evidence,
    *,
    mixture: Mixture | None = None,
    curve: Curve | None = None,
) -> Plan:
    """Rank donors.

    Evidence that is missing for some donors counts for them as the mean of the others: neither for nor against.

    Args:
        target: the language to be recognised.
        candidates: possible donors; the target itself is passed over.
        evidence: what is known.
        mixture: how it is weighed.
        curve: error against hours, if it was fitted.

    Raises:
        UserError: there is no donor, or no evidence about any.
    """
    mixture = mixture or Mixture()
    languages = [language for language in dict.fromkeys(candidates) if language != target]
    if not languages:
        raise UserError(f"no donor for '{target}' was named; name some with --donor, --speech or --hours")
    typologies = {language: _typology(evidence.uriel, target, language) for language in languages}
    known: dict[str, dict[str, float]] = {
        "typology": {language: 1 - found.mean for language, found in typologies.items() if found is not None},
        "atds": {language: evidence.atds[language] for language in languages if language in evidence.atds},
        "phones": _phones(evidence, target, languages),
        "script": _scripts(evidence.letters, target, languages),
    }
    similarity = _similarity(known, mixture, languages)
    weights = sampling_weights(similarity, evidence.hours, mixture)
    donors = [
        Donor(
            language, similarity[language], weights[language], evidence.hours.get(language), typologies[language],
            known["atds"].get(language), known["phones"].get(language), known["script"].get(language),
            _expected(curve, evidence.hours.get(language), similarity[language]),
        )
        for language in sorted(languages, key=lambda language: (-similarity[language], language))
    ]  # fmt: skip
    return Plan(target, donors, mixture, curve)


def _typology(uriel: Uriel | None, target: str, language: str) -> Typology | None:
    if uriel is None:
        return None
    try:
        return uriel.distance(target, language)
    except UserError:  # a language of no known code has no typology
        return None


def _phones(evidence: Evidence, target: str, languages: Sequence[str]) -> dict[str, float]:
    found = {}
    for language in languages:
        sides = [evidence.phones.get(target), evidence.phones.get(language)]
        if None in sides and evidence.uriel is not None:
            try:
                sides = [evidence.uriel.phones(code) for code in (target, language)]
            except UserError:
                continue
        if sides[0] is not None and sides[1] is not None:
            found[language] = phone_overlap(sides[0], sides[1])
    return found


def _scripts(letters: Mapping[str, Mapping[str, int]], target: str, languages: Sequence[str]) -> dict[str, float]:
    own = letters.get(target)
    if not own:
        return {}
    return {language: script_overlap(own, letters[language]) for language in languages if letters.get(language)}


def _similarity(
    known: Mapping[str, Mapping[str, float]], mixture: Mixture, languages: Sequence[str]
) -> dict[str, float]:
    weights = {
        kind: float(getattr(mixture, kind)) for kind, values in known.items() if values and getattr(mixture, kind)
    }
    total = sum(weights.values())
    if not total:
        raise UserError(
            "nothing is known about the donors; install lang2vec (signwave[donors]), or give --text, --phones, or "
            "--speech with --encoder, of the target and the donors"
        )
    neutral = {kind: float(np.mean(list(known[kind].values()))) for kind in weights}
    return {
        language: sum(weight * known[kind].get(language, neutral[kind]) for kind, weight in weights.items()) / total
        for language in languages
    }


def sampling_weights(similarity: Mapping[str, float], hours: Mapping[str, float], mixture: Mixture) -> dict[str, float]:
    """Shares of the batches: hours ** power * exp(similarity / temperature), over all donors 1.

    A donor without hours gets nothing, unless no hours are known at all; then only the similarity counts.
    """
    known = any(hours.get(language, 0.0) > 0 for language in similarity)
    highest = max(similarity.values())
    raw = {}
    for language, value in similarity.items():
        at_hand = hours.get(language, 0.0) if known else 1.0
        amount = math.pow(at_hand, mixture.hours_power) if at_hand > 0 else 0.0
        raw[language] = amount * math.exp((value - highest) / mixture.temperature)
    total = sum(raw.values())
    return {language: value / total for language, value in raw.items()}


def _expected(curve: Curve | None, hours: float | None, similarity: float) -> float | None:
    """An hour of a donor counts for as much as it is similar: a rule of thumb, not a measurement."""
    return None if curve is None or hours is None else curve.error(hours * similarity)
