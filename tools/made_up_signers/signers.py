"""People who sign: what they look like and how they move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
_SKINS: tuple[Colour, ...] = ((236, 200, 176), (222, 178, 148), (196, 146, 112), (160, 112, 82), (118, 80, 58))
_HAIRS: tuple[Colour, ...] = ((40, 30, 26), (92, 62, 40), (170, 130, 80), (120, 120, 124), (130, 52, 30))
_CLOTHES: tuple[Colour, ...] = ((34, 38, 56), (70, 28, 40), (30, 66, 56), (60, 60, 64), (96, 84, 110), (24, 24, 28))
_WALLS: tuple[Colour, ...] = ((150, 160, 176), (120, 132, 150), (170, 168, 160), (104, 122, 124))


@dataclass(frozen=True)
class Signer:
    """One person.

    Attributes:
        name: as in the corpus table.
        left_handed: leads with the left hand.
        shoulder_share: shoulder width over the width of the picture.
        centre: middle between the shoulders, shares of the picture's width and height.
        head: size of the head, 1 is average.
        arm: length of the arms, 1 is average.
        skin: colour of face and hands.
        hair: colour.
        clothes: colour.
        wall: colour of the background.
        speed: 1 is average, larger is faster.
        amplitude: size of the movements, 1 is average.
        offset: (3,) shoulder widths by which this person's places differ: outwards, down, forwards.
        laxness: how far the fingers stay from the shapes they should take, 0 to 1.
        unsteadiness: standard deviation of a sign's places from one performance to the next, in shoulder widths.
    """

    name: str
    left_handed: bool
    shoulder_share: float
    centre: tuple[float, float]
    head: float
    arm: float
    skin: Colour
    hair: Colour
    clothes: Colour
    wall: Colour
    speed: float
    amplitude: float
    offset: NDArray[np.float64]
    laxness: float
    unsteadiness: float


def make_signers(num_signers: int, *, seed: int) -> list[Signer]:
    """People of a corpus; every fourth is left-handed.

    Args:
        num_signers: how many.
        seed: other seeds, other people.
    """
    return [_signer(number, np.random.default_rng([seed, 1, number])) for number in range(num_signers)]


def _signer(number: int, rng: np.random.Generator) -> Signer:
    def colour(choices: tuple[Colour, ...]) -> Colour:
        red, green, blue = np.asarray(choices[rng.integers(len(choices))]) + rng.integers(-10, 11, 3)
        return int(max(red, 0)), int(max(green, 0)), int(max(blue, 0))

    return Signer(
        name=f"Signer{number + 1:02d}",
        left_handed=number % 4 == 2,
        shoulder_share=float(rng.uniform(0.33, 0.38)),
        centre=(float(rng.uniform(0.48, 0.52)), float(rng.uniform(0.42, 0.45))),
        head=float(rng.uniform(0.92, 1.08)),
        arm=float(rng.uniform(0.95, 1.06)),
        skin=colour(_SKINS),
        hair=colour(_HAIRS),
        clothes=colour(_CLOTHES),
        wall=colour(_WALLS),
        speed=float(rng.uniform(0.85, 1.2)),
        amplitude=float(rng.uniform(0.9, 1.1)),
        offset=rng.normal(0, 0.05, 3),
        laxness=float(rng.uniform(0.0, 0.15)),
        unsteadiness=float(rng.uniform(0.02, 0.05)),
    )
