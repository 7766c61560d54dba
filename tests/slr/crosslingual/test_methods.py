"""The three methods, each against a plain loop or another solver."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slr.crosslingual.methods import (
    FloatArray,
    by_posterior,
    by_prototype,
    by_transport,
    class_means,
    csls,
    gaps,
    halvings,
    split_half,
    unbalanced_transport,
    unit_rows,
)

SEEDS = st.integers(0, 2**32 - 1)


def _unit(rng: np.random.Generator, *shape: int) -> FloatArray:
    rows = rng.normal(size=shape)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


# Class means


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(0, 12), st.integers(1, 5))
def test_class_means_are_those_of_a_plain_loop(seed: int, num_rows: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num_rows, 3)).astype(np.float32)
    values[rng.random(num_rows) < 0.2, rng.integers(3)] = np.nan
    labels = rng.integers(-1, num_classes, num_rows)
    found = class_means(values, labels, num_classes)
    assert found.shape == (num_classes, 3)
    for label in range(num_classes):
        mine = [[float(x) for x in row] for row, own in zip(values, labels, strict=True) if own == label]
        good = [row for row in mine if not any(math.isnan(x) for x in row)]
        wanted = [sum(column) / len(good) for column in zip(*good, strict=True)] if good else [math.nan] * 3
        assert found[label] == pytest.approx(wanted, nan_ok=True, abs=1e-12)


# Posteriors


def test_the_likeliest_target_unless_the_blank_is_as_likely() -> None:
    means = np.asarray([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.3, 0.35, 0.35], [np.nan, np.nan, np.nan]])
    found = by_posterior(means)
    assert found.targets.tolist() == [1, -1, -1, 0, -1]
    assert found.scores[0].tolist() == [0.2, 0.7]
    assert found.scores[4].tolist() == [0.0, 0.0]


# Prototypes


def _csls(auxiliary: FloatArray, target: FloatArray, size: int) -> list[list[float]]:
    def cosine(x: FloatArray, y: FloatArray) -> float:
        return sum(float(a) * float(b) for a, b in zip(x, y, strict=True))

    def density(one: FloatArray, others: FloatArray) -> float:
        nearest = sorted((cosine(one, other) for other in others), reverse=True)[:size]
        return sum(nearest) / len(nearest)

    return [[2 * cosine(x, y) - density(x, target) - density(y, auxiliary) for y in target] for x in auxiliary]


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(1, 7), st.integers(1, 7), st.integers(1, 9))
def test_csls_is_the_formula_in_loops(seed: int, num_sources: int, num_targets: int, num_neighbours: int) -> None:
    rng = np.random.default_rng(seed)
    auxiliary, target = _unit(rng, num_sources, 4), _unit(rng, num_targets, 4)
    found = csls(auxiliary, target, num_neighbours=num_neighbours)
    assert found == pytest.approx(np.asarray(_csls(auxiliary, target, num_neighbours)), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_gaps_are_the_formula_in_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = rng.normal(size=(4, 3)), rng.normal(size=(6, 3))
    found = gaps(ours, theirs)
    yardsticks = []
    for rows in (ours, theirs):
        near = [min(math.dist(one, other) for k, other in enumerate(rows) if k != n) for n, one in enumerate(rows)]
        yardsticks.append(np.median(near))
    for i, j in itertools.product(range(4), range(6)):
        assert found[i, j] == pytest.approx(math.dist(ours[i], theirs[j]) / min(yardsticks))


def test_a_gap_tells_a_shared_sign_from_the_nearest_of_others() -> None:
    theirs = np.eye(4)
    ours = np.stack([theirs[0] + [0.1, 0, 0, 0], theirs[1] + theirs[2], -theirs[3]])
    found = gaps(ours, theirs)
    assert found[0].argmin() == 0
    assert found[0, 0] < 0.1
    assert found[1:].min() > 0.6, "between two signs is no shared one"
    twins = np.vstack([ours, ours[0] + [0, 0.001, 0, 0]])
    assert gaps(twins, theirs)[0, 0] < 0.2, "that a language has nearly the same sign twice says nothing of others"


def test_a_hub_is_nearest_by_cosines_and_no_longer_by_csls() -> None:
    angles = np.radians([-40.0, 0.0, 40.0])
    auxiliary = np.stack([np.cos(angles), np.sin(angles), np.zeros(3)], axis=1)
    hub, own = np.asarray([1.0, 0.0, 0.0]), auxiliary * [1, 1, 0] + [0, 0, 1.3]
    target = np.vstack([hub, own / np.linalg.norm(own, axis=1, keepdims=True)])
    assert (auxiliary @ target.T).argmax(1).tolist() == [0, 0, 0]
    assert csls(auxiliary, target, num_neighbours=2).argmax(1).tolist() == [1, 0, 3]


@settings(max_examples=100, deadline=None)
@given(SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_a_choice_is_mutual_and_of_signs_that_were_seen(seed: int, num_sources: int, num_targets: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(num_sources, num_targets))
    scores[rng.random(num_sources) < 0.3] = -np.inf
    scores[:, rng.random(num_targets) < 0.3] = -np.inf
    found = by_prototype(scores)
    for source, chosen in enumerate(found.targets):
        wanted = -1
        for target in range(num_targets):
            rivals = [*scores[source, :], *scores[:, target]]
            if scores[source, target] > -np.inf and scores[source, target] == max(rivals):
                wanted = target
        assert chosen == wanted


def test_two_that_were_not_seen_do_not_choose_each_other() -> None:
    assert by_prototype(np.asarray([[-np.inf, -np.inf], [-np.inf, 1.0]])).targets.tolist() == [-1, 1]


def test_rows_have_unit_length_about_their_mean_whatever_their_scale() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 3)) + 5
    found = unit_rows(values)
    for row, own in zip(values, found, strict=True):
        centred = [float(x - column.mean()) for x, column in zip(row, values.T, strict=True)]
        length = math.sqrt(sum(x * x for x in centred))
        assert own == pytest.approx([x / length for x in centred])
    for scale in (1e-20, 1e-3, 1e20):
        assert unit_rows(scale * values) == pytest.approx(found, abs=1e-9)
    assert unit_rows(np.ones((1, 3))).tolist() == [[0, 0, 0]], "a row that is the mean has no direction"


# Transport


def _generalised_kl(p: FloatArray, q: FloatArray) -> float:
    return float((p * np.log(p / q) - p + q).sum())


def _objective(plan: FloatArray, costs: FloatArray, a: FloatArray, b: FloatArray, entropy: float, rho: float) -> float:
    return (
        float((plan * costs).sum())
        + entropy * _generalised_kl(plan, np.outer(a, b))
        + rho * (_generalised_kl(plan.sum(1), a) + _generalised_kl(plan.sum(0), b))
    )


@pytest.mark.parametrize("seed", range(6))
def test_the_plan_is_that_of_another_solver(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs, a, b = rng.random((3, 4)), rng.uniform(0.2, 2, 3), rng.uniform(0.2, 2, 4)
    entropy, rho = ((0.05, 0.3), (0.2, 1.0), (0.5, 0.1))[seed % 3]
    plan = unbalanced_transport(costs, a, b, entropy=entropy, relaxation=rho)

    def value(logs: FloatArray) -> float:
        return _objective(np.exp(logs).reshape(3, 4), costs, a, b, entropy, rho)

    other = scipy.optimize.minimize(value, np.full(12, -2.0), method="L-BFGS-B", options={"maxiter": 5000})
    # The solver ends a little above the minimum, where small entries have hardly any slope left.
    assert np.exp(other.x).reshape(3, 4) == pytest.approx(plan, abs=2e-3)
    assert _objective(plan, costs, a, b, entropy, rho) <= other.fun + 1e-9
    assert _objective(plan, costs, a, b, entropy, rho) == pytest.approx(other.fun, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(1, 5), st.sampled_from([0.02, 0.05, 0.3]), st.sampled_from([0.05, 0.3, 2]))
def test_the_slope_of_the_objective_is_zero(
    seed: int, num_sources: int, num_targets: int, entropy: float, rho: float
) -> None:
    """It is convex and every entry is above 0, so that is the minimum."""
    rng = np.random.default_rng(seed)
    costs = 2 * rng.random((num_sources, num_targets)) * (rng.random((num_sources, num_targets)) < 0.8)
    a, b = rng.uniform(0.1, 3, num_sources), rng.uniform(0.1, 3, num_targets)
    plan = unbalanced_transport(costs, a, b, entropy=entropy, relaxation=rho)
    for i, j in itertools.product(range(num_sources), range(num_targets)):
        slope = costs[i, j] + entropy * math.log(plan[i, j] / (a[i] * b[j]))
        slope += rho * (math.log(plan[i].sum() / a[i]) + math.log(plan[:, j].sum() / b[j]))
        assert slope == pytest.approx(0, abs=1e-6)


def test_without_relaxation_everything_is_carried() -> None:
    rng = np.random.default_rng(0)
    costs, a, b = rng.random((3, 4)), rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(4))
    plan = unbalanced_transport(costs, a, b, relaxation=1e4, num_iterations=20_000, tolerance=1e-13)
    assert plan.sum(1) == pytest.approx(a, abs=1e-4)
    assert plan.sum(0) == pytest.approx(b, abs=1e-4)
    # With hardly any entropy it is the linear programme's plan.
    plan = unbalanced_transport(costs, a, b, entropy=2e-3, relaxation=1e3, num_iterations=50_000, tolerance=1e-12)
    rows, columns = np.kron(np.eye(3), np.ones(4)), np.kron(np.ones(3), np.eye(4))
    exact = scipy.optimize.linprog(costs.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]))
    assert float((plan * costs).sum()) == pytest.approx(exact.fun, abs=5e-3)


def test_two_that_have_only_each_other_carry_what_the_docstring_says() -> None:
    for cost in (0.0, 0.3, 1.0, 2.0):
        plan = unbalanced_transport(np.asarray([[cost]]), np.ones(1), np.ones(1), entropy=0.05, relaxation=0.3)
        assert plan.item() == pytest.approx(math.exp(-cost / (2 * 0.3 + 0.05)))


def test_dear_costs_do_not_overflow() -> None:
    plan = unbalanced_transport(np.asarray([[1e4, 0.1], [1e4, 1e4]]), np.ones(2), np.ones(2))
    assert np.isfinite(plan).all()
    assert plan[0, 1] > 0.8
    assert plan[1].max() < 1e-9


def test_a_sign_without_a_counterpart_stays_where_it_is() -> None:
    costs = np.asarray([[0.05, 0.9, 1.0], [0.95, 0.1, 1.1], [0.8, 0.9, 0.7]])
    found = by_transport(costs)
    assert found.targets.tolist() == [0, 1, -1]
    assert found.scores[0, 0] > 0.85
    assert found.scores[2].max() < 0.5
    # Just above and just below the cosine that the docstring names.
    assert [by_transport(np.asarray([[1 - cosine]])).targets.item() for cosine in (0.82, 0.80)] == [0, -1]


@pytest.mark.parametrize("copies", [1, 10, 60])
def test_shares_are_the_same_in_small_and_large_dictionaries(copies: int) -> None:
    rng = np.random.default_rng(0)
    block = rng.random((3, 3)) * 0.5
    small = by_transport(block)
    large = by_transport(np.where(np.kron(np.eye(copies), np.ones((3, 3))) > 0, np.tile(block, (copies, copies)), 5.0))
    assert large.scores[:3, :3] == pytest.approx(small.scores, abs=1e-6)
    assert large.targets[:3].tolist() == small.targets.tolist()


def test_two_targets_that_fit_alike_are_no_answer() -> None:
    found = by_transport(np.asarray([[0.1, 0.1], [1.5, 1.5]]))
    assert found.scores[0].sum() > 0.8
    assert found.targets.tolist() == [-1, -1]


def test_synonyms_compete_for_a_target() -> None:
    for costs in (np.zeros((2, 1)), np.asarray([[0.0, 1.0], [0.0, 1.0]])):
        found = by_transport(costs)
        assert found.scores[:, 0] == pytest.approx([0.726, 0.726], abs=0.02)
        assert found.targets.tolist() == [-1, -1]
        assert by_transport(costs, least=0.7).targets.tolist() == [0, 0]
    assert by_transport(np.asarray([[0.0, 1.0], [0.3, 1.0]])).targets.tolist() == [0, -1], "the better has it"


# Halves


def _split_half(
    posteriors: FloatArray, labels: NDArray[np.int64], origins: list[str], label: int, num_halvings: int, seed: int
) -> float:
    """One gloss, sign by sign."""
    mine = [n for n in range(len(labels)) if labels[n] == label and not np.isnan(posteriors[n]).any()]
    if len(mine) < 2:
        return math.nan
    clips = list(dict.fromkeys(origins[n] for n in mine))
    units = {n: sorted(clips, key=origins.index).index(origins[n]) for n in mine}
    if len(clips) == 1:
        units = {n: place for place, n in enumerate(mine)}
    same = 0
    for halving in halvings(len(set(units.values())), num_halvings, seed=seed):
        answers = []
        for side in (True, False):
            rows = [posteriors[n] for n in mine if halving[units[n]] == side]
            sums = [sum(float(row[k]) for row in rows) for k in range(posteriors.shape[1])]
            best = max(range(1, len(sums)), key=lambda k: sums[k])
            answers.append(best if sums[best] > sums[0] else 0)
        same += answers[0] == answers[1]
    return same / num_halvings


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(0, 20), st.integers(1, 6), st.integers(0, 3))
def test_halves_are_those_of_an_explicit_loop(seed: int, num_signs: int, num_clips: int, num_blind: int) -> None:
    rng = np.random.default_rng(seed)
    posteriors = rng.dirichlet(np.full(4, 0.7), num_signs)
    posteriors[:num_blind] = np.nan
    labels = rng.integers(-1, 3, num_signs)
    origins = sorted(f"clip{n}" for n in rng.integers(0, num_clips, num_signs))
    found = split_half(posteriors, labels, origins, 3, num_halvings=7, seed=seed % 5)
    wanted = [_split_half(posteriors, labels, origins, label, 7, seed % 5) for label in range(3)]
    assert found == pytest.approx(wanted, nan_ok=True)


def test_signs_of_one_clip_stay_in_one_half() -> None:
    # Two clips that disagree: no halving by clips coincides, while halves by signs often would.
    posteriors = np.asarray([[0, 1.0, 0]] * 8 + [[0, 0, 1.0]] * 2)
    labels = np.zeros(10, dtype=np.int64)
    assert split_half(posteriors, labels, ["a"] * 8 + ["b"] * 2, 1).tolist() == [0.0]
    assert split_half(posteriors, labels, [str(n) for n in range(10)], 1).item() > 0.5
    # All signs in one clip: the signs are halved.
    assert split_half(posteriors, labels, ["a"] * 10, 1).item() > 0.5
    assert np.isnan(split_half(posteriors[:1], labels[:1], ["a"], 1)).all()


def test_signs_that_could_not_be_read_do_not_disagree() -> None:
    posteriors = np.vstack([np.tile([0.1, 0.9, 0.0], (4, 1)), np.full((40, 3), np.nan)])
    labels, origins = np.zeros(44, dtype=np.int64), [str(n) for n in range(44)]
    assert split_half(posteriors, labels, origins, 1).tolist() == [1.0]


def test_other_glosses_change_nothing() -> None:
    rng = np.random.default_rng(3)
    posteriors, labels = rng.dirichlet(np.full(3, 0.5), 30), np.arange(30) % 3
    origins = [str(n) for n in range(30)]
    alone = split_half(posteriors[labels == 1], np.zeros(10, dtype=np.int64), origins[1::3], 1)
    assert 0 < alone.item() < 1
    assert split_half(posteriors, labels, origins, 3)[1] == alone.item()


@given(st.integers(2, 9), st.integers(0, 9))
def test_halvings_are_halves_and_differ(num_units: int, seed: int) -> None:
    found = halvings(num_units, 50, seed=seed)
    assert found.shape == (50, num_units)
    assert set(found.sum(1).tolist()) == {(num_units + 1) // 2}
    assert len({tuple(row) for row in found}) > 1
    assert (found == halvings(num_units, 50, seed=seed)).all()
