"""What an evaluation found: figures of each kind of query in both directions, as plain values and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from signwave.metrics import Interval, Mexa, Ranks, RankSpread
from slr.retrieval.evaluation.score_matrix import VARIANT_MARK

RECALL_AT = (1, 5, 10)
DIRECTIONS = ("text_to_video", "video_to_text")
SHORT = {"text_to_video": "T2V", "video_to_text": "V2T"}


@dataclass(frozen=True, eq=False)
class Direction:
    """One direction of one kind of query.

    Attributes:
        ranks: of Q queries.
        queries: (Q,) what tells a query: its text, or the id of its clip.
        groups: (Q,) group of each query; groups are drawn whole for the intervals.
        ceiling: what a perfect model reaches, where groups with the same caption can't be told apart.
        hubness: skewness of how often each clip (text) is among the first 10; None where there are no more than 10.
        intervals: "recall_at_K" and "mrr" → 95 % bootstrap interval; empty where none was asked for.
    """

    ranks: Ranks
    queries: tuple[str, ...]
    groups: tuple[str, ...]
    ceiling: Ranks
    hubness: float | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    def recall(self, k: int) -> float:
        """Share of queries with a right group among the first k; ties count as expected values."""
        return self.ranks.recall(k)

    def chance(self, k: int) -> float:
        """What a random order gives."""
        return min(1.0, k / self.ranks.num_gallery)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; rates are fractions."""
        found: dict[str, Any] = {"num_queries": len(self.ranks), "num_gallery": self.ranks.num_gallery}
        for k in RECALL_AT:
            found[f"recall_at_{k}"] = self.recall(k)
        found |= {"median_rank": self.ranks.median, "mean_rank": self.ranks.mean, "mrr": self.ranks.mrr}
        found |= {f"{name}_interval_95": list(interval[:2]) for name, interval in self.intervals.items()}
        for k in RECALL_AT:
            found[f"chance_at_{k}"], found[f"ceiling_at_{k}"] = self.chance(k), self.ceiling.recall(k)
        return {**found, "hubness": self.hubness}


class Unseen(NamedTuple):
    """R@1 over the queries whose caption isn't a training caption word for word; the gallery stays.

    `recall_at_1` is None where every caption is one.
    """

    num_seen: int
    num_queries: int
    recall_at_1: float | None


@dataclass(frozen=True, eq=False)
class QueryResult:
    """Figures of one kind of query: a language, or a language and what was made of its captions.

    Attributes:
        key: "en", "en+keywords" …
        directions: of the scores as they are, by name; see DIRECTIONS.
        normalised: "qb_norm", "csls" (inductive) or "transductive_…" → directions with normalised scores.
        mexa: mutual nearest neighbours of texts and clips; None where there are too few groups.
        unseen: by direction, where the training captions are known.
        confusable: the right clip among those that look most like it; None where that isn't known.
        num_texts_without_clip: texts that aren't queries since no clip of their group is there.
        num_clips_without_text: likewise.
    """

    key: str
    directions: Mapping[str, Direction]
    normalised: Mapping[str, Mapping[str, Direction]]
    mexa: Mexa | None = None
    unseen: Mapping[str, Unseen] = field(default_factory=dict)
    confusable: Ranks | None = None
    num_texts_without_clip: int = 0
    num_clips_without_text: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values; rates are fractions."""
        found: dict[str, Any] = {name: direction.to_dict() for name, direction in self.directions.items()}
        found["normalised"] = {
            name: {which: direction.to_dict() for which, direction in directions.items()}
            for name, directions in self.normalised.items()
        }
        found["mexa"] = None if self.mexa is None else self.mexa._asdict()
        found["without_training_captions"] = {name: part._asdict() for name, part in self.unseen.items()}
        if self.confusable is not None:
            ranks = self.confusable
            found["confusable"] = {
                "accuracy": ranks.recall(1), "chance": 1 / ranks.num_gallery, "num_queries": len(ranks),
                "num_choices": ranks.num_gallery,
            }  # fmt: skip
        found["num_texts_without_clip"] = self.num_texts_without_clip
        found["num_clips_without_text"] = self.num_clips_without_text
        return found


@dataclass(frozen=True, eq=False)
class RetrievalResult:
    """A complete evaluation.

    Attributes:
        by_query: key of the captions → figures.
        spread: direction → how much ranks differ between languages (MRV); empty below two languages with groups in
            common.
        num_groups: of the clips.
        num_clips: in the gallery.
        missing: ids that belong to the set and weren't scored.
        credit_duplicates: whether groups with the same caption count as one.
        settings: what the figures depend on beside the scores.
        name: of the system.
    """

    by_query: Mapping[str, QueryResult]
    spread: Mapping[str, RankSpread]
    num_groups: int
    num_clips: int
    missing: tuple[str, ...] = ()
    credit_duplicates: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def languages(self) -> tuple[str, ...]:
        """Keys that are plain languages, no variants."""
        return tuple(key for key in self.by_query if VARIANT_MARK not in key)

    def mean_recall(self, direction: str, k: int) -> float:
        """Recall@k averaged over languages; variants take no part, unless there is nothing else."""
        keys = self.languages or tuple(self.by_query)
        return float(np.mean([self.by_query[key].directions[direction].recall(k) for key in keys]))

    @property
    def selection_score(self) -> float:
        """What a checkpoint is chosen by: the geometric mean of R@1, 5 and 10 of both directions.

        SPOT-ALIGN (CVPR 2022), the one method of the field that selects on validation, takes this mean.
        """
        rates = [self.mean_recall(which, k) for which in DIRECTIONS for k in RECALL_AT]
        return float(np.prod(rates) ** (1 / len(rates)))

    def headline(self) -> dict[str, float]:
        """The few numbers worth a line in a log: means over languages, then each language's text-to-video R@1."""
        found = {"recall": self.selection_score}
        found |= {f"recall_at_{k}": self.mean_recall("text_to_video", k) for k in RECALL_AT}
        found |= {f"video_to_text_recall_at_{k}": self.mean_recall("video_to_text", k) for k in RECALL_AT}
        found["chance_at_1"] = 1 / self.num_groups
        for key in self.languages if len(self.languages) > 1 else ():
            found[f"recall_at_1_{key}"] = self.by_query[key].directions["text_to_video"].recall(1)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a result file; rates are fractions."""
        return {
            "name": self.name,
            "num_groups": self.num_groups,
            "num_clips": self.num_clips,
            "num_missing": len(self.missing),
            "missing": list(self.missing),
            "credit_duplicates": self.credit_duplicates,
            "settings": dict(self.settings),
            "mean_over_languages": {
                which: {f"recall_at_{k}": self.mean_recall(which, k) for k in RECALL_AT} for which in DIRECTIONS
            },
            "by_query": {key: row.to_dict() for key, row in self.by_query.items()},
            "rank_spread": {which: spread._asdict() for which, spread in self.spread.items()},
        }

    def to_text(self) -> str:
        """A table for people."""
        from slr.retrieval.evaluation.result_table import to_text

        return to_text(self)
