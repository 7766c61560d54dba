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


@pytest.mark.parametrize(
    ("where", "allows"),
    [
        ({"person": "p1"}, lambda i: i % 3 == 1),
        ({"person": ["p0", "p2"], "language": "de"}, lambda i: i % 3 != 1 and i % 2),
        (lambda payload: payload["row"] > 190, lambda i: i > 190),
        ({"absent": 1}, lambda i: False),
    ],
)
@pytest.mark.parametrize("kind", ["flat", "ivf_sq8"])
def test_filters_are_exact(tmp_path, where, allows, kind):
    rng = np.random.default_rng(3)
    vectors, queries, ids = unit(rng, 300), unit(rng, 6), names(300)
    index = build(tmp_path / "index", vectors, ids, kind=kind)
    rows = [i for i in range(300) if allows(i)]
    assert pairs(index.search(queries, 12, where=where)) == by_sorting(vectors, ids, queries, 12, rows)


@pytest.mark.parametrize("kind", ["hnsw", "ivf_sq8"])
def test_approximate_kinds_find_most_and_score_exactly(tmp_path, kind):
    rng = np.random.default_rng(4)
    centres = unit(rng, 20)
    vectors = centres[rng.integers(0, 20, 2000)] + 0.3 * unit(rng, 2000)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    index = build(tmp_path / "index", vectors, names(2000), kind=kind)
    assert index.info()["kind"] == kind
    hits, exact = index.search(vectors[:50], 10), by_sorting(vectors, names(2000), vectors[:50], 10)
    found = [len({i for _, i in a} & {i for _, i in b}) / 10 for a, b in zip(pairs(hits), exact, strict=True)]
    assert np.mean(found) > 0.9
    row = hits.rows[0, 3]
    assert hits.scores[0, 3] == np.float32((vectors[row].astype(np.float64) * vectors[0].astype(np.float64)).sum())
    assert (np.diff(hits.scores, axis=1) <= 0).all()
    # A selector inside FAISS instead of a scan.
    filtered = Index.open(tmp_path / "index")
    only = {"person": "p1"}
    assert all(filtered.payload(int(r))["person"] == "p1" for r in filtered.search(vectors[:3], 5, where=only).rows[0])


def test_a_filter_too_wide_to_scan_is_passed_to_faiss(tmp_path, monkeypatch):
    monkeypatch.setattr("signwave.index.engine._MAX_ROWS_EXACT", 10)
    vectors = unit(np.random.default_rng(5), 600)
    for kind in ("hnsw", "ivf_sq8"):
        index = build(tmp_path / kind, vectors, names(600), kind=kind)
        hits = index.search(vectors[1:300:3], 4, where={"person": "p1"})
        assert (hits.rows % 3 == 1)[hits.rows >= 0].all()
        assert (hits.rows[:, 0] == np.arange(1, 300, 3)).mean() > 0.9


def test_places_without_a_hit_are_marked(tmp_path, monkeypatch):
    """An approximate search may find fewer than k; it says so and merging still works."""
    monkeypatch.setattr("signwave.index.engine._MAX_ROWS_EXACT", 1)
    vectors = unit(np.random.default_rng(6), 4000, 8)
    index = build(tmp_path / "index", vectors, names(4000), kind="ivf_sq8")
    hits = index.search(vectors[:1], 2000, where={"language": "de"})
    assert hits.ids.shape == (1, 2000)
    short = hits.rows[0] < 0
    assert short.any()
    assert set(hits.ids[0][short]) == {""}
    assert np.isneginf(hits.scores[0][short]).all()


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


def test_tokens_come_back_as_half_precision(tmp_path):
    rng = np.random.default_rng(8)
    matrices = [rng.standard_normal((m, 6)).astype(np.float32) for m in (3, 0, 5, 1)]
    index = build(tmp_path / "index", unit(rng, 4), names(4), tokens=iter(matrices))
    for row, matrix in enumerate(matrices):
        assert np.array_equal(index.tokens(row), matrix.astype(np.float16))
    assert isinstance(index.tokens(0).base, np.memmap)
    with pytest.raises(ArtefactError, match="holds no tokens"):
        build(tmp_path / "plain", unit(rng, 4), names(4)).tokens(0)


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
        ({"kind": "annoy"}, "kind must be one of auto, flat, hnsw, ivf_sq8, got 'annoy'"),
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
    with pytest.raises(ValueError, match=r"row must be in \[0, 2\), got -1"):
        index.payload(-1)
    with pytest.raises(ValueError, match="one shard"):
        merge_hits([], 1)
    with pytest.raises(ValueError, match=r"answer \[2, 1\] queries"):
        merge_hits([index.search(GOOD, 1), index.search(GOOD[:1], 1)], 1)
