"""What an index says about itself, and checks of what no checksum can tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from signwave.errors import ArtefactError
from signwave.index.changes import advice
from signwave.index.contents import blocks, check_vectors
from signwave.index.segment import FAISS_NAME, VECTORS_NAME
from signwave.index.snapshot import Snapshot
from signwave.index.tuning import flat

_NOT_SHOWN = ("files", "segments")


def info(snapshot: Snapshot) -> dict[str, Any]:
    """Plain values about an index.

    "n" rows can be found, "dead_rows" still take room; "choice" is of the segment with the most rows; "bytes_per_row"
    counts each part of the files for a row that can be found; "advice" says when to compact.
    """
    num_bytes = _bytes_by_part(snapshot)
    entries = [part.segment.entry for part in snapshot.parts]
    largest = max(entries, key=lambda entry: entry["rows"], default=None)
    choice = flat("there are no rows").facts if largest is None else largest["choice"]
    count = len(snapshot)
    return {
        **{key: value for key, value in snapshot.manifest.items() if key not in _NOT_SHOWN},
        "n": count,
        "kind": choice["kind"],
        "choice": choice,
        "generation": snapshot.generation.number,
        "segments": len(entries),
        "dead_rows": sum(part.num_dead for part in snapshot.parts),
        "advice": advice(snapshot),
        "bytes": sum(num_bytes.values()),
        "bytes_per_row": {part: round(size / count, 1) for part, size in num_bytes.items()} if count else {},
    }


def _bytes_by_part(snapshot: Snapshot) -> dict[str, int]:
    sizes = {"vectors": 0, "codes": 0, "tokens": 0, "rows": 0, "tombstones": 0}
    for part in snapshot.parts:
        for name, file in part.segment.entry["files"].items():
            sizes[_part_of(name)] += int(file["bytes"])
    sizes["tombstones"] = sum(int(file["bytes"]) for file in snapshot.manifest["files"].values())
    return sizes


def _part_of(name: str) -> str:
    if name == VECTORS_NAME:
        return "vectors"
    if name == FAISS_NAME:
        return "codes"
    return "tokens" if name.startswith("token") else "rows"


def check_sense(folder: Path, snapshot: Snapshot) -> None:
    """Find what was written wrong, though whole.

    Raises:
        ArtefactError: a vector that its metric doesn't allow, or an id that is alive twice.
    """
    for part in snapshot.parts:
        try:
            for block in blocks(part.segment.vectors):
                check_vectors(block, name="stored vectors", metric=snapshot.common.metric)
        except ValueError as error:
            raise ArtefactError(f"{folder}: {error}") from error
    ids = snapshot.ids()
    if len(set(ids)) < len(ids):
        raise ArtefactError(f"{folder}: {len(ids) - len(set(ids))} ids are there twice; build the index again")
