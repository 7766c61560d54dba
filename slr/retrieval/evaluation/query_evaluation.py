"""Figures of one kind of query, a language or a variant of its captions, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave import metrics
from signwave.metrics import MEXA_SIZE, Ranks
from slr.retrieval.evaluation.confusable import rank_rivals
from slr.retrieval.evaluation.measured import RECALL_AT, Direction, QueryResult, Unseen
from slr.retrieval.evaluation.score_matrix import ScoredText, ScoreMatrix, as_compared

HUB_LIST = 10
"""Length of the lists in which hubs are looked for."""

FloatMatrix = NDArray[np.floating[Any]]
_Normalise = Callable[[FloatMatrix, FloatMatrix], FloatMatrix]


@dataclass(frozen=True)
class EvaluationOptions:
    """What figures depend on beside the scores.

    Attributes:
        credit_duplicates: groups with the same caption in a language count as one, so that none of them is wrong.
        transductive: also give the rows whose normalisation looks at all test queries at once.
        inverse_temperature: β of QB-Norm and of the dual soft-max. 20 suits cosines; scores of another scale need
            another one, chosen on validation.
        hub_lists: a gallery item among the first so many of a training query is a hub to QB-Norm.
        neighbours: k of CSLS.
        mexa_size: pairs in a draw of MEXA; compare values of one size only.
        num_draws: draws of MEXA.
        num_resamples: of the bootstrap over groups; 0 leaves intervals out, as a validation within training does.
        seed: of every draw.
    """

    credit_duplicates: bool = False
    transductive: bool = False
    inverse_temperature: float = 20.0
    hub_lists: int = 1
    neighbours: int = 10
    mexa_size: int = MEXA_SIZE
    num_draws: int = 50
    num_resamples: int = 2_000
    seed: int = 0


class Side(NamedTuple):
    """One direction: Q queries (a text, or the id of a clip), their groups, and the group of each gallery item."""

    queries: list[str]
    groups: list[str]
    gallery: list[str]


class QueryEvaluation:
    """The part of a matrix that belongs to one kind of query.

    gallery_rows are all its texts, one of each (group, text); rows are those whose group has a clip; columns are the
    clips whose group has such a text.
    """

    def __init__(self, matrix: ScoreMatrix, key: str, options: EvaluationOptions) -> None:
        self.matrix, self.key, self.options = matrix, key, options
        places: dict[ScoredText, int] = {}
        for place, text in enumerate(matrix.texts):
            if text.key == key:
                places.setdefault(text, place)
        self.gallery_rows = list(places.values())
        self.captions = {place: text.text for text, place in places.items()}
        self.compared = {place: as_compared(text.text) for text, place in places.items()}
        name = _merged(places) if options.credit_duplicates else {}
        self.text_groups = {place: name.get(text.group, text.group) for text, place in places.items()}
        self.clip_groups = [name.get(clip.group, clip.group) for clip in matrix.clips]
        with_clips, with_texts = set(self.clip_groups), set(self.text_groups.values())
        self.rows = [place for place in self.gallery_rows if self.text_groups[place] in with_clips]
        self.columns = [place for place, group in enumerate(self.clip_groups) if group in with_texts]

    def measure(self, seen: set[tuple[str, str]] | None) -> QueryResult:
        """All figures; seen: key and text of the training captions."""
        options = self.options
        directions = self._directions(self.plain())
        return QueryResult(
            self.key,
            directions,
            {name: self._directions(scores) for name, scores in self._normalised()},
            mexa=metrics.mexa(
                self.matrix.scores[self.rows],
                row_groups=[self.text_groups[place] for place in self.rows],
                column_groups=self.clip_groups,
                size=options.mexa_size,
                num_draws=options.num_draws,
                seed=options.seed,
            ),
            unseen={} if seen is None else self._unseen(directions, seen),
            confusable=self._confusable(),
            num_texts_without_clip=len(self.gallery_rows) - len(self.rows),
            num_clips_without_text=len(self.clip_groups) - len(self.columns),
        )

    def plain(self) -> dict[str, FloatMatrix]:
        """Direction → (queries, gallery) scores."""
        scores = self.matrix.scores
        return {"text_to_video": scores[self.rows], "video_to_text": scores[self.gallery_rows][:, self.columns].T}

    def _banks(self) -> dict[str, FloatMatrix]:
        """Direction → (training queries, gallery) scores."""
        found: dict[str, FloatMatrix] = {}
        if self.matrix.bank_texts is not None:
            found["text_to_video"] = self.matrix.bank_texts
        if self.matrix.bank_clips is not None:
            found["video_to_text"] = self.matrix.bank_clips[self.gallery_rows].T
        return found

    def _normalised(self) -> Iterable[tuple[str, dict[str, FloatMatrix]]]:
        options, plain, banks = self.options, self.plain(), self._banks()
        inductive: dict[str, _Normalise] = {
            "qb_norm": lambda scores, bank: metrics.qb_norm(
                scores, bank, inverse_temperature=options.inverse_temperature, k=options.hub_lists
            ),
            "csls": lambda scores, bank: metrics.csls(scores, bank, k=options.neighbours),
        }
        for name, normalise in inductive.items() if banks else ():
            yield name, {which: normalise(plain[which], bank) for which, bank in banks.items()}
        if options.transductive:
            beta = options.inverse_temperature
            yield (
                "transductive_csls",
                {which: metrics.transductive_csls(scores, k=options.neighbours) for which, scores in plain.items()},
            )
            yield (
                "transductive_dual_softmax",
                {
                    which: metrics.transductive_dual_softmax(scores, inverse_temperature=beta)
                    for which, scores in plain.items()
                },
            )

    def sides(self) -> dict[str, Side]:
        """Direction → what its queries and its gallery are."""
        texts = [self.text_groups[place] for place in self.gallery_rows]
        return {
            "text_to_video": Side(
                [self.captions[place] for place in self.rows],
                [self.text_groups[place] for place in self.rows],
                self.clip_groups,
            ),
            "video_to_text": Side(
                [self.matrix.clips[place].id for place in self.columns],
                [self.clip_groups[place] for place in self.columns],
                texts,
            ),
        }

    def _directions(self, scores: Mapping[str, FloatMatrix]) -> dict[str, Direction]:
        sides = self.sides()
        return {which: self._direction(values, sides[which]) for which, values in scores.items()}

    def _direction(self, scores: FloatMatrix, side: Side) -> Direction:
        ranks = metrics.rank_queries(scores, query_groups=side.groups, gallery_groups=side.gallery, by_group=True)
        # The queries of one group stand or fall together, so groups are drawn.
        return Direction(
            ranks,
            tuple(side.queries),
            tuple(side.groups),
            self._ceiling(side.groups, set(side.gallery)),
            metrics.hub_skewness(scores, HUB_LIST) if len(side.gallery) > HUB_LIST else None,
            _intervals(ranks, side.groups, self.options),
        )

    def _ceiling(self, groups: Sequence[str], gallery: set[str]) -> Ranks:
        """A perfect model scores a query's group and all groups that share a caption with it alike."""
        having: dict[str, set[str]] = {}
        captions: dict[str, set[str]] = {}
        for place, group in self.text_groups.items():
            if group in gallery:
                having.setdefault(self.compared[place], set()).add(group)
                captions.setdefault(group, set()).add(self.compared[place])
        num_alike = {group: len(set().union(*(having[text] for text in texts))) for group, texts in captions.items()}
        tied = np.array([num_alike[group] for group in groups], dtype=np.int64)
        return Ranks(np.zeros_like(tied), tied, np.ones_like(tied), len(gallery))

    def _unseen(self, directions: Mapping[str, Direction], seen: set[tuple[str, str]]) -> dict[str, Unseen]:
        known = {place for place in self.gallery_rows if (self.key, self.compared[place]) in seen}
        groups = {self.text_groups[place] for place in known}
        is_seen = {
            "text_to_video": [place in known for place in self.rows],
            "video_to_text": [self.clip_groups[place] in groups for place in self.columns],
        }
        found = {}
        for which, marks in is_seen.items():
            others = directions[which].ranks.hits(1)[~np.array(marks, dtype=bool)]
            found[which] = Unseen(sum(marks), len(marks), float(others.mean()) if len(others) else None)
        return found

    def _confusable(self) -> Ranks | None:
        if self.matrix.nearness is None:
            return None
        return rank_rivals(
            self.matrix.scores[self.rows],
            text_groups=[self.text_groups[place] for place in self.rows],
            clip_groups=self.clip_groups,
            nearness=self.matrix.nearness,
        )


def _merged(texts: Iterable[ScoredText]) -> dict[str, str]:
    """Group → the first group that shares a caption with it, also through others."""
    first: dict[str, str] = {}
    by_text: dict[str, str] = {}
    for text in texts:
        own = first.setdefault(text.group, text.group)
        other = first[by_text.setdefault(as_compared(text.text), text.group)]
        if own != other:
            first = {group: other if name == own else name for group, name in first.items()}
    return first


def _intervals(ranks: Ranks, groups: Sequence[str], options: EvaluationOptions) -> dict[str, metrics.Interval]:
    if not options.num_resamples:
        return {}
    values = {f"recall_at_{k}": ranks.hits(k) for k in RECALL_AT} | {"mrr": ranks.reciprocal()}
    found = metrics.mean_intervals(
        list(values.values()), groups=groups, num_resamples=options.num_resamples, seed=options.seed
    )
    return dict(zip(values, found, strict=True))
