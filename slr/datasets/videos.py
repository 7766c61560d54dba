"""A folder of sign videos, with or without a table of their texts: whatever people have recorded themselves.

The table (one .csv, .tsv or .psv in the folder; see slr.corpora.tables for its columns) names the clips, with or
without suffix and folder. Glosses become the text that recognition learns, or the sentence does where there are none;
a sentence whose language is given is also a caption to search with. Without a table every video of the folder is
taken, without text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from signwave.errors import ManifestError, UserError
from signwave.manifest import Clip, ClipKind
from signwave.media.video import count_frames, probe
from signwave.prepare import Problem, Row
from slr.corpora.tables import TableRow, find_table, read_table

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg")


def prepare(raw: str | Path) -> Iterator[Row | Problem]:
    """Rows of the folder."""
    return rows_of_folder(Path(raw), kind="video", suffixes=SUFFIXES)


def check(clip: Clip) -> Clip:
    """Decode the whole clip, so that a damaged one is found now, and note its length."""
    info = probe(clip.path)
    num_frames = count_frames(clip.path)
    return in_span(clip, num_frames=num_frames, rate_hz=info.fps)


def in_span(clip: Clip, *, num_frames: int, rate_hz: float) -> Clip:
    """The clip with the frames of its span, given those of its file.

    Raises:
        ManifestError: the span lies outside the file.
    """
    seconds = num_frames / rate_hz
    end = min(clip.end_seconds if clip.end_seconds is not None else seconds, seconds)
    inside = round((end - clip.start_seconds) * rate_hz)
    if inside < 1:
        raise ManifestError(
            f"the span [{clip.start_seconds}, {clip.end_seconds}) holds no frame of {clip.path}, "
            f"which is {seconds:.2f} s long; correct its times"
        )
    return dataclasses.replace(clip, num_frames=inside, rate_hz=rate_hz)


class _Files(NamedTuple):
    """The clips below a folder: by path relative to it, and by name."""

    by_path: dict[str, Path]
    by_name: dict[str, list[Path]]


def rows_of_folder(folder: Path, *, kind: ClipKind, suffixes: tuple[str, ...]) -> Iterator[Row | Problem]:
    """Rows of a folder of clips and its table.

    Raises:
        UserError: the folder doesn't exist.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the folder that holds the clips")
    files = _find_files(folder, suffixes)
    table = find_table(folder)
    if table is None:
        for name, path in files.by_path.items():
            yield Row(Clip(id=str(Path(name).with_suffix("")), path=str(path), kind=kind), str(path))
        return
    for row in read_table(table):
        if isinstance(row, Problem):
            yield row
            continue
        try:
            found = _row(row, files, kind, suffixes)
        except (ManifestError, ValueError) as error:
            found = Problem(row.where, str(error), "invalid")
        yield found


def _find_files(folder: Path, suffixes: tuple[str, ...]) -> _Files:
    by_path: dict[str, Path] = {}
    by_name: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and path.is_file():
            by_path[path.relative_to(folder).as_posix()] = path
            for name in {path.name, path.stem}:
                by_name.setdefault(name, []).append(path)
    return _Files(by_path, by_name)


def _row(row: TableRow, files: _Files, kind: ClipKind, suffixes: tuple[str, ...]) -> Row | Problem:
    values, name = row.values, row.values["file"]
    if not name:
        return Problem(row.where, "the row names no clip; fill in the name or remove the row", "label")
    found = _find(name, files)
    if not found:
        return Problem(row.where, f"no clip '{name}' ({', '.join(suffixes)}) in the folder; copy it there", "missing")
    if len(found) > 1:
        places = ", ".join(str(path) for path in found[:3])
        return Problem(row.where, f"'{name}' may be any of {places}; write its folder too", "ambiguous")
    start, end = _seconds(values["start"]), _seconds(values["end"])
    span = f"@{start or 0.0:g}-{end:g}" if end is not None else f"@{start:g}" if start else ""
    language, gloss, text = (" ".join(values[key].split()) for key in ("language", "gloss", "text"))
    clip = Clip(
        id=values["id"] or f"{name}{span}",
        path=str(found[0]),
        kind=kind,
        start_seconds=start or 0.0,
        end_seconds=end,
        text=gloss or text,
        language=language,
        person=values["person"],
        group=values["group"],
        date=values["date"],
        captions={language: text} if text and language else {},
        split=values["split"],
    )
    return Row(clip, row.where)


def _find(name: str, files: _Files) -> list[Path]:
    if name in files.by_path:
        return [files.by_path[name]]
    # A name like `clip.2-5` has what looks like a suffix, so the name is tried as it stands first.
    return files.by_name.get(name) or files.by_name.get(Path(name).name) or []


def _seconds(text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise ManifestError(f"'{text}' is no time in seconds; write it like 12.5") from None
