"""Hypotheses and references from every file that may hold them; errors name file and line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from signwave import manifest
from signwave.errors import UserError
from slr.scoring.cleaning import EMPTY
from slr.scoring.collector import paused_collector

_CTM_FIELDS, _STM_FIELDS = 5, 5
_ID_COLUMNS = ("id", "name", "clip", "file", "video_id", "number", "key")
_TEXT_COLUMNS = ("annotation", "orth", "gloss", "glosses", "label", "hypothesis", "prediction", "text")
_PERSON_COLUMNS = ("signer", "speaker", "person", "translator")
_HYPOTHESIS_SUFFIXES = (".ctm", ".json", ".jsonl", ".csv", ".txt")


class Hypothesis(NamedTuple):
    """What was recognised in one clip.

    Attributes:
        tokens: glosses in the order of the file.
        times: start and duration of each as the file writes them; None where the file gives glosses only.
        channel: the second field of a CTM line.
    """

    tokens: list[str]
    times: list[tuple[str, str]] | None = None
    channel: str = "1"

    def in_time_order(self) -> list[str]:
        """Glosses by start time as a number; ties keep the order of the file."""
        if self.times is None:
            return self.tokens
        order = sorted(range(len(self.tokens)), key=lambda n: float(self.times[n][0]) if self.times else 0.0)
        return [self.tokens[n] for n in order]

    def ctm_lines(self, clip_id: str) -> list[str]:
        """Lines of a CTM; without times each gloss gets a hundredth of a second, padded so that text sorts too."""
        times = self.times or [(f"{n / 100:09.2f}", "0.01") for n in range(len(self.tokens))]
        return [
            f"{clip_id} {self.channel} {start} {duration} {token}"
            for token, (start, duration) in zip(self.tokens, times, strict=True)
        ]


class Reference(NamedTuple):
    """What is signed in one clip."""

    tokens: list[str]
    person: str = ""
    group: str = ""
    num_frames: int | None = None
    media_path: str = ""
    sha256: str = ""


@dataclass
class _Collected:
    """Clips of a file, each id once."""

    path: Path
    found: dict[str, Any] = field(default_factory=dict)

    def add(self, clip_id: str, item: Any, number: int) -> None:
        if clip_id in self.found:
            raise UserError(f"{self.path}:{number}: clip '{clip_id}' is there already; give each clip once")
        self.found[clip_id] = item


@paused_collector()
def read_hypotheses(path: str | Path, *, split: str = "test") -> dict[str, Hypothesis]:
    """Read recognised glosses: .ctm, .csv/.txt of ids and glosses, .json/.jsonl transcripts, a folder, a run folder.

    Args:
        path: the file; of a run folder its `hypotheses/SPLIT.ctm` is read, of another folder every file in it.
        split: which hypotheses of a run folder.

    Returns:
        id → hypothesis. A clip with nothing recognised is there with no tokens where the file says so.

    Raises:
        UserError: missing, unreadable or malformed, with file and line.
    """
    path = Path(path)
    if not path.is_dir():
        return _hypothesis_file(path)
    if (path / "hypotheses").is_dir():
        return _hypothesis_file(path / "hypotheses" / f"{split}.ctm")
    files = sorted(p for p in path.iterdir() if p.suffix in _HYPOTHESIS_SUFFIXES and p.name != "prepare.json")
    suffix = next((s for s in _HYPOTHESIS_SUFFIXES if any(p.suffix == s for p in files)), "")
    collected = _Collected(path)
    for file in (p for p in files if p.suffix == suffix):
        items = {file.stem: Hypothesis(_text(file).split())} if suffix == ".txt" else _hypothesis_file(file)
        for clip_id, hypothesis in items.items():
            collected.add(clip_id, hypothesis, 0)
    if not collected.found:
        raise UserError(f"{path}: holds no {' or '.join(_HYPOTHESIS_SUFFIXES)}; give a file or a folder of transcripts")
    return collected.found


@paused_collector()
def read_references(path: str | Path) -> dict[str, Reference]:
    """Read reference glosses: .stm, a corpus csv (by its header) or id-and-glosses text, a manifest .jsonl(.gz).

    Raises:
        UserError: missing, unreadable, malformed or without any clip, with file and line.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the references as .stm, corpus .csv or manifest .jsonl")
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        found = _manifest(path)
    elif path.suffix == ".stm":
        found = _stm(path)
    else:
        found = _Collected(path)
        for number, row in _rows(path):
            found.add(row.id, Reference(row.text.split(), row.person), number)
    if not found.found:
        raise UserError(f"{path}: holds no clip; give the references as .stm, corpus .csv or manifest .jsonl")
    return found.found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give the path of hypotheses or references") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: is no UTF-8 text ({error.reason}); save it as UTF-8") from error


def _hypothesis_file(path: Path) -> dict[str, Hypothesis]:
    if path.suffix == ".ctm":
        return _ctm(path)
    collected = _Collected(path)
    if path.suffix in (".json", ".jsonl") or path.name.endswith(".jsonl.gz"):
        for number, clip_id, hypothesis in _transcripts(path):
            collected.add(clip_id, hypothesis, number)
    else:
        for number, row in _rows(path):
            collected.add(row.id, Hypothesis(row.text.split()), number)
    return collected.found


def _ctm(path: Path) -> dict[str, Hypothesis]:
    """Lines `id channel start duration gloss [confidence]`; `;; id` or the gloss [EMPTY] name a clip without any."""
    found: dict[str, Hypothesis] = {}
    empty: list[str] = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if fields[0].startswith(";;"):
            named = line.strip()[2:].split()
            empty += named if len(named) == 1 else []
            continue
        start, duration = _ctm_times(fields, f"{path}:{number}")
        hypothesis = found.setdefault(fields[0], Hypothesis([], [], fields[1]))
        if len(fields) >= _CTM_FIELDS and fields[4] != EMPTY and hypothesis.times is not None:
            hypothesis.tokens.append(fields[4])
            hypothesis.times.append((start, duration))
    for clip_id in empty:
        found.setdefault(clip_id, Hypothesis([], [], "1"))
    return found


def _ctm_times(fields: list[str], where: str) -> tuple[str, str]:
    try:
        start, duration = fields[2], fields[3]
        float(start), float(duration)
    except (IndexError, ValueError) as error:
        raise UserError(
            f"{where}: no CTM line '{' '.join(fields)[:80]}'; it must read: id channel start duration gloss"
        ) from error
    return start, duration


def _stm(path: Path) -> _Collected:
    """Lines `id channel speaker start end [<label>] glosses`."""
    collected = _Collected(path)
    for number, line in enumerate(_text(path).splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith(";;"):
            continue
        if len(fields) < _STM_FIELDS:
            raise UserError(
                f"{path}:{number}: no STM line '{line[:80]}'; it must read: id channel speaker start end glosses"
            )
        tokens = fields[_STM_FIELDS:]
        if tokens and tokens[0].startswith("<") and tokens[0].endswith(">"):
            tokens = tokens[1:]
        collected.add(fields[0], Reference(tokens, fields[2]), number)
    return collected


def _manifest(path: Path) -> _Collected:
    collected = _Collected(path)
    for number, clip in enumerate(manifest.read(path), 1):
        reference = Reference(clip.text.split(), clip.person, clip.group, clip.num_frames, clip.path, clip.sha256)
        collected.add(clip.id, reference, number)
    return collected


class _Row(NamedTuple):
    id: str
    text: str
    person: str


def _rows(path: Path) -> Iterator[tuple[int, _Row]]:
    """Rows of a table: `id|…|glosses` with a header, `id|glosses`, `id,glosses`, a tab, or `id gloss gloss …`."""
    lines = [(number, line) for number, line in enumerate(_text(path).splitlines(), 1) if line.strip()]
    if not lines:
        return
    separator = _separator(path, lines)
    columns = _columns(path, lines[0][1], separator)
    for number, line in lines[columns.num_header_lines :]:
        cells = _cells(line, separator)
        if max(columns.id, columns.text) >= len(cells):
            if separator == " " and cells:  # an id alone: nothing recognised
                yield number, _Row(cells[0], "", "")
                continue
            raise UserError(f"{path}:{number}: has {len(cells)} columns, the glosses are in number {columns.text + 1}")
        clip_id = cells[columns.id].strip()
        if not clip_id:
            raise UserError(f"{path}:{number}: has no id; each row must name its clip")
        person = cells[columns.person].strip() if 0 <= columns.person < len(cells) else ""
        yield number, _Row(clip_id, cells[columns.text], person)


class _Columns(NamedTuple):
    id: int
    text: int
    person: int
    num_header_lines: int


def _columns(path: Path, first_line: str, separator: str) -> _Columns:
    names = [cell.strip().lower() for cell in _cells(first_line, separator)]
    found = [_first_of(names, wanted) for wanted in (_ID_COLUMNS, _TEXT_COLUMNS, _PERSON_COLUMNS)]
    if found[0] >= 0 and found[1] >= 0:
        return _Columns(found[0], found[1], found[2], 1)
    if found[0] == 0 and len(names) == 2:
        return _Columns(0, 1, -1, 1)
    if len(names) > 2:
        raise UserError(
            f"{path}:1: has {len(names)} columns and no header that names them; give a first line with one of "
            f"{', '.join(_ID_COLUMNS)} and one of {', '.join(_TEXT_COLUMNS)}, or two columns: id and glosses"
        )
    return _Columns(0, 1, -1, 0)


def _first_of(names: list[str], wanted: Iterable[str]) -> int:
    return next((names.index(name) for name in wanted if name in names), -1)


def _separator(path: Path, lines: list[tuple[int, str]]) -> str:
    for mark in "|\t":
        lacking = [number for number, line in lines if mark not in line]
        if len(lacking) < len(lines):
            if lacking:
                shown = "|" if mark == "|" else "a tab"
                raise UserError(f"{path}:{lacking[0]}: has no {shown} between id and glosses, other lines have")
            return mark
    return "," if all("," in line for _, line in lines) else " "


def _cells(line: str, separator: str) -> list[str]:
    if separator == ",":
        return next(csv.reader([line]))
    return line.split(None, 1) if separator == " " else line.split(separator)


def _transcripts(path: Path) -> Iterator[tuple[int, str, Hypothesis]]:
    """Records of `slr recognize`, or the clips of a manifest. Failed records are left out, so they count as missing."""
    text = "" if path.suffix == ".gz" else _text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if path.suffix == ".gz" or (path.suffix == ".jsonl" and '"status"' not in first):
        for number, clip in enumerate(manifest.read(path), 1):
            yield number, clip.id, Hypothesis(clip.text.split())
        return
    for number, record in _records(path, text):
        try:
            if record["status"] != "failed":
                yield number, Path(str(record["file"])).stem, Hypothesis(str(record["text"]).split())
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path}:{number}: is no transcript ({error} is missing); give what `slr recognize` writes as json"
            ) from error


def _records(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    """Line number and content of each record of a .json or .jsonl."""
    parts = [(1, text)] if path.suffix == ".json" else list(enumerate(text.splitlines(), 1))
    for number, part in parts:
        if not part.strip():
            continue
        try:
            content = json.loads(part)
        except ValueError as error:
            raise UserError(f"{path}:{number}: not valid JSON ({error})") from error
        records = content.get("records", [content]) if isinstance(content, dict) else content
        yield from ((number, record) for record in records)
