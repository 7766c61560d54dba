"""How sure a rate is: percentile bootstrap intervals.

Sentences, or groups of them (a speaker, a broadcast), are drawn with replacement; errors and reference tokens of the
draw are summed before dividing, as in the rate itself. All draws come from one seed.
"""

from collections.abc import Callable, Iterator, Sequence
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
    parts = grouped(np.stack([as_vector(numerators), as_vector(denominators)]), groups)
    sums = resampled_sums(parts, num_resamples, seed)
    return percentiles(ratios(sums[0], sums[1]), level)


def mean_interval(
    values: ArrayLike,
    *,
    groups: Sequence[Any] | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of the mean of values: (N,), e.g. recall of each query; see `ratio_interval`."""
    return mean_intervals([values], groups=groups, num_resamples=num_resamples, level=level, seed=seed)[0]


def mean_intervals(
    columns: Sequence[ArrayLike],
    *,
    groups: Sequence[Any] | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Interval]:
    """Intervals of the means of several values (N,) of the same items, from the same draws; see `ratio_interval`."""
    vectors = [as_vector(values) for values in columns]
    sums = resampled_sums(grouped(np.stack([*vectors, np.ones_like(vectors[0])]), groups), num_resamples, seed)
    return [percentiles(ratios(numerators, sums[-1]), level) for numerators in sums[:-1]]


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
    vector = as_vector(values)
    found = [statistic(vector[drawn]) for drawn in _draws(vector.size, num_resamples, seed)]
    return percentiles(np.concatenate(found), level)


def error_rate_interval(
    counts: Sequence[EditCounts],
    *,
    groups: Sequence[Any] | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of the error rate of a corpus from the counts of each sentence (`count_each`)."""
    errors, tokens = error_columns(counts)
    return ratio_interval(errors, tokens, groups=groups, num_resamples=num_resamples, level=level, seed=seed)


def error_columns(counts: Sequence[EditCounts]) -> tuple[list[int], list[int]]:
    """(N,) errors and (N,) reference tokens of each sentence."""
    return [count.num_errors for count in counts], [count.num_reference for count in counts]


def as_vector(values: ArrayLike) -> NDArray[np.float64]:
    """(N,) float64, at least one value, all finite."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0 or not np.isfinite(vector).all():
        raise ValueError(f"need a vector of at least one finite value, got shape {vector.shape}")
    return vector


def grouped(rows: NDArray[np.float64], groups: Sequence[Any] | None) -> NDArray[np.float64]:
    """Sum the columns of rows (C, N) within each group: (C, number of groups)."""
    if groups is None:
        return rows
    if len(groups) != rows.shape[1]:
        raise ValueError(f"got {len(groups)} groups for {rows.shape[1]} items; give one label an item")
    numbers: dict[Any, int] = {}
    labels = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    return np.stack([np.bincount(labels, weights=row, minlength=len(numbers)) for row in rows])


def draw_blocks(num_items: int, num_resamples: int) -> list[int]:
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
    for size in draw_blocks(num_items, num_resamples):
        yield rng.integers(0, num_items, size=(size, num_items))


def resampled_sums(rows: NDArray[np.float64], num_resamples: int, seed: int) -> NDArray[np.float64]:
    """Sums of rows (C, N) over draws of N columns with replacement: (C, num_resamples) float64."""
    sums = [np.stack([row[drawn].sum(axis=1) for row in rows]) for drawn in _draws(rows.shape[1], num_resamples, seed)]
    return np.concatenate(sums, axis=1)


def ratios(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quotients; a denominator of 0 counts as 1."""
    return numerators / np.where(denominators == 0, 1.0, denominators)


def percentiles(values: NDArray[np.float64], level: float) -> Interval:
    """The interval that holds the share `level` of the values."""
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)
