"""Bootstrap intervals of an error rate, also over a million sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from signwave.metrics import EditCounts, Interval, error_rate_interval

_MANY_SENTENCES = 20_000


def rate_interval(
    counts: Sequence[EditCounts], *, groups: Sequence[Any] | None = None, num_resamples: int = 10_000, seed: int = 0
) -> Interval:
    """95 % interval of the error rate of a corpus, over sentences or whole groups of them.

    Of many sentences only few differ in errors and length. Drawing N of N sentences with replacement is drawing how
    often each kind comes, a multinomial: the same distribution in thousands of numbers instead of billions.
    """
    if groups is not None or len(counts) <= _MANY_SENTENCES:
        return error_rate_interval(counts, groups=groups, num_resamples=num_resamples, seed=seed)
    rows = np.array([(one.num_errors, one.num_reference) for one in counts], dtype=np.int64)
    kinds, times = np.unique(rows, axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(rows), times / len(rows), size=num_resamples)
    sums = drawn @ kinds
    low, high = np.quantile(sums[:, 0] / np.maximum(sums[:, 1], 1), [0.025, 0.975])
    return Interval(float(low), float(high), 0.95)
