"""Where the first relevant item of each query stands, and the figures made from that. Ties count as expected values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.metrics.bootstrap import Interval, mean_interval, statistic_interval


@dataclass(frozen=True)
class Ranks:
    """Where the first relevant item of each query stands.

    Attributes:
        num_above: (Q,) int64, gallery items that score strictly better than the best relevant item.
        num_tied: (Q,) int64, items with exactly its score, itself included; at least 1.
        num_tied_relevant: (Q,) int64, relevant ones among the tied; at least 1.
        num_gallery: items (or groups) that were ranked.
    """

    num_above: NDArray[np.int64]
    num_tied: NDArray[np.int64]
    num_tied_relevant: NDArray[np.int64]
    num_gallery: int

    def __len__(self) -> int:
        return len(self.num_above)

    @property
    def expected(self) -> NDArray[np.float64]:
        """(Q,) float64, 1-based rank of the first relevant item, averaged over all orders of tied items."""
        after = (self.num_tied + 1) / (self.num_tied_relevant + 1)
        return (self.num_above + after).astype(np.float64)

    def hits(self, k: int) -> NDArray[np.float64]:
        """(Q,) float64 in [0, 1], probability that a relevant item is among the first k, ties in random order."""
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        places = np.clip(k - self.num_above, 0, self.num_tied)
        missed: NDArray[np.float64] = np.ones(len(self))
        # All `places` drawn from the tied items are irrelevant: a product of at most num_tied_relevant factors.
        for drawn in range(int(self.num_tied_relevant.max(initial=0))):
            active = drawn < self.num_tied_relevant
            left = np.maximum(self.num_tied - places - drawn, 0) / np.maximum(self.num_tied - drawn, 1)
            missed = np.where(active, missed * left, missed)
        return 1.0 - missed

    def reciprocal(self) -> NDArray[np.float64]:
        """(Q,) float64, expected 1 / rank of the first relevant item."""
        values = (1.0 / (self.num_above + 1.0)).astype(np.float64)
        for query in np.flatnonzero(self.num_tied > self.num_tied_relevant):
            values[query] = _tied_reciprocal(
                int(self.num_above[query]), int(self.num_tied[query]), int(self.num_tied_relevant[query])
            )
        return values

    def recall(self, k: int) -> float:
        """Share of queries with a relevant item among the first k."""
        return float(self.hits(k).mean())

    @property
    def median(self) -> float:
        """Median of the expected ranks (MedR)."""
        return float(np.median(self.expected))

    @property
    def mean(self) -> float:
        """Mean of the expected ranks (MeanR)."""
        return float(self.expected.mean())

    @property
    def mrr(self) -> float:
        """Mean reciprocal rank."""
        return float(self.reciprocal().mean())

    def recall_interval(
        self, k: int, *, groups: Sequence[Any] | None = None, level: float = 0.95, seed: int = 0
    ) -> Interval:
        """Bootstrap interval of Recall@k over queries, or over whole groups of queries."""
        return mean_interval(self.hits(k), groups=groups, level=level, seed=seed)

    def median_interval(self, *, level: float = 0.95, seed: int = 0) -> Interval:
        """Bootstrap interval of the median rank over queries."""
        return statistic_interval(self.expected, lambda drawn: np.median(drawn, axis=1), level=level, seed=seed)

    def to_dict(
        self, *, recall_at: Sequence[int] = (1, 5, 10), groups: Sequence[Any] | None = None, seed: int = 0
    ) -> dict[str, Any]:
        """Plain values for a result file, with 95 % intervals.

        Args:
            recall_at: the K of Recall@K.
            groups: (Q,) labels of queries that depend on each other, drawn whole for the intervals of Recall@K.
            seed: of the intervals.
        """
        result: dict[str, Any] = {"num_queries": len(self), "num_gallery": self.num_gallery}
        for k in recall_at:
            result[f"recall_at_{k}"] = self.recall(k)
            result[f"recall_at_{k}_interval_95"] = list(self.recall_interval(k, groups=groups, seed=seed)[:2])
        result.update(median_rank=self.median, mean_rank=self.mean, mrr=self.mrr)
        result["median_rank_interval_95"] = list(self.median_interval(seed=seed)[:2])
        return result


def _tied_reciprocal(num_above: int, num_tied: int, num_relevant: int) -> float:
    """Sum over places p of P(first relevant item at p) / (num_above + p), p = 1 … num_tied - num_relevant + 1."""
    expected, none_before = 0.0, 1.0
    for place in range(1, num_tied - num_relevant + 2):
        here = num_relevant / (num_tied - place + 1)
        expected += none_before * here / (num_above + place)
        none_before *= 1.0 - here
    return expected
