"""Queries whose right group doesn't come first, and what came instead: for people to look at."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from signwave import metrics
from signwave.errors import UserError
from signwave.rundir import atomic_write
from slr.retrieval.evaluation.measured import SHORT
from slr.retrieval.evaluation.query_evaluation import EvaluationOptions, QueryEvaluation
from slr.retrieval.evaluation.score_matrix import ScoreMatrix, as_compared

SUFFIXES = (".tsv", ".html")
_SHOWN_ON_A_PAGE = 1_000


class Miss(NamedTuple):
    """A query whose group isn't surely first.

    Attributes:
        key: kind of query, "en" or "en+keywords".
        direction: T2V or V2T.
        rank: of its group, 1-based; ties count as the expected value.
        query: the text, or the id of the clip.
        group: the right one.
        caption: of the right group.
        score: of its best item.
        found: the best group among the others.
        found_caption: of that group.
        found_score: of its best item.
        same_caption: whether the groups can't be told apart by their captions.
    """

    key: str
    direction: str
    rank: float
    query: str
    group: str
    caption: str
    score: float
    found: str
    found_caption: str
    found_score: float
    same_caption: bool


def misses(matrix: ScoreMatrix, options: EvaluationOptions | None = None) -> list[Miss]:
    """Every miss of every kind of query in both directions, worst first within each."""
    found: list[Miss] = []
    for key in dict.fromkeys(text.key for text in matrix.texts):
        query = QueryEvaluation(matrix, key, options or EvaluationOptions())
        if query.rows and query.columns:
            for which in query.plain():
                found += _misses(query, which)
    return found


def write_misses(path: str | Path, found: Sequence[Miss]) -> None:
    """Write a .tsv of all misses, or an .html page of the first thousand.

    Raises:
        UserError: another suffix.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: errors are written as {' or '.join(SUFFIXES)}; give such a name")
    if path.suffix == ".tsv":
        text = io.StringIO()
        writer = csv.writer(text, delimiter="\t", lineterminator="\n")
        writer.writerow(Miss._fields)
        writer.writerows(_cells(miss) for miss in found)
        atomic_write(path, text.getvalue())
        return
    from signwave.report import Page

    page = Page("Queries whose group doesn't come first", lead=f"{len(found)} misses, worst first.")
    if len(found) > _SHOWN_ON_A_PAGE:
        page.note(f"The first {_SHOWN_ON_A_PAGE} are shown; a .tsv holds them all.")
    page.table([name.replace("_", " ") for name in Miss._fields], [_cells(miss) for miss in found[:_SHOWN_ON_A_PAGE]])
    page.write(path)


def _misses(query: QueryEvaluation, which: str) -> list[Miss]:
    scores, side = query.plain()[which], query.sides()[which]
    ranks = metrics.rank_queries(scores, query_groups=side.groups, gallery_groups=side.gallery, by_group=True)
    of_groups, names = metrics.best_of_groups(scores, side.gallery)
    own = np.array([names.index(group) for group in side.groups])
    right = of_groups[np.arange(len(own)), own]
    others = np.where(np.arange(len(names)) == own[:, None], -np.inf, of_groups)
    captions = {query.text_groups[place]: query.captions[place] for place in reversed(query.gallery_rows)}
    wrong = np.flatnonzero(ranks.hits(1) < 1)
    found = []
    for place in wrong[np.argsort(-ranks.expected[wrong], kind="stable")]:
        group, other = side.groups[place], names[int(others[place].argmax())]
        found.append(
            Miss(
                query.key,
                SHORT[which],
                float(ranks.expected[place]),
                side.queries[place],
                group,
                captions.get(group, ""),
                float(right[place]),
                other,
                captions.get(other, ""),
                float(others[place].max()),
                as_compared(captions.get(group, "")) == as_compared(captions.get(other, "")),
            )
        )
    return found


def _cells(miss: Miss) -> list[Any]:
    values = miss._replace(rank=round(miss.rank, 2), score=round(miss.score, 4), found_score=round(miss.found_score, 4))
    return [("yes" if value else "") if isinstance(value, bool) else value for value in values]
