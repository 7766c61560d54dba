"""MEXA against loops, and what fixes its size."""

import numpy as np
import pytest

from signwave.metrics import mexa, mutual_nearest


def mutual_by_loops(scores):
    size = len(scores)
    return [
        all(scores[i][i] > scores[i][j] and scores[i][i] > scores[j][i] for j in range(size) if j != i)
        for i in range(size)
    ]


@pytest.mark.parametrize("size", [1, 2, 7, 20])
def test_mutual_nearest_by_loops(size):
    rng = np.random.default_rng(size)
    for _ in range(20):
        scores = rng.integers(0, 6, (size, size)) + 4 * np.eye(size)  # rounded, so that ties occur
        assert mutual_nearest(scores).tolist() == mutual_by_loops(scores)


def test_constant_scores_agree_nowhere():
    assert not mutual_nearest(np.zeros((5, 5))).any()
    assert mutual_nearest(np.eye(5)).all()


def test_mexa_of_everything_at_once_is_the_plain_share():
    scores = np.random.default_rng(0).standard_normal((30, 30)) + 2 * np.eye(30)
    found = mexa(scores, row_groups=range(30), column_groups=range(30), size=30, num_draws=3)
    assert found is not None
    assert found.value == pytest.approx(np.mean(mutual_by_loops(scores)))
    assert found.deviation == pytest.approx(0.0)


def test_mexa_falls_with_its_size_and_needs_as_many_groups():
    scores = np.random.default_rng(1).standard_normal((80, 80)) + 2 * np.eye(80)
    groups = {"row_groups": range(80), "column_groups": range(80)}
    small, large = (mexa(scores, **groups, size=size) for size in (10, 80))
    assert small is not None and large is not None  # noqa: PT018 (for the type checker)
    assert small.value > large.value + 0.1
    assert mexa(scores, **groups, size=81) is None
    assert mexa(scores, **groups, size=10) == small  # one seed, one value


def test_mexa_pairs_items_by_group():
    """Performances of a group stand for each other; a group on one side only takes no part."""
    columns = ["b", "a", "b", "x", "a"]
    scores = np.array([[0, 1, 0, 9, 1], [1, 0, 1, 9, 0]], dtype=np.float32)
    found = mexa(scores, row_groups=["a", "b"], column_groups=columns, size=2, num_draws=8)
    assert found is not None
    assert (found.value, found.num_draws) == (1.0, 8)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: mutual_nearest(np.zeros((2, 3))), r"square and without NaN, got shape \(2, 3\)"),
        (lambda: mexa(np.zeros((2, 2)), row_groups=[1], column_groups=[1, 2]), "for 1 and 2 groups"),
        (lambda: mexa(np.zeros((1, 1)), row_groups=[1], column_groups=[1], size=0), "at least 1, got 0 and 50"),
    ],
)
def test_wrong_arguments_are_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()
