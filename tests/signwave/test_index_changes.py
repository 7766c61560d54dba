"""Add, replace, delete and rebuild against a dict that does the same."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signwave.errors import ArtefactError
from signwave.index import Index

INFO = {"model_digest": "m1", "note": "kept"}
DIM = 4


def row_for(number):
    """Vector, payload and tokens that belong to a number."""
    vector = np.random.default_rng(number).standard_normal(DIM).astype(np.float32)
    tokens = np.full((number % 3, 2), number, dtype=np.float32)
    return vector / np.linalg.norm(vector), {"number": number}, tokens


def columns(rows):
    vectors = np.array([row_for(n)[0] for _, n in rows], dtype=np.float32).reshape(-1, DIM)
    return vectors, [i for i, _ in rows], [row_for(n)[1] for _, n in rows], [row_for(n)[2] for _, n in rows]


def start(folder, rows, **options):
    vectors, ids, payload, tokens = columns(rows)
    return Index.build(folder, vectors, ids, payload, info=INFO, tokens=tokens, **options)


def same(index, twin):
    assert index.ids == list(twin)
    for row, (identity, number) in enumerate(twin.items()):
        vector, payload, tokens = row_for(number)
        assert index.row_of(identity) == row
        assert index.id_of(row) == identity
        assert np.array_equal(index.vector(row), vector)
        assert index.payload(row) == payload
        assert np.array_equal(index.tokens(row), tokens)
    if twin:
        hits = index.search(row_for(next(iter(twin.values())))[0][None], len(twin))
        assert sorted(hits.ids[0].tolist()) == sorted(twin)


IDS = st.sampled_from("abcdefgh")
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.dictionaries(IDS, st.integers(0, 50), max_size=4)),
        st.tuples(st.just("delete"), st.sets(IDS, max_size=3)),
        st.tuples(st.just("build"), st.dictionaries(IDS, st.integers(0, 50), max_size=4)),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(IDS, st.integers(0, 50), max_size=5), CHANGES)
def test_changes_follow_a_dict(tmp_path_factory, first, changes):
    folder = tmp_path_factory.mktemp("index")
    index, twin = start(folder, list(first.items())), dict(first)
    for action, value in changes:
        if action == "add":
            vectors, ids, payload, tokens = columns(list(value.items()))
            index.add(vectors, ids, payload, tokens=tokens)
            twin = {k: v for k, v in twin.items() if k not in value} | value
        elif action == "delete":
            assert index.delete(value, missing_ok=True) == len(value & twin.keys())
            twin = {k: v for k, v in twin.items() if k not in value}
        elif action == "build":
            index, twin = start(folder, list(value.items())), dict(value)
        else:
            index = Index.open(folder)
        same(index, twin)
    same(Index.open(folder), twin)
    assert index.verify()["info"] == {"note": "kept"}


@pytest.mark.parametrize("kind", ["hnsw", "ivf_sq8"])
def test_approximate_kinds_keep_exact_vectors_over_changes(tmp_path, kind):
    """Vectors don't fade: what is compacted are the originals, not rounded codes."""
    rows = {f"i{n}": n for n in range(400)}
    index = start(tmp_path / "index", list(rows.items()), kind=kind)
    for round_number in range(3):
        gone = {f"i{n}" for n in range(round_number, 400, 40)}
        index.delete(gone, missing_ok=True)
        rows = {k: v for k, v in rows.items() if k not in gone}
        vectors, ids, payload, tokens = columns([(f"new{round_number}", 900 + round_number)])
        index.add(vectors, ids, payload, tokens=tokens)
        rows[f"new{round_number}"] = 900 + round_number
    same_vectors = all(np.array_equal(index.vector(r), row_for(n)[0]) for r, n in enumerate(rows.values()))
    assert same_vectors
    assert index.ids == list(rows)
    assert index.info()["kind"] == kind


def test_few_rows_are_flat_whatever_was_asked(tmp_path):
    info = start(tmp_path / "index", [("a", 1)], kind="hnsw").info()
    assert (info["kind"], info["requested_kind"]) == ("flat", "hnsw")


def test_two_open_indexes_do_not_lose_each_others_rows(tmp_path):
    start(tmp_path / "index", [("a", 1)])
    first, second = Index.open(tmp_path / "index"), Index.open(tmp_path / "index")
    for index, rows in ((first, [("b", 2)]), (second, [("c", 3)])):
        vectors, ids, payload, tokens = columns(rows)
        index.add(vectors, ids, payload, tokens=tokens)
    assert second.ids == ["a", "b", "c"]
    assert first.ids == ["a", "b"]  # a snapshot, until it is refreshed
    assert first.refresh()
    assert not first.refresh()
    assert first.ids == ["a", "b", "c"]


def test_a_snapshot_answers_after_its_generation_was_swept(tmp_path):
    start(tmp_path / "index", [("a", 1), ("b", 2)])
    old = Index.open(tmp_path / "index")
    other = Index.open(tmp_path / "index")
    for _ in range(4):
        other.add(*columns([("c", 3)])[:3], tokens=columns([("c", 3)])[3])
    assert sorted(p.name for p in (tmp_path / "index/generations").iterdir()) == ["000004", "000005"]
    same(old, {"a": 1, "b": 2})


def test_missing_ids_stop_a_delete(tmp_path):
    index = start(tmp_path / "index", [("a", 1), ("b", 2)])
    with pytest.raises(ArtefactError, match="1 ids are not in the index, the first is 'z'; nothing was deleted"):
        index.delete(["a", "z"])
    assert index.ids == ["a", "b"]
    assert index.info()["generation"] == 1


def test_additions_that_do_not_fit_are_refused(tmp_path):
    index = start(tmp_path / "index", [("a", 1)])
    vectors, ids, payload, _ = columns([("b", 2)])
    with pytest.raises(ValueError, match="holds tokens, so every addition must too"):
        index.add(vectors, ids, payload)
    with pytest.raises(ValueError, match=r"must be \(N, 4\) float32"):
        index.add(vectors[:, :3], ids, payload)
    with pytest.raises(ValueError, match="1 vectors, 2 ids"):
        index.add(vectors, ["b", "c"], payload)


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtefactError, match=r"holds 'thesis.txt', so it is no index"):
        start(tmp_path, [("a", 1)])
    with pytest.raises(ArtefactError, match=r"no index here .* build one first"):
        Index.open(tmp_path)
    with pytest.raises(ArtefactError, match="can't be used as an index folder"):
        start(tmp_path / "thesis.txt", [("a", 1)])
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
