"""63 keypoints out of each detector's files, in signer's units, at another rate."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("pose_format")

from signwave.errors import MediaError
from signwave.media.poses import probe_pose, write_pose
from slr.keypoints import layout as keypoints
from slr.keypoints.hands import NoHandError
from slr.keypoints.imports import COCO_COMPONENTS
from slr.keypoints.layout import (
    BODY,
    BODY_NAMES,
    HAND_NAMES,
    KEYPOINT_NAMES,
    LEFT_HAND,
    MIRRORED,
    MOUTH,
    NUM_KEYPOINTS,
    RIGHT_HAND,
    in_signer_units,
    read_keypoints,
    resample,
    sample_at,
    source_of,
)

FloatArray = NDArray[np.float32]
MOUTH_IN_68 = range(48, 68, 2)
MESH_AT_68 = {48: 61, 50: 37, 52: 267, 54: 291, 56: 314, 58: 84, 60: 78, 62: 13, 64: 308, 66: 14}
MEDIAPIPE_BODY = (
    *("NOSE", "LEFT_EYE_INNER", "LEFT_EYE", "LEFT_EYE_OUTER", "RIGHT_EYE_INNER", "RIGHT_EYE", "RIGHT_EYE_OUTER"),
    *("LEFT_EAR", "RIGHT_EAR", "MOUTH_LEFT", "MOUTH_RIGHT", "LEFT_SHOULDER", "RIGHT_SHOULDER", "LEFT_ELBOW"),
    *("RIGHT_ELBOW", "LEFT_WRIST", "RIGHT_WRIST", "LEFT_PINKY", "RIGHT_PINKY", "LEFT_INDEX", "RIGHT_INDEX"),
    *("LEFT_THUMB", "RIGHT_THUMB", "LEFT_HIP", "RIGHT_HIP"),
)
OPENPOSE_BODY = (
    *("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip", "RHip", "RKnee"),
    *("RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar"),
)
ISHARAH_LIPS = (0, 17, 37, 39, 40, 61, 84, 91, 146, 181, 185, 267, 269, 270, 291, 314, 321, 375, 405)


def _signer(num_frames: int = 6, seed: int = 0) -> FloatArray:
    """Made-up keypoints in pixels with shoulders 80 px apart about (100, 90): (T, 63, 3)."""
    points = np.random.default_rng(seed).uniform(20, 180, (num_frames, NUM_KEYPOINTS, 3)).astype(np.float32)
    points[:, 47, :2], points[:, 48, :2] = (140, 90), (60, 90)
    points[..., 2] = np.random.default_rng(seed + 1).uniform(0.2, 1, points.shape[:2])
    return points


def _write(path: Path, points: FloatArray, components: dict[str, dict[str, int]], *, fps: float = 25.0) -> Path:
    """Write components {name: {point: keypoint, or -1 for a point that isn't one}}."""
    order = [target for points_ in components.values() for target in points_.values()]
    data = np.where((np.asarray(order) >= 0)[:, None], points[:, order], np.float32(7))
    names = {name: tuple(points_) for name, points_ in components.items()}
    write_pose(path, components=names, points=data[..., :2], confidence=data[..., 2] / 1, fps=fps, size_px=(200, 200))
    return path


def _indices(names: tuple[str, ...], wanted: tuple[str, ...], first: int) -> dict[str, int]:
    return {name: first + wanted.index(name) if name in wanted else -1 for name in names}


def _layouts() -> dict[str, dict[str, dict[str, int]]]:
    left, right = ({f"{i}": part.start + i for i in range(21)} for part in (LEFT_HAND, RIGHT_HAND))
    named_left = {name: i for i, name in enumerate(HAND_NAMES)}
    mouth = {number: MOUTH.start + i for i, number in enumerate(MOUTH_IN_68)}
    body_of = dict(
        zip(("Nose", "LEye", "REye", "LEar", "REar", "LShoulder", "RShoulder", "LElbow", "RElbow"), range(9))
    )
    body_of |= {"LWrist": 9, "RWrist": 10}
    mesh = {mesh: mouth[number] for number, mesh in MESH_AT_68.items()}
    return {
        "mediapipe": {
            "POSE_LANDMARKS": _indices(MEDIAPIPE_BODY, BODY_NAMES, BODY.start),
            "FACE_LANDMARKS": {str(i): mesh.get(i, -1) for i in range(468)},
            "LEFT_HAND_LANDMARKS": named_left,
            "RIGHT_HAND_LANDMARKS": right,
            "POSE_WORLD_LANDMARKS": dict.fromkeys(MEDIAPIPE_BODY, -1),
        },
        "coco-wholebody": {
            "COCO_BODY": _indices(COCO_COMPONENTS["COCO_BODY"], BODY_NAMES, BODY.start),
            "COCO_FEET": dict.fromkeys(COCO_COMPONENTS["COCO_FEET"], -1),
            "COCO_FACE": {f"FACE_{i}": mouth.get(i, -1) for i in range(68)},
            "COCO_LEFT_HAND": left,
            "COCO_RIGHT_HAND": right,
        },
        "openpose": {
            "pose_keypoints_2d": {n: BODY.start + body_of[n] if n in body_of else -1 for n in OPENPOSE_BODY},
            "face_keypoints_2d": {f"{'FLO' if i < 60 else 'FLI'}_{i}": mouth.get(i, -1) for i in range(40, 68)},
            "hand_left_keypoints_2d": left,
            "hand_right_keypoints_2d": right,
        },
        "isharah": {
            "ISHARAH_RIGHT_HAND": right,
            "ISHARAH_LEFT_HAND": left,
            "ISHARAH_LIPS": {f"lip {i}": mesh.get(number, -1) for i, number in enumerate(ISHARAH_LIPS)},
            "ISHARAH_BODY": {
                f"b{i}": t for i, t in enumerate(_indices(MEDIAPIPE_BODY, BODY_NAMES, BODY.start).values())
            },
        },
    }


@pytest.mark.parametrize("source", ["mediapipe", "coco-wholebody", "openpose", "isharah"])
def test_every_detector_gives_the_same_points(tmp_path: Path, source: str) -> None:
    points = _signer()
    path = _write(tmp_path / "a.pose", points, _layouts()[source])
    clip = read_keypoints(path, rate_hz=None)
    expected = points.copy()
    expected[..., :2] = (points[..., :2] - [100, 90]) / 80
    if source == "isharah":  # its lips are the outer ones
        expected[:, 59:63] = 0
    np.testing.assert_allclose(clip.points, expected, atol=1e-5)
    assert clip.points.dtype == np.float32
    assert (clip.rate_hz, clip.duration_seconds) == (25.0, pytest.approx(6 / 25))
    assert source_of({name: tuple(points_) for name, points_ in _layouts()[source].items()}) == source


def test_names_and_mirror_agree() -> None:
    assert len(KEYPOINT_NAMES) == len(set(KEYPOINT_NAMES)) == NUM_KEYPOINTS == len(MIRRORED)
    assert sorted(MIRRORED) == list(range(NUM_KEYPOINTS))
    swap = {"LEFT": "RIGHT", "RIGHT": "LEFT"}
    for name, other in zip(KEYPOINT_NAMES, MIRRORED):
        assert re.sub("LEFT|RIGHT", lambda match: swap[match[0]], name) == KEYPOINT_NAMES[other]


def test_spans_and_rates_follow_the_reader(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.pose", _signer(50), _layouts()["coco-wholebody"])
    whole = read_keypoints(path, rate_hz=None)
    part = read_keypoints(path, rate_hz=None, start_seconds=0.4, end_seconds=1.2)
    np.testing.assert_allclose(part.points, whole.points[10:30], atol=1e-6)
    slow = read_keypoints(path, rate_hz=12.5, start_seconds=0.4, end_seconds=1.2)
    np.testing.assert_allclose(slow.points, whole.points[10:30:2], atol=1e-6)
    assert (slow.rate_hz, slow.duration_seconds) == (12.5, pytest.approx(0.8))
    assert len(read_keypoints(path, rate_hz=30).points) == 60


def test_the_signer_may_move_and_the_unit_is_the_clips(tmp_path: Path) -> None:
    points = _signer(9)
    points[:, :, 0] += np.arange(9, dtype=np.float32)[:, None] * 8 - 32
    clip = read_keypoints(_write(tmp_path / "a.pose", points, _layouts()["coco-wholebody"]), rate_hz=None)
    np.testing.assert_allclose(clip.points[:, 47, 0], 0.5 + np.arange(-4, 5) * 0.1, atol=1e-5)


def test_files_of_hands_alone_are_read(tmp_path: Path) -> None:
    points = np.zeros((4, NUM_KEYPOINTS, 3), dtype=np.float32)
    points[:, RIGHT_HAND] = np.random.default_rng(0).uniform(80, 120, (4, 21, 3))
    points[:, RIGHT_HAND, 2] = 1
    points[:, 21, :2], points[:, 30, :2] = (100, 100), (100, 70)
    layout = {"RIGHT_HAND_LANDMARKS": _layouts()["mediapipe"]["RIGHT_HAND_LANDMARKS"]}
    clip = read_keypoints(_write(tmp_path / "a.pose", points, layout), rate_hz=None)
    assert clip.points[:, RIGHT_HAND, 2].all()
    assert not clip.points[:, LEFT_HAND].any()
    assert not clip.points[:, BODY].any()
    palm = np.linalg.norm(clip.points[0, 21, :2] - clip.points[0, 30, :2])
    assert palm == pytest.approx(1 / keypoints.PALMS_PER_SHOULDER_WIDTH)
    np.testing.assert_allclose(clip.points[0, 21, :2], [0, 0], atol=1e-6)


def test_without_shoulders_or_hands_the_picture_gives_the_size() -> None:
    points = np.zeros((2, NUM_KEYPOINTS, 3), dtype=np.float32)
    points[:, 42] = 150, 60, 0.9
    np.testing.assert_allclose(in_signer_units(points, width_px=300, height_px=120)[0, 42], [0, 0, 0.9])
    assert np.isfinite(in_signer_units(points, width_px=0, height_px=0)).all()
    points[:, [47, 48]] = 100, 100, 1.0  # both shoulders on one spot give no unit
    assert np.isfinite(in_signer_units(points, width_px=300, height_px=120)).all()


def test_nobody_seen_is_an_error_of_its_own(tmp_path: Path) -> None:
    points = _signer()
    points[..., 2] = 0
    path = _write(tmp_path / "none.pose", points, _layouts()["coco-wholebody"])
    with pytest.raises(NoHandError, match=r"none\.pose: no hand and no body is seen in any of its 6 frames") as caught:
        read_keypoints(path, rate_hz=25)
    assert caught.value.kind == "empty"
    assert caught.value.duration_seconds == pytest.approx(6 / 25)
    points[:, MOUTH, 2] = 1
    with pytest.raises(MediaError, match="no hand and no body"):
        read_keypoints(_write(tmp_path / "mouth.pose", points, _layouts()["coco-wholebody"]), rate_hz=25)


def test_unknown_components_are_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.pose", _signer(), {"FEET": {"LEFT": 0, "RIGHT": 1}})
    with pytest.raises(
        MediaError, match=r"a\.pose: has no component .* it has FEET \(2\); read are mediapipe: LEFT_HAND"
    ):
        read_keypoints(path, rate_hz=None)
    path = _write(tmp_path / "b.pose", _signer(), {"COCO_BODY": {"HEAD": 0, "TAIL": 1}})
    with pytest.raises(MediaError, match=r"b\.pose: has components of coco-wholebody, but none of the points"):
        read_keypoints(path, rate_hz=None)


def test_unseen_points_are_zeros_whatever_the_file_holds_there(tmp_path: Path) -> None:
    points = _signer()
    points[2, 5] = np.nan
    points[3, 6, 2] = 0
    clip = read_keypoints(_write(tmp_path / "a.pose", points, _layouts()["coco-wholebody"]), rate_hz=None)
    assert not clip.points[2, 5].any()
    assert not clip.points[3, 6].any()
    assert np.isfinite(clip.points).all()


def _slow_resample(points: FloatArray, rate_hz: float, to_hz: float) -> FloatArray:
    rows = []
    for i in range(max(1, round(len(points) * to_hz / rate_hz))):
        position = min(i * rate_hz / to_hz, len(points) - 1)
        before = int(position + 1e-9)
        after, weight = min(before + 1, len(points) - 1), max(position - before, 0.0)
        row = np.zeros((NUM_KEYPOINTS, 3))
        for j in range(NUM_KEYPOINTS):
            first, second = points[before, j].astype(float), points[after, j].astype(float)
            if first[2] > 0 and second[2] > 0:
                row[j] = first * (1 - weight) + second * weight
            else:
                row[j] = first if weight < 0.5 - 1e-6 else second
        rows.append(row)
    return np.asarray(rows, dtype=np.float32)


@settings(max_examples=25, deadline=None)
@example(7, 29.97, 59.94)  # every second frame lies halfway
@given(st.integers(1, 12), st.sampled_from([12.5, 24, 25, 29.97, 30, 50, 60]), st.sampled_from([10, 24, 25, 30, 59.94]))
def test_resampling_equals_a_loop(num_frames: int, rate_hz: float, to_hz: float) -> None:
    points = _signer(num_frames)
    points[np.random.default_rng(num_frames).random(points.shape[:2]) < 0.3] = 0
    result = resample(points, rate_hz=rate_hz, to_hz=to_hz)
    np.testing.assert_allclose(result, _slow_resample(points, rate_hz, to_hz), atol=2e-4)
    assert ((result[..., 2] > 0) | ~result.any(-1)).all()


def test_a_gap_is_neither_filled_nor_grows() -> None:
    points = _signer(20)
    points[8:12, 3] = 0
    for to_hz in (25.0, 50.0, 100.0, 12.5):
        missing = (resample(points, rate_hz=25, to_hz=to_hz)[:, 3, 2] == 0).sum() / to_hz
        assert missing == pytest.approx(4 / 25, abs=1 / to_hz)
    np.testing.assert_array_equal(resample(points, rate_hz=25, to_hz=25), points)
    middle = sample_at(points, np.asarray([2.5]))
    np.testing.assert_allclose(middle[0], (points[2] + points[3]) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "left", "right", "body", "mouth"),
    [
        ("mediapipe.pose", False, True, True, True),
        ("mediapipe_long.pose", False, True, True, True),
        ("mediapipe_hand_normalized.pose", False, True, False, False),
        ("openpose.pose", True, True, True, True),
        ("phoenix14t-25October_2010_Monday_tagesschau-17.pose", True, True, True, True),
    ],
)
def test_real_files(shared_data: Path, name: str, left: bool, right: bool, body: bool, mouth: bool) -> None:
    path = shared_data / "sign" / "poses" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    clip = read_keypoints(path, rate_hz=25)
    assert clip.duration_seconds == pytest.approx(probe_pose(path).duration_seconds)
    seen = clip.points[..., 2] > 0
    assert [seen[:, part].any() for part in (LEFT_HAND, RIGHT_HAND, BODY, MOUTH)] == [left, right, body, mouth]
    assert np.abs(clip.points[..., :2]).max() < 3
    if body:
        shoulders = np.median(clip.points[:, 47:49, :2], axis=0)
        np.testing.assert_allclose(shoulders, [[0.5, 0], [-0.5, 0]], atol=0.06)
        lips = np.median(clip.points[:, MOUTH, :2], axis=0)
        assert lips[0, 0] < lips[1, 0] < lips[2, 0] < lips[3, 0]  # from the signer's right to the left
        assert lips[6, 0] < lips[8, 0]
        assert (lips[[1, 2], 1] < lips[[5, 4], 1]).all()  # the upper lip lies higher
        assert lips[7, 1] <= lips[9, 1]
        assert -0.7 < lips[:, 1].mean() < -0.2
