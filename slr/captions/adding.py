"""Captions of a table, put into the clips of manifests.

A wide table has a column `id` (clips) or `group` (all clips of it) and one for each language, named by its code, which
may carry a kind: `id, en, de, en+keywords`. A long one has the columns `language` and `text` instead. Tabs, commas,
semicolons or pipes part the columns. Columns of other names are passed over, but for `group` beside `id`: it says
anew which clips perform the same sentence, as in PHOENIX's manifests, whose groups are broadcasts.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from signwave.errors import ManifestError
from signwave.manifest import Clip
from signwave.prepare import Problem
from slr.corpora.tables import COLUMNS, numbered_lines

CODE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*(\+[a-z]+)?", re.IGNORECASE)
"""A language, with a region or script if need be, and a kind of caption."""
_KEYS = ("id", "group")
_NO_CODES = {name for names in COLUMNS.values() for name in names}  # `set` and `end` look like codes


class Caption(NamedTuple):
    """One caption of a table: of which clip or group, and the place it was read from, `file:line`."""

    key: str
    language: str
    text: str
    where: str


@dataclass
class CaptionTable:
    """What a table holds.

    Attributes:
        key: "id" or "group", what its rows name.
        captions: all that can be used; a name has one in each language at most.
        problems: cells and rows that can't.
        groups: id → group, where a table by id says so.
    """

    key: str
    captions: list[Caption] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)


class Added(NamedTuple):
    """Clips with their captions.

    `num_captions` were put in; `num_without` clips have none at all; `num_groups` are in another group than before.
    """

    clips: list[Clip]
    problems: list[Problem]
    num_captions: int
    num_without: int
    num_groups: int


def read_captions(path: Path, languages: Sequence[str] = ()) -> CaptionTable:
    """Read a table of captions; what is wrong with a row or cell is kept as a problem.

    Args:
        path: the table.
        languages: take these only; without any all that the table has.

    Raises:
        ManifestError: the file isn't text, or lacks a column.
    """
    lines = _lines(path)
    names = [name.strip().lower() for name in next(lines, (0, []))[1]]
    key = next((name for name in _KEYS if name in names), None)
    if key is None:
        raise ManifestError(f"{path}:1: no column 'id' or 'group' names the clips; it has {', '.join(names) or 'none'}")
    is_long = "text" in names
    _check_columns(path, names, languages, is_long=is_long)
    table, seen = CaptionTable(key), dict[tuple[str, str], str]()
    wanted = {language.lower() for language in languages}
    for number, fields in lines:
        where = f"{path}:{number}"
        if len(fields) > len(names):
            reason = f"{len(fields)} fields under {len(names)} columns; quote the text, or part columns by tabs"
            table.problems.append(Problem(where, reason, "fields"))
            continue
        row = dict.fromkeys(names, "") | dict(zip(names, fields))
        if not row[key]:
            table.problems.append(Problem(where, f"the row has no {key}; fill it in or remove the row", "label"))
            continue
        if key == "id" and row.get("group"):
            _take_group(table, row["id"], row["group"], where)
        for language, text in _cells(row, key, is_long=is_long):
            if not wanted or language in wanted:
                _take(table, Caption(row[key], language, text, where), seen)
    return table


def _check_columns(path: Path, names: Sequence[str], languages: Sequence[str], *, is_long: bool) -> None:
    """Raise where a column is missing or there twice."""
    codes = [name for name in names if _is_code(name)]
    missing = [language for language in languages if language.lower() not in codes] if not is_long else []
    twice = next((name for name in names if name and names.count(name) > 1), None)
    listed = ", ".join(names)
    if twice:
        raise ManifestError(f"{path}:1: two columns '{twice}'; remove or rename one of them")
    if is_long and "language" not in names:
        raise ManifestError(f"{path}:1: column 'language' is missing beside 'text'; it has {listed}")
    if not is_long and not codes:
        raise ManifestError(
            f"{path}:1: no column of captions; it has {listed}; name one by its language (en) or add language and text"
        )
    if missing:
        raise ManifestError(f"{path}:1: column '{missing[0]}' is missing; it has {listed}")


def _is_code(column: str) -> bool:
    return column not in _NO_CODES and CODE.fullmatch(column) is not None


def _cells(row: Mapping[str, str], key: str, *, is_long: bool) -> Iterator[tuple[str, str]]:
    """(language, text) of a row."""
    if is_long:
        yield row["language"].lower(), row["text"]
        return
    yield from ((name, text) for name, text in row.items() if _is_code(name))


def _take(table: CaptionTable, caption: Caption, seen: dict[tuple[str, str], str]) -> None:
    """Take a caption, or say why not."""
    name, where = (caption.key, caption.language), caption.where
    if not CODE.fullmatch(caption.language):
        problem = Problem(
            where, f"'{caption.language}' is no code of a language like en, pt-br or en+keywords", "label"
        )
    elif not caption.text:
        problem = Problem(where, f"{table.key} '{caption.key}' has no text in '{caption.language}'", "empty")
    elif name in seen:
        reason = f"{table.key} '{caption.key}' has a caption in '{caption.language}' already, at {seen[name]}"
        problem = Problem(where, f"{reason}; the first counts", "duplicate")
    else:
        seen[name] = where
        table.captions.append(caption)
        return
    table.problems.append(problem)


def _take_group(table: CaptionTable, name: str, group: str, where: str) -> None:
    """Take the group of a clip; a long table says it in several rows, and they must agree."""
    if table.groups.setdefault(name, group) != group:
        reason = f"id '{name}' is in group '{table.groups[name]}' by an earlier row and in '{group}' by this one"
        table.problems.append(Problem(where, f"{reason}; the first counts", "group"))


def add_captions(clips: Iterable[Clip], table: CaptionTable) -> Added:
    """Put the captions of a table into clips; one that a clip has in the same language is replaced.

    Args:
        clips: of all manifests that the table is about.
        table: what was read.
    """
    clips = list(clips)
    found: dict[str, dict[str, str]] = {}
    for caption in table.captions:
        found.setdefault(caption.key, {})[caption.language] = caption.text
    names = {getattr(clip, table.key) for clip in clips}
    unknown = [
        Problem(caption.where, f"no clip has the {table.key} '{caption.key}'", "unknown")
        for caption in {caption.key: caption for caption in reversed(table.captions)}.values()
        if caption.key not in names
    ]
    captioned = [
        dataclasses.replace(
            clip,
            captions={**clip.captions, **found.get(getattr(clip, table.key), {})},
            group=table.groups.get(clip.id, clip.group),
        )
        for clip in clips
    ]
    return Added(
        captioned,
        [*table.problems, *reversed(unknown)],
        sum(len(found.get(getattr(clip, table.key), {})) for clip in clips),
        sum(not clip.captions for clip in captioned),
        sum(before.group != after.group for before, after in zip(clips, captioned, strict=True)),
    )


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Lines that hold anything: number of their first line in the file and their fields, header first."""
    first = 1
    # Sentences begin with quotation marks; they mean something only where the text may hold the separator.
    for last, fields in numbered_lines(path, quoted=",;"):
        if any(value.strip() for value in fields):
            yield first, [" ".join(value.split()) for value in fields]
        first = last + 1
