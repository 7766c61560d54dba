"""Where the errors are: by signer, by length, by how often training saw the gloss, and which glosses are confused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from signwave.metrics import EditCounts, align_tokens, count_edits_batch, sum_counts
from slr.scoring.evaluation import Pair
from slr.scoring.intervals import rate_interval

LENGTH_BOUNDS = (1, 4, 7, 10, 15, 20)
"""First length of each bin of reference glosses."""
COUNT_BOUNDS = (0, 1, 2, 6, 21, 101)
"""First training count of each bin of glosses: unseen, seen once, 2-5, …"""

_NO_TOKEN = ""


class Rate(NamedTuple):
    """The error rate of some of the clips."""

    name: str
    counts: EditCounts
    interval: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values; rates are fractions."""
        figures = self.counts.to_dict()
        del figures["alignment_costs"]
        return {"name": self.name, "wer": figures.pop("error_rate"), "interval_95": list(self.interval), **figures}


class Recall(NamedTuple):
    """How many reference glosses of one kind were recognised."""

    name: str
    num_tokens: int
    correct: int
    substituted: int
    deleted: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the rate is a fraction, None where there is no such gloss."""
        return {**self._asdict(), "recall": self.correct / self.num_tokens if self.num_tokens else None}


@dataclass(frozen=True)
class Breakdown:
    """Tables about one evaluation.

    Attributes:
        per_person: a rate for each signer, most clips first.
        per_length: a rate for each bin of reference length.
        per_seen: clips whose reference is a training sentence word for word, and the others; empty without training
            texts.
        per_frequency: recall of glosses by how often training has them; empty without training texts.
        confusions: (reference gloss, recognised gloss, times), most often first.
        deleted: (gloss, times missed).
        inserted: (gloss, times made up).
        worst: clips with most errors.
    """

    per_person: tuple[Rate, ...]
    per_length: tuple[Rate, ...]
    per_seen: tuple[Rate, ...]
    per_frequency: tuple[Recall, ...]
    confusions: tuple[tuple[str, str, int], ...]
    deleted: tuple[tuple[str, int], ...]
    inserted: tuple[tuple[str, int], ...]
    worst: tuple[Pair, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a result file."""
        return {
            "per_person": [rate.to_dict() for rate in self.per_person],
            "per_length": [rate.to_dict() for rate in self.per_length],
            "per_seen": [rate.to_dict() for rate in self.per_seen],
            "per_frequency": [recall.to_dict() for recall in self.per_frequency],
            "confusions": [{"reference": r, "hypothesis": h, "count": n} for r, h, n in self.confusions],
            "deleted": [{"gloss": gloss, "count": n} for gloss, n in self.deleted],
            "inserted": [{"gloss": gloss, "count": n} for gloss, n in self.inserted],
            "worst": [_worst_dict(pair) for pair in self.worst],
        }


Row = tuple[str, str, str, str, "int | None"]
"""id, reference text, hypothesis text, person, frames."""


def breakdown(
    rows: Iterable[Row | Pair], *, train_texts: Iterable[str] | None = None, num_shown: int = 20, seed: int = 0
) -> Breakdown:
    """Make the tables of an evaluation.

    Args:
        rows: clips as (id, reference text, hypothesis text, person, frames), or the pairs of an `Evaluation`.
        train_texts: training sentences, cleaned as the references are; None = no tables about training.
        num_shown: entries of the lists of confusions, deletions, insertions and worst clips.
        seed: of the bootstrap intervals.

    Raises:
        ValueError: there is no row.
    """
    pairs = _as_pairs(list(rows))
    if not pairs:
        raise ValueError("no row to make tables of; give at least one clip")
    steps = [align_tokens(p.reference, p.hypothesis) if p.counts.num_wrong_sentences else None for p in pairs]
    confused = Counter[tuple[str, str]]()
    fate: dict[str, Counter[str]] = {}  # gloss → how its reference tokens ended
    for pair, operations in zip(pairs, steps, strict=True):
        for step in operations or ():
            if step.kind != "correct":
                confused[step.reference or _NO_TOKEN, step.hypothesis or _NO_TOKEN] += 1
            if step.reference is not None:
                fate.setdefault(step.reference, Counter())[step.kind] += 1
        for gloss in pair.reference if operations is None else ():
            fate.setdefault(gloss, Counter())["correct"] += 1
    ordered = sorted(confused.items(), key=lambda item: (-item[1], item[0]))
    texts = None if train_texts is None else [text.split() for text in train_texts]
    rate = _Rates(pairs, seed)
    return Breakdown(
        per_person=rate.by(lambda p: p.person, order=_by_clips) if any(p.person for p in pairs) else (),
        per_length=rate.by(lambda p: _bin(len(p.reference), (0, *LENGTH_BOUNDS)), order=_by_first_number),
        per_seen=() if texts is None else rate.by(_seen(texts), order=_by_name),
        per_frequency=() if texts is None else _by_frequency(texts, fate),
        confusions=tuple((r, h, n) for (r, h), n in ordered if r and h)[:num_shown],
        deleted=tuple((r, n) for (r, h), n in ordered if not h)[:num_shown],
        inserted=tuple((h, n) for (r, h), n in ordered if not r)[:num_shown],
        worst=tuple(sorted((p for p in pairs if p.counts.num_errors), key=_badness)[:num_shown]),
    )


class _Rates:
    """Error rates of groups of the pairs."""

    def __init__(self, pairs: Sequence[Pair], seed: int) -> None:
        self._pairs, self._seed = pairs, seed

    def by(
        self, name_of: Callable[[Pair], str], *, order: Callable[[tuple[str, list[EditCounts]]], Any]
    ) -> tuple[Rate, ...]:
        """A rate for each name, in the order of the keys that `order` gives."""
        groups: dict[str, list[EditCounts]] = {}
        for pair in self._pairs:
            groups.setdefault(name_of(pair), []).append(pair.counts)
        rates = []
        for name, counts in sorted(groups.items(), key=order):
            interval = rate_interval(counts, num_resamples=2000, seed=self._seed)
            rates.append(Rate(name, sum_counts(counts), interval[:2]))
        return tuple(rates)


def _by_clips(item: tuple[str, list[EditCounts]]) -> Any:
    return -len(item[1]), item[0]


def _by_first_number(item: tuple[str, list[EditCounts]]) -> Any:
    return int(item[0].rstrip("+").split("-")[0])


def _by_name(item: tuple[str, list[EditCounts]]) -> Any:
    return item[0]


def _badness(pair: Pair) -> tuple[int, float, str]:
    return -pair.counts.num_errors, -pair.counts.error_rate, pair.id


def _as_pairs(rows: list[Row | Pair]) -> list[Pair]:
    plain = [row for row in rows if not isinstance(row, Pair)]
    if not plain:
        return [row for row in rows if isinstance(row, Pair)]
    if len(plain) != len(rows):
        raise ValueError("give either rows of texts or the pairs of an evaluation, not both")
    sides = [row[1].split() for row in plain], [row[2].split() for row in plain]
    columns = [column.tolist() for column in count_edits_batch(*sides)]
    pairs = []
    for row, left, right, correct, sub, dele, ins in zip(plain, *sides, *columns, strict=True):
        counts = EditCounts(len(left), correct, sub, dele, ins, 1, int(sub + dele + ins > 0))
        pairs.append(Pair(row[0], left, right, counts, row[3], "", row[4]))
    return pairs


def _bin(value: int, bounds: Sequence[int]) -> str:
    """Name of the bin that a whole number falls into.

    >>> [_bin(n, (0, 1, 4, 7)) for n in (0, 1, 6, 9)]
    ['0', '1-3', '4-6', '7+']
    """
    place = max(n for n, bound in enumerate(bounds) if bound <= value)
    first = bounds[place]
    if place + 1 == len(bounds):
        return f"{first}+"
    last = bounds[place + 1] - 1
    return str(first) if first == last else f"{first}-{last}"


def _seen(texts: Sequence[Sequence[str]]) -> Callable[[Pair], str]:
    known = {tuple(text) for text in texts}
    return lambda pair: "in training" if tuple(pair.reference) in known else "new"


def _by_frequency(texts: Sequence[Sequence[str]], fate: dict[str, Counter[str]]) -> tuple[Recall, ...]:
    seen = Counter(token for text in texts for token in text)
    bins: dict[str, Counter[str]] = {}
    for bound in COUNT_BOUNDS:
        bins[_bin(bound, COUNT_BOUNDS)] = Counter()
    for gloss, ends in fate.items():
        bins[_bin(seen[gloss], COUNT_BOUNDS)].update(ends)
    return tuple(
        Recall(name, sum(ends.values()), ends["correct"], ends["substitution"], ends["deletion"])
        for name, ends in bins.items()
    )


def _worst_dict(pair: Pair) -> dict[str, Any]:
    return {
        "id": pair.id,
        "person": pair.person,
        "errors": pair.counts.num_errors,
        "wer": pair.counts.error_rate,
        "reference": " ".join(pair.reference),
        "hypothesis": " ".join(pair.hypothesis),
    }
