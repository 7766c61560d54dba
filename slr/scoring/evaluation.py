"""Score hypotheses against references: counts of each clip, the corpus's rates, and what was missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from signwave.errors import UserError
from signwave.metrics import EditCounts, Interval, count_edits_batch, sum_counts
from slr.scoring.broadcasts import broadcast
from slr.scoring.collector import paused_collector
from slr.scoring.intervals import rate_interval
from slr.scoring.protocols import PROTOCOLS, Prepared, by_name
from slr.scoring.readers import Hypothesis, Reference, read_hypotheses, read_references

Cluster = Literal["clip", "broadcast", "person", "group"]
CLUSTERS: tuple[str, ...] = get_args(Cluster)

_NAMED = 100  # ids listed in a document; the counts beside them are complete


class Pair(NamedTuple):
    """One clip as it was compared."""

    id: str
    reference: list[str]
    hypothesis: list[str]
    counts: EditCounts
    person: str = ""
    group: str = ""
    num_frames: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """What scoring found.

    Attributes:
        protocol: name of the way it was counted.
        rules: which rules cleaned the glosses: "phoenix2014", "phoenix2014t" or "none".
        pairs: every clip of the references, in their order.
        total: the sum of the pairs' counts.
        interval: 95 % bootstrap interval of the error rate.
        cluster: what was drawn for the interval.
        missing: ids that the hypotheses don't name; they count as empty.
        empty: ids for which nothing was recognised.
        emptied: ids whose glosses were all removed by the protocol's cleaning.
        extra: ids of the hypotheses that the references don't name; they don't count.
        warnings: what a reader must know.
    """

    protocol: str
    rules: str
    pairs: tuple[Pair, ...]
    total: EditCounts
    interval: Interval
    cluster: str
    missing: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def wer(self) -> float:
        """Word error rate, a fraction."""
        return self.total.error_rate

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a result file; rates are fractions."""
        figures = self.total.to_dict()
        document = {
            "protocol": self.protocol,
            "rules": self.rules,
            "wer": figures.pop("error_rate"),
            "interval_95": list(self.interval[:2]),
            "interval_over": self.cluster,
            **figures,
        }
        for name in ("missing", "empty", "emptied", "extra"):
            ids: tuple[str, ...] = getattr(self, name)
            document |= {f"num_{name}": len(ids), name: list(ids[:_NAMED])}
        return {**document, "warnings": list(self.warnings)}

    def summary(self) -> str:
        """Return the figures as lines for people."""
        low, high, _ = self.interval
        total = self.total
        over = "" if self.cluster == "clip" else f" over {self.cluster}s"
        lines = [
            f"{self.protocol}: WER {total.error_rate:.3%}  [{low:.2%}, {high:.2%}]{over}  of {total.num_reference} "
            f"glosses: {total.correct} correct, {total.substitutions} sub, {total.deletions} del, "
            f"{total.insertions} ins; {total.num_sentences} clips, {total.sentence_error_rate:.2%} with an error"
        ]
        told = {
            "missing": "without a hypothesis, counted as empty",
            "empty": "with an empty hypothesis",
            "emptied": "left without a gloss by this protocol's cleaning",
            "extra": "of the hypotheses are not in the references and don't count",
        }
        for name, what in told.items():
            ids: tuple[str, ...] = getattr(self, name)
            if ids:
                lines.append(f"  {len(ids)} clips {what}: {', '.join(ids[:3])}{' …' if len(ids) > 3 else ''}")
        return "\n".join([*lines, *(f"  warning: {warning}" for warning in self.warnings)])


@paused_collector()
def score(
    hypotheses: str | Path | Mapping[str, Hypothesis],
    references: str | Path | Mapping[str, Reference],
    *,
    protocol: str = "plain",
    split: str = "test",
    cluster: Cluster = "clip",
    num_resamples: int = 10_000,
) -> Evaluation:
    """Score glosses by one protocol. A clip without a hypothesis counts as empty and is listed.

    Args:
        hypotheses: a file or run folder (see `read_hypotheses`), or what it gave.
        references: a file (see `read_references`), or what it gave.
        protocol: one of `PROTOCOL_NAMES`.
        split: which hypotheses of a run folder.
        cluster: what the interval draws: clips, broadcasts (of Phoenix ids), persons, or the manifest's groups.
        num_resamples: draws behind the interval.

    Raises:
        UserError: nothing can be compared, or a file is wrong.
    """
    wanted = by_name(protocol)
    names = str(hypotheses) if isinstance(hypotheses, str | Path) else "the hypotheses"
    found = read_hypotheses(hypotheses, split=split) if isinstance(hypotheses, str | Path) else hypotheses
    clips = read_references(references) if isinstance(references, str | Path) else references
    _check(clips, found, names)
    prepared = wanted.prepare({clip_id: clip.tokens for clip_id, clip in clips.items()}, found)
    pairs = _pairs(clips, prepared)
    counts = [pair.counts for pair in pairs]
    groups = None if cluster == "clip" else [group_of(pair, cluster) for pair in pairs]
    named = [clip_id for clip_id in clips if clip_id in found]
    return Evaluation(
        protocol=wanted.name,
        rules=prepared.rules,
        pairs=tuple(pairs),
        total=sum_counts(counts),
        interval=rate_interval(counts, groups=groups, num_resamples=num_resamples),
        cluster=cluster,
        missing=tuple(clip_id for clip_id in clips if clip_id not in found),
        empty=tuple(clip_id for clip_id in named if not found[clip_id].tokens),
        emptied=tuple(c for c in named if found[c].tokens and _is_empty(prepared.hypotheses[c])),
        extra=tuple(clip_id for clip_id in found if clip_id not in clips),
        warnings=prepared.warnings,
    )


def _check(clips: Mapping[str, Reference], found: Mapping[str, Hypothesis], names: str) -> None:
    if not any(clip.tokens for clip in clips.values()):
        raise UserError(f"none of the {len(clips)} references has a gloss; give references with glosses")
    if not any(clip_id in found for clip_id in clips):
        raise UserError(
            f"{names}: names none of the {len(clips)} clips of the references, such as '{next(iter(clips))}'"
            + (f"; it has '{next(iter(found))}'" if found else "; it is empty")
            + "; the ids of both must be the same"
        )


def _pairs(clips: Mapping[str, Reference], prepared: Prepared) -> list[Pair]:
    references, hypotheses = list(prepared.references.values()), list(prepared.hypotheses.values())
    columns = (column.tolist() for column in count_edits_batch(references, hypotheses))
    pairs = []
    for (clip_id, clip), left, right, correct, substituted, deleted, inserted in zip(
        clips.items(), references, hypotheses, *columns, strict=True
    ):
        wrong = int(substituted + deleted + inserted > 0)
        counts = EditCounts(len(left), correct, substituted, deleted, inserted, 1, wrong)
        pairs.append(Pair(clip_id, left, right, counts, clip.person, clip.group, clip.num_frames))
    return pairs


def _is_empty(tokens: Sequence[str]) -> bool:
    return not tokens or (len(tokens) == 1 and tokens[0].upper() == "[EMPTY]")


def group_of(pair: Pair, cluster: str) -> str:
    """What a pair is drawn together with for an interval."""
    group = {"broadcast": broadcast(pair.id) or pair.group, "person": pair.person, "group": pair.group}.get(cluster)
    if group is None:
        raise UserError(f"--cluster {cluster}: unknown; allowed are {', '.join(CLUSTERS)}")
    if not group:
        raise UserError(f"--cluster {cluster}: clip '{pair.id}' names none; use --cluster clip")
    return group


def score_all(
    hypotheses: str | Path | Mapping[str, Hypothesis],
    references: str | Path | Mapping[str, Reference],
    **options: Any,
) -> dict[str, Evaluation]:
    """Score by every protocol; the options are those of `score`."""
    return {name: score(hypotheses, references, protocol=name, **options) for name in PROTOCOLS}
