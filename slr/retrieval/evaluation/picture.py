"""An evaluation as a picture: recall@K of every kind of query, and how its ranks are spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from signwave.plots.retrieval import RankLine, plot_ranks
from slr.retrieval.evaluation.measured import DIRECTIONS, RetrievalResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_result(result: RetrievalResult) -> Figure:
    """One row of panels per direction; scores as they are, normalised ones stay in the table."""
    return plot_ranks(
        {
            which.replace("_", " "): [
                RankLine(key or "texts", row.directions[which].ranks, row.directions[which].ceiling)
                for key, row in result.by_query.items()
            ]
            for which in DIRECTIONS
        }
    )
