"""Keypoints of two hands: put into signer's units, resampled, augmented, and turned into features that a model reads.

"Hands" are (T, 42, 3) float32: 21 points of the signing hand, then 21 of the other one, MediaPipe's order. Units are
shoulder widths, origin between the shoulders, x to the viewer's right, y down; signers who use their left hand are
mirrored. The other hand is all zeros in frames where it isn't seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

FloatArray = NDArray[np.float32]

NUM_HAND_POINTS = 21
NUM_POINTS = 2 * NUM_HAND_POINTS
NUM_COORDS = 3
PARENTS = (0, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)
"""Each point's neighbour towards the wrist; the wrist is its own."""
DEPTH_SCALE = 1.4
"""Depth per picture width: with it MediaPipe's bones keep their length while the hand turns (measured on 600 clips)."""


class Augmentation(NamedTuple):
    """How far training clips may move from the recorded ones. Zero everywhere leaves them as they are."""

    rotation_degrees: float = 20.0
    shear: float = 0.06
    scale: float = 0.15
    depth: float = 0.3
    bone: float = 0.1
    noise: float = 0.008


def _nearest_seen(seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(T,) int64, for each frame the index of the nearest frame where `seen` is true."""
    known = np.flatnonzero(seen)
    frames = np.arange(len(seen))
    right = np.searchsorted(known, frames).clip(0, len(known) - 1)
    left = (right - 1).clip(0)
    closer_left = np.abs(frames - known[left]) <= np.abs(known[right] - frames)
    return known[np.where(closer_left, left, right)].astype(np.int64)


def hands_in_signer_units(
    left: FloatArray, right: FloatArray, shoulders: FloatArray, *, width_px: float, confidence: FloatArray
) -> FloatArray | None:
    """Bring raw hand points into signer's units and put the signing hand first.

    The signing hand is the one seen in clearly more frames; where both are seen about equally it is the right one.
    Frames where it isn't seen repeat the nearest frame where it is.

    Args:
        left: (T, 21, 3) float32, x and y in pixels, z in pixels or picture widths; anything where not seen.
        right: (T, 21, 3) float32, likewise.
        shoulders: (N, 2, 3) float32, left and right shoulder in frames that show both, x and y in pixels.
        width_px: width of the picture.
        confidence: (T, 2) float32, of left and right hand, 0 where not seen.

    Returns:
        (T, 42, 3) float32 hands, or None where no hand is seen in any frame.
    """
    seen = confidence > 0
    if not seen.any():
        return None
    centre = np.median(shoulders[..., :2].mean(1), axis=0)
    unit = float(np.median(np.linalg.norm(shoulders[:, 0, :2] - shoulders[:, 1, :2], axis=-1))) or width_px / 3
    points = np.stack([left, right]).astype(np.float32)
    points[..., 2] = (points[..., 2] - points[..., :1, 2]) * _depth_scale(points, seen, width_px)
    points[..., :2] -= centre
    points /= unit
    share = seen.mean(0)
    signing = 0 if share[0] > share[1] + 0.3 else 1
    if signing == 0:
        points *= np.asarray([-1, 1, 1], dtype=np.float32)
    dominant = points[signing][_nearest_seen(seen[:, signing])]
    other = np.where(seen[:, 1 - signing, None, None], points[1 - signing], 0)
    return np.concatenate([dominant, other], axis=1).astype(np.float32)


def _depth_scale(points: FloatArray, seen: NDArray[np.bool_], width_px: float) -> float:
    """Pixels per unit of depth: files hold depth either in pixels or in picture widths, and don't say which."""
    shape = (points - points[:, :, :1])[seen.T]
    in_widths = 20 * float(shape[..., 2].std()) < float(shape[..., :2].std())
    return DEPTH_SCALE * width_px if in_widths else 1.0


def blend(first: FloatArray, second: FloatArray, weight: FloatArray) -> FloatArray:
    """Mix two runs of hands frame by frame; the other hand stays only where both show it.

    Args:
        first: (T, 42, 3) float32 hands.
        second: (T, 42, 3) float32 hands.
        weight: (T,) float32 in [0, 1], share of `second`.
    """
    mixed = first + (second - first) * weight[:, None, None].astype(np.float32)
    both = other_hand_seen(first) & other_hand_seen(second)
    mixed[~both, NUM_HAND_POINTS:] = 0
    return np.asarray(mixed, dtype=np.float32)


def other_hand_seen(hands: FloatArray) -> NDArray[np.bool_]:
    """(T,) bool, frames in which the second hand is seen. hands: (T, 42, 3) float32."""
    return np.asarray(hands[:, NUM_HAND_POINTS:].any((1, 2)))


def sample_at(hands: FloatArray, positions: NDArray[np.float64]) -> FloatArray:
    """Hands between frames, by linear interpolation.

    Args:
        hands: (T, 42, 3) float32.
        positions: (N,) float64 frame positions in [0, T - 1].
    """
    before = np.floor(positions).astype(np.int64).clip(0, len(hands) - 1)
    after = np.minimum(before + 1, len(hands) - 1)
    return blend(hands[before], hands[after], (positions - before).astype(np.float32))


def resample(hands: FloatArray, *, rate_hz: float, to_hz: float) -> FloatArray:
    """Hands at another frame rate; frame i of the result lies at i / to_hz seconds."""
    num_frames = max(1, round(len(hands) * to_hz / rate_hz))
    return sample_at(hands, np.minimum(np.arange(num_frames) * rate_hz / to_hz, len(hands) - 1.0))


def rotation(angles_degrees: NDArray[np.float64]) -> FloatArray:
    """(3, 3) float32 rotation about x, then y, then z."""
    a, b, c = np.radians(angles_degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, dtype=np.float32)


def turn_hands(hands: FloatArray, matrix: FloatArray) -> FloatArray:
    """Each hand turned about its own wrist. hands: (T, 42, 3) float32; matrix: (3, 3) float32."""
    pair = hands.reshape(len(hands), 2, NUM_HAND_POINTS, NUM_COORDS)
    wrists = pair[:, :, :1]
    return np.asarray(((pair - wrists) @ matrix.T + wrists).reshape(hands.shape), dtype=np.float32)


def _bone_matrices() -> tuple[FloatArray, FloatArray]:
    to_bones, to_points = np.eye(NUM_HAND_POINTS, dtype=np.float32), np.eye(NUM_HAND_POINTS, dtype=np.float32)
    for point in range(1, NUM_HAND_POINTS):
        to_bones[point, PARENTS[point]] = -1
        to_points[point] += to_points[PARENTS[point]]
    return to_bones, to_points


_TO_BONES, _TO_POINTS = _bone_matrices()


def augment(hands: FloatArray, rng: np.random.Generator, strength: Augmentation) -> FloatArray:
    """A clip as another signer with another camera might have given it: one draw for the whole clip.

    Args:
        hands: (T, 42, 3) float32; the other hand's zeros stay zeros.
        rng: the only source of chance.
        strength: how far to go.
    """
    seen = other_hand_seen(hands)
    pair = hands.reshape(len(hands), 2, NUM_HAND_POINTS, NUM_COORDS)
    bones = np.exp(rng.normal(0, strength.bone, NUM_HAND_POINTS)).astype(np.float32)
    bones[0] = 1
    wrists = pair[:, :, :1]
    shape = (_TO_POINTS @ (bones[:, None] * _TO_BONES)) @ (pair - wrists) + wrists
    matrix = rotation(rng.normal(0, strength.rotation_degrees, 3))
    matrix = matrix @ (np.eye(3, dtype=np.float32) + rng.normal(0, strength.shear, (3, 3)).astype(np.float32))
    matrix[:, 2] *= 1 + rng.uniform(-strength.depth, strength.depth)
    matrix *= 1 + rng.uniform(-strength.scale, strength.scale)
    pivot = shape[:, :1, :1]
    moved = (shape - pivot) @ matrix.T.astype(np.float32) + pivot
    # A detector errs for several frames in a row, so part of the noise lasts for the clip and part for four frames.
    lasting = rng.normal(0, strength.noise, (1, *pair.shape[1:]))
    short = np.repeat(rng.normal(0, 0.7 * strength.noise, (len(pair) // 4 + 1, *pair.shape[1:])), 4, axis=0)
    result = (moved + lasting + short[: len(pair)]).reshape(hands.shape).astype(np.float32)
    result[~seen, NUM_HAND_POINTS:] = 0
    return np.asarray(result, dtype=np.float32)


class HandFeatures(nn.Module):
    """What the shape, the attitude and the movement of the hands look like, independent of place and size.

    Shape: points about the wrist, bone directions, angles between bones, distances of finger tips; attitude: the palm's
    normal; movement: of the wrist; the other hand about the signing one's wrist. Every clip is measured in its own
    mean palm size.
    """

    _LANDMARKS = (0, 3, 4, 5, 6, 8, 10, 12, 16, 17, 20)
    num_features = 60 + 3 + 1 + 63 + 55 + 60 + 15 + 3
    _from: Tensor
    _to: Tensor
    _parents: Tensor
    _outer: Tensor

    def __init__(self) -> None:
        super().__init__()
        pairs = torch.triu_indices(len(self._LANDMARKS), len(self._LANDMARKS), 1)
        landmarks = torch.tensor(self._LANDMARKS)
        self.register_buffer("_from", landmarks[pairs[0]], persistent=False)
        self.register_buffer("_to", landmarks[pairs[1]], persistent=False)
        self.register_buffer("_parents", torch.tensor(PARENTS[1:]), persistent=False)
        outer = [4 * finger + joint for finger in range(5) for joint in (1, 2, 3)]
        self.register_buffer("_outer", torch.tensor(outer), persistent=False)

    def forward(self, inputs: Tensor, num_frames: Tensor) -> Tensor:
        """Features of a padded batch.

        inputs: (B, T, 126) float32 hands, flattened; anything past num_frames.
        num_frames: (B,) int64.

        Returns:
            (B, T, 260) float32, about unit scale; zero past num_frames.
        """
        hands = inputs.float().reshape(*inputs.shape[:2], 2, NUM_HAND_POINTS, NUM_COORDS)
        valid = torch.arange(inputs.shape[1], device=inputs.device)[None, :] < num_frames[:, None]
        hands = hands * valid[..., None, None, None]
        signing, other = hands[:, :, 0], hands[:, :, 1]
        wrist = signing[:, :, :1]
        shape = signing - wrist
        palm = shape[:, :, [5, 9, 13, 17]].norm(dim=-1).mean(-1)
        size = (palm.sum(1) / num_frames.clamp(min=1)).clamp(min=1e-3)[:, None, None, None]
        shape = shape / size
        both = other.abs().sum((2, 3), keepdim=True) > 0
        relation = torch.where(both, (other - wrist) / size, 0.0)
        move = functional.pad(wrist[:, 1:] - wrist[:, :-1], (0, 0, 0, 0, 1, 0)) / size
        parts = [shape[:, :, 1:].flatten(2), 5 * move.flatten(2), both.float().flatten(2), 0.5 * relation.flatten(2)]
        features = torch.cat([*parts, *self._invariants(shape)], dim=-1)
        return features * valid[..., None]

    def _invariants(self, shape: Tensor) -> list[Tensor]:
        spans = (shape[:, :, self._from] - shape[:, :, self._to]).pow(2).sum(-1).add(1e-6).sqrt()
        bones = functional.normalize(shape[:, :, 1:] - shape[:, :, self._parents], dim=-1, eps=1e-4)
        angles = (bones[:, :, self._outer] * bones[:, :, self._outer - 1]).sum(-1)
        index = functional.normalize(shape[:, :, 5], dim=-1, eps=1e-4)
        little = functional.normalize(shape[:, :, 17], dim=-1, eps=1e-4)
        return [spans, bones.flatten(2), angles, torch.linalg.cross(index, little)]
