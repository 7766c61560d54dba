"""Import what the code of SLRT (TwoStream-SLR, NLA-SLR and kin) or neccam/slt was trained on: its annotation pickles.

A file `NAME.train` (`.dev`, `.test`) is a list of dictionaries name, gloss, text, signer, num_frames, sign, packed with
gzip or not; `sign` is a placeholder or features and is left in the file. Give the folder that holds the files and the
frames: folders `fullFrame-210x260px/…`, `images/…` or `sentence_frames-512x512/…`, or a .zip of them, as its loader
addresses them (`zip@path`). No licence came with SLRT's files; the corpora keep theirs.

Traps. The names of Phoenix-2014 are paths into the corpus, those of Phoenix-2014T are SPLIT/NAME. The glosses are
normalised by SLRT (partly lower case), so the official protocols don't fit them. Reading a zip of a million pictures
lists it anew for every clip: unpack it for training.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from signwave.errors import ManifestError, MediaError, UserError
from signwave.manifest import Clip
from signwave.media.images import IMAGE_SUFFIXES
from signwave.plain_pickle import read_plain
from signwave.prepare import Problem, Row
from slr.datasets.annotations import check_media

RATE_HZ = 25.0
_FILE = re.compile(r".+\.(train|dev|val|test)(\.pkl|\.pickle|\.gz|\.gzip)*", re.IGNORECASE)
_FOLDERS = ("", "images", "sentence_frames-512x512", "sentence_frames-512x512/frames_512x512", "features")
_MEMBER = "::"
_SPLIT_AND_NAME = 2


def prepare(raw: str | Path) -> Iterator[Row | Problem]:
    """Rows of all annotation files in the folder; several of one split are an error."""
    folder = Path(raw).expanduser().absolute()
    files: dict[str, Path] = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        matched = _FILE.fullmatch(path.name)
        if matched and path.is_file():
            split = matched.group(1).lower()
            if split in files:
                raise UserError(f"{raw}: holds two files of the split {split}: {files[split].name}, {path.name}")
            files[split] = path
    if not files:
        raise UserError(f"{raw}: holds no annotation file NAME.train, NAME.dev or NAME.test; copy it there")
    frames = _Frames(folder)
    for split, path in files.items():
        yield from _rows(path, split, frames)


def check(clip: Clip) -> Clip:
    """Count the frames, and read the first and the last; members of an archive were counted in its list."""
    if _MEMBER in clip.path:
        return clip
    return check_media(clip, rate_hz=clip.rate_hz or RATE_HZ)


def _rows(path: Path, split: str, frames: _Frames) -> Iterator[Row | Problem]:
    content = read_plain(path)
    if not isinstance(content, list):
        raise UserError(f"{path}: holds a {type(content).__name__} where a list of clips is expected; remove it")
    for number, entry in enumerate(content):
        where = f"{path}[{number}]"
        try:
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise ManifestError("no dictionary with a name; the file is no annotation of SLRT")
            yield Row(_clip(entry, split, path.name.lower(), frames), where)
        except (UserError, ValueError) as error:
            yield Problem(where, str(error), str(getattr(error, "kind", "invalid")))


def _clip(entry: dict[str, Any], split: str, file_name: str, frames: _Frames) -> Clip:
    name = entry["name"]
    place, counted = frames.find(name)
    announced = entry.get("num_frames")
    if counted is not None and isinstance(announced, int) and counted != announced:
        reason = f"{counted} of {announced} frames are in the archive; pack it anew"
        raise MediaError(place, reason, frames_obtained=counted, frames_announced=announced, kind="truncated")
    gloss, text = (" ".join(str(entry.get(key) or "").split()) for key in ("gloss", "text"))
    if not gloss:
        raise ManifestError(f"clip '{name}' has no gloss; it can't be used")
    chinese = "csl" in file_name or "sentence_frames" in place
    spoken = "zh" if chinese else "de"
    rate_hz = 30.0 if chinese else RATE_HZ
    return Clip(
        id=_identity(name),
        path=place,
        kind="video",
        num_frames=announced if counted is None and isinstance(announced, int) else counted,
        rate_hz=rate_hz,
        text=gloss,
        language="csl" if chinese else "gsg",
        person=str(entry.get("signer") or ""),
        captions={spoken: text} if text and text != gloss else {},
        split=split,
    )


def _identity(name: str) -> str:
    """The clip's own id: `fullFrame-210x260px/train/ID/1/…` and `train/ID` name the clip ID.

    >>> _identity("fullFrame-210x260px/train/a-0/1/a-0"), _identity("train/b-1"), _identity("S01_P0_T0")
    ('a-0', 'b-1', 'S01_P0_T0')
    """
    parts = PurePosixPath(name).parts
    inside = next((i for i, part in enumerate(parts[:-1]) if part in ("train", "dev", "test")), None)
    return parts[inside + 1] if inside is not None else parts[-1]


class _Frames:
    """Where the frames of a clip lie: in a folder, or in the one zip archive."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        archives = sorted(folder.glob("*.zip"))
        if len(archives) > 1:
            raise UserError(f"{folder}: holds {len(archives)} zip archives; leave the one of the frames")
        self._archive = archives[0] if archives else None
        self._members = _count_members(archives[0]) if archives else Counter[str]()

    def find(self, name: str) -> tuple[str, int | None]:
        """Path of a clip's frames, and their number where an archive's list says it."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ManifestError(f"'{name}' is no path inside the corpus; correct the entry")
        # Only the names of Phoenix-2014 go on behind the folder.
        insides = (path, path.parent) if len(path.parts) > _SPLIT_AND_NAME else (path,)
        candidates = [PurePosixPath(folder) / inside for folder in _FOLDERS for inside in insides]
        for candidate in candidates:
            if str(candidate) in self._members:
                return f"{self._archive}{_MEMBER}{candidate}", self._members[str(candidate)]
            if _holds_pictures(self._folder / candidate):
                return str(self._folder / candidate), None
        raise MediaError(name, f"no frames below {self._folder}; unpack them there", kind="missing")


def _count_members(archive: Path) -> Counter[str]:
    try:
        with zipfile.ZipFile(archive) as file:
            names = [name for name in file.namelist() if name.lower().endswith(IMAGE_SUFFIXES)]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{archive}: is no readable zip archive ({error}); fetch it again") from error
    return Counter(str(PurePosixPath(name).parent) for name in names)


def _holds_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())
