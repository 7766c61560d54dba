"""Token matrices of every row, for scoring a few candidates finely: one float16 file, memory-mapped, and offsets."""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError

TOKENS_NAME = "tokens.npy"
OFFSETS_NAME = "token_offsets.npy"


class TokenStore:
    """Read access to the token matrices of one generation.

    Attributes:
        data: (sum of tokens, D) float16, memory-mapped.
        offsets: (N + 1,) int64; row r has tokens [offsets[r], offsets[r + 1]).
    """

    def __init__(self, data: NDArray[np.float16], offsets: NDArray[np.int64]) -> None:
        self.data = data
        self.offsets = offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def get(self, row: int) -> NDArray[np.float16]:
        """Tokens of a row: (M, D) float16, a view of the file."""
        if not 0 <= row < len(self):
            raise ValueError(f"row must be in [0, {len(self)}), got {row}")
        return self.data[self.offsets[row] : self.offsets[row + 1]]


def write_tokens(folder: Path, matrices: Iterable[NDArray[np.floating]], *, count: int) -> None:
    """Write token matrices one after the other; only one is in memory at a time.

    Args:
        folder: where the two files go.
        matrices: `count` matrices (M, D) of finite floats, M may differ (0 is allowed), D may not.
        count: rows of the index.
    """
    offsets = [0]
    dim: int | None = None
    # Plain writes: a memory-mapped file on a full disk kills the process instead of raising an error.
    with open(folder / TOKENS_NAME, "wb") as file:
        for row, matrix in enumerate(matrices):
            half = _half(matrix, row, dim)
            if dim is None:
                dim = half.shape[1]
                _write_header(file, 0, dim)
            file.write(half.tobytes())
            offsets.append(offsets[-1] + len(half))
        if len(offsets) - 1 != count:
            raise ValueError(f"got {len(offsets) - 1} token matrices for {count} rows; give one a row")
        file.seek(0)
        _write_header(file, offsets[-1], dim or 1)  # numpy pads headers so that the first axis can grow in place
    with open(folder / OFFSETS_NAME, "wb") as file:
        np.lib.format.write_array(file, np.array(offsets, dtype=np.int64), allow_pickle=False)


def _half(matrix: NDArray[np.floating], row: int, dim: int | None) -> NDArray[np.float16]:
    if matrix.ndim != 2 or matrix.shape[1] == 0 or dim not in (None, matrix.shape[1]):
        raise ValueError(f"tokens of row {row} must be (M, {dim or 'D'}), got {matrix.shape}")
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(matrix, dtype=np.float16)
    if not np.isfinite(half).all():
        raise ValueError(f"tokens of row {row} hold NaN or values beyond float16 (65504); scale them")
    return half


def _write_header(file: BinaryIO, num_tokens: int, dim: int) -> None:
    header = {"descr": "<f2", "fortran_order": False, "shape": (num_tokens, dim)}
    np.lib.format.write_array_header_1_0(file, header)


def read_tokens(folder: Path, *, count: int) -> TokenStore:
    """Open the token files of a generation."""
    try:
        data = np.load(folder / TOKENS_NAME, mmap_mode="r", allow_pickle=False)
        offsets = np.load(folder / OFFSETS_NAME, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtefactError(f"{folder / TOKENS_NAME}: can't be read ({error}); build the index again") from error
    fits = (
        data.dtype == np.float16
        and data.ndim == 2
        and offsets.dtype == np.int64
        and offsets.shape == (count + 1,)
        and offsets[0] == 0
        and offsets[-1] == len(data)
        and bool((np.diff(offsets) >= 0).all())
    )
    if not fits:
        raise ArtefactError(
            f"{folder / OFFSETS_NAME}: does not describe {count} rows in {TOKENS_NAME} {data.shape}; build it again"
        )
    return TokenStore(data, offsets)
