"""Searching in Milvus with the answers of the FAISS index: scores computed again from the stored vectors, ties by id.

Milvus rounds in its own way and cuts equal scores anywhere. So more candidates are asked for until the worst of them is
clearly below the k-th; what it can't filter, or not return at once, is answered by reading the rows that remain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.index.hits import Hits, best_first, empty_hits
from signwave.index.milvus.filter import Plan, plan
from signwave.index.milvus.place import asking
from signwave.index.milvus.table import MAX_HITS, Stored, Table, slices
from signwave.index.rows import Where, matching_rows

_ROUNDING = 1e-5  # float32 inner products of unit vectors differ by less
_FEW_ROWS = 2_000  # a filter that keeps no more is answered exactly by approximate kinds too
_MAX_HITS_AT_ONCE = 1 << 16


def search(table: Table, queries: NDArray[np.float32], k: int, where: Where | None) -> Hits:
    """The best k of each query; exact for kind "flat", for filters that keep few rows, and for those only we can apply.

    Args:
        table: what is searched.
        queries: (Q, D) float32, checked.
        k: neighbours wanted, at least 1.
        where: filter on payloads.
    """
    split = plan(where)
    if len(queries) == 0:
        return empty_hits(0)
    if split.rest is None:
        # Filtering costs milvus-lite a pass over all payloads, so a flat index, whose answers tell, isn't counted.
        limit = None if table.header["kind"] == "flat" else table.count(split.expression)
        if limit is None or where is None or limit > _FEW_ROWS:
            hits = _ask(table, queries, k, split.expression, where, limit=limit)
            if hits is not None:
                return hits
            split = Plan(split.expression, where)  # here every row is checked once more
    return _scan(table, queries, min(k, table.count(split.expression)), split)


class _Best:
    """The best k rows of each query among those offered so far."""

    def __init__(self, num_queries: int, k: int) -> None:
        self._ids: NDArray[Any] = np.full((num_queries, k), "", dtype=object)
        self._scores = np.full((num_queries, k), -np.inf, dtype=np.float32)
        self._keys = np.full((num_queries, k), -1, dtype=np.int64)

    def offer(self, place: int, rows: Sequence[Stored], scores: NDArray[np.float32]) -> None:
        """Consider rows for the query at a place; none may be offered twice."""
        k = self._scores.shape[1]
        ids = np.concatenate([self._ids[place], np.array([row["id"] for row in rows], dtype=object)])
        keys = np.concatenate([self._keys[place], np.array([row["key"] for row in rows], dtype=np.int64)])
        both = np.concatenate([self._scores[place], scores])
        order = best_first(both[None], ids.astype(np.str_)[None])[0, :k]
        self._ids[place], self._scores[place], self._keys[place] = ids[order], both[order], keys[order]

    def hits(self, k: int) -> Hits:
        """The best so far, cut to k."""
        return Hits(self._ids[:, :k].astype(np.str_), self._scores[:, :k], self._keys[:, :k])


def _ask(
    table: Table, queries: NDArray[np.float32], k: int, expression: str, where: Where | None, *, limit: int | None
) -> Hits | None:
    """Let Milvus propose candidates; None if it can't settle it and the rows must be read.

    `limit` is the number of rows that pass, for kinds that may return fewer; None for "flat", which returns all it is
    asked for, and the ties of the last one must be settled.
    """
    if k > MAX_HITS or limit == 0:
        return None
    best = _Best(len(queries), k)
    places = list(range(len(queries)))
    count, width = k + 8 if limit is None else min(limit, 4 * k + 16), 0
    while places:
        if count > MAX_HITS:
            return None
        unclear: list[int] = []
        for some in slices(places, max(1, _MAX_HITS_AT_ONCE // count)):
            answers = _proposals(table, queries[some], count, expression)
            vectors = _vectors(table, answers)
            for place, answer in zip(some, answers, strict=True):
                rows = [hit["entity"] for hit in answer]
                if where is not None and len(matching_rows([row["payload"] for row in rows], where)) < len(rows):
                    return None  # a value that Milvus and Python compare differently
                matrix = np.array([vectors[row["key"]] for row in rows]).reshape(-1, queries.shape[1])
                is_all = limit is not None or len(answer) < count
                if is_all or _is_clear(answer, matrix, queries[place], k):
                    best.offer(place, rows, _exact(matrix, queries[place]))
                    width = max(width, min(k, len(answer)))
                else:
                    unclear.append(place)
        places, count = unclear, 4 * count
    return best.hits(width if limit is None else min(k, limit))


def _proposals(table: Table, queries: NDArray[np.float32], count: int, expression: str) -> list[list[dict[str, Any]]]:
    """Milvus's hits of each query, best first; each has "distance" and "entity" with key, id and payload."""
    fields = ["key", "id", *(["payload"] if expression else [])]
    with asking(table.place):
        answers = table.client.search(
            table.name,
            data=list(queries),
            anns_field="vector",
            filter=expression,
            limit=count,
            output_fields=fields,
            search_params={"metric_type": "IP", "params": _effort(table.header["kind"], count)},
            consistency_level="Strong",
        )
    return [[{"distance": hit["distance"], "entity": dict(hit["entity"])} for hit in answer] for answer in answers]


def _effort(kind: str, count: int) -> dict[str, int]:
    return {"hnsw": {"ef": max(128, 4 * count)}, "ivf_sq8": {"nprobe": 64}}.get(kind, {})


def _vectors(table: Table, answers: Sequence[Sequence[dict[str, Any]]]) -> dict[int, NDArray[np.float32]]:
    """Stored vectors of all candidates, each fetched once."""
    keys = sorted({hit["entity"]["key"] for answer in answers for hit in answer})
    found = table.fetch(keys, ["vector"])
    return {key: np.asarray(row["vector"], dtype=np.float32) for key, row in found.items()}


def _is_clear(
    answer: Sequence[dict[str, Any]], matrix: NDArray[np.float32], query: NDArray[np.float32], k: int
) -> bool:
    """True if no row that was left out can be among the best k, whatever Milvus rounded."""
    size = float(np.linalg.norm(query) * np.linalg.norm(matrix, axis=1).max())
    gap = float(answer[k - 1]["distance"]) - float(answer[-1]["distance"])
    return gap > _ROUNDING * max(1.0, size)


def _exact(matrix: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inner products as the FAISS index gives them: summed in float64, rounded once."""
    products: NDArray[np.float64] = matrix.astype(np.float64) * query.astype(np.float64)
    scores: NDArray[np.float32] = products.sum(axis=1).astype(np.float32)
    return scores


def _scan(table: Table, queries: NDArray[np.float32], k: int, split: Plan) -> Hits:
    """Compare with every row that passes, read in batches."""
    fields = ["key", "id", "vector", *([] if split.rest is None else ["payload"])]
    best, num_passed = _Best(len(queries), k), 0
    for batch in table.scan(split.expression, fields):
        rows: list[Stored] = batch
        if split.rest is not None:
            rows = [batch[row] for row in matching_rows([row["payload"] for row in batch], split.rest)]
        if not rows:
            continue
        num_passed += len(rows)
        matrix = np.stack([np.asarray(row["vector"], dtype=np.float32) for row in rows])
        for place, query in enumerate(queries):
            best.offer(place, rows, _exact(matrix, query))
    return best.hits(min(k, num_passed)) if num_passed else empty_hits(len(queries))
