"""The index interface on Milvus: an embedded file (milvus-lite), or a server for those who outgrow one machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.index.contents import check_vectors
from signwave.index.hits import Hits
from signwave.index.interface import Metric, TokenBlock, TokenType, Where
from signwave.index.milvus import writing
from signwave.index.milvus.generations import building, current_name, open_current
from signwave.index.milvus.place import Place, asking, connect, disconnect
from signwave.index.milvus.rows import ROW_FIELDS, key_of
from signwave.index.milvus.search import search
from signwave.index.milvus.table import Stored, Table
from signwave.index.rows import Payload, check_rows
from signwave.index.tokens import Encoded, gather


class MilvusIndex:
    """Vectors of one model with ids, payloads and tokens, in a Milvus collection.

    Unlike an index folder, an open index is no snapshot: it sees every finished write at once. Rows are primary keys
    and stay valid as long as their id is there. Single rows are replaced whole or not at all; an addition of many rows
    that is cut short leaves the first ones. One process may write at a time (milvus-lite: one may open the file).
    """

    def __init__(self, place: Place, client: Any, table: Table, *, expect_model: str | None) -> None:
        """Use `MilvusIndex.build` or `MilvusIndex.open`."""
        self.place = place
        self._client = client
        self._table = table
        self._expect_model = expect_model

    @classmethod
    def build(
        cls,
        place: str | Place,
        vectors: NDArray[np.float32],
        ids: Sequence[str],
        payload: Sequence[Payload],
        *,
        info: Mapping[str, Any],
        kind: writing.MilvusKind = "auto",
        metric: Metric = "cosine",
        tokens: Iterable[NDArray[Any]] | None = None,
        token_dtype: TokenType = "float16",
    ) -> MilvusIndex:
        """Write an index; one that is there already is replaced as a whole, at once, when the new one is complete.

        Args:
            place: "milvus:FILE.db" or "milvus:http(s)://HOST:PORT", "#NAME" behind it for another collection.
            vectors: (N, D) float32, unit length if the metric is "cosine".
            ids: N unique texts.
            payload: N dicts of plain values, at most 65,000 bytes as JSON.
            info: must hold "model_digest"; the rest is kept.
            kind: "flat" is exact; "auto" is flat below 10,000 rows, then hnsw.
            metric: "cosine" or "inner_product".
            tokens: N matrices (M, D'), kept as `token_dtype`.
            token_dtype: how tokens are kept.
        """
        vectors = check_vectors(vectors, name="vectors", metric=metric)
        check_rows(ids, payload, count=len(vectors))
        header = writing.new_header(
            dim=vectors.shape[1],
            count=len(vectors),
            metric=metric,
            kind=kind,
            info=info,
            token_dtype=None if tokens is None else token_dtype,
        )
        return cls.build_from(place, writing.batches(vectors, ids, payload, tokens), header)

    @classmethod
    def build_from(cls, place: str | Place, batches: Iterable[writing.Batch], header: Mapping[str, Any]) -> MilvusIndex:
        """Like `build`, from batches that need not fit into memory together.

        Args:
            place: as in `build`.
            batches: rows; ids are unique over all.
            header: made by `milvus_writing.new_header`.
        """
        where = place if isinstance(place, Place) else Place.parse(place)
        client = connect(where)
        try:
            with building(where, client, header) as table:
                for batch in batches:
                    writing.add(table, batch, settle=False)
        except BaseException:
            disconnect(where, client)
            raise
        return cls(where, client, table, expect_model=None)

    @classmethod
    def open(cls, place: str | Place, *, expect_model: str | None = None) -> MilvusIndex:
        """Open an index.

        Args:
            place: as in `build`.
            expect_model: digest of the model that will embed the queries; another one in the index is an error.
        """
        where = place if isinstance(place, Place) else Place.parse(place)
        if where.is_embedded and not Path(where.uri).exists():
            raise ArtefactError(f"{where}: no index here (no such file); build one first")
        client = connect(where)
        try:
            table = open_current(where, client)
            require_model(where, table, expect_model)
        except BaseException:
            disconnect(where, client)
            raise
        return cls(where, client, table, expect_model=expect_model)

    @staticmethod
    def exists(place: str | Place) -> bool:
        """True if there is an index."""
        where = place if isinstance(place, Place) else Place.parse(place)
        if where.is_embedded and not Path(where.uri).exists():
            return False
        client = connect(where)
        try:
            return current_name(where, client) is not None
        finally:
            disconnect(where, client)

    def close(self) -> None:
        """Close the connection; with the last one an embedded file is free for other processes."""
        disconnect(self.place, self._client)

    def __enter__(self) -> MilvusIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._table.count()

    @property
    def ids(self) -> list[str]:
        """All ids in the order in which they were written; reads the whole collection."""
        found = [(row["version"], row["id"]) for rows in self._table.scan("", ["id", "version"]) for row in rows]
        return [identity for _, identity in sorted(found)]

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return int(self._table.header["dim"])

    @property
    def metric(self) -> Metric:
        """How vectors are compared."""
        metric: Metric = self._table.header["metric"]
        return metric

    @property
    def has_tokens(self) -> bool:
        """True if token matrices are stored."""
        return self._table.token_dtype is not None

    def search(self, queries: NDArray[np.float32], k: int, *, where: Where | None = None) -> Hits:
        """Find the nearest neighbours; scores and order are those of the FAISS index.

        Args:
            queries: (Q, D) float32, unit length if the metric is "cosine".
            k: neighbours wanted; K = min(k, rows that pass the filter).
            where: a filter on payloads. A function, and what Milvus can't compare exactly, reads every row.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        queries = check_vectors(queries, name="queries", dim=self.dim, metric=self.metric)
        return search(self._table, queries, k, where)

    def id_of(self, row: int) -> str:
        """Id of a row."""
        return str(self._rows([row], ["id"])[0]["id"])

    def row_of(self, identity: str) -> int | None:
        """Row of an id, None if it isn't there."""
        return key_of(identity) if self._table.fetch([key_of(identity)], ["id"]) else None

    def payload(self, row: int) -> Payload:
        """What was stored with a row."""
        return self.payloads([row])[0]

    def payloads(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Payload]:
        """What was stored with some rows, in their order."""
        return [dict(row["payload"]) for row in self._rows(rows, ["payload"])]

    def vector(self, row: int) -> NDArray[np.float32]:
        """Vector of a row: (D,) float32."""
        return np.array(self._rows([row], ["vector"])[0]["vector"], dtype=np.float32)

    def tokens(self, row: int) -> NDArray[Any]:
        """Token matrix of a row: (M, D') float16, or float32."""
        return _matrix(self._table.read_tokens(self._rows([row]))[0])

    def token_block(self, rows: Sequence[int] | NDArray[np.int64]) -> TokenBlock:
        """Token matrices of some rows in one call, one after the other."""
        found = self._table.read_tokens(self._rows(rows))
        lengths = np.array([len(tokens.data) for tokens in found], dtype=np.int64)
        width = max((tokens.data.shape[1] for tokens in found), default=1)
        return TokenBlock(gather(found, width), lengths)

    def read_batch(self, ids: Sequence[str], *, with_tokens: bool = True) -> writing.Batch:
        """Some rows by id, everything that was stored, in two requests.

        Args:
            ids: wanted, in this order; all must be there.
            with_tokens: False leaves tokens out.
        """
        rows = self._rows([key_of(identity) for identity in ids], [*ROW_FIELDS, "vector"])
        vectors = np.array([row["vector"] for row in rows], dtype=np.float32).reshape(-1, self.dim)
        tokens = [_matrix(each) for each in self._table.read_tokens(rows)] if with_tokens and self.has_tokens else None
        return writing.Batch(vectors, ids, [dict(row["payload"]) for row in rows], tokens)

    def add(
        self,
        vectors: NDArray[np.float32],
        ids: Sequence[str],
        payload: Sequence[Payload],
        *,
        tokens: Sequence[NDArray[Any]] | None = None,
    ) -> None:
        """Add rows; the arguments are those of `build`. An id that is there already is an error, and nothing changes.

        Raises:
            ArtefactError: an id is there, or Milvus can't keep a row.
        """
        writing.add(self._table, writing.Batch(vectors, ids, payload, tokens))

    def upsert(
        self,
        vectors: NDArray[np.float32],
        ids: Sequence[str],
        payload: Sequence[Payload],
        *,
        tokens: Sequence[NDArray[Any]] | None = None,
    ) -> None:
        """Add rows, or replace those that are there, whole, with payload and tokens; they move to the end of `ids`."""
        writing.upsert(self._table, writing.Batch(vectors, ids, payload, tokens))

    def delete(self, ids: Iterable[str], *, missing_ok: bool = False) -> int:
        """Delete rows by id and return how many were deleted.

        Args:
            ids: which ones.
            missing_ok: False makes an id that isn't there an error, before anything is deleted.
        """
        return writing.delete(self._table, ids, missing_ok=missing_ok)

    def compact(self) -> None:
        """Drop parts that a killed writer left, seal what was written, and have segments merged."""
        self._table.sweep_parts()
        self._table.settle(always=True)
        self._table.compact()

    def refresh(self) -> bool:
        """Move to the newest generation (another build replaced this one); True if there was a newer one."""
        if current_name(self.place, self._client) == self._table.name:
            return False
        table = open_current(self.place, self._client)
        require_model(self.place, table, self._expect_model)
        self._table = table
        return True

    def info(self) -> dict[str, Any]:
        """Plain values: size, dimension, kind, model, versions, and what was given as `info` to `build`."""
        with asking(self.place):
            server = str(self._client.get_server_version())
        return {
            **self._table.header,
            "n": len(self),
            "backend": "milvus",
            "place": str(self.place),
            "collection": self._table.name,
            "server": server,
        }

    def verify(self) -> dict[str, Any]:
        """Read every row again and compare it with its checksum; returns `info()` and the number of stray parts.

        Raises:
            ArtefactError: a row is damaged, incomplete or counted wrongly; the message names it.
        """
        stray = writing.verify(self._table)
        return {**self.info(), "stray_parts": stray}

    def _rows(self, rows: Sequence[int] | NDArray[np.int64], fields: Sequence[str] = ROW_FIELDS) -> list[Stored]:
        keys = [int(row) for row in rows]
        found = self._table.fetch(sorted(set(keys)), fields)
        missing = [key for key in keys if key not in found]
        if missing:
            raise ValueError(f"row {missing[0]} is not in {self.place}; rows come from search or row_of")
        return [found[key] for key in keys]


def _matrix(tokens: Encoded) -> NDArray[Any]:
    """Stored tokens as numbers: (M, D') float16 or float32."""
    return tokens.data if tokens.scales is None else tokens.data.astype(np.float32) * tokens.scales[:, None]


def require_model(place: Place, table: Table, expected: str | None) -> None:
    """Refuse an index of another model than the one expected."""
    found = table.header["model_digest"]
    if expected is not None and found != expected:
        raise ArtefactError(
            f"{place}: its vectors were made by the model {found}, the queries come from the model {expected}; "
            "use the model of the index, or build the index again with this one"
        )
