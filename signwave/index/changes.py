"""Changes of an index: which rows go into its one new segment, which die, and when small segments are merged."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signwave import __version__
from signwave.index import engine
from signwave.index.contents import BLOCK_ROWS, blocks
from signwave.index.generation import Writer, publish
from signwave.index.interface import Payload, TokenType
from signwave.index.segment import Common, Segment, Source, write_segment
from signwave.index.snapshot import Part, Snapshot, open_generation, write_tombstones
from signwave.index.tokens import Encoded, encode
from signwave.index.tuning import KindChoice

MAX_SEGMENTS = 16
MAX_DEAD_SHARE = 0.3
SMALL_ROWS = 4096  # segments of no more may be merged by an addition
MAX_FLAT_ROWS = 10_000  # beside a large segment

_SPARE_BYTES = 1 << 16


@dataclass(frozen=True)
class NewSegment:
    """The rows of the segment that a change writes.

    Attributes:
        sources: rows, in order.
        kind: which type it shall have.
        queries: with which it is chosen.
        num_bytes: room it takes, about.
    """

    sources: Sequence[Source]
    kind: KindChoice
    queries: NDArray[np.float32] | None
    num_bytes: int


def from_arguments(
    vectors: NDArray[np.float32],
    ids: Sequence[str],
    payload: Sequence[Payload],
    tokens: Iterable[NDArray[Any]] | None,
    token_dtype: TokenType | None,
) -> Source:
    """Rows as the user gives them, checked."""
    encoded = None
    if tokens is not None and token_dtype is not None:
        encoded = (encode(matrix, token_dtype, row=row) for row, matrix in enumerate(tokens))
    return Source(ids, payload, lambda: blocks(vectors), encoded)


def from_part(part: Part, alive: NDArray[np.bool_]) -> Source:
    """Rows of a segment that stay, as they are stored: nothing is rounded again."""
    segment, rows = part.segment, np.flatnonzero(alive)

    def kept() -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(rows), BLOCK_ROWS):
            yield np.asarray(segment.vectors)[rows[start : start + BLOCK_ROWS]]

    store = segment.tokens
    tokens: Iterator[Encoded] | None = None if store is None else (store.encoded(int(row)) for row in rows)
    return Source(segment.rows.ids(rows), (segment.rows.payload(int(row)) for row in rows), kept, tokens)


def bytes_of(vectors: NDArray[np.float32], tokens: Any) -> int:
    """Room for the vectors twice (codes or a graph come on top of them) and, if they are at hand, the tokens."""
    matrices = tokens if isinstance(tokens, Sequence) else ()
    return 2 * vectors.nbytes + sum(2 * int(matrix.size) for matrix in matrices)


def facts_of_build(
    common: Common, *, kind: KindChoice, candidates: int, model_digest: str, info: Mapping[str, Any]
) -> dict[str, Any]:
    """What a manifest says about the index as a whole; changes keep it."""
    return {
        "dim": common.dim,
        "metric": common.metric,
        "token_dtype": common.token_dtype,
        "requested_kind": kind,
        "candidates": candidates,
        "model_digest": model_digest,
        "info": dict(info),
        "versions": {"signwave": __version__, "faiss": engine.faiss().__version__, "numpy": np.__version__},
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def publish_build(folder: Path, facts: Mapping[str, Any], common: Common, new: NewSegment | None) -> Snapshot:
    """Replace whatever is in a folder whose lock is held."""
    return _publish(folder, facts, common, (), new, opened=(), token_dim=None)


def publish_change(
    snapshot: Snapshot,
    *,
    removed: NDArray[np.int64],
    added: Source | None = None,
    num_bytes: int = 0,
    compact: bool = False,
) -> Snapshot:
    """Publish a snapshot without some rows and with new ones at the end; its folder's lock is held.

    Args:
        snapshot: the generation in use.
        removed: handles of rows that die.
        added: new rows.
        num_bytes: room for them.
        compact: write all rows into one segment again, of the type that then fits.
    """
    kept = [(part, alive) for part, alive in snapshot.without(removed) if alive.any()]
    num_added = 0 if added is None else len(added.ids)
    merged = len(kept) if compact else (_num_merged([_size(*each) for each in kept], num_added) if num_added else 0)
    stay, merge = kept[: len(kept) - merged], kept[len(kept) - merged :]
    sources = [from_part(*each) for each in merge] + ([] if added is None or not num_added else [added])
    new = None
    if sources:
        queries = [part.segment.queries for part, _ in merge if part.segment.queries is not None]
        kind: KindChoice = snapshot.manifest["requested_kind"] if compact else "flat"
        size = num_bytes + sum(_num_bytes(part.segment) for part, _ in merge)
        new = NewSegment(sources, kind, queries[0] if queries else None, size)
    return _publish(
        snapshot.generation.folder,
        snapshot.manifest,
        snapshot.common,
        stay,
        new,
        opened=[part.segment for part in snapshot.parts],
        token_dim=snapshot.token_dim,
    )


def _size(part: Part, alive: NDArray[np.bool_]) -> int | None:
    """Rows to copy if a segment is merged, None for one whose index would be lost."""
    return int(alive.sum()) if part.segment.faiss_index is None else None


def _num_merged(sizes: Sequence[int | None], num_added: int) -> int:
    """How many of the last segments an addition takes into its own.

    Those that are small and no more than twice what is being written anyway: a row is copied a logarithm of times, and
    a thousand additions of one row leave about ten segments.
    """
    written, merged = num_added, 0
    for size in reversed(sizes):
        if size is None or size > SMALL_ROWS or size > 2 * written:
            break
        written += size
        merged += 1
    return merged


def _num_bytes(segment: Segment) -> int:
    return sum(int(entry["bytes"]) for entry in segment.entry["files"].values())


def _publish(
    folder: Path,
    facts: Mapping[str, Any],
    common: Common,
    stay: Iterable[tuple[Part, NDArray[np.bool_]]],
    new: NewSegment | None,
    *,
    opened: Sequence[Segment],
    token_dim: int | None,
) -> Snapshot:
    def write(writer: Writer, generation_folder: Path) -> Mapping[str, Any]:
        entries = [write_tombstones(generation_folder, part.segment.entry, alive) for part, alive in stay]
        if new is not None:
            with writer.segment() as (segment_folder, entry):
                write_segment(
                    segment_folder,
                    entry,
                    new.sources,
                    common,
                    kind=new.kind,
                    queries=new.queries,
                    candidates=facts["candidates"],
                    token_dim=token_dim,
                )
            entries.append(entry)
        return {**facts, "segments": entries}

    # What was hashed while it was written need not be hashed again at once if it is as large as tokens are.
    return publish(
        folder,
        write,
        lambda written: open_generation(written, check_bulk=None, opened=opened),
        needed_bytes=_SPARE_BYTES + (0 if new is None else new.num_bytes),
    )


def advice(snapshot: Snapshot) -> str | None:
    """Why the index should be compacted, None if there is no need."""
    num_dead = sum(part.num_dead for part in snapshot.parts)
    num_flat = sum(part.num_alive for part in snapshot.parts if part.segment.faiss_index is None)
    if len(snapshot.parts) > MAX_SEGMENTS:
        return f"compact: it has {len(snapshot.parts)} segments, more than {MAX_SEGMENTS} slow every search"
    if num_dead > MAX_DEAD_SHARE * (num_dead + len(snapshot)):
        return f"compact: {num_dead} of its {num_dead + len(snapshot)} rows are dead"
    if num_flat > MAX_FLAT_ROWS and snapshot.manifest["requested_kind"] != "flat":
        return f"compact: {num_flat:,} rows were added one after the other and are searched exactly"
    return None
