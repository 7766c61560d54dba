"""COCO-WholeBody and OpenPose keypoints as pose files: every form, people, gaps, and clips that can't be used."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("pose_format")

from signwave.errors import UserError
from signwave.media.poses import probe_pose, read_pose
from slr.keypoints.imports import (
    COCO_COMPONENTS,
    OPENPOSE_COMPONENTS,
    import_coco,
    import_coco_files,
    import_openpose,
    openpose_clips,
    pose_path,
    read_openpose,
)
from slr.keypoints.layout import read_keypoints

FloatArray = NDArray[np.float32]
SLRT_INDICES = [*range(91, 133), *range(11), *range(71, 91, 2)]
"""What SLRT takes of the 133 points, in the order of slr.keypoints.layout: hands, pose, every second mouth point."""


def _coco(num_frames: int = 4, seed: int = 0) -> FloatArray:
    points = np.random.default_rng(seed).uniform(10, 200, (num_frames, 133, 3)).astype(np.float32)
    points[..., 2] = np.random.default_rng(seed).uniform(0.1, 1, (num_frames, 133))
    points[:, 5, :2], points[:, 6, :2] = (150, 80), (50, 80)
    return points


def test_slrt_keypoints_become_the_63_that_slrt_takes(tmp_path: Path) -> None:
    raw = _coco()
    report = import_coco({"train/clip_1": {"keypoints": raw}}, tmp_path, rate_hz=25, size_px=(260, 210))
    assert (report.written, report.kept, report.problems) == (1, 0, ())
    path = tmp_path / "train" / "clip_1.pose"
    info = probe_pose(path)
    assert info.components == {name: len(points) for name, points in COCO_COMPONENTS.items()}
    assert sum(info.components.values()) == 133
    pose = read_pose(path, layout="all")
    np.testing.assert_array_equal(pose.points, raw[..., :2])
    np.testing.assert_array_equal(pose.confidence, raw[..., 2])
    assert (pose.width_px, pose.height_px, pose.fps) == (210, 260, 25)
    expected = raw[:, SLRT_INDICES].copy()
    expected[..., :2] = (expected[..., :2] - [100, 80]) / 100
    np.testing.assert_allclose(read_keypoints(path, rate_hz=None).points, expected, atol=1e-6)


def test_other_forms_of_a_clip_are_the_same(tmp_path: Path) -> None:
    raw = _coco()
    per_frame = {"keypoints": [frame[None, :, :2] for frame in raw], "scores": [frame[None, :, 2] for frame in raw]}
    clips = {"dict": {"keypoints": raw}, "array": raw, "lists": per_frame}
    assert import_coco(clips, tmp_path, rate_hz=30).written == 3
    assert len({(tmp_path / f"{name}.pose").read_bytes() for name in clips}) == 1
    shares = raw / np.asarray([210, 260, 1], dtype=np.float32)
    import_coco({"shares": shares}, tmp_path, rate_hz=30, size_px=(260, 210), normalised=True)
    np.testing.assert_allclose(read_pose(tmp_path / "shares.pose", layout="all").points, raw[..., :2], rtol=1e-5)
    with pytest.raises(ValueError, match="need its size_px"):
        import_coco({"shares": shares}, tmp_path, rate_hz=30, normalised=True)


def test_the_rate_may_depend_on_the_clip(tmp_path: Path) -> None:
    rates = {"a": 24.0, "b": 59.94}
    import_coco({"a": _coco(), "b": _coco()}, tmp_path, rate_hz=lambda clip: rates[clip])
    assert probe_pose(tmp_path / "b.pose").fps == pytest.approx(59.94)


def test_bad_clips_are_counted_and_named_and_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "there.pose").write_bytes(b"kept")
    clips: dict[str, Any] = {
        "good": _coco(),
        "there": _coco(),
        "small": {"keypoints": np.zeros((3, 17, 3))},
        "empty": np.empty((0, 133, 3)),
        "nobody": np.zeros((5, 133, 3)),
        "words": {"keypoints": "none"},
        "other": {"boxes": 3},
        "../up": _coco(),
        "ragged": {"keypoints": [[1, 2], [3]]},
    }
    report = import_coco(clips, tmp_path, rate_hz=25, where="keypoints.pkl")
    assert (report.written, report.kept, len(report.problems)) == (1, 1, 7)
    text = "\n".join(map(str, report.problems))
    for piece in (
        r"keypoints\.pkl: clip 'small': keypoints have shape \(3, 17, 3\); COCO-WholeBody is \(frames, 133, 3\)",
        r"clip 'nobody': nobody is seen in any of its 5 frames",
        r"clip 'other': has no 'keypoints'; it has boxes",
        r"clip '\.\./up': is no name for a file below",
    ):
        assert re.search(piece, text), piece
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.pose", "there.pose"]
    assert not (tmp_path.parent / "up.pose").exists()


def _mmpose(frames: list[list[FloatArray]]) -> list[dict[str, Any]]:
    return [
        {
            "frame_id": number,
            "instances": [{"keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist()} for p in people],
        }
        for number, people in enumerate(frames)
    ]


def test_mmpose_json_takes_the_person_with_the_largest_score(tmp_path: Path) -> None:
    raw, other = _coco(3), _coco(3, seed=1)
    other[..., 2] *= 0.5
    frames = [[other[0], raw[0]], [], [raw[2], other[2]]]
    (tmp_path / "a.json").write_text(json.dumps(_mmpose(frames)))
    (tmp_path / "b.json").write_text(json.dumps({"meta_info": {}, "instance_info": _mmpose(frames)}))
    np.savez(tmp_path / "c.npz", keypoints=raw[..., :2], scores=raw[..., 2])
    report = import_coco_files([tmp_path / f"{name}" for name in ("a.json", "b.json", "c.npz")], tmp_path, rate_hz=25)
    assert report.problems == ()
    a, b, c = (read_pose(tmp_path / f"{name}.pose", layout="all") for name in "abc")
    np.testing.assert_allclose(a.points[[0, 2]], raw[[0, 2], :, :2], rtol=1e-6)
    assert not a.confidence[1].any()
    np.testing.assert_array_equal(a.points, b.points)
    np.testing.assert_array_equal(c.points, raw[..., :2])


def test_damaged_files_cost_themselves_only(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", keypoints=_coco())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:-100])
    np.savez(tmp_path / "objects.npz", keypoints=np.asarray([None, {}], dtype=object))
    (tmp_path / "half.json").write_text('[{"instances": [')
    (tmp_path / "list.json").write_text("[3, null]")
    (tmp_path / "text.json").write_text('{"a": 1}')
    (tmp_path / "sub").mkdir()
    np.savez(tmp_path / "sub" / "good.npz", keypoints=_coco())
    names = ("cut.npz", "objects.npz", "half.json", "list.json", "text.json", "none.npz", "good.npz", "sub/good.npz")
    report = import_coco_files([tmp_path / name for name in names], tmp_path / "out", rate_hz=25)
    assert report.written == 1
    assert [Path(problem.where).name for problem in report.problems] == [*names[:6], "good.npz"]
    assert "a second clip of this name" in report.problems[-1].reason


def _person(points: FloatArray, *, old_body: bool = False) -> dict[str, Any]:
    body = np.delete(points[:25], [8, *range(19, 25)], axis=0) if old_body else points[:25]
    parts = (body, points[25:95], points[95:116], points[116:137])
    values = {name: part.ravel().tolist() for name, part in zip(OPENPOSE_COMPONENTS, parts)}
    return {"person_id": [-1], **values, "pose_keypoints_3d": []}


def _frame(folder: Path, name: str, number: int, people: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"version": 1.3, "people": people}
    (folder / f"{name}_{number:012d}_keypoints.json").write_text(json.dumps(content))


def _openpose(num_frames: int = 3, seed: int = 0) -> FloatArray:
    points = np.random.default_rng(seed).uniform(10, 600, (num_frames, 137, 3)).astype(np.float32)
    points[..., 2] = np.random.default_rng(seed).uniform(0.3, 1, (num_frames, 137))
    return points


def test_openpose_folders_as_how2sign_has_them(tmp_path: Path) -> None:
    raw, other = _openpose(12), _openpose(12, seed=3) * np.asarray([1, 1, 0.4], dtype=np.float32)
    name = "-g0iPSnQt6w_12-1-rgb_front"
    for number in range(12):
        people = [_person(other[number]), _person(raw[number])] if number != 5 else []
        _frame(tmp_path / "json" / name, name, number, people)
    report = import_openpose(tmp_path / "json", tmp_path / "out", rate_hz=24, size_px=(720, 1280))
    assert (report.written, report.problems) == (1, ())
    path = tmp_path / "out" / f"{name}.pose"
    assert probe_pose(path).components == {component: len(names) for component, names in OPENPOSE_COMPONENTS.items()}
    pose = read_pose(path, layout="all")
    kept = [number for number in range(12) if number != 5]
    np.testing.assert_allclose(pose.points[kept], raw[kept, :, :2], rtol=1e-6)
    np.testing.assert_allclose(pose.confidence[kept], raw[kept, :, 2], rtol=1e-6)
    assert not pose.confidence[5].any()
    clip = read_keypoints(path, rate_hz=None)
    np.testing.assert_allclose(clip.points[kept, :42, 2], raw[kept, 95:137, 2], rtol=1e-6)
    np.testing.assert_allclose(clip.points[kept, 42, 2], raw[kept, 0, 2], rtol=1e-6)


def test_names_of_points_are_those_of_a_real_file(shared_data: Path) -> None:
    path = shared_data / "sign" / "poses" / "openpose.pose"
    if not path.is_file():
        pytest.skip(f"no {path}")
    real = read_pose(path, layout="all").names
    assert real == tuple(f"{name}.{point}" for name, points in OPENPOSE_COMPONENTS.items() for point in points)


def test_missing_numbers_are_frames_without_anybody(tmp_path: Path) -> None:
    raw = _openpose(3)
    for number, points in zip((61, 62, 64), raw):
        _frame(tmp_path / "c", "c", number, [_person(points)])
    found = read_openpose(next(openpose_clips(tmp_path))[1])
    assert found[..., 2].any(1).tolist() == [True, True, False, True]
    _frame(tmp_path / "c", "c", 5000, [_person(raw[0])])
    with pytest.raises(ValueError, match="4 files have numbers from 61 to 5000; most are missing"):
        read_openpose(next(openpose_clips(tmp_path))[1])


def test_the_old_body_and_missing_parts(tmp_path: Path) -> None:
    raw = _openpose(1)
    person = _person(raw[0], old_body=True)
    person["face_keypoints_2d"] = []
    del person["hand_left_keypoints_2d"]
    _frame(tmp_path, "clip", 0, [person])
    found = read_openpose([tmp_path / "clip_000000000000_keypoints.json"])[0]
    same = [*range(8), *range(9, 19)]
    np.testing.assert_allclose(found[same], raw[0, same], rtol=1e-6)
    assert not found[[8, *range(19, 116)]].any()
    np.testing.assert_allclose(found[116:], raw[0, 116:], rtol=1e-6)


def test_clips_are_told_apart_by_folder_or_by_name(tmp_path: Path) -> None:
    person = [_person(_openpose(1)[0])]
    for number in (10, 9):
        _frame(tmp_path / "dev" / "a", "x", number, person)
    _frame(tmp_path / "both", "b", 0, person)
    _frame(tmp_path / "both", "c2", 0, person)
    _frame(tmp_path, "top", 0, person)
    (tmp_path / "dev" / "a" / "notes.json").write_text("{}")
    found = dict(openpose_clips(tmp_path))
    assert set(found) == {"top", "both/b", "both/c2", "dev/a"}
    assert [path.name for path in found["dev/a"]] == [f"x_{number:012d}_keypoints.json" for number in (9, 10)]


def test_broken_openpose_clips_are_named(tmp_path: Path) -> None:
    person = _person(_openpose(1)[0])
    _frame(tmp_path / "in" / "good", "good", 0, [person])
    _frame(tmp_path / "in" / "odd", "odd", 0, [{**person, "hand_left_keypoints_2d": [1.0, 2.0]}])
    _frame(tmp_path / "in" / "nobody", "nobody", 0, [])
    (tmp_path / "in" / "cut").mkdir()
    (tmp_path / "in" / "cut" / "cut_000000000000_keypoints.json").write_text('{"people": [')
    (tmp_path / "in" / "list").mkdir()
    (tmp_path / "in" / "list" / "list_000000000000_keypoints.json").write_text("[]")
    report = import_openpose(tmp_path / "in", tmp_path / "out", rate_hz=25)
    assert report.written == 1
    texts = {Path(problem.where).name: problem.reason for problem in report.problems}
    assert set(texts) == {"odd", "nobody", "cut", "list"}
    assert "hand_left_keypoints_2d has 2 numbers, 63 are meant" in texts["odd"]
    assert "cut_000000000000_keypoints.json is no JSON file" in texts["cut"]
    assert "has no list of 'people'" in texts["list"]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"no file NAME_000000000000_keypoints\.json"):
        import_openpose(tmp_path / "none", tmp_path / "out", rate_hz=25)


@pytest.mark.parametrize("clip", ["", "/etc/a", "a/../../b", "..", "a\0b", "."])
def test_names_that_lead_out_of_the_folder_are_refused(clip: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no name for a file below"):
        pose_path(tmp_path, clip)


def test_names_with_dots_keep_them(tmp_path: Path) -> None:
    assert pose_path(tmp_path, "a/b.avi_pid0").relative_to(tmp_path).as_posix() == "a/b.avi_pid0.pose"
