"""What the readers of continuous corpora share: tables by header, folders of frames, quick checks, published counts."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from signwave.errors import ManifestError, MediaError, UserError
from signwave.manifest import Clip
from signwave.media.images import IMAGE_SUFFIXES
from signwave.media.video import open_video
from signwave.prepare import Problem, Row
from slr.datasets.videos import in_span

_NUM_SUBFOLDERS = 64
"""A folder with more of them holds clips; what is looked for doesn't lie there."""
_NUM_PARENTS = 3


@dataclass(frozen=True)
class Published:
    """Counts of a split as published or measured on the official files; None where nobody says.

    Attributes:
        clips: rows of the annotation.
        frames: of all clips.
        glosses: tokens.
        vocabulary: different glosses.
        singletons: glosses that occur once.
    """

    clips: int
    frames: int | None = None
    glosses: int | None = None
    vocabulary: int | None = None
    singletons: int | None = None


class Record(NamedTuple):
    """One row of a table: its values by column, and its place `file:line`."""

    values: dict[str, str]
    where: str


def read_records(table: Path, *, columns: Sequence[str], separators: str = "|") -> Iterator[Record | Problem]:
    """Rows of a table with a header; a row with too few or too many fields is a problem, and the rest still comes.

    Args:
        table: a text file in UTF-8.
        columns: columns that must be there; others come too.
        separators: what may part the fields; the one that the header holds most of is taken.

    Raises:
        ManifestError: the file isn't text, or lacks a column.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            separator = max(separators, key=header.count)
            # Quotes mean nothing where the pipe parts fields: there they are part of the text.
            quoting: Literal[0, 3] = csv.QUOTE_NONE if separator == "|" else csv.QUOTE_MINIMAL
            names = [name.strip() for name in next(csv.reader([header], delimiter=separator, quoting=quoting), [])]
            missing = [name for name in columns if name not in names]
            if missing:
                raise ManifestError(
                    f"{table}:1: has no column '{missing[0]}'; it has {', '.join(names)}, "
                    f"needed are {', '.join(columns)}"
                )
            yield from _records(table, csv.reader(file, delimiter=separator, quoting=quoting), names)
    except FileNotFoundError as error:
        raise ManifestError(f"{table}: no such table; check the folder that was given") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{table}: can't be read as a table ({error}); fetch it again") from error


def _records(table: Path, reader: Iterator[list[str]], names: list[str]) -> Iterator[Record | Problem]:
    for fields in reader:
        where = f"{table}:{reader.line_num + 1}"  # type: ignore[attr-defined]
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != len(names) or any("\n" in field for field in fields):
            reason = f"{len(fields)} fields under {len(names)} columns, or a line break in one; mend the row"
            yield Problem(where, reason, "fields")
            continue
        yield Record({name: " ".join(field.split()) for name, field in zip(names, fields, strict=True)}, where)


def find_base(raw: str | Path, *probes: str, what: str) -> Path:
    """The folder that holds one of `probes`: the one that was given, one above it, or one up to three levels below.

    Args:
        raw: what the user gave: the unpacked archive, the corpus, or a folder inside it.
        probes: paths of files or folders relative to the base.
        what: the layout in words, for the message.

    Raises:
        UserError: there is none.
    """
    folder = Path(raw).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"{raw}: no such folder; give the folder of the unpacked corpus")
    for base in (folder, *list(folder.parents)[:_NUM_PARENTS], *_below(folder, levels=3)):
        if any((base / probe).exists() for probe in probes):
            return base
    raise UserError(f"{raw}: holds no {' or '.join(probes)}; give the folder of {what}")


def _below(folder: Path, *, levels: int) -> Iterator[Path]:
    """Folders below, level by level; those with very many are not entered."""
    level = [folder]
    for _ in range(levels):
        found: list[Path] = []
        for parent in level:
            inside = sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
            found += inside if len(inside) <= _NUM_SUBFOLDERS else []
        yield from found
        level = found


def frame_folder(features: Path, pattern: str) -> Path:
    """The folder of a clip's frames, from what the table says, e.g. `NAME/1/*.png`; the `1` may be missing on disk.

    Raises:
        ManifestError: the pattern leads out of the corpus.
    """
    parts = PurePosixPath(pattern).parts
    if not parts or PurePosixPath(pattern).is_absolute() or ".." in parts:
        raise ManifestError(f"'{pattern}' is no path inside the corpus; correct the row")
    folders = parts[:-1] if "*" in parts[-1] else parts
    exact = features.joinpath(*folders)
    shorter = features.joinpath(*folders[:-1])
    return shorter if len(folders) > 1 and shorter.is_dir() and not exact.is_dir() else exact


def plain_name(name: str) -> str:
    """A file name from a table, refused if it is empty or leads elsewhere.

    Raises:
        ManifestError: it does.
    """
    if not name or name in (".", "..") or re.search(r"[/\\\0]", name):
        raise ManifestError(f"'{name}' is no name of a clip; correct the row")
    return name


def features_folder(base: Path) -> Path:
    """The full frames of a Phoenix corpus: as released, or resized by somebody (`fullFrame-256x256px`)."""
    official = base / "features" / "fullFrame-210x260px"
    resized = sorted((base / "features").glob("fullFrame-*px"))
    return resized[0] if resized and not official.is_dir() else official


def check_media(clip: Clip, *, rate_hz: float) -> Clip:
    """Count the frames and decode the first and the last one: quick enough for all clips of a corpus.

    Args:
        clip: a folder of pictures, a member of an archive, or a video file; or a span of one. If `num_frames` is set,
            that many are expected at least.
        rate_hz: rate of pictures; video files know theirs.

    Raises:
        MediaError: missing, empty, short of frames, or with an unreadable picture at one end or an empty one anywhere.
    """
    _refuse_empty_pictures(clip.path)
    with open_video(clip.path, fps=rate_hz) as video:
        num_frames, fps = video.num_frames, video.fps
        whole = in_span(clip, num_frames=num_frames, rate_hz=fps)
        first = min(num_frames - 1, round(clip.start_seconds * fps))
        video.frames_at([first, min(num_frames, first + (whole.num_frames or 1)) - 1])
    found, expected = whole.num_frames or 0, clip.num_frames or 0
    if found < expected:
        reason = f"{found} of {expected} frames are there; unpack it again"
        raise MediaError(clip.path, reason, frames_obtained=found, frames_announced=expected, kind="truncated")
    return whole


def _refuse_empty_pictures(path: str) -> None:
    """Files of 0 bytes are what an interrupted unpacking leaves; telling them apart costs no decoding."""
    if not os.path.isdir(path):
        return
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.stat().st_size == 0:
                raise MediaError(path, f"{entry.name} is an empty file of 0 bytes; unpack it again", kind="empty")


MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def broadcast_of(name: str) -> str:
    """The broadcast that a Phoenix clip was cut from: its id without the number of the sentence.

    >>> broadcast_of("01April_2010_Thursday_heute_default-12")
    '01April_2010_Thursday_heute_default'
    """
    return re.sub(r"-\d+$", "", name)


def date_of(name: str) -> str:
    """The day of a Phoenix clip's broadcast, "" where its id doesn't begin with one.

    >>> date_of("01April_2010_Thursday_heute_default-12")
    '2010-04-01'
    """
    found = re.match(r"(\d{2})([A-Z][a-z]+)_(\d{4})_", name)
    if found is None or found[2] not in MONTHS:
        return ""
    return f"{found[3]}-{MONTHS.index(found[2]) + 1:02d}-{found[1]}"


def labelled(records: Iterable[Record | Problem], make: Callable[[Record], Clip]) -> Iterator[Row | Problem]:
    """Rows of a table: each record as a clip, or as a problem if it is wrong or lacks its glosses."""
    for record in records:
        if isinstance(record, Problem):
            yield record
            continue
        try:
            clip = make(record)
        except (UserError, ValueError) as error:
            yield Problem(record.where, str(error), str(getattr(error, "kind", "invalid")))
            continue
        if clip.text:
            yield Row(clip, record.where)
        else:
            yield Problem(record.where, f"clip '{clip.id}' has no gloss; fill it in or remove the row", "label")
