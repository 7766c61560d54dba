"""Filters mean what the same filter in Python means, on every kind of index, and never make neighbours vanish."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signwave.index import Between, Index
from signwave.index.row_table import RowTable, write_rows
from signwave.index.rows import accepts, matching_rows

SCALARS = st.one_of(
    st.sampled_from(["de", "en", "", "2026-11-28", "2026-12-01", "é", "𝄞", "\ud800"]),
    st.integers(-3, 3),
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63), 10**400]),
    st.sampled_from([0.0, -0.0, 1.0, 0.5, 2.0**53, 1e300, -1e-300]),
    st.booleans(),
    st.none(),
)
KEYS = st.sampled_from(["a", "b", "c", "-d", "id", "rank", "start", ""])
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.just("x"), SCALARS, max_size=1))
# Most columns of one kind of value, as real payloads have; `a` holds anything.
TYPED = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(["de", "en", "2026-11-28", "2026-12-01", ""]),
        "whole": st.integers(-3, 3) | st.sampled_from([2**53 + 1, 2**63 - 1, -(2**63)]),
        "number": st.integers(-2, 2) | st.sampled_from([0.5, -1.5, 1e300, 2.0**53]),
        "flag": st.booleans(),
        "maybe": st.none() | st.sampled_from(["x", "y"]),
    },
)
ENDS = st.one_of(
    st.tuples(*[st.none() | st.integers(-4, 4) | st.floats(allow_nan=False) | st.sampled_from([2**53, 10**400])] * 2),
    st.tuples(*[st.none() | st.sampled_from(["", "de", "2026", "2026-12", "é", "\ud800"])] * 2),
)
BETWEEN = ENDS.filter(lambda ends: any(end is not None for end in ends)).map(lambda ends: Between(*ends))
WANTED = st.one_of(VALUES, st.lists(VALUES, max_size=3).map(tuple), BETWEEN)
ALL_KEYS = KEYS | st.sampled_from(["text", "whole", "number", "flag", "maybe", "absent"])
FILTERS = st.dictionaries(ALL_KEYS, WANTED, max_size=3)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TYPED | st.dictionaries(KEYS, VALUES, max_size=3), min_size=1, max_size=12), FILTERS, st.data())
def test_columns_answer_as_python_does(tmp_path_factory, payload, where, data):
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder, [f"i{n}" for n in range(len(payload))], payload)
    table = RowTable(folder, count=len(payload))
    alive = np.array(data.draw(st.lists(st.booleans(), min_size=len(payload), max_size=len(payload))))
    plain = json.loads(json.dumps(payload))
    expected = [row for row in matching_rows(plain, where) if alive[row]]
    assert np.flatnonzero(table.matching(where, alive)).tolist() == expected
    as_function = table.matching(lambda values: accepts(where)(values), alive)
    assert np.flatnonzero(as_function).tolist() == expected


def test_a_filter_on_columns_parses_no_payload(tmp_path, monkeypatch):
    payload = [{"person": f"p{n % 7}", "seconds": n / 2, "date": f"2026-11-{1 + n % 28:02d}"} for n in range(200)]
    write_rows(tmp_path, [f"i{n}" for n in range(200)], payload)
    table = RowTable(tmp_path, count=200)
    monkeypatch.setattr(RowTable, "payload", lambda self, row: pytest.fail("parsed"))
    where = {"person": ["p1", "p2"], "seconds": Between(10, 60.5), "date": Between("2026-11-05", "2026-11-20")}
    found = np.flatnonzero(table.matching(where, np.ones(200, dtype=bool)))
    assert found.tolist() == matching_rows(payload, where).tolist()
    assert len(found) > 5


def test_opening_and_searching_parse_no_payload(tmp_path, monkeypatch):
    vectors = unit(np.random.default_rng(1), 300)
    ids = [f"i{n}" for n in range(300)]
    Index.build(tmp_path / "index", vectors, ids, [{"n": n} for n in range(300)], info={"model_digest": "m"})
    with monkeypatch.context() as patch:
        patch.setattr(RowTable, "payload", lambda self, row: pytest.fail("parsed"))
        index = Index.open(tmp_path / "index")
        assert index.search(vectors[:2], 5, where={"n": Between(100, 200)}).ids.shape == (2, 5)
        assert index.row_of("i7") == 7
    assert index.payload(7) == {"n": 7}


def test_more_keys_than_columns_are_still_filtered(tmp_path):
    payload = [{f"key{n}": n % 3, "text": "x" * (2000 if n == 5 else 1)} for n in range(100)]
    write_rows(tmp_path, [f"i{n}" for n in range(100)], payload)
    table = RowTable(tmp_path, count=100)
    for where in ({"key99": 0}, {"key1": 1}, {"text": "x" * 2000}, {"key98": 2, "text": "x"}):
        found = np.flatnonzero(table.matching(where, np.ones(100, dtype=bool)))
        assert found.tolist() == matching_rows(payload, where).tolist() != []


@pytest.mark.parametrize(
    ("ends", "text"),
    [((), "one or two ends"), ((1, "a"), "both numbers"), ((True,), "both numbers"), ((float("nan"), 3), "both numb")],
)
def test_wrong_ends_are_named(ends, text):
    with pytest.raises(ValueError, match=text):
        Between(*ends)


def test_a_filter_of_another_type_is_named(tmp_path):
    with pytest.raises(ValueError, match="a filter is a mapping or a function, got str"):
        matching_rows([{}], "language=de")
    vectors = np.eye(2, dtype=np.float32)
    index = Index.build(tmp_path / "index", vectors, ["a", "b"], [{}, {}], info={"model_digest": "m"})
    with pytest.raises(ValueError, match="a filter is a mapping or a function, got str"):
        index.search(vectors, 1, where="language=de")


# Searches with filters, against sorting all inner products of the rows that pass.

NUM_ROWS = 900
KINDS = ["flat", "hnsw", "ivf_sq8", "ivf_fastscan"]


def unit(rng, count, dim=8):
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """One index of each kind with dead rows and a second segment, and what it holds."""
    rng = np.random.default_rng(0)
    vectors = unit(rng, NUM_ROWS)
    ids = [f"clip-{(7919 * n) % 100_003}" for n in range(NUM_ROWS)]
    payload = [
        {
            "person": f"p{n % 5}",
            "language": ["de", "en", "fa"][n % 3],
            "corpus": "rare" if n % 60 == 0 else "common",
            "date": f"2026-{1 + n % 12:02d}-{1 + n % 28:02d}",
            "seconds": float(rng.integers(1, 30)) / 2,
            "place": "near" if vectors[n, 0] > 0.2 else "far",  # goes with the vector
        }
        for n in range(NUM_ROWS)
    ]
    payload = json.loads(json.dumps(payload))
    indexes = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("signwave.index.changes.SMALL_ROWS", 0)
        for kind in KINDS:
            folder = tmp_path_factory.mktemp(kind)
            index = Index.build(folder, vectors[:700], ids[:700], payload[:700], info={"model_digest": "m"}, kind=kind)
            index.delete(ids[5:700:9])
            index.add(vectors[700:], ids[700:], payload[700:])
            indexes[kind] = index
    dead = set(range(5, 700, 9))
    alive = [n for n in range(NUM_ROWS) if n not in dead]
    return indexes, vectors, ids, payload, alive


FILTER = st.fixed_dictionaries(
    {},
    optional={
        "person": st.sampled_from(["p0", "p9"]) | st.lists(st.sampled_from(["p1", "p2", "p3"]), max_size=3),
        "language": st.sampled_from(["de", "en", ["de", "fa"]]),
        "corpus": st.sampled_from(["rare", "common"]),
        "date": st.sampled_from([Between("2026-03"), Between("2026-02-01", "2026-09-01"), Between(None, "2026-01-15")]),
        "seconds": st.sampled_from([Between(2, 9.5), Between(14.5), Between(100), Between(None, 3)]),
        "place": st.sampled_from(["near", "far"]),
    },
)


def by_sorting(vectors, ids, query, k, rows):
    scores = {n: np.float32((vectors[n].astype(np.float64) * query.astype(np.float64)).sum()) for n in rows}
    best = sorted(rows, key=lambda n: (-scores[n], ids[n]))[:k]
    return [(ids[n], float(scores[n])) for n in best]


def pairs(hits, place):
    return list(zip(hits.ids[place].tolist(), hits.scores[place].tolist(), strict=True))


@settings(max_examples=60, deadline=None)
@given(FILTER, st.integers(1, 60), st.sampled_from(KINDS), st.integers(0, 2**16))
def test_a_filter_that_keeps_few_is_exact_on_every_kind(collection, where, k, kind, seed):
    indexes, vectors, ids, payload, alive = collection
    queries = unit(np.random.default_rng(seed), 2)
    passes = accepts(where)
    rows = [n for n in alive if passes(payload[n])]
    hits = indexes[kind].search(queries, k, where=where)
    for place, query in enumerate(queries):
        assert pairs(hits, place) == by_sorting(vectors, ids, query, k, rows)
    by_function = indexes[kind].search(queries, k, where=passes)
    assert by_function.ids.tolist() == hits.ids.tolist()


@settings(max_examples=60, deadline=None)
@given(FILTER, st.integers(1, 60), st.sampled_from(KINDS[1:]), st.integers(0, 2**16))
def test_a_filter_too_wide_to_compare_with_all_loses_nothing(collection, where, k, kind, seed):
    """The same through FAISS: as many hits as there are, all pass, all scores exact, and most are the nearest."""
    indexes, vectors, ids, payload, alive = collection
    queries = unit(np.random.default_rng(seed), 4)
    passes = accepts(where)
    rows = [n for n in alive if passes(payload[n])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("signwave.index.search._FEW_ROWS", 1)
        patch.setattr("signwave.index.search._FEW_SHARE", 0.0)
        hits = indexes[kind].search(queries, k, where=where)
    assert hits.ids.shape == (4, min(k, len(rows)))
    shared = 0
    for place, query in enumerate(queries):
        everything = dict(by_sorting(vectors, ids, query, len(rows), rows))
        found = pairs(hits, place)
        assert all(everything[identity] == score for identity, score in found)
        assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))
        shared += len(dict(found).keys() & dict(list(everything.items())[:k]).keys())
    assert shared >= 0.8 * 4 * min(k, len(rows))
