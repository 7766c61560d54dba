"""Draw keypoints as a stick figure and write them as a video, without OpenCV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from signwave.media.limits import DEFAULT_LIMITS, Limits
from signwave.media.poses import PoseFrames, read_pose
from signwave.media.video import write_video

BACKGROUND = (255, 255, 255)
COLOURS = {
    "LEFT_HAND": (213, 94, 0),
    "RIGHT_HAND": (0, 114, 178),
    "HAND_LEFT": (213, 94, 0),
    "HAND_RIGHT": (0, 114, 178),
    "FACE": (150, 150, 150),
}
"""Colours that the colour-blind can tell apart, by what a joint's component is called; the rest is dark grey."""
_OTHER_COLOUR = (70, 70, 70)
_MIN_CONFIDENCE = 0.05
_OVERSAMPLING = 2


def render_pose(
    pose: str | Path | PoseFrames,
    out_mp4: str | Path,
    *,
    layout: str = "all",
    size_px: tuple[int, int] = (256, 256),
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
    fit: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Path:
    """Write a pose clip as an mp4 with as many frames, at the same rate.

    Args:
        pose: a `.pose` file, or keypoints in hand (then layout and span are not used).
        out_mp4: file to write, never seen half-written.
        layout: keypoints to draw.
        size_px: (height, width), even.
        start_seconds: first instant of the file.
        end_seconds: instant to stop before.
        fit: fill the picture with what was seen, instead of keeping the recording's frame.
        limits: caps on the file.
    """
    if not isinstance(pose, PoseFrames):
        pose = read_pose(pose, layout=layout, start_seconds=start_seconds, end_seconds=end_seconds, limits=limits)
    return write_video(out_mp4, draw_pose(pose, size_px=size_px, fit=fit), fps=pose.fps)


def draw_pose(
    pose: PoseFrames, *, size_px: tuple[int, int] = (256, 256), fit: bool = False
) -> Iterator[NDArray[np.uint8]]:
    """Draw one picture a frame.

    Yields:
        picture: (3, H, W) uint8 RGB, dark lines on white.
    """
    height, width = size_px
    canvas = (width * _OVERSAMPLING, height * _OVERSAMPLING)
    points = _placed(pose, canvas, fit)
    colours = [_colour(name) for name in pose.names]
    thickness = max(1, round(min(canvas) / 150))
    for frame, confidence in zip(points, pose.confidence, strict=True):
        image = Image.new("RGB", canvas, BACKGROUND)
        pen = ImageDraw.Draw(image)
        seen = confidence > _MIN_CONFIDENCE
        for a, b in pose.limbs:
            if seen[a] and seen[b]:
                pen.line([tuple(frame[a]), tuple(frame[b])], fill=colours[a], width=thickness)
        for joint in np.flatnonzero(seen):
            x, y = frame[joint]
            small = "FACE" in pose.names[joint].upper()
            radius = thickness * (0.5 if small else 1.0)
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colours[joint])
        yield np.asarray(image.resize((width, height), Image.Resampling.BOX)).transpose(2, 0, 1)


def _placed(pose: PoseFrames, canvas: tuple[int, int], fit: bool) -> NDArray[np.float64]:
    """Scale coordinates into the canvas, both axes alike, centred; far-off guesses are cut to its surroundings."""
    xy = pose.points[..., :2].astype(np.float64)
    seen = pose.confidence > _MIN_CONFIDENCE
    low, high = np.zeros(2), np.asarray([pose.width_px, pose.height_px], dtype=np.float64)
    if (fit or min(high) <= 0) and seen.any():
        low, high = np.percentile(xy[seen], 1, axis=0), np.percentile(xy[seen], 99, axis=0)
        margin = 0.08 * (high - low).max() + 1e-6
        low, high = low - margin, high + margin
    size = np.maximum(high - low, 1e-6)
    scale = float((np.asarray(canvas) / size).min())
    placed = (xy - low) * scale + (np.asarray(canvas) - size * scale) / 2
    return np.clip(placed, -max(canvas), 2 * max(canvas))


def _colour(name: str) -> tuple[int, int, int]:
    upper = name.upper()
    return next((colour for part, colour in COLOURS.items() if part in upper), _OTHER_COLOUR)
