"""Isharah: keypoints from pickles to `.pose` files, and what becomes of broken ones."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("pose_format")

from signwave import command, manifest
from signwave.errors import MediaError, UserError
from signwave.media.poses import read_pose
from signwave.prepare import Problem, run_prepare
from slr import cli
from slr.datasets import isharah
from slr.keypoints.layout import read_keypoints


def _points(num_frames: int, *, seed: int = 0, channels: int = 2) -> NDArray[np.float32]:
    """Made-up keypoints: point j lies about (10 j, 5 j); the left hand isn't seen in the first frame."""
    rng = np.random.default_rng(seed)
    base = np.stack([10.0 * np.arange(86), 5.0 * np.arange(86)], axis=-1) + 20
    points = (base + rng.normal(size=(num_frames, 86, 2))).astype(np.float32)
    points[:1, 21:42] = 0
    if channels == 2:
        return points
    return np.concatenate([points, np.full((num_frames, 86, 1), 0.5, np.float32)], axis=-1)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    folder = tmp_path / "public_si_dat"
    folder.mkdir()
    (folder / "train.txt").write_text(
        "id|gloss|text\n00_0001|سوال  هو|من هو\n00_0002|هو|هو\n00_0003|هو|هو\n00_0004|هو|هو\n../x|هو|هو\n",
        encoding="utf-8",
    )
    (folder / "dev.txt").write_text("id|gloss\n02_0001|سوال هو\n", encoding="utf-8")
    (folder / "test.csv").write_text("id\n17_0001\n", encoding="utf-8")
    first = {"00_0001": {"keypoints": _points(7)}, "00_0002": {"keypoints": _points(0)}, "00_0003": {"keypoints": None}}
    (folder / "pose_data_isharah1000_hands_lips_body_May12.pkl").write_bytes(pickle.dumps(first))
    test = {"02_0001": {"keypoints": _points(5, channels=3)}, "00_0004": {"keypoints": np.zeros((3, 85, 2))}}
    (folder / "pose_data_isharah1000_SI_test.pkl").write_bytes(pickle.dumps(test))
    return folder


def test_a_dry_run_checks_what_it_would_write(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("sys.argv", ["slr", "prepare", "isharah", str(task), str(out), "--dry-run", "-q", "--json"])
    assert command.run(cli.app) == command.EXIT_SOME_FAILED
    report = json.loads(capsys.readouterr().out)
    assert report["num_clips"] == 2
    assert report["problem_counts"] == {"empty": 1, "missing": 1, "unreadable": 1, "invalid": 1}
    assert not out.exists()


def test_a_task_becomes_poses_and_manifests(task: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = isharah.prepare(task.parent, out_dir=out)
    report = run_prepare(rows, out, check=isharah.check, show_progress=False)
    kinds = [(problem.where.rsplit(":", 1)[1], problem.kind) for problem in report.problems]
    assert kinds == [("3", "empty"), ("4", "missing"), ("5", "unreadable"), ("6", "invalid")]
    (clip,) = manifest.read(out / "train.jsonl.gz")
    assert (clip.id, clip.text, clip.captions, clip.language) == ("00_0001", "سوال هو", {"ar": "من هو"}, "sdl")
    assert (clip.person, clip.group, clip.num_frames, clip.rate_hz, clip.kind) == ("00", "0001", 7, 30.0, "pose")
    assert Path(clip.path) == out / "poses" / "00_0001.pose"
    (dev,) = manifest.read(out / "dev.jsonl.gz")
    assert (dev.id, dev.num_frames, dev.captions) == ("02_0001", 5, {})
    assert not (out / "test.jsonl.gz").exists()


def test_what_is_written_is_what_was_there(tmp_path: Path) -> None:
    points = _points(4, channels=3)
    path = isharah.write_pose(tmp_path / "a.pose", points)
    pose = read_pose(path, layout="all")
    assert (pose.fps, pose.points.shape) == (30.0, (4, 86, 2))
    np.testing.assert_array_equal(pose.points, points[..., :2])
    assert pose.confidence[0, 21:42].tolist() == [0.0] * 21
    np.testing.assert_array_equal(pose.confidence[1:], 0.5)
    parts = [name.split(".")[0] for name in pose.names]
    assert [parts.index(name) for name in isharah.COMPONENTS] == [0, 21, 42, 61]
    clip = read_keypoints(path, rate_hz=None)
    assert clip.points.shape == (4, 63, 3)
    assert not clip.points[0, :21].any()
    assert clip.points[0, 21:42, 2].all(), "the right hand comes first in the file and second among the keypoints"


@pytest.mark.parametrize("shape", [(3, 85, 2), (3, 86), (3, 86, 4), (0, 86, 2)])
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(MediaError, match=r"keypoints of shape|no frame of keypoints"):
        isharah.write_pose(tmp_path / "a.pose", np.zeros(shape))
    assert not (tmp_path / "a.pose").exists()


def test_points_that_are_no_numbers_are_not_seen(tmp_path: Path) -> None:
    points = _points(3)
    points[1, 5], points[2, 6] = np.nan, np.inf
    pose = read_pose(isharah.write_pose(tmp_path / "a.pose", points), layout="all")
    assert (pose.confidence[1, 5], pose.confidence[2, 6], pose.confidence[2, 5]) == (0, 0, 1)


def test_written_poses_are_found_again_without_the_pickles(task: Path, tmp_path: Path) -> None:
    list(isharah.prepare(task, out_dir=task))
    for path in task.glob("*.pkl"):
        path.unlink()
    rows = list(isharah.prepare(task))
    assert sum(not isinstance(row, Problem) for row in rows) == 2
    with pytest.raises(UserError, match=r"no \.pkl file of keypoints"):
        list(isharah.prepare(task, out_dir=tmp_path / "other"))


def test_one_task_at_a_time(tmp_path: Path) -> None:
    for task in ("SI", "US"):
        (tmp_path / task).mkdir()
        (tmp_path / task / "train.txt").write_text("id|gloss\n")
    with pytest.raises(UserError, match=r"needs one train\.txt.*give the folder of one task"):
        list(isharah.prepare(tmp_path))
    with pytest.raises(UserError, match="no such folder"):
        list(isharah.prepare(tmp_path / "none"))


def test_a_pickle_that_runs_something_is_refused(task: Path, tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    (task / "a.pkl").write_bytes(pickle.dumps({"00_0001": Runs()}))
    rows = list(isharah.prepare(task, out_dir=tmp_path / "out"))
    assert isinstance(rows[0], Problem)
    assert "refused" in rows[0].reason
    assert not (tmp_path / "ran").exists()
