"""What may go into an index: the arguments of a build or an addition, refused if they can't be right."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.index.interface import Metric

BLOCK_ROWS = 1 << 14  # rows that are worked on at once where all may not fit into memory twice

_UNIT_TOLERANCE = 1e-3


def blocks(vectors: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Slices of at most BLOCK_ROWS rows, in order."""
    for start in range(0, len(vectors), BLOCK_ROWS):
        yield np.asarray(vectors[start : start + BLOCK_ROWS])


def norms(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Euclidean length of each row (N,) float32, without a copy of all vectors."""
    parts = [np.sqrt(np.einsum("nd,nd->n", block, block)) for block in blocks(vectors)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


def check_vectors(
    vectors: NDArray[np.float32], *, name: str, dim: int | None = None, metric: Metric = "cosine"
) -> NDArray[np.float32]:
    """Vectors as they are stored: contiguous (N, D) float32, of unit length if the metric is "cosine".

    Raises:
        ValueError: another shape or type, or a row that is not finite or has the wrong length.
    """
    if vectors.ndim != 2 or vectors.dtype != np.float32 or vectors.shape[1] == 0 or dim not in (None, vectors.shape[1]):
        raise ValueError(f"{name} must be (N, {dim or 'D'}) float32, got {vectors.shape} {vectors.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = norms(vectors)
    if metric == "inner_product":
        wrong = np.flatnonzero(~np.isfinite(lengths))
        if len(wrong):
            raise ValueError(
                f"{name} must be finite: {len(wrong)} of {len(vectors)} are not, the first is row {wrong[0]}"
            )
        return np.ascontiguousarray(vectors)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT_TOLERANCE))  # also true for NaN
    if len(wrong):
        raise ValueError(
            f"{name} must have unit length: {len(wrong)} of {len(vectors)} have not, the first is row {wrong[0]} "
            f"of length {lengths[wrong[0]]:.4g}; divide each by its norm"
        )
    return np.ascontiguousarray(vectors)


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Refuse an option that isn't one of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def check_info(info: Mapping[str, Any], **actual: Any) -> tuple[str, dict[str, Any]]:
    """The model's digest and the rest of what the user wants to keep.

    Args:
        info: as given.
        actual: facts that `info` may repeat but not contradict.

    Raises:
        ValueError: no digest, a contradiction, or values that JSON can't hold.
    """
    rest = dict(info)
    digest = rest.pop("model_digest", None)
    if not isinstance(digest, str) or not digest:
        raise ValueError(
            f"info must hold 'model_digest', the digest of the model that made the vectors, got {digest!r}"
        )
    for key, value in actual.items():
        if rest.pop(key, value) != value:
            raise ValueError(f"info says {key} is {info[key]!r}, these vectors have {value!r}")
    try:
        json.dumps(rest, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"info can't be written as JSON ({error}); use plain values") from error
    return digest, rest
