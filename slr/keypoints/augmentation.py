"""Augmentation of keypoints on the device: another signer, another camera, another detector's errors.

One draw holds for a whole clip. All of it is a function of a few chances that the loader drew from the item's seed, so
a run is repeated exactly whatever the batch, the device and the number of workers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from slr.keypoints.layout import BODY, LEFT_HAND, MOUTH, NUM_KEYPOINTS, RIGHT_HAND

NUM_CHANCES = 24
"""Chances that an item must bring at least."""
_FLIP = (
    4  # the chance that slr.training.augmentation.FrameAugmentation takes: both streams of a clip are mirrored together
)
_PLACE = slice(10, 16)
_LOSE_HAND = slice(16, 20)
_LOSE_JOINT, _JITTER = 20, 21
_PERIOD_FRAMES = 64
_CYCLES_PER_FRAME = (1 / 32, 1 / 4)


@dataclass(frozen=True)
class KeypointAugmentation:
    """How far the keypoints of a training clip may move from the recorded ones; zero everywhere leaves them.

    Attributes:
        rotation_degrees: largest turn in the picture's plane, about the middle between the shoulders.
        shear: largest shift of one coordinate per unit of the other.
        scale: largest relative change of size.
        shift: largest move, in shoulder widths.
        flip: share of clips that are mirrored, left hand for right. Many signs say something else with the other hand.
        lose_joint: share of points that aren't seen for a whole clip.
        lose_hand: share of clips in which one hand isn't seen for `lose_frames` in every 64 frames.
        lose_frames: for how long at most.
        jitter: farthest that a point strays from its place, in shoulder widths: half of it for the whole clip, half to
            and fro with a period of 4 to 32 frames, because detectors err for several frames in a row.
    """

    rotation_degrees: float = 13.0
    shear: float = 0.1
    scale: float = 0.2
    shift: float = 0.1
    flip: float = 0.0
    lose_joint: float = 0.05
    lose_hand: float = 0.2
    lose_frames: int = 16
    jitter: float = 0.01

    def __post_init__(self) -> None:
        for name in ("flip", "lose_joint", "lose_hand"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share and must lie in [0, 1], got {getattr(self, name)}")
        if min(self.rotation_degrees, self.shear, self.shift, self.jitter) < 0 or not 0 <= self.scale < 1:
            raise ValueError(
                f"rotation_degrees, shear, shift and jitter must be at least 0, and 0 <= scale < 1: {self}"
            )
        if not 0 <= self.lose_frames <= _PERIOD_FRAMES:
            raise ValueError(f"lose_frames must lie in [0, {_PERIOD_FRAMES}], got {self.lose_frames}")

    def __call__(self, points: Tensor, chances: Tensor) -> Tensor:
        """Augment a batch.

        Args:
            points: (B, T, 63, 3) float32, see slr.keypoints.layout; padding holds zeros.
            chances: (B, R) float32 in [0, 1), R at least NUM_CHANCES.

        Returns:
            (B, T, 63, 3) float32; what wasn't seen stays zero, and so does padding.
        """
        if points.shape[-2:] != (NUM_KEYPOINTS, 3) or chances.shape[1] < NUM_CHANCES:
            raise ValueError(
                f"need points (B, T, {NUM_KEYPOINTS}, 3) and at least {NUM_CHANCES} chances, got {tuple(points.shape)} "
                f"and {tuple(chances.shape)}"
            )
        flipped = (chances[:, _FLIP] < self.flip)[:, None, None, None]
        points = torch.where(flipped, mirrored(points), points)
        moved = self._placed(points[..., :2], chances) + self._strayed(points.shape[1], chances)
        seen = (points[..., 2] > 0) & ~self._lost(points.shape[1], chances)
        return torch.where(seen[..., None], torch.cat([moved, points[..., 2:]], dim=-1), 0.0)

    def _placed(self, places: Tensor, chances: Tensor) -> Tensor:
        """(B, T, 63, 2) float32 turned, sheared, scaled and shifted; by products, which autocast leaves in float32."""
        swing = 2 * chances[:, _PLACE] - 1
        angle, scale = swing[:, 0] * math.radians(self.rotation_degrees), 1 + swing[:, 1] * self.scale
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        along_x, along_y = swing[:, 2] * self.shear, swing[:, 3] * self.shear
        # Rotation times shear, row by row: [[c, -s], [s, c]] · [[1, a], [b, 1]].
        rows = (cos - sin * along_y, cos * along_x - sin, sin + cos * along_y, sin * along_x + cos)
        xx, xy, yx, yy = (row[:, None, None] for row in rows)
        x, y = places.unbind(-1)
        shift = swing[:, 4:6] * self.shift
        return torch.stack([xx * x + xy * y, yx * x + yy * y], dim=-1) + shift[:, None, None, :]

    def _strayed(self, num_frames: int, chances: Tensor) -> Tensor:
        """(B, T, 63, 2) float32, how far each point lies off, at most `jitter` in each direction."""
        spread = _spread(chances[:, _JITTER], 3 * 2 * NUM_KEYPOINTS).reshape(-1, 3, 1, NUM_KEYPOINTS, 2)
        lasting, phase, speed = spread.unbind(1)
        cycles = _CYCLES_PER_FRAME[0] * (_CYCLES_PER_FRAME[1] / _CYCLES_PER_FRAME[0]) ** speed
        frames = torch.arange(num_frames, device=chances.device, dtype=torch.float32)[:, None, None]
        return 0.5 * self.jitter * (2 * lasting - 1 + torch.sin(2 * torch.pi * (cycles * frames + phase)))

    def _lost(self, num_frames: int, chances: Tensor) -> Tensor:
        """(B, T, 63) bool, points that aren't seen any more."""
        happens, which, start, length = chances[:, _LOSE_HAND].unbind(1)
        frames = torch.arange(num_frames, device=chances.device, dtype=torch.float32)
        since = torch.remainder(frames - start[:, None] * _PERIOD_FRAMES, _PERIOD_FRAMES)
        away = (since < length[:, None] * self.lose_frames) & (happens < self.lose_hand)[:, None]
        left = torch.arange(NUM_KEYPOINTS, device=chances.device) < LEFT_HAND.stop
        hand = torch.arange(NUM_KEYPOINTS, device=chances.device) < RIGHT_HAND.stop
        chosen = torch.where((which < 0.5)[:, None], left, hand & ~left)
        joints = _spread(chances[:, _LOSE_JOINT], NUM_KEYPOINTS) < self.lose_joint
        return (away[:, :, None] & chosen[:, None, :]) | joints[:, None, :]


def mirrored(points: Tensor) -> Tensor:
    """Points as in a mirror: x is negated, left and right change places (slr.keypoints.layout.MIRRORED).

    points: (B, T, 63, 3) floating. Slices instead of an index, which would have to be copied to the device.
    """
    left, right, body, mouth = (points[..., part, :] for part in (LEFT_HAND, RIGHT_HAND, BODY, MOUTH))
    pairs = body[..., 1:, :].reshape(*body.shape[:-2], 5, 2, -1).flip(-2).flatten(-3, -2)
    lips = [mouth[..., first:stop, :].flip(-2) for first, stop in ((0, 4), (4, 6), (6, 9), (9, 10))]
    swapped = torch.cat([right, left, body[..., :1, :], pairs, *lips], dim=-2)
    return torch.cat([-swapped[..., :1], swapped[..., 1:]], dim=-1)


def _spread(chances: Tensor, num: int) -> Tensor:
    """(B, num) float32 in [0, 1) out of one chance each: integers mixed by products and shifts, alike on any device.

    chances: (B,) float32 in [0, 1).
    """
    seeds = (chances * 2**24).long()[:, None]
    mixed = (seeds * 0x9E3779B1 + torch.arange(1, num + 1, device=chances.device) * 0x85EBCA6B) & 0xFFFFFFFF
    for _ in range(2):
        mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    mixed = mixed ^ (mixed >> 16)
    return (mixed >> 8).float() / 2**24
