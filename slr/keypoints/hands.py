"""Hands out of a `.pose` file, in the units and at the rate that models read."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from signwave.errors import MediaError
from signwave.media.poses import PoseFrames, read_pose
from slr.keypoints.hand_transforms import NUM_HAND_POINTS, FloatArray, hands_in_signer_units, resample

LAYOUT = "hands_arms"
_LEFT = slice(0, NUM_HAND_POINTS)
_RIGHT = slice(NUM_HAND_POINTS, 2 * NUM_HAND_POINTS)
_SHOULDERS = slice(2 * NUM_HAND_POINTS, 2 * NUM_HAND_POINTS + 2)


class NoHandError(MediaError):
    """The clip is sound, but no hand is seen in it."""

    def __init__(self, path: str | Path, reason: str, duration_seconds: float) -> None:
        super().__init__(path, reason, kind="empty")
        self.duration_seconds = duration_seconds

    def __reduce__(self) -> tuple[object, ...]:
        return NoHandError, (self.path, self.reason, self.duration_seconds)


class HandClip(NamedTuple):
    """Hands and the length they stand for.

    hands: (T, 42, 3) float32, see slr.keypoints.hand_transforms; frame i lies at i / rate_hz seconds.
    """

    hands: FloatArray
    rate_hz: float
    duration_seconds: float


def read_hands(
    path: str | Path, *, rate_hz: float, start_seconds: float = 0.0, end_seconds: float | None = None
) -> FloatArray:
    """The hands of a clip at `rate_hz`: (T, 42, 3) float32; see `read_clip`."""
    return read_clip(path, rate_hz=rate_hz, start_seconds=start_seconds, end_seconds=end_seconds).hands


def read_clip(
    path: str | Path, *, rate_hz: float, start_seconds: float = 0.0, end_seconds: float | None = None
) -> HandClip:
    """Read a pose file with MediaPipe's hands and arms.

    Args:
        path: a `.pose` file.
        rate_hz: frames a second that the hands are brought to.
        start_seconds: first instant.
        end_seconds: instant to stop before; None is the end of the file.

    Raises:
        MediaError: the file can't be used, or has other components.
        NoHandError: no hand is seen in the span.
    """
    pose = read_pose(path, layout=LAYOUT, start_seconds=start_seconds, end_seconds=end_seconds)
    hands = hands_of(pose)
    if hands is None:
        reason = f"no hand is seen in any of its {len(pose)} frames; film the hands, or leave it out"
        raise NoHandError(path, reason, len(pose) / pose.fps)
    return HandClip(resample(hands, rate_hz=pose.fps, to_hz=rate_hz), rate_hz, len(pose) / pose.fps)


def hands_of(pose: PoseFrames) -> FloatArray | None:
    """The hands of keypoints in the layout `hands_arms`: (T, 42, 3) float32, or None where no hand is seen."""
    confidence = np.stack([pose.confidence[:, _LEFT].max(1), pose.confidence[:, _RIGHT].max(1)], axis=1)
    seen = (pose.confidence[:, _SHOULDERS] > 0).all(1)
    # Without any frame that shows both shoulders the hands still have a shape; place and size are then guessed.
    width_px = float(pose.width_px or 1)
    guess = np.asarray([[[2 / 3, 0.5, 0], [1 / 3, 0.5, 0]]], dtype=np.float32) * width_px
    return hands_in_signer_units(
        pose.points[:, _LEFT],
        pose.points[:, _RIGHT],
        pose.points[seen][:, _SHOULDERS] if seen.any() else guess,
        width_px=width_px,
        confidence=confidence,
    )
