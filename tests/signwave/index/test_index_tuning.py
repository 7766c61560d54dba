"""The type of an index is chosen by what it finds and how fast, on real queries, and the reason is kept."""

from dataclasses import replace

import numpy as np
import pytest

from signwave.index import Index, tuning
from signwave.index.engine import Space
from signwave.index.search import effort_for
from signwave.index.tuning import Effort, _places, _without


def clustered(rng, count, dim=16, noise=0.3):
    centres = np.random.default_rng(0).standard_normal((30, dim))
    vectors = centres[rng.integers(0, 30, count)] + noise * rng.standard_normal((count, dim)) * dim**0.5 / 2
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def build(folder, vectors, **options):
    ids = [f"i{n}" for n in range(len(vectors))]
    return Index.build(folder, vectors, ids, [{}] * len(vectors), info={"model_digest": "m"}, **options)


@pytest.fixture
def lower(monkeypatch):
    """Make a few hundred rows many, and exact search slow, as it is among many."""
    monkeypatch.setattr(tuning, "FLAT_BELOW", 500)
    sample = tuning._sample
    monkeypatch.setattr(tuning, "_sample", lambda *given: replace(sample(*given), exact_ms=1e6))


def test_an_approximation_that_is_no_faster_is_not_taken(tmp_path, lower, monkeypatch):
    measured = tuning._measured

    def slow(*given):
        choice = measured(*given)
        choice.facts["ms"] = 2e6
        return choice

    monkeypatch.setattr(tuning, "_measured", slow)
    index = build(tmp_path / "index", clustered(np.random.default_rng(2), 600))
    choice = index.info()["choice"]
    assert choice["kind"] == "flat"
    assert choice["reason"].startswith("no approximation is faster than exact search here (ivf_")
    assert index.info()["requested_kind"] == "auto"
    monkeypatch.undo()
    assert (
        build(tmp_path / "asked", clustered(np.random.default_rng(2), 600), kind="ivf_sq8").info()["kind"] == "ivf_sq8"
    )


def test_few_rows_are_flat_and_many_are_not(tmp_path, lower):
    rng = np.random.default_rng(1)
    few = build(tmp_path / "few", clustered(rng, 499)).info()["choice"]
    assert few == {
        "kind": "flat",
        "reason": "499 rows, fewer than 500, are searched exactly in a few milliseconds",
        "recall_at_10": 1.0,
    }
    many = build(tmp_path / "many", clustered(rng, 500)).info()["choice"]
    assert many["kind"] in ("ivf_sq8", "ivf_fastscan")
    assert many["queries"] == "rows"
    assert many["recall_at_10"] >= 0.99
    assert f"finds {many['recall_at_10']:.1%} of the exact ten best of 125 rows of its own" in many["reason"]


@pytest.mark.parametrize(("slow", "wins"), [("ivf_sq8", "ivf_fastscan"), ("ivf_fastscan", "ivf_sq8")])
def test_auto_takes_the_faster_type_that_finds_enough(tmp_path, lower, monkeypatch, slow, wins):
    measured = tuning._measured

    def timed(vectors, space, kind, lists, sample):
        choice = measured(vectors, space, kind, lists, sample)
        choice.facts["ms"] = 2.0 if kind == slow else 1.0
        return choice

    monkeypatch.setattr(tuning, "_measured", timed)
    rng = np.random.default_rng(2)
    index = build(tmp_path / "index", clustered(rng, 1500), queries=clustered(rng, 60), candidates=50)
    info = index.info()
    assert (info["kind"], info["requested_kind"]) == (wins, "auto")
    choice = info["choice"]
    assert choice["queries"] == "given"
    assert choice["num_queries"] == 60
    assert choice["num_probes"] >= 1
    assert choice["recall_at_10"] >= 0.99
    assert choice["recall_at_50"] >= 0.99
    assert choice["reason"].startswith(f"{wins} is the faster type that finds")
    assert f"; {slow}: " in choice["reason"]
    assert "\n" not in choice["reason"]
    index.compact()  # chooses again, with the queries that were given then
    again = index.info()["choice"]
    assert (again["kind"], again["queries"], again["num_queries"]) == (wins, "given", 60)


def test_too_little_recall_is_worse_than_any_time():
    def choice(kind, recall, ms):
        return tuning.Choice(kind, None, (Effort(10, 1, 1, recall),), {"ms": ms})

    fast, sure, slow = choice("ivf_fastscan", 0.98, 0.1), choice("ivf_sq8", 0.99, 5.0), choice("hnsw", 1.0, 9.0)
    worse = choice("hnsw", 0.5, 0.01)
    assert min([worse, fast, sure, slow], key=tuning._preference) is sure
    assert min([worse, fast], key=tuning._preference) is fast


def test_measured_recall_is_that_of_searches(tmp_path):
    """What info() promises for the very queries it was measured with is what they get."""
    rng = np.random.default_rng(3)
    vectors, queries = clustered(rng, 3000, noise=0.8), clustered(rng, 200, noise=0.8)
    for kind in ("ivf_sq8", "ivf_fastscan", "hnsw"):
        index = build(tmp_path / kind, vectors, kind=kind, queries=queries, candidates=100)
        choice = index.info()["choice"]
        for k in (10, 100):
            exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :k]
            found = index.search(queries, k).rows
            recall = np.mean([len(set(a) & set(b)) / k for a, b in zip(exact, found, strict=True)])
            assert choice[f"recall_at_{k}"] >= 0.99
            assert recall == pytest.approx(choice[f"recall_at_{k}"], abs=2e-3)


def test_effort_between_and_beyond_what_was_measured():
    small, large = Effort(10, 4, 8, 0.99), Effort(160, 64, 2, 0.95)
    assert effort_for((small, large), 10) == effort_for((small, large), 3) == small
    assert effort_for((small, large), 160) == large
    between = effort_for((small, large), 40)
    assert (between.effort, between.factor, between.num_candidates(40)) == (16, 8, 336)
    assert effort_for((small, large), 400).effort == 3 * 64
    assert effort_for((small,), 25).effort == 3 * 4
    efforts = [effort_for((small, large), k).effort for k in range(1, 400)]
    assert efforts == sorted(efforts)


def test_a_row_that_asks_is_no_neighbour_of_itself():
    found = np.array([[5, 3, 1, 2], [3, 9, 8, 7], [4, 6, 2, 0]])
    assert _without(found, np.array([5, 8, 1]), 3).tolist() == [[3, 1, 2], [3, 9, 7], [4, 6, 2]]
    assert _without(found, None, 3).tolist() == [[5, 3, 1], [3, 9, 8], [4, 6, 2]]


def test_places_of_true_neighbours():
    beyond = np.iinfo(np.int64).max
    truth = np.array([[5, 3], [1, 2]])
    assert _places(truth, np.array([[9, 3, 5, -1], [4, 2, 7, 0]])).tolist() == [[2, 1], [beyond, 1]]


def test_the_space_of_faiss_keeps_the_order_of_inner_products():
    rng = np.random.default_rng(4)
    vectors = (rng.standard_normal((50, 7)) * rng.lognormal(0, 1, (50, 1))).astype(np.float32)
    queries = (5 * rng.standard_normal((9, 7))).astype(np.float32)
    space = Space(7, "inner_product", float(np.linalg.norm(vectors, axis=1).max()))
    assert space.width == 8
    wide, asked = space.of_vectors(vectors), space.of_queries(queries)
    assert np.allclose(np.linalg.norm(wide, axis=1), 1, atol=1e-6)
    assert np.allclose(np.linalg.norm(asked, axis=1), 1, atol=1e-6)
    assert np.array_equal(np.argsort(asked @ wide.T, axis=1), np.argsort(queries @ vectors.T, axis=1))
    assert Space(8, "cosine", 1.0).width == 8
    assert Space(8, "inner_product", 1.0).width == 12
    zeros = Space(3, "inner_product", 0.0).of_vectors(np.zeros((2, 3), dtype=np.float32))
    assert np.isfinite(zeros).all()
    assert np.isfinite(Space(3, "cosine", 1.0).of_queries(np.zeros((2, 3), dtype=np.float32))).all()
