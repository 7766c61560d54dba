"""Token matrices of every row, for scoring a few candidates finely: one file, memory-mapped, offsets, and scales.

tokens.npy          (sum of tokens, D) float16, float32 or int8
token_offsets.npy   (N + 1,) int64; row r has tokens [offsets[r], offsets[r + 1])
token_scales.npy    (sum of tokens,) float32, int8 only: a token is its bytes times its scale
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.index.files import read_array, write_array
from signwave.index.interface import TokenType

TOKENS_NAME = "tokens.npy"
OFFSETS_NAME = "token_offsets.npy"
SCALES_NAME = "token_scales.npy"

_DTYPES: dict[TokenType, str] = {"float16": "<f2", "float32": "<f4", "int8": "|i1"}
_LARGEST = 127  # -128 is left out, so that rounding errs as little below zero as above


class Encoded(NamedTuple):
    """Token matrices as they are stored.

    data: (M, D) of the stored type.
    scales: (M,) float32 for int8, else None.
    """

    data: NDArray[Any]
    scales: NDArray[np.float32] | None


def encode(matrix: NDArray[np.floating], token_dtype: TokenType, *, row: int) -> Encoded:
    """Bring a token matrix (M, D) of finite floats into the stored type.

    int8 rounds each number to 1/127 of the largest of its token, so it errs by at most 1/254 of that.

    Raises:
        ValueError: a wrong shape, or numbers that can't be kept.
    """
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(f"tokens of row {row} must be (M, D), got {matrix.shape}")
    if token_dtype == "int8":
        values = np.asarray(matrix, dtype=np.float32)
        scales = np.abs(values).max(axis=1, initial=0) / np.float32(_LARGEST)
        _require_finite(scales, row, "float32")
        steps = np.divide(values, scales[:, None], out=np.zeros_like(values), where=scales[:, None] > 0)
        return Encoded(np.clip(np.rint(steps), -_LARGEST, _LARGEST).astype(np.int8), scales)
    with np.errstate(over="ignore"):
        kept = np.ascontiguousarray(matrix, dtype=_DTYPES[token_dtype])
    _require_finite(kept, row, token_dtype)
    return Encoded(kept, None)


def _require_finite(values: NDArray[Any], row: int, name: str) -> None:
    if not np.isfinite(values).all():
        limit = " (65504)" if name == "float16" else ""
        raise ValueError(f"tokens of row {row} hold NaN or values beyond {name}{limit}; scale them")


class TokenStore:
    """Read access to the token matrices of one segment.

    Attributes:
        data: (sum of tokens, D) as stored, memory-mapped.
        offsets: (N + 1,) int64; row r has tokens [offsets[r], offsets[r + 1]).
        scales: (sum of tokens,) float32 for int8, else None.
    """

    def __init__(self, folder: Path, *, count: int, token_dtype: TokenType) -> None:
        """Open what `write_tokens` wrote for `count` rows."""
        self.data = read_array(folder / TOKENS_NAME, dtype=_DTYPES[token_dtype], shape=(None, None))
        self.offsets: NDArray[np.int64] = read_array(folder / OFFSETS_NAME, dtype=np.int64, shape=(count + 1,))
        fits = self.offsets[0] == 0 and self.offsets[-1] == len(self.data) and bool((np.diff(self.offsets) >= 0).all())
        if not fits:
            raise ArtefactError(
                f"{folder / OFFSETS_NAME}: does not describe {count} rows in {TOKENS_NAME} {self.data.shape}; "
                "build it again"
            )
        self.scales: NDArray[np.float32] | None = None
        if token_dtype == "int8":
            self.scales = read_array(folder / SCALES_NAME, dtype=np.float32, shape=(len(self.data),))

    @property
    def dim(self) -> int:
        """Numbers in a token."""
        return int(self.data.shape[1])

    def encoded(self, row: int) -> Encoded:
        """Tokens of a row as they are stored, views of the files."""
        span = slice(self.offsets[row], self.offsets[row + 1])
        return Encoded(self.data[span], None if self.scales is None else self.scales[span])

    def get(self, row: int) -> NDArray[Any]:
        """Tokens of a row: (M, D) float16 or float32; a view of the file but for int8."""
        data, scales = self.encoded(row)
        return data if scales is None else data.astype(np.float32) * scales[:, None]


def gather(tokens: Sequence[Encoded], dim: int) -> NDArray[np.float32]:
    """Token matrices one after the other: (sum of M, dim) float32.

    The rows are copied as stored first and converted at once, by torch: NumPy takes several times as long.
    """
    if sum(len(each.data) for each in tokens) == 0:
        return np.empty((0, dim), dtype=np.float32)
    import torch

    numbers = torch.from_numpy(np.concatenate([each.data for each in tokens])).float()
    scales = [each.scales for each in tokens if each.scales is not None]
    if scales:
        numbers *= torch.from_numpy(np.concatenate(scales))[:, None]
    return numbers.numpy()


def write_tokens(folder: Path, matrices: Iterable[Encoded], *, count: int, dim: int | None) -> int:
    """Write token matrices one after the other; only one is in memory at a time.

    Args:
        folder: where the files go.
        matrices: `count` encoded matrices (M, D); M may differ (0 is allowed), D may not.
        count: rows of the segment.
        dim: D that the index has already, None if any will do.

    Returns:
        D, 1 if there was no matrix at all.
    """
    offsets = [0]
    scales: list[NDArray[np.float32]] = []
    # Plain writes: a memory-mapped file on a full disk kills the process instead of raising an error.
    with open(folder / TOKENS_NAME, "wb") as file:
        dtype: Any = np.dtype(np.float16)
        for row, encoded in enumerate(matrices):
            if dim not in (None, encoded.data.shape[1]):
                raise ValueError(f"tokens of row {row} must be (M, {dim}), got {encoded.data.shape}")
            if row == 0:
                dim, dtype = int(encoded.data.shape[1]), encoded.data.dtype
                _write_header(file, dtype, 0, dim)
            file.write(encoded.data.tobytes())
            offsets.append(offsets[-1] + len(encoded.data))
            if encoded.scales is not None:
                scales.append(encoded.scales)
        if len(offsets) - 1 != count:
            raise ValueError(f"got {len(offsets) - 1} token matrices for {count} rows; give one a row")
        file.seek(0)
        _write_header(file, dtype, offsets[-1], dim or 1)  # numpy pads headers so that the first axis can grow in place
    write_array(folder / OFFSETS_NAME, np.array(offsets, dtype=np.int64))
    if scales:
        write_array(folder / SCALES_NAME, np.concatenate(scales))
    return dim or 1


def _write_header(file: BinaryIO, dtype: Any, num_tokens: int, dim: int) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (num_tokens, dim)}
    np.lib.format.write_array_header_1_0(file, header)
