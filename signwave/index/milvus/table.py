"""The two collections of an index in Milvus: rows, and the parts of token matrices. Reading and writing them.

The parts' collection also holds the header (metric, model, info …), in parts of owner -1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from signwave.errors import ArtefactError
from signwave.index.milvus.place import Place, asking
from signwave.index.milvus.rows import (
    MAX_TEXT_BYTES,
    ROW_FIELDS,
    Row,
    join_parts,
    num_token_bytes,
    part_keys,
    tokens_of,
)
from signwave.index.tokens import Encoded

MAX_HITS = 16_384
"""What a server returns to one query at most; milvus-lite has no such limit."""

HEADER_OWNER = -1
_MAX_BATCH_BYTES = 1 << 23
_MAX_BATCH_ROWS = 1000
Stored = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """The collections of one generation of an index, open.

    Attributes:
        place: where they are.
        client: pymilvus client.
        name: the rows' collection; the parts' one is NAME_parts.
        header: what `write_header` wrote.
    """

    place: Place
    client: Any
    name: str
    header: Mapping[str, Any]

    @property
    def parts_name(self) -> str:
        return f"{self.name}_parts"

    @property
    def token_dtype(self) -> np.dtype[Any] | None:
        """Type of stored tokens, None if the index holds none."""
        name = self.header["token_dtype"]
        return None if name is None else np.dtype(name)

    def count(self, expression: str = "") -> int:
        """Number of rows that pass a filter expression."""
        with asking(self.place):
            found = self.client.query(self.name, filter=expression, output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def scan(self, expression: str, fields: Sequence[str]) -> Iterator[list[Stored]]:
        """All rows that pass a filter expression, in batches, in the order of keys."""
        row_bytes = 4 * self.header["dim"] if "vector" in fields else 1
        yield from self._scan(self.name, expression, fields, min(MAX_HITS, max(1, _MAX_BATCH_BYTES // row_bytes)))

    def _scan(self, name: str, expression: str, fields: Sequence[str], size: int) -> Iterator[list[Stored]]:
        with asking(self.place):
            iterator = self.client.query_iterator(
                name, batch_size=size, filter=expression, output_fields=list(fields), consistency_level="Strong"
            )
        try:
            while True:
                with asking(self.place):
                    batch = list(iterator.next())
                if not batch:
                    return
                yield batch
        finally:
            with asking(self.place):
                iterator.close()

    def fetch(self, keys: Sequence[int], fields: Sequence[str] = ROW_FIELDS) -> dict[int, Stored]:
        """Rows by key; keys that aren't there are absent."""
        found: dict[int, Stored] = {}
        for some in slices(keys, _MAX_BATCH_ROWS):
            with asking(self.place):
                rows = self.client.get(self.name, ids=list(some), output_fields=["key", *fields])
            found.update({int(row["key"]): row for row in rows})
        return found

    def read_tokens(self, rows: Sequence[Stored]) -> list[Encoded]:
        """Token matrices (M, D') of stored rows, as they are stored.

        Raises:
            ArtefactError: a part is missing or too short: the row is damaged.
        """
        dtype = self.token_dtype
        if dtype is None:
            raise ArtefactError(f"{self.place}: this index holds no tokens; build it with tokens to score finely")
        wanted = [part_keys(row, dtype) for row in rows]
        texts = self._part_texts([key for keys in wanted for key in keys])
        found = []
        for row, keys in zip(rows, wanted, strict=True):
            try:
                data = join_parts([texts[key] for key in keys])
            except (KeyError, ValueError):
                data = b""
            if len(data) != num_token_bytes(row, dtype):
                raise ArtefactError(
                    f"{self.place}: the tokens of {row['id']!r} are incomplete; write it again with upsert"
                )
            found.append(tokens_of(row, data, dtype))
        return found

    def _part_texts(self, keys: Sequence[int]) -> dict[int, str]:
        texts: dict[int, str] = {}
        for some in slices(keys, _MAX_BATCH_BYTES // MAX_TEXT_BYTES):
            with asking(self.place):
                found = self.client.get(self.parts_name, ids=list(some), output_fields=["part", "data"])
            texts.update({int(row["part"]): row["data"] for row in found})
        return texts

    def insert(self, rows: Sequence[Row], *, replace: bool = False) -> None:
        """Write rows, their parts first.

        Args:
            rows: to be written; without `replace` none may be there.
            replace: rows of the same key are replaced; their old parts stay until `delete_parts`.
        """
        self._send(self.parts_name, (part for row in rows for part in row.parts()), MAX_TEXT_BYTES)
        self._send(self.name, (row.fields() for row in rows), 4 * self.header["dim"] + 2000, replace=replace)

    def _send(self, name: str, rows: Iterable[dict[str, Any]], row_bytes: int, *, replace: bool = False) -> None:
        write = self.client.upsert if replace else self.client.insert
        for some in slices(list(rows), min(_MAX_BATCH_ROWS, max(1, _MAX_BATCH_BYTES // row_bytes))):
            with asking(self.place):
                write(name, list(some))

    def delete(self, keys: Sequence[int]) -> None:
        """Delete rows; their parts stay until `delete_parts`."""
        self._delete(self.name, keys)

    def delete_parts(self, rows: Sequence[Stored]) -> None:
        """Delete the parts of stored rows that were deleted or replaced."""
        if self.token_dtype is not None:
            dtype = self.token_dtype
            self._delete(self.parts_name, [key for row in rows for key in part_keys(row, dtype)])

    def stray_parts(self, known: Set[tuple[int, int]]) -> list[int]:
        """Keys of parts that belong to none of the known (key, version): what killed writers left."""
        return [
            part["part"]
            for parts in self._scan(self.parts_name, "", ("part", "owner", "version"), MAX_HITS)
            for part in parts
            if part["owner"] != HEADER_OWNER and (part["owner"], part["version"]) not in known
        ]

    def sweep_parts(self) -> int:
        """Delete stray parts and return how many there were."""
        known = {(row["key"], row["version"]) for rows in self.scan("", ["key", "version"]) for row in rows}
        stray = self.stray_parts(known)
        self._delete(self.parts_name, stray)
        return len(stray)

    def token_dim(self) -> int | None:
        """Numbers in a token, None if there is none yet."""
        with asking(self.place):
            found = self.client.query(self.name, filter="token_dim > 0", output_fields=["token_dim"], limit=1)
        return int(found[0]["token_dim"]) if found else None

    def _delete(self, name: str, keys: Sequence[int]) -> None:
        for some in slices(keys, _MAX_BATCH_ROWS):
            with asking(self.place):
                self.client.delete(name, ids=list(some))

    def settle(self, *, always: bool = False) -> None:
        """Have what was written sealed. A server does it in its own time and limits how often one may ask."""
        if always or self.place.is_embedded:
            for name in (self.name, self.parts_name):
                with asking(self.place):
                    self.client.flush(name)

    def compact(self) -> None:
        """Have segments merged, where the server can."""
        for name in (self.name, self.parts_name):
            with asking(self.place):
                self.client.compact(name)


def slices(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Consecutive runs of at most `size` values."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
