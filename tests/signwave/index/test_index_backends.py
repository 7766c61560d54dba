"""One set of tests for every index behind the interface: a folder (FAISS) and Milvus (the embedded milvus-lite).

The twin is a dict that is sorted by hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.index import Index
from signwave.index.interface import Between, VectorIndex
from signwave.index.milvus.index import MilvusIndex

HAS_MILVUS = find_spec("pymilvus") is not None and find_spec("milvus_lite") is not None
NEEDS_MILVUS = pytest.mark.skipif(not HAS_MILVUS, reason="pymilvus or milvus-lite is missing: pip install '.[milvus]'")
DIM, TOKEN_DIM = 12, 6
INFO = {"model_digest": "model-a", "note": "été"}
ODD_IDS = [
    "-fZc29",
    "q\"uo'te",
    "back\\slash",
    "ünï/çødé 漢字",
    "tab\there",
    "payload['a'] == 1",
    "%s",
    "a#b",
    "x" * 300,
]


class Item(NamedTuple):
    vector: NDArray[np.float32]
    payload: dict[str, Any]
    tokens: NDArray[np.float16]


Twin = dict[str, Item]


class Backend(NamedTuple):
    build: Callable[..., VectorIndex]
    open: Callable[..., VectorIndex]


@pytest.fixture(params=["folder", pytest.param("milvus", marks=NEEDS_MILVUS)])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    opened: list[MilvusIndex] = []

    def kept(index: MilvusIndex) -> MilvusIndex:
        opened.append(index)
        return index

    if request.param == "folder":
        folder = tmp_path / "index"
        yield Backend(
            lambda *rows, **options: Index.build(folder, *rows, **options), lambda **o: Index.open(folder, **o)
        )
        return
    place = f"milvus:{tmp_path / 'index.db'}#clips"
    yield Backend(
        lambda *rows, **options: kept(MilvusIndex.build(place, *rows, **options)),
        lambda **options: kept(MilvusIndex.open(place, **options)),
    )
    for index in opened:
        index.close()


def units(count: int, seed: int, dim: int = DIM) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).standard_normal((count, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def make_payload(number: int) -> dict[str, Any]:
    values: dict[str, Any] = {
        "person": ["ana", "bo'b", 'c"c', "d\\d", "e\ne"][number % 5],
        "frames": number * 3,
        "seconds": number / 4,
        "date": f"2020-{number % 12 + 1:02d}-{number % 28 + 1:02d}",
        "is_new": number % 2 == 0,
        "mixed": [number, str(number), number % 2 == 0, None, 1.0, 0][number % 6],
        "tags": ["x", "y"][: number % 3],
        "deep": {"a": [1, {"b": None}], "ключ": "значение"},
    }
    if number % 4 == 0:
        del values["seconds"]
    return values


def make_twin(count: int, seed: int = 0) -> Twin:
    rng = np.random.default_rng(seed)
    vectors = units(count, seed)
    if count > 20:
        vectors[10:18] = vectors[10]  # ties
    names = [*ODD_IDS, *(f"clip {number}" for number in range(count))][:count]
    return {
        name: Item(
            vectors[number],
            make_payload(number),
            rng.standard_normal((number % 5, TOKEN_DIM)).astype(np.float16),
        )
        for number, name in enumerate(names)
    }


def columns(twin: Twin) -> tuple[NDArray[np.float32], list[str], list[dict[str, Any]]]:
    vectors = np.stack([item.vector for item in twin.values()]) if twin else np.zeros((0, DIM), np.float32)
    return vectors, list(twin), [item.payload for item in twin.values()]


def tokens_of(twin: Twin) -> list[NDArray[np.float16]]:
    return [item.tokens for item in twin.values()]


def build(backend: Backend, twin: Twin, **options: Any) -> VectorIndex:
    return backend.build(*columns(twin), info=INFO, tokens=tokens_of(twin), **options)


def brute_force(
    twin: Twin, query: NDArray[np.float32], k: int, keep: Callable[[dict[str, Any]], bool]
) -> list[tuple[str, float]]:
    scored = [
        (name, float(np.float32((item.vector.astype(np.float64) * query.astype(np.float64)).sum())))
        for name, item in twin.items()
        if keep(item.payload)
    ]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k]


def assert_same(index: VectorIndex, twin: Twin) -> None:
    assert len(index) == len(twin)
    assert sorted(index.ids) == sorted(twin)
    for name, item in twin.items():
        row = index.row_of(name)
        assert row is not None
        assert index.id_of(row) == name
        assert index.payload(row) == item.payload
        np.testing.assert_array_equal(index.vector(row), item.vector)
        found = index.tokens(row)
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, item.tokens)


FILTERS: list[tuple[Any, Callable[[dict[str, Any]], bool]]] = [
    (None, lambda p: True),
    ({"person": "ana"}, lambda p: p["person"] == "ana"),
    ({"person": ["bo'b", 'c"c', "d\\d", "nobody"]}, lambda p: p["person"] in ("bo'b", 'c"c', "d\\d")),
    ({"person": "e\ne"}, lambda p: p["person"] == "e\ne"),
    ({"is_new": True, "person": {"ana", "bo'b"}}, lambda p: p["is_new"] and p["person"] in ("ana", "bo'b")),
    ({"is_new": 1}, lambda p: p["is_new"]),
    ({"is_new": 0.0}, lambda p: not p["is_new"]),
    ({"frames": 9.0}, lambda p: p["frames"] == 9),
    ({"frames": Between(9, 60)}, lambda p: 9 <= p["frames"] < 60),
    ({"frames": Between(low=30)}, lambda p: p["frames"] >= 30),
    ({"seconds": Between(1.5, 7.25)}, lambda p: "seconds" in p and 1.5 <= p["seconds"] < 7.25),
    ({"seconds": Between(high=3)}, lambda p: "seconds" in p and p["seconds"] < 3),
    ({"date": Between("2020-03-01", "2020-07-15")}, lambda p: "2020-03-01" <= p["date"] < "2020-07-15"),
    ({"date": Between(high="2020-02"), "is_new": False}, lambda p: p["date"] < "2020-02" and not p["is_new"]),
    ({"is_new": Between(0, 5)}, lambda p: False),
    ({"person": Between(0, 5)}, lambda p: False),
    ({"mixed": True}, lambda p: p["mixed"] == True),  # noqa: E712 - 1 and 1.0 are meant too
    ({"mixed": 1}, lambda p: p["mixed"] == 1),
    ({"mixed": "1"}, lambda p: p["mixed"] == "1"),
    ({"mixed": None}, lambda p: p["mixed"] is None),
    ({"mixed": [None, "7", 0]}, lambda p: p["mixed"] in (None, "7", 0)),
    ({"mixed": Between(0, 10)}, lambda p: type(p["mixed"]) in (int, float) and 0 <= p["mixed"] < 10),
    ({"mixed": Between("1", "3")}, lambda p: isinstance(p["mixed"], str) and "1" <= p["mixed"] < "3"),
    ({"tags": [["x"]]}, lambda p: p["tags"] == ["x"]),
    ({"deep": {"a": [1, {"b": None}], "ключ": "значение"}}, lambda p: True),
    ({"absent": 1}, lambda p: False),
    ({"absent": None}, lambda p: False),
    ({"person": []}, lambda p: False),
    ({"frames": list(range(0, 300, 2))}, lambda p: p["frames"] % 2 == 0),
    ({'we"ird key': 1}, lambda p: False),
    (lambda p: p["frames"] % 7 == 1, lambda p: p["frames"] % 7 == 1),
]


def test_search_is_what_sorting_all_scores_gives(backend: Backend) -> None:
    twin = make_twin(70)
    index = build(backend, twin)
    queries = np.concatenate([units(3, 5), next(itertools.islice(twin.values(), 10, None)).vector[None]])
    for (where, keep), k in itertools.product(FILTERS, (1, 4, 200)):
        hits = index.search(queries, k, where=where)
        expected = [brute_force(twin, query, k, keep) for query in queries]
        assert hits.ids.shape == hits.scores.shape == hits.rows.shape == (len(queries), len(expected[0])), where
        for ids, scores, rows, pairs in zip(hits.ids, hits.scores, hits.rows, expected, strict=True):
            assert list(ids) == [name for name, _ in pairs], where
            assert scores.tolist() == [score for _, score in pairs], where
            assert [index.id_of(row) for row in rows] == list(ids)
            assert [p["frames"] for p in index.payloads(rows)] == [twin[name].payload["frames"] for name in ids]


def test_inner_products_of_vectors_of_any_length(backend: Backend) -> None:
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((40, DIM)) * rng.choice([0.01, 1, 300], (40, 1))).astype(np.float32)
    names = [f"v{number}" for number in range(40)]
    twin = {name: Item(v, {}, np.zeros((0, TOKEN_DIM), np.float16)) for name, v in zip(names, vectors, strict=True)}
    index = backend.build(vectors, names, [{}] * 40, info=INFO, metric="inner_product")
    assert index.metric == "inner_product"
    assert not index.has_tokens
    queries = (10 * rng.standard_normal((5, DIM))).astype(np.float32)
    hits = index.search(queries, 6)
    for ids, query in zip(hits.ids, queries, strict=True):
        assert list(ids) == [name for name, _ in brute_force(twin, query, 6, lambda p: True)]
    index.add(vectors[:1] * 2, ["longer"], [{}])
    np.testing.assert_array_equal(index.vector(index.row_of("longer") or 0), vectors[0] * 2)


def test_everything_comes_back_as_it_was_given(backend: Backend) -> None:
    twin = make_twin(30)
    build(backend, twin)
    index = backend.open(expect_model="model-a")
    assert_same(index, twin)
    assert index.ids == list(twin)
    assert (index.dim, index.metric, index.has_tokens) == (DIM, "cosine", True)
    assert index.row_of("not there") is None
    facts = index.info()
    assert facts["model_digest"] == "model-a"
    assert facts["info"] == {"note": "été"}
    assert facts["n"] == 30
    assert index.verify()["n"] == 30


def test_tokens_of_several_rows_in_one_call(backend: Backend) -> None:
    twin = make_twin(12)
    index = build(backend, twin)
    wanted = ["clip 2", "-fZc29", "tab\there", "clip 0", "clip 2"]
    block = index.token_block([index.row_of(name) or 0 for name in wanted])
    assert block.lengths.tolist() == [len(twin[name].tokens) for name in wanted]
    assert block.data.dtype == np.float32
    np.testing.assert_array_equal(block.data, np.concatenate([twin[name].tokens for name in wanted]))
    block.data[:] = 0  # the caller may write into it
    empty = index.token_block([index.row_of("-fZc29") or 0])
    assert (empty.data.shape, empty.lengths.tolist()) == ((0, TOKEN_DIM), [0])


def test_an_empty_index_grows(backend: Backend) -> None:
    index = build(backend, {})
    assert len(index) == 0
    assert index.search(units(2, 0), 5).ids.shape == (2, 0)
    twin = make_twin(4)
    index.add(*columns(twin), tokens=tokens_of(twin))
    assert_same(index, twin)


def test_adding_an_id_that_is_there_changes_nothing(backend: Backend) -> None:
    twin = make_twin(12)
    index = build(backend, twin)
    more = {"new": make_twin(1, 9)["-fZc29"], "clip 1": make_twin(1, 8)["-fZc29"], "back\\slash": twin["tab\there"]}
    with pytest.raises(ArtefactError, match="clip 1"):
        index.add(*columns(more), tokens=tokens_of(more))
    assert_same(index, twin)
    assert index.row_of("new") is None


def test_upsert_replaces_payload_vector_and_tokens(backend: Backend) -> None:
    twin = make_twin(12)
    index = build(backend, twin)
    vector = units(1, 77)[0]
    changed = {
        "clip 1": Item(vector, {"only": "this"}, np.ones((9, TOKEN_DIM), np.float16)),
        "-fZc29": Item(vector, {}, np.zeros((0, TOKEN_DIM), np.float16)),
        "brand new": Item(vector, {"n": None}, np.full((1, TOKEN_DIM), -2, np.float16)),
    }
    index.upsert(*columns(changed), tokens=tokens_of(changed))
    assert_same(index, {**twin, **changed})
    assert index.verify()["n"] == 13


def test_deleting_unknown_ids_is_refused_as_a_whole(backend: Backend) -> None:
    twin = make_twin(12)
    index = build(backend, twin)
    with pytest.raises(ArtefactError, match="'who'"):
        index.delete(["clip 1", "who"])
    assert_same(index, twin)
    assert index.delete(["clip 1", "who", "clip 1", "-fZc29"], missing_ok=True) == 2
    assert index.delete([]) == 0
    assert_same(index, {name: item for name, item in twin.items() if name not in ("clip 1", "-fZc29")})


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_sequence_of_changes_is_what_a_dict_gives(backend: Backend, seed: int) -> None:
    rng = np.random.default_rng(seed)
    twin = make_twin(8, seed)
    index = build(backend, twin)
    names = [*ODD_IDS, *(f"n{number}" for number in range(16))]
    for step in range(24):
        some = [names[place] for place in rng.choice(len(names), rng.integers(1, 6), replace=False)]
        fresh = dict(zip(some, make_twin(len(some), 100 * seed + step).values(), strict=True))
        kind = rng.choice(["add", "upsert", "delete", "compact", "reopen"], p=[0.3, 0.3, 0.25, 0.05, 0.1])
        if kind == "add" and any(name in twin for name in some):
            with pytest.raises(ArtefactError, match="in the index"):
                index.add(*columns(fresh), tokens=tokens_of(fresh))
        elif kind in ("add", "upsert"):
            getattr(index, kind)(*columns(fresh), tokens=tokens_of(fresh))
            for name in fresh:
                twin.pop(name, None)
            twin.update(fresh)
        elif kind == "delete":
            there = {name for name in some if name in twin}
            assert index.delete(some, missing_ok=True) == len(there)
            twin = {name: item for name, item in twin.items() if name not in there}
        elif kind == "compact":
            index.compact()
        else:
            index = backend.open()
        query = units(1, 1000 * seed + step)
        pairs = brute_force(twin, query[0], 5, lambda p: p["is_new"])
        hits = index.search(query, 5, where={"is_new": True})
        assert list(zip(hits.ids[0].tolist(), hits.scores[0].tolist(), strict=True)) == pairs
    assert_same(index, twin)
    assert index.ids == list(twin)
    assert index.verify()["n"] == len(twin)


def test_a_query_of_another_model_is_refused(backend: Backend) -> None:
    build(backend, make_twin(3))
    with pytest.raises(ArtefactError, match=r"model-a.*model-b"):
        backend.open(expect_model="model-b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": np.ones((2, DIM), np.float32)}, "unit length"),
        ({"vectors": units(2, 0, DIM + 1)}, f"{DIM}"),
        ({"ids": ["a", "a"]}, "twice"),
        ({"ids": ["a", ""]}, "at least one character"),
        ({"payload": [{}]}, "2 vectors"),
        ({"payload": [{}, {"x": float("nan")}]}, "JSON"),
        ({"tokens": None}, "tokens"),
        ({"tokens": [np.zeros((1, TOKEN_DIM + 1), np.float16)] * 2}, "tokens"),
        ({"tokens": [np.full((1, TOKEN_DIM), 1e6, np.float32)] * 2}, "float16"),
        ({"tokens": [np.zeros((1, TOKEN_DIM), np.float16)]}, "token"),
    ],
)
def test_rows_that_can_not_be_right_are_refused(backend: Backend, change: dict[str, Any], message: str) -> None:
    twin = make_twin(12)
    index = build(backend, twin)
    rows: dict[str, Any] = {
        "vectors": units(2, 3),
        "ids": ["a", "b"],
        "payload": [{}, {}],
        "tokens": [np.zeros((1, TOKEN_DIM), np.float16)] * 2,
    } | change
    for change_index in (index.add, index.upsert):
        with pytest.raises(ValueError, match=message):
            change_index(**rows)
    assert_same(index, twin)


def test_queries_that_can_not_be_right_are_refused(backend: Backend) -> None:
    index = build(backend, make_twin(3))
    with pytest.raises(ValueError, match="k must be at least 1"):
        index.search(units(1, 0), 0)
    with pytest.raises(ValueError, match="unit length"):
        index.search(2 * units(1, 0), 1)
    with pytest.raises(ValueError, match=f"{DIM}"):
        index.search(units(1, 0, 5), 1)
    assert len(index.search(np.zeros((0, DIM), np.float32), 3)) == 0


def test_a_build_replaces_what_was_there(backend: Backend) -> None:
    build(backend, make_twin(9))
    reader = backend.open()
    second = make_twin(5, 50)
    build(backend, second)
    assert reader.refresh() is True
    assert_same(reader, second)
    assert reader.refresh() is False


@pytest.mark.parametrize("token_dtype", ["float32", "int8"])
def test_tokens_are_kept_in_the_type_asked_for(backend: Backend, token_dtype: str) -> None:
    tokens = [np.random.default_rng(n).standard_normal((n, TOKEN_DIM)).astype(np.float32) for n in (3, 0, 2)]
    index = backend.build(units(3, 0), list("abc"), [{}] * 3, info=INFO, tokens=tokens, token_dtype=token_dtype)
    for name, matrix in zip("abc", tokens, strict=True):
        found = index.tokens(index.row_of(name) or 0)
        assert found.dtype == np.float32
        tolerance = 0.0 if token_dtype == "float32" else 1 / 254 * np.abs(matrix).max(initial=0) * 1.001
        np.testing.assert_allclose(found, matrix, rtol=0, atol=tolerance)
