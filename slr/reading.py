"""A clip as a model reads it: frames, keypoints, hands, or both streams, at the model's rate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.errors import MediaError
from signwave.media.video import DEFAULT_PICTURE_FPS, open_video
from slr.models.interface import Reads

POSE_SUFFIX = ".pose"


@dataclass(frozen=True)
class Needs:
    """What a model wants of a clip.

    Attributes:
        reads: which stream or streams.
        rate_hz: frames a second that clips are brought to; None leaves them at their own.
        size_px: (height, width) of frames.
    """

    reads: Reads
    rate_hz: float | None
    size_px: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if "frames" in self.reads and self.size_px is None:
            raise ValueError(f"a model that reads {self.reads} needs size_px")


class Reading(NamedTuple):
    """A clip, or a span of one.

    inputs: (T, …), see slr.models.interface.Reads.
    points: (T, 63, 3) float32 keypoints beside frames; None where there are none.
    duration_seconds: of the span.
    warnings: what the user should know, e.g. that the keypoints are missing.
    """

    inputs: NDArray[Any]
    points: NDArray[np.float32] | None
    duration_seconds: float
    warnings: tuple[str, ...] = ()


def read(
    path: str | Path,
    needs: Needs,
    *,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    poses_path: str = "",
    picture_fps: float = DEFAULT_PICTURE_FPS,
) -> Reading:
    """Read a clip.

    Args:
        path: a video (file, folder of pictures, archive member) or a `.pose` file.
        needs: what the model wants.
        start_seconds: first instant.
        end_seconds: instant to stop before; None is the end of the file.
        poses_path: keypoints of a video; "" takes the `.pose` file of its name beside it, where there is one.
        picture_fps: rate of a folder of pictures, which doesn't say.

    Raises:
        MediaError: the file can't be used, or doesn't hold what the model reads.
    """
    span = (start_seconds, end_seconds)
    poses = find_poses(path, poses_path)
    if needs.reads == "hands":
        return _hands(_required(path, poses), needs, *span)
    if needs.reads == "keypoints":
        return _keypoints(_required(path, poses), needs, *span)
    if needs.reads == "features":
        raise MediaError(path, "can't be read as features; name a run whose bundle holds its encoder", kind="refused")
    if Path(path).suffix.lower() == POSE_SUFFIX:
        raise MediaError(path, f"is a pose file, and this model reads {needs.reads}; give the video", kind="refused")
    frames = _frames(path, needs, *span, picture_fps)
    if needs.reads == "frames":
        return frames
    if poses is None:
        warning = f"{path}: no keypoints beside it, only its frames are read; put {Path(path).stem}.pose there"
        return frames._replace(warnings=(warning,))
    points = _keypoints(poses, needs, *span).inputs
    return frames._replace(points=_fitted(points, len(frames.inputs)))


def find_poses(path: str | Path, poses_path: str = "") -> str | None:
    """The keypoints of a clip: as named, the file itself, or the `.pose` of its name beside it; None without any."""
    if poses_path or Path(path).suffix.lower() == POSE_SUFFIX:
        return poses_path or str(path)
    beside = Path(path).with_suffix(POSE_SUFFIX)
    return str(beside) if beside.is_file() else None


def _required(path: str | Path, poses: str | None) -> str:
    if poses is None:
        reason = (
            f"is a video without keypoints, and this model reads poses; put {Path(path).stem}.pose beside it "
            "(`slr prepare videos FOLDER OUT --poses` extracts them)"
        )
        raise MediaError(path, reason, kind="refused")
    return poses


def _hands(path: str, needs: Needs, start_seconds: float, end_seconds: float | None) -> Reading:
    from slr.keypoints.hands import read_clip

    clip = read_clip(path, rate_hz=needs.rate_hz or 25.0, start_seconds=start_seconds, end_seconds=end_seconds)
    return Reading(clip.hands.reshape(len(clip.hands), -1), None, clip.duration_seconds)


def _keypoints(path: str, needs: Needs, start_seconds: float, end_seconds: float | None) -> Reading:
    from slr.keypoints.layout import read_keypoints

    clip = read_keypoints(path, rate_hz=needs.rate_hz, start_seconds=start_seconds, end_seconds=end_seconds)
    return Reading(clip.points, None, clip.duration_seconds)


def _frames(
    path: str | Path, needs: Needs, start_seconds: float, end_seconds: float | None, picture_fps: float
) -> Reading:
    with open_video(path, size_px=needs.size_px, fps=picture_fps) as video:
        frames = video.frames(start_seconds, end_seconds)
        rate_hz = video.fps
    duration = len(frames) / rate_hz
    if needs.rate_hz is None or abs(needs.rate_hz - rate_hz) < 1e-3 * rate_hz:
        return Reading(frames.pixels, None, duration)
    times = np.arange(max(1, round(duration * needs.rate_hz))) / needs.rate_hz
    return Reading(frames.pixels[nearest_frames(frames.pts_seconds - frames.pts_seconds[0], times)], None, duration)


def nearest_frames(pts_seconds: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,) int64, for each time the frame on screen at it. pts_seconds: (T,) float64 rising; times: (N,) float64."""
    return np.clip(np.searchsorted(pts_seconds, times + 1e-4, side="right") - 1, 0, len(pts_seconds) - 1)


def _fitted(points: NDArray[np.float32], num_frames: int) -> NDArray[np.float32]:
    """Keypoints cut or repeated at the end: files of one clip often differ by a frame or two."""
    return points[np.minimum(np.arange(num_frames), len(points) - 1)]
