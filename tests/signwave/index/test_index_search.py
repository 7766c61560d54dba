"""Search against sorting a matrix product: same ids, same order, same scores."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signwave.errors import ArtefactError
from signwave.index import Hits, Index, merge_hits

INFO = {"model_digest": "m1"}


def unit(rng, count, dim=16):
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def names(count):
    """Ids whose order as text is not the order of rows."""
    return [f"clip-{(7919 * i) % 100_003}" for i in range(count)]


def build(folder, vectors, ids, **options):
    payload = [{"row": i, "person": f"p{i % 3}", "language": "de" if i % 2 else "en"} for i in range(len(ids))]
    return Index.build(folder, vectors, ids, options.pop("payload", payload), info=INFO, **options)


def by_sorting(vectors, ids, queries, k, rows=None):
    """The definition: every cosine, sorted by score, then id."""
    found = []
    for query in queries.astype(np.float64):
        scores = (vectors.astype(np.float64) * query).sum(axis=1).astype(np.float32)
        allowed = range(len(ids)) if rows is None else rows
        found.append(sorted(((float(scores[i]), ids[i]) for i in allowed), key=lambda pair: (-pair[0], pair[1]))[:k])
    return found


def pairs(hits):
    return [
        [(float(s), str(i)) for s, i in zip(*line, strict=True)] for line in zip(hits.scores, hits.ids, strict=True)
    ]


def test_flat_search_is_exact(tmp_path):
    rng = np.random.default_rng(0)
    vectors, queries, ids = unit(rng, 500), unit(rng, 40), names(500)
    index = build(tmp_path / "index", vectors, ids)
    hits = index.search(queries, 10)
    assert pairs(hits) == by_sorting(vectors, ids, queries, 10)
    assert [[ids[row] for row in line] for line in hits.rows] == hits.ids.tolist()
    assert hits.scores.dtype == np.float32
    assert pairs(hits)[3:4] == pairs(index.search(queries[3:4], 10))  # alone as in a batch


def test_ties_are_ordered_by_id_also_where_k_cuts_them(tmp_path):
    rng = np.random.default_rng(1)
    vectors = unit(rng, 8)[rng.integers(0, 8, 300)]  # each vector about 37 times
    ids = names(300)
    index = build(tmp_path / "index", vectors, ids)
    queries = np.concatenate([vectors[:5], unit(rng, 25)])
    for k in (1, 5, 40, 300, 999):
        assert pairs(index.search(queries, k)) == by_sorting(vectors, ids, queries, k)


def test_all_vectors_equal(tmp_path):
    vectors = np.repeat(unit(np.random.default_rng(2), 1), 200, axis=0)
    index = build(tmp_path / "index", vectors, names(200))
    assert index.search(vectors[:1], 7).ids[0].tolist() == sorted(names(200))[:7]


def clustered(rng, count, dim=16, seed=0):
    """Vectors around twenty places, which the seed decides."""
    vectors = unit(np.random.default_rng(seed), 20, dim)[rng.integers(0, 20, count)] + 0.3 * unit(rng, count, dim)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


APPROXIMATE = ["hnsw", "ivf_sq8", "ivf_fastscan"]


@pytest.mark.parametrize("metric", ["cosine", "inner_product"])
@pytest.mark.parametrize("kind", APPROXIMATE)
def test_approximate_kinds_find_most_and_score_exactly(tmp_path, kind, metric):
    rng = np.random.default_rng(4)
    vectors, queries = clustered(rng, 2000), clustered(rng, 50)
    if metric == "inner_product":
        vectors *= rng.lognormal(0, 0.5, (2000, 1)).astype(np.float32)
        queries *= np.float32(7)
    index = build(tmp_path / "index", vectors, names(2000), kind=kind, metric=metric)
    assert (index.info()["kind"], index.metric) == (kind, metric)
    for k in (1, 10, 60, 500):
        hits, exact = index.search(queries, k), by_sorting(vectors, names(2000), queries, k)
        found = [len({i for _, i in a} & {i for _, i in b}) / k for a, b in zip(pairs(hits), exact, strict=True)]
        assert np.mean(found) > 0.95
        assert (np.diff(hits.scores, axis=1) <= 0).all()
    row = hits.rows[0, 3]
    assert hits.scores[0, 3] == np.float32((vectors[row].astype(np.float64) * queries[0].astype(np.float64)).sum())


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_queries_unlike_the_rows_get_the_effort_they_need(tmp_path, kind):
    """Texts don't lie where clips do: tuned with rows too little is found, tuned with texts enough."""
    rng = np.random.default_rng(9)
    vectors, texts = clustered(rng, 3000, 32), clustered(rng, 250, 32, seed=1)
    recall = {}
    for queries in (None, texts[:200]):
        index = build(tmp_path / "index", vectors, names(3000), kind=kind, queries=queries)
        choice = index.info()["choice"]
        hits, exact = index.search(texts[200:], 10), by_sorting(vectors, names(3000), texts[200:], 10)
        found = [len({i for _, i in a} & {i for _, i in b}) / 10 for a, b in zip(pairs(hits), exact, strict=True)]
        recall[choice["queries"]] = (np.mean(found), choice["recall_at_10"])
    assert recall["rows"][0] < recall["given"][0] - 0.02
    assert recall["given"][0] > 0.97
    assert recall["given"][1] >= 0.99 <= recall["rows"][1]  # each reached its target on its own queries


@pytest.mark.parametrize("dim", [1, 3, 7, 30])
@pytest.mark.parametrize("kind", APPROXIMATE)
def test_any_width_can_be_approximated(tmp_path, kind, dim):
    rng = np.random.default_rng(8)
    vectors = rng.standard_normal((300, dim)).astype(np.float32)
    index = build(tmp_path / "index", vectors, names(300), kind=kind, metric="inner_product")
    hits = Index.open(tmp_path / "index").search(vectors[:20], 5)
    exact = by_sorting(vectors, names(300), vectors[:20], 5)
    assert index.info()["kind"] == kind
    assert np.mean([a[0] == b[0] for a, b in zip(pairs(hits), exact, strict=True)]) > 0.9


def test_inner_product_is_exact_for_any_length_and_ties(tmp_path):
    rng = np.random.default_rng(5)
    vectors = (rng.integers(-2, 3, (200, 5)) * 10.0 ** rng.integers(-3, 4, (200, 1))).astype(np.float32)
    queries = rng.integers(-2, 3, (10, 5)).astype(np.float32)  # among them likely zeros: all scores equal
    queries[0] = 0
    index = build(tmp_path / "index", vectors, names(200), metric="inner_product")
    for k in (1, 20, 200):
        assert pairs(index.search(queries, k)) == by_sorting(vectors, names(200), queries, k)
    with pytest.raises(ValueError, match="queries must be finite: 1 of 1 are not"):
        index.search(np.full((1, 5), np.nan, dtype=np.float32), 1)


@pytest.mark.parametrize("kind", ["flat", *APPROXIMATE])
def test_dead_rows_are_never_found_and_never_missed(tmp_path, kind):
    """Also where most of the nearest are dead."""
    rng = np.random.default_rng(6)
    vectors = clustered(rng, 1200)
    index = build(tmp_path / "index", vectors, names(1200), kind=kind)
    nearest = index.search(vectors[:1], 400).ids[0].tolist()
    index.delete(nearest[:300])
    left = [row for row, identity in enumerate(names(1200)) if identity not in nearest[:300]]
    hits, exact = index.search(vectors[:1], 100), by_sorting(vectors, names(1200), vectors[:1], 100, left)
    assert hits.ids.shape == (1, 100)
    assert len({i for _, i in pairs(hits)[0]} & {i for _, i in exact[0]}) >= (100 if kind == "flat" else 90)
    assert len(index.search(vectors[:1], 5000).ids[0]) == 900
    assert pairs(index.search(vectors[:3], 5000)) == by_sorting(vectors, names(1200), vectors[:3], 900, left)


@pytest.mark.parametrize("kind", ["flat", "ivf_sq8", "ivf_fastscan"])
def test_segments_are_searched_as_one_index(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("signwave.index.changes.SMALL_ROWS", 0)
    rng = np.random.default_rng(7)
    vectors = unit(rng, 40)[rng.integers(0, 40, 900)]  # ties over segments
    ids, queries = names(900), unit(rng, 9)
    index = build(tmp_path / "index", vectors[:600], ids[:600], kind=kind, queries=unit(rng, 200))
    for a, b in ((600, 700), (700, 899), (899, 900)):
        index.add(vectors[a:b], ids[a:b], [{}] * (b - a))
    assert index.info()["segments"] == 4
    exact = by_sorting(vectors, ids, queries, 15)
    hits = index.search(queries, 15)
    if kind == "flat":
        assert pairs(hits) == exact
    # 22 copies of each vector: an approximate type may return other copies, with the same scores.
    assert (hits.scores == np.array([[score for score, _ in line] for line in exact], dtype=np.float32)).mean() > 0.85
    assert [[index.id_of(row) for row in line] for line in hits.rows] == hits.ids.tolist()


def test_a_query_that_finds_too_little_is_answered_exactly(tmp_path, monkeypatch):
    """Clusters looked into may hold fewer than k rows; nothing is left out for that."""
    monkeypatch.setattr("signwave.index.tuning.TARGET_RECALL", 0.01)  # so the least effort is enough
    rng = np.random.default_rng(6)
    vectors = unit(rng, 4000, 8)
    index = build(tmp_path / "index", vectors, names(4000), kind="ivf_sq8")
    assert index.info()["choice"]["num_probes"] == 1
    hits = index.search(vectors[:1], 3000)
    assert pairs(hits) == by_sorting(vectors, names(4000), vectors[:1], 3000)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.lists(st.integers(-2, 2), max_size=8)), min_size=1, max_size=4), st.integers(1, 12), st.data()
)
def test_merged_shards_equal_one_index(shards, k, data):
    """top-k of the top-k of parts = top-k of all, ties included."""
    ids = data.draw(st.permutations([f"i{n}" for n in range(sum(len(shard[0]) for shard in shards))]))
    scores = [np.float32(s) for shard in shards for s in shard[0]]
    parts, offsets, start = [], [], 0
    for (values,) in shards:
        stop = start + len(values)
        parts.append(top(scores[start:stop], ids[start:stop], k))
        offsets.append(start)
        start = stop
    merged, single = merge_hits(parts, k, row_offsets=offsets), top(scores, ids, k)
    assert merged.ids.tolist() == single.ids.tolist()
    assert merged.scores.tolist() == single.scores.tolist()
    assert merged.rows.tolist() == single.rows.tolist()
    assert set(merge_hits(parts, k).rows.ravel().tolist()) <= {-1}


def top(scores, ids, k):
    order = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))[:k]
    return Hits(
        np.array([[ids[i] for i in order]], dtype=np.str_).reshape(1, -1),
        np.array([[scores[i] for i in order]], dtype=np.float32).reshape(1, -1),
        np.array([order], dtype=np.int64).reshape(1, -1),
    )


def test_merged_real_shards_equal_one_index(tmp_path):
    rng = np.random.default_rng(7)
    vectors = unit(rng, 40)[rng.integers(0, 40, 240)]
    ids, queries = names(240), unit(rng, 9)
    whole = build(tmp_path / "whole", vectors, ids).search(queries, 15)
    cuts = [0, 5, 100, 240]
    parts = [build(tmp_path / f"{a}", vectors[a:b], ids[a:b]).search(queries, 15) for a, b in itertools.pairwise(cuts)]
    merged = merge_hits(parts, 15, row_offsets=cuts[:-1])
    assert pairs(merged) == pairs(whole)
    assert merged.rows.tolist() == whole.rows.tolist()


def test_empty_index_and_no_query(tmp_path):
    index = build(tmp_path / "index", np.empty((0, 4), dtype=np.float32), [])
    assert len(index) == 0
    assert index.search(unit(np.random.default_rng(0), 3, 4), 5).ids.shape == (3, 0)
    assert index.search(np.empty((0, 4), dtype=np.float32), 5).ids.shape == (0, 0)
    assert index.verify()["n"] == 0


def test_another_model_is_refused(tmp_path):
    build(tmp_path / "index", unit(np.random.default_rng(0), 3), names(3))
    assert len(Index.open(tmp_path / "index", expect_model="m1")) == 3
    with pytest.raises(ArtefactError, match="made by the model m1, the queries come from the model m2"):
        Index.open(tmp_path / "index", expect_model="m2")


def test_nothing_of_faiss_is_imported_before_it_is_needed(run_python):
    assert (
        run_python(
            "import sys, signwave.index, signwave.metrics; print('faiss' in sys.modules, 'torch' in sys.modules)"
        )
        == "False False"
    )


@pytest.fixture
def run_python():
    return lambda code: subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()  # fmt: skip


GOOD = unit(np.random.default_rng(9), 2, 4)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"vectors": GOOD * 2}, "unit length: 2 of 2 have not, the first is row 0 of length 2"),
        ({"vectors": GOOD * np.float32(np.nan)}, "unit length"),
        ({"vectors": GOOD.astype(np.float64)}, r"must be \(N, D\) float32, got \(2, 4\) float64"),
        ({"vectors": GOOD[0]}, r"got \(4,\)"),
        ({"ids": ["a"]}, "got 2 vectors, 1 ids and 2 payloads"),
        ({"ids": ["a", "a"]}, "row 1: the id 'a' is there twice"),
        ({"ids": ["a", ""]}, "row 1: an id must be text"),
        ({"ids": ["a", "b\0"]}, "without NUL"),
        ({"payload": [{}, {"x": np.float32(1)}]}, "payload of 'b' can't be written as JSON"),
        ({"payload": [{}, {"x": float("nan")}]}, "payload of 'b' can't be written as JSON"),
        ({"payload": [{}, 3]}, "payload of 'b' must be a dict, got int"),
        ({"info": {}}, "must hold 'model_digest'"),
        ({"info": {"model_digest": "m", "dim": 5}}, "info says dim is 5, these vectors have 4"),
        ({"info": {"model_digest": "m", "x": {1, 2}}}, "info can't be written as JSON"),
        ({"kind": "annoy"}, "kind must be one of auto, flat, hnsw, ivf_sq8, ivf_fastscan, got 'annoy'"),
        ({"metric": "l2"}, "metric must be one of cosine, inner_product, got 'l2'"),
        ({"token_dtype": "int4"}, "token_dtype must be one of float16, float32, int8, got 'int4'"),
        ({"queries": GOOD[:, :3]}, r"queries must be \(N, 4\) float32"),
        ({"candidates": 0}, "candidates must be at least 1, got 0"),
        ({"ids": ["a", "\ud800"]}, "can't be written as UTF-8"),
        ({"tokens": [GOOD]}, "got 1 token matrices for 2 rows"),
        ({"tokens": [GOOD, GOOD[:, :3]]}, r"tokens of row 1 must be \(M, 4\), got \(2, 3\)"),
        ({"tokens": [GOOD, GOOD * 1e6]}, "tokens of row 1 hold NaN or values beyond float16"),
    ],
)
def test_wrong_builds_are_named_and_leave_nothing(tmp_path, change, text):
    arguments = {"vectors": GOOD, "ids": ["a", "b"], "payload": [{}, {}], "info": INFO, **change}
    with pytest.raises(ValueError, match=text):
        Index.build(tmp_path / "index", **arguments)
    assert not list(tmp_path.glob("index/generations/*"))


def test_wrong_questions_are_named(tmp_path):
    index = build(tmp_path / "index", GOOD, ["a", "b"])
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        index.search(GOOD, 0)
    with pytest.raises(ValueError, match=r"queries must be \(N, 4\) float32, got \(2, 3\)"):
        index.search(GOOD[:, :3], 1)
    for row in (-1, 2):
        with pytest.raises(ValueError, match=rf"row must be in \[0, 2\), got {row}"):
            index.payload(row)
    with pytest.raises(ValueError, match="one shard"):
        merge_hits([], 1)
    with pytest.raises(ValueError, match=r"answer \[2, 1\] queries"):
        merge_hits([index.search(GOOD, 1), index.search(GOOD[:1], 1)], 1)
