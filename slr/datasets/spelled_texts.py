"""What is spelled in a made corpus: words of a language, and strings of chance letters that even out the rare ones."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from signwave.errors import UserError
from slr.datasets.fingerspelled_concepts import spell_concept
from slr.datasets.fingerspelling import SPOKEN_LANGUAGE, Alphabet
from slr.datasets.words import words

STRING_LETTERS = (3, 6)
"""Least and largest number of letters in a string of chance letters."""
_MAX_TRIES = 200


class SpelledText(NamedTuple):
    """A word, or a string, in one alphabet."""

    alphabet: str
    word: str
    labels: tuple[str, ...]


class SplitTexts(NamedTuple):
    """What is spelled in each split; no word is in two."""

    train: list[SpelledText]
    dev: list[SpelledText]
    test: list[SpelledText]


def opaque_gloss(alphabet: str, label: str) -> str:
    """A letter's name that says nothing of what it has in common with letters of other alphabets.

    >>> opaque_gloss("ukl", "А")
    'ukl-А'
    """
    return f"{alphabet}-{label}"


class Sizes(NamedTuple):
    """Clips of each split."""

    train: int
    dev: int
    test: int


def word_texts(
    training: Mapping[str, Alphabet], testing: Mapping[str, Alphabet], sizes: Sizes, *, chance_share: float, seed: int
) -> SplitTexts:
    """Words for alphabets of one spoken language; a part of the training clips are strings of the rarest letters.

    Dev are words of the training alphabets, test words of the others, and training has none of them, whatever its size.
    Test words with letters that no training alphabet has are left out: no answer to them could be right.

    Args:
        training: alphabets that train.
        testing: alphabets that test.
        sizes: clips of each split; training goes through its words again where it has more clips than words.
        chance_share: share of the training clips that are strings, each letter the rarest so far.
        seed: of every choice.

    Raises:
        UserError: the alphabets have no word list, several, or too few words.
    """
    language = _language([*training, *testing])
    known = {label for alphabet in training.values() for label in alphabet}
    listed = words(language)
    shuffled = [listed[place] for place in np.random.default_rng([seed, 1]).permutation(len(listed))]
    test = _spelled(shuffled, testing, sizes.test, known)
    left = [word for word in shuffled if word not in {text.word for text in test}]
    dev = _spelled(left, training, sizes.dev, known)
    left = [word for word in left if word not in {text.word for text in dev}]
    num_strings = round(chance_share * sizes.train)
    train = _spelled(left, training, min(len(left), sizes.train - num_strings), known)
    if len(test) < sizes.test or len(dev) < sizes.dev or not train:
        raise UserError(
            f"{sizes.test} test and {sizes.dev} dev words were asked for, but '{language}' has {len(listed)} words in "
            f"all, which these alphabets spell {len(test) + len(dev) + len(left)} of; ask for fewer"
        )
    train = list(itertools.islice(itertools.cycle(train), sizes.train - num_strings))
    rng = np.random.default_rng([seed, 2])
    labels = {name: sorted(alphabet) for name, alphabet in training.items()}
    return SplitTexts(train + rare_strings(labels, train, num_strings, rng), dev, test)


def _language(names: Sequence[str]) -> str:
    languages = {SPOKEN_LANGUAGE.get(name, "") for name in names}
    if len(languages) > 1 or "" in languages:
        lists: dict[str, list[str]] = {}
        for name, language in SPOKEN_LANGUAGE.items():
            lists.setdefault(language, []).append(name)
        known = "; ".join(f"{language}: {', '.join(some)}" for language, some in sorted(lists.items()))
        raise UserError(
            f"{', '.join(names)} have no word list in common; name alphabets of one language ({known}), "
            "or spell strings of chance letters with --opaque"
        )
    return languages.pop()


def _spelled(chosen: Sequence[str], alphabets: Mapping[str, Alphabet], num: int, known: set[str]) -> list[SpelledText]:
    """The first `num` words that can be spelled in known letters, the alphabets taking turns."""
    names = list(alphabets)
    found: list[SpelledText] = []
    for word in chosen:
        if len(found) == num:
            break
        name = names[len(found) % len(names)]
        labels = tuple(letter.label for letter in spell_concept(word, alphabets[name]) or ())
        if labels and known.issuperset(labels):
            found.append(SpelledText(name, word, labels))
    return found


def rare_strings(
    labels: Mapping[str, Sequence[str]], texts: Sequence[SpelledText], num: int, rng: np.random.Generator
) -> list[SpelledText]:
    """Strings that take the letter that was spelled least so far, the alphabets taking turns."""
    counts = Counter(label for text in texts for label in text.labels)
    names, found = list(labels), []
    for place in range(num):
        name = names[place % len(names)]
        chosen: list[str] = []
        for _ in range(int(rng.integers(STRING_LETTERS[0], STRING_LETTERS[1] + 1))):
            order = rng.permutation(len(labels[name]))
            options = [labels[name][index] for index in order if labels[name][index] != (chosen or [""])[-1]]
            chosen.append(min(options, key=lambda label: counts[label]))
            counts[chosen[-1]] += 1
        found.append(SpelledText(name, "".join(chosen), tuple(chosen)))
    return found


def string_texts(
    training: Mapping[str, Sequence[str]], testing: Mapping[str, Sequence[str]], sizes: Sizes, *, seed: int
) -> SplitTexts:
    """Strings of chance letters in which every letter of every alphabet occurs about equally often, in each split.

    Most alphabets have no list of words, and words would leave their rare letters with hardly a clip.

    Args:
        training: labels of the alphabets that train, and of which other strings are dev.
        testing: labels of the alphabets that test; the training ones again where there are none.
        sizes: clips of each split.
        seed: of every choice.
    """
    taken: set[tuple[str, ...]] = set()
    made = [
        even_strings(labels, num, np.random.default_rng([seed, 3 + place]), taken=taken)
        for place, (labels, num) in enumerate(zip((training, training, testing or training), sizes))
    ]
    return SplitTexts(*made)


def even_strings(
    labels: Mapping[str, Sequence[str]], num: int, rng: np.random.Generator, *, taken: set[tuple[str, ...]]
) -> list[SpelledText]:
    """Strings of three to six letters, each alphabet and each letter of it in turn; no letter follows itself.

    Args:
        labels: alphabet → its letters, at least three.
        num: strings to make.
        rng: the only source of chance.
        taken: strings that must not be made again, with their alphabet first; those made are added.
    """
    decks: dict[str, list[str]] = {name: [] for name in labels}
    spelled = Counter(dict.fromkeys(labels, 0))
    found: list[SpelledText] = []
    for _ in range(num):
        name = min(labels, key=lambda name: spelled[name] / len(labels[name]))
        size = int(rng.integers(STRING_LETTERS[0], STRING_LETTERS[1] + 1))
        while len(decks[name]) < size:
            decks[name] += [labels[name][place] for place in rng.permutation(len(labels[name]))]
        for _ in range(_MAX_TRIES):
            drawn = tuple(decks[name][:size])
            if (name, *drawn) not in taken and all(a != b for a, b in itertools.pairwise(drawn)):
                break
            decks[name] = [decks[name][place] for place in rng.permutation(len(decks[name]))]
        del decks[name][:size]
        taken.add((name, *drawn))
        spelled[name] += size
        found.append(SpelledText(name, "".join(drawn), drawn))
    return found
