"""Folders of files that are whole or absent: written under a temporary name, flushed, hashed and renamed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from signwave.errors import ArtefactError
from signwave.rundir import sha256_file

TEMPORARY = ".tmp-"
MANIFEST_NAME = "MANIFEST.json"

_FILE_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,60}")
_MAPPED_FROM_BYTES = 1 << 20  # smaller files are read: mapping costs a file descriptor for as long as an index is open


def damaged(path: Path, reason: str) -> ArtefactError:
    """The error for a file that is not what was written."""
    return ArtefactError(
        f"{path} {reason}: the index is damaged; restore it from a copy, or delete the folder and build it again"
    )


def checked_names(files: Any, path: Path) -> Mapping[str, Mapping[str, Any]]:
    """What a manifest says about files, once every name is one that can lie in its own folder."""
    if not isinstance(files, dict):
        raise damaged(path, "can't be read (no table of files)")
    for name, expected in files.items():
        if not _FILE_NAME.fullmatch(name):
            raise damaged(path, f"lists the file {name!r}, which no index has")
        if not isinstance(expected, dict) or not {"bytes", "sha256"} <= expected.keys():
            raise damaged(path, f"can't be read (no size and checksum of {name})")
    return files


def check_files(folder: Path, files: Mapping[str, Mapping[str, Any]], *, skip: Collection[str] = ()) -> None:
    """Compare size and SHA-256 of every file with the manifest; of those in `skip` the size only."""
    for name, expected in files.items():
        path = folder / name
        try:
            found = path.stat().st_size
        except OSError as error:
            raise damaged(path, f"is missing ({error.strerror})") from error
        if found != expected["bytes"]:
            raise damaged(path, f"has {found} bytes, the manifest says {expected['bytes']}")
        if name not in skip and sha256_file(path) != expected["sha256"]:
            raise damaged(path, "does not match its SHA-256 in the manifest")


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Flush every file of a folder, and give its size and SHA-256."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in files:
        fsync(path)
    return {path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for path in files}


@contextlib.contextmanager
def new_folder(home: Path, name: str) -> Iterator[Path]:
    """Yield a temporary folder beside `home/name`; on success it is flushed and renamed to that, else removed."""
    home.mkdir(exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=home))
    try:
        yield temporary
        fsync(temporary)
        os.chmod(temporary, 0o755)  # mkdtemp makes it private
        os.rename(temporary, home / name)
        fsync(home)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a full disk, or any other failure of the system to write, into one line."""
    try:
        yield
    except OSError as error:
        raise ArtefactError(
            f"{folder}: can't write a new generation ({error.strerror or error}); the previous one is untouched; "
            "make room or check the rights and try again"
        ) from error


def require_space(folder: Path, needed_bytes: int) -> None:
    """Refuse before writing what can't fit."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise ArtefactError(
            f"{folder}: a new generation needs {needed_bytes / 1e6:.1f} MB, the disk has {free / 1e6:.1f} MB free; "
            "make room and try again"
        )


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an .npy file by plain writes: a memory-mapped file on a full disk kills the process."""
    with open(path, "wb") as file:
        np.lib.format.write_array(file, array, allow_pickle=False)


def read_array(path: Path, *, dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Read an .npy file, memory-mapped if it is large; the mapping outlives the deletion of the file.

    Args:
        path: the file.
        dtype: which numbers it must hold.
        shape: which shape it must have, None for any length.
    """
    try:
        mode: Literal["r"] | None = "r" if path.stat().st_size >= _MAPPED_FROM_BYTES else None
        array: NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtefactError(f"{path}: can't be read ({error}); build the index again") from error
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if array.dtype != dtype or not fits:
        raise ArtefactError(
            f"{path}: holds {array.shape} {array.dtype}, expected {shape} {np.dtype(dtype)}; build it again"
        )
    return array


def fsync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
