"""Tables of clips that people bring: a header line, then one clip a row; tabs, commas, semicolons or pipes between."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from signwave.errors import ManifestError
from signwave.prepare import Problem

COLUMNS: dict[str, tuple[str, ...]] = {
    "id": ("id",),
    "file": ("file", "filename", "path", "video", "clip", "video_name", "sentence_name", "name", "id"),
    "gloss": ("gloss", "glosses", "orth", "annotation", "label"),
    "text": ("text", "translation", "caption", "sentence", "transcript", "word"),
    "person": ("person", "signer", "speaker"),
    "language": ("language", "lang", "signed_language"),
    "split": ("split", "set", "partition"),
    "group": ("group", "concept"),
    "date": ("date", "recorded"),
    "start": ("start_seconds", "start"),
    "end": ("end_seconds", "end"),
}
"""What is read, and the column names it goes by; the first that the table has counts."""

_SUFFIXES = (".csv", ".tsv", ".psv")
_SEPARATORS = "\t,;|"


class TableRow(NamedTuple):
    """One row: values by the names of COLUMNS, empty where the table has no such column, and its place `file:line`."""

    values: dict[str, str]
    where: str


def find_table(folder: Path) -> Path | None:
    """The one table in a folder, or None.

    Raises:
        ManifestError: there are several.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and path.is_file())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ManifestError(f"{folder}: holds {len(found)} tables ({names}); leave one of them there")
    return found[0] if found else None


def read_table(path: Path) -> Iterator[TableRow | Problem]:
    """Rows of a table; a row with more fields than columns is a problem, and the rows after it still come.

    Raises:
        ManifestError: the file isn't text, or has no column that names the clips.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            separator = max(_SEPARATORS, key=header.count)
            # Quotes mean nothing where the pipe parts fields: there they are part of the text.
            if separator == "|":
                rows = csv.reader(file, delimiter=separator, quoting=csv.QUOTE_NONE)
            else:
                rows = csv.reader(file, delimiter=separator)
            yield from _rows(path, rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: can't be read as a table ({error}); save it as UTF-8 text") from error


def _rows(path: Path, reader: Iterator[list[str]]) -> Iterator[TableRow | Problem]:
    names = [name.strip().lower() for name in next(reader, [])]
    places = {
        key: next((names.index(name) for name in synonyms if name in names), None) for key, synonyms in COLUMNS.items()
    }
    if places["file"] is None:
        raise ManifestError(
            f"{path}:1: no column names the clips; it has {', '.join(names) or 'none'}, "
            f"allowed are {', '.join(COLUMNS['file'])}"
        )
    for fields in reader:
        line: int = reader.line_num  # type: ignore[attr-defined]
        if not any(field.strip() for field in fields):
            continue
        if len(fields) > len(names):
            reason = f"{len(fields)} fields under {len(names)} columns; quote the text"
            yield Problem(f"{path}:{line}", reason, "fields")
            continue
        values = {
            key: fields[place].strip() if place is not None and place < len(fields) else ""
            for key, place in places.items()
        }
        yield TableRow(values, f"{path}:{line}")
