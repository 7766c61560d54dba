"""Pose files as MediaPipe makes them, with hands that spell: made up, so that every test can run anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

WritePose = Callable[..., Path]

_ARMS = ("LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_ELBOW", "RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST")
_POINTS_A_HAND = 21


def hand_shape(seed: int) -> NDArray[np.float32]:
    """(21, 3) float32, a made-up hand about its wrist, 60 pixels long, depth in pixels."""
    rng = np.random.default_rng(seed)
    shape = np.zeros((_POINTS_A_HAND, 3), dtype=np.float32)
    for finger in range(5):
        bend = rng.uniform(0.1, 1.0)
        for joint in range(4):
            spread = (finger - 2) * 9
            shape[1 + 4 * finger + joint] = (spread, -25 - 12 * joint * bend, 20 * joint * (1 - bend))
    return shape


def write_pose_file(
    path: Path,
    shapes: Sequence[int],
    *,
    frames_each: int = 10,
    fps: float = 25.0,
    left_handed: bool = False,
    seen: bool = True,
    scale: float = 1.0,
) -> Path:
    """Write a clip in which one hand takes a few shapes one after the other, each for `frames_each` frames."""
    from pose_format import Pose
    from pose_format.numpy.pose_body import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    num_frames = len(shapes) * frames_each
    points = np.zeros((num_frames, 1, 2 * _POINTS_A_HAND + len(_ARMS), 3), dtype=np.float32)
    confidence = np.zeros(points.shape[:3], dtype=np.float32)
    points[..., 2 * _POINTS_A_HAND :, :2] = 250
    points[:, :, 2 * _POINTS_A_HAND, 0], points[:, :, 2 * _POINTS_A_HAND + 1, 0] = 350, 150
    confidence[..., 2 * _POINTS_A_HAND :] = 1
    for place, shape in enumerate(shapes):
        hand = hand_shape(shape) * (-1 if left_handed else 1, 1, 1 / 700) + (400 if left_handed else 100, 220, 0.1)
        frames = slice(place * frames_each, (place + 1) * frames_each)
        first = 0 if left_handed else _POINTS_A_HAND
        points[frames, 0, first : first + _POINTS_A_HAND] = hand
        confidence[frames, 0, first : first + _POINTS_A_HAND] = float(seen)
    names = [str(index) for index in range(_POINTS_A_HAND)]
    header = PoseHeader(
        0.2,
        PoseHeaderDimensions(round(500 * scale), round(500 * scale), 0),
        [
            PoseHeaderComponent("LEFT_HAND_LANDMARKS", names, [], [], "XYZC"),
            PoseHeaderComponent("RIGHT_HAND_LANDMARKS", names, [], [], "XYZC"),
            PoseHeaderComponent("POSE_LANDMARKS", list(_ARMS), [], [], "XYZC"),
        ],
    )
    points[..., :2] *= scale
    data = np.ma.masked_array(points, np.repeat(confidence[..., None] == 0, 3, axis=-1))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        Pose(header, NumPyPoseBody(fps, data, confidence)).write(file)
    return path


@pytest.fixture(scope="session")
def write_pose() -> WritePose:
    """`write_pose(path, [3, 1, 4])` writes a clip of three hand shapes; see `write_pose_file`."""
    pytest.importorskip("pose_format")
    return write_pose_file


@pytest.fixture
def lexicon(tmp_path: Path, write_pose: WritePose) -> Path:
    """A folder like the package's: `aaa` and `bbb` spell A, B, Ñ; `ccc` names the files of `aaa`."""
    folder = tmp_path / "lexicon"
    rows = ["path,spoken_language,signed_language,start,end,words,glosses,priority"]
    for alphabet, files in (("aaa", "aaa"), ("bbb", "bbb"), ("ccc", "aaa")):
        for number, letter in enumerate(("A", "b", "ñ", "SCH")):
            rows.append(f"{files}/{number}.pose,en,{alphabet},0,9999,{letter},{letter},0")
            write_pose(folder / files / f"{number}.pose", [number], frames_each=20, left_handed=files == "bbb")
    (folder / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder
