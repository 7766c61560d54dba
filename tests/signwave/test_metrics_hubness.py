"""Hubs and score normalisation against loops in the words of the papers."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave.metrics import (
    csls,
    hub_skewness,
    k_occurrence,
    qb_norm,
    rank_queries,
    transductive_csls,
    transductive_dual_softmax,
)


def cosines(seed=0, num_queries=20, num_gallery=15):
    return np.random.default_rng(seed).uniform(-1, 1, (num_queries, num_gallery)).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4).flatmap(lambda k: st.tuples(
    st.just(k), st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=3))))  # fmt: skip
def test_occurrences_are_those_of_all_orders_of_ties(case):
    k, rows = case
    expected = np.zeros(4)
    for row in rows:
        orders = [
            order for order in itertools.permutations(range(4))
            if all(row[a] >= row[b] for a, b in itertools.pairwise(order))
        ]  # fmt: skip
        for order in orders:
            expected[list(order[:k])] += 1 / len(orders)
    found = k_occurrence(np.array(rows, dtype=np.float32), k)
    assert found == pytest.approx(expected)
    assert found.sum() == pytest.approx(k * len(rows))


def test_skewness_by_hand():
    scores = np.zeros((6, 4))
    scores[:, 0] = 1  # everybody finds item 0
    values = [6, 0, 0, 0]
    mean = sum(values) / 4
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / 4)
    assert hub_skewness(scores, 1) == pytest.approx(sum((v - mean) ** 3 for v in values) / 4 / spread**3)
    assert hub_skewness(np.eye(5), 1) == 0.0
    assert hub_skewness(np.full((7, 30), 0.3, dtype=np.float32), 10) == 0.0


def qb_norm_by_loops(scores, bank, beta, k):
    """As the paper words it: normalise only the queries whose best item some bank query has among its first k."""
    hubs = {item for row in bank for item in np.argsort(-row, kind="stable")[:k]}
    orders = []
    for row in scores:
        values = list(row)
        if int(np.argmax(row)) in hubs:
            values = [
                math.exp(beta * value) / sum(math.exp(beta * other[item]) for other in bank)
                for item, value in enumerate(row)
            ]
        orders.append(list(np.argsort(-np.array(values), kind="stable")))
    return orders


@pytest.mark.parametrize("k", [1, 3])
def test_qb_norm_ranks_as_the_paper_says(k):
    scores, bank = cosines(), cosines(seed=1, num_queries=6)
    found = qb_norm(scores, bank, inverse_temperature=20, k=k)
    wanted = qb_norm_by_loops(scores.astype(float), bank.astype(float), 20, k)
    assert [list(np.argsort(-row, kind="stable")) for row in found] == wanted
    plain = [list(row) for row in np.argsort(-scores, axis=1, kind="stable")]
    changed = [one != other for one, other in zip(wanted, plain, strict=True)]
    assert any(changed)
    if k == 1:
        assert not all(changed)


def test_static_inverted_softmax_changes_every_query():
    scores, bank = cosines(), cosines(seed=1, num_queries=1)
    dynamic, static = qb_norm(scores, bank), qb_norm(scores, bank, dynamic=False)
    hub = bank[0].argmax()
    others = scores.argmax(axis=1) != hub
    assert others.any()
    assert np.array_equal(dynamic[others], scores[others].astype(np.float64))
    assert np.allclose(static, 20 * (scores.astype(float) - bank.astype(float)), atol=1e-5)


def test_qb_norm_of_large_scores_stays_finite():
    scores, bank = 1_000 * cosines(), 1_000 * cosines(seed=1)
    assert np.isfinite(qb_norm(scores, bank, inverse_temperature=50)).all()
    assert np.isfinite(transductive_dual_softmax(scores, inverse_temperature=50)).all()


@pytest.mark.parametrize("k", [1, 4, 100])
def test_csls_by_loops(k):
    scores, bank = cosines(), cosines(seed=2, num_queries=9)
    found = csls(scores, bank, k=k)
    for query, item in itertools.product(range(20), range(15)):
        of_query = np.mean(sorted(scores[query].tolist(), reverse=True)[:k])
        of_item = np.mean(sorted(bank[:, item].tolist(), reverse=True)[:k])
        assert found[query, item] == pytest.approx(2 * scores[query, item] - of_query - of_item, abs=1e-6)
    assert np.array_equal(transductive_csls(scores, k=k), csls(scores, scores, k=k))


def test_dual_softmax_by_loops():
    scores = cosines(num_queries=4, num_gallery=3).astype(float)
    found = transductive_dual_softmax(scores, inverse_temperature=5)
    for query, item in itertools.product(range(4), range(3)):
        share = math.exp(5 * scores[query, item]) / sum(math.exp(5 * scores[other, item]) for other in range(4))
        assert found[query, item] == pytest.approx(scores[query, item] * share)


def test_normalising_takes_a_planted_hub_down():
    """Item 0 is near everything, and the bank shows it: right answers come back to the first place."""
    rng = np.random.default_rng(3)
    scores = 0.5 * np.eye(40) + rng.uniform(0, 0.2, (40, 40))
    bank = rng.uniform(0, 0.2, (200, 40))
    scores[:, 0] += 0.55
    bank[:, 0] += 0.55
    before = rank_queries(scores, query_groups=range(40), gallery_groups=range(40)).recall(1)
    for normalised in (qb_norm(scores, bank), csls(scores, bank)):
        assert hub_skewness(normalised, 1) < hub_skewness(scores, 1)
        after = rank_queries(normalised, query_groups=range(40), gallery_groups=range(40)).recall(1)
        assert after > before + 0.3


def test_one_query_does_not_change_with_the_others():
    """Inductive means: what a query finds doesn't depend on which other test queries there are."""
    scores, bank = cosines(), cosines(seed=5)
    for normalise in (qb_norm, csls):
        assert np.allclose(normalise(scores, bank)[:3], normalise(scores[:3], bank))
    for normalise in (transductive_csls, transductive_dual_softmax):
        assert not np.allclose(normalise(scores)[:3], normalise(scores[:3]))


def test_blocks_do_not_change_the_result(monkeypatch):
    scores, bank = cosines(), cosines(seed=8, num_queries=33)
    functions = [
        lambda: qb_norm(scores, bank, k=2),
        lambda: csls(scores, bank, k=3),
        lambda: transductive_dual_softmax(scores),
    ]
    whole = [function() for function in functions]
    monkeypatch.setattr("signwave.metrics.hubness._BLOCK_ELEMENTS", 40)
    for one, other in zip(whole, (function() for function in functions), strict=True):
        assert np.allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: k_occurrence(cosines(), 16), "between 1 and the 15 items"),
        (lambda: k_occurrence(np.full((2, 2), np.nan), 1), "without NaN"),
        (lambda: qb_norm(cosines(), cosines(num_gallery=3)), "the bank scores 3 items and the queries 15"),
        (lambda: csls(np.array([[-np.inf, 0.0]]), np.zeros((1, 2))), "must be finite"),
    ],
)
def test_wrong_arguments_are_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()
