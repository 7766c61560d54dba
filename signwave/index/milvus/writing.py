"""Writing to an index in Milvus: what is refused before anything is sent, the order of writes, and checking it all."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from signwave import __version__
from signwave.errors import ArtefactError
from signwave.index.contents import check_choice, check_info, check_vectors
from signwave.index.interface import Metric, TokenType
from signwave.index.milvus.rows import ROW_FIELDS, Row, checksum, key_of, plain_payload
from signwave.index.milvus.schema import INDEX_TYPES
from signwave.index.milvus.table import Stored, Table, slices
from signwave.index.rows import Payload, check_rows
from signwave.index.tokens import encode

MilvusKind = Literal["auto", "flat", "hnsw", "ivf_sq8"]
BATCH_ROWS = 500

_FLAT_BELOW = 10_000


@dataclass(frozen=True)
class Batch:
    """Rows to be written: vectors (N, D) float32, N ids, N payloads, and N token matrices (M, D') or None."""

    vectors: NDArray[np.float32]
    ids: Sequence[str]
    payload: Sequence[Payload]
    tokens: Sequence[NDArray[Any]] | None


def batches(
    vectors: NDArray[np.float32],
    ids: Sequence[str],
    payload: Sequence[Payload],
    tokens: Iterable[NDArray[Any]] | None,
) -> Iterator[Batch]:
    """Rows in batches; tokens are taken as they come, so they need not fit into memory."""
    matrices = None if tokens is None else iter(tokens)
    for start in range(0, len(ids), BATCH_ROWS):
        span = slice(start, start + BATCH_ROWS)
        some = ids[span]
        of_rows = None if matrices is None else list(itertools.islice(matrices, len(some)))
        yield Batch(vectors[span], some, payload[span], of_rows)
    if matrices is not None and next(matrices, None) is not None:
        raise ValueError(f"got more token matrices than {len(ids)} rows; give one a row")


def new_header(
    *,
    dim: int,
    count: int,
    metric: Metric,
    kind: MilvusKind,
    info: Mapping[str, Any],
    token_dtype: TokenType | None,
) -> dict[str, Any]:
    """What an index says about itself.

    Args:
        dim: numbers in a vector.
        count: rows to come, from which "auto" chooses.
        metric: "cosine" or "inner_product".
        kind: "flat" is exact; "auto" is flat below 10,000 rows, then hnsw.
        info: must hold "model_digest"; the rest is kept.
        token_dtype: how tokens are kept, None for an index without.
    """
    check_choice("kind", kind, ("auto", *INDEX_TYPES))
    if token_dtype is not None:
        check_choice("token_dtype", token_dtype, get_args(TokenType))
    digest, rest = check_info(info, dim=dim, metric=metric)
    automatic = "flat" if count < _FLAT_BELOW else "hnsw"
    return {
        "dim": dim,
        "metric": metric,
        "kind": automatic if kind == "auto" else kind,
        "requested_kind": kind,
        "token_dtype": token_dtype,
        "model_digest": digest,
        "info": rest,
        "versions": {"signwave": __version__, "numpy": np.__version__},
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def add(table: Table, batch: Batch, *, settle: bool = True) -> None:
    """Write rows whose ids must not be there; what was sent is taken back if Milvus fails on the way.

    Args:
        table: where to.
        batch: what.
        settle: have them sealed at once; a build does it at its end.
    """
    rows = _rows(table, batch)
    there = _stored(table, [row.id for row in rows])
    if there:
        first = next(row.id for row in rows if row.key in there)
        raise ArtefactError(
            f"{table.place}: {len(there)} of these ids are in the index, the first is {first!r}; nothing was added; "
            "use upsert to replace them"
        )
    try:
        table.insert(rows)
    except BaseException:
        with contextlib.suppress(ArtefactError):
            table.delete([row.key for row in rows])
            table.delete_parts([row.fields() for row in rows])
        raise
    if settle:
        table.settle()


def upsert(table: Table, batch: Batch) -> None:
    """Write rows; those that are there are replaced."""
    rows = _rows(table, batch)
    there = _stored(table, [row.id for row in rows])
    table.insert(rows, replace=True)
    table.delete_parts(list(there.values()))
    table.settle()


def delete(table: Table, ids: Iterable[str], *, missing_ok: bool) -> int:
    """Delete rows by id; the number deleted."""
    unwanted = list(dict.fromkeys(ids))
    there = _stored(table, unwanted)
    missing = sorted(identity for identity in unwanted if key_of(identity) not in there)
    if missing and not missing_ok:
        raise ArtefactError(
            f"{table.place}: {len(missing)} ids are not in the index, the first is {missing[0]!r}; nothing was deleted"
        )
    table.delete(list(there))
    table.delete_parts(list(there.values()))
    return len(there)


def verify(table: Table) -> int:
    """Compare every row with its checksum; returns how many parts belong to no row.

    Raises:
        ArtefactError: a row is damaged, incomplete or counted wrongly; the message names it.
    """
    fields = (*ROW_FIELDS, "vector")
    num_rows = 0
    known: set[tuple[int, int]] = set()
    for batch in table.scan("", fields):
        for some in slices(batch, BATCH_ROWS):
            _verify_rows(table, some)
        num_rows += len(batch)
        known.update((row["key"], row["version"]) for row in batch)
    if not len(known) == num_rows == table.count():
        raise ArtefactError(
            f"{table.place}: {num_rows} rows with {len(known)} keys were read, Milvus counts {table.count()}; "
            "compact the index or move it again"
        )
    return len(table.stray_parts(known))


def _verify_rows(table: Table, rows: Sequence[Stored]) -> None:
    matrices = [None] * len(rows) if table.token_dtype is None else table.read_tokens(rows)
    for row, tokens in zip(rows, matrices, strict=True):
        vector = np.asarray(row["vector"], dtype=np.float32)
        is_sound = row["key"] == key_of(row["id"]) and row["checksum"] == checksum(
            row["id"], vector, row["payload"], tokens
        )
        if not is_sound:
            raise ArtefactError(
                f"{table.place}: the row of {row['id']!r} does not match its checksum: it is damaged, or something "
                "else changed it; write it again with upsert"
            )


def _stored(table: Table, ids: Sequence[str]) -> dict[int, Stored]:
    """Rows of these ids that are there, by key.

    Raises:
        ArtefactError: another id has the same key, which one pair in 10¹⁹ has.
    """
    by_key = {key_of(identity): identity for identity in ids}
    if len(by_key) < len(set(ids)):
        raise ArtefactError(f"{table.place}: two of the {len(ids)} ids have the same key; rename one of them")
    found = table.fetch(list(by_key))
    for key, row in found.items():
        if row["id"] != by_key[key]:
            raise ArtefactError(
                f"{table.place}: the ids {by_key[key]!r} and {row['id']!r} have the same key; rename one of them"
            )
    return found


def _rows(table: Table, batch: Batch) -> list[Row]:
    """Rows as they are written.

    Raises:
        ValueError: shapes, types or numbers that don't fit each other or the index.
        ArtefactError: Milvus can't keep a row.
    """
    header = table.header
    vectors = check_vectors(batch.vectors, name="vectors", dim=header["dim"], metric=header["metric"])
    check_rows(batch.ids, batch.payload, count=len(vectors))
    tokens, has_tokens = batch.tokens, table.token_dtype is not None
    if (tokens is not None) != has_tokens:
        held = "holds" if has_tokens else "does not hold"
        raise ValueError(f"this index {held} tokens, so every addition must {'' if has_tokens else 'not '}too")
    if tokens is not None and len(tokens) != len(vectors):
        raise ValueError(f"got {len(tokens)} token matrices for {len(vectors)} rows; give one a row")
    version = time.time_ns()
    width = None if tokens is None else table.token_dim()
    rows = []
    for place, identity in enumerate(batch.ids):
        encoded = None
        if tokens is not None:
            encoded = encode(tokens[place], header["token_dtype"], row=place)
            if width not in (None, encoded.data.shape[1]):
                raise ValueError(f"tokens of row {place} must be (M, {width}), got {encoded.data.shape}")
            width = encoded.data.shape[1]
        payload = plain_payload(identity, batch.payload[place])
        rows.append(Row(identity, vectors[place], payload, encoded, version + place))
    return rows
