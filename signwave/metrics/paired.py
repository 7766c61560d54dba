"""Is one system better than another on the same items? Paired bootstrap, permutation and sign tests.

Sentences or queries, or groups of them (a speaker, a broadcast), are drawn or swapped for both systems at once, so that
what makes an item hard for both takes no part. All draws come from one seed.
"""

from collections.abc import Sequence
from math import exp, lgamma, log
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from signwave.metrics.bootstrap import (
    Interval,
    as_vector,
    draw_blocks,
    error_columns,
    grouped,
    percentiles,
    ratios,
    resampled_sums,
)
from signwave.metrics.edits import EditCounts

SIGNIFICANT = 0.05
"""p-value below which a difference counts."""


class PairedTest(NamedTuple):
    """Two systems on the same items.

    Attributes:
        difference: rate of the first minus that of the second; a negative difference of error rates and a positive one
            of recalls mean that the first is better.
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
    """Exact two-sided sign test over items; equal ones are left out."""

    num_first_better: int
    num_second_better: int
    num_equal: int
    p_value: float


class PairedTests(NamedTuple):
    """The three tests of two systems on the same items."""

    bootstrap: PairedTest
    permutation: PairedTest
    signs: SignTest

    @property
    def is_significant(self) -> bool:
        """Whether the permutation test says that so large a difference is unlikely by chance."""
        return self.permutation.p_value < SIGNIFICANT

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a result file; differences are fractions."""
        return {
            "difference": self.bootstrap.difference,
            "interval_95": list(self.bootstrap.interval[:2]),
            "p_value_bootstrap": self.bootstrap.p_value,
            "p_value_permutation": self.permutation.p_value,
            "sign_test": self.signs._asdict(),
            "significant": self.is_significant,
        }


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
    return _bootstrap(grouped(_paired_rows(first, second), groups), num_resamples, level, seed)


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
    return _permutation(grouped(_paired_rows(first, second), groups), num_resamples, level, seed)


def sign_test(first: Sequence[EditCounts], second: Sequence[EditCounts]) -> SignTest:
    """On how many sentences each system makes fewer errors, and how likely so uneven a split is by chance."""
    rows = _paired_rows(first, second)
    return _sign_test(rows[1] - rows[0])


def paired_means(
    first: ArrayLike,
    second: ArrayLike,
    *,
    groups: Sequence[Any] | None = None,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedTests:
    """Compare the means of a value that is better when it is higher, e.g. whether each query found its clip.

    Args:
        first: (N,) values of one system.
        second: (N,) values of the same items, in the same order, by the other.
        groups: (N,) labels of dependent items, drawn and swapped whole; the sign test is over single items.
        num_resamples: draws and swaps.
        level: of the interval of the difference.
        seed: the same seed gives the same result.
    """
    values = as_vector(first), as_vector(second)
    if values[0].size != values[1].size:
        raise ValueError(f"the systems have {values[0].size} and {values[1].size} items; a paired test needs the same")
    rows = grouped(np.stack([*values, np.ones_like(values[0])]), groups)
    return PairedTests(
        _bootstrap(rows, num_resamples, level, seed),
        _permutation(rows, num_resamples, level, seed),
        _sign_test(values[0] - values[1]),
    )


def _bootstrap(rows: NDArray[np.float64], num_resamples: int, level: float, seed: int) -> PairedTest:
    differences = _drawn_differences(rows, num_resamples, seed)
    # One is added so that a p-value is never 0: the draws can only say "less than 1 in num_resamples".
    tail = 1 + min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    p_value = min(1.0, 2 * tail / (num_resamples + 1))
    return PairedTest(_observed(rows), percentiles(differences, level), p_value, num_resamples, "bootstrap")


def _permutation(rows: NDArray[np.float64], num_resamples: int, level: float, seed: int) -> PairedTest:
    gaps = rows[0] - rows[1]
    rng = np.random.default_rng(seed)
    num_extreme = 0
    for size in draw_blocks(gaps.size, num_resamples):
        signs = rng.integers(0, 2, size=(size, gaps.size), dtype=np.int8) * 2.0 - 1.0
        num_extreme += int((np.abs(signs @ gaps) >= abs(gaps.sum()) - 1e-9).sum())
    p_value = (1 + num_extreme) / (num_resamples + 1)
    interval = percentiles(_drawn_differences(rows, num_resamples, seed), level)
    return PairedTest(_observed(rows), interval, p_value, num_resamples, "permutation")


def _sign_test(gains: NDArray[np.float64]) -> SignTest:
    """gains: (N,) how much better the first is on each item."""
    wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
    num_decided = wins + losses
    terms = (
        lgamma(num_decided + 1) - lgamma(k + 1) - lgamma(num_decided - k + 1) - num_decided * log(2)
        for k in range(min(wins, losses) + 1)
    )
    p_value = min(1.0, 2 * sum(exp(term) for term in terms))
    return SignTest(wins, losses, len(gains) - num_decided, p_value)


def _observed(rows: NDArray[np.float64]) -> float:
    sums = rows.sum(axis=1)
    return float((sums[0] - sums[1]) / max(sums[2], 1.0))


def _drawn_differences(rows: NDArray[np.float64], num_resamples: int, seed: int) -> NDArray[np.float64]:
    sums = resampled_sums(rows, num_resamples, seed)
    return ratios(sums[0] - sums[1], sums[2])


def _paired_rows(first: Sequence[EditCounts], second: Sequence[EditCounts]) -> NDArray[np.float64]:
    """(3, N) float64: errors of the first, errors of the second, reference tokens of each sentence."""
    if len(first) != len(second):
        raise ValueError(
            f"the systems have {len(first)} and {len(second)} sentences; a paired test needs the same ones"
        )
    (errors, tokens), (other_errors, other_tokens) = error_columns(first), error_columns(second)
    for index, (left, right) in enumerate(zip(tokens, other_tokens, strict=True)):
        if left != right:
            raise ValueError(
                f"sentence {index} has {left} reference tokens for one system and {right} for the other; "
                "score both against the same references, in the same order"
            )
    return np.array([errors, other_errors, tokens], dtype=np.float64)
