"""Hands in signer's units: what doesn't change when the camera, the signer or the padding does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from slr.keypoints.hand_transforms import (
    NUM_POINTS,
    PARENTS,
    Augmentation,
    HandFeatures,
    augment,
    blend,
    resample,
    rotation,
    sample_at,
    turn_hands,
)
from slr.keypoints.hands import NoHandError, hands_of, read_clip, read_hands

NOTHING = Augmentation(0, 0, 0, 0, 0, 0)


def some_hands(num_frames: int = 12, *, two: bool = True, seed: int = 0) -> np.ndarray:
    hands = np.random.default_rng(seed).normal(size=(num_frames, NUM_POINTS, 3)).astype(np.float32)
    if not two:
        hands[:, 21:] = 0
    return hands


def test_left_handers_are_mirrored_and_size_does_not_count(tmp_path: Path, write_pose) -> None:
    right = read_hands(write_pose(tmp_path / "r.pose", [1, 2]), rate_hz=25.0)
    left = read_hands(write_pose(tmp_path / "l.pose", [1, 2], left_handed=True), rate_hz=25.0)
    large = read_hands(write_pose(tmp_path / "x.pose", [1, 2], scale=3.0), rate_hz=25.0)
    assert right.shape == (20, NUM_POINTS, 3)
    np.testing.assert_allclose(left, right, atol=1e-4)
    np.testing.assert_allclose(large, right, atol=1e-4)
    assert not right[:, 21:].any()


def test_a_gap_repeats_the_nearest_frame(tmp_path: Path, write_pose) -> None:
    from signwave.media.poses import read_pose

    pose = read_pose(write_pose(tmp_path / "a.pose", [1, 2], frames_each=3), layout="hands_arms")
    whole = hands_of(pose)
    pose.confidence[1:3, 21:42] = 0
    pose.points[1:3, 21:42] = 0
    patched = hands_of(pose)
    assert whole is not None
    assert patched is not None
    np.testing.assert_array_equal(patched[:, :21].round(4), whole[[0, 0, 3, 3, 4, 5], :21].round(4))


def test_no_hand_is_said(tmp_path: Path, write_pose) -> None:
    path = write_pose(tmp_path / "none.pose", [1], seen=False)
    with pytest.raises(NoHandError, match=r"none\.pose: no hand is seen in any of its 10 frames"):
        read_hands(path, rate_hz=25.0)


def test_rate_and_span(tmp_path: Path, write_pose) -> None:
    clip = read_clip(write_pose(tmp_path / "a.pose", [1, 2], fps=50.0), rate_hz=25.0, start_seconds=0.1)
    assert clip.hands.shape[0] == 8
    assert clip.duration_seconds == pytest.approx(0.3)


@pytest.mark.parametrize("to_hz", [10.0, 25.0, 30.0, 60.0])
def test_resampling_is_linear_in_time(to_hz: float) -> None:
    line = np.arange(20, dtype=np.float32)[:, None, None] * np.ones((1, NUM_POINTS, 3), dtype=np.float32) + 1
    found = resample(line, rate_hz=25.0, to_hz=to_hz)
    expected = [min(i * 25.0 / to_hz, 19.0) + 1 for i in range(round(20 * to_hz / 25.0))]
    np.testing.assert_allclose(found[:, 0, 0], expected, rtol=1e-5)


def test_the_other_hand_stays_only_where_both_frames_show_it() -> None:
    one, two = some_hands(3, two=False), some_hands(3)
    assert not blend(one, two, np.full(3, 0.5, np.float32))[:, 21:].any()
    both = blend(two, two, np.full(3, 0.5, np.float32))
    np.testing.assert_allclose(both, two, rtol=1e-6)
    np.testing.assert_allclose(sample_at(two, np.array([0.5]))[0], (two[0] + two[1]) / 2, rtol=1e-5)


def test_turning_keeps_wrists_and_lengths() -> None:
    hands = some_hands()
    turned = turn_hands(hands, rotation(np.array([10.0, -25.0, 40.0])))
    np.testing.assert_allclose(turned[:, [0, 21]], hands[:, [0, 21]], atol=1e-5)
    before = np.linalg.norm(hands[:, 1:21] - hands[:, :1], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(turned[:, 1:21] - turned[:, :1], axis=-1), before, rtol=1e-4)


def test_augmentation_is_seeded_and_keeps_what_is_unseen() -> None:
    hands = some_hands(two=False)
    strong = Augmentation()
    first = augment(hands, np.random.default_rng(1), strong)
    np.testing.assert_array_equal(first, augment(hands, np.random.default_rng(1), strong))
    assert not first[:, 21:].any()
    assert np.abs(first - hands).max() > 0.1
    np.testing.assert_allclose(augment(some_hands(), np.random.default_rng(1), NOTHING), some_hands(), atol=1e-5)


def test_bones_are_scaled_along_the_fingers() -> None:
    hands = some_hands(2)
    found = augment(hands, np.random.default_rng(3), NOTHING._replace(bone=0.3))
    scales = np.exp(np.random.default_rng(3).normal(0, 0.3, 21))
    expected = hands.astype(np.float64).copy()
    for first in (0, 21):
        for point in range(1, 21):
            bone = hands[:, first + point] - hands[:, first + PARENTS[point]]
            expected[:, first + point] = expected[:, first + PARENTS[point]] + bone * scales[point]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_features_ignore_place_size_and_padding() -> None:
    features = HandFeatures()
    hands = torch.from_numpy(some_hands(9)).flatten(1)[None]
    length = torch.tensor([9])
    plain = features(hands, length)
    assert plain.shape == (1, 9, HandFeatures.num_features)
    assert torch.isfinite(plain).all()
    moved = (hands.unflatten(-1, (NUM_POINTS, 3)) * 2.5 + torch.tensor([3.0, -1.0, 0.5])).flatten(2)
    torch.testing.assert_close(features(moved, length), plain, atol=1e-3, rtol=1e-3)
    padded = torch.cat([hands, torch.full((1, 4, hands.shape[-1]), 7.0)], dim=1)
    torch.testing.assert_close(features(padded, length)[:, :9], plain)
    assert not features(padded, length)[:, 9:].any()
