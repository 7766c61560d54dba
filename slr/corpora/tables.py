"""Tables of clips that people bring: a header line, then one clip a row; tabs, commas, semicolons or pipes between."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

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
    lines = numbered_lines(path)
    names = [name.strip().lower() for name in next(lines, (0, []))[1]]
    places = {
        key: next((names.index(name) for name in synonyms if name in names), None) for key, synonyms in COLUMNS.items()
    }
    if places["file"] is None:
        raise ManifestError(
            f"{path}:1: no column names the clips; it has {', '.join(names) or 'none'}, "
            f"allowed are {', '.join(COLUMNS['file'])}"
        )
    for line, fields in lines:
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


def numbered_lines(path: Path, *, quoted: str = "\t,;") -> Iterator[tuple[int, list[str]]]:
    """Lines of a table, header and empty ones too: number of their last line in the file and their fields.

    Args:
        path: a text file in UTF-8; fields are parted by the one of tab, comma, semicolon and pipe that its header
            holds most of.
        quoted: separators that text in quotation marks may hold; elsewhere the marks are part of the text.

    Raises:
        ManifestError: there is no such file, or it isn't text.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            separator = max(_SEPARATORS, key=header.count)
            quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if separator in quoted else csv.QUOTE_NONE
            reader = csv.reader(file, delimiter=separator, quoting=quoting)
            for fields in reader:
                yield reader.line_num, fields
    except FileNotFoundError as error:
        raise ManifestError(f"{path}: no such table") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path}: can't be read as a table ({error}); save it as UTF-8 text") from error
