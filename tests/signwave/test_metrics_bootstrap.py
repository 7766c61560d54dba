"""Intervals and paired tests against enumeration of every draw and against known distributions."""

import itertools
import math
import random

import numpy as np
import pytest

from signwave.metrics import (
    EditCounts,
    Interval,
    error_rate_interval,
    mean_interval,
    paired_bootstrap,
    paired_permutation,
    ratio_interval,
    sign_test,
    statistic_interval,
)


def sentence(errors, tokens=10):
    return EditCounts(tokens, tokens - errors, errors, 0, 0, 1, int(errors > 0))


def test_interval_equals_the_quantiles_of_all_draws():
    errors, tokens = [3, 0, 1, 5], [7, 4, 9, 10]
    every = sorted(
        sum(errors[i] for i in draw) / sum(tokens[i] for i in draw)
        for draw in itertools.product(range(4), repeat=4)
    )  # fmt: skip
    low, high, level = ratio_interval(errors, tokens, num_resamples=200_000, level=0.8, seed=3)
    assert level == 0.8
    assert (low, high) == pytest.approx(tuple(np.quantile(every, [0.1, 0.9])), abs=0.01)


def test_groups_are_drawn_whole():
    """Two speakers, one all wrong, one all right: draws give 0, 1/2 or 1 and nothing between."""
    counts = [sentence(10)] * 20 + [sentence(0)] * 20
    groups = ["a"] * 20 + ["b"] * 20
    assert error_rate_interval(counts, groups=groups)[:2] == (0.0, 1.0)
    low, high, _ = error_rate_interval(counts)
    assert 0.3 < low < 0.5 < high < 0.7


def test_single_item_groups_are_no_groups():
    values = np.random.default_rng(0).random(30)
    assert mean_interval(values, groups=list(range(30))) == mean_interval(values)


def test_seed_decides_and_blocks_do_not_matter(monkeypatch):
    counts = [sentence(i % 4) for i in range(50)]
    assert error_rate_interval(counts, seed=1) == error_rate_interval(counts, seed=1)
    values = np.random.default_rng(0).random(50)
    assert mean_interval(values, seed=1) != mean_interval(values, seed=2)
    whole = error_rate_interval(counts, seed=1, num_resamples=1000)
    monkeypatch.setattr("signwave.metrics.bootstrap._MAX_DRAWN", 50 * 64)
    assert error_rate_interval(counts, seed=1, num_resamples=1000) == whole


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        values = (rng.random(150) < 0.3).astype(float)
        low, high, _ = mean_interval(values, num_resamples=500, seed=trial)
        covered += low <= 0.3 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_statistic_interval_of_a_median():
    low, high, _ = statistic_interval(np.arange(101.0), lambda drawn: np.median(drawn, axis=1))
    assert 25 < low < 50 < high < 75


def test_constant_rate_has_no_width():
    assert error_rate_interval([sentence(2)] * 9) == Interval(0.2, 0.2, 0.95)


def test_permutation_equals_enumeration_of_all_swaps():
    first, second = [3, 0, 4, 1, 2, 5, 1], [1, 1, 1, 0, 2, 2, 2]
    gaps = np.array(first) - np.array(second)
    swaps = [abs(np.dot(signs, gaps)) >= abs(gaps.sum()) for signs in itertools.product([-1, 1], repeat=len(gaps))]
    found = paired_permutation(*([sentence(e) for e in side] for side in (first, second)), num_resamples=50_000)
    assert found.p_value == pytest.approx(np.mean(swaps), abs=0.01)
    assert found.difference == pytest.approx(gaps.sum() / 70)
    assert found.method == "permutation"


def test_paired_tests_see_a_difference_that_single_intervals_hide():
    rng = random.Random(0)
    second = [sentence(rng.randint(0, 9)) for _ in range(300)]
    first = [sentence(max(0, c.substitutions - (rng.random() < 0.2))) for c in second]
    assert error_rate_interval(first).high > error_rate_interval(second).low
    for found in (paired_bootstrap(first, second), paired_permutation(first, second)):
        assert found.difference < 0
        assert found.interval.high < 0
        assert found.p_value < 0.01
    assert sign_test(first, second).p_value < 0.01


def test_equal_systems_are_equal():
    counts = [sentence(i % 3) for i in range(40)]
    assert paired_bootstrap(counts, counts).p_value == 1.0
    assert paired_permutation(counts, counts).p_value == 1.0
    assert sign_test(counts, counts) == (0, 0, 40, 1.0)


def test_sign_test_is_the_binomial_sum():
    first = [sentence(1)] * 9 + [sentence(0)] * 2 + [sentence(4)]
    second = [sentence(0)] * 9 + [sentence(1)] * 2 + [sentence(4)]
    expected = 2 * sum(math.comb(11, k) for k in range(3)) / 2**11
    found = sign_test(first, second)
    assert found[:3] == (2, 9, 1)
    assert found.p_value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: error_rate_interval([]), "at least one finite value"),
        (lambda: mean_interval([1.0, math.nan]), "finite"),
        (lambda: mean_interval([1.0], level=95), "level must be between 0 and 1, got 95"),
        (lambda: mean_interval([1.0], num_resamples=0), "at least 1, got 0"),
        (lambda: mean_interval([1.0, 2.0], groups=["a"]), "got 1 groups for 2 items"),
        (lambda: paired_bootstrap([sentence(1)], []), "1 and 0 sentences"),
        (lambda: sign_test([sentence(1, 10)], [sentence(1, 9)]), "sentence 0 has 10 reference tokens .* and 9"),
    ],
)
def test_wrong_arguments_are_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()
