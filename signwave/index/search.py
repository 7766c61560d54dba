"""Searching a snapshot: each segment proposes candidates, exact scores order them, and the parts are merged."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from signwave.index import engine
from signwave.index.exact import ROUNDING, exact_candidates
from signwave.index.hits import Hits, best_first, empty_hits, merge_hits
from signwave.index.interface import Where
from signwave.index.segment import Segment
from signwave.index.snapshot import Part, Snapshot
from signwave.index.tuning import Effort

_FEW_ROWS = 50_000  # a filter that keeps fewer, or a small share, is answered by comparing with all of them
_FEW_SHARE = 0.05
_MAX_CANDIDATES = 1 << 16
_SPARE = 1.25  # neighbours that are dropped are not spread quite evenly
_DEEPER = 4  # a query that found fewer than k is asked again for so many times as many

_Rows = NDArray[np.int64]


def search(snapshot: Snapshot, queries: NDArray[np.float32], k: int, where: Where | None) -> Hits:
    """The best k of each query (Q, D), checked; K = min(k, rows that pass the filter)."""
    found, offsets = [], []
    for part in snapshot.parts:
        allowed = part.alive if where is None else part.segment.rows.matching(where, part.alive)
        limit = part.num_alive if where is None else int(allowed.sum())
        if limit and len(queries):
            found.append(_search_part(part, queries, min(k, limit), allowed, limit, filtered=where is not None))
            offsets.append(part.start)
    if not found:
        return empty_hits(len(queries))
    return merge_hits(found, k, row_offsets=offsets)


def _search_part(
    part: Part, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], limit: int, *, filtered: bool
) -> Hits:
    segment = part.segment
    few = filtered and (limit < _FEW_ROWS or limit < _FEW_SHARE * len(segment))
    if segment.faiss_index is None or few or k == limit:
        candidates = _exact(segment, queries, k, allowed, limit)
    else:
        candidates = _approximate(segment, queries, k, allowed, limit)
    return _rescored(segment, queries, candidates, k)


def _exact(
    segment: Segment, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], limit: int
) -> list[_Rows]:
    longest = segment.space.longest
    return exact_candidates(segment.vectors, queries, k, allowed=allowed, limit=limit, longest=longest)


def _approximate(
    segment: Segment, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], limit: int
) -> list[_Rows]:
    """Candidates of each query from FAISS, without the rows that aren't allowed: dead ones, or others than wanted.

    The k-th allowed neighbour is about the (k N / limit)-th of all, so that is what effort is spent for. Where a query
    meets more that are dropped, it is asked again for as many as it takes, and if it still has fewer than k, answered
    exactly: no filter makes neighbours vanish.
    """
    kept = effort_for(segment.efforts, k).num_candidates(k)
    wide = segment.space.of_queries(queries)
    found: list[_Rows] = [np.empty(0, dtype=np.int64)] * len(queries)
    places = np.arange(len(queries))
    depth = k if limit == len(segment) else math.ceil(_SPARE * k * len(segment) / limit)
    for _ in range(2):
        effort = effort_for(segment.efforts, depth)
        count = min(len(segment), effort.num_candidates(depth))
        if not len(places) or count > _MAX_CANDIDATES:
            break
        rows = engine.nearest(segment.faiss_index, wide[places], count, effort=effort.effort).rows
        reached = np.zeros(len(places), dtype=np.int64)
        for place, (query, line) in enumerate(zip(places, rows, strict=True)):
            known = line[line >= 0]
            passing = np.flatnonzero(allowed[known])[:kept]
            found[query] = known[passing]
            reached[place] = passing[k - 1] + 1 if len(passing) >= k else _DEEPER * depth
        deeper = reached > _SPARE * depth
        places, depth = places[deeper], int(reached.max())
    short = np.array([place for place in places if len(found[place]) < k], dtype=np.int64)
    if len(short):
        for place, exact in zip(short, _exact(segment, queries[short], k, allowed, limit), strict=True):
            found[place] = exact
    return found


def effort_for(efforts: tuple[Effort, ...], k: int) -> Effort:
    """The effort for k neighbours, between or beyond those that were measured."""
    lower = max((effort for effort in efforts if effort.k <= k), key=lambda effort: effort.k, default=efforts[0])
    upper = next((effort for effort in efforts if effort.k >= k), None)
    if upper is None:
        return Effort(k, lower.effort * math.ceil(k / lower.k), lower.factor, lower.recall)
    if upper.k <= lower.k:
        return lower
    share = math.log(k / lower.k) / math.log(upper.k / lower.k)
    between = math.ceil(lower.effort * (upper.effort / lower.effort) ** share)
    return Effort(k, between, max(lower.factor, upper.factor), min(lower.recall, upper.recall))


def _rescored(segment: Segment, queries: NDArray[np.float32], candidates: list[_Rows], k: int) -> Hits:
    """The best k candidates by inner product in float64, which is the same however the candidates were found."""
    rows = np.empty((len(queries), k), dtype=np.int64)
    scores = np.empty((len(queries), k), dtype=np.float32)
    rank = segment.rows.rank
    for place, (query, proposed) in enumerate(zip(queries, candidates, strict=True)):
        found, vectors = _in_reach(segment, query, np.sort(proposed), k)
        exact = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1).astype(np.float32)
        order = best_first(exact[None], rank[found][None])[0, :k]
        rows[place], scores[place] = found[order], exact[order]
    ids = np.array(segment.rows.ids(rows.ravel()), dtype=np.str_).reshape(rows.shape)
    return Hits(ids, scores, rows)


def _in_reach(segment: Segment, query: NDArray[np.float32], found: _Rows, k: int) -> tuple[_Rows, NDArray[np.float32]]:
    """Candidates that may be among the best k, with their vectors: float32 tells most of them apart, and faster."""
    vectors = np.asarray(segment.vectors)[found]
    if len(found) <= 2 * k:
        return found, vectors
    rough = vectors @ query
    margin = 2 * ROUNDING * segment.space.longest * float(np.linalg.norm(query))
    kept = rough >= np.partition(rough, len(rough) - k)[len(rough) - k] - margin
    return found[kept], vectors[kept]
