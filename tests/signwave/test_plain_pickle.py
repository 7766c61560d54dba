"""The restricted pickle reader: what the standard library writes comes back, and nothing can be made to run."""

import collections
import contextlib
import gzip
import io
import os
import pickle
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signwave.errors import MediaError, UserError
from signwave.plain_pickle import PickleLimits, read_plain
from signwave.plain_values import OpaqueTensor

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
KEYS = st.one_of(st.text(max_size=4), st.integers(), st.booleans(), st.none(), st.binary(max_size=3))
LEAVES = st.one_of(KEYS, st.floats(allow_nan=False), st.complex_numbers(allow_nan=False))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner, max_size=4),
        st.frozensets(KEYS, max_size=3),
        st.sets(KEYS, max_size=3),
    ),
    max_leaves=12,
)


def _write(tmp_path: Path, data: bytes, name: str = "a.pkl") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def _same(left: object, right: object) -> bool:
    if isinstance(right, np.ndarray):
        equal = np.array_equal(left, right)
        return isinstance(left, np.ndarray) and left.shape == right.shape and left.dtype == right.dtype and equal
    return type(left) is type(right) and left == right


@given(value=VALUES, protocol=st.sampled_from(PROTOCOLS))
@settings(max_examples=100, deadline=None)
def test_plain_values_come_back(tmp_path_factory, value, protocol):
    path = _write(tmp_path_factory.mktemp("p"), pickle.dumps(value, protocol))
    assert _same(read_plain(path), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.zeros((0, 86, 2)),
        np.array(5.0),
        np.array(["a", "سؤال"]),
        np.array([b"ab", b"c"]),
        np.array([True, False]),
        np.array([1 + 2j], dtype=np.complex64),
        np.arange(24).reshape(2, 3, 4)[:, ::2],
    ],
    ids=["int", "fortran", "empty", "0-d", "text", "bytes", "bool", "complex", "strided"],
)
def test_arrays_come_back(tmp_path, array, protocol):
    shared = {"first": array, "again": array}
    found = read_plain(_write(tmp_path, pickle.dumps(shared, protocol)))
    assert _same(found["first"], array)
    assert _same(found["again"], array)


def test_big_endian_and_object_arrays(tmp_path):
    objects = np.empty((2, 2), dtype=object)
    objects[0, 0], objects[1, 1] = [1, 2], {"a": np.int64(3)}
    found = read_plain(_write(tmp_path, pickle.dumps([np.arange(3, dtype=">i4"), objects])))
    assert found[0].tolist() == [0, 1, 2]
    assert found[0].dtype.isnative
    assert found[1].tolist() == [[[1, 2], None], [None, {"a": 3}]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numbers_and_dictionaries_of_other_kinds_become_plain(tmp_path, protocol):
    value = {
        "numbers": [np.int64(3), np.float32(0.5), np.bool_(True), np.str_("x")],
        "ordered": collections.OrderedDict(b=1, a=2),
        "default": collections.defaultdict(list, {"k": [1]}),
        "counter": collections.Counter("aab"),
        "bytes": bytearray(b"ab"),
    }
    found = read_plain(_write(tmp_path, pickle.dumps(value, protocol)))
    assert found["numbers"] == [3, 0.5, True, "x"]
    assert [type(number) for number in found["numbers"]] == [int, float, bool, str]
    assert (type(found["ordered"]), list(found["ordered"])) == (dict, ["b", "a"])
    assert found["default"] == {"k": [1]}
    assert found["counter"] == {"a": 2, "b": 1}
    assert found["bytes"] == b"ab"


def test_names_of_older_numpy(tmp_path):
    data = pickle.dumps(np.arange(4), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert read_plain(_write(tmp_path, data)).tolist() == [0, 1, 2, 3]


def test_tensors_come_out_as_their_shape(tmp_path):
    torch = pytest.importorskip("torch")
    path = _write(tmp_path, pickle.dumps([{"name": "a", "sign": torch.zeros(7, 5)}]))
    assert read_plain(path) == [{"name": "a", "sign": OpaqueTensor((7, 5))}]


@pytest.mark.parametrize("packed", [False, True])
def test_lists_that_hold_themselves_and_deep_nesting_are_read(tmp_path, packed):
    loop: list[object] = []
    loop.append(loop)
    data = pickle.dumps(loop)
    found = read_plain(_write(tmp_path, gzip.compress(data) if packed else data))
    assert found[0] is found
    deep = b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b"."
    assert len(read_plain(_write(tmp_path, deep))) == 1


def test_npy_files(tmp_path):
    info = {"prefix": "a/b", 0: {"fileid": "x", "num_frames": 3}}
    np.save(tmp_path / "info.npy", np.array(info, dtype=object))
    assert read_plain(tmp_path / "info.npy") == info
    np.save(tmp_path / "many.npy", np.array([{"a": 1}, None], dtype=object))
    assert read_plain(tmp_path / "many.npy").tolist() == [{"a": 1}, None]
    np.save(tmp_path / "plain.npy", np.eye(3))
    assert np.array_equal(read_plain(tmp_path / "plain.npy"), np.eye(3))


class _Runs:
    """Pickles into a call of anything."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class _Stateful:
    def __init__(self):
        self.x = 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("value", "named"),
    [
        (_Runs(os.system, "touch {}"), "system"),
        (_Runs(eval, "open('{}', 'w')"), "eval"),
        (_Runs(getattr, "x", "upper"), "getattr"),
        (_Runs(np.load, "{}"), "load"),
        (_Runs(io.open, "{}", "w"), "open"),
        (_Stateful(), "_Stateful|_reconstructor"),
        (threading.Event, "Event"),
        (Path("a"), "Path|_reconstructor"),
    ],
    ids=["system", "eval", "getattr", "load", "open", "object", "class", "path"],
)
def test_whatever_is_no_plain_data_is_refused_by_name(tmp_path, value, named, protocol):
    marker = tmp_path / "ran"
    if isinstance(value, _Runs):
        value.call = (value.call[0], tuple(str(part).format(marker) for part in value.call[1]))
    path = _write(tmp_path, pickle.dumps([1, value], protocol))
    with pytest.raises(UserError, match=rf"a\.pkl: refused: it asks for \S*({named})") as caught:
        read_plain(path)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


def _program(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_program(b"cos\nsystem\n"), "asks for os.system"),
        (_program(b"(S'ls'\nios\nsystem\n"), "makes an object of os.system"),
        (_program(b"(cnumpy\nndarray\no"), "numpy.ndarray"),
        (_program(b"cnumpy\nndarray\n)\x81"), "numpy.ndarray"),
        (_program(b"cnumpy\nndarray\n"), "the name numpy.ndarray as a value"),
        (_program(b"cnumpy\nndarray\n\x85"), "the name numpy.ndarray as a value"),
        (_program(b"]", _ARRAY, b"a"), "never filled"),
        (_program(b"cnumpy\nndarray\n)R"), "calls numpy.ndarray"),
        (_program(b"]}b"), "sets the state of a list"),
        (_program(b"Pname\n"), "the instruction PERSID"),
        (_program(b"\x82\x01"), "the instruction EXT1"),
        (_program(b"cnumpy\ndtype\nX\x03\x00\x00\x00V99\x85R"), "the numpy dtype 'V99'"),
        (_program(b"cnumpy\ndtype\nX\x0a\x00\x00\x00M8[ns],(9)\x85R"), "the numpy dtype"),
        (_program(b"}(]K\x01tK\x02s"), "key or set member"),
        (_program(b"}" + b"\x29" + b"\x94\x68\x00\x86" * 3 + b"K\x01s"), "key or set member"),
    ],
)
def test_programs_are_refused(tmp_path, data, reason):
    with pytest.raises(UserError, match=r"a\.pkl: refused: .*" + reason):
        read_plain(_write(tmp_path, data))


@pytest.mark.parametrize(
    "shape", [b"J\xff\xff\xff\x7f\x85", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", b"J\xff\xff\xff\xff\x85"]
)
def test_arrays_larger_than_their_bytes_are_not_made(tmp_path, shape):
    dtype = (
        b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    data = _program(_ARRAY, b"(K\x01", shape, dtype, b"\x89C\x08abcdefghtb")
    with pytest.raises(UserError, match="array of shape"):
        read_plain(_write(tmp_path, data))
    text = dtype.replace(b"X\x02\x00\x00\x00f8", b"X\x02\x00\x00\x00U0")
    with pytest.raises(UserError, match="array of shape"):
        read_plain(_write(tmp_path, _program(_ARRAY, b"(K\x01", shape, text, b"\x89C\x00tb")))


def test_a_length_that_the_file_does_not_hold_takes_no_memory(tmp_path):
    for code in (b"\x8e", b"\x8d", b"\x96"):
        data = b"\x80\x04" + code + struct.pack("<Q", 2**40) + b"abc."
        with pytest.raises(UserError, match="no complete pickle"):
            read_plain(_write(tmp_path, data))
        with pytest.raises(UserError, match="no complete pickle"):
            read_plain(_write(tmp_path, gzip.compress(data)))
    with pytest.raises(UserError, match=r"calls|no complete"):  # bytes(2 ** 30) would be a gigabyte
        read_plain(_write(tmp_path, _program(b"cbuiltins\nbytearray\nJ\x00\x00\x00\x40\x85R")))


def test_truncated_files_are_one_line_errors(tmp_path):
    whole = pickle.dumps({"a": [1, 2.5, "text", np.arange(5)], "b": {1, 2}})
    packed = gzip.compress(whole)
    for data in (whole, packed):
        for size in range(0, len(data), 3):
            with pytest.raises(UserError) as caught:
                read_plain(_write(tmp_path, data[:size]))
            assert "\n" not in str(caught.value)
    np.save(tmp_path / "a.npy", np.array({"a": list(range(50))}, dtype=object))
    for size in range(0, (tmp_path / "a.npy").stat().st_size, 7):
        with pytest.raises(UserError):
            read_plain(_write(tmp_path, (tmp_path / "a.npy").read_bytes()[:size], "b.npy"))


@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_flipped_bytes_give_data_or_a_user_error(tmp_path_factory, data):
    whole = bytearray(
        pickle.dumps({"a": [1, (2.5, "text"), np.arange(3)], "b": {1}}, data.draw(st.sampled_from(PROTOCOLS)))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UserError):
        read_plain(_write(tmp_path_factory.mktemp("f"), bytes(whole)), limits=PickleLimits(max_steps=10_000))


def test_limits(tmp_path):
    bomb = _write(tmp_path, gzip.compress(pickle.dumps(b"\0" * 5_000_000)))
    with pytest.raises(UserError, match="unpacks to more than max_bytes=1000000"):
        read_plain(bomb, limits=PickleLimits(max_bytes=1_000_000))
    with pytest.raises(UserError, match="over the limit max_bytes=10"):
        read_plain(_write(tmp_path, pickle.dumps("a long enough text")), limits=PickleLimits(max_bytes=10))
    with pytest.raises(UserError, match="more than max_steps=50"):
        read_plain(_write(tmp_path, pickle.dumps(list(range(100)))), limits=PickleLimits(max_steps=50))


@pytest.mark.parametrize(
    ("value", "copy"),
    [
        (b"(" + b"K\x01" * 1000 + b"l", b"cbuiltins\nlist\n"),
        (b"(" + b"".join(bytes([75, i, 75, 2]) for i in range(200)) + b"d", b"ccollections\nOrderedDict\n"),
        (b"C\xff" + b"a" * 255, b"cbuiltins\nbytearray\n"),
    ],
    ids=["list", "dict", "bytes"],
)
def test_copying_a_value_again_and_again_is_counted(tmp_path, value, copy):
    again = b"0" + copy + b"h\x00\x85R"
    path = _write(tmp_path, _program(value, b"q\x00", again * 3))
    assert len(read_plain(path)) > 0
    path = _write(tmp_path, _program(value, b"q\x00", again * 1000))
    with pytest.raises(UserError, match="copies its values beyond max_bytes=60000"):
        read_plain(path, limits=PickleLimits(max_bytes=60_000))


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(MediaError, match="does not exist"):
        read_plain(tmp_path / "none.pkl")
    with pytest.raises(UserError, match="empty file of 0 bytes"):
        read_plain(_write(tmp_path, b""))
    with pytest.raises(UserError, match="no complete pickle"):
        read_plain(_write(tmp_path, b"id|folder|signer|annotation\n"))
