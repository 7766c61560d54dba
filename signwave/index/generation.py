"""Publishing an index as a whole: numbered generation folders, checksums, and one pointer that is renamed.

    INDEX/CURRENT                    "000003 <sha256 of that generation's MANIFEST.json>"
    INDEX/LOCK                       held by the writer
    INDEX/generations/000003/…       files and MANIFEST.json (size and sha256 of each file); never changed again

A generation is written under a temporary name, flushed, renamed, and only then pointed to. A process killed at any
moment leaves the previous generation in use and rubbish that the next writer sweeps.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from signwave.errors import ArtefactError
from signwave.rundir import atomic_write, sha256_file, sweep_temporaries

_CURRENT = "CURRENT"
_GENERATIONS = "generations"
_MANIFEST = "MANIFEST.json"
_TEMPORARY = ".tmp-"
_NUM_KEPT = 2
_POINTER = re.compile(r"([0-9]{6,12}) ([0-9a-f]{64})\n")
_FILE_NAME = re.compile(r"[a-z][a-z0-9_.]{0,60}")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Generation:
    """A published generation whose manifest has been checked against the pointer.

    Attributes:
        path: its folder.
        number: counts up with every change of the index.
        manifest: what MANIFEST.json holds.
    """

    path: Path
    number: int
    manifest: Mapping[str, Any]

    def check_files(self, *, skip: Collection[str] = ()) -> None:
        """Compare size and checksum of every file with the manifest; of those in `skip` the size only."""
        for name, expected in self.manifest["files"].items():
            path = self.path / name
            try:
                found = path.stat().st_size
            except OSError as error:
                raise _damaged(path, f"is missing ({error.strerror})") from error
            if found != expected["bytes"]:
                raise _damaged(path, f"has {found} bytes, the manifest says {expected['bytes']}")
            if name not in skip and sha256_file(path) != expected["sha256"]:
                raise _damaged(path, "does not match its SHA-256 in the manifest")

    def file(self, name: str) -> Path | None:
        """Path of a file, None if this generation has none of that name."""
        return self.path / name if name in self.manifest["files"] else None


def _damaged(path: Path, reason: str) -> ArtefactError:
    return ArtefactError(
        f"{path} {reason}: the index is damaged; restore it from a copy, or delete the folder and build it again"
    )


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
            return _manifested(folder / _GENERATIONS / f"{number:06d}", number, digest)
        except ArtefactError:
            # A writer may have published and swept twice since the pointer was read; then there is a newer one.
            if _read_pointer(folder)[0] == number:
                raise
    raise ArtefactError(f"{folder}: the index changed five times while it was being opened; try again")


def _manifested(path: Path, number: int, digest: str) -> Generation:
    """The generation in a folder, if its manifest has the digest."""
    try:
        data = (path / _MANIFEST).read_bytes()
    except OSError as error:
        raise _damaged(path / _MANIFEST, f"is missing ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise _damaged(path / _MANIFEST, f"does not match its SHA-256 in {_CURRENT}")
    return Generation(path, number, _parsed(data, path / _MANIFEST))


def _read_pointer(folder: Path) -> tuple[int, str]:
    path = folder / _CURRENT
    try:
        text = path.read_bytes()[:200].decode("ascii", errors="replace")
    except OSError as error:
        raise ArtefactError(f"{folder}: no index here ({_CURRENT}: {error.strerror}); build one first") from error
    match = _POINTER.fullmatch(text)
    if match is None:
        raise _damaged(path, f"holds {text[:40]!r}, not a generation and a checksum")
    return int(match[1]), match[2]


def _parsed(data: bytes, path: Path) -> Mapping[str, Any]:
    try:
        manifest = json.loads(data)
        names = list(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"can't be read ({error})") from error
    for name in names:
        if not _FILE_NAME.fullmatch(name):
            raise _damaged(path, f"lists the file {name!r}, which no index has")
    return manifest  # type: ignore[no-any-return]


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn a full disk, or any other failure of the system to write, into one line."""
    try:
        yield
    except OSError as error:
        raise ArtefactError(
            f"{folder}: can't write a new generation ({error.strerror or error}); the previous one is untouched; "
            "make room or check the rights and try again"
        ) from error


def publish(
    folder: Path,
    write_files: Callable[[Path], Mapping[str, Any]],
    read_back: Callable[[Generation], Result],
    *,
    needed_bytes: int = 0,
) -> Result:
    """Write a new generation, read it back, and only then point to it. The caller holds the lock.

    Args:
        folder: the index folder.
        write_files: writes the files into the folder it is given and returns what the manifest shall say about them.
        read_back: loads the finished generation; if it fails, nothing changes.
        needed_bytes: refuse before writing when the disk has less room.

    Returns:
        What `read_back` returned.
    """
    home = folder / _GENERATIONS
    with _writing(folder):
        home.mkdir(exist_ok=True)
        number = sweep(folder) + 1
        _require_space(folder, needed_bytes)
        temporary, final = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=home)), home / f"{number:06d}"
        try:
            digest = _write_generation(temporary, write_files)
            os.chmod(temporary, 0o755)  # mkdtemp makes it private
            os.rename(temporary, final)
            _fsync(home)
            result = read_back(_manifested(final, number, digest))
            atomic_write(folder / _CURRENT, f"{number:06d} {digest}\n")
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            if current_number_or_zero(folder) != number:
                shutil.rmtree(final, ignore_errors=True)
            raise
    # The new generation is in use from here on; what can't be deleted now is swept later.
    with contextlib.suppress(OSError):
        sweep(folder)
    return result


def _write_generation(folder: Path, write_files: Callable[[Path], Mapping[str, Any]]) -> str:
    description = dict(write_files(folder))
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in files:
        _fsync(path)
    description["files"] = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for path in files
    }  # fmt: skip
    data = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    (folder / _MANIFEST).write_bytes(data)
    _fsync(folder / _MANIFEST)
    _fsync(folder)
    return hashlib.sha256(data).hexdigest()


def sweep(folder: Path) -> int:
    """Delete what killed writers left and all but the newest generations; returns the number in use, 0 for none.

    The caller holds the lock, so nothing that is swept is being written.
    """
    number = current_number_or_zero(folder)
    sweep_temporaries(folder)
    for path in (folder / _GENERATIONS).iterdir():
        ours = path.name.isdigit() or path.name.startswith(_TEMPORARY)
        kept = path.name.isdigit() and number - _NUM_KEPT < int(path.name) <= number
        if ours and not kept:
            shutil.rmtree(path)
    return number


def _require_space(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise ArtefactError(
            f"{folder}: a new generation needs {needed_bytes / 1e6:.1f} MB, the disk has {free / 1e6:.1f} MB free; "
            "make room and try again"
        )


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
