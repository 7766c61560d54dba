"""A segment: rows written at once into a folder that never changes again; written from sources, and opened.

vectors.npy      (N, D) float32, exact, memory-mapped
vectors.faiss    codes of the approximate types
queries.npy      (Q, D) float32, queries like those to come, with which the type is chosen again when compacting
rows.arrow, payload.jsonl, tokens.npy, …    see `row_table` and `tokens`
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.index import engine, tuning
from signwave.index.contents import norms
from signwave.index.engine import Space
from signwave.index.files import check_files, read_array, write_array
from signwave.index.interface import Metric, Payload, TokenType
from signwave.index.row_table import PAYLOAD_NAME, RowTable, write_rows
from signwave.index.tokens import SCALES_NAME, TOKENS_NAME, Encoded, TokenStore, write_tokens

VECTORS_NAME = "vectors.npy"
FAISS_NAME = "vectors.faiss"
QUERIES_NAME = "queries.npy"

_BULK = frozenset((VECTORS_NAME, TOKENS_NAME, SCALES_NAME, PAYLOAD_NAME))
_BULK_CHECKED_BYTES = (
    1 << 26
)  # bulk files up to this size are hashed at every opening: it takes less than a tenth second


@dataclass(frozen=True)
class Common:
    """What all segments of an index share.

    Attributes:
        dim: numbers in a vector.
        metric: how they are compared.
        token_dtype: how tokens are kept, None if there are none.
    """

    dim: int
    metric: Metric
    token_dtype: TokenType | None


@dataclass(frozen=True)
class Source:
    """Rows to be written.

    Attributes:
        ids: N texts.
        payload: N dicts, read once.
        vectors: makes an iterator of blocks (n, D) float32, N rows in all.
        tokens: N encoded matrices, or None.
    """

    ids: Sequence[str]
    payload: Iterable[Payload]
    vectors: Callable[[], Iterator[NDArray[np.float32]]]
    tokens: Iterable[Encoded] | None


@dataclass(frozen=True)
class Segment:
    """A segment that is open; what it maps stays readable after its folder was deleted.

    Attributes:
        entry: what the manifest says about it.
        space: where FAISS compares.
        vectors: (N, D) float32.
        rows: ids and payloads.
        tokens: token matrices, or None.
        faiss_index: codes, None for "flat".
        efforts: measured when it was written.
        queries: (Q, D) float32, or None.
    """

    entry: Mapping[str, Any]
    space: Space
    vectors: NDArray[np.float32]
    rows: RowTable
    tokens: TokenStore | None
    faiss_index: Any
    efforts: tuple[tuning.Effort, ...]
    queries: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.vectors)


def write_segment(
    folder: Path,
    entry: dict[str, Any],
    sources: Sequence[Source],
    common: Common,
    *,
    kind: tuning.KindChoice,
    queries: NDArray[np.float32] | None,
    candidates: int,
    token_dim: int | None,
) -> None:
    """Write the files of a segment, and add the facts that open it again to its manifest entry.

    Args:
        folder: where the files go.
        entry: has the name already.
        sources: rows, in order; at least one in all.
        common: what all segments share.
        kind: which type is wanted.
        queries: (Q, D) float32, kept and used to choose.
        candidates: neighbours that a later stage will look at.
        token_dim: D' of the tokens that the index has already, None if any will do.
    """
    ids = [identity for source in sources for identity in source.ids]
    longest = _write_vectors(folder / VECTORS_NAME, sources, (len(ids), common.dim))
    vectors = read_array(folder / VECTORS_NAME, dtype=np.float32, shape=(len(ids), common.dim))
    longest = 1.0 if common.metric == "cosine" else longest
    space = Space(common.dim, common.metric, longest)
    choice = tuning.choose(vectors, space, kind=kind, queries=queries, candidates=candidates)
    if choice.index is not None:
        engine.write(choice.index, folder / FAISS_NAME)
    if queries is not None:
        write_array(folder / QUERIES_NAME, queries)
    write_rows(folder, ids, itertools.chain.from_iterable(source.payload for source in sources))
    if common.token_dtype is not None:
        tokens = itertools.chain.from_iterable(source.tokens or () for source in sources)
        entry["token_dim"] = write_tokens(folder, tokens, count=len(ids), dim=token_dim)
    entry.update(
        rows=len(ids),
        dead=0,
        kind=choice.kind,
        longest=longest,
        efforts=[vars(effort) for effort in choice.efforts],
        choice=choice.facts,
    )


def _write_vectors(path: Path, sources: Sequence[Source], shape: tuple[int, int]) -> float:
    """Write all vectors in blocks; returns the length of the longest."""
    longest = 0.0
    with open(path, "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in itertools.chain.from_iterable(source.vectors() for source in sources):
            file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())
            longest = max(longest, float(norms(block).max(initial=0)))
    return longest


def open_segment(folder: Path, entry: Mapping[str, Any], common: Common, *, check_bulk: bool | None) -> Segment:
    """Open a segment after comparing its files with their checksums.

    Args:
        folder: the segment's.
        entry: what the manifest says about it.
        common: what all segments share.
        check_bulk: hash vectors, tokens and payloads (True), compare only their sizes (False), or hash those up to
            64 MiB (None). All other files are always hashed.

    Raises:
        ArtefactError: a file is damaged; the message names it.
    """
    skipped = {
        name
        for name in _BULK & entry["files"].keys()
        if check_bulk is False or (check_bulk is None and entry["files"][name]["bytes"] > _BULK_CHECKED_BYTES)
    }
    check_files(folder, entry["files"], skip=skipped)
    try:
        count, kind, efforts = entry["rows"], entry["kind"], tuple(tuning.Effort(**e) for e in entry["efforts"])
        space = Space(common.dim, common.metric, entry["longest"])
    except (KeyError, TypeError) as error:
        raise ArtefactError(f"{folder}: its manifest lacks {error}; build the index again") from error
    vectors = read_array(folder / VECTORS_NAME, dtype=np.float32, shape=(count, common.dim))
    return Segment(
        entry,
        space,
        vectors,
        RowTable(folder, count=count),
        None if common.token_dtype is None else TokenStore(folder, count=count, token_dtype=common.token_dtype),
        None if kind == "flat" else engine.read(folder / FAISS_NAME, kind=kind, count=count, width=space.width),
        efforts,
        read_array(folder / QUERIES_NAME, dtype=np.float32, shape=(None, common.dim))
        if QUERIES_NAME in entry["files"]
        else None,
    )
