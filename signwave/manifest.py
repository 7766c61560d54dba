"""A dataset is a manifest: JSON lines, one frozen `Clip` a line, the same row type for video, pose and audio."""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, get_args

from signwave.errors import ManifestError
from signwave.rundir import atomic_path

ClipKind = Literal["video", "pose", "audio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One clip of video, pose or audio, or a span of one, with what is said or signed in it.

    >>> Clip(id="a-1", path="a.wav", kind="audio", num_frames=32000, rate_hz=16000.0, text="hello").duration_seconds
    2.0
    """

    id: str
    path: str
    """Local file or frame folder; relative paths are relative to the manifest's folder."""
    kind: ClipKind
    start_seconds: float = 0.0
    end_seconds: float | None = None
    """Half-open span [start, end); None means the end of the file."""
    num_frames: int | None = None
    """Frames of video or pose in the span, or samples of one audio channel, at `rate_hz`."""
    rate_hz: float | None = None
    text: str = ""
    """Glosses separated by spaces, or a transcript."""
    language: str = ""
    """Code of the sign language or spoken language of `text`."""
    person: str = ""
    """Signer or speaker."""
    group: str = ""
    """Clips of one group belong together: they perform the same content, or come from one broadcast."""
    captions: dict[str, str] = field(default_factory=dict)
    """Language code → sentence, for retrieval."""
    date: str = ""
    """Of the recording: YYYY, YYYY-MM or YYYY-MM-DD."""
    split: str = ""
    sha256: str = ""
    poses_path: str = ""
    """Keypoints of the same file, a `.pose` with the same times; relative like `path`."""

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise ValueError(problem)

    @property
    def duration_seconds(self) -> float | None:
        """Length of the span, None where neither the end nor the number of frames is known."""
        if self.end_seconds is not None:
            return self.end_seconds - self.start_seconds
        if self.num_frames is not None and self.rate_hz:
            return self.num_frames / self.rate_hz
        return None

    def seen_from(self, folder: str | Path) -> "Clip":
        """The clip with its files named relative to a folder, for a manifest that is written there."""

        def relative(path: str) -> str:
            return os.path.relpath(path, folder) if path else ""

        return dataclasses.replace(self, path=relative(self.path), poses_path=relative(self.poses_path))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the fields that hold their default."""
        row = {}
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if value != ({} if spec.name == "captions" else spec.default):
                row[spec.name] = value
        return row

    @classmethod
    def from_dict(cls, row: Any, *, where: str = "row") -> "Clip":
        """Make a clip from plain values.

        Raises:
            ManifestError: unknown or missing key, wrong type or impossible value; the message starts with `where`.
        """
        if not isinstance(row, dict):
            raise ManifestError(f"{where}: expected an object, got {type(row).__name__}")
        unknown = set(row) - _FIELDS
        if unknown:
            raise ManifestError(
                f"{where}: unknown key '{sorted(unknown)[0]}'; allowed are {', '.join(sorted(_FIELDS))}"
            )
        missing = {"id", "path", "kind"} - set(row)
        if missing:
            raise ManifestError(f"{where}: key '{sorted(missing)[0]}' is missing")
        try:
            return cls(**row)
        except (TypeError, ValueError) as error:
            raise ManifestError(f"{where}: {error}") from error


_FIELDS = {spec.name for spec in dataclasses.fields(Clip)}
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_TEXT_FIELDS = ("id", "path", "text", "language", "person", "group", "date", "split", "sha256", "poses_path")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124 (NaN)


def _problem(clip: Clip) -> str:
    """What is wrong with a clip's values, or ''."""
    for name in _TEXT_FIELDS:
        if not isinstance(getattr(clip, name), str):
            return f"{name} must be text, got {getattr(clip, name)!r}"
    if not clip.id or not clip.path:
        return "id and path must not be empty"
    if clip.date and not _DATE.fullmatch(clip.date):
        return f"date must be YYYY, YYYY-MM or YYYY-MM-DD, got {clip.date!r}"
    if clip.kind not in get_args(ClipKind):
        return f"kind must be one of {', '.join(get_args(ClipKind))}, got {clip.kind!r}"
    if not all(isinstance(k, str) and isinstance(v, str) for k, v in clip.captions.items()):
        return f"captions must map language to text, got {clip.captions!r}"
    return _number_problem(clip)


def _number_problem(clip: Clip) -> str:
    start, end = clip.start_seconds, clip.end_seconds
    if not _is_number(start) or start < 0:
        return f"start_seconds must be at least 0, got {start!r}"
    if end is not None and (not _is_number(end) or end < start):
        return f"end_seconds must not lie before start_seconds {start}, got {end!r}"
    if clip.num_frames is not None and (type(clip.num_frames) is not int or clip.num_frames < 0):
        return f"num_frames must be a whole number of at least 0, got {clip.num_frames!r}"
    if clip.rate_hz is not None and (not _is_number(clip.rate_hz) or clip.rate_hz <= 0):
        return f"rate_hz must be above 0, got {clip.rate_hz!r}"
    return ""


def _open_text(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return open(path, encoding="utf-8")


def read(path: str | Path) -> Iterator[Clip]:
    """Stream the clips of a .jsonl or .jsonl.gz manifest; relative media paths come out resolved.

    Raises:
        ManifestError: the file is missing or cut off, or a row is wrong ("file:line: …").
    """
    path = Path(path)
    number = 0
    try:
        with _open_text(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _parse_line(line, where=f"{path}:{number}", folder=path.parent)
    except FileNotFoundError as error:
        raise ManifestError(f"{path}: no such manifest; make one with `slr prepare` or `asr prepare`") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}:{number + 1}: can't be read ({error}); prepare it again") from error


def _parse_line(line: str, *, where: str, folder: Path) -> Clip:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ManifestError(f"{where}: not valid JSON ({error})") from error
    clip = Clip.from_dict(row, where=where)
    return dataclasses.replace(
        clip, path=str(folder / clip.path), poses_path=str(folder / clip.poses_path) if clip.poses_path else ""
    )


def dump_line(clip: Clip) -> str:
    """One manifest line, without the line end; equal clips give equal text."""
    return json.dumps(clip.to_dict(), ensure_ascii=False, sort_keys=True, allow_nan=False)


def write(path: str | Path, clips: Iterable[Clip]) -> str:
    """Write a manifest at once (compressed when the name ends in .gz) and return its content hash.

    Equal clips give equal bytes: the gzip header holds no time and no name.
    """
    path = Path(path)
    digest = hashlib.sha256()
    with atomic_path(path) as temporary, open(temporary, "wb") as raw:
        packed = gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) if path.suffix == ".gz" else raw
        with io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file:
            for clip in clips:
                line = dump_line(clip) + "\n"
                digest.update(line.encode())
                file.write(line)
    return digest.hexdigest()


def content_hash(clips: Iterable[Clip]) -> str:
    """SHA-256 over the rows in order; the same for a packed and an unpacked manifest."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(dump_line(clip).encode() + b"\n")
    return digest.hexdigest()


def file_hash(path: str | Path) -> str:
    """SHA-256 over the lines of a manifest as they are written; packed or not, and wherever the folder lies.

    Raises:
        ManifestError: the file is missing or cut off.
    """
    digest = hashlib.sha256()
    try:
        with _open_text(Path(path)) as file:
            for line in file:
                digest.update(line.encode())
    except FileNotFoundError as error:
        raise ManifestError(f"{path}: no such manifest; make one with `slr prepare` or `asr prepare`") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: can't be read ({error}); prepare it again") from error
    return digest.hexdigest()


@dataclass(frozen=True)
class Report:
    """What `validate` found. `problems` is empty for a good manifest."""

    num_clips: int
    total_seconds: float
    problems: list[str]


def validate(clips: Iterable[Clip], *, expected_rows: int | None = None, check_media: bool = False) -> Report:
    """Check a whole manifest: ids unique, media present (on request), as many rows as published."""
    problems, seen, seconds, num = [], Counter[str](), 0.0, 0
    for num, clip in enumerate(clips, 1):  # noqa: B007 (num is read after the loop)
        seen[clip.id] += 1
        if seen[clip.id] == 2:  # the second time: say it once
            problems.append(f"id '{clip.id}' occurs more than once; ids must be unique")
        if check_media and not Path(clip.path.split("::")[0]).exists():
            problems.append(f"{clip.path}: no such file (clip '{clip.id}')")
        seconds += clip.duration_seconds or 0.0
    if expected_rows is not None and num != expected_rows:
        problems.append(f"{num} rows, but {expected_rows} are published; the download may be incomplete")
    return Report(num_clips=num, total_seconds=seconds, problems=problems)
