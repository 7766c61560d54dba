"""Your own recordings: a folder of audio files with transcripts beside them, or with one table that lists them.

Language, hours, licence: yours. Three layouts, found by looking (`layout=` settles a doubt):

    text    hello.wav + hello.txt                          the transcript is the text file of the same name
    table   metadata.csv | train.csv, dev.csv … | *.tsv | *.jsonl | *.json, whose header names a path and a text
    audio   only audio: unlabelled clips, for pretraining

Folders or tables called train, dev (valid, validation, val) and test become splits. Columns are found by name (file,
path, wav, audio_filepath … and text, sentence, transcript …) or given: `path_column=file text_column=class`. Read as
they are: Hugging Face audio folders (file_name), NeMo manifests (audio_filepath, offset, duration), SpeechBrain JSON.

    asr prepare folder recordings/ OUT --language ur
    asr prepare folder corpus/ OUT table=train.csv text_column=class
"""

import csv
import gzip
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from signwave.errors import UserError
from signwave.inputs import files_below
from signwave.manifest import Clip
from signwave.prepare import Problem, Row

AUDIO_SUFFIXES = frozenset({
    ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".wma", ".aif", ".aiff", ".au", ".sph",
    ".mp4", ".mkv", ".webm", ".mov", ".avi",
})  # fmt: skip
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".jsonl.gz")
_SPLIT_NAMES = {"train": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev", "test": "test"}
_ID_COLUMNS = ["id", "utt_id", "utterance_id"]
_PATH_COLUMNS = [
    "path", "file", "file_name", "filename", "audio_filepath", "audio_path", "audio_file", "audio", "wav", "clip",
]  # fmt: skip
_TEXT_COLUMNS = ["text", "sentence", "transcript", "transcription", "normalized_text", "wrd", "words", "label"]
_PERSON_COLUMNS = ["speaker", "speaker_id", "spk_id", "client_id", "person"]
_START_COLUMNS = ["start_seconds", "offset", "begin_time"]

Layout = Literal["", "text", "table", "audio"]


class _Columns(NamedTuple):
    id: str
    path: str
    text: str
    person: str
    split: str
    start: str


class _Settings(NamedTuple):
    language: str
    split: str
    audio_root: Path


def prepare(
    raw: Path,
    *,
    language: str = "",
    layout: str = "",
    table: str = "",
    path_column: str = "",
    text_column: str = "",
    person_column: str = "",
    split: str = "",
    audio_root: str = "",
) -> Iterator[Row | Problem]:
    """Yield the clips of a folder.

    Args:
        raw: the folder.
        language: code of the language spoken.
        layout: text, table or audio; empty = found by looking.
        table: the table to read, relative to the folder; empty = all tables in it.
        path_column: column (key) of the audio path; empty = found by name.
        text_column: column (key) of the transcript; empty = found by name.
        person_column: column (key) of the speaker; empty = found by name.
        split: name of the split where neither folder, table nor column says one.
        audio_root: what relative paths in the table start from; empty = the table's folder, then the folder given.

    Yields:
        Rows whose id is the table's, else the path below the folder without suffix; or problems.

    Raises:
        UserError: nothing usable is there, or a table lacks the columns.
    """
    if layout not in get_args(Layout):
        raise UserError(f"layout={layout}: unknown; allowed are text, table, audio")
    if not raw.is_dir():
        raise UserError(f"{raw}: no such folder; give the folder that holds the recordings")
    settings = _Settings(language, split, Path(audio_root) if audio_root else raw)
    tables = [raw / table] if table else _tables(raw)
    found = layout or ("table" if table else _find_layout(raw, tables))
    if found == "table":
        names = {"path": path_column, "text": text_column, "person": person_column}
        for path in tables:
            yield from _from_table(path, raw, names, settings)
        return
    yield from _from_files(raw, settings, with_text=found == "text")


def _find_layout(raw: Path, tables: list[Path]) -> Layout:
    files = list(itertools.islice(audio_files(raw), 200))
    if any(path.with_suffix(".txt").is_file() for path in files):
        return "text"
    if tables:
        return "table"
    if files:
        return "audio"
    raise UserError(f"{raw}: holds no audio file and no table ({', '.join(TABLE_SUFFIXES)}); check the folder")


def _tables(raw: Path) -> list[Path]:
    found = [path for path in sorted(raw.iterdir()) if path.name.endswith(TABLE_SUFFIXES) and path.is_file()]
    by_split = [path for path in found if path.name.split(".")[0] in _SPLIT_NAMES]
    return by_split or found


def audio_files(raw: Path) -> Iterator[Path]:
    """Yield the audio and video files below a folder, in a fixed order, hidden ones left out."""
    return files_below(raw, AUDIO_SUFFIXES)


def _from_files(raw: Path, settings: _Settings, *, with_text: bool) -> Iterator[Row | Problem]:
    for path in audio_files(raw):
        relative = path.relative_to(raw)
        text = ""
        if with_text:
            outcome = _read_transcript(path.with_suffix(".txt"))
            if isinstance(outcome, Problem):
                yield outcome._replace(where=str(path))
                continue
            text = outcome
        clip = Clip(
            id=relative.with_suffix("").as_posix(),
            path=str(path),
            kind="audio",
            text=text,
            language=settings.language,
            split=_SPLIT_NAMES.get(relative.parts[0], settings.split),
        )
        yield Row(clip, str(path))


def _read_transcript(path: Path) -> str | Problem:
    try:
        return " ".join(path.read_text(encoding="utf-8-sig").split())
    except FileNotFoundError:
        return Problem("", f"has no transcript {path.name} beside it; add it, or use layout=audio", "no_text")
    except (OSError, UnicodeDecodeError) as error:
        return Problem("", f"its transcript {path.name} can't be read ({error}); save it as UTF-8", "no_text")


def _from_table(path: Path, raw: Path, names: dict[str, str], settings: _Settings) -> Iterator[Row | Problem]:
    columns: dict[tuple[str, ...], _Columns] = {}  # by the keys of a row: in JSON they may differ from row to row
    by_name = settings._replace(split=_SPLIT_NAMES.get(path.name.split(".")[0], settings.split))
    for line, fields in _read_rows(path):
        where = f"{path}:{line}" if line else str(path)
        if isinstance(fields, Problem):
            yield fields
            continue
        keys = tuple(map(str, fields))
        try:
            if keys not in columns:
                columns[keys] = _find_columns(path, fields, names)
            yield Row(_clip(fields, columns[keys], path.parent, raw, by_name), where)
        except ValueError as error:
            yield Problem(where, f"{error}; correct the row", "invalid")
        except UserError as error:
            if not columns:  # not even the first row has them: the table is another than was meant
                raise
            yield Problem(where, str(error).partition(": ")[2], "invalid")


def _find_columns(path: Path, fields: dict[str, Any], names: dict[str, str]) -> _Columns:
    def find(role: str, candidates: list[str], *, needed: bool) -> str:
        given = names.get(role, "")
        matches = [given] if given else candidates
        lowered = {str(name).lower(): name for name in fields}
        for name in matches:
            if name.lower() in lowered:
                return str(lowered[name.lower()])
        if needed or given:
            wanted = f"no column '{given}'" if given else f"no column for the {role} ({', '.join(candidates)})"
            raise UserError(f"{path}:1: {wanted}, only {', '.join(map(str, fields))}; name it with {role}_column=NAME")
        return ""

    return _Columns(
        id=find("id", _ID_COLUMNS, needed=False),
        path=find("path", _PATH_COLUMNS, needed=True),
        text=find("text", _TEXT_COLUMNS, needed=True),
        person=find("person", _PERSON_COLUMNS, needed=False),
        split=find("split", ["split"], needed=False),
        start=find("start", _START_COLUMNS, needed=False),
    )


def _clip(fields: dict[str, Any], columns: _Columns, folder: Path, raw: Path, settings: _Settings) -> Clip:
    name = str(fields.get(columns.path) or "").strip().replace("{data_root}", str(settings.audio_root))
    if not name:
        raise ValueError(f"the column '{columns.path}' is empty")
    start = float(fields.get(columns.start) or 0.0)
    duration = fields.get("duration")
    spans = columns.start == "offset" or start > 0  # only then is the duration a part of the file
    split = str(fields.get(columns.split) or "").strip()
    return Clip(
        id=str(fields.get(columns.id) or "") or _id(name, raw) + (f"@{start:g}" if spans and start else ""),
        path=str(_locate(name, folder, settings.audio_root)),
        kind="audio",
        start_seconds=start,
        end_seconds=start + float(duration) if spans and duration else None,
        text=" ".join(str(fields.get(columns.text) or "").split()),
        language=settings.language or str(fields.get("language") or fields.get("lang") or ""),
        person=str(fields.get(columns.person) or "") if columns.person else "",
        split=_SPLIT_NAMES.get(split, split) or settings.split,
    )


def _id(name: str, raw: Path) -> str:
    path = Path(name)
    if path.is_absolute():
        path = path.relative_to(raw.absolute()) if path.is_relative_to(raw.absolute()) else Path(*path.parts[1:])
    return path.with_suffix("").as_posix()


def _locate(name: str, folder: Path, audio_root: Path) -> Path:
    """The file that a table means: relative to the table's folder, else to the audio root, else just its name there."""
    candidates = [folder / name, audio_root / name, *_tails(name, audio_root)]
    return next((path for path in candidates if path.is_file()), audio_root / name)


def _tails(name: str, audio_root: Path) -> Iterator[Path]:
    """Published tables often carry the author's own leading folders (`dataset/a.wav` where `dataset` was unpacked)."""
    parts = Path(name).parts
    for num_dropped in range(1, len(parts)):
        yield audio_root.joinpath(*parts[num_dropped:])


def _read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    """(line, column → value) of a table of any kind; line 0 where the format has none."""
    try:
        if path.suffix == ".json":
            yield from _read_json(path)
        elif path.name.endswith((".jsonl", ".jsonl.gz")):
            yield from _read_json_lines(path)
        else:
            yield from _read_csv(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such table; name one below the folder with table=NAME") from error
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: can't be read as a table ({error}); save it as UTF-8 text") from error


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        if path.suffix == ".tsv":
            reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            reader = csv.DictReader(file, delimiter=max(",;|\t", key=header.count))
        for fields in reader:
            yield reader.line_num, fields


def _read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if text.strip():
                yield line, _object(text, f"{path}:{line}")


def _object(text: str, where: str) -> dict[str, Any] | Problem:
    try:
        value = json.loads(text)
    except ValueError as error:
        return Problem(where, f"not valid JSON ({error}); correct the line", "invalid")
    if not isinstance(value, dict):
        return Problem(where, f"expected an object with a path and a text, got {type(value).__name__}", "invalid")
    return value


def _read_json(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """A list of objects, or an object of objects (SpeechBrain), one a recording."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); correct the file") from error
    rows = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path}: expected a list of objects, each with a path and a text")
    for row in rows:
        yield 0, row
