"""What a search returns, in an order that depends on nothing but scores and ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Hits:
    """The nearest neighbours of each query, best first; equal scores are ordered by id.

    Attributes:
        ids: (Q, K) str, "" where an approximate search found fewer than K.
        scores: (Q, K) float32, cosine in [-1, 1], -inf where there is no hit.
        rows: (Q, K) int64, place in the index that was searched, -1 where there is no hit.
    """

    ids: NDArray[np.str_]
    scores: NDArray[np.float32]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


def empty_hits(num_queries: int) -> Hits:
    """Hits of no neighbour."""
    return Hits(
        np.empty((num_queries, 0), dtype=np.str_),
        np.empty((num_queries, 0), dtype=np.float32),
        np.empty((num_queries, 0), dtype=np.int64),
    )


def merge_hits(shards: Sequence[Hits], k: int, *, row_offsets: Sequence[int] | None = None) -> Hits:
    """The best k of several indexes searched with the same queries, as one index of all would have returned them.

    Args:
        shards: hits of each index, each with at least min(k, its size) neighbours; ids are unique over all.
        k: neighbours to keep; fewer come back when the shards hold fewer.
        row_offsets: row of each shard's first item in the entire collection; without it `rows` is -1.
    """
    if not shards or k < 1:
        raise ValueError(f"need at least one shard and k of at least 1, got {len(shards)} shards and k={k}")
    if len({len(shard) for shard in shards}) != 1:
        raise ValueError(f"shards answer {[len(shard) for shard in shards]} queries; search all with the same ones")
    ids = np.concatenate([shard.ids for shard in shards], axis=1)
    scores = np.concatenate([shard.scores for shard in shards], axis=1)
    rows = np.concatenate(_shifted(shards, row_offsets), axis=1)
    order = best_first(scores, ids)[:, :k]
    return Hits(*(np.take_along_axis(values, order, axis=1) for values in (ids, scores, rows)))


def _shifted(shards: Sequence[Hits], row_offsets: Sequence[int] | None) -> list[NDArray[np.int64]]:
    if row_offsets is None:
        return [np.full_like(shard.rows, -1) for shard in shards]
    if len(row_offsets) != len(shards):
        raise ValueError(f"got {len(row_offsets)} row_offsets for {len(shards)} shards")
    return [
        np.where(shard.rows < 0, -1, shard.rows + offset) for shard, offset in zip(shards, row_offsets, strict=True)
    ]


def best_first(scores: NDArray[np.float32], tie_break: NDArray[Any]) -> NDArray[np.int64]:
    """Order of each row of scores (Q, C): falling score, then rising tie_break (Q, C); no hit is last."""
    return np.lexsort((tie_break, -scores), axis=1)
