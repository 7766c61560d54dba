"""Your own recordings: a folder of audio files with transcripts beside them, or with one table that lists them.

Language, hours, licence: yours. Three layouts, found by looking (`layout=` settles a doubt):

    text    hello.wav + hello.txt | hello.json             the file of the same name holds the transcript; in JSON an
                                                           object with a text, and perhaps a speaker and a language
    table   metadata.csv | train.csv, dev.csv … | *.tsv | *.jsonl | *.json, whose header names a path and a text
    audio   only audio: unlabelled clips, for pretraining

Folders or tables called train, dev (valid, validation, val) and test become splits. Columns are found by name (file,
path, wav, audio_filepath … and text, sentence, transcript …) or given: `path_column=file text_column=class`. Read as
they are: Hugging Face audio folders (file_name), NeMo manifests (audio_filepath, offset, duration), SpeechBrain JSON.

    asr prepare folder recordings/ OUT --language ur
    asr prepare folder corpus/ OUT table=train.csv text_column=class
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from asr.corpora.tables import SPLIT_NAMES, locate, parse_object, read_records
from signwave.errors import UserError
from signwave.inputs import files_below
from signwave.manifest import Clip
from signwave.prepare import Problem, Row

AUDIO_SUFFIXES = frozenset({
    ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".wma", ".aif", ".aiff", ".au", ".sph",
    ".mp4", ".mkv", ".webm", ".mov", ".avi",
})  # fmt: skip
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".jsonl.gz")
SIDECAR_SUFFIXES = (".txt", ".json")
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
    if table and not (raw / table).is_file():
        raise UserError(f"{raw / table}: no such table; name one below the folder with table=NAME")
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
    if any(_sidecar(path) is not None for path in files):
        return "text"
    if tables:
        return "table"
    if files:
        return "audio"
    raise UserError(f"{raw}: holds no audio file and no table ({', '.join(TABLE_SUFFIXES)}); check the folder")


def _tables(raw: Path) -> list[Path]:
    found = [path for path in sorted(raw.iterdir()) if path.name.endswith(TABLE_SUFFIXES) and path.is_file()]
    by_split = [path for path in found if path.name.split(".")[0] in SPLIT_NAMES]
    return by_split or found


def audio_files(raw: Path) -> Iterator[Path]:
    """Yield the audio and video files below a folder, in a fixed order, hidden ones left out."""
    return files_below(raw, AUDIO_SUFFIXES)


def _from_files(raw: Path, settings: _Settings, *, with_text: bool) -> Iterator[Row | Problem]:
    for path in audio_files(raw):
        relative = path.relative_to(raw)
        said = _read_sidecar(path) if with_text else _Said()
        if isinstance(said, Problem):
            yield said
            continue
        clip = Clip(
            id=relative.with_suffix("").as_posix(),
            path=str(path),
            kind="audio",
            text=said.text,
            person=said.person,
            language=settings.language or said.language,
            split=SPLIT_NAMES.get(relative.parts[0], settings.split),
        )
        yield Row(clip, str(path))


class _Said(NamedTuple):
    """What stands beside one recording."""

    text: str = ""
    person: str = ""
    language: str = ""


def _sidecar(path: Path) -> Path | None:
    return next((file for suffix in SIDECAR_SUFFIXES if (file := path.with_suffix(suffix)).is_file()), None)


def _read_sidecar(path: Path) -> _Said | Problem:
    file, where = _sidecar(path), str(path)
    if file is None:
        name = path.with_suffix(SIDECAR_SUFFIXES[0]).name
        return Problem(where, f"has no transcript {name} beside it; add it, or use layout=audio", "no_text")
    try:
        content = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        return Problem(where, f"its transcript {file.name} can't be read ({error}); save it as UTF-8", "no_text")
    if file.suffix == ".txt":
        return _Said(" ".join(content.split()))
    fields = parse_object(content, str(file))
    if isinstance(fields, Problem):
        return fields

    def value(*names: str) -> str:
        return " ".join(str(next((fields[name] for name in names if fields.get(name) is not None), "")).split())

    if not any(name in fields for name in _TEXT_COLUMNS):
        return Problem(str(file), f"has none of the keys {', '.join(_TEXT_COLUMNS)}; add a text", "no_text")
    return _Said(value(*_TEXT_COLUMNS), value(*_PERSON_COLUMNS), value("language", "lang"))


def _from_table(path: Path, raw: Path, names: dict[str, str], settings: _Settings) -> Iterator[Row | Problem]:
    columns: dict[tuple[str, ...], _Columns] = {}  # by the keys of a row: in JSON they may differ from row to row
    by_name = settings._replace(split=SPLIT_NAMES.get(path.name.split(".")[0], settings.split))
    for line, fields in read_records(path):
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
        path=str(locate(name, folder, settings.audio_root)),
        kind="audio",
        start_seconds=start,
        end_seconds=start + float(duration) if spans and duration else None,
        text=" ".join(str(fields.get(columns.text) or "").split()),
        language=settings.language or str(fields.get("language") or fields.get("lang") or ""),
        person=str(fields.get(columns.person) or "") if columns.person else "",
        split=SPLIT_NAMES.get(split, split) or settings.split,
    )


def _id(name: str, raw: Path) -> str:
    path = Path(name)
    if path.is_absolute():
        path = path.relative_to(raw.absolute()) if path.is_relative_to(raw.absolute()) else Path(*path.parts[1:])
    return path.with_suffix("").as_posix()
