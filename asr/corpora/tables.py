"""Tables of corpora, read by header and line by line, and the audio files that they mean."""

import csv
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from signwave.errors import UserError
from signwave.prepare import Problem

SPLIT_NAMES = {"train": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "test": "test"}
"""What splits are called in tables and folders → what they are called here."""


def open_text(path: Path) -> IO[str]:
    """Open a text file, unpacked where its name ends in .gz; a line ends at its line feed and keeps it.

    Raises:
        UserError: there is no such file.
    """
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rt", encoding="utf-8-sig", newline="\n")
        return open(path, encoding="utf-8-sig", newline="\n")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; unpack or download the corpus again") from None


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file that are not blank, without line ends, each with its number.

    Raises:
        UserError: the file is missing, cut off or not UTF-8.
    """
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def read_table(
    path: Path, *, delimiter: str = "\t", quoted: bool = False, required: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, column → value) of a table with a header; missing trailing fields come out empty.

    Args:
        path: the table, packed (.gz) or not.
        delimiter: between fields.
        quoted: whether fields may stand in double quotes; without it a quote is a character like any other.
        required: columns that must be there.

    Raises:
        UserError: the table is missing, cut off or not UTF-8, or lacks a column.
    """
    try:
        with open_text(path) as file:
            rows = _quoted_rows(file, delimiter) if quoted else _plain_rows(file, delimiter)
            header = [name.strip() for name in next(rows, (0, [""]))[1]]
            missing = [name for name in required if name not in header]
            if missing:
                raise UserError(f"{path}:1: has no column '{missing[0]}', only {', '.join(header) or 'an empty line'}")
            for line, values in rows:
                padded = [*values, *[""] * (len(header) - len(values))]
                yield line, dict(zip(header, padded, strict=False))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error


def read_records(path: Path) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    """Yield (line, key → value) of a table of any kind: csv, tsv, jsonl(.gz), json; line 0 where the format has none.

    Raises:
        UserError: the file is missing or can't be read.
    """
    try:
        if path.name.endswith((".json", ".json.gz")):
            yield from _read_json(path)
        elif path.name.endswith((".jsonl", ".jsonl.gz")):
            yield from _read_json_lines(path)
        else:
            yield from _read_any_csv(path)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error


def locate(name: str, *folders: Path) -> Path:
    """Return the file that a table means: relative to one of these folders, else without its own leading folders.

    Published tables often carry the author's folders (`dataset/a.wav` where `dataset` was unpacked). Where nothing is
    found the path below the last folder is returned, for the message.
    """
    candidates = [folder / name for folder in folders]
    parts = Path(name).parts
    candidates += [folders[-1].joinpath(*parts[num_dropped:]) for num_dropped in range(1, len(parts))]
    return next((path for path in candidates if path.is_file()), folders[-1] / name)


def chosen(wanted: str, found: Sequence[str], *, where: Path, what: str = "split") -> list[str]:
    """Return the names of a comma list, or all that were found if it is empty.

    Raises:
        UserError: nothing was found, or a name wasn't.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()] or list(found)
    for name in names:
        if name not in found:
            raise UserError(f"{where}: has no {what} '{name}'; found {', '.join(found) or 'none'}")
    if not names:
        raise UserError(f"{where}: holds no {what}; check that it is the folder as unpacked")
    return names


def _plain_rows(file: IO[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    # csv.reader would give up at a lone \r in a sentence, and at a field of 128 kB
    for number, line in enumerate(file, 1):
        if line.strip("\r\n"):
            yield number, line.rstrip("\r\n").split(delimiter)


def _quoted_rows(file: IO[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(file, delimiter=delimiter)
    for values in reader:
        if values:
            yield reader.line_num, values


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: can't be read as a table ({error}); save it as UTF-8 text, or download it again")


def _read_any_csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open_text(path) as file:
        header = file.readline()
    if path.name.endswith((".tsv", ".tsv.gz")):
        return read_table(path)
    return read_table(path, delimiter=max(",;|\t", key=header.count), quoted=True)


def _read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    with open_text(path) as file:
        for line, text in enumerate(file, 1):
            if text.strip():
                yield line, parse_object(text, f"{path}:{line}")


def parse_object(text: str, where: str) -> dict[str, Any] | Problem:
    """Return the JSON object of a line, or the problem."""
    try:
        value = json.loads(text)
    except ValueError as error:
        return Problem(where, f"not valid JSON ({error}); correct the line", "invalid")
    if not isinstance(value, dict):
        return Problem(where, f"expected an object with a path and a text, got {type(value).__name__}", "invalid")
    return value


def _read_json(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """A list of objects, or an object of id → object (SpeechBrain), one a recording."""
    with open_text(path) as file:
        text = file.read()
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); correct the file") from error
    rows = content
    if isinstance(content, dict):
        rows = [{"id": key, **row} if isinstance(row, dict) else row for key, row in content.items()]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: expected a list of objects, each with a path and a text")
    for row in rows:
        yield 0, row
