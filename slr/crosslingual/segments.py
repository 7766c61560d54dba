"""The table of segments: every gloss of a corpus with the frames that it was aligned to, one Parquet file.

Any Parquet reader opens it; one row a segment, the header as JSON in the metadata of the schema. The frames are at the
rate of the model that aligned them and count from the start of the clip.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from signwave.errors import ArtefactError
from signwave.rundir import atomic_path

if TYPE_CHECKING:
    import pyarrow

BLANK_GLOSS = "<blank>"
"""Gloss of a stretch in which nothing is signed: between two signs, before the first or after the last."""
SUFFIX = ".parquet"
_FORMAT = 1
_HEADER = b"signwave.segments"
_TYPES = {
    "corpus": "string", "clip": "string", "index": "int32", "gloss": "string", "start_frame": "int32",
    "end_frame": "int32", "mean_posterior": "float", "min_posterior": "float", "grown": "bool_", "num_steps": "int32",
    "known": "bool_",
}  # fmt: skip


class Segment(NamedTuple):
    """One gloss of a clip, and where it is signed.

    Attributes:
        corpus: name of the corpus.
        clip: id of the clip in the manifest.
        index: place in the sentence, from 0; -1 for a blank.
        gloss: its name, or BLANK_GLOSS.
        start_frame: first frame at the header's rate, from the start of the clip.
        end_frame: frame to stop before.
        mean_posterior: in [0, 1], mean over the steps of the path, before growth.
        min_posterior: the lowest of them.
        grown: the segment was widened over blanks beside it.
        num_steps: steps of the path, before growth.
        known: the model has this gloss; where it doesn't, a wildcard was aligned in its place.
    """

    corpus: str
    clip: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    gloss: str
    start_frame: int
    end_frame: int
    mean_posterior: float
    min_posterior: float
    grown: bool
    num_steps: int
    known: bool


@dataclass(frozen=True)
class SegmentsHeader:
    """What a table was made from; a stage that goes on with it refuses other inputs.

    Attributes:
        corpus: name of the corpus.
        language: code or name of its sign language, the name of its dictionary.
        manifest: path of the manifest.
        manifest_sha256: `signwave.manifest.file_hash` of it.
        model: name of the recogniser.
        model_sha256: digest of its bundle.
        rate_hz: frames a second of the segments.
        stride: frames per step of the recogniser.
        settings: how segments were cut, plain values.
    """

    corpus: str
    language: str
    manifest: str
    manifest_sha256: str
    model: str
    model_sha256: str
    rate_hz: float
    stride: int
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Segments:
    """A table that was read.

    Attributes:
        header: see there; `manifest` is resolved.
        rows: in the order of the manifest, blanks among the glosses by time.
        sha256: of rows and header, without the manifest's path: what later stages remember.
    """

    header: SegmentsHeader
    rows: list[Segment] = field(repr=False)
    sha256: str


def write_segments(path: str | Path, header: SegmentsHeader, rows: Iterable[Segment]) -> str:
    """Write a table at once; returns its hash. The manifest's path is kept relative to the table's folder."""
    import pyarrow
    import pyarrow.parquet

    path, rows = Path(path), list(rows)
    relative = dataclasses.replace(header, manifest=os.path.relpath(header.manifest, path.parent))
    text = json.dumps({"format": _FORMAT, **dataclasses.asdict(relative)}, ensure_ascii=False)
    schema = pyarrow.schema(
        [(name, getattr(pyarrow, kind + "32" * (kind == "float"))()) for name, kind in _TYPES.items()]
    )
    columns = [[row[place] for row in rows] for place in range(len(_TYPES))]
    arrays = [pyarrow.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    table = pyarrow.Table.from_arrays(arrays, schema=schema.with_metadata({_HEADER: text.encode()}))
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression="zstd")
    return _digest(header, _rows(table))


def read_segments(path: str | Path) -> Segments:
    """Read a table.

    Raises:
        ArtefactError: it is missing, damaged, or no table of segments.
    """
    import pyarrow.parquet

    path = Path(path)
    try:
        table = pyarrow.parquet.read_table(path)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no such table; make it with `slr align RUN MANIFEST {path.name}`") from error
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ArtefactError(f"{path}: can't be read as a table ({reason}); align the corpus again") from error
    header = _header(path, (table.schema.metadata or {}).get(_HEADER))
    missing = [name for name in _TYPES if name not in table.column_names]
    if missing:
        raise ArtefactError(f"{path}: has no column '{missing[0]}'; align the corpus again")
    rows = _rows(table)
    return Segments(header, rows, _digest(header, rows))


def _rows(table: pyarrow.Table) -> list[Segment]:
    # Through the table, so that what was written and what is read hash alike: posteriors are float32 there.
    return [Segment(*values) for values in zip(*(table.column(name).to_pylist() for name in _TYPES), strict=True)]


def _header(path: Path, stored: bytes | None) -> SegmentsHeader:
    try:
        values = json.loads(stored or b"")
        found = values.pop("format")
        header = SegmentsHeader(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(
            f"{path}: is no table of segments, it lacks the header; make it with `slr align`"
        ) from error
    if found != _FORMAT:
        raise ArtefactError(f"{path}: a table of format {found}, this version reads {_FORMAT}; align the corpus again")
    return dataclasses.replace(header, manifest=os.path.normpath(path.parent / header.manifest))


def _digest(header: SegmentsHeader, rows: Iterable[Segment]) -> str:
    facts = dataclasses.asdict(header)
    del facts["manifest"]  # moving a folder changes nothing
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for row in rows:
        digest.update(json.dumps(row, ensure_ascii=False).encode())
    return digest.hexdigest()
