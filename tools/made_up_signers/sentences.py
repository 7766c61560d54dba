"""Sentences with a meaning: what is said, in which order it is signed, and its captions in three spoken languages.

No two sentences of a corpus say the same. One in five is a twin of the one before it: the same signs with two people
changing places, or another person as the subject; so neither a bag of signs nor a single rare sign tells all apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from made_up_signers.language import Sign
from made_up_signers.meanings import LANGUAGES, NOUNS, Meaning, meanings
from made_up_signers.translations import Frame, Noun, Speaker
from made_up_signers.world import Language

MIN_SIGNS, MAX_SIGNS = 3, 6
_TWINS = 0.25  # of the other sentences: one in five of all
_MISSES = 2000  # draws in a row that bring nothing new, before there is taken to be no more
AnyItem = TypeVar("AnyItem")


class TooFewSigns(ValueError):
    """The signs of a language don't make the sentences that are wanted."""


@dataclass(frozen=True)
class Sentence:
    """One sentence of a corpus.

    Attributes:
        group: its name.
        signs: numbers in the language's inventory, in the order of signing.
        captions: spoken language → what it says.
    """

    group: str
    signs: tuple[int, ...]
    captions: dict[str, str]


class Author:
    """Writes sentences with the signs that a language has.

    Args:
        signs: the inventory.
        verb_last: sign the verb last and adjectives after their nouns, and the place early; else the verb before the
            object, adjectives before their nouns, and the place last.
        rng: draws what is said.

    Raises:
        TooFewSigns: the signs hold no two people, no verb that takes one of the things, or only one verb.
    """

    def __init__(self, signs: Sequence[Sign], *, verb_last: bool, rng: np.random.Generator) -> None:
        self.verb_last, self.rng = verb_last, rng
        known = meanings()
        self.places = {sign.number: place for place, sign in enumerate(signs)}
        self.kinds: dict[str, list[Meaning]] = {}
        for number in sorted(self.places):
            self.kinds.setdefault(known[number].kind, []).append(known[number])
        nouns = [noun for kind in NOUNS for noun in self.kinds.get(kind, [])]
        self.objects = {verb: [n for n in nouns if verb.fits(n)] for verb in self._of("verb")}
        self.verbs = [verb for verb, objects in self.objects.items() if objects or not verb.goes_with]
        if len(self._of("person")) < 2 or len(self.verbs) < 2:
            raise TooFewSigns(
                f"{len(signs)} signs hold {len(self._of('person'))} people and {len(self.verbs)} verbs, too few for "
                "sentences, which need two of each; give more signs"
            )

    def write(self, num: int) -> list[Frame]:
        """So many sentences that all say something else.

        Raises:
            TooFewSigns: there don't seem to be so many.
        """
        found: dict[Frame, None] = {}
        misses = 0
        while len(found) < num:
            frame = self._draw()
            if frame in found or not MIN_SIGNS <= len(self.order(frame)) <= MAX_SIGNS:
                misses += 1
                if misses == _MISSES:
                    raise TooFewSigns(
                        f"{len(found)} different sentences found, {num} wanted; give more signs or fewer sentences"
                    )
                continue
            misses = 0
            found[frame] = None
            if len(found) < num and self.rng.random() < _TWINS:
                found[self._twin(frame)] = None
        return list(found)

    def order(self, frame: Frame) -> tuple[int, ...]:
        """Places in the inventory, in the order of signing."""
        subject, verb = self._noun(frame.subject), [frame.verb]
        object_ = self._noun(frame.object) if frame.object else []
        if self.verb_last:
            signed = [frame.time, frame.place, *subject, *object_, *verb, frame.negation]
        else:
            signed = [frame.time, *subject, frame.negation, *verb, *object_, frame.place]
        return tuple(self.places[one.number] for one in signed if one is not None)

    def _noun(self, what: Noun) -> list[Meaning]:
        described = [what.noun, what.adjective, what.number]
        return [one for one in (described if self.verb_last else described[::-1]) if one is not None]

    def _of(self, kind: str) -> list[Meaning]:
        return self.kinds.get(kind, [])

    def _choose(self, options: Sequence[AnyItem]) -> AnyItem:
        return options[int(self.rng.integers(len(options)))]

    def _perhaps(self, options: Sequence[AnyItem], share: float) -> AnyItem | None:
        return self._choose(options) if options and self.rng.random() < share else None

    def _draw(self) -> Frame:
        verb, subject = self._choose(self.verbs), self._choose(self._of("person"))
        objects = [noun for noun in self.objects[verb] if noun != subject]
        return Frame(
            subject=Noun(subject, self._perhaps([a for a in self._of("adjective") if a.fits(subject)], 0.35)),
            verb=verb,
            object=self._described(self._choose(objects)) if objects else None,
            time=self._perhaps(self._of("time"), 0.6),
            place=self._perhaps(self._of("place"), 0.4),
            negation=self._perhaps(self._of("not"), 0.12),
        )

    def _described(self, noun: Meaning) -> Noun:
        counted = noun.kind != "person"  # a number would hide that two people changed places
        return Noun(
            noun,
            self._perhaps([one for one in self._of("adjective") if one.fits(noun)], 0.4),
            self._perhaps(self._of("number"), 0.25) if counted else None,
        )

    def _twin(self, frame: Frame) -> Frame:
        """Nearly the same sentence: two people change places, or somebody else does it."""
        if frame.object and frame.object.noun.kind == "person":
            return replace(frame, subject=frame.object, object=frame.subject)
        # Adjectives of people fit all of them.
        others = [person for person in self._of("person") if person != frame.subject.noun]
        return replace(frame, subject=replace(frame.subject, noun=self._choose(others)))


def captions(frame: Frame, rng: np.random.Generator) -> dict[str, str]:
    """The sentence in all spoken languages."""
    return {language: Speaker(language, rng).say(frame) for language in LANGUAGES}


def compose(spoken: Language, nums: Mapping[str, int], *, seed: int) -> dict[str, list[Sentence]]:
    """The sentences of a corpus: split → as many as are wanted, no two of them alike, whatever their splits.

    Args:
        spoken: the language; its name, if it has one, begins those of the groups, which no other corpus may have.
        nums: split → number of sentences.
        seed: other seeds, other sentences.

    Raises:
        TooFewSigns: the signs don't make so many sentences.
    """
    author = Author(spoken.signs, verb_last=spoken.verb_last, rng=np.random.default_rng([seed, 4]))
    frames = iter(author.write(sum(nums.values())))
    prefix = f"{spoken.name}-" if spoken.name else ""
    return {
        split: [_sentence(author, next(frames), f"{prefix}{split}-{n:04d}", [seed, 5, i, n]) for n in range(num)]
        for i, (split, num) in enumerate(nums.items())
    }


def _sentence(author: Author, frame: Frame, group: str, seed: list[int]) -> Sentence:
    return Sentence(group, author.order(frame), captions(frame, np.random.default_rng(seed)))
