"""Publishing an index as a whole: immutable segments, numbered generations that list them, one pointer that is renamed.

    INDEX/CURRENT                    "000003 <sha256 of that generation's MANIFEST.json>"
    INDEX/LOCK                       held by the writer
    INDEX/segments/000002/…          rows and their files; never changed again
    INDEX/generations/000003/…       MANIFEST.json: the segments, size and sha256 of each file; tombstones

A segment, then a generation, is written under a temporary name, flushed and renamed, and only then pointed to. A
process killed at any moment leaves the previous generation in use and rubbish that the next writer sweeps.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from signwave.errors import ArtefactError
from signwave.index.files import (
    MANIFEST_NAME,
    TEMPORARY,
    checked_names,
    damaged,
    describe_files,
    fsync,
    new_folder,
    require_space,
    writing,
)
from signwave.rundir import atomic_write, sweep_temporaries

FORMAT = 2

_CURRENT = "CURRENT"
_GENERATIONS = "generations"
_SEGMENTS = "segments"
_NUM_KEPT = 2
_POINTER = re.compile(r"([0-9]{6,12}) ([0-9a-f]{64})\n")
_NUMBER = re.compile(r"[0-9]{6,12}")
_SEGMENT_KEYS = {"name", "rows", "dead", "kind", "files"}

Result = TypeVar("Result")


@dataclass(frozen=True)
class Generation:
    """A published generation whose manifest has been checked against the pointer.

    Attributes:
        folder: the index folder.
        number: counts up with every change of the index.
        manifest: what MANIFEST.json holds; "segments" are in the order in which their rows were written.
    """

    folder: Path
    number: int
    manifest: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """Folder of the manifest and the tombstones."""
        return self.folder / _GENERATIONS / f"{self.number:06d}"

    @property
    def segments(self) -> Sequence[Mapping[str, Any]]:
        """What the manifest says about each segment."""
        return self.manifest["segments"]  # type: ignore[no-any-return]

    def segment_path(self, entry: Mapping[str, Any]) -> Path:
        """Folder of a segment."""
        return self.folder / _SEGMENTS / str(entry["name"])


def current_number(folder: Path) -> int:
    """Number of the generation in use."""
    return _read_pointer(folder)[0]


def current_number_or_zero(folder: Path) -> int:
    """Number of the generation in use, 0 where nothing was published yet."""
    return _read_pointer(folder)[0] if (folder / _CURRENT).exists() else 0


def read_current(folder: Path) -> Generation:
    """The generation in use, its manifest verified."""
    for _ in range(5):
        number, digest = _read_pointer(folder)
        try:
            return _manifested(folder, number, digest)
        except ArtefactError:
            # A writer may have published and swept twice since the pointer was read; then there is a newer one.
            if _read_pointer(folder)[0] == number:
                raise
    raise ArtefactError(f"{folder}: the index changed five times while it was being opened; try again")


def _manifested(folder: Path, number: int, digest: str) -> Generation:
    """The generation of a number, if its manifest has the digest."""
    path = folder / _GENERATIONS / f"{number:06d}" / MANIFEST_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise damaged(path, f"is missing ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise damaged(path, f"does not match its SHA-256 in {_CURRENT}")
    return Generation(folder, number, _parsed(data, path))


def _read_pointer(folder: Path) -> tuple[int, str]:
    path = folder / _CURRENT
    try:
        text = path.read_bytes()[:200].decode("ascii", errors="replace")
    except OSError as error:
        raise ArtefactError(f"{folder}: no index here ({_CURRENT}: {error.strerror}); build one first") from error
    match = _POINTER.fullmatch(text)
    if match is None:
        raise damaged(path, f"holds {text[:40]!r}, not a generation and a checksum")
    return int(match[1]), match[2]


def _parsed(data: bytes, path: Path) -> Mapping[str, Any]:
    try:
        manifest = json.loads(data)
        found = manifest.get("format")
    except (ValueError, AttributeError) as error:
        raise damaged(path, f"can't be read ({error})") from error
    if found != FORMAT:
        raise ArtefactError(
            f"{path.parent}: index format {found!r}, this version reads {FORMAT}; build the index again"
        )  # fmt: skip
    checked_names(manifest.get("files"), path)
    segments = manifest.get("segments")
    if not isinstance(segments, list):
        raise damaged(path, "can't be read (no list of segments)")
    for entry in segments:
        if not isinstance(entry, dict) or not entry.keys() >= _SEGMENT_KEYS:
            raise damaged(path, "can't be read (a segment without its facts)")
        if not _NUMBER.fullmatch(str(entry["name"])):
            raise damaged(path, f"lists the segment {entry['name']!r}, which no index has")
        checked_names(entry["files"], path)
    return manifest  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Writer:
    """Where the parts of the generation to come are written; made by `publish`.

    Attributes:
        folder: the index folder.
        number: of the generation to come, and the name of its new segment.
    """

    folder: Path
    number: int

    @property
    def segment_path(self) -> Path:
        """Folder of the one segment that this generation may add."""
        return self.folder / _SEGMENTS / f"{self.number:06d}"

    @contextlib.contextmanager
    def segment(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield a folder for the new segment's files, and its entry of the manifest, to which the block adds facts."""
        entry: dict[str, Any] = {"name": self.segment_path.name}
        with new_folder(self.segment_path.parent, self.segment_path.name) as temporary:
            yield temporary, entry
            entry["files"] = describe_files(temporary)


def publish(
    folder: Path,
    write: Callable[[Writer, Path], Mapping[str, Any]],
    read_back: Callable[[Generation], Result],
    *,
    needed_bytes: int = 0,
) -> Result:
    """Write a new generation, read it back, and only then point to it. The caller holds the lock.

    Args:
        folder: the index folder.
        write: writes a new segment through the writer and tombstones into the folder that it is given, and returns what
            the manifest shall say.
        read_back: loads the finished generation; if it fails, nothing changes.
        needed_bytes: refuse before writing when the disk has less room.

    Returns:
        What `read_back` returned.
    """
    home = folder / _GENERATIONS
    with writing(folder):
        home.mkdir(exist_ok=True)
        writer = Writer(folder, sweep(folder) + 1)
        require_space(folder, needed_bytes)
        try:
            with new_folder(home, f"{writer.number:06d}") as temporary:
                digest = _write_manifest(temporary, write(writer, temporary))
            result = read_back(_manifested(folder, writer.number, digest))
            atomic_write(folder / _CURRENT, f"{writer.number:06d} {digest}\n")
        except BaseException:
            if current_number_or_zero(folder) != writer.number:
                shutil.rmtree(home / f"{writer.number:06d}", ignore_errors=True)
                shutil.rmtree(writer.segment_path, ignore_errors=True)
            raise
    # The new generation is in use from here on; what can't be deleted now is swept later.
    with contextlib.suppress(OSError):
        sweep(folder)
    return result


def _write_manifest(folder: Path, description: Mapping[str, Any]) -> str:
    manifest = {"format": FORMAT, **description, "files": describe_files(folder)}
    data = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    (folder / MANIFEST_NAME).write_bytes(data)
    fsync(folder / MANIFEST_NAME)
    return hashlib.sha256(data).hexdigest()


def sweep(folder: Path) -> int:
    """Delete what killed writers left and all but the newest generations; returns the number in use, 0 for none.

    The caller holds the lock, so nothing that is swept is being written. Files that a reader has open live on until it
    closes them.
    """
    number = current_number_or_zero(folder)
    sweep_temporaries(folder)
    kept = {f"{each:06d}" for each in range(max(1, number - _NUM_KEPT + 1), number + 1)}
    _clear(folder / _GENERATIONS, kept)
    listed = [_listed_segments(folder / _GENERATIONS / name / MANIFEST_NAME) for name in kept]
    _clear(folder / _SEGMENTS, set().union(*listed))
    return number


def _listed_segments(path: Path) -> set[str]:
    """Segments that a kept generation needs; none if it can't be read, which only an older one may be."""
    try:
        return {str(entry["name"]) for entry in json.loads(path.read_bytes())["segments"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _clear(home: Path, kept: set[str]) -> None:
    for path in home.iterdir() if home.exists() else ():
        ours = _NUMBER.fullmatch(path.name) or path.name.startswith(TEMPORARY)
        if ours and path.name not in kept:
            shutil.rmtree(path)
