"""Choosing the FAISS type of a segment: built, measured against exact search with real queries, and explained."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from signwave.index import engine
from signwave.index.engine import Approximate, Space

KindChoice = Literal["auto", "flat", "hnsw", "ivf_sq8", "ivf_fastscan"]
TARGET_RECALL = 0.99
SMALL_K = 10
CANDIDATES = 200
FLAT_BELOW = 10_000

_MIN_ROWS_APPROXIMATE = 256
_NUM_QUERIES = 512
_NO_GAIN = 0.005  # recall that isn't worth more effort where the target is out of reach
_NUM_TIMED = 16
_FACTORS = (1, 2, 4, 8, 16, 32, 64)
_MAX_COMPARED = 4096  # candidates compared exactly; beyond, more clusters or another type are the better way
_SPARE = 16
_FIRST_EFFORT = {"hnsw": 32}


@dataclass(frozen=True)
class Effort:
    """How hard an approximate search works for so many neighbours.

    Attributes:
        k: neighbours wanted.
        effort: clusters looked into, or the depth of the walk.
        factor: candidates for each neighbour wanted, which are then compared exactly.
        recall: share of the exact k that is found.
    """

    k: int
    effort: int
    factor: int
    recall: float

    def num_candidates(self, k: int) -> int:
        """Candidates to ask for; for fewer neighbours than were measured no fewer, or the very first may be missed."""
        return self.factor * max(k, self.k) + _SPARE


@dataclass(frozen=True)
class Choice:
    """The type of a segment.

    Attributes:
        kind: the type.
        index: the FAISS index, None for "flat".
        efforts: for rising k.
        facts: what `info()["choice"]` shows.
    """

    kind: engine.Kind
    index: Any
    efforts: tuple[Effort, ...]
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Sample:
    """Queries with their exact neighbours.

    Attributes:
        queries: (Q, D) float32.
        rows: (Q,) int64, the rows that serve as queries and don't count as their own neighbours; None if queries were
            given.
        truth: (Q, K) int64, the exact best, best first.
        exact_ms: time of one exact search.
    """

    queries: NDArray[np.float32]
    rows: NDArray[np.int64] | None
    truth: NDArray[np.int64]
    exact_ms: float


def flat(reason: str) -> Choice:
    """Exact search, for a reason."""
    return Choice("flat", None, (), {"kind": "flat", "reason": reason, "recall_at_10": 1.0})


def choose(
    vectors: NDArray[np.float32],
    space: Space,
    *,
    kind: KindChoice,
    queries: NDArray[np.float32] | None,
    candidates: int = CANDIDATES,
) -> Choice:
    """Build the types in question and take the fastest that finds enough.

    Args:
        vectors: (N, dim) float32, may be memory-mapped.
        space: where FAISS compares.
        kind: as the user chose it.
        queries: (Q, dim) float32 like those to come; without them rows that were held out of the training serve.
        candidates: neighbours that a later stage will look at.
    """
    count = len(vectors)
    if kind == "flat":
        return flat("exact search was asked for")
    if count < _MIN_ROWS_APPROXIMATE:
        return flat(f"{count:,} rows need no approximation")
    if kind == "auto" and count < FLAT_BELOW:
        return flat(f"{count:,} rows, fewer than {FLAT_BELOW:,}, are searched exactly in a few milliseconds")
    wanted: tuple[Approximate, ...] = ("ivf_sq8", "ivf_fastscan") if kind == "auto" else (kind,)
    sample = _sample(vectors, queries, min(candidates, count - 1))
    held_out = np.empty(0, dtype=np.int64) if sample.rows is None else sample.rows
    lists = None if wanted == ("hnsw",) else engine.train_lists(vectors, space, held_out=held_out)
    tried = [_measured(vectors, space, name, lists, sample) for name in wanted]
    best = min(tried, key=_preference)
    others = [each for each in tried if each is not best]
    if kind == "auto" and best.facts["ms"] >= sample.exact_ms:
        why = _reason(best, others, kind, sample)
        return flat(f"no approximation is faster than exact search here ({why})")
    return Choice(best.kind, best.index, best.efforts, {**best.facts, "reason": _reason(best, others, kind, sample)})


def _sample(vectors: NDArray[np.float32], queries: NDArray[np.float32] | None, k: int) -> _Sample:
    """Queries and their exact neighbours; a row that serves as a query is no neighbour of itself."""
    rows = None
    if queries is None or len(queries) == 0:
        size = min(_NUM_QUERIES, len(vectors) // 4)
        rows = np.sort(np.random.default_rng(1).choice(len(vectors), size, replace=False))
        queries = np.array(vectors[rows])
    else:
        queries = queries[np.linspace(0, len(queries) - 1, min(_NUM_QUERIES, len(queries))).astype(np.int64)]
    library, data = engine.faiss(), np.asarray(vectors)
    queries = np.ascontiguousarray(queries)
    _, found = library.knn(queries, data, min(k + 1, len(data)), library.METRIC_INNER_PRODUCT)
    truth = _without(found, rows, k)
    exact_ms = _milliseconds(lambda query: library.knn(query, data, k, library.METRIC_INNER_PRODUCT), queries)
    return _Sample(queries, rows, truth, exact_ms)


def _without(found: NDArray[np.int64], rows: NDArray[np.int64] | None, k: int) -> NDArray[np.int64]:
    """The first k of each line, without the row that asked."""
    if rows is None:
        return found[:, :k]
    others = np.argsort(found == rows[:, None], axis=1, kind="stable")
    return np.take_along_axis(found, others, axis=1)[:, :k]


def _measured(vectors: NDArray[np.float32], space: Space, kind: Approximate, lists: Any, sample: _Sample) -> Choice:
    """Build one type and find how much effort it takes."""
    begin = time.perf_counter()
    index = engine.create(vectors, space, kind=kind, lists=lists)
    build_seconds = time.perf_counter() - begin
    most = sample.truth.shape[1]
    efforts = tuple(_tuned(index, space, sample, kind, k) for k in sorted({min(SMALL_K, most), most}))
    last = efforts[-1]

    def search(query: NDArray[np.float32]) -> None:
        count = min(index.ntotal, last.num_candidates(most))
        rows = engine.nearest(index, space.of_queries(query), count, effort=last.effort).rows[0]
        np.asarray(vectors)[np.sort(rows[rows >= 0])] @ query[0]

    facts = {
        "kind": kind,
        "num_probes": efforts[0].effort,
        "queries": "rows" if sample.rows is not None else "given",
        "num_queries": len(sample.queries),
        **{f"recall_at_{effort.k}": effort.recall for effort in efforts},
        "ms": _milliseconds(search, sample.queries),
        "exact_ms": sample.exact_ms,
        "build_seconds": round(build_seconds, 3),
    }
    return Choice(kind, index, efforts, facts)


def _tuned(index: Any, space: Space, sample: _Sample, kind: str, k: int) -> Effort:
    """The least effort that surely reaches the target recall of k neighbours, or else the least that finds the most.

    Surely: by a standard error more, and with one query more that finds nothing. What is chosen by a few hundred
    queries does a little worse on others, and whole misses, which count most, are rare among them.
    """
    truth = sample.truth[:, :k]
    wide = space.of_queries(sample.queries)
    most, effort = engine.most_effort(index), min(_FIRST_EFFORT.get(kind, 1), engine.most_effort(index))
    factors = [factor for factor in _FACTORS if factor == 1 or factor * k <= _MAX_COMPARED]
    count = min(index.ntotal, factors[-1] * k + _SPARE + 1)
    tried: list[Effort] = []
    while True:
        asked = min(count, effort) if kind == "hnsw" else count  # a walk gets deeper with what it is asked for
        rows = engine.nearest(index, wide, asked, effort=effort).rows
        places = _places(truth, _without(rows, sample.rows, asked))
        for factor in factors:
            found = (places < factor * k + _SPARE).mean(axis=1)
            tried.append(Effort(k, effort, factor, round(float(found.mean()), 4)))
            feared = np.append(found, 0.0)
            if feared.mean() - feared.std() / len(feared) ** 0.5 >= TARGET_RECALL:
                return tried[-1]
        if effort == most:
            best = max(each.recall for each in tried)
            enough = max(best - _NO_GAIN, TARGET_RECALL) if best >= TARGET_RECALL else best - _NO_GAIN
            return next(each for each in tried if each.recall >= enough)
        effort = min(most, 2 * effort)


def _places(truth: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of each true neighbour among the rows found, a number beyond all if it wasn't: the shape of truth."""
    beyond = np.iinfo(np.int64).max
    places = np.full(truth.shape, beyond, dtype=np.int64)
    for line, (wanted, found) in enumerate(zip(truth, rows, strict=True)):
        order = np.argsort(found, kind="stable")
        near = np.minimum(np.searchsorted(found, wanted, sorter=order), len(found) - 1)
        places[line] = np.where(found[order[near]] == wanted, order[near], beyond)
    return places


def _milliseconds(search: Any, queries: NDArray[np.float32]) -> float:
    """Median time of a search of one query; one is run before to warm up."""
    times = []
    for place in [0, *range(min(_NUM_TIMED, len(queries)))]:
        begin = time.perf_counter()
        search(queries[place : place + 1])
        times.append(1000 * (time.perf_counter() - begin))
    return round(statistics.median(times[1:]), 3)


def _preference(choice: Choice) -> tuple[Any, ...]:
    """Enough recall of the first ten first, then speed; else the most recall."""
    recall = choice.efforts[0].recall
    return (recall < TARGET_RECALL, choice.facts["ms"] if recall >= TARGET_RECALL else -recall)


def _reason(best: Choice, others: list[Choice], asked: KindChoice, sample: _Sample) -> str:
    """One sentence for people."""
    recall = f"finds {best.efforts[0].recall:.1%} of the exact ten best"
    whose = "rows of its own" if sample.rows is not None else "given queries"
    speed = f"{best.facts['ms']:.2f} ms a query against {sample.exact_ms:.2f} ms of exact search"
    if asked != "auto":
        return f"{best.kind} was asked for; it {recall} of {len(sample.queries)} {whose}, {speed}"
    compared = "".join(f"; {o.kind}: {o.efforts[0].recall:.1%} in {o.facts['ms']:.2f} ms" for o in others)
    enough = best.efforts[0].recall >= TARGET_RECALL
    why = "is the faster type that" if enough else f"comes nearest to the wanted {TARGET_RECALL:.0%}: it"
    return f"{best.kind} {why} {recall} of {len(sample.queries)} {whose}, {speed}{compared}"
