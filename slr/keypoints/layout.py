"""63 keypoints of a signer, whatever detector found them, in signer's units and at the rate that models read.

"Points" are (T, 63, 3) float32: x, y, confidence. The order is

| points | what | order |
|---|---|---|
| 0–20 | left hand | wrist, then thumb to little finger, each from the palm to the tip |
| 21–41 | right hand | likewise |
| 42–52 | body | COCO 0–10: nose, eyes, ears, shoulders, elbows, wrists, the left one first |
| 53–62 | mouth | every second of the 20 mouth points of the 68-point face: six of the outer lip, four of the inner |

It is the set that TwoStream-SLR, NLA-SLR and the on-line CSLR model read from COCO-WholeBody (pose, hands, mouth_half).
"Left" and "right" are the signer's. Units are shoulder widths, origin between the shoulders, x to the viewer's right,
y down; where a point isn't seen, x = y = confidence = 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from signwave.media.poses import Components, Part, PoseFrames, PoseLayout, read_pose

FloatArray = NDArray[np.float32]

NUM_HAND_POINTS = 21
LEFT_HAND = slice(0, 21)
RIGHT_HAND = slice(21, 42)
BODY = slice(42, 53)
MOUTH = slice(53, 63)
NUM_KEYPOINTS = 63

HAND_NAMES = (
    *("WRIST", "THUMB_CMC", "THUMB_MCP", "THUMB_IP", "THUMB_TIP"),
    *("INDEX_FINGER_MCP", "INDEX_FINGER_PIP", "INDEX_FINGER_DIP", "INDEX_FINGER_TIP"),
    *("MIDDLE_FINGER_MCP", "MIDDLE_FINGER_PIP", "MIDDLE_FINGER_DIP", "MIDDLE_FINGER_TIP"),
    *("RING_FINGER_MCP", "RING_FINGER_PIP", "RING_FINGER_DIP", "RING_FINGER_TIP"),
    *("PINKY_MCP", "PINKY_PIP", "PINKY_DIP", "PINKY_TIP"),
)
BODY_NAMES = (
    *("NOSE", "LEFT_EYE", "RIGHT_EYE", "LEFT_EAR", "RIGHT_EAR", "LEFT_SHOULDER", "RIGHT_SHOULDER"),
    *("LEFT_ELBOW", "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST"),
)
MOUTH_NAMES = (
    *("RIGHT_CORNER", "UPPER_RIGHT", "UPPER_LEFT", "LEFT_CORNER", "LOWER_LEFT", "LOWER_RIGHT"),
    *("INNER_RIGHT", "INNER_UPPER", "INNER_LEFT", "INNER_LOWER"),
)
KEYPOINT_NAMES = (
    *(f"LEFT_HAND_{name}" for name in HAND_NAMES),
    *(f"RIGHT_HAND_{name}" for name in HAND_NAMES),
    *BODY_NAMES,
    *(f"MOUTH_{name}" for name in MOUTH_NAMES),
)
LEFT_SHOULDER, RIGHT_SHOULDER = 47, 48
_MIRRORED_FACE_AND_ARMS = (42, 44, 43, 46, 45, 48, 47, 50, 49, 52, 51, 56, 55, 54, 53, 58, 57, 61, 60, 59, 62)
MIRRORED = (*range(21, 42), *range(21), *_MIRRORED_FACE_AND_ARMS)
"""For each point, the point that it becomes in a mirror."""

PALMS_PER_SHOULDER_WIDTH = 3.4
"""Shoulder width in lengths of a palm (wrist to the middle finger's first joint) that lies in the picture's plane.

Median over 600 recordings of 19 sign languages, palm = 0.9 quantile of a clip; quartiles 3.16 and 3.70.
"""


@dataclass(frozen=True)
class _Component:
    """Where a detector keeps some of the points: `points[i]` becomes keypoint `first + i`.

    A file that names its points otherwise is read by position, if it has as many as the whole component, `whole`.
    """

    name: str
    first: int
    points: tuple[str, ...]
    whole: tuple[str, ...] = ()


_MEDIAPIPE_BODY = (
    *("NOSE", "LEFT_EYE_INNER", "LEFT_EYE", "LEFT_EYE_OUTER", "RIGHT_EYE_INNER", "RIGHT_EYE", "RIGHT_EYE_OUTER"),
    *("LEFT_EAR", "RIGHT_EAR", "MOUTH_LEFT", "MOUTH_RIGHT", "LEFT_SHOULDER", "RIGHT_SHOULDER"),
    *("LEFT_ELBOW", "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST", "LEFT_PINKY", "RIGHT_PINKY"),
    *("LEFT_INDEX", "RIGHT_INDEX", "LEFT_THUMB", "RIGHT_THUMB", "LEFT_HIP", "RIGHT_HIP"),
)
_MEDIAPIPE_MOUTH = ("61", "37", "267", "291", "314", "84", "78", "13", "308", "14")
"""Face-mesh points at the places of the 68-point face's 48, 50, 52, 54, 56, 58 and 60, 62, 64, 66."""
_ISHARAH_LIPS = tuple(map(str, (0, 17, 37, 39, 40, 61, 84, 91, 146, 181, 185, 267, 269, 270, 291, 314, 321, 375, 405)))
COCO_BODY_NAMES = (*BODY_NAMES, "LEFT_HIP", "RIGHT_HIP", "LEFT_KNEE", "RIGHT_KNEE", "LEFT_ANKLE", "RIGHT_ANKLE")
COCO_FACE_NAMES = tuple(f"FACE_{i}" for i in range(68))
_OPENPOSE_BODY = (
    *("Nose", "LEye", "REye", "LEar", "REar", "LShoulder", "RShoulder", "LElbow", "RElbow", "LWrist", "RWrist"),
)
_OPENPOSE_MOUTH = (*(f"FLO_{i}" for i in range(48, 60, 2)), *(f"FLI_{i}" for i in range(60, 68, 2)))


def _hands(left: str, right: str) -> tuple[_Component, _Component]:
    return (
        _Component(left, LEFT_HAND.start, HAND_NAMES, HAND_NAMES),
        _Component(right, RIGHT_HAND.start, HAND_NAMES, HAND_NAMES),
    )


SOURCES: Mapping[str, tuple[_Component, ...]] = {
    "mediapipe": (
        *_hands("LEFT_HAND_LANDMARKS", "RIGHT_HAND_LANDMARKS"),
        _Component("POSE_LANDMARKS", BODY.start, BODY_NAMES),
        _Component("FACE_LANDMARKS", MOUTH.start, _MEDIAPIPE_MOUTH),
    ),
    "coco-wholebody": (
        *_hands("COCO_LEFT_HAND", "COCO_RIGHT_HAND"),
        _Component("COCO_BODY", BODY.start, BODY_NAMES, COCO_BODY_NAMES),
        _Component("COCO_FACE", MOUTH.start, COCO_FACE_NAMES[48:68:2], COCO_FACE_NAMES),
    ),
    "openpose": (
        *_hands("hand_left_keypoints_2d", "hand_right_keypoints_2d"),
        _Component("pose_keypoints_2d", BODY.start, _OPENPOSE_BODY),
        _Component("face_keypoints_2d", MOUTH.start, _OPENPOSE_MOUTH),
    ),
    # Hands first right, then left; the lips are the outer ones alone, the body is MediaPipe's without the legs.
    "isharah": (
        *_hands("ISHARAH_LEFT_HAND", "ISHARAH_RIGHT_HAND"),
        _Component("ISHARAH_BODY", BODY.start, BODY_NAMES, _MEDIAPIPE_BODY),
        _Component("ISHARAH_LIPS", MOUTH.start, _MEDIAPIPE_MOUTH, _ISHARAH_LIPS),
    ),
}
"""What each detector calls the components that hold keypoints."""


class KeypointClip(NamedTuple):
    """Keypoints and the length they stand for.

    points: (T, 63, 3) float32 x, y, confidence, see the module; frame i lies at i / rate_hz seconds.
    """

    points: FloatArray
    rate_hz: float
    duration_seconds: float


def read_keypoints(
    path: str | Path, *, rate_hz: float | None, start_seconds: float = 0.0, end_seconds: float | None = None
) -> KeypointClip:
    """Read the 63 keypoints of a pose file; parts that it lacks, e.g. the body of a file of hands, are not seen.

    Args:
        path: a `.pose` file with the components of one of SOURCES.
        rate_hz: frames a second that the points are brought to; None leaves them at the file's own.
        start_seconds: first instant.
        end_seconds: instant to stop before; None is the end of the file.

    Raises:
        MediaError: the file can't be used, or has none of the components.
        NoHandError: no hand and no body is seen in the span.
    """
    chosen = _Choice()
    pose = read_pose(path, layout=chosen, start_seconds=start_seconds, end_seconds=end_seconds)
    raw = _scatter(pose, chosen.targets)
    duration = len(pose) / pose.fps
    if not raw[:, : MOUTH.start, 2].any():
        from slr.keypoints.hands import NoHandError

        reason = f"no hand and no body is seen in any of its {len(pose)} frames; film the signer, or leave it out"
        raise NoHandError(path, reason, duration)
    points = in_signer_units(raw, width_px=float(pose.width_px), height_px=float(pose.height_px))
    if rate_hz is None:
        return KeypointClip(points, pose.fps, duration)
    return KeypointClip(resample(points, rate_hz=pose.fps, to_hz=rate_hz), rate_hz, duration)


class _Choice:
    """Chooses the layout by a file's components, and remembers which keypoint each of its joints is."""

    def __init__(self) -> None:
        self.targets: list[int] = []

    def __call__(self, components: Components) -> PoseLayout:
        source = source_of(components)
        parts: list[Part] = []
        for component in SOURCES[source]:
            found = _found(component, components.get(component.name, ()))
            if found:
                parts.append(Part(component.name, tuple(found.values())))
                self.targets += found
        if not parts:
            raise ValueError(f"has components of {source}, but none of the points that they should hold")
        return PoseLayout(source, tuple(parts))


def source_of(components: Components) -> str:
    """The detector whose components these are, a key of SOURCES; where several match, the one with most points.

    Raises:
        ValueError: none of them; the message says what there is and what is read.
    """
    sizes = {
        source: sum(len(components.get(component.name, ())) for component in wanted)
        for source, wanted in SOURCES.items()
    }
    best = max(sizes, key=lambda source: sizes[source])
    if not sizes[best]:
        has = ", ".join(f"{name} ({len(points)})" for name, points in components.items()) or "none"
        known = "; ".join(f"{source}: {', '.join(part.name for part in parts)}" for source, parts in SOURCES.items())
        raise ValueError(f"has no component with keypoints that are read; it has {has}; read are {known}")
    return best


def _found(component: _Component, points: Sequence[str]) -> dict[int, str]:
    """Keypoint → name in the file, for those that the file's component has."""
    names = list(component.points)
    if len(points) == len(component.whole) and not set(component.whole) <= set(points):
        by_position = dict(zip(component.whole, points))
        names = [by_position.get(name, "") for name in names]
    return {component.first + i: name for i, name in enumerate(names) if name in points}


def _scatter(pose: PoseFrames, targets: list[int]) -> FloatArray:
    """(T, 63, 3) float32 x and y in pixels, confidence; 0 where the file has no such point."""
    raw = np.zeros((len(pose), NUM_KEYPOINTS, 3), dtype=np.float32)
    raw[:, targets, :2] = pose.points[..., :2]
    raw[:, targets, 2] = pose.confidence
    return raw


def in_signer_units(points: FloatArray, *, width_px: float, height_px: float) -> FloatArray:
    """Bring keypoints from pixels into shoulder widths about the middle between the shoulders.

    Middle and width are medians over the frames that show both shoulders, so the signer's own movement stays. Without
    such a frame the size is guessed from the hands, or else from the picture, and the middle is the picture's.

    Args:
        points: (T, 63, 3) float32 x and y in pixels, confidence; x = y = 0 where the confidence is 0.
        width_px: width of the picture, 0 where unknown.
        height_px: height of the picture.

    Returns:
        (T, 63, 3) float32, a new array.
    """
    seen = points[..., 2] > 0
    centre, unit = _shoulders(points, seen) or _guess(points, seen, width_px, height_px)
    moved = (points[..., :2] - centre) / unit
    return np.concatenate([np.where(seen[..., None], moved, 0), points[..., 2:]], axis=-1).astype(np.float32)


def _shoulders(points: FloatArray, seen: NDArray[np.bool_]) -> tuple[FloatArray, float] | None:
    both = seen[:, LEFT_SHOULDER] & seen[:, RIGHT_SHOULDER]
    if not both.any():
        return None
    left, right = points[both, LEFT_SHOULDER, :2], points[both, RIGHT_SHOULDER, :2]
    unit = float(np.median(np.linalg.norm(left - right, axis=-1)))
    return (np.median((left + right) / 2, axis=0), unit) if unit > 0 else None


def _guess(points: FloatArray, seen: NDArray[np.bool_], width_px: float, height_px: float) -> tuple[FloatArray, float]:
    if width_px > 0 and height_px > 0:
        centre = np.asarray([width_px / 2, height_px / 2], dtype=np.float32)
    else:
        centre = np.median(points[seen][:, :2], axis=0)
    unit = PALMS_PER_SHOULDER_WIDTH * _palm_px(points, seen)
    return centre, unit or width_px / 3 or 1.0


def _palm_px(points: FloatArray, seen: NDArray[np.bool_]) -> float:
    """Length of a palm that lies in the picture's plane: foreshortened ones are shorter, so a high quantile."""
    wrist, knuckle = np.asarray([0, 21]), np.asarray([9, 30])
    both = seen[:, wrist] & seen[:, knuckle]
    lengths = np.linalg.norm(points[:, wrist, :2] - points[:, knuckle, :2], axis=-1)[both]
    return float(np.quantile(lengths, 0.9)) if len(lengths) else 0.0


def resample(points: FloatArray, *, rate_hz: float, to_hz: float) -> FloatArray:
    """Points at another frame rate; frame i of the result lies at i / to_hz seconds.

    Between two frames that show a point it lies between them; where only one does, the nearer frame decides whether
    it is seen, so a gap neither grows nor is filled.

    Args:
        points: (T, 63, 3) float32 x, y, confidence.
        rate_hz: rate of `points`.
        to_hz: rate of the result.

    Returns:
        (T', 63, 3) float32, T' = max(1, round(T · to_hz / rate_hz)).
    """
    num_frames = max(1, round(len(points) * to_hz / rate_hz))
    return sample_at(points, np.minimum(np.arange(num_frames) * rate_hz / to_hz, len(points) - 1.0))


def sample_at(points: FloatArray, positions: NDArray[np.float64]) -> FloatArray:
    """Points between frames, see `resample`. positions: (N,) float64 frame positions in [0, T - 1]."""
    before = np.floor(positions + 1e-9).astype(np.int64).clip(0, len(points) - 1)
    after = np.minimum(before + 1, len(points) - 1)
    weight = np.clip(positions - before, 0, 1).astype(np.float32)[:, None, None]
    first, second = points[before], points[after]
    both = (first[..., 2:] > 0) & (second[..., 2:] > 0)
    nearer = np.where(weight < 0.5 - 1e-6, first, second)  # halfway is halfway, whatever rounding says
    result: FloatArray = np.where(both, first + (second - first) * weight, nearer).astype(np.float32)
    return result
