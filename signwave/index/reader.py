"""Reading an open index: what it holds, and searching it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.index import facts
from signwave.index.contents import check_vectors
from signwave.index.hits import Hits
from signwave.index.interface import Metric, Payload, TokenBlock, Where
from signwave.index.search import search
from signwave.index.snapshot import Snapshot
from signwave.index.tokens import gather

_Rows = Sequence[int] | NDArray[np.int64]


class Reader:
    """A snapshot of an index.

    Attributes:
        folder: where the index lies.
    """

    def __init__(self, folder: Path, snapshot: Snapshot) -> None:
        self.folder = folder
        self._snapshot = snapshot

    def __len__(self) -> int:
        return len(self._snapshot)

    @property
    def ids(self) -> list[str]:
        """Ids in the order in which they were written, a copy; `id_of` gives a single one."""
        return self._snapshot.ids()

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return self._snapshot.common.dim

    @property
    def metric(self) -> Metric:
        """How vectors are compared."""
        return self._snapshot.common.metric

    @property
    def has_tokens(self) -> bool:
        """True if token matrices are stored."""
        return self._snapshot.common.token_dtype is not None

    def payload(self, row: int) -> Payload:
        """What was stored with a row."""
        part, local = self._snapshot.locate(row)
        return part.segment.rows.payload(local)

    def payloads(self, rows: _Rows) -> list[Payload]:
        """What was stored with some rows, in their order."""
        return [self.payload(int(row)) for row in rows]

    def vector(self, row: int) -> NDArray[np.float32]:
        """Vector of a row: (D,) float32, a copy."""
        part, local = self._snapshot.locate(row)
        return np.array(part.segment.vectors[local], dtype=np.float32)

    def id_of(self, row: int) -> str:
        """Id of a row."""
        part, local = self._snapshot.locate(row)
        return part.segment.rows.ids(np.array([local]))[0]

    def row_of(self, identity: str) -> int | None:
        """Row of an id, None if it isn't there."""
        return self._snapshot.row_of(identity)

    def tokens(self, row: int) -> NDArray[Any]:
        """Token matrix of a row: (M, D') float16 or float32; a view of the file but for int8."""
        part, local = self._snapshot.locate(row)
        if part.segment.tokens is None:
            raise self._no_tokens()
        return part.segment.tokens.get(local)

    def token_block(self, rows: _Rows) -> TokenBlock:
        """Token matrices of some rows, one after the other, in float32: what the exact score of candidates needs."""
        if not self.has_tokens:
            raise self._no_tokens()
        found = []
        for row in rows:
            part, local = self._snapshot.locate(int(row))
            if part.segment.tokens is not None:
                found.append(part.segment.tokens.encoded(local))
        lengths = np.array([len(each.data) for each in found], dtype=np.int64)
        return TokenBlock(gather(found, self._snapshot.token_dim or 1), lengths)

    def search(self, queries: NDArray[np.float32], k: int, *, where: Where | None = None) -> Hits:
        """Find the nearest neighbours.

        A flat index, and any filter that keeps fewer than 50,000 rows or 5 % of them, is exact: the result is that of
        sorting all inner products (computed in float64, rounded to float32) and, where they are equal, ids. It does not
        depend on how many queries are asked at once. Other kinds order what they find by the same scores, and never
        find fewer than K.

        Args:
            queries: (Q, D) float32, of unit length if the metric is "cosine".
            k: neighbours wanted; K = min(k, rows that pass the filter).
            where: a filter on payloads: for each key a wanted value, a list of them or a `Between`; or a function,
                which is slow: it parses every payload.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        queries = check_vectors(queries, name="queries", dim=self.dim, metric=self.metric)
        return search(self._snapshot, queries, k, where)

    def info(self) -> dict[str, Any]:
        """Plain values: size, kind and why, recall, model, versions, bytes, advice, and `info` as given to `build`."""
        return facts.info(self._snapshot)

    def _no_tokens(self) -> ArtefactError:
        return ArtefactError(f"{self.folder}: this index holds no tokens; build it with tokens to score finely")
