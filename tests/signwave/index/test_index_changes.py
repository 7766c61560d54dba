"""Add, upsert, delete, compact and rebuild against a dict that does the same."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signwave.errors import ArtefactError
from signwave.index import Index, changes

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


def change(index, action, rows):
    vectors, ids, payload, tokens = columns(rows)
    getattr(index, action)(vectors, ids, payload, tokens=tokens)


def same(index, twin):
    assert len(index) == len(twin)
    assert index.ids == list(twin)
    rows = [index.row_of(identity) for identity in twin]
    for row, (identity, number) in zip(rows, twin.items(), strict=True):
        vector, payload, tokens = row_for(number)
        assert index.id_of(row) == identity
        assert np.array_equal(index.vector(row), vector)
        assert index.payload(row) == payload
        assert np.array_equal(index.tokens(row), tokens)
    assert index.row_of("nobody") is None
    assert index.payloads(rows) == [row_for(number)[1] for number in twin.values()]
    block = index.token_block(rows)
    assert block.lengths.tolist() == [number % 3 for number in twin.values()]
    assert block.data[:, :1].ravel().tolist() == [n for n in twin.values() for _ in range(n % 3)]
    if twin:
        query = row_for(next(iter(twin.values())))[0]
        hits = index.search(query[None], len(twin) + 1)
        scores = {i: np.float32((row_for(n)[0].astype(np.float64) * query).sum()) for i, n in twin.items()}
        assert hits.ids[0].tolist() == sorted(twin, key=lambda identity: (-scores[identity], identity))
        assert [index.id_of(row) for row in hits.rows[0]] == hits.ids[0].tolist()


IDS = st.sampled_from(["a", "b", "c", "d", "-e", "é", "f", "g"])
ROWS = st.dictionaries(IDS, st.integers(0, 50), max_size=4)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["add", "upsert", "upsert", "build"]), ROWS),
        st.tuples(st.just("delete"), st.sets(IDS, max_size=3)),
        st.tuples(st.sampled_from(["reopen", "compact"]), st.none()),
    ),
    max_size=7,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(IDS, st.integers(0, 50), max_size=5), CHANGES, st.booleans())
def test_changes_follow_a_dict(tmp_path_factory, first, actions, merging):
    folder = tmp_path_factory.mktemp("index")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes, "SMALL_ROWS", 4096 if merging else 0)
        index, twin = start(folder, list(first.items())), dict(first)
        for action, value in actions:
            if action == "upsert":
                change(index, "upsert", list(value.items()))
                twin = {k: v for k, v in twin.items() if k not in value} | value
            elif action == "add" and value.keys() & twin.keys():
                with pytest.raises(ArtefactError, match="of these ids are in the index, the first is"):
                    change(index, "add", list(value.items()))
            elif action == "add":
                change(index, "add", list(value.items()))
                twin |= value
            elif action == "delete":
                assert index.delete(value, missing_ok=True) == len(value & twin.keys())
                twin = {k: v for k, v in twin.items() if k not in value}
            elif action == "build":
                index, twin = start(folder, list(value.items())), dict(value)
            elif action == "compact":
                index.compact()
                info = index.info()
                assert (info["dead_rows"], info["segments"]) == (0, bool(twin))
            else:
                index = Index.open(folder)
            same(index, twin)
        same(Index.open(folder), twin)
        assert index.verify()["info"] == {"note": "kept"}


@pytest.mark.parametrize("kind", ["hnsw", "ivf_sq8", "ivf_fastscan"])
def test_approximate_kinds_keep_exact_vectors_over_changes(tmp_path, kind):
    """Vectors don't fade: what is compacted are the originals, not rounded codes."""
    rows = {f"i{n}": n for n in range(400)}
    index = start(tmp_path / "index", list(rows.items()), kind=kind)
    for round_number in range(3):
        gone = {f"i{n}" for n in range(round_number, 400, 40)}
        index.delete(gone)
        rows = {k: v for k, v in rows.items() if k not in gone}
        change(index, "add", [(f"new{round_number}", 900 + round_number)])
        rows[f"new{round_number}"] = 900 + round_number
    for compacted in (False, True):
        assert all(np.array_equal(index.vector(index.row_of(i)), row_for(n)[0]) for i, n in rows.items())
        assert index.ids == list(rows)
        info = index.info()
        assert info["kind"] == kind
        assert (info["n"], info["dead_rows"]) == (373, 0 if compacted else 30)
        hits = index.search(row_for(901)[0][None], 3)
        assert hits.ids[0][0] == "new1"
        index.compact()


def test_few_rows_are_flat_whatever_was_asked(tmp_path):
    info = start(tmp_path / "index", [("a", 1)], kind="hnsw").info()
    assert (info["kind"], info["requested_kind"]) == ("flat", "hnsw")
    assert "need no approximation" in info["choice"]["reason"]


def test_a_thousand_single_additions_leave_few_segments(tmp_path, monkeypatch):
    """Here 200, and no flushing: the rule is what is tested, not the disk."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    index, twin, most = start(tmp_path / "index", [("first", 1)]), {"first": 1}, 0
    for number in range(200):
        change(index, "add", [(f"i{number}", number)])
        twin[f"i{number}"] = number
        most = max(most, index.info()["segments"])
    assert most <= 9
    assert index.info()["advice"] is None
    same(index, twin)
    kept = {entry["name"] for entry in manifest_of(tmp_path / "index")["segments"]}
    on_disk = {path.name for path in (tmp_path / "index/segments").iterdir()}
    assert kept <= on_disk
    assert len(on_disk) <= most + 5  # those that the last generation but one still needs


def manifest_of(folder):
    number = (folder / "CURRENT").read_text().split()[0]
    return json.loads((folder / "generations" / number / "MANIFEST.json").read_text())


def test_additions_do_not_touch_segments_that_are_there(tmp_path):
    index = start(tmp_path / "index", [(f"i{n}", n) for n in range(50)])
    (first,) = manifest_of(tmp_path / "index")["segments"]
    folder = tmp_path / "index/segments" / first["name"]
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    change(index, "add", [("new", 7)])
    index.delete(["i3"])
    change(index, "upsert", [("i4", 8)])
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    entries = manifest_of(tmp_path / "index")["segments"]
    assert entries[0]["files"] == first["files"]
    assert [(entry["rows"], entry["dead"]) for entry in entries] == [(50, 2), (2, 0)]


def test_advice_names_what_compacting_mends(tmp_path, monkeypatch):
    index = start(tmp_path / "index", [(f"i{n}", n) for n in range(10)])
    assert index.info()["advice"] is None
    index.delete(f"i{n}" for n in range(4))
    assert index.info()["advice"] == "compact: 4 of its 10 rows are dead"
    monkeypatch.setattr(changes, "SMALL_ROWS", 0)
    monkeypatch.setattr(changes, "MAX_SEGMENTS", 2)
    for number in range(2):
        change(index, "add", [(f"new{number}", number)])
    assert index.info()["advice"] == "compact: it has 3 segments, more than 2 slow every search"
    index.compact()
    assert index.info()["advice"] is None
    monkeypatch.setattr(changes, "MAX_FLAT_ROWS", 7)
    assert index.info()["advice"] == "compact: 8 rows were added one after the other and are searched exactly"


def test_two_open_indexes_do_not_lose_each_others_rows(tmp_path):
    start(tmp_path / "index", [("a", 1)])
    first, second = Index.open(tmp_path / "index"), Index.open(tmp_path / "index")
    for index, rows in ((first, [("b", 2)]), (second, [("c", 3)])):
        change(index, "add", rows)
    assert second.ids == ["a", "b", "c"]
    assert first.ids == ["a", "b"]  # a snapshot, until it is refreshed
    with pytest.raises(ArtefactError, match="the first is 'c'"):
        change(first, "add", [("c", 4)])  # another process added it meanwhile
    assert first.ids == ["a", "b", "c"]
    assert not first.refresh()


def test_a_snapshot_answers_after_its_generation_was_swept(tmp_path):
    start(tmp_path / "index", [("a", 1), ("b", 2)])
    old = Index.open(tmp_path / "index")
    other = Index.open(tmp_path / "index")
    for _ in range(3):
        change(other, "upsert", [("c", 3)])
    other.compact()
    change(other, "upsert", [("c", 3)])
    assert sorted(p.name for p in (tmp_path / "index/generations").iterdir()) == ["000005", "000006"]
    assert sorted(p.name for p in (tmp_path / "index/segments").iterdir()) == ["000005", "000006"]
    same(old, {"a": 1, "b": 2})
    assert old.refresh()
    same(old, {"a": 1, "b": 2, "c": 3})


def test_an_index_deleted_and_built_anew_is_not_mistaken_for_the_old_one(tmp_path):
    """Segments that are open are reused; those of another index have the same names."""
    import shutil

    index = start(tmp_path / "index", [("a", 1)])
    shutil.rmtree(tmp_path / "index")
    change(start(tmp_path / "index", [("b", 2)]), "add", [("c", 3)])
    assert index.refresh()
    same(index, {"b": 2, "c": 3})


def test_missing_ids_stop_a_delete(tmp_path):
    index = start(tmp_path / "index", [("a", 1), ("b", 2)])
    with pytest.raises(ArtefactError, match="1 ids are not in the index, the first is 'z'; nothing was deleted"):
        index.delete(["a", "z"])
    assert index.ids == ["a", "b"]
    assert index.info()["generation"] == 1
    row = index.row_of("a")
    assert index.delete(["a", "a", "z"], missing_ok=True) == 1
    with pytest.raises(ValueError, match="row 0 was deleted"):
        index.payload(row)


def test_additions_that_do_not_fit_are_refused(tmp_path):
    index = start(tmp_path / "index", [("a", 1)])
    vectors, ids, payload, tokens = columns([("b", 2)])
    with pytest.raises(ValueError, match="holds tokens, so every addition must too"):
        index.add(vectors, ids, payload)
    with pytest.raises(ValueError, match=r"must be \(N, 4\) float32"):
        index.add(vectors[:, :3], ids, payload, tokens=tokens)
    with pytest.raises(ValueError, match="1 vectors, 2 ids"):
        index.add(vectors, ["b", "c"], payload, tokens=tokens)
    with pytest.raises(ValueError, match=r"tokens of row . must be \(M, 2\), got \(1, 3\)"):
        index.add(vectors, ids, payload, tokens=[np.ones((1, 3), dtype=np.float32)])
    with pytest.raises(ValueError, match="give one a row"):
        index.add(vectors, ids, payload, tokens=[])
    assert index.ids == ["a"]
    assert [path.name for path in (tmp_path / "index/segments").iterdir()] == ["000001"]


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtefactError, match=r"holds 'thesis.txt', so it is no index"):
        start(tmp_path, [("a", 1)])
    with pytest.raises(ArtefactError, match=r"no index here .* build one first"):
        Index.open(tmp_path)
    with pytest.raises(ArtefactError, match="can't be used as an index folder"):
        start(tmp_path / "thesis.txt", [("a", 1)])
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
