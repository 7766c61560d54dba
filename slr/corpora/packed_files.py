"""One packed file, written and held against its source: a clip as a short video, or several as JPEG pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from signwave.errors import MediaError, require
from signwave.manifest import Clip
from signwave.media.frames import TIME_TOLERANCE_SECONDS
from signwave.media.paths import MEMBER_SEPARATOR
from signwave.media.poses import read_pose
from signwave.media.video import DEFAULT_PICTURE_FPS, open_video, write_video
from signwave.rundir import atomic_path, sha256_file

Container = Literal["video", "jpeg"]
MAX_PSNR_DB = 99.0
"""Stands for identical pictures, whose PSNR is infinite."""
_MAX_NAME = 180  # file systems end at 255
_SAMPLE_EVERY = 16  # frames of which one is compared with its source


@dataclass(frozen=True)
class PackSettings:
    """How clips are packed.

    Attributes:
        size_px: (height, width) of the packed frames; even for "video".
        container: "video" for one mp4 a clip, "jpeg" for shards of pictures.
        crf: quality of "video", 0 (lossless) to 51.
        keyframe_interval: frames between the key frames of "video".
        quality: quality of "jpeg", 1 to 95.
        clips_per_shard: of "jpeg"; a shard's whole table of contents is read to open one clip, so keep it small.
    """

    size_px: tuple[int, int]
    container: Container = "video"
    crf: int = 18
    keyframe_interval: int = 12
    quality: int = 90
    clips_per_shard: int = 16

    def __post_init__(self) -> None:
        if self.container not in ("video", "jpeg"):
            raise ValueError(f"container must be 'video' or 'jpeg', got {self.container!r}")
        if min(self.size_px) < 2 or (self.container == "video" and any(side % 2 for side in self.size_px)):
            raise ValueError(f"size_px must be (height, width), even for 'video', got {self.size_px}")
        if not 0 <= self.crf <= 51 or not 1 <= self.quality <= 95:
            raise ValueError(f"crf must be 0 to 51 and quality 1 to 95, got {self.crf} and {self.quality}")
        if self.keyframe_interval < 1 or self.clips_per_shard < 1:
            raise ValueError(
                "keyframe_interval and clips_per_shard must be at least 1, "
                f"got {self.keyframe_interval} and {self.clips_per_shard}"
            )


class Packed(NamedTuple):
    """One packed clip and its likeness to the source."""

    clip: Clip
    psnr_db: float


def safe_name(clip_id: str) -> str:
    """A clip's id as the name of a file or folder: odd characters become %XX, and no name is hidden or an option."""
    name = quote(clip_id, safe=" ,+=@()")
    if len(name) > _MAX_NAME:
        name = name[: _MAX_NAME - 17] + "-" + hashlib.sha256(clip_id.encode()).hexdigest()[:16]
    return f"%{ord(name[0]):02X}{name[1:]}" if name[0] in ".-" else name


def write_file(file: Path, clips: Sequence[Clip], settings: PackSettings) -> tuple[list[Packed], list[MediaError]]:
    """Write one packed file and check it; nothing is left of a file without clips.

    Args:
        file: the mp4 or zip file.
        clips: one for "video", any number for "jpeg".
        settings: how.

    Returns:
        The packed clips, and what was wrong with the others.
    """
    if settings.container == "jpeg":
        return _write_shard(file, clips, settings)
    (clip,) = clips
    try:
        return [_write_video(file, clip, settings)], []
    except MediaError as error:
        file.unlink(missing_ok=True)
        return [], [error]


class _Source:
    """Frames of a clip at the packed size, of which a sample is kept for comparison.

    Attributes:
        rate_hz: frames per second.
        sample: frame number → (3, H, W) uint8.
        num_frames: frames read so far.
    """

    def __init__(self, clip: Clip, size_px: tuple[int, int]) -> None:
        self._clip = clip
        self._size_px = size_px
        self.rate_hz = clip.rate_hz or DEFAULT_PICTURE_FPS
        self.sample: dict[int, NDArray[np.uint8]] = {}
        self.num_frames = 0

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """Yield (3, H, W) uint8 pictures."""
        clip = self._clip
        with open_video(clip.path, size_px=self._size_px, fps=self.rate_hz) as video:
            self.rate_hz = video.fps
            for piece in video.iter_frames(clip.start_seconds, clip.end_seconds):
                for picture in piece.pixels:
                    if self.num_frames % _SAMPLE_EVERY == 0:
                        self.sample[self.num_frames] = picture.copy()
                    self.num_frames += 1
                    yield picture


def _write_video(file: Path, clip: Clip, settings: PackSettings) -> Packed:
    with open_video(clip.path, fps=clip.rate_hz or DEFAULT_PICTURE_FPS) as video:
        rate_hz = video.fps
    source = _Source(clip, settings.size_px)
    options: dict[str, Any] = {"crf": settings.crf, "keyframe_interval": settings.keyframe_interval}
    write_video(file, source.frames(), fps=rate_hz, fast_decode=True, **options)
    return _checked(clip, source, file, str(file), sha256_file(file))


def _write_shard(file: Path, clips: Sequence[Clip], settings: PackSettings) -> tuple[list[Packed], list[MediaError]]:
    written: list[tuple[Clip, _Source, str]] = []
    errors = []
    with atomic_path(file) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for clip in clips:
            source = _Source(clip, settings.size_px)
            try:
                pictures = [_jpeg(picture, settings.quality) for picture in source.frames()]
            except MediaError as error:
                errors.append(error)
                continue
            digest = hashlib.sha256()
            for number, picture in enumerate(pictures):
                # Without the time of writing, equal pictures make equal archives.
                archive.writestr(zipfile.ZipInfo(f"{safe_name(clip.id)}/{number:06d}.jpg"), picture)
                digest.update(picture)
            written.append((clip, source, digest.hexdigest()))
    packed = []
    for clip, source, sha256 in written:
        try:
            path = f"{file}{MEMBER_SEPARATOR}{safe_name(clip.id)}"
            packed.append(_checked(clip, source, file, path, sha256))
        except MediaError as error:
            errors.append(error)
    if not packed:
        file.unlink()
    return packed, errors


def _jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).save(content, "JPEG", quality=quality)
    return content.getvalue()


def _checked(clip: Clip, source: _Source, file: Path, path: str, sha256: str) -> Packed:
    """The packed clip, once it was found to hold what its source holds."""
    errors = []
    number = 0
    with open_video(path, fps=source.rate_hz) as video:
        for piece in video.iter_frames():
            for picture in piece.pixels:
                if number in source.sample:
                    errors.append(_squared_error(picture, source.sample[number]))
                number += 1
    if number != source.num_frames:
        text = f"holds {number} frames after packing, {source.num_frames} before; pack it again"
        raise MediaError(clip.path, text, frames_obtained=number, frames_announced=source.num_frames)
    error = float(np.mean(errors))
    psnr_db = MAX_PSNR_DB if error == 0 else min(MAX_PSNR_DB, 10 * float(np.log10(255**2 / error)))
    poses = clip.poses_path or _beside(clip.path)
    if poses and (clip.start_seconds > 0 or clip.end_seconds is not None):
        cut = file.parent / f"{safe_name(clip.id)}.pose"
        _cut_poses(poses, cut, start_seconds=clip.start_seconds, end_seconds=clip.end_seconds)
        poses = str(cut)
    moved = dataclasses.replace(
        clip,
        path=path,
        start_seconds=0.0,
        end_seconds=None,
        num_frames=number,
        rate_hz=source.rate_hz,
        poses_path=os.path.abspath(poses) if poses else "",
        sha256=sha256,
    )
    return Packed(moved, round(psnr_db, 3))


def _beside(path: str) -> str:
    """The keypoints that a reader would find beside the source, and no longer beside the packed file."""
    poses = Path(path).with_suffix(".pose")
    return str(poses) if poses.is_file() else ""


def _squared_error(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.mean((one.astype(np.float32) - other.astype(np.float32)) ** 2))


def _cut_poses(path: str, cut: Path, *, start_seconds: float, end_seconds: float | None) -> None:
    """Write the keypoints of [start, end) to a file of their own, with every component and value as it was."""
    read_pose(path, layout="all", start_seconds=start_seconds, end_seconds=end_seconds)  # says what is wrong with it
    pose = require("pose_format", extra="poses").Pose.read(Path(path).read_bytes())
    first, stop = (
        len(pose.body.data) if seconds is None else math.ceil((seconds - TIME_TOLERANCE_SECONDS) * pose.body.fps)
        for seconds in (start_seconds, end_seconds)
    )
    body = type(pose.body)(
        pose.body.fps, pose.body.data[max(0, first) : stop], pose.body.confidence[max(0, first) : stop]
    )
    with atomic_path(cut) as temporary, open(temporary, "wb") as content:
        type(pose)(pose.header, body).write(content)
