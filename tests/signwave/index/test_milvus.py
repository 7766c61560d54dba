"""What only Milvus has: places, filter expressions, tokens in parts, damage, killed writers, and moving."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from numpy.typing import NDArray

from signwave import command
from signwave.errors import ArtefactError, UserError
from signwave.index import Index
from signwave.index.interface import Between
from signwave.index.milvus import rows as milvus_rows
from signwave.index.milvus import search as milvus_search
from signwave.index.milvus import writing as milvus_writing
from signwave.index.milvus.filter import plan
from signwave.index.milvus.index import MilvusIndex
from signwave.index.milvus.place import Place
from signwave.index.moving import copy_index, open_index
from slr.commands import index_move

HAS_MILVUS = find_spec("pymilvus") is not None and find_spec("milvus_lite") is not None
needs_milvus = pytest.mark.skipif(not HAS_MILVUS, reason="pymilvus or milvus-lite is missing: pip install '.[milvus]'")
INFO = {"model_digest": "m"}


def units(count: int, seed: int = 0, dim: int = 8) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).standard_normal((count, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def matrices(count: int, seed: int = 0) -> list[NDArray[np.float16]]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((3 + number % 2, 4)).astype(np.float16) for number in range(count)]


def build(place: str, count: int = 6, **options: Any) -> MilvusIndex:
    payload = [{"number": number} for number in range(count)]
    ids = [f"c{number}" for number in range(count)]
    return MilvusIndex.build(place, units(count), ids, payload, info=INFO, tokens=matrices(count), **options)


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"milvus:{tmp_path / 'some.db'}#clips"


@pytest.fixture
def index(place: str) -> Iterator[MilvusIndex]:
    with build(place) as opened:
        yield opened


def test_places() -> None:
    assert Place.parse("milvus:a/b.db") == Place("a/b.db", "signwave")
    assert Place.parse("milvus:a b.db#Clips_2") == Place("a b.db", "Clips_2")
    assert Place.parse("http://db:19530/base#x") == Place("http://db:19530/base", "x")
    assert not Place.parse("milvus:https://db").is_embedded
    assert str(Place.parse("milvus:https://root:secret@db:1#x")) == "milvus:https://db:1#x"


@pytest.mark.parametrize(
    "text", ["milvus:clips", "milvus:", "milvus:.db", "milvus:ftp://x", "milvus:a.db#1x", "a.db#x-y"]
)
def test_places_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match=r"milvus:"):
        Place.parse(text)


def test_what_milvus_is_asked_to_filter_by() -> None:
    def expression(where: Any) -> str:
        split = plan(where)
        assert split.rest is None
        return split.expression

    assert expression(None) == ""
    assert expression({"a": 5}) == '(payload["a"] == 5)'
    assert expression({"a": "x", "b": -2.5}) == '(payload["a"] == "x") and (payload["b"] == -2.5)'
    assert expression({"a": 'q" or 1 == 1 or "\\'}) == '(payload["a"] == "q\\" or 1 == 1 or \\"\\\\")'
    assert expression({"a": True}) == '(payload["a"] == 1 or payload["a"] == true)'
    assert expression({"a": [0, 7, 7.0]}) == (
        '(payload["a"] == 0 or payload["a"] == false or payload["a"] == 7 or payload["a"] == 7.0)'
    )
    assert expression({"a": Between(1, 2)}) == '(payload["a"] >= 1 and payload["a"] < 2)'
    assert expression({"a": Between(low="2020-01")}) == '(payload["a"] >= "2020-01")'


@pytest.mark.parametrize(
    "wanted",
    [None, {"x": 1}, [[1]], "line\nbreak", "\0", 1 << 60, float("inf"), [], list(range(100)), Between(low=1 << 60)],
)
def test_what_is_filtered_here(wanted: Any) -> None:
    split = plan({"a": wanted, "b": 1})
    assert split.expression == '(payload["b"] == 1 or payload["b"] == true)'
    assert split.rest == {"a": wanted}
    assert plan({'a"] == 1 or payload["b': 1}).expression == ""


@needs_milvus
def test_a_full_matrix_of_tokens_lies_in_several_parts(place: str) -> None:
    tokens = [np.random.default_rng(n).standard_normal((64 - n, 512)).astype(np.float16) for n in range(3)]
    with MilvusIndex.build(place, units(3), list("abc"), [{}] * 3, info=INFO, tokens=tokens) as index:
        assert len(milvus_rows.Row("a", units(1)[0], {}, milvus_rows.Encoded(tokens[0], None), 1).parts()) == 2
        for name, matrix in zip("abc", tokens, strict=True):
            np.testing.assert_array_equal(index.tokens(index.row_of(name) or 0), matrix)
        index.upsert(units(1), ["a"], [{}], tokens=[tokens[0][:1]])
        assert index.verify()["stray_parts"] == 0  # the second part of the old matrix is gone


@needs_milvus
@pytest.mark.parametrize("kind", ["hnsw", "ivf_sq8"])
def test_approximate_kinds_score_with_the_stored_vectors(place: str, kind: Any) -> None:
    vectors = units(600, 1)
    payload = [{"third": number % 3 == 0} for number in range(600)]
    with MilvusIndex.build(place, vectors, [str(n) for n in range(600)], payload, info=INFO, kind=kind) as index:
        assert index.info()["kind"] == kind
        hits = index.search(vectors[:20], 5)
        assert [ids[0] for ids in hits.ids] == [str(n) for n in range(20)]
        for query, rows, scores in zip(vectors, hits.rows, hits.scores, strict=False):
            exact = [
                np.float32((index.vector(row).astype(np.float64) * query.astype(np.float64)).sum()) for row in rows
            ]
            assert scores.tolist() == exact
        few = index.search(vectors[:1], 200, where={"third": True})  # few enough rows to be compared with all
        expected = np.sort((vectors[::3].astype(np.float64) @ vectors[0].astype(np.float64)).astype(np.float32))[::-1]
        np.testing.assert_allclose(few.scores[0], expected, atol=1e-6)


@needs_milvus
def test_more_ties_than_milvus_returns_are_settled_by_reading(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus_search, "MAX_HITS", 20)
    vectors = np.repeat(units(1), 60, axis=0)
    names = [f"t{(7 * n) % 60:02d}" for n in range(60)]
    with MilvusIndex.build(place, vectors, names, [{}] * 60, info=INFO) as index:
        assert index.search(vectors[:1], 5).ids.tolist() == [["t00", "t01", "t02", "t03", "t04"]]


@needs_milvus
def test_damage_is_found_and_named(index: MilvusIndex) -> None:
    client, table = index._client, index._table
    stored = table.fetch([milvus_rows.key_of("c3")], [*milvus_rows.ROW_FIELDS, "vector"])[milvus_rows.key_of("c3")]
    row = {**stored, "vector": np.array(stored["vector"], np.float32)}
    assert index.verify()["n"] == 6

    flipped = row["vector"].copy()
    flipped.view(np.uint32)[2] ^= 1
    for change in ({"payload": {"number": 4}}, {"vector": flipped}, {"id": "c9"}, {"checksum": "0" * 64}):
        client.upsert(table.name, [{**row, **change}])
        with pytest.raises(ArtefactError, match=r"'c[39]' does not match its checksum"):
            index.verify()
    client.upsert(table.name, [row])
    assert index.verify()["stray_parts"] == 0

    client.delete(table.parts_name, ids=milvus_rows.part_keys(row, np.dtype(np.float16)))
    with pytest.raises(ArtefactError, match="tokens of 'c3' are incomplete"):
        index.verify()
    with pytest.raises(ArtefactError, match="tokens of 'c3' are incomplete"):
        index.token_block([row["key"]])


@needs_milvus
def test_a_changed_header_is_found(index: MilvusIndex, place: str) -> None:
    parts = index._table.parts_name
    header = index._client.query(parts, filter="owner == -1", output_fields=["*"])[0]
    header["data"] = milvus_rows.part_rows(-1, 0, b"0" * 32 + json.dumps({"metric": "cosine"}).encode())[0]["data"]
    index._client.upsert(parts, [dict(header)])
    with pytest.raises(ArtefactError, match="checksum is wrong"):
        MilvusIndex.open(place)


@needs_milvus
def test_parts_that_a_killed_writer_left_are_swept(index: MilvusIndex) -> None:
    index._client.insert(index._table.parts_name, milvus_rows.part_rows(12345, 678, b"left behind"))
    assert index.verify()["stray_parts"] == 1
    index.compact()
    assert index.verify()["stray_parts"] == 0


@needs_milvus
def test_an_addition_that_fails_halfway_is_taken_back(index: MilvusIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, sent = type(index._client).insert, []

    def failing(self: Any, name: str, rows: Any, **options: Any) -> Any:
        sent.append(name)
        if name == index._table.name and len(sent) > 2:
            raise OSError(28, "No space left on device")
        return whole(self, name, rows, **options)

    monkeypatch.setattr(type(index._client), "insert", failing)
    monkeypatch.setattr("signwave.index.milvus.table._MAX_BATCH_ROWS", 2)
    with pytest.raises(OSError, match="No space"):
        index.add(units(5, 3), [f"n{n}" for n in range(5)], [{}] * 5, tokens=matrices(5))
    monkeypatch.undo()
    assert sorted(index.ids) == [f"c{n}" for n in range(6)]
    assert index.verify()["stray_parts"] == 0


@needs_milvus
def test_ids_with_the_same_key_are_refused(index: MilvusIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (milvus_rows, milvus_writing):
        monkeypatch.setattr(module, "key_of", lambda identity: milvus_rows._hash63(b"c0"))
    with pytest.raises(ArtefactError, match=r"'new' and 'c0' have the same key"):
        index.upsert(units(1), ["new"], [{}], tokens=matrices(1))
    with pytest.raises(ArtefactError, match="two of the 2 ids have the same key"):
        index.upsert(units(2), ["x", "y"], [{}, {}], tokens=matrices(2))


@needs_milvus
@pytest.mark.parametrize(
    ("payload", "message"), [({"t": "ü" * 40_000}, "80,"), ({"n": 1 << 70}, "64 bits"), ({"t": "\ud800"}, "UTF-8")]
)
def test_payloads_that_milvus_can_not_keep(index: MilvusIndex, payload: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        index.add(units(1), ["new"], [payload], tokens=matrices(1))
    assert len(index) == 6


@needs_milvus
def test_a_build_that_fails_leaves_the_old_index(index: MilvusIndex, place: str) -> None:
    with pytest.raises(ValueError, match="token matrices"):
        MilvusIndex.build(place, units(9), [f"n{n}" for n in range(9)], [{}] * 9, info=INFO, tokens=matrices(10))
    assert index.refresh() is False
    assert index._client.list_collections() == ["clips_g000001", "clips_g000001_parts"]
    with build(place, 2) as second:
        assert sorted(index._client.list_collections()) == ["clips_g000002", "clips_g000002_parts"]
        assert index.refresh() is True
        assert index.ids == second.ids == ["c0", "c1"]


@needs_milvus
def test_two_indexes_in_one_file(tmp_path: Path) -> None:
    with build(f"milvus:{tmp_path / 'x.db'}#one", 2), build(f"milvus:{tmp_path / 'x.db'}#two", 3) as two:
        assert len(two) == 3
    with MilvusIndex.open(f"milvus:{tmp_path / 'x.db'}#one") as one:
        assert len(one) == 2
    with pytest.raises(ArtefactError, match="no index here"):
        MilvusIndex.open(f"milvus:{tmp_path / 'x.db'}#three")


@needs_milvus
def test_what_is_no_index(tmp_path: Path, index: MilvusIndex, place: str) -> None:
    with pytest.raises(ArtefactError, match="no such file"):
        MilvusIndex.open(f"milvus:{tmp_path / 'absent.db'}")
    assert not (tmp_path / "absent.db").exists()
    (tmp_path / "text.db").write_text("hello")
    with pytest.raises(ArtefactError, match=r"text\.db#signwave: can't be opened"):
        MilvusIndex.open(f"milvus:{tmp_path / 'text.db'}")
    with pytest.raises(ArtefactError, match="folder of this file does not exist"):
        build(f"milvus:{tmp_path / 'no' / 'x.db'}")
    with pytest.raises(ArtefactError, match="MILVUS_TOKEN"):
        MilvusIndex.open("milvus:http://127.0.0.1:1")
    index._client.create_collection("foreign", dimension=2)
    with pytest.raises(ArtefactError, match="collection that Signwave didn't make"):
        build(place.replace("#clips", "#foreign"))


@needs_milvus
def test_one_process_at_a_time_and_free_again_after_closing(place: str) -> None:
    code = f"from signwave.index.milvus.index import MilvusIndex\nprint(len(MilvusIndex.open({place!r})))"

    def other_process() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    with build(place), build(place.replace("#clips", "#second")):
        refused = other_process()
        assert "another process has it open" in refused.stderr.splitlines()[-1]
    assert other_process().stdout == "6\n"


KILLED = """
import sys
import numpy as np
from signwave.index.milvus.index import MilvusIndex
vectors = np.tile(np.eye(8, dtype=np.float32), (5, 1))
print("ready", flush=True)
for number in range(2, 100):
    ids = [f"g{number}-{row}" for row in range(40)]
    tokens, info = [np.full((3, 4), number, np.float16)] * 40, {"model_digest": "m"}
    MilvusIndex.build(sys.argv[1], vectors, ids, [{"g": number}] * 40, info=info, tokens=tokens).close()
    index = MilvusIndex.open(sys.argv[1])
    index.upsert(vectors, ids, [{"g": -number}] * 40, tokens=[np.full((2, 4), -number, np.float16)] * 40)
    index.close()
"""


@needs_milvus
def test_a_killed_writer_leaves_whole_rows_of_one_build(place: str) -> None:
    build(place).close()
    for pause_seconds in (0.05, 0.3, 0.55, 0.8):
        with subprocess.Popen([sys.executable, "-c", KILLED, place], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(pause_seconds)
            process.send_signal(signal.SIGKILL)
        with MilvusIndex.open(place) as index:
            index.verify()
            assert len({identity.split("-")[0][:1] for identity in index.ids}) == 1
            assert len(index) in (6, 40)
            for row in (index.row_of(identity) or 0 for identity in index.ids[:40:13]):
                if "g" in index.payload(row):
                    assert (index.tokens(row) == index.payload(row)["g"]).all()


def folder_index(folder: Path, count: int = 25, **options: Any) -> Index:
    ids = [f'-id "{number}" ü' for number in range(count)]
    payload = [{"number": number, "text": f"t'{number}"} for number in range(count)]
    return Index.build(
        folder, units(count), ids, payload, info={**INFO, "why": ["a", 1]}, tokens=matrices(count), **options
    )


def assert_equal_indexes(one: Any, two: Any) -> None:
    assert one.ids == two.ids
    for name in one.ids:
        a, b = one.row_of(name), two.row_of(name)
        np.testing.assert_array_equal(one.vector(a), two.vector(b))
        assert one.tokens(a).dtype == two.tokens(b).dtype
        np.testing.assert_array_equal(one.tokens(a), two.tokens(b))
        assert one.payload(a) == two.payload(b)
    for key in ("model_digest", "info", "metric", "dim", "n", "token_dtype"):
        assert one.info()[key] == two.info()[key], key


@needs_milvus
@pytest.mark.parametrize("token_dtype", ["float16", "float32"])
def test_there_and_back(tmp_path: Path, place: str, token_dtype: Any) -> None:
    first = folder_index(tmp_path / "first", token_dtype=token_dtype)
    first.delete(first.ids[3:5])
    first.upsert(units(1, 9), [first.ids[0]], [{"new": 1}], tokens=matrices(1, 9))
    with copy_index(open_index(tmp_path / "first"), place, batch_rows=7) as there:
        assert_equal_indexes(first, there)
        back = copy_index(there, tmp_path / "back", batch_rows=4)
        assert_equal_indexes(first, back)
        back.verify()
        with copy_index(there, place.replace("#clips", "#again")) as again:
            assert_equal_indexes(first, again)
            again.verify()


@needs_milvus
def test_bytes_for_tokens_move_within_rounding(tmp_path: Path, place: str) -> None:
    first = folder_index(tmp_path / "first", token_dtype="int8")
    with copy_index(first, place) as there:
        assert there.info()["token_dtype"] == "int8"
        for name in first.ids:
            row, other = first.row_of(name), there.row_of(name)
            assert row is not None
            assert other is not None
            np.testing.assert_allclose(there.tokens(other), first.tokens(row), rtol=3e-7)


@needs_milvus
def test_moving_inner_products_without_tokens(tmp_path: Path, place: str) -> None:
    vectors = 5 * units(4)
    first = Index.build(tmp_path / "first", vectors, list("abcd"), [{}] * 4, info=INFO, metric="inner_product")
    with copy_index(first, place) as there:
        assert (there.metric, there.has_tokens) == ("inner_product", False)
        back = copy_index(there, tmp_path / "back")
    np.testing.assert_array_equal(back.vector(back.row_of("c") or 0), vectors[2])


@needs_milvus
def test_a_place_that_is_taken_is_not_overwritten(tmp_path: Path, place: str) -> None:
    folder_index(tmp_path / "first")
    build(place).close()
    with pytest.raises(ArtefactError, match="--replace"):
        copy_index(open_index(tmp_path / "first"), place)
    with open_index(place) as there, pytest.raises(ArtefactError, match="--replace"):
        copy_index(there, tmp_path / "first")
    with copy_index(open_index(tmp_path / "first"), place, replace=True) as there:
        assert len(there) == 25


def run(*arguments: str) -> int:
    app = typer.Typer()
    app.command()(index_move.move)
    return command.run(lambda **options: app(list(arguments), **options))


@needs_milvus
def test_the_command(tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = folder_index(tmp_path / "first")
    assert run(str(tmp_path / "first"), place, "-q") == 0
    assert capsys.readouterr().out == f"{place}: 25 rows copied from {tmp_path / 'first'}\n"
    assert run(place, str(tmp_path / "back"), "-q", "--json") == 0
    assert json.loads(capsys.readouterr().out)["n"] == 25
    assert_equal_indexes(first, Index.open(tmp_path / "back"))
    assert run(place, str(tmp_path / "back"), "-q") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert run(place, str(tmp_path / "other"), "-q", "--kind", "magic") == 1
    assert run(str(tmp_path / "none"), place, "-q") == 1
    assert run(str(tmp_path / "first"), "milvus:x", "-q") == 1
    assert "write milvus:FILE.db" in capsys.readouterr().err


def test_without_pymilvus_the_message_is_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(UserError, match=r"signwave\[milvus\]"):
        MilvusIndex.open("milvus:http://127.0.0.1:1")
