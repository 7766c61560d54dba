"""A generation that is open: its segments, which of their rows are alive, and the way from handles and ids to rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.index.files import check_files, read_array, write_array
from signwave.index.generation import Generation, current_number, read_current
from signwave.index.segment import Common, Segment, open_segment


@dataclass(frozen=True)
class Part:
    """A segment as one generation sees it.

    Attributes:
        segment: what doesn't change.
        alive: (N,) bool, False for rows that were deleted or replaced.
        num_alive: how many are alive.
        start: handle of its first row.
    """

    segment: Segment
    alive: NDArray[np.bool_]
    num_alive: int
    start: int

    @property
    def num_dead(self) -> int:
        """Rows that take room and are never found."""
        return len(self.alive) - self.num_alive

    def live_rows(self) -> NDArray[np.int64]:
        """Rows of the segment that are alive, rising."""
        return np.flatnonzero(self.alive)


@dataclass(frozen=True)
class Snapshot:
    """A generation in memory.

    Attributes:
        generation: where it came from.
        common: what all segments share.
        parts: segments in the order in which their rows were written.
    """

    generation: Generation
    common: Common
    parts: tuple[Part, ...]

    def __len__(self) -> int:
        return sum(part.num_alive for part in self.parts)

    @property
    def manifest(self) -> Mapping[str, Any]:
        return self.generation.manifest

    @property
    def token_dim(self) -> int | None:
        """Numbers in a token, None before there are any."""
        return next((part.segment.tokens.dim for part in self.parts if part.segment.tokens is not None), None)

    def ids(self) -> list[str]:
        """Ids that are alive, in the order in which they were written."""
        return [identity for part in self.parts for identity in part.segment.rows.ids(part.live_rows())]

    def locate(self, row: int) -> tuple[Part, int]:
        """Part and row in it of a handle.

        Raises:
            ValueError: no row has this handle.
        """
        for part in self.parts:
            local = int(row) - part.start
            if 0 <= local < len(part.alive):
                if part.alive[local]:
                    return part, local
                raise ValueError(f"row {row} was deleted; rows come from search or row_of, and end with a change")
        stop = self.parts[-1].start + len(self.parts[-1].alive) if self.parts else 0
        raise ValueError(f"row must be in [0, {stop}), got {row}")

    def row_of(self, identity: str) -> int | None:
        """Handle of an id, None if it isn't there."""
        for part in reversed(self.parts):
            local = part.segment.rows.find_one(identity)
            if local >= 0 and part.alive[local]:
                return part.start + local
        return None

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Handle of each id, -1 where it isn't there: (len(ids),) int64."""
        handles = np.full(len(ids), -1, dtype=np.int64)
        for part in self.parts:
            local = part.segment.rows.find(ids)
            alive = (local >= 0) & part.alive[local]
            handles[alive] = part.start + local[alive]
        return handles

    def without(self, handles: NDArray[np.int64]) -> Iterator[tuple[Part, NDArray[np.bool_]]]:
        """Parts, and which of their rows are alive once some were deleted."""
        for part in self.parts:
            local = handles - part.start
            alive = part.alive.copy()
            alive[local[(local >= 0) & (local < len(alive))]] = False
            yield part, alive


def tombstones_name(entry: Mapping[str, Any]) -> str:
    """File of a generation that says which rows of a segment are dead."""
    return f"dead-{entry['name']}.npy"


def write_tombstones(folder: Path, entry: Mapping[str, Any], alive: NDArray[np.bool_]) -> dict[str, Any]:
    """Write which rows are dead, one bit each, if any are; returns the entry that says so."""
    dead = int(len(alive) - alive.sum())
    if dead:
        write_array(folder / tombstones_name(entry), np.packbits(~alive, bitorder="little"))
    return {**entry, "dead": dead}


def open_current(folder: Path, *, check_bulk: bool | None, opened: Iterable[Segment] = ()) -> Snapshot:
    """Open the generation in use, once its checksums are right.

    Args:
        folder: the index folder.
        check_bulk: see `open_segment`.
        opened: segments that are open already and need not be read again.
    """
    while True:
        generation = read_current(folder)
        try:
            return open_generation(generation, check_bulk=check_bulk, opened=opened)
        except ArtefactError:
            # Swept by a writer that published twice meanwhile: there is a newer one to open.
            if current_number(folder) == generation.number:
                raise


def open_generation(generation: Generation, *, check_bulk: bool | None, opened: Iterable[Segment] = ()) -> Snapshot:
    """Open a generation; see `open_current`."""
    manifest = generation.manifest
    check_files(generation.path, manifest["files"])
    try:
        common = Common(manifest["dim"], manifest["metric"], manifest["token_dtype"])
    except KeyError as error:
        raise ArtefactError(f"{generation.path}: its manifest lacks {error}; build the index again") from error
    known = {segment.entry["name"]: segment for segment in opened}
    parts: list[Part] = []
    for entry in generation.segments:
        segment = known.get(entry["name"])
        # An index that was deleted and built anew has other segments of the same name.
        if segment is None or segment.entry["files"] != entry["files"]:
            segment = open_segment(generation.segment_path(entry), entry, common, check_bulk=check_bulk)
        alive = _alive(generation, entry)
        start = parts[-1].start + len(parts[-1].alive) if parts else 0
        parts.append(Part(segment, alive, int(alive.sum()), start))
    return Snapshot(generation, common, tuple(parts))


def _alive(generation: Generation, entry: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Which rows of a segment are alive: (N,) bool."""
    count, dead = entry["rows"], entry["dead"]
    if not dead:
        return np.ones(count, dtype=bool)
    path = generation.path / tombstones_name(entry)
    bits = read_array(path, dtype=np.uint8, shape=(-(-count // 8),))
    alive: NDArray[np.bool_] = np.unpackbits(bits, count=count, bitorder="little") == 0
    if int(alive.sum()) != count - dead:
        raise ArtefactError(f"{path}: marks {count - int(alive.sum())} rows, the manifest says {dead}; build it again")
    return alive
