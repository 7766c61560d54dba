"""Keypoint files of a skeleton: `.pose` in MediaPipe's holistic components, with the joints that were drawn."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

from made_up_signers.language import FloatArray
from made_up_signers.skeleton import Skeleton

_PAIRS = ("EYE_INNER", "EYE", "EYE_OUTER")
_ENDS = ("SHOULDER", "ELBOW", "WRIST", "PINKY", "INDEX", "THUMB", "HIP", "KNEE", "ANKLE", "HEEL", "FOOT_INDEX")
BODY_POINTS = (
    "NOSE",
    *(f"{side}_{name}" for side in ("LEFT", "RIGHT") for name in _PAIRS),
    *("LEFT_EAR", "RIGHT_EAR", "MOUTH_LEFT", "MOUTH_RIGHT"),
    *(f"{side}_{name}" for name in _ENDS for side in ("LEFT", "RIGHT")),
)
_FINGERS = (
    ("THUMB", ("CMC", "MCP", "IP", "TIP")),
    *((name, ("MCP", "PIP", "DIP", "TIP")) for name in ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")),
)
HAND_POINTS = ("WRIST", *(f"{finger}_{joint}" for finger, joints in _FINGERS for joint in joints))
# MediaPipe's numbers along the lips, from the signer's right corner (61, 78) to the left one (291, 308).
_LIPS = {
    "upper outer": (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    "lower outer": (146, 91, 181, 84, 17, 314, 405, 321, 375),
    "upper inner": (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    "lower inner": (95, 88, 178, 87, 14, 317, 402, 318, 324),
}
_BROWS = {70: (-0.62, -0.3), 105: (-0.4, -0.36), 336: (0.22, -0.34), 300: (0.62, -0.3)}
_HAND_LIMBS = [(0, 1), (0, 5), (0, 17), (5, 9), (9, 13), (13, 17)] + [
    (first + i, first + i + 1) for first in (1, 5, 9, 13, 17) for i in range(3)
]


class _Points(NamedTuple):
    """One component's points: (T, J, 3) float64 and (T, J) float64."""

    places: FloatArray
    confidence: FloatArray


def write_pose(path: Path, skeleton: Skeleton, *, width_px: int, height_px: int, fps: float) -> None:
    """Write the keypoints of a clip; joints outside the picture have confidence 0.

    Args:
        path: file to write.
        skeleton: joints in pixels.
        width_px: width of the picture.
        height_px: height of the picture.
        fps: frames per second.
    """
    face_names, face = _face(skeleton)
    components = [
        ("POSE_LANDMARKS", BODY_POINTS, _body(skeleton), [(11, 12), (11, 13), (13, 15), (12, 14), (14, 16)]),
        ("FACE_LANDMARKS", face_names, face, []),
        ("LEFT_HAND_LANDMARKS", HAND_POINTS, _hand(skeleton, 0), _HAND_LIMBS),
        ("RIGHT_HAND_LANDMARKS", HAND_POINTS, _hand(skeleton, 1), _HAND_LIMBS),
    ]
    header = PoseHeader(
        version=0.2,
        dimensions=PoseHeaderDimensions(width=width_px, height=height_px, depth=width_px),
        components=[
            PoseHeaderComponent(name, list(names), limbs, [(255, 0, 0)], "XYZC") for name, names, _, limbs in components
        ],
    )
    places = np.concatenate([points.places for _, _, points, _ in components], axis=1) * [1, 1, -1]
    confidence = np.concatenate([points.confidence for _, _, points, _ in components], axis=1)
    inside = ((places[..., :2] >= 0) & (places[..., :2] < [width_px, height_px])).all(-1)
    confidence = np.where(inside, confidence, 0.0)
    places = np.where(confidence[..., None] > 0, places, 0.0)
    body = NumPyPoseBody(fps, places[:, None].astype(np.float32), confidence[:, None].astype(np.float32))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        Pose(header, body).write(file)


def _hand(skeleton: Skeleton, side: int) -> _Points:
    return _Points(skeleton.hands[:, side], np.ones((len(skeleton.hands), 21)))


def _on_head(skeleton: Skeleton, x: float, y: float | FloatArray) -> FloatArray:
    """A point of the face: (T, 3); x, y in halves of the head from its middle, x right in the picture."""
    wide, high = skeleton.head_px
    moved: FloatArray = skeleton.head.copy()
    moved[:, 0] += x * wide
    moved[:, 1] += y * high
    return moved


def _body(skeleton: Skeleton) -> _Points:
    """MediaPipe's 33 points; legs aren't seen."""
    known = {"NOSE": _on_head(skeleton, 0.0, 0.22)}
    for side, sign in (("LEFT", 1), ("RIGHT", -1)):
        for name, x in zip(_PAIRS, (0.26, 0.4, 0.54), strict=True):
            known[f"{side}_{name}"] = _on_head(skeleton, sign * x, -0.1)
        known[f"{side}_EAR"] = _on_head(skeleton, sign * 0.95, 0.05)
        known[f"MOUTH_{side}"] = _on_head(skeleton, sign * 0.34, 0.55)
        number = 0 if side == "LEFT" else 1
        for name, joints in (("SHOULDER", skeleton.shoulders), ("ELBOW", skeleton.elbows), ("HIP", skeleton.hips)):
            known[f"{side}_{name}"] = joints[:, number]
        for name, joint in (("WRIST", 0), ("PINKY", 17), ("INDEX", 5), ("THUMB", 2)):
            known[f"{side}_{name}"] = skeleton.hands[:, number, joint]
    nowhere = np.zeros_like(skeleton.head)
    places = np.stack([known.get(name, nowhere) for name in BODY_POINTS], axis=1)
    seen = np.asarray([float(name in known) for name in BODY_POINTS])
    return _Points(places, np.broadcast_to(seen, places.shape[:2]))


def _face(skeleton: Skeleton) -> tuple[list[str], _Points]:
    """Lips and brows, in the order of their numbers."""
    found = {number: _on_head(skeleton, x, y) for number, (x, y) in _BROWS.items()}
    opening = 0.06 + 0.16 * skeleton.mouth
    for name, numbers in _LIPS.items():
        outer, upper = name.endswith("outer"), name.startswith("upper")
        corners = np.linspace(-1, 1, 11)
        across = corners if upper else corners[1:-1]
        for number, x in zip(numbers, across, strict=True):
            height = np.sqrt(1 - x**2) * (opening if outer else 0.8 * np.maximum(opening - 0.05, 0.01))
            found[number] = _on_head(
                skeleton, (0.34 if outer else 0.29) * float(x), 0.55 + (-height if upper else height)
            )
    ordered = sorted(found)
    places = np.stack([found[number] for number in ordered], axis=1)
    return [str(number) for number in ordered], _Points(places, np.ones(places.shape[:2]))
