"""Paired tests of means: the same as those of edit counts, and against all swaps."""

import itertools

import numpy as np
import pytest

from signwave.metrics import (
    EditCounts,
    mean_interval,
    mean_intervals,
    paired_bootstrap,
    paired_means,
    paired_permutation,
)


def sentence(errors):
    return EditCounts(1, 1 - errors, errors, 0, 0, 1, errors)


def test_means_are_tested_as_counts_are():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 2, 60), rng.integers(0, 2, 60)
    groups = [n // 3 for n in range(60)]
    found = paired_means(first, second, groups=groups, num_resamples=500)
    counts = [[sentence(int(value)) for value in side] for side in (first, second)]
    assert found.bootstrap == paired_bootstrap(*counts, groups=groups, num_resamples=500)
    assert found.permutation == paired_permutation(*counts, groups=groups, num_resamples=500)
    assert found.signs.num_first_better == int((first > second).sum())
    assert found.bootstrap.difference == pytest.approx(first.mean() - second.mean())


def test_groups_are_swapped_whole():
    first, second = [1, 1, 1, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0]
    groups = [0, 0, 0, 1, 1, 2, 3, 3]
    gaps = [3, 0, 0, 2]
    every = [abs(np.dot(signs, gaps)) >= 5 for signs in itertools.product([-1, 1], repeat=4)]
    found = paired_means(first, second, groups=groups, num_resamples=20_000)
    assert found.permutation.p_value == pytest.approx(np.mean(every), abs=0.02)
    assert found.permutation.p_value > 5 * paired_means(first, second).permutation.p_value / 2


def test_several_means_at_once_have_the_intervals_of_each():
    rng = np.random.default_rng(1)
    columns, groups = rng.random((3, 40)), [n % 7 for n in range(40)]
    found = mean_intervals(list(columns), groups=groups, num_resamples=300, seed=5)
    assert found == [mean_interval(column, groups=groups, num_resamples=300, seed=5) for column in columns]


def test_different_items_are_refused():
    with pytest.raises(ValueError, match="2 and 1 items; a paired test needs the same"):
        paired_means([1, 2], [1])
