"""Opening an index wherever it is, and copying one between an index folder and Milvus, in batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave import command
from signwave.errors import ArtefactError, UserError
from signwave.index.engine import KINDS
from signwave.index.interface import VectorIndex
from signwave.index.milvus.index import MilvusIndex
from signwave.index.milvus.place import PREFIX
from signwave.index.milvus.schema import INDEX_TYPES
from signwave.index.milvus.writing import BATCH_ROWS, Batch, new_header
from signwave.index.store import Index


def is_milvus(location: str | Path) -> bool:
    """True for "milvus:…", False for an index folder."""
    return str(location).startswith(PREFIX)


def open_index(location: str | Path, *, expect_model: str | None = None, check_tokens: bool = True) -> VectorIndex:
    """Open an index folder, or an index in Milvus.

    Args:
        location: a folder, "milvus:FILE.db[#NAME]" or "milvus:http(s)://HOST:PORT[#NAME]".
        expect_model: digest of the model that will embed the queries; another one in the index is an error.
        check_tokens: False compares only the sizes of a folder's token files.
    """
    if is_milvus(location):
        return MilvusIndex.open(str(location), expect_model=expect_model)
    return Index.open(location, expect_model=expect_model, check_tokens=check_tokens)


@contextlib.contextmanager
def closing(index: VectorIndex) -> Iterator[VectorIndex]:
    """Close the connection to Milvus, if the index has one, at the end of the block."""
    try:
        yield index
    finally:
        if isinstance(index, MilvusIndex):
            index.close()


def copy_index(
    source: VectorIndex,
    target: str | Path,
    *,
    kind: Any = "auto",
    replace: bool = False,
    batch_rows: int = BATCH_ROWS,
    quiet: bool = True,
) -> VectorIndex:
    """Copy an index: same ids in the same order, vectors, payloads, tokens, metric, model and info.

    The source stays as it is. The target comes into use when it is complete; a run that is cut short leaves what was
    there. A folder needs memory for all vectors (not for the tokens), Milvus for one batch.

    Args:
        source: any index, open; nobody may change it meanwhile.
        target: where to, as in `open_index`.
        kind: of the target, in its own words; "auto" lets it choose.
        replace: overwrite an index that is there.
        batch_rows: rows read and written at once.
        quiet: no progress on stderr.

    Raises:
        UserError: a kind that the target doesn't have.
        ArtefactError: the target is there already, or the source changed meanwhile.
    """
    kinds = ("auto", *(INDEX_TYPES if is_milvus(target) else KINDS))
    if kind not in kinds:
        raise UserError(f"{target}: no index of kind {kind!r} there; allowed are {', '.join(kinds)}")
    if not replace and _exists(target):
        raise ArtefactError(
            f"{target}: there is an index already; name another place, or pass --replace to overwrite it"
        )
    ids = source.ids
    facts = source.info()
    info = {**facts["info"], "model_digest": facts["model_digest"]}
    token_dtype = facts.get("token_dtype", "float16") if source.has_tokens else None
    spans = [ids[start : start + batch_rows] for start in range(0, len(ids), batch_rows)]
    if is_milvus(target):
        batches = (read_batch(source, some) for some in command.progress(spans, "moving", quiet=quiet))
        header = new_header(
            dim=source.dim, count=len(ids), metric=source.metric, kind=kind, info=info, token_dtype=token_dtype
        )
        return MilvusIndex.build_from(str(target), batches, header)
    vectors = np.empty((len(ids), source.dim), dtype=np.float32)
    payload: list[dict[str, Any]] = []
    for some in command.progress(spans, "moving", quiet=quiet):
        batch = read_batch(source, some, with_tokens=False)
        vectors[len(payload) : len(payload) + len(some)] = batch.vectors
        payload.extend(batch.payload)
    tokens = _tokens(source, command.progress(spans, "moving tokens", quiet=quiet)) if source.has_tokens else None
    options = {} if token_dtype is None else {"token_dtype": token_dtype}
    return Index.build(
        target, vectors, ids, payload, kind=kind, metric=source.metric, info=info, tokens=tokens, **options
    )


def read_batch(source: VectorIndex, ids: Sequence[str], *, with_tokens: bool = True) -> Batch:
    """Some rows of any index by id.

    Args:
        source: the index.
        ids: wanted, in this order.
        with_tokens: False leaves tokens out.
    """
    if isinstance(source, MilvusIndex):
        return source.read_batch(ids, with_tokens=with_tokens)
    rows = []
    for identity in ids:
        row = source.row_of(identity)
        if row is None:
            raise ArtefactError(f"{identity!r} left the index while it was being moved; move it again")
        rows.append(row)
    vectors = np.stack([source.vector(row) for row in rows])
    tokens = [source.tokens(row) for row in rows] if with_tokens and source.has_tokens else None
    return Batch(vectors, ids, source.payloads(rows), tokens)


def _tokens(source: VectorIndex, spans: Iterable[Sequence[str]]) -> Iterator[NDArray[Any]]:
    for some in spans:
        yield from read_batch(source, some).tokens or ()


def _exists(location: str | Path) -> bool:
    if not is_milvus(location):
        return (Path(location) / "CURRENT").exists()
    return MilvusIndex.exists(str(location))
