"""The three kinds of FAISS index used, and the rules for reading one from a file."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError

Kind = Literal["flat", "hnsw", "ivf_sq8"]
KINDS: tuple[Kind, ...] = ("flat", "hnsw", "ivf_sq8")

_FOURCC: dict[Kind, bytes] = {"flat": b"IxFI", "hnsw": b"IHNf", "ivf_sq8": b"IwSq"}
_CLASS: dict[Kind, str] = {"flat": "IndexFlatIP", "hnsw": "IndexHNSWFlat", "ivf_sq8": "IndexIVFScalarQuantizer"}
_NUM_LINKS = 32  # HNSW: neighbours of each vector, 8 bytes each
_BUILD_DEPTH = 80
_MIN_VECTORS_PER_LIST = 39  # fewer make poor centroids; FAISS warns below it
_ROUNDING = 1e-5  # float32 inner products of unit vectors differ by less, whatever the order of summation
_MAX_CANDIDATES = 1 << 22  # asked for at once: 50 MB of rows and scores
_MAX_ROWS_EXACT = 50_000  # a filter that keeps fewer is answered by comparing with all of them


class Candidates(NamedTuple):
    """Rows that may be among the best.

    Attributes:
        rows: (Q, C) int64, -1 where there are fewer.
        scores: (Q, C) float32, inner products as FAISS computed or estimated them, falling.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


def faiss() -> Any:
    """The FAISS module, imported when it is first needed."""
    import faiss as library

    return library


def create(vectors: NDArray[np.float32], *, kind: Kind) -> Any:
    """Make a FAISS index for inner products.

    Args:
        vectors: (N, D) float32, unit length.
        kind: "flat" compares with everything and is exact; "hnsw" walks a graph; "ivf_sq8" looks into the nearest
            clusters of vectors kept as bytes.
    """
    library = faiss()
    count, dim = vectors.shape
    if kind == "flat":
        index = library.IndexFlatIP(dim)
    elif kind == "hnsw":
        index = library.IndexHNSWFlat(dim, _NUM_LINKS, library.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BUILD_DEPTH
    else:
        num_lists = max(1, min(4 * math.isqrt(count), count // _MIN_VECTORS_PER_LIST))
        coarse = library.IndexFlatIP(dim)
        bytes_each = library.ScalarQuantizer.QT_8bit
        index = library.IndexIVFScalarQuantizer(coarse, dim, num_lists, bytes_each, library.METRIC_INNER_PRODUCT)
        index.train(vectors)
    index.add(vectors)
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


def read(path: Path, *, kind: Kind, count: int, dim: int) -> Any:
    """Read an index file whose checksum was verified, and check that it is what the manifest says.

    FAISS trusts what it reads, so the type is compared with the one expected before it sees the file.
    """
    with open(path, "rb") as file:
        fourcc = file.read(4)
    if kind not in _FOURCC or fourcc != _FOURCC[kind]:
        raise ArtefactError(f"{path}: starts with {fourcc!r}, which is no {kind!r} index; build it again")
    library = faiss()
    try:
        with _limited(library, path.stat().st_size):
            # Already of its own class: downcasting here would leave a pointer into an object that Python frees.
            index = library.read_index(str(path))
    except RuntimeError as error:
        raise ArtefactError(f"{path}: FAISS can't read it ({_first_line(error)}); build the index again") from error
    found = (type(index).__name__, index.ntotal, index.d, index.metric_type)
    if found != (_CLASS[kind], count, dim, library.METRIC_INNER_PRODUCT):
        raise ArtefactError(f"{path}: is {found}, the manifest says {kind}, {count} vectors of {dim}; build it again")
    return index


@contextlib.contextmanager
def _limited(library: Any, num_bytes: int) -> Iterator[None]:
    """Let no length that a file claims exceed the file, so that a forged one can't ask for all memory."""
    settings = ("vector_byte_limit", "loop_limit")
    before = [getattr(library, f"get_deserialization_{name}")() for name in settings]
    try:
        for name in settings:
            getattr(library, f"set_deserialization_{name}")(num_bytes)
        yield
    finally:
        for name, value in zip(settings, before, strict=True):
            getattr(library, f"set_deserialization_{name}")(value)


def stored_vectors(index: Any) -> NDArray[np.float32]:
    """The vectors of a "flat" or "hnsw" index as they were added: (N, D) float32, a view that needs the index alive."""
    library = faiss()
    flat = library.downcast_index(index.storage) if isinstance(index, library.IndexHNSW) else index
    if flat.ntotal == 0:
        return np.empty((0, index.d), dtype=np.float32)
    view: NDArray[np.float32] = library.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d)
    return view.reshape(flat.ntotal, flat.d)


def nearest(index: Any, queries: NDArray[np.float32], count: int, *, rows: NDArray[np.int64] | None) -> Candidates:
    """Ask FAISS for `count` candidates, among `rows` only if given.

    Args:
        index: made by `create` or `read`.
        queries: (Q, D) float32.
        count: candidates for each query, at most the size of the index.
        rows: (R,) int64, rows allowed; None allows all.
    """
    library = faiss()
    selector = None if rows is None else library.IDSelectorBatch(rows)
    parameters = _search_parameters(library, index, count, selector)
    scores, found = index.search(queries, count, params=parameters)
    return Candidates(found.astype(np.int64, copy=False), scores)


def _search_parameters(library: Any, index: Any, count: int, selector: Any) -> Any:
    if isinstance(index, library.IndexHNSW):
        return library.SearchParametersHNSW(sel=selector, efSearch=max(128, 4 * count))
    if isinstance(index, library.IndexIVF):
        return library.SearchParametersIVF(sel=selector, nprobe=min(index.nlist, max(16, index.nlist // 16)))
    return library.SearchParameters(sel=selector)


def scan_is_better(num_rows: int) -> bool:
    """True if comparing with the rows that a filter keeps is both exact and cheap."""
    return num_rows < _MAX_ROWS_EXACT


def scan(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], count: int, *, rows: NDArray[np.int64]
) -> Candidates:
    """The best candidates among some rows, by matrix products in blocks.

    Args:
        vectors: (N, D) float32, all vectors.
        queries: (Q, D) float32.
        count: candidates for each query, at most the number of rows.
        rows: (R,) int64, rows to compare with.
    """
    block = vectors[rows]
    found, best = [], []
    for start in range(0, len(queries), 64):
        scores = queries[start : start + 64] @ block.T
        kept = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        values = np.take_along_axis(scores, kept, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        found.append(rows[np.take_along_axis(kept, order, axis=1)])
        best.append(np.take_along_axis(values, order, axis=1))
    return Candidates(np.concatenate(found), np.concatenate(best))


def with_ties(
    propose: Callable[[NDArray[np.int64], int], Candidates], *, num_queries: int, k: int, limit: int
) -> list[NDArray[np.int64]]:
    """Candidates of each query that certainly hold the exact best k, also when many scores are equal.

    FAISS rounds differently with the size of a batch and cuts ties anywhere. So more are asked for until the worst is
    clearly below the k-th.

    Args:
        propose: maps (query numbers, count) to candidates, best first, exact but for rounding.
        num_queries: Q.
        k: neighbours wanted, at most limit.
        limit: neighbours there are.
    """
    rows: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)] * num_queries
    open_queries = np.arange(num_queries)
    count = min(limit, k + 8)
    while len(open_queries):
        unclear = []
        step = max(1, _MAX_CANDIDATES // count)
        for start in range(0, len(open_queries), step):
            asked = open_queries[start : start + step]
            candidates = propose(asked, count)
            clear = candidates.scores[:, k - 1] - candidates.scores[:, -1] > _ROUNDING
            done = clear | (count == limit)
            for place in np.flatnonzero(done):
                rows[asked[place]] = candidates.rows[place]
            unclear.append(asked[~done])
        open_queries = np.concatenate(unclear)
        count = min(limit, 4 * count)
    return rows


def _first_line(error: Exception) -> str:
    # FAISS puts its own source path into messages; the part after "Error: " is what is wrong.
    return str(error).splitlines()[0].split("Error: ")[-1][:200]
