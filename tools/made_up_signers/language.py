"""An invented sign language: its signs, each a parametrised motion, and the grammar of its sentences.

The language is the same in every corpus, whatever the seed: the first twelve signs of a corpus with twelve are the
first twelve of a corpus with thirty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# One hand at one instant: where the wrist is (outwards, down, forwards: shoulder widths from the middle between the
# shoulders, seen from the hand's own side), where the fingers point (degrees from up, outwards positive), how far each
# finger is closed (thumb first, 0 to 1) and how far the fingers are spread.
PLACE, ANGLE, CLOSED, SPREAD = slice(0, 3), 3, slice(4, 9), 9
NUM_HAND_PARAMETERS = 10
MAX_GLOSSES = 100

PLACES = {
    "forehead": (0.10, -0.62, 0.40),
    "temple": (0.55, -0.72, 0.30),
    "chin": (0.15, -0.05, 0.45),
    "shoulder": (0.55, 0.15, 0.40),
    "chest": (0.12, 0.45, 0.45),
    "belly": (0.20, 0.95, 0.40),
    "side": (0.95, 0.55, 0.45),
    "far": (1.00, 0.05, 0.50),
    "across": (-0.40, 0.35, 0.50),
    "high": (0.75, -0.45, 0.50),
}
SHAPES = {
    "flat": (0.1, 0.0, 0.0, 0.0, 0.0, 0.1),
    "spread": (0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    "fist": (0.7, 1.0, 1.0, 1.0, 1.0, 0.0),
    "point": (0.8, 0.0, 1.0, 1.0, 1.0, 0.0),
    "fork": (0.8, 0.0, 0.0, 1.0, 1.0, 0.9),
    "horns": (0.0, 1.0, 1.0, 1.0, 0.0, 1.0),
    "claw": (0.4, 0.5, 0.5, 0.5, 0.5, 0.9),
}
ANGLES = (0.0, -45.0, -80.0, 35.0)
PATHS = ("line", "arc", "circle", "zigzag", "tap")
PARTNERS = ("none", "none", "mirror", "alternate")
_POOL = 160  # candidates the signs are chosen from; fewer would leave them less distinct
_SYLLABLES = ("BA", "DO", "FI", "GU", "KE", "LA", "MI", "NO", "PU", "SE", "TA", "VO", "WI", "ZU")


@dataclass(frozen=True)
class Sign:
    """One sign: what the hands do between its first and its last frame.

    Attributes:
        gloss: its name.
        start: name of the place where the stroke begins.
        end: name of the place where it ends.
        path: how the hand goes from one to the other.
        repeats: how often.
        shapes: hand shape at the start and at the end.
        angle: direction of the fingers in degrees from up, outwards positive.
        partner: what the other hand does: nothing, the same mirrored, or the same half a cycle later.
        mouth: opening of the mouth, 0 to 1.
        seconds: length of the stroke at normal speed.
        offset: shoulder widths by which a language makes it elsewhere: outwards, down, forwards.
        number: of the motion, equal in languages that share it; see made_up_signers.meanings.
    """

    gloss: str
    start: str
    end: str
    path: str
    repeats: int
    shapes: tuple[str, str]
    angle: float
    partner: str
    mouth: float
    seconds: float
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    number: int = 0

    def hand(self, phase: FloatArray) -> FloatArray:
        """Parameters of the leading hand: (N,) positions in the stroke, 0 to 1, → (N, 10)."""
        start, end = np.asarray(PLACES[self.start]) + self.offset, np.asarray(PLACES[self.end]) + self.offset
        cycle = phase * self.repeats
        # To and fro; once means from the start to the end only.
        along = 1 - np.abs(1 - (2 * cycle) % 2) if self.repeats > 1 else phase
        places = start + along[:, None] * (end - start) + self._detour(cycle, start, end)
        shapes = np.asarray([SHAPES[name] for name in self.shapes])
        hands = shapes[0] + phase[:, None] * (shapes[1] - shapes[0])
        return np.column_stack([places, np.full(len(phase), self.angle), hands])

    def _detour(self, cycle: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
        """Deviation from the straight way: (N, 3)."""
        turn = 2 * np.pi * cycle
        if self.path == "circle":
            return 0.24 * np.column_stack([1 - np.cos(turn), np.sin(turn), 0 * turn])
        if self.path == "tap":
            return np.column_stack([0 * turn, 0.16 * np.abs(np.sin(1.5 * turn)), 0 * turn])
        way = end - start
        across = np.asarray([-way[1], way[0], 0.0]) / max(0.3, float(np.hypot(way[0], way[1])))
        if self.path == "arc":
            return 0.30 * np.sin(np.pi * cycle)[:, None] * across
        if self.path == "zigzag":
            return 0.14 * np.sin(2 * turn)[:, None] * across
        return np.zeros((len(cycle), 3))


@lru_cache
def _candidates() -> tuple[Sign, ...]:
    rng = np.random.default_rng(14)
    places, shapes = list(PLACES), list(SHAPES)
    found = []
    for number in range(_POOL):
        path = PATHS[rng.integers(len(PATHS))]
        start, end = (places[i] for i in rng.choice(len(places), 2, replace=False))
        first, last = (shapes[i] for i in rng.choice(len(shapes), 2, replace=False))
        partner = PARTNERS[rng.integers(len(PARTNERS))]
        sign = Sign(
            gloss=_name(number),
            start=start,
            end=start if path in ("circle", "tap") else end,
            path=path,
            repeats=int(rng.integers(1, 3)),
            shapes=(first, last if rng.random() < 0.3 else first),
            angle=ANGLES[rng.integers(len(ANGLES))],
            partner="mirror" if partner == "alternate" and path in ("line", "arc") else partner,
            mouth=float(rng.choice([0.0, 0.4, 1.0])),
            seconds=float(rng.uniform(0.44, 0.72)),
        )
        # A hand beyond the middle can't be mirrored without the arms passing through each other.
        crossing = "across" in (sign.start, sign.end)
        found.append(replace(sign, partner="none") if crossing else sign)
    return tuple(found)


def _name(number: int) -> str:
    first, rest = number % len(_SYLLABLES), number // len(_SYLLABLES)
    return _SYLLABLES[first] + _SYLLABLES[(first + 1 + rest) % len(_SYLLABLES)]


def _look(sign: Sign) -> FloatArray:
    """What tells signs apart, for comparing them: a flat vector."""
    hand = sign.hand(np.linspace(0, 1, 12))
    hand[:, ANGLE] /= 150
    hand[:, 4:] *= 0.25
    partner = {"none": (0.0, 0.0), "mirror": (1.0, 0.0), "alternate": (1.0, 0.5)}[sign.partner]
    return np.concatenate([hand.ravel() / np.sqrt(12), 0.6 * np.asarray(partner), [0.15 * sign.mouth]])


@lru_cache
def signs(num_glosses: int) -> tuple[Sign, ...]:
    """The first signs of the language; each next one is the candidate that is least like those before it.

    Args:
        num_glosses: how many, 2 to 100.
    """
    if not 2 <= num_glosses <= MAX_GLOSSES:
        raise ValueError(f"num_glosses must be between 2 and {MAX_GLOSSES}, got {num_glosses}")
    pool = _candidates()
    looks = np.stack([_look(sign) for sign in pool])
    chosen = [0]
    nearest = np.linalg.norm(looks - looks[0], axis=1)
    while len(chosen) < num_glosses:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(looks - looks[chosen[-1]], axis=1))
    return tuple(replace(pool[index], number=number) for number, index in enumerate(chosen))


class Grammar:
    """A bigram grammar: after each gloss a few others are likely, and no gloss follows itself.

    Args:
        num_glosses: vocabulary.
        concentration: of the Dirichlet distribution that successors are drawn from; smaller is more predictable.
        variant: other numbers, other grammars.
    """

    def __init__(self, num_glosses: int, *, concentration: float = 0.25, variant: int = 0) -> None:
        rng = np.random.default_rng([15, num_glosses, variant] if variant else [15, num_glosses])
        self.first = rng.dirichlet(np.full(num_glosses, 1.0))
        # A little of everything, so that no gloss is out of reach and no bigram impossible.
        following = 0.9 * rng.dirichlet(np.full(num_glosses, concentration), num_glosses) + 0.1 / num_glosses
        np.fill_diagonal(following, 0.0)
        self.following = following / following.sum(1, keepdims=True)

    def sentence(self, rng: np.random.Generator, *, min_signs: int = 2, max_signs: int = 6) -> list[int]:
        """Numbers of the glosses of one sentence."""
        found = [int(rng.choice(len(self.first), p=self.first))]
        for _ in range(int(rng.integers(min_signs, max_signs + 1)) - 1):
            found.append(int(rng.choice(len(self.first), p=self.following[found[-1]])))
        return found
