"""Extraction through the child process: with a MediaPipe made up here, and with the real one where it is named."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pose_format")

from signwave.errors import MediaError, UserError
from signwave.media.poses import probe_pose, read_pose
from signwave.media.video import write_video
from slr.keypoints.extraction import extract
from slr.keypoints.landmarks import PYTHON_VARIABLE, LandmarkWorker, WorkerError, find_python, steady
from slr.keypoints.layout import BODY, LEFT_HAND, MOUTH, RIGHT_HAND, read_keypoints

MADE_UP_MEDIAPIPE = '''
"""What the worker uses of mediapipe. A white picture crashes it, a black one makes it hang."""
import enum, os, time
from types import SimpleNamespace

print("a library that writes on stdout")
__version__ = "made up"
_SIDES = [f"{side}_{name}" for name in ("SHOULDER", "ELBOW", "WRIST") for side in ("LEFT", "RIGHT")]
_BODY = ["NOSE", *(f"P{i}" for i in range(1, 11)), *_SIDES, *(f"P{i}" for i in range(17, 33))]
_FACE = (0, 61, 37, 267, 291, 314, 84, 78, 13, 308, 14)

class Holistic:
    def __init__(self, **settings):
        assert settings == dict(static_image_mode=False, model_complexity=1, refine_face_landmarks=False), settings
        self.number = 0
    def __enter__(self):
        return self
    def __exit__(self, *_):
        pass
    def process(self, picture):
        level = float(picture.mean())
        if level > 250:
            os.write(2, b"it broke here\\n")
            os._exit(9)
        if level < 5:
            time.sleep(60)
        self.number += 1
        part = lambda num, visibility: SimpleNamespace(landmark=[
            SimpleNamespace(x=0.25 + 0.01 * i, y=level / 255, z=0.5, visibility=visibility) for i in range(num)])
        return SimpleNamespace(
            pose_landmarks=part(33, 0.75), face_landmarks=part(468, 0.0), left_hand_landmarks=part(21, 0.0),
            right_hand_landmarks=None if self.number == 1 else part(21, 0.0))

solutions = SimpleNamespace(holistic=SimpleNamespace(
    Holistic=Holistic, POSE_CONNECTIONS=frozenset({(11, 12)}), HAND_CONNECTIONS=frozenset({(0, 1), (0, 5)}),
    FACEMESH_CONTOURS=frozenset(zip(_FACE, _FACE[1:])), PoseLandmark=enum.IntEnum("PoseLandmark", _BODY, start=0),
    HandLandmark=enum.IntEnum("HandLandmark", ["WRIST", *(f"H{i}" for i in range(1, 21))], start=0)))
'''


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python in which `mediapipe` is the made-up one."""
    folder = tmp_path_factory.mktemp("python")
    (folder / "mediapipe.py").write_text(MADE_UP_MEDIAPIPE)
    program = folder / "python"
    program.write_text(
        textwrap.dedent(f"""\
        #!{sys.executable}
        import runpy, sys
        sys.path.insert(0, {str(folder)!r})
        if "-c" in sys.argv:
            exec(sys.argv[-1])
        else:
            runpy.run_path(sys.argv[-1], run_name="__main__")
        """)
    )
    program.chmod(0o755)
    return str(program)


def _video(path: Path, levels: list[int], *, fps: float = 25.0) -> Path:
    frames = np.empty((len(levels), 3, 48, 64), dtype=np.uint8)
    frames[:] = np.asarray(levels, dtype=np.uint8)[:, None, None, None]
    return write_video(path, frames, fps=fps, crf=0)


def test_landmarks_come_out_as_keypoints_at_the_frames_times(tmp_path: Path, python: str) -> None:
    video = _video(tmp_path / "a.mp4", [40, 80, 120, 160, 200], fps=20.0)
    report = extract({"train/a": video}, tmp_path / "poses", pose_python=python)
    assert (report.written, report.kept, report.problems) == (1, 0, ())
    path = tmp_path / "poses" / "train" / "a.pose"
    assert probe_pose(path).components == {
        "POSE_LANDMARKS": 33,
        "FACE_LANDMARKS": 11,
        "LEFT_HAND_LANDMARKS": 21,
        "RIGHT_HAND_LANDMARKS": 21,
    }
    pose = read_pose(path, layout="right_hand")
    assert (pose.fps, pose.width_px, pose.height_px, len(pose)) == (20.0, 64, 48, 5)
    assert pose.confidence[:, 3].tolist() == [0, 1, 1, 1, 1]
    np.testing.assert_allclose(pose.points[1:, 3, 0], 64 * 0.28, atol=1e-4)
    np.testing.assert_allclose(pose.points[1:, 3, 1] / 48 * 255, [80, 120, 160, 200], atol=3)
    assert pose.limbs == ((0, 1), (0, 5))
    clip = read_keypoints(path, rate_hz=None)
    assert (clip.points[:, LEFT_HAND, 2] == 1).all()
    assert clip.points[0, BODY, 2].tolist() == [0.75] + 4 * [0.0] + 6 * [0.75]
    assert (clip.points[:, MOUTH, 2] == 1).all()
    assert not clip.points[0, RIGHT_HAND].any()


def test_the_whole_face_is_kept_where_it_is_asked_for(tmp_path: Path, python: str) -> None:
    extract({"a": _video(tmp_path / "a.mp4", [40, 80])}, tmp_path, pose_python=python, whole_face=True)
    assert probe_pose(tmp_path / "a.pose").components["FACE_LANDMARKS"] == 468


def test_a_crash_costs_one_clip_and_what_is_there_is_kept(tmp_path: Path, python: str) -> None:
    videos: dict[str, str | Path] = {
        "good": _video(tmp_path / "good.mp4", [100, 100]),
        "bad": _video(tmp_path / "bad.mp4", [100, 255, 100]),
        "damaged": tmp_path / "damaged.mp4",
        "../out": tmp_path / "good.mp4",
        "last": _video(tmp_path / "last.mp4", [90, 90]),
    }
    Path(videos["damaged"]).write_bytes(b"no video at all")
    report = extract(videos, tmp_path / "poses", pose_python=python)
    assert report.written == 2
    assert sorted(path.name for path in (tmp_path / "poses").iterdir()) == ["good.pose", "last.pose"]
    texts = {problem.kind: str(problem) for problem in report.problems}
    assert set(texts) == {"crash", "unreadable"}
    assert "bad.mp4: MediaPipe's process ended (it broke here)" in texts["crash"]
    assert len(report.problems) == 3
    before = (tmp_path / "poses" / "good.pose").stat().st_mtime_ns
    again = extract(videos, tmp_path / "poses", pose_python=python, num_workers=2)
    assert (again.written, again.kept, len(again.problems)) == (0, 2, 3)
    assert (tmp_path / "poses" / "good.pose").stat().st_mtime_ns == before


def test_clips_are_alike_whatever_the_number_of_processes(tmp_path: Path, python: str) -> None:
    videos: dict[str, str | Path] = {f"c{i}": _video(tmp_path / f"{i}.mp4", [50 + i, 60 + i, 70]) for i in range(4)}
    for num in (1, 3):
        assert extract(videos, tmp_path / str(num), pose_python=python, num_workers=num).written == 4
    for clip in videos:
        one, three = (tmp_path / folder / f"{clip}.pose" for folder in ("1", "3"))
        assert one.read_bytes() == three.read_bytes()


def test_a_hanging_child_is_ended_and_replaced(tmp_path: Path, python: str) -> None:
    worker = LandmarkWorker(python, frame_seconds=0.5)
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"gives no answer for 0\.5 s"):
        worker.landmarks(_video(tmp_path / "black.mp4", [100, 0, 0]))
    assert time.monotonic() - start < 30
    assert len(worker.landmarks(_video(tmp_path / "grey.mp4", [100])).points) == 1
    worker.close()


def test_a_video_that_breaks_off_leaves_the_next_one_whole(tmp_path: Path, python: str) -> None:
    worker = LandmarkWorker(python)
    whole = _video(tmp_path / "whole.mp4", list(range(30, 230, 2)))
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(MediaError, match=r"cut\.mp4"):
        worker.landmarks(tmp_path / "cut.mp4")
    found = worker.landmarks(whole)
    assert found.points.shape == (100, 33 + 468 + 42, 4)
    assert (np.diff(found.points[:, 0, 1]) > 0).all()
    worker.close()


def test_folders_of_pictures_have_the_rate_that_is_said(tmp_path: Path, python: str) -> None:
    pillow = pytest.importorskip("PIL.Image")
    (tmp_path / "clip").mkdir()
    for i in range(3):
        pillow.fromarray(np.full((20, 30, 3), 50 + i, dtype=np.uint8)).save(tmp_path / "clip" / f"images{i:04d}.png")
    extract({"clip": tmp_path / "clip"}, tmp_path / "poses", pose_python=python, picture_fps=30.0)
    info = probe_pose(tmp_path / "poses" / "clip.pose")
    assert (info.num_frames, info.fps) == (3, 30.0)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0.0, 0.04, 0.08, 0.12], [0, 1, 2, 3]),
        ([5.0, 5.0399, 5.0801, 5.12], [0, 1, 2, 3]),
        ([0.0, 0.04, 0.16], [0, 1, 1, 2, 2]),
        ([0.3], [0]),
    ],
)
def test_frames_of_a_varying_rate_become_steady(times: list[float], expected: list[int]) -> None:
    assert steady(np.asarray(times), 25.0).tolist() == expected


def test_without_mediapipe_the_message_is_the_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no/python' can't be run .*pip install --no-deps mediapipe==0\.10\.21"):
        find_python(str(tmp_path / "no" / "python"))
    empty = tmp_path / "python"
    empty.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'mediapipe'\" >&2\nexit 1\n")
    empty.chmod(0o755)
    monkeypatch.setenv(PYTHON_VARIABLE, str(empty))
    with pytest.raises(UserError, match=r"No module named 'mediapipe'.*export SIGNWAVE_POSE_PYTHON="):
        extract({"a": tmp_path / "a.mp4"}, tmp_path)


def test_nothing_to_do_needs_no_mediapipe(tmp_path: Path) -> None:
    (tmp_path / "a.pose").write_bytes(b"kept as it is")
    assert extract({"a": "a.mp4"}, tmp_path, pose_python="/no/python").kept == 1


@pytest.mark.skipif(not os.environ.get(PYTHON_VARIABLE), reason=f"name a Python with MediaPipe in ${PYTHON_VARIABLE}")
def test_real_mediapipe_finds_a_real_signer(tmp_path: Path, shared_data: Path) -> None:
    samples = sorted((shared_data / "sign" / "how2sign_samples").glob("G1GUMky8kWc*.mp4"))
    if not samples:
        pytest.skip(f"no how2sign_samples in {shared_data}")
    report = extract({"a": samples[0]}, tmp_path)
    assert report.written == 1, report.problems
    clip = read_keypoints(tmp_path / "a.pose", rate_hz=25)
    seen = clip.points[..., 2] > 0
    assert (seen[:, LEFT_HAND].any(1) | seen[:, RIGHT_HAND].any(1)).mean() > 0.8
    assert seen[:, BODY].mean() > 0.9
    assert seen[:, MOUTH].mean() > 0.9
    np.testing.assert_allclose(np.median(clip.points[:, 47:49, 0], axis=0), [0.5, -0.5], atol=0.05)
