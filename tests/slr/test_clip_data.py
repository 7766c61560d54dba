"""Recorded clips as training items: streams, spans, labels, tempo, and manifests that can't be used."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from signwave.errors import LabelError, ManifestError, MediaError
from signwave.manifest import Clip
from signwave.sampling import Draw
from signwave.text import Vocabulary
from slr.infer import Recognizer
from slr.keypoints.hands import read_hands
from slr.reading import Needs, nearest_frames, read
from slr.training.data import ClipDataset, Tempo, _take

VOCABULARY = Vocabulary(("<blank>", "A", "B"))


def clip(path: Path, **changes) -> Clip:
    values = {"id": path.stem, "path": str(path), "kind": "pose", "num_frames": 20, "rate_hz": 50.0, "text": "A B"}
    return Clip(**{**values, **changes})


def data(clips: list[Clip], **options) -> ClipDataset:
    return ClipDataset(clips, vocabulary=VOCABULARY, needs=Needs("hands", 25.0), **options)


def frame_clip(folder: Path, num_frames: int, **changes) -> Clip:
    folder.mkdir(parents=True)
    for number in range(num_frames):
        Image.new("RGB", (12, 8), (number, 0, 0)).save(folder / f"{number:04d}.png")
    values = {"id": folder.name, "path": str(folder), "kind": "video", "num_frames": num_frames, "rate_hz": 25.0}
    return Clip(**{**values, "text": "A B", **changes})


def test_items_have_the_span_the_rate_and_the_labels(tmp_path: Path, write_pose) -> None:
    path = write_pose(tmp_path / "a.pose", [1, 2], fps=50.0)
    part = clip(path, id="part", start_seconds=0.2, end_seconds=0.4, num_frames=10, text="B")
    found = data([clip(path), part])
    items = [found[Draw(index, 0)] for index in range(2)]
    assert found.lengths == [10, 5] == [len(item.inputs) for item in items]
    assert [item.labels for item in items] == [[1, 2], [2]]
    np.testing.assert_allclose(items[0].inputs, read_hands(path, rate_hz=25.0).reshape(10, -1))
    batch = found.collate(items)
    batch.check()
    assert batch.ids == ("a", "part")
    assert batch.texts == ("A B", "B")
    assert batch.num_valid == 15
    assert (batch.frame_labels == -1).all()
    assert batch.take is None
    assert batch.chances is None


def test_frames_stay_bytes_and_tempo_is_the_draws(tmp_path: Path) -> None:
    clips = [frame_clip(tmp_path / "long", 20), frame_clip(tmp_path / "short", 9, text="A A")]
    needs = Needs("frames", 25.0, (8, 12))
    found = ClipDataset(clips, vocabulary=VOCABULARY, needs=needs, tempo=Tempo(0.5, 1.5), augmented=True)
    assert found.lengths == [30, 14]
    batch = found.collate([found[Draw(0, 3)], found[Draw(1, 4)]])
    batch.check()
    again = found.collate([found[Draw(0, 3)], found[Draw(1, 4)]])
    assert batch.take is not None
    assert torch.equal(batch.take, again.take)
    assert torch.equal(batch.chances, again.chances)
    assert not torch.equal(batch.take[0, :9], found.collate([found[Draw(0, 5)]]).take[0, :9])
    assert batch.inputs.dtype == torch.uint8
    assert batch.inputs.shape == (2, 20, 3, 8, 12)
    # Each frame's red says which it is; A A needs three steps of four frames, and its clip has only nine frames.
    after = batch.resampled()
    size = int(after.num_frames[0])
    assert after.inputs.shape[1] == int(after.num_frames.max())
    assert after.inputs[0, :size, 0, 0, 0].tolist() == batch.take[0, :size].tolist()
    assert int(after.num_frames[1]) >= 9
    assert after.resampled() is after


def test_tempo_keeps_order_bounds_and_room_for_the_labels() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        num_frames = int(rng.integers(1, 60))
        take = _take(num_frames, [1, 1, 2], rng, Tempo(0.5, 1.5, max_frames=50), stride=4)
        assert (np.diff(take) >= 0).all()
        assert take[0] >= 0
        assert take[-1] < num_frames
        assert len(take) >= min(16, num_frames)
        assert len(take) <= max(50, min(16, num_frames))
        if len(take) >= num_frames:
            assert set(take.tolist()) == set(range(num_frames))


def test_glosses_that_training_never_saw_are_scored_but_not_learnt(tmp_path: Path, write_pose) -> None:
    path = write_pose(tmp_path / "a.pose", [1, 2], fps=50.0)
    item = data([clip(path, text="A Z B")], known_only=False)[Draw(0, 0)]
    assert item.labels == [1, 2]
    assert item.text == "A Z B"
    nothing = data([clip(path, text="Z")], known_only=False)
    batch = nothing.collate([nothing[Draw(0, 0)]])
    batch.check()
    assert batch.num_labels.tolist() == [0]


def test_unusable_rows_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pose"
    with pytest.raises(LabelError, match=r"clip 'a': 'Z' not among the glosses of the vocabulary; build it"):
        data([clip(path, text="A Z")])
    with pytest.raises(ManifestError, match="clip 'a' is of kind 'video', and this model reads hands; extract them"):
        data([clip(path, kind="video")])
    with pytest.raises(ManifestError, match="clip 'a' has no length; write the manifest with `slr prepare`"):
        data([clip(path, num_frames=None)])


def test_a_clip_without_keypoints_says_what_to_do(tmp_path: Path) -> None:
    path = frame_clip(tmp_path / "clip", 5).path
    with pytest.raises(
        MediaError, match=r"a video without keypoints, and this model reads poses; put clip\.pose beside"
    ):
        read(path, Needs("keypoints", 25.0))
    reading = read(path, Needs("frames+keypoints", 25.0, (8, 12)))
    assert reading.points is None
    assert "no keypoints beside it" in reading.warnings[0]
    with pytest.raises(MediaError, match="is a pose file, and this model reads frames; give the video"):
        read(tmp_path / "a.pose", Needs("frames", 25.0, (8, 12)))
    with pytest.raises(ValueError, match="a model that reads frames needs size_px"):
        Needs("frames", 25.0)


def test_a_clip_without_keypoints_leaves_its_batch_those_of_the_others(
    tmp_path: Path, write_pose, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("pose_format")
    bare, seen = frame_clip(tmp_path / "bare", 6), frame_clip(tmp_path / "seen", 8)
    pose = write_pose(tmp_path / "seen.pose", [1] * 8, fps=25.0)
    seen = dataclasses.replace(seen, poses_path=str(pose))
    needs = Needs("frames+keypoints", 25.0, (8, 12))
    found = ClipDataset([bare, seen], vocabulary=VOCABULARY, needs=needs)
    assert "1 of 2 clips have no keypoints (bare …)" in caplog.text
    batch = found.collate([found[Draw(0, 0)], found[Draw(1, 0)]])
    assert batch.points.shape == (2, 8, 63, 3)
    assert (batch.points[0] == 0).all()
    assert torch.equal(batch.points[1], torch.from_numpy(found[Draw(1, 0)].points))
    for reads, size_px in (("frames+keypoints", (8, 12)), ("keypoints", None)):
        with pytest.raises(
            ManifestError, match=r"none of 1 clips has keypoints, such as 'bare', .* `slr prepare … --po"
        ):
            ClipDataset([bare], vocabulary=VOCABULARY, needs=Needs(reads, 25.0, size_px))


def test_another_rate_shows_the_frame_on_screen() -> None:
    pts = np.arange(10) / 50
    assert nearest_frames(pts, np.arange(5) / 25).tolist() == [0, 2, 4, 6, 8]
    assert nearest_frames(pts, np.arange(20) / 100).tolist() == [n // 2 for n in range(20)]


def test_public_names() -> None:
    import slr

    assert slr.Recognizer is Recognizer
    assert sorted(slr.__all__) == slr.__all__
    with pytest.raises(AttributeError, match="module 'slr' has no attribute 'Nothing'"):
        slr.Nothing  # noqa: B018


def test_real_clips_are_read(shared_data: Path) -> None:
    pytest.importorskip("pose_format")
    for path in ("mediapipe.pose", "phoenix14t-25October_2010_Monday_tagesschau-17.pose"):
        hands = read_hands(shared_data / "sign" / "poses" / path, rate_hz=25.0)
        palm = np.linalg.norm(hands[:, [5, 9, 13, 17]] - hands[:, :1], axis=-1).mean()
        assert np.isfinite(hands).all()
        assert 0.1 < palm < 0.8  # shoulder widths
