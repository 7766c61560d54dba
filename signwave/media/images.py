"""Video as still pictures: a folder of PNG or JPEG frames, or the same inside a zip archive."""

from __future__ import annotations

import io
import re
import stat
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from signwave.errors import MediaError
from signwave.media.frames import Pixels, VideoInfo, span_mask
from signwave.media.limits import Limits
from signwave.media.source import OnShort, Short, VideoSource

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_MEMBER_RATIO = 1000
"""Unpacked over packed size from which an archive member is taken for a decompression bomb."""

_PICTURE_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
    NotImplementedError,
)


class PictureStore(Protocol):
    """Pictures by name, in order."""

    def names(self) -> list[str]:
        """Names of the pictures in the order in which they are shown."""

    def read(self, name: str) -> bytes:
        """Bytes of one picture."""

    def close(self) -> None:
        """Let go of the file."""


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key under which `frame10` comes after `frame9`, and `a.avi_pid0_fn000012-0.png` after its number 11."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part)) if part.isdigit() and part.isascii() else (1, part.lower()) for part in parts if part)


def _is_picture(name: str) -> bool:
    base = PurePosixPath(name).name
    return base.lower().endswith(IMAGE_SUFFIXES) and not base.startswith(".") and "__MACOSX" not in name


class FolderStore:
    """Pictures directly inside a folder."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits

    def names(self) -> list[str]:
        """Names of the pictures in natural order; hidden files and other kinds are passed over."""
        found = [entry.name for entry in self._folder.iterdir() if _is_picture(entry.name) and entry.is_file()]
        return sorted(found, key=natural_key)

    def read(self, name: str) -> bytes:
        """Bytes of one picture."""
        path = self._folder / name
        self._limits.check_bytes(path, path.stat().st_size)
        return path.read_bytes()

    def close(self) -> None:
        """Nothing is held open."""


class ZipStore:
    """Members of a zip archive: checked names, regular files only, capped size and packing ratio."""

    def __init__(self, name: str, file: Path, folder: str, limits: Limits) -> None:
        self._name = name
        self._folder = folder.strip("/")
        self._limits = limits
        try:
            self._archive = zipfile.ZipFile(file)
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise MediaError(name, f"is no readable zip archive ({error}); fetch it again") from error
        self._members = self._checked()

    def _checked(self) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        for entry in self._archive.infolist():
            path = PurePosixPath(entry.filename)
            # orig_filename still shows a backslash or NUL that zipfile has already changed.
            bad = path.is_absolute() or ".." in path.parts or re.search(r"[\\\0]", entry.orig_filename)
            if bad or stat.S_ISLNK(entry.external_attr >> 16) or entry.filename in members:
                text = f"holds the member {entry.orig_filename!r}, an unsafe or repeated name; pack the archive anew"
                self._archive.close()
                raise MediaError(self._name, text, kind="refused")
            members[entry.filename] = entry
        return members

    def names(self) -> list[str]:
        """Names of the pictures in the chosen folder (all of one folder if none was chosen), in natural order."""
        pictures = [name for name in self._members if _is_picture(name)]
        if self._folder:
            pictures = [name for name in pictures if str(PurePosixPath(name).parent) == self._folder]
        folders = sorted({str(PurePosixPath(name).parent) for name in pictures})
        if len(folders) > 1:
            some = ", ".join(folders[:5])
            text = f"holds pictures in {len(folders)} folders ({some}, …); name one: {self._name}::{folders[0]}"
            raise MediaError(self._name, text, kind="refused")
        return sorted(pictures, key=natural_key)

    def has_file(self, member: str) -> bool:
        """Whether the archive holds this file."""
        return member in self._members and not self._members[member].is_dir()

    def read(self, name: str) -> bytes:
        """Bytes of one member, refused before unpacking if it is too large or packed too tightly."""
        entry = self._members[name]
        self._limits.check_bytes(f"{self._name}::{name}", entry.file_size)
        if entry.file_size > MAX_MEMBER_RATIO * max(1024, entry.compress_size):
            text = (
                f"unpacks to {entry.file_size} bytes from {entry.compress_size}; this looks like a bomb, leave it out"
            )
            raise MediaError(f"{self._name}::{name}", text, kind="too_large")
        if entry.flag_bits & 1:
            raise MediaError(f"{self._name}::{name}", "is encrypted; unpack it first", kind="refused")
        return self._archive.read(entry)

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()


class PictureVideo(VideoSource):
    """Frames that are stored as pictures, one file each; the rate is the caller's knowledge."""

    def __init__(
        self,
        path: str,
        file: Path,
        member: str | None,
        *,
        fps: float,
        size_px: tuple[int, int] | None,
        limits: Limits,
        on_short: OnShort,
    ) -> None:
        super().__init__(path, size_px=size_px, limits=limits, on_short=on_short)
        if fps <= 0:
            raise ValueError(f"fps must be above 0, got {fps}")
        self._file = file
        self._member = member
        self._fps = fps
        self._names: list[str] = []

    def _open(self) -> PictureStore:
        if self._file.is_dir():
            return FolderStore(self._file, self.limits)
        return ZipStore(self.path, self._file, self._member or "", self.limits)

    def _close(self, handle: Any) -> None:
        handle.close()

    def _read_info(self) -> VideoInfo:
        self._names = self._opened().names()
        num = len(self._names)
        if num == 0:
            text = f"holds no {', '.join(IMAGE_SUFFIXES)} file; name the folder that holds the frames"
            raise MediaError(self.path, text, kind="empty")
        self.limits.check_frames(self.path, num)
        self.limits.check_seconds(self.path, num / self._fps)
        height, width = self._load(self._names[0], None).shape[:2]
        return VideoInfo(self.path, num, self._fps, height, width, num / self._fps, "images")

    def _times(self) -> NDArray[np.float64]:
        return np.arange(self.info.num_frames or 0) / self._fps

    def _decode(self, start_seconds: float, end_seconds: float | None) -> Iterator[tuple[float, Pixels]]:
        times = self._times()
        for index, picture in self._decode_indices(np.flatnonzero(span_mask(times, start_seconds, end_seconds))):
            yield float(times[index]), picture

    def _decode_indices(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, Pixels]]:
        height, width = self.info.height_px, self.info.width_px
        for index in indices:
            try:
                picture = self._load(self._names[index], self._size_px)
            except MediaError as error:
                if error.kind == "too_large":
                    raise
                raise Short from error
            if self._size_px is None and picture.shape[:2] != (height, width):
                raise MediaError(
                    self.path,
                    f"{self._names[index]} is {picture.shape[1]} x {picture.shape[0]} pixels where the first frame is "
                    f"{width} x {height}; pass size_px to bring them to one size",
                )
            yield int(index), picture

    def _load(self, name: str, size_px: tuple[int, int] | None) -> Pixels:
        where = f"{self.path}: {name}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is stricter or chosen
                image: Image.Image = Image.open(io.BytesIO(self._opened().read(name)), formats=("PNG", "JPEG"))
            self.limits.check_picture(where, height_px=image.height, width_px=image.width)
            if size_px is not None:
                image.draft("RGB", (size_px[1], size_px[0]))
            image = image.convert("RGB")
            if size_px is not None and image.size != (size_px[1], size_px[0]):
                image = image.resize((size_px[1], size_px[0]), Image.Resampling.BILINEAR)
        except _PICTURE_ERRORS as error:
            reason = "neither PNG nor JPEG" if isinstance(error, UnidentifiedImageError) else error
            raise MediaError(where, f"is no readable picture ({reason}); fetch it again or leave it out") from error
        return np.asarray(image)
