"""What comes out of a video: its description, its frames, and the block they are collected in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

TIME_TOLERANCE_SECONDS = 1e-4
"""Far below a frame, above the rounding of times that were written with a few decimals."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself; all of it is a claim until the frames are decoded.

    Attributes:
        path: as it was given.
        num_frames: the container's count, None where it holds none (webm).
        fps: average frames per second.
        height_px: upright height, after the rotation is applied.
        width_px: upright width.
        duration_seconds: None where the container holds none.
        codec: e.g. "h264"; "images" for a frame folder.
        rotation_degrees: 0, 90, 180 or 270, counter-clockwise; already applied to the sizes here and to all pixels.
        has_audio: whether there is an audio track as well.
    """

    path: str
    num_frames: int | None
    fps: float
    height_px: int
    width_px: int
    duration_seconds: float | None
    codec: str
    rotation_degrees: int = 0
    has_audio: bool = False

    @property
    def announced_frames(self) -> int | None:
        """Frames to expect: the container's count, or duration times rate, the smaller where both are known."""
        by_time = None if self.duration_seconds is None else round(self.duration_seconds * self.fps)
        known = [count for count in (self.num_frames, by_time) if count]
        return min(known) if known else None


@dataclass(frozen=True)
class VideoFrames:
    """Decoded frames.

    Attributes:
        pixels: (T, 3, H, W) uint8, RGB, upright; a channels-last block seen channels first.
        pts_seconds: (T,) float64, presentation times, the video's first frame is 0.
    """

    pixels: Pixels
    pts_seconds: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.pixels)


def span_mask(times: NDArray[np.float64], start_seconds: float, end_seconds: float | None) -> NDArray[np.bool_]:
    """Mark the times that lie in [start, end), with a tolerance for times written with a few decimals."""
    mask = times >= start_seconds - TIME_TOLERANCE_SECONDS
    if end_seconds is not None:
        mask &= times < end_seconds - TIME_TOLERANCE_SECONDS
    return mask


class FrameBuffer:
    """Collects frames into one block that is allocated by expectation and grows when that was too low."""

    def __init__(self, expected: int, *, height_px: int, width_px: int, check_bytes: Callable[[int], None]) -> None:
        self._shape = (height_px, width_px, 3)
        self._check_bytes = check_bytes
        self._pixels = self._block(max(1, expected))
        self._pts: list[float] = []

    def __len__(self) -> int:
        return len(self._pts)

    def _block(self, num: int) -> Pixels:
        self._check_bytes(num * int(np.prod(self._shape)))
        return np.empty((num, *self._shape), dtype=np.uint8)

    def append(self, pts_seconds: float, picture: Pixels) -> None:
        """Add one (H, W, 3) picture."""
        if len(self._pts) == len(self._pixels):
            larger = self._block(2 * len(self._pixels))
            larger[: len(self._pixels)] = self._pixels
            self._pixels = larger
        self._pixels[len(self._pts)] = picture
        self._pts.append(pts_seconds)

    def frames(self) -> VideoFrames:
        """Return what was collected."""
        num = len(self._pts)
        return VideoFrames(self._pixels[:num].transpose(0, 3, 1, 2), np.asarray(self._pts, dtype=np.float64))
