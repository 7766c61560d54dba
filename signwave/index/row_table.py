"""Ids and payloads of a segment: an Arrow file that is memory-mapped, and JSON lines that are parsed when asked for.

    rows.arrow      id; rank of the id among all, which breaks ties; start of the payload's line; filterable values
    payload.jsonl   one line of JSON for each row

So opening a million rows parses none of them, and a filter reads only the columns that it names.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.index import columns
from signwave.index.interface import Payload, Where

TABLE_NAME = "rows.arrow"
PAYLOAD_NAME = "payload.jsonl"


def write_rows(folder: Path, ids: Sequence[str], payload: Iterable[Payload]) -> None:
    """Write both files. The same rows give the same bytes.

    Args:
        folder: where they go.
        ids: N unique texts.
        payload: N dicts of plain values, read once.
    """
    import pyarrow as pa

    collected = columns.Columns()
    starts = [0]
    with open(folder / PAYLOAD_NAME, "wb") as file:
        for row, values in enumerate(payload):
            line = json.dumps(values, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"
            file.write(line)
            starts.append(starts[-1] + len(line))
            collected.add(row, values)
    if len(starts) - 1 != len(ids):
        raise ValueError(f"got {len(starts) - 1} payloads for {len(ids)} rows; give one a row")
    rank = np.empty(len(ids), dtype=np.int64)
    rank[sorted(range(len(ids)), key=ids.__getitem__)] = np.arange(len(ids))
    own = {"id": pa.array(ids, pa.large_string()), "rank": pa.array(rank), "start": pa.array(np.array(starts[:-1]))}
    table = collected.table(own, count=len(ids))
    with open(folder / TABLE_NAME, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


class RowTable:
    """Ids and payloads of N rows, open.

    Attributes:
        rank: (N,) int64, place of each row's id among all ids in order of code points.
    """

    def __init__(self, folder: Path, *, count: int) -> None:
        """Open what `write_rows` wrote, whose checksums were compared.

        Raises:
            ArtefactError: it isn't a table of `count` rows.
        """
        import pyarrow as pa

        path = folder / TABLE_NAME
        try:
            self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all().combine_chunks()
            self._ids = _single(self._table.column("id"), pa.large_string())
            self.rank: NDArray[np.int64] = _single(self._table.column("rank"), pa.int64()).to_numpy()
            starts: NDArray[np.int64] = _single(self._table.column("start"), pa.int64()).to_numpy()
            with open(folder / PAYLOAD_NAME, "rb") as file:
                self._payload = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"{path}: not a table of rows ({error}); build the index again") from error
        self._starts = np.append(starts, len(self._payload))
        if len(self._ids) != count or len(starts) != count or bool((np.diff(self._starts) <= 0).any()):
            raise ArtefactError(f"{path}: has {len(self._ids)} rows, expected {count}; build it again")
        self._path = folder / PAYLOAD_NAME

    def __len__(self) -> int:
        return len(self.rank)

    def ids(self, rows: NDArray[np.int64] | None = None) -> list[str]:
        """Ids of some rows, or of all."""
        taken = self._ids if rows is None else self._ids.take(rows)
        return taken.to_pylist()  # type: ignore[no-any-return]

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Row of each id, -1 where it isn't there: (len(ids),) int64."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.index_in(pa.array(ids, pa.large_string()), value_set=self._ids)
        return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]

    def find_one(self, identity: str) -> int:
        """Row of one id, -1 if it isn't there, without looking at all rows."""
        order = self._order
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if self._ids[int(order[middle])].as_py() < identity:
                low = middle + 1
            else:
                high = middle
        row = int(order[low]) if low < len(order) else -1
        return row if row >= 0 and self._ids[row].as_py() == identity else -1

    @property
    def _order(self) -> NDArray[np.int64]:
        """Rows in order of their ids; made when first needed."""
        if not hasattr(self, "_sorted"):
            self._sorted = np.empty_like(self.rank)
            self._sorted[self.rank] = np.arange(len(self.rank))
        return self._sorted

    def line(self, row: int) -> bytes:
        """Payload of a row as JSON."""
        return self._payload[self._starts[row] : self._starts[row + 1]]

    def payload(self, row: int) -> Payload:
        """Payload of a row."""
        try:
            values: Payload = json.loads(self.line(row))
        except ValueError as error:
            raise ArtefactError(f"{self._path}: row {row} is no JSON ({error}); the index is damaged") from error
        return values

    def matching(self, where: Where, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the rows that are alive pass a filter: (N,) bool."""
        return columns.matching(self._table, where, alive, self.payload)


def _single(column: Any, wanted: Any) -> Any:
    """The one chunk of a column."""
    if column.type != wanted or column.null_count:
        raise ValueError(f"a column is {column.type} with {column.null_count} nulls, expected {wanted}")
    return column.chunk(0) if column.num_chunks else column.combine_chunks()
