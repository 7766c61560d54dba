"""Transcripts to be scored, out of manifests, folders and text files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from signwave import manifest
from signwave.errors import UserError

Named: TypeAlias = "tuple[str, Transcript]"


class Transcript(NamedTuple):
    """What is said in a recording, and by whom where the file says so."""

    text: str
    person: str = ""


def read_transcripts(path: Path) -> dict[str, Transcript]:
    """Return recording → transcript from a manifest, a folder or a text file, in their order.

    Raises:
        UserError: the path is missing, can't be read, or names a recording twice.
    """
    try:
        pairs = list(_folder(path) if path.is_dir() else _file(path))
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: can't be read as transcripts ({error}); give .txt, .json, .jsonl or a manifest"
        ) from error
    found: dict[str, Transcript] = {}
    for name, transcript in pairs:
        if name in found:
            raise UserError(f"{path}: names the recording '{name}' twice; rename one, names are paired without folder")
        found[name] = transcript
    return found


def _folder(path: Path) -> Iterator[Named]:
    files = sorted(path.rglob("*.json")) or sorted(path.rglob("*.txt"))
    for file in files:
        if file.name != "prepare.json":
            yield from _file(file, named=True)


def _file(path: Path, *, named: bool = False) -> Iterable[Named]:
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return _json_lines(path)
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".json":
        content = json.loads(text)
        return [_record(record) for record in content.get("records", [content])]
    if named:
        return [(path.stem, Transcript(text))]
    lines = text.splitlines()
    if lines and all("\t" in line for line in lines):  # what `asr transcribe` prints for several files
        return [(Path(name).stem, Transcript(rest)) for name, _, rest in (line.partition("\t") for line in lines)]
    return [(f"line {number}", Transcript(line)) for number, line in enumerate(lines, 1)]


def _json_lines(path: Path) -> Iterator[Named]:
    """Records of `asr transcribe`, or the clips of a manifest."""
    if path.suffix != ".gz":
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        if lines and "status" in json.loads(lines[0]):
            yield from (_record(json.loads(line)) for line in lines)
            return
    for clip in manifest.read(path):
        yield Path(clip.path).stem, Transcript(clip.text, clip.person)


def _record(record: dict[str, Any]) -> Named:
    return Path(str(record["file"])).stem, Transcript(str(record["text"]))
