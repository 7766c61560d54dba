"""Edit counts of many sentence pairs at once: the alignments of `count_edits`, without a table and a walk each.

`count_edits` walks back from the end of a table of costs and prefers the diagonal, then the insertion, then the
deletion. Where a cell's path comes from depends on that cell alone, so the number of substitutions on it can be carried
forward instead. A cell is one whole number: cost, then the step's place in the order of preference, then the
substitutions. The minimum of three such numbers picks both the cheapest step and the preferred one among equals.
Cells of one anti-diagonal don't depend on each other, nor do pairs, so a step of numpy does a diagonal of a batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import chain, count
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from signwave.metrics.edits import EditCosts

IntArray = NDArray[np.int64]

_CELLS = 1 << 16  # cells of one anti-diagonal of a batch: small enough for a processor's cache
_PREFERENCE_BITS = 2
_NO_REFERENCE, _NO_HYPOTHESIS = -1, -2  # padding, equal to no token and not to each other


class BatchCounts(NamedTuple):
    """Counts of each pair; every field is (N,) int64."""

    correct: IntArray
    substitutions: IntArray
    deletions: IntArray
    insertions: IntArray

    @property
    def num_errors(self) -> IntArray:
        """(N,) int64, substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def num_reference(self) -> IntArray:
        """(N,) int64, reference tokens."""
        return self.correct + self.substitutions + self.deletions


def count_edits_batch(
    references: Sequence[Sequence[Hashable]],
    hypotheses: Sequence[Sequence[Hashable]],
    *,
    costs: EditCosts | None = None,
) -> BatchCounts:
    """Count the errors of each of N sentence pairs: the counts of `count_edits`, many pairs at a time.

    Memory grows with the tokens given, never with the product of two lengths.

    Args:
        references: N lists of tokens that are right.
        hypotheses: N lists of tokens to judge, in the same order.
        costs: what the alignment minimises; sclite's 4/3/3 by default.
    """
    from signwave.metrics.edits import SCLITE

    costs = SCLITE if costs is None else costs
    _check(references, hypotheses, costs)
    lengths = np.array([(len(r), len(h)) for r, h in zip(references, hypotheses, strict=True)], dtype=np.int64)
    lengths = lengths.reshape(-1, 2)
    # An equal pair is all correct: its only alignment without cost.
    rest = [n for n, (r, h) in enumerate(zip(references, hypotheses, strict=True)) if len(r) != len(h) or r != h]
    correct, substitutions = lengths[:, 0].copy(), np.zeros(len(lengths), dtype=np.int64)
    if rest:
        where = np.array(rest, dtype=np.int64)
        correct[where], substitutions[where] = _aligned(
            [references[n] for n in rest], [hypotheses[n] for n in rest], lengths[where], costs
        )
    aligned = correct + substitutions
    return BatchCounts(correct, substitutions, lengths[:, 0] - aligned, lengths[:, 1] - aligned)


def _check(references: Sequence[Any], hypotheses: Sequence[Any], costs: EditCosts) -> None:
    if len(references) != len(hypotheses):
        raise ValueError(f"got {len(references)} references and {len(hypotheses)} hypotheses; pair them one to one")
    if min(costs) < 1:
        raise ValueError(f"edit costs must be at least 1, got {costs}")
    for side in (references, hypotheses):
        bad = next((one for one in chain((side,), side) if isinstance(one, str)), None)
        if bad is not None:
            raise ValueError(f"expected lists of tokens, got the str {bad[:40]!r}; split it first")


def _aligned(
    references: list[Sequence[Hashable]], hypotheses: list[Sequence[Hashable]], lengths: IntArray, costs: EditCosts
) -> tuple[IntArray, IntArray]:
    """Correct tokens and substitutions of each pair, (N,) int64 each."""
    numbers: defaultdict[Hashable, int] = defaultdict(count().__next__)
    flat_references, flat_hypotheses = (
        np.fromiter(map(numbers.__getitem__, chain.from_iterable(side)), dtype=np.int32)
        for side in (references, hypotheses)
    )
    starts = np.cumsum(lengths, axis=0) - lengths
    correct, substitutions = np.empty(len(lengths), dtype=np.int64), np.empty(len(lengths), dtype=np.int64)
    for items in _batches(lengths):
        sizes = lengths[items]
        found_costs, substituted = _walk_diagonals(
            _padded(flat_references, starts[items, 0], sizes[:, 0], _NO_REFERENCE),
            _padded(flat_hypotheses, starts[items, 1], sizes[:, 1], _NO_HYPOTHESIS),
            sizes,
            costs,
        )
        # cost = s S + i (H - C - S) + d (R - C - S), so C follows from the cost and S.
        all_wrong = costs.deletion * sizes[:, 0] + costs.insertion * sizes[:, 1]
        saved = all_wrong + (costs.substitution - costs.insertion - costs.deletion) * substituted - found_costs
        correct[items], substitutions[items] = saved // (costs.insertion + costs.deletion), substituted
    return correct, substitutions


def _batches(lengths: IntArray) -> Iterator[IntArray]:
    """Item numbers of pairs with like lengths, as many together as fit the cache."""
    order = np.lexsort((lengths[:, 1], lengths[:, 0]))
    start = 0
    while start < len(order):
        # Sorted by reference length: the last of the stretch has the longest one.
        size = max(1, _CELLS // (int(lengths[order[start], 0]) + 1))
        longest = int(lengths[order[min(start + size, len(order)) - 1], 0])
        size = max(1, _CELLS // (longest + 1))
        yield order[start : start + size]
        start += size


def _padded(flat: NDArray[np.int32], starts: IntArray, sizes: IntArray, padding: int) -> NDArray[np.int32]:
    """(longest, B) int32 token numbers, `padding` past each length."""
    steps = np.arange(int(sizes.max(initial=0)))[:, None]
    if not steps.size or not flat.size:
        return np.full((len(steps), len(sizes)), padding, dtype=np.int32)
    tokens: NDArray[np.int32] = flat[np.minimum(starts[None, :] + steps, len(flat) - 1)]
    tokens[steps >= sizes[None, :]] = padding
    return tokens


class _Packing(NamedTuple):
    """How cost, preference and substitutions share a whole number of `dtype`, and what each step adds."""

    dtype: type[np.signedinteger[Any]]
    count_bits: int
    substitution: int
    insertion: int
    deletion: int

    @property
    def cost_shift(self) -> int:
        return self.count_bits + _PREFERENCE_BITS

    @classmethod
    def of(cls, num_rows: int, num_columns: int, costs: EditCosts) -> _Packing:
        count_bits = min(num_rows, num_columns).bit_length()
        shift = count_bits + _PREFERENCE_BITS
        highest = costs.deletion * num_rows + costs.insertion * num_columns + max(costs)
        bits = highest.bit_length() + shift
        dtype = next((kind for kind in (np.int16, np.int32, np.int64) if bits < np.iinfo(kind).bits), None)
        if dtype is None:
            raise ValueError(f"{num_rows} x {num_columns} tokens with costs {costs} are too many for 64 bits")
        return cls(
            dtype,
            count_bits,
            substitution=(costs.substitution << shift) + 1,
            insertion=(costs.insertion << shift) + (1 << count_bits),
            deletion=(costs.deletion << shift) + (2 << count_bits),
        )


def _walk_diagonals(
    references: NDArray[np.int32], hypotheses: NDArray[np.int32], sizes: IntArray, costs: EditCosts
) -> tuple[IntArray, IntArray]:
    """Cost and substitutions of the alignment of each pair of a batch.

    Args:
        references: (R, B) int32, token numbers, a number of its own past each length.
        hypotheses: (H, B) int32, likewise.
        sizes: (B, 2) int64, lengths of reference and hypothesis.
        costs: what a cheapest alignment minimises.

    Returns:
        (B,) int64 costs and (B,) int64 substitutions.
    """
    (num_rows, num_items), num_columns = references.shape, len(hypotheses)
    packing = _Packing.of(num_rows, num_columns, costs)
    no_preference = ~(3 << packing.count_bits)
    # Row i of a diagonal d is the cell of i reference and d - i hypothesis tokens.
    before, last, here = (np.zeros((num_rows + 1, num_items), dtype=packing.dtype) for _ in range(3))
    other = np.empty_like(here)
    backwards = hypotheses[::-1]
    ends = sizes.sum(axis=1)
    by_end = np.argsort(ends, kind="stable")
    bounds = np.searchsorted(ends[by_end], np.arange(num_rows + num_columns + 2))
    result = np.zeros(num_items, dtype=np.int64)
    for diagonal in range(1, num_rows + num_columns + 1):
        first, stop = max(1, diagonal - num_columns), min(num_rows, diagonal - 1) + 1
        if first < stop:
            cells, spare = here[first:stop], other[first:stop]
            offset = num_columns - diagonal  # row i meets hypothesis token d - i, the (H - d + i)-th from behind
            differ = references[first - 1 : stop - 1] != backwards[offset + first : offset + stop]
            np.multiply(differ, packing.dtype(packing.substitution), out=cells)
            cells += before[first - 1 : stop - 1]
            np.add(last[first:stop], packing.dtype(packing.insertion), out=spare)
            np.minimum(cells, spare, out=cells)
            np.add(last[first - 1 : stop - 1], packing.dtype(packing.deletion), out=spare)
            np.minimum(cells, spare, out=cells)
            cells &= packing.dtype(no_preference)
        if diagonal <= num_columns:
            here[0] = diagonal * costs.insertion << packing.cost_shift
        if diagonal <= num_rows:
            here[diagonal] = diagonal * costs.deletion << packing.cost_shift
        ready = by_end[bounds[diagonal] : bounds[diagonal + 1]]
        result[ready] = here[sizes[ready, 0], ready]
        before, last, here = last, here, before
    return result >> packing.cost_shift, result & ((1 << packing.count_bits) - 1)
