"""How sure a rate is: percentile bootstrap intervals, and paired tests of two systems on the same sentences.

Sentences, or groups of them (a speaker, a broadcast), are drawn with replacement; errors and reference tokens of the
draw are summed before dividing, as in the rate itself. All draws come from one seed.
"""

from collections.abc import Callable, Iterator, Sequence
from math import exp, lgamma, log
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signwave.metrics.edits import EditCounts

_MAX_DRAWN = 1 << 22  # elements of one block of draws: 32 MB of indices


class Interval(NamedTuple):
    """A percentile interval; `level` is the share of draws inside it, e.g. 0.95."""

    low: float
    high: float
    level: float


class PairedTest(NamedTuple):
    """Two systems on the same sentences.

    Attributes:
        difference: error rate of the first minus that of the second; negative means that the first is better.
        interval: bootstrap interval of the difference.
        p_value: two-sided; how likely so large a difference is if the systems are equally good.
        num_resamples: draws or swaps behind the figures.
        method: "bootstrap" or "permutation".
    """

    difference: float
    interval: Interval
    p_value: float
    num_resamples: int
    method: str


class SignTest(NamedTuple):
    """Exact two-sided sign test over sentences; equal ones are left out."""

    num_first_better: int
    num_second_better: int
    num_equal: int
    p_value: float


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    groups: Sequence[Any] | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of sum(numerators) / sum(denominators).

    Args:
        numerators: (N,) e.g. errors of each sentence.
        denominators: (N,) e.g. reference tokens of each sentence, not negative. A draw whose sum is 0 is divided by 1.
        groups: (N,) labels; whole groups are drawn, which is right when the items of a group depend on each other.
        num_resamples: draws.
        level: share of draws inside the interval, in (0, 1).
        seed: the same seed gives the same interval.
    """
    parts = _grouped(np.stack([_vector(numerators), _vector(denominators)]), groups)
    sums = _resampled_sums(parts, num_resamples, seed)
    return _percentiles(_ratios(sums[0], sums[1]), level)


def mean_interval(
    values: ArrayLike,
    *,
    groups: Sequence[Any] | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of the mean of values: (N,), e.g. recall of each query; see `ratio_interval`."""
    vector = _vector(values)
    return ratio_interval(
        vector, np.ones_like(vector), groups=groups, num_resamples=num_resamples, level=level, seed=seed
    )


def statistic_interval(
    values: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    num_resamples: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of any statistic of single values, e.g. a median rank.

    Args:
        values: (N,) one value an item; items are drawn one by one.
        statistic: maps (R, N) float64, one draw a row, to (R,).
        num_resamples: draws.
        level: share of draws inside the interval.
        seed: the same seed gives the same interval.
    """
    vector = _vector(values)
    found = [statistic(vector[drawn]) for drawn in _draws(vector.size, num_resamples, seed)]
    return _percentiles(np.concatenate(found), level)


def error_rate_interval(
    counts: Sequence[EditCounts],
    *,
    groups: Sequence[Any] | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of the error rate of a corpus from the counts of each sentence (`count_each`)."""
    errors, tokens = _columns(counts)
    return ratio_interval(errors, tokens, groups=groups, num_resamples=num_resamples, level=level, seed=seed)


def paired_bootstrap(
    first: Sequence[EditCounts],
    second: Sequence[EditCounts],
    *,
    groups: Sequence[Any] | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedTest:
    """Draw sentences once for both systems and see how often the difference changes its sign.

    Args:
        first: counts of each sentence by one system.
        second: counts of the same sentences, in the same order, by the other.
        groups: labels of dependent sentences, drawn whole.
        num_resamples: draws.
        level: of the interval of the difference.
        seed: the same seed gives the same result.
    """
    rows = _grouped(_paired_rows(first, second), groups)
    sums = _resampled_sums(rows, num_resamples, seed)
    differences = _ratios(sums[0] - sums[1], sums[2])
    # One is added so that a p-value is never 0: the draws can only say "less than 1 in num_resamples".
    tail = 1 + min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p_value = min(1.0, 2 * tail / (num_resamples + 1))
    observed = _observed(rows)
    return PairedTest(observed, _percentiles(differences, level), p_value, num_resamples, "bootstrap")


def paired_permutation(
    first: Sequence[EditCounts],
    second: Sequence[EditCounts],
    *,
    groups: Sequence[Any] | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedTest:
    """Swap the systems' results on random sentences (or groups) and see how often the difference gets as large.

    The arguments are those of `paired_bootstrap`, which also gives the interval reported here.
    """
    rows = _grouped(_paired_rows(first, second), groups)
    gaps, num_tokens = rows[0] - rows[1], rows[2].sum()
    rng = np.random.default_rng(seed)
    num_extreme = 0
    for size in _blocks(gaps.size, num_resamples):
        signs = rng.integers(0, 2, size=(size, gaps.size), dtype=np.int8) * 2.0 - 1.0
        num_extreme += int((np.abs(signs @ gaps) >= abs(gaps.sum()) - 1e-9).sum())
    p_value = (1 + num_extreme) / (num_resamples + 1)
    differences = _resampled_sums(rows, num_resamples, seed)
    interval = _percentiles(_ratios(differences[0] - differences[1], differences[2]), level)
    return PairedTest(float(gaps.sum() / max(num_tokens, 1.0)), interval, p_value, num_resamples, "permutation")


def sign_test(first: Sequence[EditCounts], second: Sequence[EditCounts]) -> SignTest:
    """On how many sentences each system makes fewer errors, and how likely so uneven a split is by chance."""
    rows = _paired_rows(first, second)
    wins, losses = int((rows[0] < rows[1]).sum()), int((rows[0] > rows[1]).sum())
    num_decided = wins + losses
    terms = (
        lgamma(num_decided + 1) - lgamma(k + 1) - lgamma(num_decided - k + 1) - num_decided * log(2)
        for k in range(min(wins, losses) + 1)
    )
    p_value = min(1.0, 2 * sum(exp(term) for term in terms))
    return SignTest(wins, losses, len(first) - num_decided, p_value)


def _observed(rows: NDArray[np.float64]) -> float:
    sums = rows.sum(axis=1)
    return float((sums[0] - sums[1]) / max(sums[2], 1.0))


def _columns(counts: Sequence[EditCounts]) -> tuple[list[int], list[int]]:
    return [count.num_errors for count in counts], [count.num_reference for count in counts]


def _paired_rows(first: Sequence[EditCounts], second: Sequence[EditCounts]) -> NDArray[np.float64]:
    """(3, N) float64: errors of the first, errors of the second, reference tokens of each sentence."""
    if len(first) != len(second):
        raise ValueError(
            f"the systems have {len(first)} and {len(second)} sentences; a paired test needs the same ones"
        )
    (errors, tokens), (other_errors, other_tokens) = _columns(first), _columns(second)
    for index, (left, right) in enumerate(zip(tokens, other_tokens, strict=True)):
        if left != right:
            raise ValueError(
                f"sentence {index} has {left} reference tokens for one system and {right} for the other; "
                "score both against the same references, in the same order"
            )
    return np.array([errors, other_errors, tokens], dtype=np.float64)


def _vector(values: ArrayLike) -> NDArray[np.float64]:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0 or not np.isfinite(vector).all():
        raise ValueError(f"need a vector of at least one finite value, got shape {vector.shape}")
    return vector


def _grouped(rows: NDArray[np.float64], groups: Sequence[Any] | None) -> NDArray[np.float64]:
    """Sum the columns of rows (C, N) within each group: (C, number of groups)."""
    if groups is None:
        return rows
    if len(groups) != rows.shape[1]:
        raise ValueError(f"got {len(groups)} groups for {rows.shape[1]} items; give one label an item")
    numbers: dict[Any, int] = {}
    labels = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    return np.stack([np.bincount(labels, weights=row, minlength=len(numbers)) for row in rows])


def _blocks(num_items: int, num_resamples: int) -> list[int]:
    """Sizes of the blocks in which draws are made, so that memory stays bounded."""
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1, got {num_resamples}")
    size = max(1, min(num_resamples, _MAX_DRAWN // max(num_items, 1)))
    full, rest = divmod(num_resamples, size)
    return [size] * full + [rest] * (rest > 0)


def _draws(num_items: int, num_resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Blocks of draws, each (R, num_items) int64: item numbers with replacement."""
    if num_items == 0:
        raise ValueError("nothing to resample: got no sentence")
    rng = np.random.default_rng(seed)
    for size in _blocks(num_items, num_resamples):
        yield rng.integers(0, num_items, size=(size, num_items))


def _resampled_sums(rows: NDArray[np.float64], num_resamples: int, seed: int) -> NDArray[np.float64]:
    """Sums of rows (C, N) over draws of N columns with replacement: (C, num_resamples) float64."""
    sums = [np.stack([row[drawn].sum(axis=1) for row in rows]) for drawn in _draws(rows.shape[1], num_resamples, seed)]
    return np.concatenate(sums, axis=1)


def _ratios(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> NDArray[np.float64]:
    return numerators / np.where(denominators == 0, 1.0, denominators)


def _percentiles(values: NDArray[np.float64], level: float) -> Interval:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)
