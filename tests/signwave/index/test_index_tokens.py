"""Token matrices come back as the chosen type allows, one by one and in a block."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from signwave.errors import ArtefactError
from signwave.index import Index
from signwave.index.tokens import encode, gather

ROUND_TRIP = {"float16": 2**-11, "float32": 0.0, "int8": 1 / 254}
"""Largest error as a share: of the number itself, for int8 of the largest number of its token."""


def unit(rng, count, dim=4):
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def build(folder, matrices, **options):
    count = len(matrices)
    ids = [f"i{n}" for n in range(count)]
    vectors = unit(np.random.default_rng(0), count)
    return Index.build(folder, vectors, ids, [{}] * count, info={"model_digest": "m"}, tokens=iter(matrices), **options)


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 6)), elements=st.floats(-1e4, 1e4, width=32)),
    st.sampled_from(["float16", "float32", "int8"]),
)
def test_round_trip_error_is_bounded(matrix, token_dtype):
    encoded = encode(matrix, token_dtype, row=0)
    again = gather([encoded], matrix.shape[1])
    assert again.dtype == np.float32
    assert again.shape == matrix.shape
    size = np.abs(matrix).max(axis=1, keepdims=True, initial=0) if token_dtype == "int8" else np.abs(matrix)
    slack = 2.0**-25 if token_dtype == "float16" else 1e-6 * size  # numbers too small for float16; float32 rounding
    assert (np.abs(again - matrix) <= ROUND_TRIP[token_dtype] * size + slack).all()


@pytest.mark.parametrize("token_dtype", ["float16", "float32", "int8"])
def test_a_block_equals_its_rows_and_survives_changes_unrounded(tmp_path, token_dtype):
    rng = np.random.default_rng(1)
    matrices = [unit(rng, m, 6) for m in (3, 0, 5, 1, 64)]
    index = build(tmp_path / "index", matrices, token_dtype=token_dtype)
    first = {identity: np.array(index.tokens(index.row_of(identity))) for identity in index.ids}
    for _ in range(4):  # merging copies bytes: rounding again would drift
        index.upsert(unit(rng, 1), ["other"], [{}], tokens=[unit(rng, 2, 6)])
    index.delete(["i2"])
    index.compact()
    rows = [index.row_of(identity) for identity in ("i4", "i1", "i0", "i4")]
    block = index.token_block(rows)
    assert block.lengths.dtype == np.int64
    assert block.lengths.tolist() == [64, 0, 3, 64]
    assert block.data.dtype == np.float32
    assert block.data.flags.writeable
    assert np.array_equal(block.data, np.concatenate([first[i].astype(np.float32) for i in ("i4", "i1", "i0", "i4")]))
    cosines = (block.data[:64] * matrices[4]).sum(axis=1)
    assert np.abs(cosines - 1).max() < {"float16": 1e-3, "float32": 1e-6, "int8": 5e-3}[token_dtype]
    assert index.token_block([]).data.shape == (0, 6)


def test_int8_takes_half_the_room(tmp_path):
    matrices = [unit(np.random.default_rng(2), 64, 128)] * 20
    sizes = {
        name: build(tmp_path / name, matrices, token_dtype=name).info()["bytes_per_row"]["tokens"]
        for name in ("float16", "int8")
    }
    assert sizes["float16"] == pytest.approx(64 * 128 * 2, rel=0.01)
    assert sizes["int8"] == pytest.approx(64 * (128 + 4), rel=0.01)


def test_large_files_are_mapped_and_small_ones_read(tmp_path):
    small = build(tmp_path / "small", [np.ones((2, 4))])
    large = build(tmp_path / "large", [np.ones((1000, 300))] * 3)
    assert not isinstance(small.tokens(0).base, np.memmap)
    assert isinstance(large.tokens(0).base, np.memmap)


def test_an_index_without_tokens_says_so(tmp_path):
    index = Index.build(tmp_path / "index", unit(np.random.default_rng(0), 1), ["a"], [{}], info={"model_digest": "m"})
    for ask in (lambda: index.tokens(0), lambda: index.token_block([0])):
        with pytest.raises(ArtefactError, match="holds no tokens; build it with tokens"):
            ask()


@pytest.mark.parametrize(
    ("matrix", "token_dtype", "text"),
    [
        (np.full((2, 3), 1e6), "float16", "tokens of row 0 hold NaN or values beyond float16"),
        (np.full((2, 3), np.nan), "int8", "tokens of row 0 hold NaN"),
        (np.full((2, 3), np.inf), "int8", "tokens of row 0 hold NaN"),
        (np.ones(3), "int8", r"must be \(M, D\), got \(3,\)"),
        (np.ones((3, 0)), "float16", r"must be \(M, D\), got \(3, 0\)"),
    ],
)
def test_tokens_that_can_not_be_kept_are_refused(tmp_path, matrix, token_dtype, text):
    with pytest.raises(ValueError, match=text):
        build(tmp_path / "index", [matrix], token_dtype=token_dtype)
    assert not (tmp_path / "index/CURRENT").exists()
