"""What a signed sentence says in English, German and Persian.

Words of equal meaning, articles and the order of the words are drawn anew for each caption: they aren't signed.
English verbs stand after the subject, German finite verbs second and participles last, Persian verbs last; German nouns
have gender and case, Persian marks the definite object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from made_up_signers.meanings import Meaning, Word

_VOWELS = tuple("aeiou")
_ARTICLES = {  # gender → nominative, accusative, dative
    "m": ("der", "den", "dem"),
    "f": ("die", "die", "der"),
    "n": ("das", "das", "dem"),
}
_INDEFINITE = {"m": ("", "en", "em"), "f": ("e", "e", "er"), "n": ("", "", "em")}
_NOMINATIVE, _ACCUSATIVE, _DATIVE = range(3)


@dataclass(frozen=True)
class Noun:
    """A noun with what describes it."""

    noun: Meaning
    adjective: Meaning | None = None
    number: Meaning | None = None

    def meanings(self) -> tuple[Meaning, ...]:
        """Its concepts."""
        return tuple(one for one in (self.noun, self.adjective, self.number) if one is not None)


@dataclass(frozen=True)
class Frame:
    """What a sentence says: who does what to whom, when and where, or doesn't."""

    subject: Noun
    verb: Meaning
    object: Noun | None = None
    time: Meaning | None = None
    place: Meaning | None = None
    negation: Meaning | None = None

    @property
    def tense(self) -> str:
        """past, present or future."""
        return self.time.goes_with[0] if self.time else "present"


class Speaker:
    """Says frames in one of LANGUAGES; what is free is drawn.

    Args:
        language: en, de or fa.
        rng: draws words, articles and orders.
    """

    def __init__(self, language: str, rng: np.random.Generator) -> None:
        self.language, self.rng = language, rng

    def say(self, frame: Frame) -> str:
        """The sentence, with a capital where the script has them, and a full stop."""
        words = {"en": self._english, "de": self._german, "fa": self._persian}[self.language](frame)
        text = " ".join(word for word in words if word)
        return text[0].upper() + text[1:] + "."

    def _word(self, meaning: Meaning) -> Word:
        words = meaning.words[self.language]
        return words[int(self.rng.integers(len(words)))]

    def _plain(self, meaning: Meaning | None) -> str:
        return self._word(meaning)[0] if meaning else ""

    def _chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def _english(self, frame: Frame) -> list[str]:
        base, present, past = self._word(frame.verb)
        if frame.tense == "future":
            verb = f"will not {base}" if frame.negation else f"will {base}"
        elif frame.negation:
            verb = f"{'did' if frame.tense == 'past' else 'does'} not {base}"
        else:
            verb = past if frame.tense == "past" else present
        subject = self._english_noun(frame.subject, definite=self._chance(0.8))
        object_ = self._english_noun(frame.object, definite=self._chance(0.5)) if frame.object else ""
        time, place = self._plain(frame.time), self._plain(frame.place)
        if time and self._chance(0.5):
            return [f"{time},", subject, verb, object_, place]
        return [subject, verb, object_, place, time]

    def _english_noun(self, what: Noun, *, definite: bool) -> str:
        singular, plural = self._word(what.noun)
        adjective, number = self._plain(what.adjective), self._plain(what.number)
        if number:
            return " ".join(filter(None, (number, adjective, plural)))
        rest = " ".join(filter(None, (adjective, singular)))
        article = "the" if definite else "an" if rest.startswith(_VOWELS) else "a"
        return f"{article} {rest}"

    def _german(self, frame: Frame) -> list[str]:
        present, past, participle, *flags = self._word(frame.verb)
        finite, _, end = (past if frame.tense == "past" else present).partition(" ")
        if frame.tense == "past" and self._chance(0.6):
            finite, end = "ist" if "sein" in flags else "hat", participle
        subject = self._german_noun(frame.subject, _NOMINATIVE, definite=self._chance(0.8))
        object_, negation = "", "nicht" if frame.negation else ""
        if frame.object:
            definite = self._chance(0.5) or frame.object.number is not None
            case = _DATIVE if "dat" in flags else _ACCUSATIVE
            object_ = self._german_noun(frame.object, case, definite=definite, negated=bool(frame.negation))
            negation = negation if definite else ""  # kein Buch
        time, place = self._plain(frame.time), self._plain(frame.place)
        first = "time" if time and self._chance(0.6) else "place" if place and self._chance(0.3) else "subject"
        front = {"time": time, "place": place, "subject": subject}[first]
        middle = [subject if first != "subject" else "", time if first != "time" else ""]
        where = place if first != "place" else ""
        # "nicht" stands behind an object, but before a place: schläft nicht im Garten
        middle += [where, object_, negation] if object_ else [negation, where]
        return [front, finite, *middle, end]

    def _german_noun(self, what: Noun, case: int, *, definite: bool, negated: bool = False) -> str:
        gender, singular, plural = self._word(what.noun)
        stem = self._plain(what.adjective)
        if what.number:
            return " ".join(filter(None, (self._plain(what.number), f"{stem}e" if stem else "", plural)))
        if definite:
            article = _ARTICLES[gender][case]
            weak = case == _NOMINATIVE or (case == _ACCUSATIVE and gender != "m")
            ending = "e" if weak else "en"
        else:
            article = ("kein" if negated else "ein") + _INDEFINITE[gender][case]
            ending = _mixed_ending(gender, case)
        return " ".join(filter(None, (article, f"{stem}{ending}" if stem else "", singular)))

    def _persian(self, frame: Frame) -> list[str]:
        present, past, *preposition = self._word(frame.verb)
        verb = _persian_verb(present, past, frame.tense, negated=frame.negation is not None)
        subject = self._persian_noun(frame.subject, definite=self._chance(0.8))
        object_ = ""
        if frame.object:
            definite = self._chance(0.5)
            object_ = self._persian_noun(frame.object, definite=definite)
            if preposition:
                object_ = f"{preposition[0]} {object_}"
            elif definite:
                object_ = f"{object_} را"
        time, place = self._plain(frame.time), self._plain(frame.place)
        start = [time, subject] if self._chance(0.6) else [subject, time]
        return [*start, *([place, object_] if self._chance(0.5) else [object_, place]), verb]

    def _persian_noun(self, what: Noun, *, definite: bool) -> str:
        noun, adjective = self._plain(what.noun), self._plain(what.adjective)
        if adjective:
            noun = f"{noun}{_ezafe(noun)} {adjective}"
        number = self._plain(what.number) or ("" if definite else "یک")
        return f"{number} {noun}" if number else noun


def _mixed_ending(gender: str, case: int) -> str:
    """Of an adjective after ein and kein."""
    if case == _DATIVE or (case == _ACCUSATIVE and gender == "m"):
        return "en"
    return {"m": "er", "f": "e", "n": "es"}[gender]


def _persian_verb(present: str, past: str, tense: str, *, negated: bool) -> str:
    """The verb of a third person; what a compound verb begins with stays as it is."""
    *parts, last = (present if tense == "present" else past).split(" ")
    if tense == "future":
        return " ".join([*parts, "نخواهد" if negated else "خواهد", last])
    if negated:
        last = "نیا" + last[1:] if last.startswith("آ") else "ن" + last
    return " ".join([*parts, last])


def _ezafe(noun: str) -> str:
    """What joins an adjective to a noun in writing: nothing after most consonants."""
    if noun.endswith("ه") and not noun.endswith("اه"):
        return "\u200cی"
    return "ی" if noun.endswith(("ا", "و")) else ""
