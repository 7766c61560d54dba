"""From hand parameters to joints in picture coordinates: arms by inverse kinematics, hands by closing the fingers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from made_up_signers.language import ANGLE, CLOSED, PLACE, SPREAD, FloatArray
from made_up_signers.motion import Motion
from made_up_signers.signers import Signer

UPPER_ARM, FOREARM, HAND = 0.84, 0.74, 0.52  # shoulder widths
_POLE = np.asarray([0.7, 1.0, -0.25])  # elbows point outwards, down and a little back
_BASE_DEGREES = np.asarray([-58.0, -18.0, -5.0, 8.0, 21.0])  # thumb to little finger, from the hand's middle
_BASE_SHARE = np.asarray([0.28, 0.52, 0.53, 0.50, 0.46])
_SPREAD_DEGREES = np.asarray([-30.0, -16.0, -3.0, 10.0, 24.0])
_BONE_SHARES = np.asarray(
    [[0.22, 0.18, 0.15], [0.25, 0.16, 0.11], [0.28, 0.18, 0.12], [0.26, 0.17, 0.11], [0.20, 0.13, 0.10]]
)
_CLOSING_DEGREES = np.asarray([80.0, 100.0, 65.0])


class Skeleton(NamedTuple):
    """Joints of one clip in pixels: x right, y down, z towards the camera; sides are the signer's own.

    shoulders, elbows, wrists, hips: (T, 2, 3) float64, left then right.
    hands: (T, 2, 21, 3) float64, left then right, in MediaPipe's order: wrist, then four a finger from the thumb on.
    head: (T, 3) float64, its middle.
    mouth: (T,) float64, opening, 0 to 1.
    unit_px: shoulder width.
    head_px: half width and half height of the head.
    """

    shoulders: FloatArray
    elbows: FloatArray
    wrists: FloatArray
    hips: FloatArray
    hands: FloatArray
    head: FloatArray
    mouth: FloatArray
    unit_px: float
    head_px: tuple[float, float]


def pose(
    motion: Motion, signer: Signer, *, width_px: int, height_px: int, fps: float, rng: np.random.Generator
) -> Skeleton:
    """Joints of a signer who moves so.

    Args:
        motion: hand parameters over time.
        signer: whose body.
        width_px: width of the picture.
        height_px: height of the picture.
        fps: frames per second.
        rng: sway of the body.
    """
    num_frames = len(motion.hands)
    unit = signer.shoulder_share * width_px
    sway = _sway(num_frames, fps, rng)
    # The leading hand is right unless the signer is left-handed; the arrays hold the left one first.
    hands = motion.hands if signer.left_handed else motion.hands[:, ::-1]
    side = np.asarray([1.0, -1.0])  # the signer's left is on the right of the picture
    flip = np.stack([side, np.ones(2), np.ones(2)], axis=1)
    shoulders = np.broadcast_to(np.asarray([[0.5, 0.0, 0.0]]) * flip, (num_frames, 2, 3))
    elbows, wrists = _arms(shoulders, hands[:, :, PLACE] * flip, flip, signer.arm)
    points = _hands(wrists, hands, side)
    hips = np.broadcast_to(np.asarray([[0.36, 1.6, 0.0]]) * flip, (num_frames, 2, 3))
    head = np.asarray([0.0, -0.62 * signer.head, 0.1]) + 1.4 * sway + _nod(motion.mouth)
    middle = np.asarray([signer.centre[0] * width_px, signer.centre[1] * height_px, 0.0])

    def place(joints: FloatArray) -> FloatArray:
        return middle + unit * (joints + sway.reshape(num_frames, *[1] * (joints.ndim - 2), 3))

    return Skeleton(
        place(shoulders),
        place(elbows),
        place(wrists),
        place(hips),
        place(points),
        middle + unit * head,
        motion.mouth,
        unit,
        (0.27 * signer.head * unit, 0.37 * signer.head * unit),
    )


def _sway(num_frames: int, fps: float, rng: np.random.Generator) -> FloatArray:
    """Slow movement of the whole body: (T, 3), shoulder widths."""
    seconds = np.arange(num_frames) / fps
    speed, start = rng.uniform(0.15, 0.5, 3), rng.uniform(0, 2 * np.pi, 3)
    sway: FloatArray = np.asarray([0.03, 0.012, 0.0]) * np.sin(2 * np.pi * speed * seconds[:, None] + start)
    return sway


def _nod(mouth: FloatArray) -> FloatArray:
    nod: FloatArray = 0.02 * mouth[:, None] * np.asarray([0.0, 1.0, 0.0])
    return nod


def _arms(shoulders: FloatArray, wrists: FloatArray, flip: FloatArray, arm: float) -> tuple[FloatArray, FloatArray]:
    """Elbows for wrists, both (T, 2, 3); wrists out of reach are brought into it."""
    upper, lower = UPPER_ARM * arm, FOREARM * arm
    way = wrists - shoulders
    distance = np.linalg.norm(way, axis=-1, keepdims=True)
    reached = distance.clip(0.25, 0.985 * (upper + lower))
    direction = way / np.maximum(distance, 1e-6)
    along = (upper**2 - lower**2 + reached**2) / (2 * reached)
    aside = np.sqrt(np.maximum(upper**2 - along**2, 0.0))
    pole = _POLE * flip
    pole = pole - (pole * direction).sum(-1, keepdims=True) * direction
    pole /= np.maximum(np.linalg.norm(pole, axis=-1, keepdims=True), 1e-6)
    return shoulders + along * direction + aside * pole, shoulders + reached * direction


def _hands(wrists: FloatArray, hands: FloatArray, side: FloatArray) -> FloatArray:
    """Joints of both hands: (T, 2, 21, 3). A closing finger leaves the plane of the palm, so it looks shorter."""
    angle = hands[:, :, ANGLE, None]
    base = np.radians(angle + _BASE_DEGREES)
    finger = np.radians(angle + 0.4 * _BASE_DEGREES + hands[:, :, SPREAD, None] * _SPREAD_DEGREES)
    closing = np.radians(np.cumsum(hands[:, :, CLOSED, None] * _CLOSING_DEGREES, axis=-1))
    closing[:, :, 0] *= 0.45  # the thumb closes less
    in_plane = HAND * _BONE_SHARES * np.cos(closing)
    out_of_plane = HAND * _BONE_SHARES * np.sin(closing)

    def direction(angles: FloatArray) -> FloatArray:
        return np.stack([np.sin(angles) * side[None, :, None], -np.cos(angles)], axis=-1)

    knuckles = HAND * _BASE_SHARE[:, None] * direction(base)
    bones = in_plane[..., None] * direction(finger)[:, :, :, None]
    flat = knuckles[:, :, :, None] + np.concatenate([np.zeros_like(bones[:, :, :, :1]), np.cumsum(bones, axis=3)], 3)
    depth = np.concatenate([np.zeros_like(out_of_plane[..., :1]), np.cumsum(out_of_plane, axis=-1)], -1)
    joints = np.concatenate([flat, depth[..., None]], axis=-1).reshape(*wrists.shape[:2], 20, 3)
    return np.concatenate([wrists[:, :, None], wrists[:, :, None] + joints], axis=2)
