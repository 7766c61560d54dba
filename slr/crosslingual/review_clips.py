"""The clips of the review page: which signs stand for a gloss, and each as a small moving picture that loops."""

from __future__ import annotations

import base64
import dataclasses
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from signwave.errors import MediaError, UserError
from signwave.media.drawing import draw_pose
from signwave.media.poses import PoseFrames, read_pose
from signwave.media.video import DEFAULT_PICTURE_FPS, open_video
from slr.crosslingual.signs import Sign
from slr.reading import POSE_SUFFIX, Needs, find_poses, read

RATE_HZ = 12.5
HEIGHT_PX, MAX_WIDTH_PX = 192, 288
MAX_SECONDS = 4.0
"""A longer sign is cut, and its caption says so."""
REST_SECONDS = 0.4
"""How long a loop stays on its last frame, so that a repeated movement isn't taken for two rounds of the loop."""
_QUALITY = 55
_BESIDE, _ABOVE, _BELOW = 1.6, 1.45, 1.75
"""Where signing takes place: from the middle between the shoulders, in shoulder widths."""
_SHOULDERS = (("LEFTSHOULDER", "LSHOULDER"), ("RIGHTSHOULDER", "RSHOULDER"))
_DENSE_FACE = 150
_CONTOURS = frozenset(map(str, (
    0, 7, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81, 82, 84,
    87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154, 155,
    157, 158, 159, 160, 161, 162, 163, 172, 173, 176, 178, 181, 185, 191, 234, 246, 249, 251, 263, 267, 269, 270,
    276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324,
    332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388,
    389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466,
)))  # fmt: skip
"""Points of MediaPipe's face mesh on lips, eyes, brows and outline; all 468 would be a blot that hides the mouth."""


class Shown(NamedTuple):
    """A sign on the page.

    sign: what is shown.
    place: of its picture among `Clips.uris`; None where it can't be read.
    problem: why it can't.
    size_px: height and width of the picture.
    """

    sign: Sign
    place: int | None
    problem: str = ""
    size_px: tuple[int, int] = (0, 0)


class Clips:
    """Moving pictures of signs, each made once however often it is shown.

    Attributes:
        uris: the pictures, as addresses that hold them.
        num_bytes: of all of them.
    """

    def __init__(self) -> None:
        self.uris: list[str] = []
        self.num_bytes = 0
        self._shown: dict[tuple[Any, ...], Shown] = {}

    def show(self, sign: Sign) -> Shown:
        """The sign's picture, or why there is none: a file that is wrong raises nothing."""
        key = (sign.clip.id, sign.clip.path, sign.start_seconds, sign.end_seconds)
        if key not in self._shown:
            self._shown[key] = self._make(sign)
        return self._shown[key]

    def _make(self, sign: Sign) -> Shown:
        try:
            frames = frames_of(sign)
            data = loop(frames)
        except (UserError, ValueError, OSError) as error:
            return Shown(sign, None, " ".join(str(error).split()))
        self.uris.append(f"data:image/webp;base64,{base64.b64encode(data).decode()}")
        self.num_bytes += len(self.uris[-1])
        return Shown(sign, len(self.uris) - 1, size_px=(frames.shape[2], frames.shape[3]))


def seconds_of(sign: Sign) -> float | None:
    """Length of a sign; None where its clip doesn't tell."""
    end = sign.clip.duration_seconds if sign.end_seconds is None else sign.end_seconds
    return None if end is None else end - sign.start_seconds


def typical(signs: Sequence[Sign], number: int) -> list[Sign]:
    """Signs that stand for a gloss: near the median length, of people not shown yet, then of clips not shown yet.

    Args:
        signs: of one gloss; their order doesn't matter.
        number: at most so many.
    """
    known = [seconds for seconds in map(seconds_of, signs) if seconds is not None]
    middle = statistics.median(known) if known else 0.0

    def oddness(sign: Sign) -> tuple[float, str, float]:
        seconds = seconds_of(sign)
        off = float("inf") if seconds is None else round(abs(seconds - middle), 6)
        return off, sign.clip.id, sign.start_seconds

    left = sorted(signs, key=oddness)
    chosen: list[Sign] = []
    while left and len(chosen) < number:
        people, origins = {sign.clip.person for sign in chosen}, {sign.origin for sign in chosen}
        chosen.append(min(left, key=lambda sign: (sign.clip.person in people, sign.origin in origins)))
        left.remove(chosen[-1])
    return chosen


def frames_of(sign: Sign) -> NDArray[np.uint8]:
    """Frames of a sign at RATE_HZ; a drawn skeleton where there are no pictures, or only the keypoints can be read.

    Returns:
        (T, 3, H, W) uint8 RGB.

    Raises:
        MediaError: neither can be read.
    """
    clip = sign.clip
    start = clip.start_seconds + sign.start_seconds
    end = clip.end_seconds if sign.end_seconds is None else clip.start_seconds + sign.end_seconds
    end = start + MAX_SECONDS if end is None else min(end, start + MAX_SECONDS)
    if Path(clip.path).suffix.lower() == POSE_SUFFIX:
        return _skeleton(clip.path, start, end)
    try:
        return _video(clip.path, start, end, clip.rate_hz or DEFAULT_PICTURE_FPS)
    except MediaError:
        poses = find_poses(clip.path, clip.poses_path)
        if poses is None:
            raise
        return _skeleton(poses, start, end)


def _video(path: str, start: float, end: float, picture_fps: float) -> NDArray[np.uint8]:
    with open_video(path, fps=picture_fps) as video:
        scale = min(1.0, HEIGHT_PX / video.height_px, MAX_WIDTH_PX / video.width_px)
        size_px = (max(1, round(video.height_px * scale)), max(1, round(video.width_px * scale)))
    needs = Needs("frames", RATE_HZ, size_px)
    return read(path, needs, start_seconds=start, end_seconds=end, picture_fps=picture_fps).inputs


def _skeleton(path: str, start: float, end: float) -> NDArray[np.uint8]:
    pose = read_pose(path, layout="all", start_seconds=start, end_seconds=end)
    times = np.arange(max(1, round(len(pose) / pose.fps * RATE_HZ))) / RATE_HZ
    chosen = np.minimum((times * pose.fps + 1e-3).astype(np.int64), len(pose) - 1)
    framed = _framed(pose)
    whole = _with_open_face(framed or pose)
    few = dataclasses.replace(whole, points=whole.points[chosen], confidence=whole.confidence[chosen])
    return np.stack(list(draw_pose(few, size_px=(HEIGHT_PX, HEIGHT_PX), fit=framed is None)))


def _framed(pose: PoseFrames) -> PoseFrames | None:
    """The signer as large and at the same place as in all other clips; None where the shoulders aren't seen."""
    names = [name.upper().rpartition(".")[2].replace("_", "") for name in pose.names]
    found = [[place for place, name in enumerate(names) if name in wanted] for wanted in _SHOULDERS]
    if not all(found):
        return None
    sides = [found[0][0], found[1][0]]
    shoulders = pose.points[(pose.confidence[:, sides] > 0).all(1)][:, sides, :2]
    width = float(np.median(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=-1))) if len(shoulders) else 0.0
    if width <= 0:
        return None
    scale = HEIGHT_PX / ((_ABOVE + _BELOW) * width)
    corner = np.median(shoulders.mean(1), axis=0) - np.asarray([_BESIDE, _ABOVE]) * width
    points = ((pose.points[..., :2] - corner) * scale).astype(np.float32)
    return dataclasses.replace(pose, points=points, width_px=round(2 * _BESIDE * width * scale), height_px=HEIGHT_PX)


def _with_open_face(pose: PoseFrames) -> PoseFrames:
    face = [place for place, name in enumerate(pose.names) if name.upper().startswith("FACE")]
    if len(face) < _DENSE_FACE:
        return pose
    hidden = [place for place in face if pose.names[place].rpartition(".")[2] not in _CONTOURS]
    confidence = pose.confidence.copy()
    confidence[:, hidden] = 0
    return dataclasses.replace(pose, confidence=confidence)


def loop(frames: NDArray[np.uint8]) -> bytes:
    """An animated WebP that repeats for ever, at RATE_HZ, and rests on its last frame; equal frames give equal bytes.

    Args:
        frames: (T, 3, H, W) uint8 RGB.
    """
    pictures = [Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0))) for frame in frames]
    step = round(1000 / RATE_HZ)
    durations = [step] * (len(pictures) - 1) + [step + round(1000 * REST_SECONDS)]
    out = io.BytesIO()
    pictures[0].save(
        out, "WEBP", save_all=True, append_images=pictures[1:], duration=durations, loop=0, quality=_QUALITY, method=4
    )
    return out.getvalue()
