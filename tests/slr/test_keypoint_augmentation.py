"""Augmentation on the device: a function of the chances alone, bounded, and blind to what isn't seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from slr.keypoints.augmentation import NUM_CHANCES, KeypointAugmentation, _spread, mirrored
from slr.keypoints.layout import MIRRORED
from slr.training.augmentation import NUM_CHANCES as NUM_DRAWN
from slr.training.augmentation import FrameAugmentation

STILL = {"rotation_degrees": 0.0, "shear": 0.0, "scale": 0.0, "shift": 0.0, "lose_joint": 0.0, "lose_hand": 0.0}


def _points(num_items: int = 4, num_frames: int = 100, seed: int = 0) -> Tensor:
    points = torch.rand(num_items, num_frames, 63, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    points[..., 2] = points[..., 2].abs().clamp(0.05, 1)
    points[:, :, 7] = 0
    points[:, -5:] = 0
    return points


def _chances(num_items: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(num_items, NUM_DRAWN, generator=torch.Generator().manual_seed(seed))


def test_the_loader_draws_enough_chances() -> None:
    assert NUM_CHANCES <= NUM_DRAWN


def test_zero_strength_changes_nothing() -> None:
    points = _points()
    torch.testing.assert_close(KeypointAugmentation(**STILL, jitter=0.0)(points, _chances()), points)


def test_an_item_does_not_depend_on_its_batch() -> None:
    points, chances = _points(), _chances()
    batch = KeypointAugmentation()(points, chances)
    longer = torch.cat([points[2:3], torch.zeros(1, 30, 63, 3)], dim=1)
    alone = KeypointAugmentation()(longer, chances[2:3])
    torch.testing.assert_close(batch[2:3], alone[:, :100], atol=1e-6, rtol=0)
    assert not torch.equal(batch[0], batch[1])


def test_unseen_points_and_padding_stay_zero() -> None:
    result = KeypointAugmentation(flip=0.5)(_points(16), _chances(16))
    lost = (result[..., 2] == 0)[..., None]
    assert (result * lost).count_nonzero() == 0
    assert result[:, -5:].count_nonzero() == 0
    assert (result[:, :, 7].count_nonzero((1, 2)) == 0).sum() >= 4  # unless the clip was mirrored, then 28


def test_turn_scale_shear_and_shift_equal_a_matrix() -> None:
    points, chances = _points(), _chances(seed=3)
    strength = KeypointAugmentation(lose_joint=0, lose_hand=0, jitter=0)
    result = strength(points, chances)
    for item in range(4):
        swing = (2 * chances[item, 10:16] - 1).double().numpy()
        angle, scale = math.radians(13.0) * swing[0], 1 + 0.2 * swing[1]
        turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix = turn @ np.array([[1, 0.1 * swing[2]], [0.1 * swing[3], 1]])
        expected = points[item, :, :, :2].double().numpy() @ matrix.T + 0.1 * swing[4:6]
        expected = expected * (points[item, :, :, 2:] > 0).numpy()
        np.testing.assert_allclose(result[item, :, :, :2].numpy(), expected, atol=1e-5)
    torch.testing.assert_close(result[..., 2], points[..., 2])


def test_jitter_is_bounded_smooth_and_never_still() -> None:
    points = _points()
    off = (KeypointAugmentation(**STILL, jitter=0.02)(points, _chances()) - points)[:, :-5, :, :2]
    assert off.abs().max() <= 0.02 + 1e-6
    assert off.abs().max() > 0.015
    step = (off[:, 1:] - off[:, :-1]).abs().max()
    assert 0 < step <= 0.01 * 2 * math.pi / 4 + 1e-6


def test_joints_are_lost_at_their_rate_for_the_whole_clip() -> None:
    points = torch.ones(400, 3, 63, 3)
    result = KeypointAugmentation(**{**STILL, "lose_joint": 0.1}, jitter=0)(points, _chances(400))
    lost = result[..., 2] == 0
    assert torch.equal(lost.all(1), lost.any(1))
    assert lost.float().mean() == pytest.approx(0.1, abs=0.01)
    assert lost.float().mean((0, 1)).max() < 0.17  # no point is favoured


def test_one_hand_is_lost_for_a_while() -> None:
    points = torch.ones(300, 64, 63, 3)
    strength = KeypointAugmentation(**{**STILL, "lose_hand": 0.5}, lose_frames=16, jitter=0)
    lost = strength(points, _chances(300))[..., 2] == 0
    left, right = lost[:, :, :21], lost[:, :, 21:42]
    assert torch.equal(left.all(2), left.any(2))
    assert not lost[:, :, 42:].any()
    assert not (left.any((1, 2)) & right.any((1, 2))).any()
    assert lost.any((1, 2)).float().mean() == pytest.approx(0.5, abs=0.1)
    assert lost.any(2).sum(1).max() <= 16
    assert left.any((1, 2)).sum() > 40
    assert right.any((1, 2)).sum() > 40


def test_the_mirror_equals_its_table_and_is_its_own_inverse() -> None:
    points = _points()
    expected = points[:, :, list(MIRRORED)] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(mirrored(points), expected)
    torch.testing.assert_close(mirrored(mirrored(points)), points)


def test_frames_and_keypoints_are_mirrored_together() -> None:
    chances = _chances(64)
    frames = torch.zeros(64, 1, 3, 4, 8, dtype=torch.uint8)
    frames[..., :4] = 200
    off = {"min_area": 1.0, "aspect": 1.0, "colour": 0.0}
    pictures = FrameAugmentation(flip=0.5, **off)(frames, chances)[:, 0, 0, 0, 0] == 0
    points = torch.ones(64, 1, 63, 3)
    assert torch.equal(pictures, KeypointAugmentation(**STILL, flip=0.5, jitter=0)(points, chances)[:, 0, 50, 0] < 0)
    assert 16 < int(pictures.sum()) < 48


def test_one_chance_spreads_evenly_into_many() -> None:
    spread = _spread(torch.rand(2000, generator=torch.Generator().manual_seed(5)), 50)
    counts = torch.histc(spread, 10, 0, 1) / spread.numel()
    assert (counts - 0.1).abs().max() < 0.005
    assert torch.corrcoef(spread.T).fill_diagonal_(0).abs().max() < 0.12
    assert spread.min() >= 0
    assert spread.max() < 1
    # Whole numbers only, so every device and release gives these.
    golden = torch.tensor([0.0, 0.25, 0.5, 0.999])
    torch.testing.assert_close(_spread(golden, 2), _golden(golden, 2), atol=0, rtol=0)


def _golden(chances: Tensor, num: int) -> Tensor:
    rows = []
    for chance in chances.tolist():
        row = []
        for k in range(1, num + 1):
            mixed = (int(chance * 2**24) * 0x9E3779B1 + k * 0x85EBCA6B) % 2**32
            for _ in range(2):
                mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) % 2**32
            row.append(((mixed ^ (mixed >> 16)) >> 8) / 2**24)
        rows.append(row)
    return torch.tensor(rows)


def test_autocast_keeps_places_exact_and_it_compiles_into_one_graph() -> None:
    points, chances, strength = _points(2, 10), _chances(2), KeypointAugmentation(flip=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = strength(points, chances)
    torch.testing.assert_close(half, strength(points, chances))
    compiled = torch.compile(strength.__call__, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(points, chances), strength(points, chances))


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"flip": 1.5}, "flip is a share"), ({"scale": 1.0}, "0 <= scale < 1"), ({"lose_frames": 65}, "lose_frames must")],
)
def test_impossible_strengths_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KeypointAugmentation(**setting)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 24 chances"):
        KeypointAugmentation()(_points(), torch.rand(4, 5))


@pytest.mark.gpu
def test_the_device_gives_what_the_host_gives_and_is_not_waited_for() -> None:
    points, chances, strength = _points(), _chances(), KeypointAugmentation(flip=0.5)
    there = (points.cuda(), chances.cuda())
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = strength(*there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(result.cpu(), strength(points, chances), atol=1e-4, rtol=0)
