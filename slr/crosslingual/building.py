"""From what an isolated recogniser says of two dictionaries to the mapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import UserError
from slr.crosslingual.mapping import UNMAPPED, MappedSign
from slr.crosslingual.methods import (
    Choice,
    FloatArray,
    by_posterior,
    by_prototype,
    by_transport,
    class_means,
    csls,
    gaps,
    split_half,
    unit_rows,
)
from slr.crosslingual.segments import BLANK_GLOSS
from slr.crosslingual.signs import Sign, Signs
from slr.isolated.infer import Seen

Rule = Literal["agree", "posterior", "prototype", "transport"]
_METHODS = ("posterior", "prototype", "transport")
_NUM_CANDIDATES = 3


@dataclass(frozen=True)
class Rules:
    """When a mapping is kept.

    Attributes:
        method: whose answer is taken. "agree": what most of the three name; "posterior": the classifier's alone, as the
            paper has it; "prototype" and "transport" alone.
        min_score: least mean posterior of the target gloss.
        min_support: least number of signs.
        min_split_half: least share of random halves that coincide; not for "posterior", which knows of none.
        mutual_only: only pairs that are each other's nearest.
        num_neighbours: of the correction for hubs.
        min_agreement: how many of the three must name the target; for "agree" alone. A wrong row teaches something
            false, while a sign without a row is a wildcard that costs little: hence all of them.
        max_gap: largest distance of the two, over that of neighbouring signs of a language; for "agree" alone, see
            `slr.crosslingual.methods.gaps`.
    """

    method: Rule = "agree"
    min_score: float = 0.2
    min_support: int = 5
    min_split_half: float = 0.5
    mutual_only: bool = False
    num_neighbours: int = 5
    min_agreement: int = 3
    max_gap: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.min_agreement <= len(_METHODS):
            raise ValueError(f"min_agreement must be 1, 2 or 3, got {self.min_agreement}")
        if self.max_gap < 0:
            raise ValueError(f"max_gap must be at least 0, got {self.max_gap}")
        if self.num_neighbours < 1:
            raise ValueError(f"num_neighbours must be at least 1, got {self.num_neighbours}")


class Dictionaries(NamedTuple):
    """What was seen of both languages.

    auxiliary: its signs.
    seen_auxiliary: of them.
    target: signs of the target language.
    seen_target: of them.
    language: name of the target's classifier.
    glosses: its classes, the blank first.
    """

    auxiliary: Signs
    seen_auxiliary: Seen
    target: Signs
    seen_target: Seen
    language: str
    glosses: tuple[str, ...]


class Evidence(NamedTuple):
    """All that the rows are made from, and the picture.

    sources: A glosses of the auxiliary language.
    targets: T glosses of the target language.
    posteriors: (A, 1 + T) float64, mean posteriors, the blank first.
    similarities: (A, T) float64, CSLS of prototypes, -inf where one wasn't seen.
    choices: method → its answers.
    support: (A,) int64, signs of each source that could be read.
    halves: (A,) float64, see `split_half`.
    gaps: (A, T) float64, see `slr.crosslingual.methods.gaps`; NaN where nothing can be compared.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    posteriors: FloatArray
    similarities: FloatArray
    choices: dict[str, Choice]
    support: NDArray[np.int64]
    halves: FloatArray
    gaps: FloatArray


def weigh(found: Dictionaries, *, rules: Rules, seed: int = 0) -> Evidence:
    """Ask the three methods.

    Prototypes and transport compare glosses with each other; they answer nothing unless both languages have two.

    Raises:
        UserError: no sign of the auxiliary language could be read, or too few for the method that is wanted.
    """
    sources, labels = _labels(found.auxiliary.signs, None)
    targets, target_labels = _labels(found.target.signs, found.glosses[1:])
    posteriors = np.exp(found.seen_auxiliary.log_probs[found.language])  # calibrated
    labels = np.where(np.isfinite(posteriors).all(1), labels, -1)  # what couldn't be read is no sign
    support = np.bincount(labels[labels >= 0], minlength=len(sources))
    prototypes = class_means(found.seen_auxiliary.embeddings, labels, len(sources))
    target_prototypes = class_means(found.seen_target.embeddings, target_labels, len(targets))
    here, there = (np.flatnonzero(np.isfinite(rows).all(1)) for rows in (prototypes, target_prototypes))
    _check(found, rules, num_sources=len(here), num_targets=len(there))
    similarities = np.full((len(sources), len(targets)), -np.inf)
    distances = np.full(similarities.shape, np.nan)
    prototype, transport = (_no_choice(similarities.shape, rest) for rest in (-np.inf, 0.0))
    if _comparable(len(here), len(there)):
        ours, theirs = unit_rows(prototypes[here]), unit_rows(target_prototypes[there])
        similarities[np.ix_(here, there)] = csls(ours, theirs, num_neighbours=rules.num_neighbours)
        distances[np.ix_(here, there)] = gaps(ours, theirs)
        prototype = by_prototype(similarities)
        carried = by_transport(1 - ours @ theirs.T)
        transport.scores[np.ix_(here, there)] = carried.scores
        transport.targets[here] = np.where(carried.targets >= 0, there[carried.targets], -1)
    means = class_means(posteriors, labels, len(sources))
    return Evidence(
        sources=sources,
        targets=targets,
        posteriors=means,
        similarities=similarities,
        choices={"posterior": by_posterior(means), "prototype": prototype, "transport": transport},
        support=support,
        halves=split_half(posteriors, labels, [sign.origin for sign in found.auxiliary.signs], len(sources), seed=seed),
        gaps=distances,
    )


def _comparable(num_sources: int, num_targets: int) -> bool:
    # About the common mean of a single prototype nothing is left of it.
    return min(num_sources, num_targets) > 1


def _check(found: Dictionaries, rules: Rules, *, num_sources: int, num_targets: int) -> None:
    """Is there enough to compare?"""
    counts = (
        f"glosses that could be seen: {num_sources} of {found.auxiliary.name}, {num_targets} of {found.target.name}"
    )
    if not num_sources:
        reason = next(iter(found.seen_auxiliary.problems.values()), "it has none but blanks")
        raise UserError(f"{counts}; check that the clips of {found.auxiliary.name} can be read: {reason}")
    needs_both = rules.method in ("prototype", "transport") or (rules.method == "agree" and rules.min_agreement > 1)
    if not _comparable(num_sources, num_targets) and (needs_both or rules.mutual_only):
        raise UserError(
            f"{counts}; prototypes and transport need two of each: check that the clips can be read, or ask the "
            "classifier alone (--method posterior)"
        )


def _no_choice(shape: tuple[int, ...], score: float) -> Choice:
    return Choice(np.full(shape[0], -1, dtype=np.int64), np.full(shape, score))


def _labels(signs: Sequence[Sign], glosses: Sequence[str] | None) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The glosses, and the place of each sign's among them; -1 for blanks and others."""
    names = tuple(glosses or sorted({sign.gloss for sign in signs} - {BLANK_GLOSS}))
    places = {name: place for place, name in enumerate(names)}
    return names, np.asarray([places.get(sign.gloss, -1) for sign in signs], dtype=np.int64)


def decide(evidence: Evidence, *, rules: Rules) -> tuple[MappedSign, ...]:
    """A row for each source, the surest first."""
    rows = [_row(evidence, place, rules) for place in range(len(evidence.sources))]
    return tuple(sorted(rows, key=lambda row: (not row.keep, -np.nan_to_num(row.score), row.source)))


def _row(evidence: Evidence, place: int, rules: Rules) -> MappedSign:
    answers = {name: int(choice.targets[place]) for name, choice in evidence.choices.items()}
    names, scores = evidence.targets, evidence.posteriors[place, 1:]
    target = _answer(answers, rules.method)
    if target >= 0 and names[target] == UNMAPPED:  # a gloss that a table can't tell from none
        target = -1
    agreement = sum(answer == target for answer in answers.values()) if target >= 0 else 0
    seen = bool(np.isfinite(scores).all())
    order = np.argsort(-scores, kind="stable")
    one = target if target >= 0 else int(order[0])  # what the score is of
    rival = max((float(scores[other]) for other in order[:2] if other != one), default=0.0)
    mutual = target >= 0 and answers["prototype"] == target
    halves, support = float(evidence.halves[place]), int(evidence.support[place])
    keep = target >= 0 and scores[one] >= rules.min_score and support >= rules.min_support
    if rules.method != "posterior":
        keep = keep and not halves < rules.min_split_half  # NaN, one sign alone, is no reason against
    if rules.method == "agree":
        # NaN, a language of one gloss, is no reason against.
        keep = keep and agreement >= rules.min_agreement and not evidence.gaps[place, one] > rules.max_gap
    if rules.mutual_only:
        keep = keep and mutual
    return MappedSign(
        source=evidence.sources[place],
        target=names[target] if target >= 0 else None,
        keep=bool(keep),
        score=float(scores[one]),
        margin=float(scores[one]) - rival,
        support=support,
        split_half=halves,
        mutual=mutual,
        gap=float(evidence.gaps[place, one]),
        agreement=agreement,
        answers={name: names[answer] if answer >= 0 else None for name, answer in answers.items()},
        candidates=tuple((names[other], float(scores[other])) for other in order[:_NUM_CANDIDATES]) if seen else (),
    )


def _answer(answers: MappingType[str, int], method: Rule) -> int:
    """The target that a rule takes, -1 for none."""
    if method != "agree":
        return answers[method]
    named = Counter(answer for answer in answers.values() if answer >= 0)
    # Of equals the first: without two of a mind the classifier's answer stands in the table.
    return named.most_common(1)[0][0] if named else -1
