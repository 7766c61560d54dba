"""Two made-up sign languages that share a chosen part of their motions, under other glosses.

Motions of the whole world are chosen to be unlike each other, so a sign that isn't shared is like none of the other
language. The languages depend on their sizes, on what they share and on the number of the world, never on the seed of
a corpus.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from made_up_signers.language import MAX_GLOSSES, Grammar, Sign, signs

NAMES = ("language1", "language2")  # target and auxiliary
SHARED_TABLE = "shared_signs.tsv"
_SYLLABLES = ("AR", "EK", "IL", "ON", "UM", "AS", "ET", "IP", "OB", "UD", "EX", "IR", "AV", "OG")
_DEGREES_A_WIDTH = 100.0  # an accent of 0.05 shoulder widths turns hands by 5 degrees
_TEMPO_A_WIDTH = 1.6  # and changes the length of a stroke by 8 %


@dataclass(frozen=True)
class Language:
    """The signs of one language and the grammar of its sentences.

    Attributes:
        name: of its folder.
        signs: its inventory.
        grammar: other languages, other successors.
        verb_last: the order of sentences with a meaning, see made_up_signers.sentences.
    """

    name: str
    signs: tuple[Sign, ...]
    grammar: Grammar
    verb_last: bool = True


@dataclass(frozen=True)
class World:
    """Two languages and what they truly share.

    Attributes:
        languages: target, then auxiliary.
        shared: gloss of the auxiliary language → gloss of the target language, only signs of the same motion.
    """

    languages: tuple[Language, Language]
    shared: dict[str, str]

    def write_shared(self, path: Path) -> None:
        """Write the truth as a table of two columns."""
        lines = ["language2_gloss\tlanguage1_gloss", *(f"{a}\t{b}" for a, b in sorted(self.shared.items()))]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def make_world(num_glosses: tuple[int, int], *, shared: float, accent: float = 0.0, number: int = 0) -> World:
    """Two languages.

    Args:
        num_glosses: signs of the target and of the auxiliary language.
        shared: share of the smaller inventory that both languages have.
        accent: standard deviation of the places of a shared sign in the auxiliary language, in shoulder widths; its
            direction and length differ in proportion.
        number: other numbers, other languages of the same sizes.

    Raises:
        ValueError: there are not enough motions for so many signs that differ.
    """
    num_shared = round(shared * min(num_glosses))
    num_motions = sum(num_glosses) - num_shared
    if not 0 <= shared <= 1 or num_motions > MAX_GLOSSES or min(num_glosses) < 2:
        raise ValueError(
            f"languages of {num_glosses[0]} and {num_glosses[1]} signs that share {shared} of the smaller need "
            f"{num_motions} motions; there are {MAX_GLOSSES}, and a language has at least 2"
        )
    rng = np.random.default_rng([16, *num_glosses, num_shared, *([number] if number else [])])
    motions = [signs(num_motions)[i] for i in rng.permutation(num_motions)]
    common, own = motions[:num_shared], motions[num_shared:]
    own_target, own_auxiliary = own[: num_glosses[0] - num_shared], own[num_glosses[0] - num_shared :]
    target = [*common, *own_target]
    names = [_name(i) for i in rng.permutation(num_glosses[1])]
    accented = [_accented(sign, accent, rng) for sign in common]
    auxiliary = [replace(s, gloss=name) for s, name in zip([*accented, *own_auxiliary], names, strict=True)]
    truth = {there.gloss: here.gloss for there, here in zip(auxiliary, common, strict=False)}
    return World(
        (
            Language(NAMES[0], _shuffled(target, rng), Grammar(num_glosses[0], variant=2 * number + 1)),
            Language(NAMES[1], _shuffled(auxiliary, rng), Grammar(num_glosses[1], variant=2 * number + 2), False),
        ),
        truth,
    )


def _shuffled(chosen: list[Sign], rng: np.random.Generator) -> tuple[Sign, ...]:
    """Signs in another order, so that shared ones are neither more nor less frequent in the grammar."""
    return tuple(chosen[i] for i in rng.permutation(len(chosen)))


def _name(number: int) -> str:
    """A gloss that the target language can't have."""
    first, rest = number % len(_SYLLABLES), number // len(_SYLLABLES)
    return _SYLLABLES[first] + _SYLLABLES[(first + 3 + rest) % len(_SYLLABLES)]


def _accented(sign: Sign, accent: float, rng: np.random.Generator) -> Sign:
    """The same motion as others would make it."""
    across, down, forwards = rng.normal(0, accent, 3).tolist()
    return replace(
        sign,
        offset=(across, down, forwards),
        angle=sign.angle + float(rng.normal(0, accent * _DEGREES_A_WIDTH)),
        seconds=sign.seconds * float(np.exp(rng.normal(0, accent * _TEMPO_A_WIDTH))),
    )
