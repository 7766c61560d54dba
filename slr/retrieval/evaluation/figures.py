"""How well texts find clips: recall by query language and by the spelled word's, with intervals and chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from signwave import metrics

if TYPE_CHECKING:
    from slr.retrieval.evaluation.score_matrix import ScoredText
    from slr.retrieval.learning.data import QueryText


def retrieval_figures(
    scores: NDArray[np.float32],
    *,
    queries: Sequence[QueryText | ScoredText],
    groups: Sequence[str],
    languages: Sequence[str],
) -> dict[str, Any]:
    """R@1, R@5 and R@10 of text queries over clips, by language, with intervals over groups and with chance.

    Args:
        scores: (Q, G) float32, higher is better.
        queries: Q texts with their groups.
        groups: (G,) group of each clip.
        languages: (G,) language of the word that each clip spells.

    Returns:
        Figures of all queries, and under "by_language" those of each query language, where "spelled_LANGUAGE" is R@1
        over the clips that spell a word of that language alone: apart from the query's own, that is across languages.
    """
    found = _figures(scores, queries, groups)
    found["by_language"] = {}
    for language in dict.fromkeys(query.language for query in queries):
        rows = [row for row, query in enumerate(queries) if query.language == language]
        chosen = [queries[row] for row in rows]
        figures = _figures(scores[rows], chosen, groups)
        for spelled in dict.fromkeys(languages):
            columns = [column for column, name in enumerate(languages) if name == spelled]
            inside = {groups[column] for column in columns}
            kept = [row for row, query in zip(rows, chosen, strict=True) if query.group in inside]
            part = _figures(scores[np.ix_(kept, columns)], [queries[r] for r in kept], [groups[c] for c in columns])
            figures[f"spelled_{spelled}"] = part["recall_at_1"]
        found["by_language"][language] = figures
    return found


def _figures(
    scores: NDArray[np.float32], queries: Sequence[QueryText | ScoredText], groups: Sequence[str]
) -> dict[str, Any]:
    wanted = [query.group for query in queries]
    ranks = metrics.rank_queries(scores, query_groups=wanted, gallery_groups=groups)
    chance = metrics.chance(query_groups=wanted, gallery_groups=groups)
    found: dict[str, Any] = {"num_queries": len(queries), "num_clips": len(groups), "chance_at_1": chance.recall(1)}
    for k in (1, 5, 10):
        found[f"recall_at_{k}"] = ranks.recall(k)
        # The queries of one concept in several languages stand or fall together.
        found[f"recall_at_{k}_interval"] = list(ranks.recall_interval(k, groups=wanted)[:2])
    found["median_rank"] = ranks.median
    return found


def main_figures(figures: Mapping[str, Any]) -> dict[str, float]:
    """The few numbers of a split that are worth a line in a log; a checkpoint is chosen by `recall`."""
    rates = [float(figures[f"recall_at_{k}"]) for k in (1, 5, 10)]
    found = {"recall": float(np.prod(rates) ** (1 / len(rates)))}
    found |= {name: float(figures[name]) for name in ("recall_at_1", "recall_at_5", "chance_at_1")}
    for language, part in figures["by_language"].items():
        found[f"recall_at_1_{language}"] = float(part["recall_at_1"])
    return found
