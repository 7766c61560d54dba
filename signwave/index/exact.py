"""Exact search over vectors in an array, also over a part of them, with ties that no rounding decides."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from signwave.index.engine import Candidates, faiss

ROUNDING = 1e-5
"""float32 inner products of unit vectors differ by less, whatever the order of summation."""

_MAX_CANDIDATES = 1 << 22  # asked for at once: 50 MB of rows and scores
_GATHERED_SHARE = 0.25  # of the vectors; more are compared where they lie


def exact_candidates(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    *,
    allowed: NDArray[np.bool_] | None,
    limit: int,
    longest: float,
) -> list[NDArray[np.int64]]:
    """Rows of each query that certainly hold the exact best k, also when many scores are equal.

    Args:
        vectors: (N, D) float32, may be memory-mapped.
        queries: (Q, D) float32.
        k: neighbours wanted, at most limit.
        allowed: (N,) bool, rows to compare with; None for all.
        limit: how many those are.
        longest: length of the longest vector.
    """
    data = np.asarray(vectors)
    rounding = ROUNDING * max(longest, np.finfo(np.float32).tiny) * np.linalg.norm(queries, axis=1)
    if allowed is not None and limit <= _GATHERED_SHARE * len(data):
        rows = np.flatnonzero(allowed)
        data = data[rows]

        def propose(which: NDArray[np.int64], count: int) -> Candidates:
            found = _scan(data, queries[which], count, None)
            return Candidates(rows[found.rows], found.scores)
    else:
        bits = None if allowed is None or limit == len(data) else np.packbits(allowed, bitorder="little")

        def propose(which: NDArray[np.int64], count: int) -> Candidates:
            return _scan(data, queries[which], count, bits)

    return _with_ties(propose, rounding=rounding, k=k, limit=limit)


def _scan(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], count: int, bits: NDArray[np.uint8] | None
) -> Candidates:
    """The best `count` rows of each query; `bits` are the rows allowed, packed, and must be at least `count`."""
    library = faiss()
    if bits is None:
        scores, found = library.knn(queries, vectors, count, library.METRIC_INNER_PRODUCT)
        return Candidates(found, scores)
    scores = np.empty((len(queries), count), dtype=np.float32)
    found = np.empty((len(queries), count), dtype=np.int64)
    pointer = library.swig_ptr
    selector = library.IDSelectorBitmap(len(bits) * 8, pointer(bits))
    library.knn_inner_product(
        pointer(queries),
        pointer(vectors),
        vectors.shape[1],
        len(queries),
        len(vectors),
        count,
        pointer(scores),
        pointer(found),
        selector,
    )
    return Candidates(found, scores)


def _with_ties(
    propose: Callable[[NDArray[np.int64], int], Candidates], *, rounding: NDArray[np.floating], k: int, limit: int
) -> list[NDArray[np.int64]]:
    """Ask for more until the worst candidate is clearly below the k-th.

    FAISS rounds differently with the size of a batch and cuts ties anywhere.

    Args:
        propose: maps (query numbers, count) to candidates, best first, exact but for rounding.
        rounding: (Q,) by how much a score may be wrong.
        k: neighbours wanted, at most limit.
        limit: neighbours there are.
    """
    rows: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)] * len(rounding)
    open_queries = np.arange(len(rounding))
    count = min(limit, k + 8)
    while len(open_queries):
        unclear = []
        step = max(1, _MAX_CANDIDATES // count)
        for start in range(0, len(open_queries), step):
            asked = open_queries[start : start + step]
            candidates = propose(asked, count)
            clear = candidates.scores[:, k - 1] - candidates.scores[:, -1] > rounding[asked]
            done = clear | (count == limit)
            for place in np.flatnonzero(done):
                rows[asked[place]] = candidates.rows[place]
            unclear.append(asked[~done])
        open_queries = np.concatenate(unclear)
        count = min(limit, 4 * count)
    return rows
