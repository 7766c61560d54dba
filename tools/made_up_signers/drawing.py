"""Pictures of a skeleton: a person before a wall, drawn with Pillow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from made_up_signers.signers import Colour, Signer
from made_up_signers.skeleton import Skeleton

_FINER = 2  # drawn at twice the size and brought down, for smooth edges
_NOISE = 3.0  # standard deviation of the camera's noise, grey levels
Points = list[tuple[float, float]]


def draw(
    skeleton: Skeleton, signer: Signer, *, width_px: int, height_px: int, rng: np.random.Generator
) -> Iterator[Image.Image]:
    """Yield one RGB picture a frame.

    Args:
        skeleton: joints in pixels.
        signer: colours.
        width_px: width of the picture.
        height_px: height of the picture.
        rng: light and noise.
    """
    wall = _wall(signer.wall, width_px, height_px, rng)
    noise = np.rint(rng.normal(0, _NOISE, (height_px + 16, width_px + 16, 3))).astype(np.int16)
    noise += np.int16(rng.integers(-8, 9))  # brighter and darker takes
    for frame in range(len(skeleton.head)):
        picture = wall.copy()
        _person(ImageDraw.Draw(picture), skeleton, signer, frame)
        pixels = np.asarray(picture.reduce(_FINER)).astype(np.int16)
        down, right = rng.integers(0, 17, 2)
        pixels += noise[down : down + height_px, right : right + width_px]
        yield Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _wall(colour: Colour, width_px: int, height_px: int, rng: np.random.Generator) -> Image.Image:
    down = np.linspace(-1, 1, height_px * _FINER)[:, None]
    right = np.linspace(-1, 1, width_px * _FINER)[None]
    light = 14 * (float(rng.uniform(-1, 1)) * right - down)
    pixels = np.asarray(colour)[None, None] + light[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _flat(points: NDArray[np.float64]) -> Points:
    return [(float(x), float(y)) for x, y in points[..., :2].reshape(-1, 2) * _FINER]


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(value * factor)) for value in colour)
    return red, green, blue


def _limb(pen: ImageDraw.ImageDraw, points: Points, width: float, colour: Colour) -> None:
    pen.line(points, fill=colour, width=max(1, round(width)), joint="curve")
    for x, y in (points[0], points[-1]):
        pen.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=colour)


def _person(pen: ImageDraw.ImageDraw, skeleton: Skeleton, signer: Signer, frame: int) -> None:
    unit = skeleton.unit_px * _FINER
    left, right = _flat(skeleton.shoulders[frame])
    hips = [(x, y + unit) for x, y in _flat(skeleton.hips[frame])]  # down to the lower edge of the picture
    pen.polygon([left, *hips, right], fill=signer.clothes)
    _limb(pen, [left, right], 0.26 * unit, signer.clothes)
    head = _flat(skeleton.head[frame])[0]
    middle = ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2)
    _limb(pen, [middle, head], 0.24 * unit, _shade(signer.skin, 0.85))
    _head(pen, head, skeleton, signer, frame)
    for side in (0, 1):
        arm = _flat(np.stack([points[frame, side] for points in (skeleton.shoulders, skeleton.elbows)]))
        _limb(pen, arm, 0.24 * unit, _shade(signer.clothes, 1.15))
    # The hand that is further away is drawn first.
    for side in np.argsort(skeleton.wrists[frame, :, 2]):
        forearm = _flat(np.stack([points[frame, side] for points in (skeleton.elbows, skeleton.wrists)]))
        _limb(pen, forearm, 0.19 * unit, _shade(signer.clothes, 1.3))
        _hand(pen, skeleton.hands[frame, side], unit, signer.skin)


def _head(pen: ImageDraw.ImageDraw, head: tuple[float, float], skeleton: Skeleton, signer: Signer, frame: int) -> None:
    wide, high = (value * _FINER for value in skeleton.head_px)

    def oval(x: float, y: float, half_width: float, half_height: float, colour: Colour) -> None:
        x, y = head[0] + x * wide, head[1] + y * high
        half_width, half_height = half_width * wide, half_height * high
        pen.ellipse([x - half_width, y - half_height, x + half_width, y + half_height], fill=colour)

    oval(0, -0.2, 1.12, 1.0, signer.hair)
    oval(0, 0.05, 0.92, 0.95, signer.skin)
    for side in (-0.4, 0.4):
        oval(side, -0.1, 0.16, 0.09, (235, 235, 235))
        oval(side, -0.1, 0.08, 0.09, (30, 30, 30))
    oval(0, 0.22, 0.1, 0.1, _shade(signer.skin, 0.85))
    oval(0, 0.55, 0.34, 0.06 + 0.16 * float(skeleton.mouth[frame]), (150, 60, 60))


def _hand(pen: ImageDraw.ImageDraw, joints: NDArray[np.float64], unit: float, skin: Colour) -> None:
    points = _flat(joints)
    palm = [points[0], points[1], points[5], points[9], points[13], points[17]]
    edge, width = _shade(skin, 0.72), 0.085 * unit
    pen.polygon(palm, fill=skin, outline=edge)
    _limb(pen, [points[0], points[9]], 2 * width, skin)
    # Palms face the camera: closed fingers are nearer, and in the light's shadow.
    for first in sorted((1, 5, 9, 13, 17), key=lambda number: float(joints[number + 3, 2])):
        bent = min(1.0, max(0.0, float(joints[first + 3, 2] - joints[first, 2])) * _FINER / (0.2 * unit))
        finger = points[first : first + 4]
        _limb(pen, finger, width + 2, edge)
        _limb(pen, finger, width, _shade(skin, 1.05 - 0.2 * bent))
