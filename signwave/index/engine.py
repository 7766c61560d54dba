"""The FAISS types that are used, the space in which they work, and the rules for reading one from a file."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.index.contents import blocks
from signwave.index.interface import Metric

Kind = Literal["flat", "hnsw", "ivf_sq8", "ivf_fastscan"]
Approximate = Literal["hnsw", "ivf_sq8", "ivf_fastscan"]
KINDS: tuple[Kind, ...] = ("flat", "hnsw", "ivf_sq8", "ivf_fastscan")

_FOURCC: dict[str, bytes] = {"hnsw": b"IHNf", "ivf_sq8": b"IwSq", "ivf_fastscan": b"IwPf"}
_CLASS = {"hnsw": "IndexHNSWFlat", "ivf_sq8": "IndexIVFScalarQuantizer", "ivf_fastscan": "IndexIVFPQFastScan"}
_NUM_LINKS = 32  # HNSW: neighbours of each vector, 8 bytes each
_BUILD_DEPTH = 80
_MOST_DEPTH = 2048
_MIN_VECTORS_PER_LIST = 39  # fewer make poor centroids; FAISS warns below it
_TRAINED_VECTORS_PER_LIST = 64
_TRAINED_CODES = 1 << 14
_FINE_UP_TO = 256  # numbers in a vector; longer ones get 4 bits for every fourth number, not for every second


class Candidates(NamedTuple):
    """Rows that may be among the best.

    Attributes:
        rows: (Q, C) int64, -1 where there are fewer.
        scores: (Q, C) float32, inner products as FAISS computed or estimated them, falling.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True)
class Space:
    """Where FAISS compares: unit vectors by inner product, whatever the metric of the index.

    Vectors of any length get one more number that brings them to the same length (and are divided by the longest), so
    that k-means and graphs see no vector that is near to everything; the order of inner products stays. Zeros bring
    the width to a multiple of 4.

    Attributes:
        dim: numbers in a vector.
        metric: of the index.
        longest: length of the longest vector; 1 for "cosine".
    """

    dim: int
    metric: Metric
    longest: float

    @property
    def width(self) -> int:
        """Numbers in a vector as FAISS sees it."""
        return -4 * (-(self.dim + (self.metric == "inner_product")) // 4)

    def of_vectors(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Stored vectors (N, dim) as (N, width) float32."""
        wide = np.zeros((len(vectors), self.width), dtype=np.float32)
        wide[:, : self.dim] = vectors
        if self.metric == "inner_product" and self.longest > 0:
            wide /= np.float32(self.longest)
            squares = np.einsum("nd,nd->n", wide, wide)
            wide[:, self.dim] = np.sqrt(np.maximum(0, 1 - squares))
        return wide

    def of_queries(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Queries (Q, dim) as (Q, width) float32; their length is no part of the order."""
        wide = np.zeros((len(queries), self.width), dtype=np.float32)
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)
        wide[:, : self.dim] = queries / np.maximum(lengths, np.finfo(np.float32).tiny)
        return wide


def faiss() -> Any:
    """The FAISS module, imported when it is first needed."""
    import faiss as library

    return library


def num_lists(count: int) -> int:
    """Clusters for so many vectors."""
    return max(1, min(2 * math.isqrt(count), count // _MIN_VECTORS_PER_LIST))


def train_lists(vectors: NDArray[np.float32], space: Space, *, held_out: NDArray[np.int64]) -> tuple[Any, Any]:
    """Find the clusters that every IVF type of these vectors shares.

    Args:
        vectors: (N, dim) float32.
        space: where FAISS compares.
        held_out: rows that are left out of the training.

    Returns:
        The FAISS index of centroids, and the training vectors (n, width) float32.
    """
    library = faiss()
    lists = num_lists(len(vectors))
    allowed = np.setdiff1d(np.arange(len(vectors)), held_out)
    size = min(len(allowed), _TRAINED_VECTORS_PER_LIST * lists)
    rows = np.sort(np.random.default_rng(0).choice(allowed, size, replace=False))
    sample = space.of_vectors(vectors[rows])
    coarse = library.IndexFlatIP(space.width)
    trainer = library.IndexIVFFlat(coarse, space.width, lists, library.METRIC_INNER_PRODUCT)
    trainer.cp.min_points_per_centroid = 1
    trainer.train(sample)
    return coarse, sample


def create(vectors: NDArray[np.float32], space: Space, *, kind: Approximate, lists: tuple[Any, Any] | None) -> Any:
    """Make a FAISS index of vectors (N, dim).

    Args:
        vectors: (N, dim) float32, read in blocks.
        space: where FAISS compares.
        kind: "hnsw" walks a graph; "ivf_sq8" looks into the nearest clusters of vectors kept as bytes; "ivf_fastscan"
            of vectors kept as 4-bit codes that are compared in registers.
        lists: what `train_lists` returned, not for "hnsw".
    """
    library = faiss()
    width, product = space.width, library.METRIC_INNER_PRODUCT
    if kind == "hnsw" or lists is None:
        index = library.IndexHNSWFlat(width, _NUM_LINKS, product)
        index.hnsw.efConstruction = _BUILD_DEPTH
    else:
        coarse, sample = lists
        if kind == "ivf_sq8":
            bytes_each = library.ScalarQuantizer.QT_8bit
            index = library.IndexIVFScalarQuantizer(coarse, width, coarse.ntotal, bytes_each, product)
        else:
            parts = width // (2 if width <= _FINE_UP_TO else 4)
            index = library.IndexIVFPQFastScan(coarse, width, coarse.ntotal, parts, 4, product)
            index.by_residual = True  # not the default; as fast, and more exact
            index.pq.cp.min_points_per_centroid = 1
        index.train(sample[:: max(1, len(sample) // _TRAINED_CODES)])  # the clusters are known; codes learn from fewer
    for block in blocks(vectors):
        index.add(space.of_vectors(block))
    return index


def write(index: Any, path: Path) -> None:
    """Write an index file; a failure leaves a part of it, so write where nobody reads yet."""
    library = faiss()
    try:
        # Through Python's file: FAISS's own writer only prints when the last buffer doesn't fit on the disk.
        with open(path, "wb") as file:
            library.write_index(index, library.PyCallbackIOWriter(file.write))
    except (OSError, RuntimeError) as error:
        raise ArtefactError(
            f"{path.name}: can't be written ({_first_line(error)}); the previous index is untouched; make room"
        ) from error


def read(path: Path, *, kind: str, count: int, width: int) -> Any:
    """Read an index file whose checksum was verified, and check that it is what the manifest says.

    FAISS trusts what it reads, so the type is compared with the one expected before it sees the file.
    """
    with open(path, "rb") as file:
        fourcc = file.read(4)
    if kind not in _FOURCC or fourcc != _FOURCC[kind]:
        raise ArtefactError(f"{path}: starts with {fourcc!r}, which is no {kind!r} index; build it again")
    library = faiss()
    try:
        # FAISS makes a table of sums for 4-bit codes when it reads them, which may be larger than the file.
        table_bytes = 64 * num_lists(count) * width + 8 if kind == "ivf_fastscan" else 0
        with _limited(library, max(path.stat().st_size, table_bytes)):
            # Already of its own class: downcasting here would leave a pointer into an object that Python frees.
            index = library.read_index(str(path))
    except RuntimeError as error:
        raise ArtefactError(f"{path}: FAISS can't read it ({_first_line(error)}); build the index again") from error
    found = (type(index).__name__, index.ntotal, index.d, index.metric_type)
    if found != (_CLASS[kind], count, width, library.METRIC_INNER_PRODUCT):
        raise ArtefactError(f"{path}: is {found}, the manifest says {kind}, {count} vectors of {width}; build it again")
    return index


@contextlib.contextmanager
def _limited(library: Any, num_bytes: int) -> Iterator[None]:
    """Let no length that a file claims exceed a number of bytes, so that a forged one can't ask for all memory."""
    settings = ("vector_byte_limit", "loop_limit")
    before = [getattr(library, f"get_deserialization_{name}")() for name in settings]
    try:
        for name in settings:
            getattr(library, f"set_deserialization_{name}")(num_bytes)
        yield
    finally:
        for name, value in zip(settings, before, strict=True):
            getattr(library, f"set_deserialization_{name}")(value)


def most_effort(index: Any) -> int:
    """The effort above which more is not worth it: all clusters there are, or the depth of a walk as slow as a scan."""
    return int(getattr(index, "nlist", min(index.ntotal, _MOST_DEPTH)))


def nearest(index: Any, wide_queries: NDArray[np.float32], count: int, *, effort: int) -> Candidates:
    """Ask FAISS for candidates. It gets no selector: some types refuse it, some find little with it.

    Args:
        index: made by `create` or `read`.
        wide_queries: (Q, width) float32.
        count: candidates for each query, at most the size of the index.
        effort: clusters to look into, or for "hnsw" the depth of the walk.
    """
    library = faiss()
    if isinstance(index, library.IndexHNSW):
        parameters = library.SearchParametersHNSW(efSearch=max(effort, count))
    else:
        parameters = library.SearchParametersIVF(nprobe=min(effort, index.nlist))
    scores, found = index.search(wide_queries, count, params=parameters)
    return Candidates(found.astype(np.int64, copy=False), scores)


def _first_line(error: Exception) -> str:
    # FAISS puts its own source path into messages; the part after "Error: " is what is wrong.
    return str(error).splitlines()[0].split("Error: ")[-1][:200]
